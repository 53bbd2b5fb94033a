//! Text that is safe to show. Model output and note files are hostile until they have passed through here.

use std::fmt;

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

/// Takes out what must not be written down anywhere: access tokens of the hub (`hf_` and eight or more letters, digits or
/// underscores), credentials and queries of addresses, and what follows the word `Bearer`.
pub fn without_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, secret)) = next_secret(rest) {
        clean.push_str(&rest[..at]);
        clean.push_str("[redacted]");
        rest = &rest[at + secret..];
    }
    clean + rest
}

/// Where the first secret begins, and its length in bytes.
fn next_secret(text: &str) -> Option<(usize, usize)> {
    let token =
        text.match_indices("hf_").find_map(|(at, _)| Some((at, run(&text[at..], is_token_byte))).filter(|(_, n)| *n >= 11));
    let bearer = text.match_indices("earer ").find_map(|(at, word)| {
        let from = at + word.len();
        Some((from, run(&text[from..], |b| !b.is_ascii_whitespace()))).filter(|(_, n)| *n > 0)
    });
    let address = text.match_indices("://").find_map(|(at, word)| {
        let from = at + word.len();
        let end = from + run(&text[from..], |b| !b.is_ascii_whitespace() && !b"\"'<>)".contains(&b));
        let address = &text[from..end];
        let login = address.split('/').next().and_then(|host| host.rfind('@')).map(|n| (from, n));
        login.or_else(|| address.find('?').map(|n| (from + n + 1, address.len() - n - 1)).filter(|(_, n)| *n > 0))
    });
    [token, bearer, address].into_iter().flatten().filter(|(at, n)| &text[*at..at + n] != "[redacted]").min()
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
