//! A word diff of two short texts, as runs to draw. Deletions read `[-so-]`, insertions `+so+`, colour or not.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// What happened to a stretch of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Kept,
    Deleted,
    Inserted,
}

/// A stretch of words with one fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub change: Change,
    pub text: String,
}

/// A kept word this short between two changes is noise to a reader and is counted as changed.
const NOISE_LETTERS: usize = 3;

/// Compares word by word; runs of white space count as one space.
pub fn words(old: &str, new: &str) -> Vec<Piece> {
    let old: Vec<&str> = old.split_whitespace().collect();
    let new: Vec<&str> = new.split_whitespace().collect();
    let mut pieces: Vec<Piece> = Vec::new();
    for (gone, come) in hunks(&old, &new) {
        if gone == come {
            pieces.push(Piece { change: Change::Kept, text: gone.join(" ") });
            continue;
        }
        if !gone.is_empty() {
            pieces.push(Piece { change: Change::Deleted, text: gone.join(" ") });
        }
        if !come.is_empty() {
            pieces.push(Piece { change: Change::Inserted, text: come.join(" ") });
        }
    }
    pieces
}

/// Pairs of (old words, new words), equal or not, with noise between changes folded into them.
fn hunks<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Vec<&'a str>, Vec<&'a str>)> {
    let ops = capture_diff_slices(Algorithm::Myers, old, new);
    let mut hunks: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        let (gone, come) = (&old[op.old_range()], &new[op.new_range()]);
        let between = i > 0 && i + 1 < ops.len();
        let noise = between && is_equal(op) && gone.len() == 1 && gone[0].chars().count() <= NOISE_LETTERS;
        match hunks.last_mut() {
            Some(last) if last.0 != last.1 && (noise || !is_equal(op)) => {
                last.0.extend_from_slice(gone);
                last.1.extend_from_slice(come);
            }
            _ => hunks.push((gone.to_vec(), come.to_vec())),
        }
    }
    hunks
}

fn is_equal(op: &DiffOp) -> bool {
    matches!(op, DiffOp::Equal { .. })
}
