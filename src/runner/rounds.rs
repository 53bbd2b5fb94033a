//! The stop rule of rounds, over held-out scores alone.

use crate::config::RoundsConfig;

/// How the rounds so far went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Rounds judged.
    pub n: u32,
    /// The best score, that of before round 1 included; `None` where nothing was scored.
    pub best: Option<f64>,
    /// Rounds in a row, up to the last one, that gained too little.
    pub idle: u32,
    /// The rule ends the run.
    pub stops: bool,
}

/// Judges the scores of all rounds in order against the score before the first. Each must beat the best before it by `min_gain`; the
/// first round without anything before it counts as a gain.
pub fn judge(config: &RoundsConfig, before: Option<f64>, scores: &[f64]) -> Standing {
    let mut standing = Standing { n: 0, best: before.filter(|score| score.is_finite()), idle: 0, stops: false };
    for &score in scores {
        standing.n += 1;
        // A difference of shares has rounding in it; a gain of just what is asked is a gain.
        let gains =
            standing.best.is_none_or(|best| score - best >= config.min_gain.max(f64::MIN_POSITIVE) - 1e-12 && score > best);
        standing.idle = if gains { 0 } else { standing.idle + 1 };
        standing.best = Some(standing.best.map_or(score, |best| best.max(score)));
    }
    standing.stops = config.patience > 0 && standing.idle >= config.patience;
    standing
}
