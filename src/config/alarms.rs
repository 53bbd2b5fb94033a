//! The `[alarms]` section: when a run calls for its owner, and whether it waits for them. How a run is measured is not known here.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What can go wrong with a run that still runs (design §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The mean reward stands still: one constant answer to everything.
    ConstantReward,
    /// The policy has left the reference.
    Kl,
    /// The policy hardly chooses any more.
    EntropyCollapse,
    /// Completions grow, or run out of room.
    LengthRunaway,
    /// Siblings all earn the same, so that there is nothing to compare.
    EqualGroups,
    /// The Scribe's proposals are hardly ever accepted.
    Acceptance,
    /// A number of the step is NaN or infinite, or an update was left out because of one.
    NonFinite,
    /// Reward rises while held-out accuracy falls.
    RewardWithoutTruth,
}

impl AlarmKind {
    pub const ALL: [AlarmKind; 8] = [
        AlarmKind::ConstantReward,
        AlarmKind::Kl,
        AlarmKind::EntropyCollapse,
        AlarmKind::LengthRunaway,
        AlarmKind::EqualGroups,
        AlarmKind::Acceptance,
        AlarmKind::NonFinite,
        AlarmKind::RewardWithoutTruth,
    ];

    /// As experiment files write it.
    pub fn name(self) -> &'static str {
        match self {
            AlarmKind::ConstantReward => "constant_reward",
            AlarmKind::Kl => "kl",
            AlarmKind::EntropyCollapse => "entropy_collapse",
            AlarmKind::LengthRunaway => "length_runaway",
            AlarmKind::EqualGroups => "equal_groups",
            AlarmKind::Acceptance => "acceptance",
            AlarmKind::NonFinite => "non_finite",
            AlarmKind::RewardWithoutTruth => "reward_without_truth",
        }
    }
}

/// Thresholds, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmsConfig {
    /// Alarms that pause the run until it is resumed; the others are only told.
    pub pause: Vec<AlarmKind>,
    /// Alarms that are not watched.
    pub off: Vec<AlarmKind>,
    /// Steps in a row beyond a threshold before an alarm is raised, and back within it before it is over.
    pub patience: u32,
    /// How far back within its threshold a value must come to count as recovered, as a share of the threshold.
    pub margin: f64,
    /// First steps that say what length and entropy are normal for this run.
    pub baseline_steps: u32,
    /// Raised where the mean reward moves less than this over `patience` steps.
    pub reward_spread: f64,
    /// Raised above so many nats a token.
    pub kl: f64,
    /// Raised below this share of the normal entropy.
    pub entropy_share: f64,
    /// Raised above this multiple of the normal length.
    pub length_growth: f64,
    /// Raised above this share of completions that ran out of tokens.
    pub truncated_rate: f64,
    /// Raised above this share of groups whose siblings all earned the same.
    pub equal_groups: f64,
    /// Raised below this share of accepted samples.
    pub acceptance: f64,
    /// Raised where held-out accuracy lies this far below its best …
    pub held_out_drop: f64,
    /// … while the mean reward lies this far above what it was then.
    pub reward_rise: f64,
}

/// The limits on KL, entropy, length and truncation lie between what healthy demo runs showed and the first steps of one that fell apart
/// (experiments/LOG.md, 2026-11-26).
impl Default for AlarmsConfig {
    fn default() -> Self {
        AlarmsConfig {
            pause: Vec::new(),
            off: Vec::new(),
            patience: 3,
            margin: 0.1,
            baseline_steps: 5,
            reward_spread: 1e-6,
            kl: 0.1,
            entropy_share: 0.25,
            length_growth: 1.5,
            truncated_rate: 0.2,
            equal_groups: 0.9,
            acceptance: 0.2,
            held_out_drop: 0.05,
            reward_rise: 0.05,
        }
    }
}

impl AlarmsConfig {
    /// Refuses thresholds that could never, or would always, be passed.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |bad: bool, key, value: f64, message| {
            if bad { Err(ConfigError::Value { key, value: value.to_string(), message }) } else { Ok(()) }
        };
        refuse(self.patience == 0, "alarms.patience", 0.0, "must be at least 1")?;
        refuse(self.baseline_steps == 0, "alarms.baseline_steps", 0.0, "must be at least 1")?;
        refuse(!(0.0..1.0).contains(&self.margin), "alarms.margin", self.margin, "must lie between 0 and 1")?;
        refuse(
            !self.length_growth.is_finite() || self.length_growth <= 1.0,
            "alarms.length_growth",
            self.length_growth,
            "must be above 1: the normal length is no alarm",
        )?;
        for (key, value) in [
            ("alarms.reward_spread", self.reward_spread),
            ("alarms.kl", self.kl),
            ("alarms.held_out_drop", self.held_out_drop),
            ("alarms.reward_rise", self.reward_rise),
        ] {
            refuse(!value.is_finite() || value <= 0.0, key, value, "must be above 0")?;
        }
        for (key, value) in [
            ("alarms.entropy_share", self.entropy_share),
            ("alarms.truncated_rate", self.truncated_rate),
            ("alarms.equal_groups", self.equal_groups),
            ("alarms.acceptance", self.acceptance),
        ] {
            refuse(!(0.0..=1.0).contains(&value), key, value, "must lie between 0 and 1")?;
        }
        Ok(())
    }
}
