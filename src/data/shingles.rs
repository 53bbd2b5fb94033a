//! Word 5-grams of notes and their Jaccard similarity, pairwise and across files.
//! Knows texts only; what a similarity means is said in groups and guard.

use std::collections::{HashMap, HashSet};

use crate::task::LabelledNote;

const GRAM: usize = 5;

/// Hashes of a text's word 5-grams; a text of fewer than five words is one gram.
pub fn shingles(text: &str) -> HashSet<u64> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    match words.len() {
        0 => HashSet::new(),
        n if n < GRAM => HashSet::from([hash(&words)]),
        _ => words.windows(GRAM).map(hash).collect(),
    }
}

/// Shared grams over all grams; 0 where either text has none.
pub fn jaccard(a: &HashSet<u64>, b: &HashSet<u64>) -> f64 {
    ratio(a.intersection(b).count(), a.len(), b.len())
}

/// Finds the pairs (id in a, id in b, similarity) at or above a positive threshold, most similar first.
pub fn near_duplicates(a: &[LabelledNote], b: &[LabelledNote], threshold: f64) -> Vec<(String, String, f64)> {
    let index = Index::new(b);
    let mut found = Vec::new();
    for note in a {
        let grams = shingles(&note.note.text());
        for (at, similarity) in index.matches(&grams, threshold) {
            found.push((note.note.id.clone(), b[at].note.id.clone(), similarity));
        }
    }
    found.sort_by(|x, y| y.2.total_cmp(&x.2).then_with(|| (&x.0, &x.1).cmp(&(&y.0, &y.1))));
    found
}

/// The most similar of `among` for each note, with its similarity; `None` where no gram is shared. Of equals the first.
pub fn nearest(notes: &[LabelledNote], among: &[LabelledNote]) -> Vec<Option<(usize, f64)>> {
    let index = Index::new(among);
    let best = |note: &LabelledNote| {
        let found = index.matches(&shingles(&note.note.text()), f64::MIN_POSITIVE);
        found.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    };
    notes.iter().map(best).collect()
}

/// Whether each note is at or above `threshold` similar to the one behind it; false for the last.
pub fn like_next(notes: &[LabelledNote], threshold: f64) -> Vec<bool> {
    let grams: Vec<_> = notes.iter().map(|note| shingles(&note.note.text())).collect();
    (0..notes.len()).map(|at| grams.get(at + 1).is_some_and(|next| jaccard(&grams[at], next) >= threshold)).collect()
}

/// Gram → positions of the notes that hold it.
pub(super) struct Index {
    holders: HashMap<u64, Vec<usize>>,
    sizes: Vec<usize>,
}

impl Index {
    fn new(notes: &[LabelledNote]) -> Index {
        let grams: Vec<_> = notes.iter().map(|note| shingles(&note.note.text())).collect();
        Index::of(&grams)
    }

    /// The index of texts given by their grams.
    pub fn of(grams: &[HashSet<u64>]) -> Index {
        let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, grams) in grams.iter().enumerate() {
            grams.iter().for_each(|gram| holders.entry(*gram).or_default().push(at));
        }
        Index { holders, sizes: grams.iter().map(HashSet::len).collect() }
    }

    /// The notes at or above a positive threshold, in no order.
    pub fn matches(&self, grams: &HashSet<u64>, threshold: f64) -> Vec<(usize, f64)> {
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for at in grams.iter().filter_map(|gram| self.holders.get(gram)).flatten() {
            *shared.entry(*at).or_default() += 1;
        }
        let similar = shared.into_iter().map(|(at, count)| (at, ratio(count, grams.len(), self.sizes[at])));
        similar.filter(|(_, similarity)| *similarity >= threshold).collect()
    }
}

fn ratio(shared: usize, a: usize, b: usize) -> f64 {
    if shared == 0 { 0.0 } else { shared as f64 / (a + b - shared) as f64 }
}

/// FNV-1a over the words with a separator; fixed, so that results never depend on the build.
fn hash(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0xCBF2_9CE4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
