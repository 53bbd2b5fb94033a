//! ROUGE-1, ROUGE-2 and ROUGE-L with the numbers of the Python package `rouge` 1.0.1, which the official MEDIQA-CORR
//! script uses (they differ from `rouge_score`): sets of n-grams, pieces cut at every full stop, case kept.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Precision, recall and F of one ROUGE variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prf {
    pub p: f64,
    pub r: f64,
    pub f: f64,
}

impl Prf {
    fn new(overlap: usize, hypothesis: usize, reference: usize) -> Prf {
        let share = |of: usize| if of == 0 { 0.0 } else { overlap as f64 / of as f64 };
        let (p, r) = (share(hypothesis), share(reference));
        Prf { p, r, f: 2.0 * ((p * r) / (p + r + 1e-8)) }
    }
}

/// The three variants for one pair of texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    pub one: Prf,
    pub two: Prf,
    pub l: Prf,
}

/// Scores a hypothesis against a reference. `None` where either has nothing but full stops: the Python package raises there.
pub fn rouge(hypothesis: &str, reference: &str) -> Option<Rouge> {
    let (hypothesis, reference) = (pieces(hypothesis), pieces(reference));
    if hypothesis.is_empty() || reference.is_empty() {
        return None;
    }
    let (hyp_words, ref_words) = (hypothesis.concat(), reference.concat());
    let by_ngrams = |n: usize| {
        let (hyp, reference) = (ngrams(&hyp_words, n), ngrams(&ref_words, n));
        Prf::new(hyp.intersection(&reference).count(), hyp.len(), reference.len())
    };
    let mut union = HashSet::new();
    for reference in &reference {
        for hypothesis in &hypothesis {
            union.extend(common_words(reference, hypothesis));
        }
    }
    let l = Prf::new(union.len(), ngrams(&hyp_words, 1).len(), ngrams(&ref_words, 1).len());
    Some(Rouge { one: by_ngrams(1), two: by_ngrams(2), l })
}

/// The words of each non-empty piece between full stops. A piece of white space alone is one empty word, as in the
/// original: that is why a reference with a trailing blank cannot be matched perfectly.
fn pieces(text: &str) -> Vec<Vec<&str>> {
    let words = |piece| -> Vec<&str> {
        let words: Vec<&str> = split_space(piece).collect();
        if words.is_empty() { vec![""] } else { words }
    };
    text.split('.').filter(|piece| !piece.is_empty()).map(words).collect()
}

/// Python's `str.split()`.
pub(crate) fn split_space(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Python's `str.isspace` and `\s`, which count the four ASCII separators as space where Unicode does not.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn ngrams<'a>(words: &'a [&'a str], n: usize) -> HashSet<&'a [&'a str]> {
    words.windows(n).collect()
}

/// The words of one longest common subsequence; which one, where there are several, is the original's choice.
fn common_words<'a>(reference: &[&'a str], hypothesis: &[&str]) -> Vec<&'a str> {
    let table = lengths(reference, hypothesis);
    let (mut i, mut j) = (reference.len(), hypothesis.len());
    let mut words = Vec::new();
    while i > 0 && j > 0 {
        if reference[i - 1] == hypothesis[j - 1] {
            words.push(reference[i - 1]);
            (i, j) = (i - 1, j - 1);
        } else if table[i - 1][j] > table[i][j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    words
}

/// `table[i][j]`: length of the longest common subsequence of the first i and the first j words.
fn lengths(reference: &[&str], hypothesis: &[&str]) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; hypothesis.len() + 1]; reference.len() + 1];
    for (i, a) in reference.iter().enumerate() {
        for (j, b) in hypothesis.iter().enumerate() {
            table[i + 1][j + 1] = if a == b { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
        }
    }
    table
}
