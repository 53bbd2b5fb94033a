//! Uncertainty of a rate: percentile bootstrap over vignette groups (siblings are not independent), and Wilson's interval
//! for independent trials. Draws come from the given seed only.

use std::fmt;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};

use super::graded::{Rate, Tally, ratio};

/// The 0.975 quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// A two-sided 95% interval: of a rate both ends within 0..=1, of a difference within -1..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:.1}, {:.1}]", 100.0 * self.low, 100.0 * self.high)
    }
}

/// Percentile bootstrap: whole groups are drawn with replacement. `None` where the rate has nothing to count.
/// A resample without anything to count (all its groups lack, say, a clean note) is left out.
pub fn bootstrap(groups: &[Tally], rate: Rate, seed: u64, n_resamples: usize) -> Option<Interval> {
    let counts: Vec<(f64, usize)> = groups.iter().map(|group| rate.counts(group)).map(|(hits, n)| (hits as f64, n)).collect();
    bootstrap_mean(&counts, seed, n_resamples)
}

/// The same for a mean, given each group's (sum, count).
pub fn bootstrap_mean(groups: &[(f64, usize)], seed: u64, n_resamples: usize) -> Option<Interval> {
    percentiles(groups.len(), seed, n_resamples, |drawn| mean(drawn, groups))
}

/// The interval of `after` minus `before`: both are groups of the same notes in the same order, and every resample draws the
/// same groups on both sides, so that what the two have in common cancels.
pub fn bootstrap_difference(before: &[Tally], after: &[Tally], rate: Rate, seed: u64, n_resamples: usize) -> Option<Interval> {
    let counts = |groups: &[Tally]| -> Vec<(f64, usize)> {
        groups.iter().map(|group| rate.counts(group)).map(|(hits, n)| (hits as f64, n)).collect()
    };
    let (before, after) = (counts(before), counts(after));
    if before.len() != after.len() {
        return None;
    }
    percentiles(before.len(), seed, n_resamples, |drawn| Some(mean(drawn, &after)? - mean(drawn, &before)?))
}

/// The middle 95% of a statistic over resamples of `n` groups, given as the positions drawn.
fn percentiles(n: usize, seed: u64, n_resamples: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Interval> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; n];
    let mut values = Vec::with_capacity(n_resamples);
    for _ in 0..n_resamples {
        drawn.iter_mut().for_each(|at| *at = below(&mut rng, n));
        values.extend(statistic(&drawn));
    }
    values.sort_by(f64::total_cmp);
    Some(Interval { low: quantile(&values, 0.025)?, high: quantile(&values, 0.975)? })
}

/// Sum over count of the groups drawn; `None` where they count nothing.
fn mean(drawn: &[usize], groups: &[(f64, usize)]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for at in drawn {
        sum += groups[*at].0;
        count += groups[*at].1;
    }
    (count > 0).then(|| sum / count as f64)
}

/// A uniform index below `n` by multiply and shift; the bias, below n / 2^64, cannot be seen.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Linear interpolation between the two nearest order statistics.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// Wilson's score interval at 95% for `hits` of `n` independent trials; `None` for no trials.
pub fn wilson(hits: usize, n: usize) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let (p, n, zz) = (ratio(hits, n), n as f64, Z_95 * Z_95);
    let centre = (p + zz / (2.0 * n)) / (1.0 + zz / n);
    let half = Z_95 / (1.0 + zz / n) * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
    Some(Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}
