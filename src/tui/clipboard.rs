//! Copying through the terminal (OSC 52): works over SSH too, where the terminal allows it. Only sanitised text goes out.

use std::io::{self, Write};

use crate::task::Text;

/// Terminals and tmux cut or drop longer sequences.
pub const MOST_BYTES: usize = 74_000;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Hands `text` to the terminal's clipboard.
pub fn copy(out: &mut dyn Write, text: &Text) -> io::Result<()> {
    write!(out, "\x1b]52;c;{}\x1b\\", base64(text.as_str().as_bytes()))?;
    out.flush()
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let letter = char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]);
            text.push(if i <= chunk.len() { letter } else { '=' });
        }
    }
    text
}
