//! Which rollouts a reader wants to see: plain data, and the small language people write it in. No SQL here.
//!
//! `quad:SD,SI cell:FP r<0 a>=0.5 len>400 step:300..318 sib:2 type:pharma stop:length id:SD-03 note:"mg daily" text:"…" words`;
//! a `-` before a term turns it round. Every term must hold.

use super::Cell;
use crate::task::{ErrorKind, Quadrant, StopReason};

/// A conjunction of terms; none of them lets every rollout pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutFilter {
    pub terms: Vec<Term>,
}

/// One test, or its opposite.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub negated: bool,
    pub test: Test,
}

/// What can be asked of one rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Quadrants(Vec<Quadrant>),
    Cells(Vec<Cell>),
    Kinds(Vec<Kind>),
    Stops(Vec<StopReason>),
    Number(Number, Bounds),
    /// Holds the words, ASCII letters in any case.
    Contains(Place, String),
}

/// The truth's error type; `None` is a clean note.
pub type Kind = Option<ErrorKind>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Step,
    /// Counted from 1, as it is shown.
    Sibling,
    Reward,
    Advantage,
    /// Tokens of the completion.
    Length,
}

/// Where words are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Completion,
    Note,
    SampleId,
}

/// An interval; the flag of an end says whether the end itself belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    pub low: Option<(f64, bool)>,
    pub high: Option<(f64, bool)>,
}

/// What is wrong with a filter, and at which character (from 0).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("character {}: {message}", at + 1)]
pub struct FilterError {
    pub at: usize,
    pub message: String,
}

const KEYS: &str = "quad cell type stop step sib r a len id note text";
/// Rewards and advantages are shown with two digits: what looks equal is equal.
const SHOWN_HALF: f64 = 0.005;

impl RolloutFilter {
    /// Reads the language above.
    pub fn parse(text: &str) -> Result<RolloutFilter, FilterError> {
        let terms = words(text)?.into_iter().map(|word| term(&word)).collect::<Result<Vec<Term>, FilterError>>()?;
        Ok(RolloutFilter { terms })
    }
}

/// One word of the filter: its characters, whether each was quoted, and where it begins.
struct Word {
    at: usize,
    letters: Vec<(char, bool)>,
}

impl Word {
    fn text(&self, from: usize) -> String {
        self.letters.iter().skip(from).map(|(c, _)| *c).collect()
    }

    fn error<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError { at: self.at + offset, message: message.into() })
    }
}

/// Splits at spaces outside double quotes; `\"` is a quote inside them.
fn words(text: &str) -> Result<Vec<Word>, FilterError> {
    let mut found: Vec<Word> = Vec::new();
    let (mut quote, mut open) = (None, false);
    let mut letters = text.chars().enumerate().peekable();
    while let Some((at, c)) = letters.next() {
        if c == '"' {
            quote = if quote.is_some() { None } else { Some(at) };
            if !open {
                found.push(Word { at, letters: Vec::new() });
                open = true;
            }
            continue;
        }
        if c.is_whitespace() && quote.is_none() {
            open = false;
            continue;
        }
        let c = if c == '\\' && quote.is_some() { letters.next_if(|(_, n)| *n == '"').map_or(c, |(_, n)| n) } else { c };
        if !open {
            found.push(Word { at, letters: Vec::new() });
            open = true;
        }
        if let Some(word) = found.last_mut() {
            word.letters.push((c, quote.is_some()));
        }
    }
    match quote {
        Some(at) => Err(FilterError { at, message: "this quote is not closed".into() }),
        None => Ok(found.into_iter().filter(|word| !word.letters.is_empty()).collect()),
    }
}

fn term(word: &Word) -> Result<Term, FilterError> {
    let negated = word.letters.first() == Some(&('-', false)) && word.letters.len() > 1;
    let from = usize::from(negated);
    let operator = word.letters.iter().skip(from).position(|(c, quoted)| !quoted && matches!(c, ':' | '<' | '>' | '='));
    let Some(length) = operator else {
        return Ok(Term { negated, test: Test::Contains(Place::Completion, word.text(from)) });
    };
    let key: String = word.letters.iter().skip(from).take(length).map(|(c, _)| c.to_ascii_lowercase()).collect();
    let mut value_at = from + length + 1;
    let mut sign = word.letters[from + length].0.to_string();
    if sign != ":" && sign != "=" && word.letters.get(value_at) == Some(&('=', false)) {
        sign.push('=');
        value_at += 1;
    }
    let value = word.text(value_at);
    if value.is_empty() {
        return word.error(value_at, format!("a value is missing after {key}{sign}"));
    }
    let number = match key.as_str() {
        "step" => Some(Number::Step),
        "sib" => Some(Number::Sibling),
        "r" | "reward" => Some(Number::Reward),
        "a" | "advantage" => Some(Number::Advantage),
        "len" | "tokens" => Some(Number::Length),
        _ => None,
    };
    if let Some(number) = number {
        let bounds = bounds(word, number, &sign, (value_at, &value))?;
        return Ok(Term { negated, test: Test::Number(number, bounds) });
    }
    if sign != ":" && sign != "=" {
        return word.error(from + length, format!("{key} is no number; write {key}:VALUE"));
    }
    let test = match key.as_str() {
        "quad" => Test::Quadrants(list(word, value_at, &value, "AE, AS, SD or SI", Quadrant::parse)?),
        "cell" => Test::Cells(list(word, value_at, &value, "TP, TN, FP, FN or XX", Cell::parse)?),
        "type" => Test::Kinds(list(word, value_at, &value, "the start of one error type, or 'clean'", kind)?),
        "stop" => Test::Stops(list(word, value_at, &value, "end, length or aborted", stop)?),
        "id" => Test::Contains(Place::SampleId, value),
        "note" => Test::Contains(Place::Note, value),
        "text" => Test::Contains(Place::Completion, value),
        _ => return word.error(from, format!("'{key}' is no key ({KEYS}); quote the word to search for it")),
    };
    Ok(Term { negated, test })
}

/// Reads `a,b,c`; the error points at the item that is wrong.
fn list<T>(
    word: &Word,
    mut at: usize,
    value: &str,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, FilterError> {
    let mut items = Vec::new();
    for item in value.split(',') {
        let Some(read) = read(item) else { return word.error(at, format!("'{item}' is not {expected}")) };
        items.push(read);
        at += item.chars().count() + 1;
    }
    Ok(items)
}

/// A unique start of a type's letters is enough.
fn kind(name: &str) -> Option<Kind> {
    if name.eq_ignore_ascii_case("clean") {
        return Some(None);
    }
    let wanted = name.to_ascii_lowercase();
    let starts = |kind: &ErrorKind| kind.medec_name().to_ascii_lowercase().starts_with(&wanted);
    let mut fitting = ErrorKind::ALL.into_iter().filter(|kind| !wanted.is_empty() && starts(kind));
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(Some(only)),
        _ => ErrorKind::parse(name).map(Some),
    }
}

fn stop(name: &str) -> Option<StopReason> {
    match name.to_ascii_lowercase().as_str() {
        "end" => Some(StopReason::EndOfTurn),
        "length" => Some(StopReason::Length),
        "aborted" => Some(StopReason::Aborted),
        _ => None,
    }
}

fn bounds(word: &Word, what: Number, sign: &str, (at, value): (usize, &str)) -> Result<Bounds, FilterError> {
    let read = |at: usize, text: &str| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => word.error(at, format!("'{text}' is no number")),
    };
    if sign != ":" && sign != "=" {
        let end = Some((read(at, value)?, sign.ends_with('=')));
        return Ok(if sign.starts_with('<') { Bounds { low: None, high: end } } else { Bounds { low: end, high: None } });
    }
    if let Some((low, high)) = value.split_once("..") {
        let high_at = at + low.chars().count() + 2;
        if low.is_empty() && high.is_empty() {
            return word.error(at, "a range needs at least one end");
        }
        let low = if low.is_empty() { None } else { Some((read(at, low)?, true)) };
        let high = if high.is_empty() { None } else { Some((read(high_at, high)?, true)) };
        return Ok(Bounds { low, high });
    }
    let exact = read(at, value)?;
    let half = if matches!(what, Number::Reward | Number::Advantage) { SHOWN_HALF } else { 0.0 };
    Ok(Bounds { low: Some((exact - half, true)), high: Some((exact + half, true)) })
}
