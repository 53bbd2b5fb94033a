//! Experiment TOML plus `--set` overrides → one validated, frozen [`RunConfig`], echoed into the run.
//! Defaults live here and nowhere else; an unknown key is an error.

// The path is spelled out so that this file can also be compiled from another place.
#[path = "config/alarms.rs"]
mod alarms;
#[path = "config/checkpoint.rs"]
mod checkpoint;
#[path = "config/hooks.rs"]
mod hooks;
#[path = "config/labels.rs"]
mod labels;
#[path = "config/place.rs"]
mod place;
#[path = "config/reward.rs"]
mod reward;
#[path = "config/rounds.rs"]
mod rounds;
#[path = "config/scribe.rs"]
mod scribe;
#[path = "config/select.rs"]
mod select;
#[path = "config/text.rs"]
pub mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use alarms::{AlarmKind, AlarmsConfig};
pub use checkpoint::{CheckpointConfig, MANIFEST};
pub use hooks::HooksConfig;
pub use labels::LabelsConfig;
pub use place::Place;
pub use reward::RewardConfig;
pub use rounds::{RoundMetric, RoundsConfig};
pub use scribe::{Novelty, ScribeConfig, ScribePolicy};
pub use select::{Bounds, SelectConfig, Selection, When};

use crate::task::{Breakpoint, PromptStyle};

/// What can be wrong with an experiment file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Invalid { path: PathBuf, message: String },
    #[error("--set {assignment}: {message}")]
    Override { assignment: String, message: String },
    #[error("{key} = {value}: {message}")]
    Value { key: &'static str, value: String, message: &'static str },
}

/// One experiment, fully resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    pub name: String,
    pub seed: u64,
    /// Policy update cycles after the warm-up.
    pub steps: u32,
    /// `nano` (embedded), a local folder, or a hub id such as `google/medgemma-4b-it`.
    pub model: String,
    /// How the frozen weights are kept in memory.
    pub precision: Precision,
    /// `cpu`, `cuda` or `cuda:N`; never another one than asked for.
    pub device: Place,
    pub prompts: Option<PromptStyle>,
    /// Compute threads; 0 uses every core.
    pub threads: usize,
    /// Conditions at which the run pauses, such as `kl > 0.05`; more can be set while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breakpoints: Vec<Breakpoint>,
    pub data: DataConfig,
    pub scribe: ScribeConfig,
    pub doctor: DoctorConfig,
    pub reward: RewardConfig,
    pub select: SelectConfig,
    pub rounds: RoundsConfig,
    pub lora: LoraConfig,
    pub sft: SftConfig,
    pub algo: AlgoConfig,
    pub checkpoint: CheckpointConfig,
    pub alarms: AlarmsConfig,
    pub eval: EvalConfig,
    pub labels: LabelsConfig,
    #[serde(skip_serializing_if = "HooksConfig::is_off")]
    pub hooks: HooksConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            name: "run".into(),
            seed: 1,
            steps: 100,
            model: "nano".into(),
            precision: Precision::default(),
            device: Place::default(),
            prompts: None,
            threads: 0,
            breakpoints: Vec::new(),
            data: DataConfig::default(),
            scribe: ScribeConfig::default(),
            doctor: DoctorConfig::default(),
            reward: RewardConfig::default(),
            select: SelectConfig::default(),
            rounds: RoundsConfig::default(),
            lora: LoraConfig::default(),
            sft: SftConfig::default(),
            algo: AlgoConfig::default(),
            checkpoint: CheckpointConfig::default(),
            alarms: AlarmsConfig::default(),
            eval: EvalConfig::default(),
            labels: LabelsConfig::default(),
            hooks: HooksConfig::default(),
        }
    }
}

/// How frozen weights are kept. Arithmetic is f32 in every case, and so are the adapter and its gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the file has them; nano's are widened to f32, which is faster at its size.
    #[default]
    Stored,
    F32,
    Bf16,
    /// Projections in 8-bit blocks, the embedding in bf16.
    Int8,
    /// Projections in 4-bit blocks, the embedding in bf16.
    Int4,
}

/// Where notes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataSource {
    /// The embedded grammar of demo notes.
    #[default]
    Clinic,
    /// MEDEC files named by `train` and `validation`.
    Medec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    pub source: DataSource,
    /// MEDEC CSV or pairs JSONL to train on; relative to the working directory.
    pub train: Option<PathBuf>,
    /// MEDEC CSV to evaluate on; the split guard refuses a test file as `train` and shared vignettes.
    pub validation: Option<PathBuf>,
    /// Vignette groups the clinic source writes for training.
    pub clinic_groups: usize,
    /// Notes longer than this many tokens are left out and counted.
    pub max_note_tokens: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig { source: DataSource::Clinic, train: None, validation: None, clinic_groups: 2000, max_note_tokens: 640 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DoctorConfig {
    /// Samples a step; a multiple of four so that the quadrants are equal.
    pub samples: usize,
    /// Completions per sample (k).
    pub completions: usize,
    pub temperature: f32,
    pub max_tokens: usize,
    /// Newest steps whose values of single tokens (policy and reference log-probs, entropy, advantage, alternatives) are kept in
    /// rollouts.db, about 57 bytes a token; 0 keeps none.
    pub token_steps: u32,
}

impl Default for DoctorConfig {
    fn default() -> Self {
        DoctorConfig { samples: 16, completions: 4, temperature: 1.0, max_tokens: 512, token_steps: 200 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
    /// A PEFT adapter folder that a new run starts from; `medserl import adapter` fills it in. The reference stays the base model.
    pub from: Option<PathBuf>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        LoraConfig { rank: 16, alpha: 32.0, from: None }
    }
}

/// Whose reasoning the warm-up teaches; MEDEC has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// Sentences made from the label.
    #[default]
    Template,
    /// The base model's own thinking about the note, kept where it is well-formed, with the verdict the label demands.
    Own,
}

/// The supervised warm-up before step 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SftConfig {
    /// Training notes to use; 0 skips the warm-up.
    pub notes: usize,
    pub epochs: usize,
    pub batch: usize,
    pub learning_rate: f64,
    /// Share of clean siblings mixed in (the origin has error notes only, which teaches "always error").
    pub clean_fraction: f64,
    pub thinking: Thinking,
}

impl Default for SftConfig {
    fn default() -> Self {
        SftConfig { notes: 0, epochs: 1, batch: 16, learning_rate: 2e-4, clean_fraction: 0.5, thinking: Thinking::Template }
    }
}

/// Advantage estimators (OpenRLHF names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// REINFORCE++: no baseline, global token normalisation.
    #[default]
    Reinforce,
    /// REINFORCE++-baseline: group mean off, then global token normalisation.
    ReinforceBaseline,
    Rloo,
    GroupNorm,
    DrGrpo,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    #[default]
    Openrlhf,
    PaperV9,
    Serl,
}

/// How token losses become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over all completion tokens of the optimizer step.
    TokenMean,
    /// Mean over each completion's tokens, then over completions.
    CompletionMean,
    /// Token mean over runs of 8 completions, then the mean of those (SeRL's inherited batch bug, as it ran).
    MeanOfEights,
}

/// REINFORCE++ knobs; `None` takes the preset's value (research: serl-openrlhf §7).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlgoConfig {
    pub preset: Preset,
    pub estimator: Option<Estimator>,
    /// Coefficient of the k1 penalty in the token reward.
    pub kl_coef: Option<f64>,
    /// Bound of the per-token KL estimate; 0 leaves it free.
    pub kl_clamp: Option<f32>,
    pub clip_low: Option<f64>,
    pub clip_high: Option<f64>,
    pub reward_clip: Option<f64>,
    /// Bound of the log ratio before it is exponentiated; 0 leaves it free.
    pub log_ratio_clamp: Option<f32>,
    pub reduction: Option<Reduction>,
    /// Rollouts per optimizer step.
    pub batch: Option<usize>,
    /// Passes over the rollouts of a step.
    pub epochs: Option<usize>,
    pub learning_rate: Option<f64>,
    pub warmup_ratio: Option<f64>,
    pub min_lr_ratio: Option<f64>,
    pub betas: Option<(f64, f64)>,
    pub adam_eps: Option<f64>,
    pub weight_decay: Option<f64>,
    pub max_norm: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Steps between held-out evaluations; the first and the last are always made. 0 makes only those.
    pub every: u32,
    /// Held-out notes read each time (pairs are kept whole).
    pub notes: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        EvalConfig { every: 0, notes: 200 }
    }
}

impl RunConfig {
    /// Reads an experiment file and applies `key.path=value` overrides.
    pub fn load(path: &Path, overrides: &[String]) -> Result<RunConfig, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        RunConfig::parse(path, &text, overrides)
    }

    /// Parses experiment text; `path` is only named in messages.
    pub fn parse(path: &Path, text: &str, overrides: &[String]) -> Result<RunConfig, ConfigError> {
        let invalid = |e: toml::de::Error| ConfigError::Invalid { path: path.to_owned(), message: e.to_string() };
        let unreadable = |message| ConfigError::Invalid { path: path.to_owned(), message };
        // Parsed as a RunConfig first, so that a bad key is reported with its line before overrides blur positions.
        text::read::<RunConfig>(text).map_err(unreadable)?;
        let mut table: toml::Table = text::read(text).map_err(unreadable)?;
        for assignment in overrides {
            set(&mut table, assignment)?;
            // Checked one by one, so that a bad key or type is blamed on its override and not on the file.
            let checked: Result<RunConfig, toml::de::Error> = table.clone().try_into();
            checked.map_err(|e| ConfigError::Override { assignment: assignment.clone(), message: e.to_string() })?;
        }
        let config: RunConfig = table.try_into().map_err(invalid)?;
        config.validate()?;
        Ok(config)
    }

    /// The resolved experiment as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    pub fn prompt_style(&self) -> PromptStyle {
        self.prompts.unwrap_or(if self.model == "nano" { PromptStyle::Brief } else { PromptStyle::Full })
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |bad: bool, key, value: String, message| if bad { Err(ConfigError::Value { key, value, message }) } else { Ok(()) };
        let d = &self.doctor;
        refuse(
            d.samples == 0 || !d.samples.is_multiple_of(4),
            "doctor.samples",
            d.samples.to_string(),
            "must be a positive multiple of 4, one share per quadrant",
        )?;
        refuse(d.completions == 0, "doctor.completions", "0".into(), "must be at least 1")?;
        refuse(d.max_tokens == 0, "doctor.max_tokens", "0".into(), "must be at least 1")?;
        refuse(
            d.temperature.is_nan() || d.temperature <= 0.0,
            "doctor.temperature",
            d.temperature.to_string(),
            "must be above 0: training needs samples, not one greedy answer",
        )?;
        self.reward.validate(d.max_tokens)?;
        self.scribe.validate()?;
        self.select.validate(self)?;
        select::validate_majority(self)?;
        self.rounds.validate(self.eval.notes)?;
        refuse(self.lora.rank == 0, "lora.rank", "0".into(), "must be at least 1")?;
        self.checkpoint.validate()?;
        self.alarms.validate()?;
        refuse(
            !(0.0..=1.0).contains(&self.sft.clean_fraction),
            "sft.clean_fraction",
            self.sft.clean_fraction.to_string(),
            "must lie between 0 and 1",
        )?;
        refuse(self.sft.batch == 0, "sft.batch", "0".into(), "must be at least 1")?;
        self.labels.validate()?;
        self.hooks.validate()?;
        let medec = self.data.source == DataSource::Medec;
        refuse(
            medec && self.data.train.is_none(),
            "data.train",
            "(missing)".into(),
            "source = \"medec\" needs the path of a MEDEC training file",
        )?;
        refuse(
            medec && self.data.validation.is_none(),
            "data.validation",
            "(missing)".into(),
            "source = \"medec\" needs the path of a MEDEC validation file",
        )
    }
}

/// Parts of an override's key; the deepest has two.
const MOST_PARTS: usize = 8;

/// Applies one `a.b=value` to a table; the value is read as TOML, or as a bare string where that fails.
fn set(table: &mut toml::Table, assignment: &str) -> Result<(), ConfigError> {
    let fail = |message: &str| ConfigError::Override { assignment: assignment.to_owned(), message: message.to_owned() };
    let (path, value) = assignment.split_once('=').ok_or_else(|| fail("expected key=value, such as algo.learning_rate=1e-4"))?;
    let value = text::read::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let keys: Vec<&str> = path.trim().split('.').collect();
    if keys.len() > MOST_PARTS {
        return Err(fail("no key has so many parts"));
    }
    let (last, parents) = keys.split_last().filter(|(last, _)| !last.is_empty()).ok_or_else(|| fail("the key is empty"))?;
    let mut here = table;
    for key in parents {
        let next = here.entry((*key).to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        here = next.as_table_mut().ok_or_else(|| fail("a part of the key is a value, not a section"))?;
    }
    here.insert((*last).to_owned(), value);
    Ok(())
}
