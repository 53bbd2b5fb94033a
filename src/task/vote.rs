//! The label-free baseline: what most siblings say stands in for the truth (SeRL; research: serl-openrlhf §3.1.8). Two answers are
//! the same where both call the note clean, or both name an error of the same type.

use super::{label::ErrorKind, rollout::Rollout, verdict::Verdict};

/// `None` where nothing can be read: that is no vote. SeRL pays one unreadable answer of a group of them; here none is paid.
fn ballot(verdict: &Verdict) -> Option<Option<ErrorKind>> {
    match verdict {
        Verdict::Clean => Some(None),
        Verdict::Error { kind, .. } => Some(Some(*kind)),
        Verdict::Malformed { .. } => None,
    }
}

/// Which verdicts of one group are its consensus: the most frequent ballot, the first of equals.
pub fn consensus<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Vec<bool> {
    let ballots: Vec<Option<Option<ErrorKind>>> = verdicts.into_iter().map(ballot).collect();
    let votes = |wanted: &Option<ErrorKind>| ballots.iter().flatten().filter(|cast| *cast == wanted).count();
    // Of equals `max_by_key` takes the last, so the group is looked at backwards.
    let elected = ballots.iter().flatten().rev().max_by_key(|cast| votes(cast)).copied();
    ballots.iter().map(|cast| cast.is_some() && *cast == elected).collect()
}

/// Pays 1 for the consensus of each group and nothing for the rest. Siblings must stand together.
pub fn pay_consensus(rollouts: &mut [Rollout]) {
    for group in rollouts.chunk_by_mut(|a, b| a.sample.id == b.sample.id) {
        let paid = consensus(group.iter().map(|r| &r.verdict));
        group.iter_mut().zip(paid).for_each(|(rollout, paid)| rollout.reward.outcome = f32::from(u8::from(paid)));
    }
}
