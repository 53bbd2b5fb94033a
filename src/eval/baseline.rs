//! What policies without any medicine get on the same notes: the floor every score is read against. Which notes are alike is
//! the caller's knowledge; nothing here looks into texts.

use serde::{Deserialize, Serialize};

use crate::task::{ErrorKind, Label, LabelledNote, Verdict};

use super::{flags::Scores, graded::Graded};

/// A trivial policy and its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub policy: String,
    pub scores: Scores,
}

impl Baseline {
    fn of(policy: impl Into<String>, graded: &[Graded]) -> Baseline {
        Baseline { policy: policy.into(), scores: Scores::of(graded) }
    }

    /// One line of a table.
    pub fn line(&self) -> String {
        let s = &self.scores;
        let percent = |value: f64| format!("{:>5.1} %", 100.0 * value);
        let pairs = if s.n_pairs == 0 { "    n/a".to_owned() } else { percent(s.pair_accuracy) };
        format!("{:<45} flag {}  sentence {}  pairs {pairs}", self.policy, percent(s.flag_accuracy), percent(s.sentence_accuracy))
    }
}

/// Always clean, and always error in the last sentence with the commonest type of these very notes: the strongest of its
/// sort, since it is told the type prior.
pub fn baselines(notes: &[LabelledNote]) -> Vec<Baseline> {
    let kind = majority_kind(notes);
    let grade = |claim: &dyn Fn(&LabelledNote) -> Verdict| -> Vec<Graded> {
        notes.iter().map(|note| Graded::claimed(note, claim(note))).collect()
    };
    vec![
        Baseline::of("always clean", &grade(&|_| Verdict::Clean)),
        Baseline::of(format!("always error, last sentence, {}", kind.title()), &grade(&|note| last_sentence(note, kind))),
    ]
}

/// The leak of a file in MEDEC's order, where each clean note stands right behind an error note of its vignette: a note that is
/// like the next row is an error, one that is like the row before is clean, any other is an error. `like_next` says of each note
/// whether it is like the one behind it.
pub fn neighbour_rule(notes: &[LabelledNote], like_next: &[bool]) -> Baseline {
    let kind = majority_kind(notes);
    let like = |at: Option<usize>| at.and_then(|at| like_next.get(at)).copied().unwrap_or(false);
    let claim = |(at, note): (usize, &LabelledNote)| {
        let clean = !like(Some(at)) && like(at.checked_sub(1));
        Graded::claimed(note, if clean { Verdict::Clean } else { last_sentence(note, kind) })
    };
    let graded: Vec<Graded> = notes.iter().enumerate().map(claim).collect();
    Baseline::of("neighbour rule: row order, a leak", &graded)
}

/// The label of the most similar training note, with the last sentence where that is an error. `nearest` gives it for each note;
/// a note that is like none is called what most training notes are.
pub fn nearest_note(notes: &[LabelledNote], nearest: &[Option<&Label>], train: &[LabelledNote]) -> Baseline {
    let n_errors = train.iter().filter(|note| note.label.is_error()).count();
    let usual = (2 * n_errors >= train.len()).then(|| majority_kind(train));
    let claim = |(note, nearest): (&LabelledNote, &Option<&Label>)| {
        let kind = nearest.map_or(usual, Label::kind);
        Graded::claimed(note, kind.map_or(Verdict::Clean, |kind| last_sentence(note, kind)))
    };
    let graded: Vec<Graded> = notes.iter().zip(nearest).map(claim).collect();
    Baseline::of("nearest training note, by word 5-grams", &graded)
}

fn last_sentence(note: &LabelledNote, kind: ErrorKind) -> Verdict {
    Verdict::Error { kind, sentence: note.note.sentences.last().map(|s| s.id), correction: None }
}

/// The commonest error type; of equals the first in [`ErrorKind::ALL`].
pub fn majority_kind(notes: &[LabelledNote]) -> ErrorKind {
    let count = |kind: ErrorKind| notes.iter().filter(|note| note.label.kind() == Some(kind)).count();
    // max_by_key keeps the last of equals, hence the reversal.
    ErrorKind::ALL.into_iter().rev().max_by_key(|kind| count(*kind)).unwrap_or(ErrorKind::Diagnosis)
}
