//! Which groups train: the pass rate of a group and whether it lies in the experiment's window.

use crate::{
    config::Selection,
    task::{Label, Rollout, Scheme, Verdict},
};

/// Whether the answer is what the game asks for: the flag and, of an error, its type; under scheme `majority` the consensus.
fn passes(scheme: Scheme, rollout: &Rollout) -> bool {
    match (&rollout.sample.label, &rollout.verdict) {
        _ if scheme == Scheme::Majority => rollout.reward.outcome > 0.0,
        (Label::Clean, Verdict::Clean) => true,
        (Label::Error { kind: truth, .. }, Verdict::Error { kind, .. }) => kind == truth,
        _ => false,
    }
}

/// Share of a group's completions that pass.
pub fn pass_rate(scheme: Scheme, group: &[Rollout]) -> f64 {
    group.iter().filter(|rollout| passes(scheme, rollout)).count() as f64 / group.len().max(1) as f64
}

/// Why each group does not train, `None` where it does. Siblings must stand together.
pub fn refusals(selection: &Selection, scheme: Scheme, rollouts: &[Rollout]) -> Vec<Option<&'static str>> {
    groups(rollouts).map(|group| selection.refuses(pass_rate(scheme, group))).collect()
}

/// Rollouts by sample.
pub fn groups(rollouts: &[Rollout]) -> impl Iterator<Item = &[Rollout]> {
    rollouts.chunk_by(|a, b| a.sample.id == b.sample.id)
}
