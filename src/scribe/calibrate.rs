//! The injection gates tried on errors that people made: real error notes against their own corrections.
//! Says what share would have been let through, and which gate refuses how many. Reads no files, prints nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::edits::word_edits;
use super::gate::Gates;
use super::injection;
use super::lexicon::Lexicon;
use super::pool::{Edit, Pool};
use crate::config::{Novelty, ScribeConfig};
use crate::task::{Injection, Label, LabelledNote, Note};

/// How one gate judged all pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GateFigure {
    /// Pairs that came to this gate.
    pub tried: usize,
    pub refused: usize,
    /// Pairs that this gate alone refused.
    pub alone: usize,
}

/// Pairs of one kind of error, and how many of them were let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    pub pairs: usize,
    pub passed: usize,
}

impl Share {
    /// 1 where there is no pair.
    #[allow(clippy::cast_precision_loss)] // numbers of notes
    pub fn value(self) -> f64 {
        if self.pairs == 0 { 1.0 } else { self.passed as f64 / self.pairs as f64 }
    }
}

/// One real error that the gates would not let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub id: String,
    pub kind: &'static str,
    pub old: String,
    pub new: String,
    /// Every gate that refused, with its reason.
    pub gates: BTreeMap<String, String>,
}

/// Least value, percentiles 1, 50 and 99, and greatest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub least: f64,
    pub p1: f64,
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
}

/// What the injection gates say of real errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Calibration {
    pub all: Share,
    pub kinds: BTreeMap<&'static str, Share>,
    pub gates: BTreeMap<String, GateFigure>,
    /// What seldom changes in real errors: pairs whose edit touches a number, a negation, a side, a time or a comparison.
    pub rare: BTreeMap<String, usize>,
    /// Pairs whose edit another note of the file has too, word by word, or nearly so (`scribe.novelty_rouge`). The gates of
    /// novelty are not asked here: every pair is known to its own file.
    pub same_elsewhere: usize,
    pub alike_elsewhere: usize,
    /// Characters of the error note over those of its correction.
    pub length_ratio: Spread,
    /// Words changed in the error sentence.
    pub word_edits: Spread,
    pub refused: Vec<Refused>,
}

impl Calibration {
    /// The figures for people: one line a fact, refused pairs left out.
    pub fn lines(&self) -> Vec<String> {
        let percent = |share: Share| format!("{} of {} ({:.2} %)", share.passed, share.pairs, 100.0 * share.value());
        let mut lines = vec![format!("real errors let through: {}", percent(self.all))];
        lines.extend(self.kinds.iter().map(|(kind, share)| format!("  {kind:16} {}", percent(*share))));
        lines.push("refused by gate (and by it alone):".to_owned());
        let refusing = self.gates.iter().filter(|(_, figure)| figure.refused > 0);
        lines.extend(refusing.map(|(gate, f)| format!("  {gate:16} {:4} ({:4}) of {}", f.refused, f.alone, f.tried)));
        let rare: Vec<String> = self.rare.iter().map(|(what, n)| format!("{what} {n}")).collect();
        lines.push(format!("edits that touch: {}", if rare.is_empty() { "nothing rare".to_owned() } else { rare.join(", ") }));
        lines.push(format!("edits that another note has too: {} the same, {} alike", self.same_elsewhere, self.alike_elsewhere));
        let spread = |s: &Spread| format!("{:.3} / {:.3} / {:.3} / {:.3} / {:.3}", s.least, s.p1, s.p50, s.p99, s.most);
        lines.push("least / 1 % / half / 99 % / most".to_owned());
        lines.push(format!("  length ratio     {}", spread(&self.length_ratio)));
        lines.push(format!("  words changed    {}", spread(&self.word_edits)));
        lines
    }
}

/// Sends every error note through the gates that an injection would go through, had the Scribe proposed it for the corrected
/// note.
pub fn calibrate(errors: &[LabelledNote], config: &ScribeConfig, lexicon: &Lexicon) -> Calibration {
    let mut all = Calibration::default();
    let (mut ratios, mut edits) = (Vec::new(), Vec::new());
    let pool = Pool::new(Novelty::Corpus, errors);
    for error in errors {
        let Some((source, proposal)) = as_proposal(error) else { continue };
        let (before, after) = (source.text(), error.note.text());
        ratios.push(quotient(after.chars().count(), before.chars().count()));
        let mut gates = Gates::default();
        match injection::splice(&source, &proposal, proposal.kind) {
            Ok(spliced) => injection::check(&source, &spliced, &proposal, &Pool::default(), config, lexicon, &mut gates),
            Err(why) => gates.record(why.gate(), Err(why.to_string())),
        }
        all.take(error, &proposal, &gates);
        let of = |note: &Note| note.sentence(proposal.sentence).map_or_else(String::new, |s| s.text.clone());
        let (old, new) = (of(&source), of(&error.note));
        edits.push(quotient(word_edits(&old, &new).count(), 1));
        let edit = Edit::between(&old, &new, lexicon);
        let elsewhere = pool.nearest(&edit, |known| known.id != error.note.id);
        all.same_elsewhere += usize::from(elsewhere.is_some_and(|(_, known)| known.edit == edit));
        all.alike_elsewhere += usize::from(elsewhere.is_some_and(|(likeness, _)| likeness >= config.novelty_rouge));
    }
    all.length_ratio = spread(ratios);
    all.word_edits = spread(edits);
    all
}

impl Calibration {
    fn take(&mut self, error: &LabelledNote, proposal: &Injection, gates: &Gates) {
        let refusals: Vec<_> = gates.results.iter().filter(|r| !r.passed).collect();
        for result in &gates.results {
            let figure = self.gates.entry(result.gate.clone()).or_default();
            figure.tried += 1;
            figure.refused += usize::from(!result.passed);
            figure.alone += usize::from(!result.passed && refusals.len() == 1);
        }
        let touched = gates.results.iter().find(|r| r.gate == "rare").map_or("-", |r| r.detail.as_str());
        touched.split(", ").filter(|what| *what != "-").for_each(|what| *self.rare.entry(what.to_owned()).or_default() += 1);
        for share in [&mut self.all, self.kinds.entry(proposal.kind.title()).or_default()] {
            share.pairs += 1;
            share.passed += usize::from(refusals.is_empty());
        }
        if refusals.is_empty() {
            return;
        }
        self.refused.push(Refused {
            id: error.note.id.clone(),
            kind: proposal.kind.title(),
            old: proposal.old.clone(),
            new: proposal.new.clone(),
            gates: refusals.into_iter().map(|r| (r.gate.clone(), r.detail.clone())).collect(),
        });
    }
}

/// The corrected note, and the edit that makes it the error note: as few words as tell the place. `None` where the label names
/// no sentence of the note, or nothing but white space differs.
fn as_proposal(error: &LabelledNote) -> Option<(Note, Injection)> {
    let Label::Error { kind, sentence, correction } = &error.label else { return None };
    let source = error.corrected()?;
    let wrong = error.note.sentence(*sentence)?.text.trim();
    let whole = source.text().to_lowercase();
    let (before, after) = (tokens(correction), tokens(wrong));
    let (mut head, mut tail) = common_ends(&before, &after);
    loop {
        let (old, new) = (between(correction, &before, head, tail), between(wrong, &after, head, tail));
        let is_placed = !old.is_empty() && !new.is_empty() && whole.matches(&old.to_lowercase()).count() == 1;
        if is_placed || head + tail == 0 {
            let (sentence, kind, why) = (*sentence, *kind, String::new());
            let proposal = Injection { sentence, old: old.to_owned(), new: new.to_owned(), kind, why };
            return (old != new).then_some((source, proposal));
        }
        // A word more, from the longer side of what is alike.
        if head >= tail {
            head -= 1;
        } else {
            tail -= 1;
        }
    }
}

/// A text cut at white space, with the place of each piece.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let pieces = text.split_inclusive(char::is_whitespace).map(|piece| {
        at += piece.len();
        (at - piece.len(), piece.trim_end())
    });
    pieces.filter(|(_, token)| !token.is_empty()).collect()
}

/// How many tokens are alike at the beginning and, of the rest, at the end.
fn common_ends(a: &[(usize, &str)], b: &[(usize, &str)]) -> (usize, usize) {
    let head = a.iter().zip(b).take_while(|(x, y)| x.1 == y.1).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x.1 == y.1).count();
    (head, tail)
}

/// The text from token `head` to the last but `tail`.
fn between<'a>(text: &'a str, tokens: &[(usize, &'a str)], head: usize, tail: usize) -> &'a str {
    match tokens.get(head..tokens.len() - tail) {
        Some([first, .., last]) => &text[first.0..last.0 + last.1.len()],
        Some([only]) => only.1,
        _ => "",
    }
}

#[allow(clippy::cast_precision_loss)] // lengths of notes
fn quotient(a: usize, b: usize) -> f64 {
    a as f64 / b.max(1) as f64
}

/// Percentiles by nearest rank.
fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    Spread { least: at(0), p1: at(1), p50: at(50), p99: at(99), most: at(100) }
}
