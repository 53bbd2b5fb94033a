//! The `[scribe]` section: who writes, how often it is tried, and where each gate draws its line.
//! Thresholds are calibrated on real MEDEC pairs (research: medserl-peers §5.2; figures: `medserl audit gates`).

use serde::{Deserialize, Serialize};

use super::{ConfigError, DataSource};

/// Which weights write for the Scribe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScribePolicy {
    /// Adapter off.
    #[default]
    Base,
    /// The policy in training.
    Current,
}

/// Which known errors a new injection must differ from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Novelty {
    Off,
    /// Those of the same patient: what its error note says wrong, and what was injected into its notes before.
    Vignette,
    /// All of the training notes, and all injections of the run.
    Corpus,
}

/// The Scribe's generation, gates and options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScribeConfig {
    pub policy: ScribePolicy,
    pub temperature: f32,
    pub max_tokens: usize,
    /// Attempts per sample before the static source is used and marked `fallback`.
    pub max_attempts: u32,
    /// Word-count ratio rewritten / source for augmentations.
    pub augment_length_ratio: (f64, f64),
    /// Character ratio for decoys.
    pub decoy_length_ratio: (f64, f64),
    /// Character ratio for injections (MEDEC's 1st-99th percentile is 0.944-1.072).
    pub inject_length_ratio: (f64, f64),
    /// Fewest words an augmentation of a clean note must change.
    pub augment_min_edits: usize,
    /// Least share of a sentence's telling words that its rewording keeps, synonyms counted as kept.
    pub augment_kept: f64,
    /// Most words (multiset) an injection may change (MEDEC's 99th percentile is 13).
    pub inject_max_edits: usize,
    /// Noise operations put into a decoy; it may hold no more typing slips than that.
    pub decoy_edits: usize,
    /// Which known errors an injection must differ from; left out: `corpus` for MEDEC notes, `vignette` for demo notes, whose
    /// every possible error stands in the training notes already.
    pub novelty: Option<Novelty>,
    /// An injection whose edit is as like a known one as this (ROUGE-L of the words out and of those in, averaged) is refused.
    pub novelty_rouge: f64,
    /// Examples shown to the writer of an injection, at most two of them of this run (SeRL's self-instruction); 0 is off.
    pub few_shot: usize,
    /// Steps after which an error of this run is shown no more; 0 never.
    pub example_age: u32,
    /// How often the frozen model reads each made note blind; 0 is off. Costs as many completions a sample.
    pub votes: usize,
    /// Least share of those votes that must agree with the label.
    pub vote_share: f64,
    /// Asks the frozen model which of source and injection holds the error, in both orders; both answers must be right.
    pub pair_judge: bool,
}

impl Default for ScribeConfig {
    fn default() -> Self {
        ScribeConfig {
            policy: ScribePolicy::Base,
            temperature: 0.8,
            max_tokens: 320,
            max_attempts: 3,
            augment_length_ratio: (0.7, 1.4),
            decoy_length_ratio: (0.9, 1.1),
            inject_length_ratio: (0.9, 1.1),
            augment_min_edits: 2,
            augment_kept: 0.65,
            inject_max_edits: 13,
            decoy_edits: 4,
            novelty: None,
            novelty_rouge: 0.7,
            few_shot: 0,
            example_age: 0,
            votes: 0,
            vote_share: 0.5,
            pair_judge: false,
        }
    }
}

impl ScribeConfig {
    /// Which known errors count for notes of this source.
    pub fn novelty_for(&self, source: DataSource) -> Novelty {
        self.novelty.unwrap_or(match source {
            DataSource::Medec => Novelty::Corpus,
            DataSource::Clinic => Novelty::Vignette,
        })
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |bad: bool, key, value: String, message| if bad { Err(ConfigError::Value { key, value, message }) } else { Ok(()) };
        let temperature = self.temperature;
        refuse(temperature.is_nan() || temperature < 0.0, "scribe.temperature", temperature.to_string(), "must not be negative")?;
        refuse(self.max_attempts == 0, "scribe.max_attempts", "0".into(), "must be at least 1")?;
        // An attempt has eight bits in the keys of its draws.
        refuse(self.max_attempts > 255, "scribe.max_attempts", self.max_attempts.to_string(), "must be at most 255")?;
        for (key, (low, high)) in [
            ("scribe.augment_length_ratio", self.augment_length_ratio),
            ("scribe.decoy_length_ratio", self.decoy_length_ratio),
            ("scribe.inject_length_ratio", self.inject_length_ratio),
        ] {
            let is_range = low >= 0.0 && low <= high && high.is_finite();
            refuse(!is_range, key, format!("[{low}, {high}]"), "must be a range, the lower number first")?;
        }
        for (key, share) in [
            ("scribe.augment_kept", self.augment_kept),
            ("scribe.novelty_rouge", self.novelty_rouge),
            ("scribe.vote_share", self.vote_share),
        ] {
            refuse(!(0.0..=1.0).contains(&share), key, share.to_string(), "must lie between 0 and 1")?;
        }
        refuse(self.inject_max_edits == 0, "scribe.inject_max_edits", "0".into(), "must be at least 1")?;
        refuse(self.decoy_edits == 0, "scribe.decoy_edits", "0".into(), "must be at least 1")
    }
}
