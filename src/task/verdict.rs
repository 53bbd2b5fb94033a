//! Completion text → Verdict: the only parser of the Doctor's output (design §6, research: medserl-peers §4.1).
//!
//! Grammar: space, `<thinking>` text `</thinking>`, space, `<verdict>` v `</verdict>`, space, end. Each tag occurs exactly once and
//! thinking has at least five words. v is `No Clinical Error` or `Error: TYPE[; Sentence: n][; Correction: text]`.
//! Nothing is found by substring, so a quotation of the grammar inside the thinking makes the completion malformed.

use serde::{Deserialize, Serialize};

use super::{
    label::ErrorKind,
    rollout::{Completion, StopReason},
};

const THINKING_OPEN: &str = "<thinking>";
const THINKING_CLOSE: &str = "</thinking>";
const VERDICT_OPEN: &str = "<verdict>";
const VERDICT_CLOSE: &str = "</verdict>";
const MIN_THINKING_WORDS: usize = 5;

/// Why a completion could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    Empty,
    TextBeforeThinking,
    MissingThinking,
    UnclosedThinking,
    ThinkingTooShort,
    MissingVerdict,
    UnclosedVerdict,
    TextBetween,
    TextAfterVerdict,
    RepeatedTag,
    UnknownVerdict,
    UnknownType,
    BadSentence,
    EmptyCorrection,
    Truncated,
}

impl Malformation {
    pub fn describe(self) -> &'static str {
        match self {
            Malformation::Empty => "nothing was written",
            Malformation::TextBeforeThinking => "text before <thinking>",
            Malformation::MissingThinking => "no <thinking>",
            Malformation::UnclosedThinking => "<thinking> is not closed",
            Malformation::ThinkingTooShort => "thinking has fewer than five words",
            Malformation::MissingVerdict => "no <verdict>",
            Malformation::UnclosedVerdict => "<verdict> is not closed",
            Malformation::TextBetween => "text between thinking and verdict",
            Malformation::TextAfterVerdict => "text after </verdict>",
            Malformation::RepeatedTag => "a tag occurs twice",
            Malformation::UnknownVerdict => "verdict is neither 'No Clinical Error' nor 'Error: TYPE'",
            Malformation::UnknownType => "error type is none of the five",
            Malformation::BadSentence => "sentence is not a number",
            Malformation::EmptyCorrection => "correction is empty",
            Malformation::Truncated => "ran out of tokens before the end",
        }
    }
}

/// What a completion claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Verdict {
    Clean,
    Error { kind: ErrorKind, sentence: Option<u32>, correction: Option<String> },
    Malformed { why: Malformation },
}

impl Verdict {
    /// `Some(true)` for an error claim, `Some(false)` for clean, `None` where nothing could be read.
    pub fn flag(&self) -> Option<bool> {
        match self {
            Verdict::Clean => Some(false),
            Verdict::Error { .. } => Some(true),
            Verdict::Malformed { .. } => None,
        }
    }
}

/// The verdict of a completion: the way every model's text is graded, in training and in evaluation. A prompt, and so a note,
/// has no way in here.
pub fn of(completion: &Completion) -> Verdict {
    read(&completion.text, completion.stop)
}

/// Parses a completion of which it is known why it ended. One that ran out of tokens is malformed whatever it says so far:
/// nobody knows what would have followed.
pub fn read(text: &str, stop: StopReason) -> Verdict {
    match stop {
        StopReason::Length => Verdict::Malformed { why: Malformation::Truncated },
        StopReason::EndOfTurn | StopReason::Aborted => parse(text),
    }
}

/// Parses one completion, already cut at its end-of-turn token. Time grows linearly with the text, whatever it holds.
pub fn parse(completion: &str) -> Verdict {
    match parts(completion) {
        Ok((_, verdict)) => parse_claim(verdict).unwrap_or_else(|why| Verdict::Malformed { why }),
        Err(why) => Verdict::Malformed { why },
    }
}

/// Splits a possibly unfinished completion for display: (thinking so far, verdict so far). Never used for grading.
pub fn split_for_display(completion: &str) -> (&str, Option<&str>) {
    let completion = without_half_a_tag(completion);
    let (head, verdict) = match completion.split_once(VERDICT_OPEN) {
        Some((head, tail)) => (head, Some(tail.split(VERDICT_CLOSE).next().unwrap_or(tail).trim())),
        None => (completion, None),
    };
    let head = head.trim().strip_prefix(THINKING_OPEN).unwrap_or(head.trim());
    (head.split(THINKING_CLOSE).next().unwrap_or(head).trim(), verdict)
}

/// Without the beginning of a tag at its end, whose rest is still to come.
fn without_half_a_tag(text: &str) -> &str {
    let Some(at) = text.rfind('<') else { return text };
    let end = &text[at..];
    let tags = [THINKING_OPEN, THINKING_CLOSE, VERDICT_OPEN, VERDICT_CLOSE];
    if tags.iter().any(|tag| tag.len() > end.len() && tag.starts_with(end)) { &text[..at] } else { text }
}

/// Returns (thinking, verdict text) of a well-formed completion.
fn parts(completion: &str) -> Result<(&str, &str), Malformation> {
    let text = completion.trim();
    if text.is_empty() {
        return Err(Malformation::Empty);
    }
    if [THINKING_OPEN, THINKING_CLOSE, VERDICT_OPEN, VERDICT_CLOSE].iter().any(|tag| text.matches(tag).count() > 1) {
        return Err(Malformation::RepeatedTag);
    }
    if !text.contains(THINKING_OPEN) {
        return Err(Malformation::MissingThinking);
    }
    let body = text.strip_prefix(THINKING_OPEN).ok_or(Malformation::TextBeforeThinking)?;
    let (thinking, rest) = body.split_once(THINKING_CLOSE).ok_or(Malformation::UnclosedThinking)?;
    if thinking.contains(VERDICT_OPEN) || thinking.contains(VERDICT_CLOSE) {
        return Err(Malformation::MissingVerdict);
    }
    if thinking.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count() < MIN_THINKING_WORDS {
        return Err(Malformation::ThinkingTooShort);
    }
    if !rest.contains(VERDICT_OPEN) {
        return Err(Malformation::MissingVerdict);
    }
    let body = rest.trim_start().strip_prefix(VERDICT_OPEN).ok_or(Malformation::TextBetween)?;
    let (verdict, after) = body.split_once(VERDICT_CLOSE).ok_or(Malformation::UnclosedVerdict)?;
    if !after.trim().is_empty() {
        return Err(Malformation::TextAfterVerdict);
    }
    Ok((thinking.trim(), verdict.trim()))
}

fn parse_claim(claim: &str) -> Result<Verdict, Malformation> {
    let bare = claim.strip_suffix('.').unwrap_or(claim).trim();
    if bare.split_whitespace().map(str::to_ascii_lowercase).eq(["no", "clinical", "error"]) {
        return Ok(Verdict::Clean);
    }
    let rest = strip_key(claim, "error").ok_or(Malformation::UnknownVerdict)?;
    // The correction is the last field and may itself hold semicolons.
    let (head, correction) = match split_field(rest, "correction") {
        Some((_, correction)) if correction.trim().is_empty() => return Err(Malformation::EmptyCorrection),
        Some((head, correction)) => (head, Some(correction.trim().to_owned())),
        None => (rest, None),
    };
    let (kind, sentence) = match split_field(head, "sentence") {
        Some((kind, number)) => (kind, Some(parse_number(number)?)),
        None => (head, None),
    };
    let kind = kind.trim();
    let kind = ErrorKind::parse(kind.strip_suffix('.').unwrap_or(kind)).ok_or(Malformation::UnknownType)?;
    Ok(Verdict::Error { kind, sentence, correction })
}

fn parse_number(field: &str) -> Result<u32, Malformation> {
    let digits = field.trim();
    let digits = digits.strip_suffix('.').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformation::BadSentence);
    }
    digits.parse().map_err(|_| Malformation::BadSentence)
}

/// `Key: rest` with the key in any case → `rest`.
fn strip_key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    // Looks no further than key and colon: a search for the colon from every semicolon would take quadratic time.
    let (head, rest) = text.trim_start().split_at_checked(key.len())?;
    if head.eq_ignore_ascii_case(key) { rest.trim_start().strip_prefix(':') } else { None }
}

/// Splits at the first `; key:`.
fn split_field<'a>(text: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find(';') {
        let at = from + at;
        if let Some(rest) = strip_key(&text[at + 1..], key) {
            return Some((&text[..at], rest));
        }
        from = at + 1;
    }
    None
}
