//! REINFORCE++ and its relatives on plain slices: KL in the token reward, reward-to-go, global normalisation.
//! Source: OpenRLHF `experience_maker.py` and `models/utils.py` (research: serl-openrlhf §1.3, items 4 to 9).

use crate::config::Estimator;

/// What the advantage needs of one completion. All slices have one entry per completion token.
#[derive(Clone, Copy, Debug)]
pub struct Episode<'a> {
    pub reward: f32,
    /// Completions of one prompt share a group.
    pub group: usize,
    /// Log-probs under the policy before the update.
    pub old_logprobs: &'a [f32],
    pub reference_logprobs: &'a [f32],
}

/// The knobs of the estimator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shaping {
    pub estimator: Estimator,
    pub kl_coef: f32,
    /// Bound of the per-token KL estimate; `None` leaves it free.
    pub kl_clamp: Option<f32>,
    /// Bound of the shaped reward.
    pub reward_clip: f32,
}

/// Floor of the variance before its root is taken.
const VARIANCE_FLOOR: f32 = 1e-8;
const GROUP_STD_EPS: f32 = 1e-9;

/// k1 estimate of KL(policy || reference) per token: log ratio, clamped.
pub fn k1(old_logprobs: &[f32], reference_logprobs: &[f32], clamp: Option<f32>) -> Vec<f32> {
    let bound = clamp.unwrap_or(f32::INFINITY);
    old_logprobs.iter().zip(reference_logprobs).map(|(old, reference)| (old - reference).clamp(-bound, bound)).collect()
}

/// Scalar score of each completion after the group baseline and the clip.
pub fn scores(episodes: &[Episode], shaping: &Shaping) -> Vec<f32> {
    let n_groups = episodes.iter().map(|e| e.group + 1).max().unwrap_or(0);
    let mut members = vec![Vec::new(); n_groups];
    for e in episodes {
        members[e.group].push(e.reward);
    }
    episodes
        .iter()
        .map(|e| {
            let group = &members[e.group];
            let n = group.len() as f32;
            let mean = group.iter().sum::<f32>() / n;
            let shaped = match shaping.estimator {
                Estimator::Reinforce => e.reward,
                Estimator::ReinforceBaseline | Estimator::DrGrpo => e.reward - mean,
                Estimator::Rloo => e.reward - (mean * n - e.reward) / (n - 1.0).max(1.0),
                Estimator::GroupNorm => (e.reward - mean) / (sample_std(group, mean) + GROUP_STD_EPS),
            };
            shaped.clamp(-shaping.reward_clip, shaping.reward_clip)
        })
        .collect()
}

fn sample_std(values: &[f32], mean: f32) -> f32 {
    let n = values.len() as f32;
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / (n - 1.0).max(1.0)).sqrt()
}

/// Reward-to-go with gamma 1: the score on the last token, minus the KL penalty on every token.
pub fn returns(score: f32, kl: &[f32], kl_coef: f32) -> Vec<f32> {
    let mut out = vec![0f32; kl.len()];
    let mut sum = score;
    for (out, kl) in out.iter_mut().zip(kl).rev() {
        sum -= kl_coef * kl;
        *out = sum;
    }
    out
}

/// Mean and population variance over all tokens together, in f64.
pub fn token_moments(returns: &[Vec<f32>]) -> (f32, f32) {
    let n = returns.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let mean = returns.iter().flatten().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = returns.iter().flatten().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean as f32, variance as f32)
}

/// Per-token advantages of every completion.
pub fn advantages(episodes: &[Episode], shaping: &Shaping) -> Vec<Vec<f32>> {
    normalised(episodes, shaping).0
}

/// The same with what normalisation took off every return and divided it by; 0 and 1 for an estimator that does not normalise.
pub fn normalised(episodes: &[Episode], shaping: &Shaping) -> (Vec<Vec<f32>>, (f32, f32)) {
    let mut all: Vec<Vec<f32>> = scores(episodes, shaping)
        .iter()
        .zip(episodes)
        .map(|(score, e)| returns(*score, &k1(e.old_logprobs, e.reference_logprobs, shaping.kl_clamp), shaping.kl_coef))
        .collect();
    if !matches!(shaping.estimator, Estimator::Reinforce | Estimator::ReinforceBaseline) {
        return (all, (0.0, 1.0));
    }
    let (mean, variance) = token_moments(&all);
    let std = variance.max(VARIANCE_FLOOR).sqrt();
    let scale = 1.0 / std;
    all.iter_mut().flatten().for_each(|a| *a = (*a - mean) * scale);
    (all, (mean, std))
}
