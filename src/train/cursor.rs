//! Where a run stood and what its bits depend on, as plain data; and what of that may differ when it goes on. Knows no tensors.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    config::{AlarmsConfig, CheckpointConfig, DoctorConfig, HooksConfig, RunConfig},
    task::{ErrorKind, LabelledNote, Note, PromptStyle, note::Sentence, prompt},
};

/// Where the run stood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Steps completed; 0 is after the warm-up.
    pub step: u32,
    pub optimizer_steps: u64,
    /// See [`config_hash`].
    pub config_hash: String,
    pub program_version: String,
    #[serde(flatten)]
    pub origin: Origin,
    /// Seconds the run has used so far, over all its starts.
    #[serde(default)]
    pub wall_seconds: Option<f64>,
}

/// What a run's bits depend on beside its experiment. `None` where it is not known, as in checkpoints of earlier versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// BLAKE3 of the frozen weights and their configuration.
    pub model_hash: Option<String>,
    /// The commit of a model from the hub: what to ask for to have the same weights elsewhere.
    pub model_commit: Option<String>,
    pub tokenizer_hash: Option<String>,
    /// See [`prompt_hash`].
    pub prompt_hash: Option<String>,
    /// See [`notes_hash`].
    pub data_hash: Option<String>,
    /// Compute threads.
    pub threads: Option<usize>,
    /// How an update was cut into forwards and backwards: another cut adds in another order.
    pub micro_batch_plan: Option<String>,
}

/// What stands between a checkpoint and this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The run would be another run.
    pub forbidden: Vec<String>,
    /// The run goes on, but its last bits may differ from an uninterrupted one's.
    pub notable: Vec<String>,
}

/// BLAKE3 of everything that may not change between a run and its continuation. Left out: the step count, since a longer run may
/// continue a shorter one, and what changes no number: threads, alarms, breakpoints, hooks, how checkpoints and token values are kept.
pub fn config_hash(config: &RunConfig) -> Result<String> {
    let fixed = RunConfig {
        steps: 0,
        threads: 0,
        checkpoint: CheckpointConfig::default(),
        alarms: AlarmsConfig::default(),
        breakpoints: Vec::new(),
        hooks: HooksConfig::default(),
        doctor: DoctorConfig { token_steps: 0, ..config.doctor.clone() },
        ..config.clone()
    };
    Ok(blake3::hash(fixed.to_toml()?.as_bytes()).to_hex().to_string())
}

/// BLAKE3 of every prompt of a style, filled in for a fixed note: a changed template is another game.
pub fn prompt_hash(style: PromptStyle) -> String {
    let sentence = |id, text: &str| Sentence { id, text: text.to_owned() };
    let note =
        Note { id: "n".into(), group: "g".into(), sentences: vec![sentence(0, "Fever since May."), sentence(1, "Amoxicillin.")] };
    let mut chats =
        vec![prompt::doctor(style, &note), prompt::augment(style, &note, None), prompt::augment(style, &note, Some(1))];
    chats.extend(ErrorKind::ALL.map(|kind| prompt::inject(style, &note, kind)));
    let mut hasher = blake3::Hasher::new();
    for turn in chats.iter().flat_map(|chat| &chat.turns) {
        frame(&mut hasher, turn.content.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// BLAKE3 of notes with their labels, in their order.
pub fn notes_hash<'a>(notes: impl IntoIterator<Item = &'a LabelledNote>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for note in notes {
        frame(&mut hasher, &serde_json::to_vec(note)?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Length first, so that two texts cannot be confused with another two.
fn frame(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

impl Cursor {
    /// Compares what this checkpoint depended on with what is there now; what either side does not know is not compared.
    pub fn differences(&self, now: &Origin, program_version: &str) -> Differences {
        let then = &self.origin;
        let mut found = Differences::default();
        for (what, then, now) in [
            ("the model's weights", &then.model_hash, &now.model_hash),
            ("the tokenizer", &then.tokenizer_hash, &now.tokenizer_hash),
            ("the prompts", &then.prompt_hash, &now.prompt_hash),
            ("the notes", &then.data_hash, &now.data_hash),
        ] {
            if let (Some(then), Some(now)) = (then, now)
                && then != now
            {
                found.forbidden.push(format!("{what} changed since the checkpoint ({then:.16} then, {now:.16} now)"));
            }
        }
        if self.program_version != program_version {
            found.notable.push(format!("the checkpoint is of medserl {}, this is {program_version}", self.program_version));
        }
        if let (Some(then), Some(now)) = (then.threads, now.threads)
            && then != now
        {
            found.notable.push(format!("the checkpoint was made with {then} threads, now there are {now}"));
        }
        if let (Some(then), Some(now)) = (&then.micro_batch_plan, &now.micro_batch_plan)
            && then != now
        {
            found.notable.push(format!("updates were cut as \"{then}\", now as \"{now}\""));
        }
        found
    }
}
