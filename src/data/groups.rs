//! Vignette groups: which notes are about the same patient. Splits, draws and pair accuracy all go by group.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::shingles::{Index, jaccard, shingles};
use crate::task::LabelledNote;

/// 5-gram Jaccard at which a clean row joins the error row before it. Measured on MEDEC-MS validation: the 255 clean rows have
/// at least 0.35 with the error row before them, unrelated neighbours at most 0.05; 0.2 lies between, far from both.
pub const SIBLING_SIMILARITY: f64 = 0.2;

/// 5-gram Jaccard from which two notes are the same vignette wherever they stand. Measured on MEDEC-MS: within validation,
/// notes of different vignettes have at most 0.18, within training 0.31; of training and validation notes one pair, a vignette
/// used twice, has 0.88 and everything else at most 0.28.
pub const SAME_VIGNETTE: f64 = 0.5;

/// How the notes of a file fall into groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    pub groups: usize,
    /// An error note and a clean sibling each.
    pub pairs: usize,
    pub errors_alone: usize,
    pub cleans_alone: usize,
}

/// Names every note's group after its first note: a clean row joins the error row directly before it where they are alike by
/// `threshold`, and notes that are nearly the same text ([`SAME_VIGNETTE`]) are one group wherever they stand.
pub fn assign(notes: &mut [LabelledNote], threshold: f64) {
    for at in 0..notes.len() {
        let group = match at.checked_sub(1).map(|before| &notes[before]) {
            Some(before) if is_sibling(before, &notes[at], threshold) => before.note.group.clone(),
            _ => notes[at].note.id.clone(),
        };
        notes[at].note.group = group;
    }
    join_alike(notes, SAME_VIGNETTE);
}

fn is_sibling(before: &LabelledNote, note: &LabelledNote, threshold: f64) -> bool {
    let alternate = before.label.is_error() && !note.label.is_error();
    alternate && jaccard(&shingles(&before.note.text()), &shingles(&note.note.text())) >= threshold
}

/// Joins the groups of any two notes at or above `threshold`, a file's shuffled or repeated vignettes; the first name stays.
pub fn join_alike(notes: &mut [LabelledNote], threshold: f64) {
    let grams: Vec<_> = notes.iter().map(|note| shingles(&note.note.text())).collect();
    let index = Index::of(&grams);
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut parents: Vec<usize> =
        notes.iter().enumerate().map(|(at, note)| *first.entry(note.note.group.clone()).or_insert(at)).collect();
    for (at, grams) in grams.iter().enumerate() {
        for (other, _) in index.matches(grams, threshold).into_iter().filter(|(other, _)| *other < at) {
            let (a, b) = (root(&parents, at), root(&parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    for at in 0..notes.len() {
        notes[at].note.group = notes[root(&parents, at)].note.group.clone();
    }
}

/// The first note of the group that `at` belongs to. Parents always stand before their children.
fn root(parents: &[usize], mut at: usize) -> usize {
    while parents[at] != at {
        at = parents[at];
    }
    at
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
        let pairs = errors.min(cleans);
        counts.pairs += pairs;
        counts.errors_alone += errors - pairs;
        counts.cleans_alone += cleans - pairs;
    }
    counts
}
