//! A data file read whole: its text, its size and its BLAKE3, so that every report can say which bytes it speaks of.

use std::path::Path;

use super::error::DataError;

/// A UTF-8 file without its byte order mark.
pub struct TextFile {
    pub text: String,
    pub bytes: usize,
    /// BLAKE3 of the file as it lies on disk, in hex.
    pub blake3: String,
}

/// Reads a file; bytes that are not UTF-8 are refused with their line.
pub fn read(path: &Path) -> Result<TextFile, DataError> {
    decode(path, std::fs::read(path).map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?)
}

/// Takes the bytes of a file; `path` is only named in messages.
pub fn decode(path: &Path, bytes: Vec<u8>) -> Result<TextFile, DataError> {
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    let size = bytes.len();
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        DataError::NotUtf8 { path: path.to_owned(), line: 1 + count_lines(good) }
    })?;
    if text.starts_with('\u{FEFF}') {
        text.drain(..'\u{FEFF}'.len_utf8());
    }
    Ok(TextFile { text, bytes: size, blake3 })
}

/// Line feeds in a piece of text.
pub fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
}
