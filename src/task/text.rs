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
