//! Vignette groups: which notes are about the same patient. Splits, draws and pair accuracy all go by group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::shingles::{jaccard, shingles};
use crate::task::LabelledNote;

/// 5-gram Jaccard at which a clean row joins the error row before it. Measured on MEDEC-MS validation: the 255 clean rows have
/// at least 0.35 with the error row before them, unrelated neighbours at most 0.05; 0.2 lies between, far from both.
pub const SIBLING_SIMILARITY: f64 = 0.2;

/// How the notes of a file fall into groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    pub groups: usize,
    /// Groups with an error note and a clean sibling.
    pub pairs: usize,
    pub errors_alone: usize,
    pub cleans_alone: usize,
}

/// Names every note's group after its first note: a clean row joins the error row directly before it where they are alike.
pub fn assign(notes: &mut [LabelledNote], threshold: f64) {
    for at in 0..notes.len() {
        let group = match at.checked_sub(1).map(|before| &notes[before]) {
            Some(before) if is_sibling(before, &notes[at], threshold) => before.note.group.clone(),
            _ => notes[at].note.id.clone(),
        };
        notes[at].note.group = group;
    }
}

fn is_sibling(before: &LabelledNote, note: &LabelledNote, threshold: f64) -> bool {
    let alternate = before.label.is_error() && !note.label.is_error();
    alternate && jaccard(&shingles(&before.note.text()), &shingles(&note.note.text())) >= threshold
}

/// Counts groups and contrastive pairs.
pub fn count(notes: &[LabelledNote]) -> GroupCounts {
    let mut members: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for note in notes {
        let (errors, cleans) = members.entry(&note.note.group).or_default();
        *if note.label.is_error() { errors } else { cleans } += 1;
    }
    let mut counts = GroupCounts { groups: members.len(), ..GroupCounts::default() };
    for (errors, cleans) in members.into_values() {
        match (errors, cleans) {
            (_, 0) => counts.errors_alone += errors,
            (0, _) => counts.cleans_alone += cleans,
            _ => counts.pairs += 1,
        }
    }
    counts
}
