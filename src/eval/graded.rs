//! One note's label beside one verdict, and the counts every rate is made of. Counts add up, so that a bootstrap can
//! resample whole vignette groups. Knows neither percent nor text output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::task::{Completion, ErrorKind, Label, LabelledNote, Verdict, verdict};

use super::corrections::CorrectionTally;

/// What was true of a note and what was claimed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graded {
    pub id: String,
    /// Vignette group: an error note and its clean sibling share it.
    pub group: String,
    pub label: Label,
    pub verdict: Verdict,
    /// Words of the completion; 0 where a policy wrote none.
    #[serde(default)]
    pub n_words: usize,
    /// The sentence with the error, which a correction that changes nothing repeats; `None` for clean notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_sentence: Option<String>,
    /// Whether the verdict names no type (a submission cannot); its `kind` is then a filler that nothing counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untyped: bool,
    /// Whether the sentence id is right by the official rule, for verdicts read from a submission: that rule compares the id as it
    /// is written, whatever the flag beside it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_sentence_right: Option<bool>,
}

impl Graded {
    /// Parses and grades one completion, already cut at its end-of-turn token.
    pub fn new(note: &LabelledNote, completion: &str) -> Graded {
        Graded { n_words: completion.split_whitespace().count(), ..Graded::claimed(note, verdict::parse(completion)) }
    }

    /// Grades one completion; one that ran out of tokens is malformed whatever it says, as in training.
    pub fn of(note: &LabelledNote, completion: &Completion) -> Graded {
        let n_words = completion.text.split_whitespace().count();
        Graded { n_words, ..Graded::claimed(note, verdict::of(completion)) }
    }

    /// Grades a verdict that was never written down, such as a trivial policy's.
    pub fn claimed(note: &LabelledNote, verdict: Verdict) -> Graded {
        let error_sentence = match note.label {
            Label::Error { sentence, .. } => note.note.sentence(sentence).map(|s| s.text.clone()),
            Label::Clean => None,
        };
        let (id, group, label) = (note.note.id.clone(), note.note.group.clone(), note.label.clone());
        Graded { id, group, label, verdict, n_words: 0, error_sentence, untyped: false, written_sentence_right: None }
    }

    /// Whether the claim error-or-clean is right; an unreadable verdict is wrong.
    pub fn flag_right(&self) -> bool {
        self.verdict.flag() == Some(self.label.is_error())
    }

    /// MEDEC's sentence match: the exact id for an error note, the clean verdict for a clean one.
    pub fn sentence_right(&self) -> bool {
        if let Some(right) = self.written_sentence_right {
            return right;
        }
        match (&self.label, &self.verdict) {
            (Label::Clean, Verdict::Clean) => true,
            (Label::Error { sentence: truth, .. }, Verdict::Error { sentence, .. }) => *sentence == Some(*truth),
            _ => false,
        }
    }

    /// Whether an error note was given its own type; never so for clean notes.
    pub fn type_right(&self) -> bool {
        !self.untyped
            && matches!((&self.label, &self.verdict), (Label::Error { kind: truth, .. }, Verdict::Error { kind, .. }) if kind == truth)
    }
}

/// What became of the (error note, clean sibling) pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs {
    /// Both flags right.
    pub right: usize,
    /// The error note called clean and the clean one an error.
    pub inverted: usize,
    pub both_clean: usize,
    pub both_error: usize,
    /// At least one verdict could not be read.
    pub unread: usize,
}

impl Pairs {
    pub fn total(&self) -> usize {
        self.right + self.inverted + self.both_clean + self.both_error + self.unread
    }

    fn add(&mut self, on_error: Option<bool>, on_clean: Option<bool>) {
        match (on_error, on_clean) {
            (Some(true), Some(false)) => self.right += 1,
            (Some(false), Some(true)) => self.inverted += 1,
            (Some(false), Some(false)) => self.both_clean += 1,
            (Some(true), Some(true)) => self.both_error += 1,
            _ => self.unread += 1,
        }
    }
}

/// Error notes of one type: how many, how many were flagged at all, how many with their own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeRecall {
    pub n_notes: usize,
    pub flagged: usize,
    pub right_type: usize,
}

impl TypeRecall {
    /// Share flagged as an error of any type; 0 where there is no note.
    pub fn recall(&self) -> f64 {
        ratio(self.flagged, self.n_notes)
    }
}

/// The counts behind every rate. Adds up over disjoint sets of whole groups.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub n_clean: usize,
    pub n_error: usize,
    pub flags_right: usize,
    pub false_positives: usize,
    pub false_negatives: usize,
    pub malformed: usize,
    pub sentences_right: usize,
    pub types_right: usize,
    pub n_words: usize,
    pub pairs: Pairs,
    /// By position in [`ErrorKind::ALL`].
    pub kinds: [TypeRecall; 5],
    pub corrections: CorrectionTally,
}

impl Tally {
    pub fn n_notes(&self) -> usize {
        self.n_clean + self.n_error
    }

    /// Counts one whole group. The i-th error note is paired with the i-th clean note.
    fn of_group(group: &[&Graded]) -> Tally {
        let mut tally = Tally::default();
        group.iter().for_each(|graded| tally.count(graded));
        let errors = group.iter().filter(|g| g.label.is_error());
        let cleans = group.iter().filter(|g| !g.label.is_error());
        errors.zip(cleans).for_each(|(error, clean)| tally.pairs.add(error.verdict.flag(), clean.verdict.flag()));
        tally
    }

    fn count(&mut self, graded: &Graded) {
        let flag = graded.verdict.flag();
        match graded.label.kind() {
            None => {
                self.n_clean += 1;
                self.false_positives += usize::from(flag == Some(true));
            }
            Some(kind) => {
                self.n_error += 1;
                self.false_negatives += usize::from(flag == Some(false));
                let of_kind = &mut self.kinds[kind as usize];
                of_kind.n_notes += 1;
                of_kind.flagged += usize::from(flag == Some(true));
                of_kind.right_type += usize::from(graded.type_right());
            }
        }
        self.flags_right += usize::from(graded.flag_right());
        self.malformed += usize::from(flag.is_none());
        self.sentences_right += usize::from(graded.sentence_right());
        self.types_right += usize::from(graded.type_right());
        self.n_words += graded.n_words;
        self.corrections.count(graded);
    }

    pub fn merge(&mut self, other: &Tally) {
        self.n_clean += other.n_clean;
        self.n_error += other.n_error;
        self.flags_right += other.flags_right;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.malformed += other.malformed;
        self.sentences_right += other.sentences_right;
        self.types_right += other.types_right;
        self.n_words += other.n_words;
        self.pairs.right += other.pairs.right;
        self.pairs.inverted += other.pairs.inverted;
        self.pairs.both_clean += other.pairs.both_clean;
        self.pairs.both_error += other.pairs.both_error;
        self.pairs.unread += other.pairs.unread;
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.n_notes += theirs.n_notes;
            mine.flagged += theirs.flagged;
            mine.right_type += theirs.right_type;
        }
        self.corrections.merge(&other.corrections);
    }

    /// The error types that occur, with their counts.
    pub fn per_type(&self) -> BTreeMap<ErrorKind, TypeRecall> {
        ErrorKind::ALL.into_iter().zip(self.kinds).filter(|(_, of_kind)| of_kind.n_notes > 0).collect()
    }
}

/// The counts of every vignette group, in the order of their names.
pub fn tallies(graded: &[Graded]) -> Vec<Tally> {
    let mut groups: BTreeMap<&str, Vec<&Graded>> = BTreeMap::new();
    for one in graded {
        groups.entry(&one.group).or_default().push(one);
    }
    groups.values().map(|group| Tally::of_group(group)).collect()
}

/// The rates a report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    FlagAccuracy,
    FalsePositiveRate,
    FalseNegativeRate,
    MalformedRate,
    SentenceAccuracy,
    TypeAccuracy,
    PairAccuracy,
    NoOpRate,
}

impl Rate {
    pub const ALL: [Rate; 8] = [
        Rate::FlagAccuracy,
        Rate::FalsePositiveRate,
        Rate::FalseNegativeRate,
        Rate::MalformedRate,
        Rate::SentenceAccuracy,
        Rate::TypeAccuracy,
        Rate::PairAccuracy,
        Rate::NoOpRate,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Rate::FlagAccuracy => "flag accuracy",
            Rate::FalsePositiveRate => "false positive rate",
            Rate::FalseNegativeRate => "false negative rate",
            Rate::MalformedRate => "malformed rate",
            Rate::SentenceAccuracy => "sentence accuracy",
            Rate::TypeAccuracy => "type accuracy",
            Rate::PairAccuracy => "pair accuracy",
            Rate::NoOpRate => "no-op rate",
        }
    }

    /// (how many, out of how many).
    pub fn counts(self, tally: &Tally) -> (usize, usize) {
        match self {
            Rate::FlagAccuracy => (tally.flags_right, tally.n_notes()),
            Rate::FalsePositiveRate => (tally.false_positives, tally.n_clean),
            Rate::FalseNegativeRate => (tally.false_negatives, tally.n_error),
            Rate::MalformedRate => (tally.malformed, tally.n_notes()),
            Rate::SentenceAccuracy => (tally.sentences_right, tally.n_notes()),
            Rate::TypeAccuracy => (tally.types_right, tally.n_error),
            Rate::PairAccuracy => (tally.pairs.right, tally.pairs.total()),
            Rate::NoOpRate => (tally.corrections.no_ops, tally.corrections.n_scored),
        }
    }

    /// The rate itself; 0 where there is nothing to count.
    pub fn of(self, tally: &Tally) -> f64 {
        let (hits, out_of) = self.counts(tally);
        ratio(hits, out_of)
    }
}

/// `hits / out_of`; 0 where there is nothing.
pub(crate) fn ratio(hits: usize, out_of: usize) -> f64 {
    if out_of == 0 { 0.0 } else { hits as f64 / out_of as f64 }
}
