//! How much a proposed correction improves on leaving the sentence as it is: words only, deterministic. Knows no verdict
//! and no weight. The official ROUGE of the MEDEC score is another number and lives in `eval`.

use std::collections::HashMap;

/// Unigram F of two texts, 0 to 1: clipped word counts, precision and recall weighted equally. This is ROUGE-1 (Lin 2004) and
/// the token F1 of SQuAD (Rajpurkar 2016) under one rule for words: lower case, cut at white space, bare of outer punctuation.
pub fn unigram_f(hypothesis: &str, reference: &str) -> f64 {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let (mut n_reference, mut n_hypothesis, mut n_common) = (0usize, 0usize, 0usize);
    for word in words(reference) {
        *counts.entry(word).or_default() += 1;
        n_reference += 1;
    }
    for word in words(hypothesis) {
        n_hypothesis += 1;
        if let Some(left) = counts.get_mut(&word).filter(|left| **left > 0) {
            *left -= 1;
            n_common += 1;
        }
    }
    if n_common == 0 { 0.0 } else { 2.0 * n_common as f64 / (n_hypothesis + n_reference) as f64 }
}

/// The share of the way from the error sentence (0) to the true correction (1) that a proposed correction goes (research:
/// medserl-peers §4.2): F gained over repeating the error sentence, over the most that can be gained. Never negative.
pub fn correction_gain(proposed: &str, error_sentence: &str, correction: &str) -> f64 {
    let unchanged = unigram_f(error_sentence, correction);
    if unchanged < 1.0 {
        return ((unigram_f(proposed, correction) - unchanged) / (1.0 - unchanged)).max(0.0);
    }
    // The same words in another order: counts cannot tell better from worse, so only the correction itself is a gain.
    let is_correction = words(proposed).eq(words(correction)) && !words(error_sentence).eq(words(correction));
    f64::from(u8::from(is_correction))
}

/// Signs that carry meaning (`%`, `+`, `<`) stay; what only closes or quotes goes.
fn words(text: &str) -> impl Iterator<Item = String> {
    let bare = |word: &str| {
        word.trim_matches(|c| {
            matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '[' | ']' | '"' | '\'' | '“' | '”' | '’')
        })
        .to_lowercase()
    };
    text.split_whitespace().map(bare).filter(|word| !word.is_empty())
}
