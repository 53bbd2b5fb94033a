//! What the token layer draws of each token, on fixed scales, so that two completions can be compared by eye.

use super::inspect::Layer;
use crate::task::{Rollout, trace::Fate};

/// Bars from 0 to 7, and 8 for what is no number.
pub const ODD: usize = 8;
/// A bar from here on is worth a look.
pub const HIGH: usize = 6;

/// Lower ends of the bars above the first, in nats.
const NATS: [f64; 7] = [0.02, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0];
/// The same for what should be about nothing.
const SMALL: [f64; 7] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

/// One value a token; `None` where the run did not keep it.
pub fn values(layer: Layer, rollout: &Rollout) -> Option<Vec<f64>> {
    let sampled = || rollout.completion.rollout_logprobs.iter().map(|p| f64::from(*p));
    let trace = rollout.trace.as_deref();
    let values: Vec<f64> = match layer {
        Layer::Off => return None,
        Layer::Surprise => sampled().map(|p| -p).collect(),
        Layer::Entropy => trace?.entropies.iter().map(|h| f64::from(*h)).collect(),
        Layer::Drift => trace?.policy_logprobs.iter().zip(sampled()).map(|(now, then)| f64::from(*now) - then).collect(),
        Layer::Kl => trace?.reference_logprobs.iter().zip(sampled()).map(|(base, p)| p - f64::from(*base)).collect(),
        Layer::Share => (0..rollout.completion.rollout_logprobs.len()).map(|at| pull(rollout, at)).collect(),
        Layer::Mask => trace?.fates.iter().map(|fate| if *fate == Fate::Trained { 1.0 } else { 0.0 }).collect(),
    };
    (values.len() == rollout.completion.tokens.len()).then_some(values)
}

/// The advantage of one token: its own where it is kept, else the completion's mean.
pub fn advantage(rollout: &Rollout, at: usize) -> Option<f32> {
    let own = rollout.trace.as_ref().and_then(|trace| trace.advantages.get(at).copied());
    own.or(rollout.advantage)
}

/// |advantage| × (1 − p)
pub fn pull(rollout: &Rollout, at: usize) -> f64 {
    let p = rollout.completion.rollout_logprobs.get(at).map_or(f64::NAN, |p| f64::from(*p).exp());
    advantage(rollout, at).map_or(0.0, f64::from).abs() * (1.0 - p)
}

/// The bar of each token; empty where nothing is kept.
pub fn levels(layer: Layer, rollout: &Rollout) -> Vec<usize> {
    let values = values(layer, rollout).unwrap_or_default();
    let most = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    values.into_iter().map(|value| level(layer, value, most)).collect()
}

/// `most`: the largest value of the completion, against which shares are drawn.
fn level(layer: Layer, value: f64, most: f64) -> usize {
    if !value.is_finite() {
        return ODD;
    }
    let on = |scale: &[f64; 7]| scale.iter().filter(|low| value.abs() >= **low).count();
    match layer {
        Layer::Off => 0,
        Layer::Surprise | Layer::Entropy | Layer::Kl => on(&NATS),
        Layer::Drift => on(&SMALL),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Layer::Share => (if most > 0.0 { value / most } else { 0.0 } * 7.99) as usize,
        Layer::Mask => 7 * usize::from(value > 0.0),
    }
}

/// What a layer shows, and its scale.
pub fn legend(layer: Layer) -> String {
    let scale = |s: &[f64; 7]| format!("▁ below {}  ▄ {}  ▆ {}  █ {} and above", s[0], s[2], s[4], s[6]);
    match layer {
        Layer::Off => String::new(),
        Layer::Surprise => format!("bar  −log p in nats: {}", scale(&NATS)),
        Layer::Entropy => format!("bar  entropy of the policy in nats: {}", scale(&NATS)),
        Layer::Drift => format!("bar  log p of the policy less the sampler's, either way, in nats: {}", scale(&SMALL)),
        Layer::Kl => format!("bar  log p less the reference's, either way, in nats: {}", scale(&NATS)),
        Layer::Share => "bar  |advantage| × (1 − p) of the token, against the largest here".to_owned(),
        Layer::Mask => "bar  █ trained on  ▁ clipped, or its optimizer step was left out".to_owned(),
    }
}

/// The layer's word on the heading.
pub fn name(layer: Layer) -> &'static str {
    match layer {
        Layer::Off => "off",
        Layer::Surprise => "surprise",
        Layer::Entropy => "entropy",
        Layer::Drift => "drift",
        Layer::Kl => "KL to the reference",
        Layer::Share => "share of the update",
        Layer::Mask => "mask",
    }
}
