//! The `[rounds]` section: self-play in rounds, and when another one is not worth it.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What a round is judged by, on the held-out notes and their true labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundMetric {
    #[default]
    Accuracy,
    PairAccuracy,
}

impl RoundMetric {
    /// The score's name in a stored evaluation.
    pub fn key(self) -> &'static str {
        match self {
            RoundMetric::Accuracy => "flag_accuracy",
            RoundMetric::PairAccuracy => "pair_accuracy",
        }
    }
}

/// SeRL's paper speaks of rounds and its code runs until it is killed (research: serl-openrlhf §0.6); here a round has a length, and
/// a rule ends the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundsConfig {
    /// Steps of a round, after which held-out notes are scored; 0 is one round without end. `steps` still bounds the run.
    pub steps: u32,
    pub metric: RoundMetric,
    /// What a round must add to the best score before it.
    pub min_gain: f64,
    /// Rounds in a row that add less, after which the run ends; 0 never ends it.
    pub patience: u32,
}

impl Default for RoundsConfig {
    fn default() -> Self {
        RoundsConfig { steps: 0, metric: RoundMetric::Accuracy, min_gain: 0.005, patience: 1 }
    }
}

impl RoundsConfig {
    /// Whether a round ends with this step.
    pub fn ends_at(&self, step: u32) -> bool {
        self.steps > 0 && step > 0 && step.is_multiple_of(self.steps)
    }

    pub(super) fn validate(&self, held_out: usize) -> Result<(), ConfigError> {
        let refuse = |key, value: String, message| Err(ConfigError::Value { key, value, message });
        if !(0.0..1.0).contains(&self.min_gain) {
            return refuse(
                "rounds.min_gain",
                self.min_gain.to_string(),
                "must be at least 0 and below 1: a difference of shares",
            );
        }
        if self.steps > 0 && held_out == 0 {
            return refuse("eval.notes", "0".into(), "must be at least 1 where rounds.steps judges rounds by held-out notes");
        }
        Ok(())
    }
}
