//! What changed between two texts: words as multisets, and which sentences. Order of words does not count.

use std::collections::BTreeMap;

use super::words::words;
use crate::task::Note;

/// Words (lower case) that left and came, each as often as it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordEdits {
    pub removed: Vec<String>,
    pub added: Vec<String>,
}

impl WordEdits {
    /// A word exchanged for another counts once.
    pub fn count(&self) -> usize {
        self.removed.len().max(self.added.len())
    }
}

/// Compares two texts word by word.
pub fn word_edits(before: &str, after: &str) -> WordEdits {
    let lower = |text: &str| words(text).into_iter().map(|w| w.lower).collect::<Vec<_>>();
    multiset_edits(&lower(before), &lower(after))
}

/// Compares two bags of words.
pub fn multiset_edits(before: &[String], after: &[String]) -> WordEdits {
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    for (words, sign) in [(before, -1), (after, 1)] {
        for word in words {
            *balance.entry(word).or_default() += sign;
        }
    }
    let mut edits = WordEdits::default();
    for (word, n) in balance {
        let side = if n < 0 { &mut edits.removed } else { &mut edits.added };
        side.extend((0..n.unsigned_abs()).map(|_| word.to_owned()));
    }
    edits
}

/// ROUGE-L (F, equal weights, no stemming): the longest common subsequence over the mean length. 0 where a side is empty.
#[allow(clippy::cast_precision_loss)] // words of a sentence
pub fn rouge_l(a: &[String], b: &[String]) -> f64 {
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        // The value left and above, before it is overwritten.
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    2.0 * row[b.len()] as f64 / (a.len() + b.len()).max(1) as f64
}

/// Ids of the sentences whose text differs; `None` where the two notes do not number their sentences alike.
pub fn changed_sentences(before: &Note, after: &Note) -> Option<Vec<u32>> {
    let same_ids = before.sentences.iter().map(|s| s.id).eq(after.sentences.iter().map(|s| s.id));
    let pairs = before.sentences.iter().zip(&after.sentences);
    same_ids.then(|| pairs.filter(|(b, a)| b.text != a.text).map(|(b, _)| b.id).collect())
}

/// Whether two words differ by one letter put in, left out or exchanged, or by two neighbours swapped.
pub fn is_one_slip(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    let head = short.iter().zip(long.iter()).take_while(|(x, y)| x == y).count();
    match long.len() - short.len() {
        0 if head == short.len() => false,
        0 => {
            let swapped = head + 1 < short.len() && short[head] == long[head + 1] && short[head + 1] == long[head];
            short[head + 1..] == long[head + 1..] || (swapped && short[head + 2..] == long[head + 2..])
        }
        1 => short[head..] == long[head + 1..],
        _ => false,
    }
}
