//! The `[hooks]` section: commands that a run starts when something happens, so that its owner hears of it without looking.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Each hook is a program and its arguments, started as they stand: no shell reads them, so nothing needs quoting and nothing is
/// expanded. It gets one line of JSON on its standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksConfig {
    /// An alarm was raised or is over, the run went back to an earlier checkpoint, or a breakpoint was hit.
    pub on_alert: Vec<String>,
    /// The run pauses, whatever for.
    pub on_pause: Vec<String>,
    /// All steps are done.
    pub on_finish: Vec<String>,
    /// The run ended with an error.
    pub on_failure: Vec<String>,
    /// A hook that takes longer is killed, with everything it started.
    pub timeout_s: u64,
    /// Pass the messages of the run on too. They are the program's own words, but the message of a failure can quote a file; without
    /// this only names and numbers leave.
    pub messages: bool,
}

impl Default for HooksConfig {
    fn default() -> Self {
        let none = Vec::new;
        HooksConfig { on_alert: none(), on_pause: none(), on_finish: none(), on_failure: none(), timeout_s: 10, messages: false }
    }
}

impl HooksConfig {
    /// Whether this says nothing; then it is not written down either.
    pub(super) fn is_off(&self) -> bool {
        *self == HooksConfig::default()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let all = [
            ("hooks.on_alert", &self.on_alert),
            ("hooks.on_pause", &self.on_pause),
            ("hooks.on_finish", &self.on_finish),
            ("hooks.on_failure", &self.on_failure),
        ];
        for (key, command) in all {
            if command.first().is_some_and(String::is_empty) {
                let message = "the first word must be a program, such as [\"/home/me/tell-me\", \"--quietly\"]";
                return Err(ConfigError::Value { key, value: format!("{command:?}"), message });
            }
        }
        if (1..=600).contains(&self.timeout_s) {
            return Ok(());
        }
        let (key, value) = ("hooks.timeout_s", self.timeout_s.to_string());
        Err(ConfigError::Value { key, value, message: "must lie between 1 and 600 seconds" })
    }
}
