//! The words on the wire. One JSON object a line, in both directions.

use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::task::{Breakpoint, Knob, Knobs, Phase, Rollout, Sample, StepReport, Text};

/// What a client may ask of the trainer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Give up what the step in progress has written so far, and pause before that step.
    Abort,
    /// Change a value from the next step on.
    Set {
        knob: Knob,
    },
    /// Pause where this comes true.
    Break {
        condition: Breakpoint,
    },
    /// Do not pause there any more.
    Unbreak {
        condition: Breakpoint,
    },
    /// Said first by a client that stays: who it is, and whether it wants to steer. One at a time does. A client that never says
    /// this is a command from the shell, whose word always counts.
    Attach {
        who: Text,
        steer: bool,
    },
    /// Steer instead of whoever does.
    Take,
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
    /// Of the multiprocessors.
    #[serde(default)]
    pub megahertz: Option<u32>,
    /// Bytes that the trainer itself holds of `memory_used`.
    #[serde(default)]
    pub memory_ours: Option<u64>,
    /// Other processes on this GPU.
    pub n_other_processes: Option<usize>,
}

/// What steers the run at present, beside its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// In force; `None` before the trainer has said so.
    pub knobs: Option<Knobs>,
    /// What the experiment says.
    pub experiment: Option<Knobs>,
    /// Asked for, with the step from which each holds.
    pub coming: Vec<(u32, Knob)>,
    pub breakpoints: Vec<Breakpoint>,
    /// Why the run pauses, where there is more to say than that somebody asked for it.
    pub paused_by: Option<Text>,
}

/// A client that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub who: Text,
    pub steers: bool,
}

/// Something the owner of a run wants to hear of: an alarm, a breakpoint, a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub step: u32,
    pub unix_s: i64,
    pub kind: Text,
    pub message: Text,
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
    /// Knobs or breakpoints are other ones than before, or the reason of a pause is.
    Steering {
        steering: Box<Steering>,
    },
    /// Who is attached.
    Clients {
        clients: Vec<Attached>,
    },
    Alert {
        alert: Box<Alert>,
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
