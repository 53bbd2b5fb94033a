//! What a run will write.

use serde::Serialize;

use super::{Line, Load, adapter_values, line};
use crate::{config::RunConfig, model::spec::Spec};

/// Bytes on disk.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    pub lines: Vec<Line>,
}

impl Disk {
    pub fn total(&self) -> u64 {
        self.lines.iter().map(|line| line.bytes).sum()
    }
}

/// Bytes that a rollout takes in the store beside its tokens, about (note, label, verdict, reward, indexes).
const ROLLOUT_BYTES: f64 = 3_000.0;
/// Bytes that a token of a completion takes in the store (id, log-prob, text).
const TOKEN_BYTES: f64 = 16.0;

/// What a run writes: checkpoints (those kept, the best, and the one being written), the store, and the model where it has to come
/// from the hub.
pub fn disk(spec: &Spec, config: &RunConfig, load: &Load, download: bool) -> Disk {
    let checkpoint = 12.0 * adapter_values(spec, load.rank) as f64;
    let n = config.checkpoint.keep + 2;
    let kept = config.checkpoint.max_gb.map_or(f64::INFINITY, |gb| gb * 1e9 + checkpoint).min(n as f64 * checkpoint);
    let rollouts = f64::from(config.steps) * (load.samples * load.completions) as f64;
    let store = rollouts * (ROLLOUT_BYTES + TOKEN_BYTES * load.completion_tokens as f64);
    let mut lines = vec![
        line("checkpoints", kept, format!("{n} of {:.0} MB", checkpoint / 1e6)),
        line("store", store, format!("{rollouts:.0} rollouts")),
    ];
    if download {
        lines.push(line("model from the hub", 2.0 * spec.n_parameters() as f64 + 4e7, "bf16 files, into the hub's cache".into()));
    }
    Disk { lines }
}
