//! A reworded note: read from the model's numbered lines, the protected sentence put back by code, gated.

use std::collections::BTreeMap;

use thiserror::Error;

use super::gate::{self, Gates};
use super::kept;
use super::lexicon::Lexicon;
use crate::config::ScribeConfig;
use crate::task::{Label, LabelledNote, Note, Text};

/// Why a rewording cannot be read. Each has a gate name under which it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("a line does not begin with a sentence number: {0}")]
    Unnumbered(String),
    #[error("the note has no sentence {0}")]
    NoSentence(u32),
    #[error("sentence {0} occurs twice")]
    Repeated(u32),
    #[error("sentence {0} is missing")]
    Missing(u32),
    #[error("sentence {0} is empty")]
    Empty(u32),
}

impl Refusal {
    /// The gate name under which this refusal is counted.
    pub fn gate(&self) -> &'static str {
        match self {
            Refusal::Unnumbered(_) => "parse-lines",
            Refusal::NoSentence(_) => "unknown-sentence",
            Refusal::Repeated(_) => "repeated-sentence",
            Refusal::Missing(_) => "missing-sentence",
            Refusal::Empty(_) => "empty-sentence",
        }
    }
}

/// Reads `N text` lines (also `N. text`, `N: text`, `N) text`): every sentence of the note exactly once. The protected one may be
/// left out; whatever the model wrote for it, the source's words are put back.
pub fn parse(text: &str, source: &Note, protected: Option<u32>) -> Result<Note, Refusal> {
    let mut lines: BTreeMap<u32, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (id, words) = numbered(line).ok_or_else(|| Refusal::Unnumbered(shown(line)))?;
        source.sentence(id).ok_or(Refusal::NoSentence(id))?;
        if lines.insert(id, words).is_some() {
            return Err(Refusal::Repeated(id));
        }
    }
    let mut note = source.clone();
    for sentence in note.sentences.iter_mut().filter(|s| Some(s.id) != protected) {
        let words = lines.get(&sentence.id).ok_or(Refusal::Missing(sentence.id))?;
        if words.is_empty() {
            return Err(Refusal::Empty(sentence.id));
        }
        sentence.text = (*words).to_owned();
    }
    Ok(note)
}

/// `12. text` → (12, `text`).
fn numbered(line: &str) -> Option<(u32, &str)> {
    let n = line.bytes().take_while(u8::is_ascii_digit).count();
    let id = line[..n].parse().ok()?;
    let rest = &line[n..];
    let rest = rest.strip_prefix(['.', ':', ')']).unwrap_or(rest);
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| (id, rest.trim()))
}

fn shown(line: &str) -> String {
    Text::new(line).as_str().chars().take(80).collect()
}

/// Runs every gate of a rewording; for an error note also those of the error sentence.
pub fn check(source: &LabelledNote, result: &Note, config: &ScribeConfig, lexicon: &Lexicon, gates: &mut Gates) {
    let (before, after) = (source.note.text(), result.text());
    let pairs = kept::pairs(lexicon, &source.note, result);
    gates.record("not-empty", gate::not_empty(result));
    gates.record("safe-text", gate::safe_text(&before, &after));
    gates.record("differs", gate::differs(&before, &after));
    gates.record("meta-marker", gate::no_markers(lexicon, &before, &after));
    gates.record("same-sentences", gate::same_sentences(&source.note, result));
    gates.record("length-ratio", gate::word_ratio(&before, &after, config.augment_length_ratio));
    kept::record_facts(lexicon, &source.note, &pairs, gates);
    gates.record("findings", kept::findings_kept(lexicon, &pairs));
    gates.record("telling-words", kept::telling_kept(lexicon, &pairs, config.augment_kept));
    gates.record("echo", kept::not_echoed(&pairs));
    match &source.label {
        Label::Clean => gates.record("min-edits", gate::min_edits(&before, &after, config.augment_min_edits)),
        Label::Error { sentence, correction, .. } => {
            gates.record("error-span", kept::span_survives(&source.note, result, *sentence));
            gates.record("correction-absent", kept::correction_absent(lexicon, &source.note, result, *sentence, correction));
        }
    }
}
