//! Owns a run: notes in, steps out, everything committed, every Control heeded between phases. Prints nothing: what is worth saying
//! goes to the store, to attached clients and into the caller's channel.

pub mod alarm;
pub mod clock;
pub mod deadline;
mod dir;
mod evaluate;
pub mod hooks;
mod labels;
mod machine;
mod outlet;
pub mod room;
pub mod rounds;
pub mod rows;
mod run;
pub mod settings;
pub mod signals;
mod sources;
mod steer;

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

pub use dir::RunDir;
pub use evaluate::{Reading, evaluate};
pub use labels::{HandLabels, Labelled};
pub use outlet::Output;
pub use sources::{Notes, absolute as load_absolute, load as load_notes};

use crate::{config::RunConfig, train::faults::Faults};

/// The training thread drops deep autograd graphs, which recurse.
const TRAINING_STACK_BYTES: usize = 64 << 20;

/// What to run and where.
pub struct Options {
    pub config: RunConfig,
    /// The run directory; made where it does not exist, continued where it does.
    pub dir: PathBuf,
    /// The run saves and ends within this time of its start.
    pub deadline: Option<Duration>,
    /// What is made to go wrong on purpose; nothing but where a test asks for it.
    pub faults: Faults,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done, or the stop rule of rounds said enough.
    Finished,
    /// Stopped by a Control after a checkpoint.
    Stopped,
    /// Stopped by this signal after a checkpoint.
    Signalled(i32),
    /// Stopped after a checkpoint, since another step could have ended beyond the deadline.
    OutOfTime,
}

/// Trains on a background thread. What the run has to say comes over the channel, which closes when it ends; then join.
pub fn start(options: Options) -> Result<(Receiver<Output>, thread::JoinHandle<Result<Ending>>)> {
    let (sender, receiver) = channel();
    let handle = thread::Builder::new()
        .name("trainer".into())
        .stack_size(TRAINING_STACK_BYTES)
        .spawn(move || run::run(options, sender))
        .context("cannot start the training thread")?;
    Ok((receiver, handle))
}
