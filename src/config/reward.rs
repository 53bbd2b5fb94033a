//! The `[reward]` section: what a verdict earns.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::task::{
    Rules, Scheme,
    reward::{Overlong, Weights},
};

/// What a verdict earns. The four weights belong to scheme `full` (research: medserl-peers §4.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    pub scheme: Scheme,
    /// The error's own sentence.
    pub location: f32,
    /// A perfect correction; one no better than the error sentence earns nothing.
    pub correction: f32,
    /// A note and its sibling of the opposite label both right.
    pub pair: f32,
    /// An error found but given another type.
    pub wrong_type: f32,
    /// The last tokens of `doctor.max_tokens` in which a length penalty grows (DAPO); 0 is off. For every scheme.
    pub overlong_buffer: usize,
    /// The length penalty at `doctor.max_tokens`.
    pub overlong_factor: f32,
}

impl Default for RewardConfig {
    fn default() -> Self {
        RewardConfig {
            scheme: Scheme::Strict,
            location: 0.5,
            correction: 0.5,
            pair: 0.5,
            wrong_type: 0.25,
            overlong_buffer: 0,
            overlong_factor: 1.0,
        }
    }
}

impl RewardConfig {
    /// The rules for completions of at most `max_tokens` tokens.
    pub fn rules(&self, max_tokens: usize) -> Rules {
        let RewardConfig { location, correction, pair, wrong_type, .. } = *self;
        let overlong = Overlong { max_tokens, buffer: self.overlong_buffer, factor: self.overlong_factor };
        Rules {
            scheme: self.scheme,
            weights: Weights { location, correction, pair, wrong_type },
            overlong: (self.overlong_buffer > 0).then_some(overlong),
        }
    }

    pub(super) fn validate(&self, max_tokens: usize) -> Result<(), ConfigError> {
        let refuse = |key, value: String, message| Err(ConfigError::Value { key, value, message });
        for (key, weight) in [
            ("reward.location", self.location),
            ("reward.correction", self.correction),
            ("reward.pair", self.pair),
            ("reward.wrong_type", self.wrong_type),
            ("reward.overlong_factor", self.overlong_factor),
        ] {
            if !weight.is_finite() || weight < 0.0 {
                return refuse(key, weight.to_string(), "must be a number that is not negative");
            }
        }
        if self.wrong_type >= 1.0 {
            return refuse("reward.wrong_type", self.wrong_type.to_string(), "must be below 1, which the right type earns");
        }
        if self.overlong_buffer > max_tokens {
            return refuse("reward.overlong_buffer", self.overlong_buffer.to_string(), "must not exceed doctor.max_tokens");
        }
        Ok(())
    }
}
