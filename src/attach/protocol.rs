//! The words on the wire. One JSON object a line, in both directions.

use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::task::{Phase, Rollout, Sample, StepReport, Text};

/// What a client may ask of the trainer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum Control {
    /// Stop at the next phase boundary.
    Pause,
    Resume,
    /// Run to the next phase boundary, then pause.
    StepPhase,
    /// Run to the end of the current (or next) step, then pause.
    StepOnce,
    /// Save a checkpoint, then end. `now` gives up the step in progress.
    Stop {
        now: bool,
    },
}

/// Whether the trainer moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    #[default]
    Starting,
    Running,
    /// A pause was asked for; the phase in progress still runs.
    Pausing,
    Paused,
    Stopping,
    Finished,
    Failed,
}

/// What the machine is doing, read about once a second. Fields are `None` where the machine cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu_name: String,
    pub n_cpus: usize,
    /// Share of all cores in use, 0..=1.
    pub cpu_used: Option<f32>,
    /// Bytes.
    pub memory_total: Option<u64>,
    pub memory_used: Option<u64>,
    /// Resident bytes of the trainer itself.
    pub trainer_memory: Option<u64>,
    pub gpu: Option<Gpu>,
}

/// One GPU as NVML reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    pub name: String,
    /// Share of time a kernel ran, 0..=1.
    pub used: Option<f32>,
    /// Bytes.
    pub memory_total: Option<u64>,
    pub memory_used: Option<u64>,
    pub watts: Option<f32>,
    pub celsius: Option<u32>,
    /// Other processes on this GPU.
    pub n_other_processes: Option<usize>,
}

/// What the trainer tells its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// Everything a client needs to draw its first frame; always the first line.
    Snapshot {
        live: Box<Live>,
    },
    State {
        state: RunState,
    },
    /// A phase of `step` began. `total` is in the phase's own unit (samples, completions, batches); 0 where unknown.
    Phase {
        step: u32,
        phase: Phase,
        total: u32,
    },
    /// Progress within the current phase.
    Progress {
        done: u32,
        tokens: u64,
        seconds: f64,
    },
    /// A sample was accepted (or fell back).
    Sample {
        sample: Box<Sample>,
    },
    /// The Doctor wrote more of one completion.
    Token {
        sample_id: String,
        sibling: u32,
        delta: Text,
    },
    /// A rollout was scored.
    Rollout {
        rollout: Box<Rollout>,
    },
    /// A step is committed and can be read from the store.
    Step {
        report: Box<StepReport>,
    },
    Machine {
        machine: Box<Machine>,
    },
    /// One line for the log strip.
    Log {
        level: Level,
        message: Text,
    },
    /// The client fell behind and this many notices were dropped; the next line is a Snapshot.
    Skipped {
        n_notices: u64,
    },
    /// The run ended; the trainer closes the socket after this.
    Ended {
        state: RunState,
        message: Text,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warn,
    Error,
}
