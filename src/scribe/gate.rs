//! The gates: small functions that say whether a made note may be used, and why not. Here those of form; what a rewording must
//! keep is in [`super::kept`], what makes an edit an error in [`super::wrong`]. Each knows two texts and the tables, nothing of
//! models or attempts. Thresholds come from the experiment (calibrated on real MEDEC pairs, medserl-peers §5.2).

use super::edits::{changed_sentences, word_edits};
use super::lexicon::Lexicon;
use super::words::words;
use crate::task::{GateResult, Note, Text};

/// What a gate says: passed with a detail, or refused with a reason.
pub type Outcome = Result<String, String>;

/// The gates one attempt went through, in order.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    pub results: Vec<GateResult>,
}

impl Gates {
    pub fn record(&mut self, gate: &str, outcome: Outcome) {
        let passed = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        self.results.push(GateResult { gate: gate.to_owned(), passed, detail });
    }

    /// The first gate that refused.
    pub fn failure(&self) -> Option<&str> {
        self.results.iter().find(|r| !r.passed).map(|r| r.gate.as_str())
    }
}

pub(super) fn require(passed: bool, detail: String) -> Outcome {
    if passed { Ok(detail) } else { Err(detail) }
}

/// No sentence is empty.
pub fn not_empty(result: &Note) -> Outcome {
    match result.sentences.iter().find(|s| s.text.trim().is_empty()) {
        Some(sentence) => Err(format!("sentence {} is empty", sentence.id)),
        None => require(!result.sentences.is_empty(), format!("{} sentences", result.sentences.len())),
    }
}

/// No control, bidi or invisible characters and no line feeds that the source did not have.
pub fn safe_text(source: &str, result: &str) -> Outcome {
    let hidden =
        |text: &str| text.chars().filter(|&c| Text::new(&c.to_string()).as_str().starts_with(['\u{fffd}', '\n'])).count();
    let (before, after) = (hidden(source), hidden(result));
    require(after <= before, format!("{after} unsafe characters, {before} in the source"))
}

/// No word or sign of the game itself beyond those of the source: "Here is", "error", tags.
pub fn no_markers(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let (before, after) = (source.to_lowercase(), result.to_lowercase());
    let marker = lexicon.markers.iter().find(|m| occurrences(&after, m) > occurrences(&before, m));
    match marker {
        Some(marker) => Err(format!("\"{marker}\" is not in the source")),
        None => require(tags(&after) <= tags(&before), format!("{} tags", tags(&after))),
    }
}

/// How often `part` occurs at word boundaries (where it begins or ends with a letter).
fn occurrences(text: &str, part: &str) -> usize {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let open = |at: usize| !is_letter(part.chars().next()) || !is_letter(text[..at].chars().next_back());
    let shut = |end: usize| !is_letter(part.chars().next_back()) || !is_letter(text[end..].chars().next());
    text.match_indices(part).filter(|(at, _)| open(*at) && shut(at + part.len())).count()
}

/// `<` right before a letter, `/` or `|`; "<5 mm" is none.
fn tags(text: &str) -> usize {
    text.match_indices('<')
        .filter(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '|')))
        .count()
}

pub fn differs(source: &str, result: &str) -> Outcome {
    require(source != result, if source == result { "unchanged" } else { "changed" }.into())
}

/// Words of the result over words of the source.
pub fn word_ratio(source: &str, result: &str, range: (f64, f64)) -> Outcome {
    ratio("words", words(source).len(), words(result).len(), range)
}

/// Characters of the result over characters of the source.
pub fn char_ratio(source: &str, result: &str, range: (f64, f64)) -> Outcome {
    ratio("characters", source.chars().count(), result.chars().count(), range)
}

#[allow(clippy::cast_precision_loss)] // lengths of notes
fn ratio(what: &str, before: usize, after: usize, (low, high): (f64, f64)) -> Outcome {
    let ratio = after as f64 / before.max(1) as f64;
    require((low..=high).contains(&ratio), format!("{after} / {before} {what} = {ratio:.3}, allowed {low} to {high}"))
}

/// An augmentation changes at least so many words.
pub fn min_edits(source: &str, result: &str, least: usize) -> Outcome {
    let n = word_edits(source, result).count();
    require(n >= least, format!("{n} words changed, at least {least} asked"))
}

/// An injection changes one to `most` words.
pub fn edit_budget(source: &str, result: &str, most: usize) -> Outcome {
    let n = word_edits(source, result).count();
    require((1..=most).contains(&n), format!("{n} words changed, 1 to {most} allowed"))
}

/// Both notes have the same sentence ids in the same order.
pub fn same_sentences(source: &Note, result: &Note) -> Outcome {
    require(
        changed_sentences(source, result).is_some(),
        format!("{} / {} sentences", result.sentences.len(), source.sentences.len()),
    )
}

/// Exactly the sentence `id` differs.
pub fn one_sentence(source: &Note, result: &Note, id: u32) -> Outcome {
    let changed = changed_sentences(source, result);
    require(
        changed.as_deref() == Some(&[id]),
        format!("changed sentences: {}", changed.map_or("other ids".into(), |c| format!("{c:?}"))),
    )
}
