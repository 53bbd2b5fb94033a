//! The `[labels]` section: hand labels of the Scribe's samples, and what they do to the batch.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::task::LabelGate;

/// When hand labels are asked for, and what they lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelsConfig {
    /// `off`, `ask`, or `sample:p`: wait for hand labels before the Doctor reads, never, for all samples or for a share.
    pub gate: LabelGate,
    /// Who labels; the user's name where left out.
    pub annotator: Option<String>,
    /// A quadrant whose claims are right more rarely than this leaves the batch; 0 never.
    pub quarantine_below: f64,
    /// Samples that must be judged before that.
    pub quarantine_min: usize,
    /// Share of decided samples asked again, for self-agreement.
    pub repeats: f64,
}

impl Default for LabelsConfig {
    fn default() -> Self {
        LabelsConfig { gate: LabelGate::Off, annotator: None, quarantine_below: 0.8, quarantine_min: 20, repeats: 0.1 }
    }
}

impl LabelsConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |bad: bool, key, value: String, message| if bad { Err(ConfigError::Value { key, value, message }) } else { Ok(()) };
        let below = self.quarantine_below;
        refuse(
            !(0.0..=1.0).contains(&below),
            "labels.quarantine_below",
            below.to_string(),
            "must lie between 0 and 1; 0 turns quarantine off",
        )?;
        refuse(self.quarantine_min == 0, "labels.quarantine_min", "0".into(), "must be at least 1: no labels prove nothing")?;
        refuse(
            !(0.0..1.0).contains(&self.repeats),
            "labels.repeats",
            self.repeats.to_string(),
            "must be at least 0 and below 1",
        )?;
        let blank = self.annotator.as_ref().is_some_and(|name| name.trim().is_empty());
        refuse(blank, "labels.annotator", "\"\"".into(), "must be a name; leave it out for the user's own")
    }
}
