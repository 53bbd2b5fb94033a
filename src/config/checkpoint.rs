//! The `[checkpoint]` section: how often a run is saved and what is kept.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The file in a checkpoint's folder that is written last: a folder without it is no checkpoint.
pub const MANIFEST: &str = "MANIFEST.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between checkpoints.
    pub every: u32,
    /// Checkpoints kept. The best one by held-out accuracy and those marked with a file `KEPT` stay beside them.
    pub keep: usize,
    /// Most gigabytes (1e9 bytes) of all checkpoints together; the newest stays in any case.
    pub max_gb: Option<f64>,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        CheckpointConfig { every: 5, keep: 3, max_gb: None }
    }
}

impl CheckpointConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |bad: bool, key, value: String, message| if bad { Err(ConfigError::Value { key, value, message }) } else { Ok(()) };
        refuse(self.every == 0, "checkpoint.every", "0".into(), "must be at least 1: a run that never saves cannot resume")?;
        refuse(self.keep == 0, "checkpoint.keep", "0".into(), "must be at least 1")?;
        let max = self.max_gb.unwrap_or(1.0);
        refuse(!max.is_finite() || max <= 0.0, "checkpoint.max_gb", max.to_string(), "must be above 0")
    }
}
