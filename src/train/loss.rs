//! The clipped policy loss in closed form: its value and its slope per token, on plain slices.
//! Source: OpenRLHF `models/loss.py` PolicyLoss (research: serl-openrlhf §1.3 item 11).

/// Bounds of the log-ratio and of the ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    pub low: f32,
    pub high: f32,
    /// Bound of the log-ratio before the exponential; `None` leaves it free.
    pub log_ratio: Option<f32>,
}

/// One token's loss, its slope with respect to the policy's log-prob, and whether the clipped branch acts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLoss {
    pub loss: f32,
    pub slope: f32,
    pub clipped: bool,
}

/// -min(rho A, clip(rho, 1 - low, 1 + high) A) with rho = exp(policy - old).
pub fn token_loss(policy_logprob: f32, old_logprob: f32, advantage: f32, clip: Clip) -> TokenLoss {
    let bound = clip.log_ratio.unwrap_or(f32::INFINITY);
    let difference = policy_logprob - old_logprob;
    let ratio = difference.clamp(-bound, bound).exp();
    let (free, bounded) = (ratio * advantage, ratio.clamp(1.0 - clip.low, 1.0 + clip.high) * advantage);
    if bounded < free {
        return TokenLoss { loss: -bounded, slope: 0.0, clipped: true };
    }
    let slope = if difference.abs() > bound { 0.0 } else { -free };
    TokenLoss { loss: -free, slope, clipped: false }
}
