//! Text that is safe to show. Model output and note files are hostile until they have passed through here.

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

/// Sanitised text: no control bytes, no bidi or invisible format characters. The only way in is [`Text::new`];
/// everything the terminal, a log or a report shows is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Text(String);

impl Text {
    /// Keeps line feeds, turns tabs into spaces, and replaces every other control or invisible character by `�`.
    pub fn new(raw: &str) -> Text {
        Text(raw.replace("\r\n", "\n").chars().map(safe_char).collect())
    }

    /// Appends more raw text, sanitised. A line break split over two pieces keeps its carriage return as a replacement mark.
    pub fn push(&mut self, raw: &str) {
        self.0.push_str(Text::new(raw).as_str());
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const REDACTED: &str = "[redacted]";

/// Takes out what must not be written down anywhere: access tokens of the hub (`hf_` and eight or more letters, digits or
/// underscores), credentials and queries of addresses, and what follows the word `Bearer`. Takes linear time.
pub fn without_secrets(text: &str) -> String {
    let mut found = [tokens(text), bearers(text), addresses(text)].concat();
    found.retain(|secret| !secret.is_empty() && &text[secret.clone()] != REDACTED);
    found.sort_by_key(|secret| secret.start);
    let (mut clean, mut end) = (String::with_capacity(text.len()), 0);
    for secret in found {
        if secret.start >= end {
            clean.push_str(&text[end..secret.start]);
            clean.push_str(REDACTED);
        }
        end = end.max(secret.end);
    }
    clean + &text[end..]
}

fn tokens(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut end) = (Vec::new(), 0);
    for (at, _) in text.match_indices("hf_") {
        if at >= end {
            end = at + run(&text[at..], is_token_byte);
            found.extend((end - at >= 11).then_some(at..end));
        }
    }
    found
}

fn bearers(text: &str) -> Vec<Range<usize>> {
    let after = text.match_indices("earer ").map(|(at, word)| at + word.len());
    after.map(|from| from..from + run(&text[from..], |b| !b.is_ascii_whitespace())).collect()
}

/// Logins and queries. An address may hold another one, whose login is as secret.
fn addresses(text: &str) -> Vec<Range<usize>> {
    let is_part = |b: u8| !b.is_ascii_whitespace() && !b"\"'<>)".contains(&b);
    let (mut found, mut searched) = (Vec::new(), 0);
    for (at, word) in text.match_indices("://") {
        let from = at + word.len();
        let host = &text[from..from + run(&text[from..], |b| is_part(b) && b != b'/')];
        found.extend(host.rfind('@').map(|n| from..from + n));
        if from >= searched {
            searched = from + run(&text[from..], is_part);
            found.extend(text[from..searched].find('?').map(|n| from + n + 1..searched));
        }
    }
    found
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// Bytes at the start of `text` that are of a kind; cut at no character's middle, since only ASCII bytes end it.
fn run(text: &str, kind: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|b| !kind(b)).unwrap_or(text.len())
}

fn safe_char(c: char) -> char {
    match c {
        '\n' => '\n',
        '\t' => ' ',
        c if c.is_control() || is_invisible(c) => '\u{fffd}',
        c => c,
    }
}

/// Unicode's default-ignorable characters (zero-width, bidi-control, tag, variation), line separators and private use:
/// they can hide or reorder what a reader sees.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF | 0xF0000..=0x10_FFFF)
}

impl From<String> for Text {
    fn from(raw: String) -> Text {
        Text::new(&raw)
    }
}

impl From<&str> for Text {
    fn from(raw: &str) -> Text {
        Text::new(raw)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
