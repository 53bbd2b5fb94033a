//! The likeliest tokens at a draw, found in one pass that skips whole stretches of the vocabulary by their maximum.

use super::ops::simd;
use crate::task::trace::{Alternative, N_ALTERNATIVES};

/// Logits looked at together: a stretch whose largest is below the fifth best so far is passed over.
const STRETCH: usize = 256;

/// The largest of `logits` (V), likeliest first and by id where equal; their log-probs are logit · `scale` − `log_sum`.
/// A vocabulary smaller than five is filled up with what it has last.
pub fn likeliest(logits: &[f32], scale: f32, log_sum: f32) -> [Alternative; N_ALTERNATIVES] {
    let mut best = [(f32::NEG_INFINITY, 0u32); N_ALTERNATIVES];
    simd::vectorised(
        #[inline(always)]
        || {
            for (i, stretch) in logits.chunks(STRETCH).enumerate() {
                if simd::max(stretch) > best[N_ALTERNATIVES - 1].0 {
                    stretch.iter().enumerate().for_each(|(j, x)| insert(&mut best, *x, (i * STRETCH + j) as u32));
                }
            }
        },
    );
    best.map(|(logit, token)| Alternative { token, logprob: logit * scale - log_sum })
}

/// Equal ones stay behind those that came first; NaN never gets in.
fn insert(best: &mut [(f32, u32); N_ALTERNATIVES], logit: f32, token: u32) {
    let Some(at) = best.iter().position(|(there, _)| logit > *there) else { return };
    best[at..].rotate_right(1);
    best[at] = (logit, token);
}
