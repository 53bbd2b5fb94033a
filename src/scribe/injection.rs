//! One proposed error: read from the model's line, located, spliced into the note, gated. The model proposes, this code applies.

use thiserror::Error;

use super::edits::changed_sentences;
use super::gate::{self, Gates};
use super::lexicon::Lexicon;
use super::pool::{Edit, Pool};
use super::wrong;
use crate::config::ScribeConfig;
use crate::task::{ErrorKind, Injection, Label, Note, Text};

/// Why a proposal cannot be applied. Each has a gate name under which it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("expected exactly one line, found {0}")]
    Lines(usize),
    #[error("expected `{0}: …`; the form is Sentence | Old | New | Type | Why")]
    Field(&'static str),
    #[error("`{0}` is empty")]
    Empty(&'static str),
    #[error("the sentence is not a number: {0}")]
    Number(String),
    #[error("unknown type: {0}")]
    UnknownType(String),
    #[error("asked for {asked}, proposed {got}")]
    OtherType { asked: &'static str, got: &'static str },
    #[error("control or invisible characters in the proposal")]
    Unsafe,
    #[error("the note has no sentence {0}")]
    NoSentence(u32),
    #[error("the old words are not in sentence {0}")]
    OldMissing(u32),
    #[error("the old words occur {0} times in the note")]
    OldRepeated(usize),
    #[error("the old words begin or end inside a word")]
    SplitsWord,
    #[error("old and new differ by case or punctuation only")]
    SameWords,
}

impl Refusal {
    /// The gate name under which this refusal is counted.
    pub fn gate(&self) -> &'static str {
        match self {
            Refusal::Lines(_) => "parse-lines",
            Refusal::Field(_) => "parse-fields",
            Refusal::Empty(_) => "parse-empty",
            Refusal::Number(_) => "parse-sentence",
            Refusal::UnknownType(_) => "parse-type",
            Refusal::OtherType { .. } => "other-type",
            Refusal::Unsafe => "safe-text",
            Refusal::NoSentence(_) => "unknown-sentence",
            Refusal::OldMissing(_) => "old-missing",
            Refusal::OldRepeated(_) => "old-repeated",
            Refusal::SplitsWord => "splits-word",
            Refusal::SameWords => "same-words",
        }
    }
}

/// Reads `Sentence: N | Old: X | New: Y | Type: T | Why: W`: one line, these keys in this order.
pub fn parse(text: &str) -> Result<Injection, Refusal> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let [line] = lines.as_slice() else { return Err(Refusal::Lines(lines.len())) };
    let mut fields = line.splitn(5, '|');
    let mut next = |key| field(fields.next(), key);
    let (number, old, new, kind, why) = (next("Sentence")?, next("Old")?, next("New")?, next("Type")?, next("Why")?);
    let is_number = number.bytes().all(|b| b.is_ascii_digit());
    let sentence = number.parse().ok().filter(|_| is_number).ok_or_else(|| Refusal::Number(shown(number)))?;
    let kind = ErrorKind::parse(kind).ok_or_else(|| Refusal::UnknownType(shown(kind)))?;
    let (old, new) = (unquoted(old), unquoted(new));
    if old.is_empty() || new.is_empty() {
        return Err(Refusal::Empty(if old.is_empty() { "Old" } else { "New" }));
    }
    let is_safe = |t: &str| Text::new(t).as_str() == t;
    if !is_safe(old) || !is_safe(new) {
        return Err(Refusal::Unsafe);
    }
    Ok(Injection { sentence, old: old.to_owned(), new: new.to_owned(), kind, why: shown(why) })
}

/// ` Key : value ` → `value`; the key in any case.
fn field<'a>(part: Option<&'a str>, key: &'static str) -> Result<&'a str, Refusal> {
    let (name, value) = part.and_then(|p| p.split_once(':')).ok_or(Refusal::Field(key))?;
    if !name.trim().eq_ignore_ascii_case(key) {
        return Err(Refusal::Field(key));
    }
    let value = value.trim();
    if value.is_empty() { Err(Refusal::Empty(key)) } else { Ok(value) }
}

/// Takes off one pair of quotation marks around the whole.
fn unquoted(value: &str) -> &str {
    let pairs = [('"', '"'), ('“', '”'), ('\'', '\''), ('`', '`')];
    let inner = pairs.iter().find_map(|&(open, shut)| value.strip_prefix(open)?.strip_suffix(shut));
    inner.unwrap_or(value).trim()
}

/// Model text, made safe to keep in a message.
fn shown(text: &str) -> String {
    Text::new(text).as_str().chars().take(200).collect()
}

/// Where the old words really stand: a writer that quotes them right often miscounts the sentences. Gives the number it named,
/// where the words stand once in the note and elsewhere; the proposal then points to the right place.
pub fn locate(note: &Note, proposal: &mut Injection) -> Option<u32> {
    let holds = |text: &str| text.contains(&proposal.old);
    if note.sentence(proposal.sentence).is_some_and(|s| holds(&s.text)) {
        return None;
    }
    let mut holders = note.sentences.iter().filter(|s| holds(&s.text));
    let (Some(holder), None) = (holders.next(), holders.next()) else { return None };
    Some(std::mem::replace(&mut proposal.sentence, holder.id))
}

/// Puts the proposal into the note: the old words must stand once in their sentence, once in the note, at word boundaries.
pub fn splice(note: &Note, proposal: &Injection, asked: ErrorKind) -> Result<Note, Refusal> {
    if proposal.kind != asked {
        return Err(Refusal::OtherType { asked: asked.title(), got: proposal.kind.title() });
    }
    let id = proposal.sentence;
    let sentence = note.sentence(id).ok_or(Refusal::NoSentence(id))?;
    let at = sentence.text.find(&proposal.old).ok_or(Refusal::OldMissing(id))?;
    let repeats = count_overlapping(&note.text().to_lowercase(), &proposal.old.to_lowercase());
    if repeats != 1 {
        return Err(Refusal::OldRepeated(repeats));
    }
    let (head, tail) = (&sentence.text[..at], &sentence.text[at + proposal.old.len()..]);
    if joins(head.chars().next_back(), proposal.old.chars().next())
        || joins(proposal.old.chars().next_back(), tail.chars().next())
    {
        return Err(Refusal::SplitsWord);
    }
    if letters(&proposal.old) == letters(&proposal.new) {
        return Err(Refusal::SameWords);
    }
    note.with_sentence(id, &format!("{head}{}{tail}", proposal.new)).ok_or(Refusal::NoSentence(id))
}

fn joins(left: Option<char>, right: Option<char>) -> bool {
    left.is_some_and(char::is_alphanumeric) && right.is_some_and(char::is_alphanumeric)
}

fn count_overlapping(text: &str, part: &str) -> usize {
    text.char_indices().filter(|&(at, _)| text[at..].starts_with(part)).count()
}

/// Letters, digits and signs that carry meaning, in lower case ("5.0" is not "50").
fn letters(text: &str) -> String {
    let flat = text.to_lowercase();
    let kept = flat.char_indices().filter(|&(at, c)| {
        let inner = c == '.' && flat[at + 1..].starts_with(|n: char| n.is_ascii_digit());
        c.is_alphanumeric() || inner || matches!(c, '%' | '/' | '<' | '>' | '+')
    });
    kept.map(|(_, c)| c).collect()
}

/// The label of a spliced note, built from what really changed; `None` unless exactly one sentence did.
pub fn label_of_edit(source: &Note, spliced: &Note, kind: ErrorKind) -> Option<Label> {
    let changed = changed_sentences(source, spliced)?;
    let [sentence] = changed.as_slice() else { return None };
    let correction = source.sentence(*sentence)?.text.clone();
    Some(Label::Error { kind, sentence: *sentence, correction })
}

/// Runs every gate of an injection.
pub fn check(
    source: &Note,
    spliced: &Note,
    proposal: &Injection,
    pool: &Pool,
    config: &ScribeConfig,
    lexicon: &Lexicon,
    gates: &mut Gates,
) {
    let (before, after) = (source.text(), spliced.text());
    let of = |note: &Note| note.sentence(proposal.sentence).map_or_else(String::new, |s| s.text.clone());
    let (old, new) = (of(source), of(spliced));
    gates.record("not-empty", gate::not_empty(spliced));
    gates.record("differs", gate::differs(&before, &after));
    gates.record("one-sentence", gate::one_sentence(source, spliced, proposal.sentence));
    gates.record("span", wrong::span_applied(source, spliced, proposal));
    gates.record("meta-marker", gate::no_markers(lexicon, &before, &after));
    gates.record("length-ratio", gate::char_ratio(&before, &after, config.inject_length_ratio));
    gates.record("edit-budget", gate::edit_budget(&old, &new, config.inject_max_edits));
    gates.record("clinical-edit", wrong::clinical_edit(lexicon, &old, &new));
    gates.record("synonym", wrong::not_synonym(lexicon, &old, &new));
    gates.record("elaboration", wrong::not_elaboration(lexicon, proposal.kind, &old, &new));
    gates.record("slip", wrong::not_slip(lexicon, &old, &new));
    gates.record("kind-fits", wrong::kind_fits(lexicon, proposal.kind, &old, &new));
    gates.record("counterpart", wrong::counterpart(lexicon, proposal.kind, &old, &new));
    gates.record("frame", wrong::frame_fits(lexicon, proposal.kind, &old, &new));
    gates.record("alternative", wrong::not_alternative(lexicon, &before, &old, &new));
    gates.record("stated", wrong::not_stated(lexicon, proposal.kind, source, proposal));
    let edit = Edit::between(&old, &new, lexicon);
    gates.record("known-pair", pool.unknown_pair(&source.group, &edit));
    gates.record("novelty", pool.novel(&source.group, &edit, config.novelty_rouge));
    gates.record("rare", wrong::rare(lexicon, &old, &new));
}
