//! What is known of each token of a completion beside its log-prob under the sampler: kept for reading, never trained on again.

use serde::{Deserialize, Serialize};

/// Likeliest tokens that are noted at each draw.
pub const N_ALTERNATIVES: usize = 5;

/// A token that could have been drawn, and its log-prob in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    pub token: u32,
    pub logprob: f32,
}

/// What the update did with a token: the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its log-prob got a slope.
    #[default]
    Trained,
    /// The clipped branch acted: no slope.
    Clipped,
    /// Its optimizer step was left out, since the gradient was not finite.
    Skipped,
}

/// One value a token in every row (five in `alternatives`, likeliest first; empty where the sampler noted none).
/// The update's values are those of the first time it saw the token, before that optimizer step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Log-prob under the policy, nats.
    pub policy_logprobs: Vec<f32>,
    /// Log-prob with the adapter off, nats.
    pub reference_logprobs: Vec<f32>,
    /// Entropy of the policy's distribution at this place, nats.
    pub entropies: Vec<f32>,
    /// Normalised advantage.
    pub advantages: Vec<f32>,
    pub fates: Vec<Fate>,
    pub alternatives: Vec<Alternative>,
}

impl Fate {
    pub const ALL: [Fate; 3] = [Fate::Trained, Fate::Clipped, Fate::Skipped];

    pub fn name(self) -> &'static str {
        match self {
            Fate::Trained => "trained",
            Fate::Clipped => "clipped",
            Fate::Skipped => "skipped",
        }
    }
}

impl Trace {
    /// The likeliest tokens where token `at` was drawn; empty where they were not noted.
    pub fn alternatives_at(&self, at: usize) -> &[Alternative] {
        self.alternatives.get(at * N_ALTERNATIVES..(at + 1) * N_ALTERNATIVES).unwrap_or_default()
    }
}
