//! Mojibake: UTF-8 that was once read as Windows-1252, as in MEDEC's validation file (`â‰¥` for `≥`).
//! Works on one cell of text; knows nothing of rows or files.

use serde::{Deserialize, Serialize};

/// Windows-1252's 0x80..=0x9F. The five bytes it leaves undefined appear as the C1 control of the same number (U+009D).
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', //
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

/// A cell after repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    pub text: String,
    /// Broken characters put right.
    pub characters: usize,
    /// Whether broken text is left over that no re-encoding explains.
    pub residue: bool,
}

/// Puts every run that is UTF-8 read as Windows-1252 right and leaves all other text alone.
pub fn repair(cell: &str) -> Repaired {
    if cell.is_ascii() {
        return Repaired { text: cell.to_owned(), characters: 0, residue: false };
    }
    let chars: Vec<char> = cell.chars().collect();
    let mut text = String::with_capacity(cell.len());
    let (mut at, mut characters) = (0, 0);
    while at < chars.len() {
        if let Some((whole, length)) = decode(&chars[at..]) {
            text.push(whole);
            characters += 1;
            at += length;
        } else {
            text.push(chars[at]);
            at += 1;
        }
    }
    let residue = is_broken(&text);
    Repaired { text, characters, residue }
}

/// Whether text still shows the marks of a wrong decoding. A lone `é` or `µ` is no such mark.
pub fn is_broken(text: &str) -> bool {
    text.contains("â€") || text.chars().any(|c| matches!(c, 'Â' | 'Ã' | '\u{FFFD}' | '\u{80}'..='\u{9F}'))
}

/// Reads one multi-byte UTF-8 character off the front; returns it and how many broken characters it replaces.
fn decode(chars: &[char]) -> Option<(char, usize)> {
    let length = match byte(*chars.first()?)? {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return None,
    };
    let bytes: Vec<u8> = chars.get(..length)?.iter().map(|&c| byte(c)).collect::<Option<_>>()?;
    Some((std::str::from_utf8(&bytes).ok()?.chars().next()?, length))
}

/// The Windows-1252 byte of a character.
fn byte(c: char) -> Option<u8> {
    match HIGH.iter().position(|&high| high == c) {
        Some(at) => u8::try_from(0x80 + at).ok(),
        None => u8::try_from(u32::from(c)).ok(),
    }
}

/// A cell named by its note and its column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub id: String,
    pub column: String,
}

/// What repair found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairCounts {
    /// Whether cells were repaired or only counted.
    pub applied: bool,
    /// Cells with broken text.
    pub broken: usize,
    /// Cells put right entirely.
    pub repaired: usize,
    /// Cells where some broken text no re-encoding explains is left.
    pub unrepairable: Vec<Cell>,
}

impl RepairCounts {
    /// Counts one cell and returns it, repaired where that is applied.
    pub fn mend(&mut self, id: &str, column: &str, cell: &str) -> String {
        let repaired = repair(cell);
        if repaired.characters == 0 && !repaired.residue {
            return cell.to_owned();
        }
        self.broken += 1;
        if repaired.residue {
            self.unrepairable.push(Cell { id: id.to_owned(), column: column.to_owned() });
        } else if self.applied {
            self.repaired += 1;
        }
        if self.applied { repaired.text } else { cell.to_owned() }
    }
}
