//! Which checkpoints may go, once a new one is safe: by number and by size, never the new one, the best one or one marked kept.

use std::path::{Path, PathBuf};

use super::{Disk, Saved, Vault, VaultError};

/// What stays when a checkpoint is saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keep {
    /// The newest so many; the new one always stays.
    pub newest: usize,
    /// Bytes of all checkpoints together, where there is a limit.
    pub max_bytes: Option<u64>,
    /// The step that did best on held-out notes.
    pub best: Option<u32>,
}

impl<D: Disk> Vault<D> {
    /// Removes what `keep` lets go. The new checkpoint is safe already, so a failure here is a remark and no error.
    pub(super) fn prune(&self, step: u32, keep: &Keep, saved: &mut Saved) {
        let listed = match self.list() {
            Ok(listed) => listed,
            Err(error) => return saved.remarks.push(format!("old checkpoints were not looked at: {error}")),
        };
        let (mut n, mut bytes) = (0, 0u64);
        let mut last = None;
        for (other, dir) in in_order_of_worth(listed, step) {
            let size = self.dir_bytes(&dir);
            // `step-N.old` comes after its successor; where that never arrived, it is the checkpoint of its step.
            let superseded = last.replace(other) == Some(other);
            let surplus = superseded || n >= keep.newest || keep.max_bytes.is_some_and(|max| bytes.saturating_add(size) > max);
            let is_protected = !superseded && (keep.best == Some(other) || self.is_kept(&dir));
            if dir != saved.dir && surplus && !is_protected {
                self.remove(dir, saved);
            } else {
                (n, bytes) = (n + 1, bytes.saturating_add(size));
            }
        }
        if let Some(max) = keep.max_bytes.filter(|max| bytes > *max) {
            saved.remarks.push(format!(
                "checkpoints take {bytes} bytes, more than checkpoint.max_gb allows ({max}): the rest is protected"
            ));
        }
    }

    fn remove(&self, dir: PathBuf, saved: &mut Saved) {
        match self.discard(&dir) {
            Ok(()) => saved.pruned.push(dir),
            Err(error) => saved.remarks.push(format!("the old checkpoint {} was not removed: {}", dir.display(), cause(&error))),
        }
    }

    fn dir_bytes(&self, dir: &Path) -> u64 {
        let names = self.disk.names(dir).unwrap_or_default();
        names.iter().filter_map(|name| self.disk.size(&dir.join(name)).ok()).sum()
    }
}

/// Up to the new step, newest first; then those beyond it, which belong to a course the run has left.
fn in_order_of_worth(listed: Vec<(u32, PathBuf)>, step: u32) -> Vec<(u32, PathBuf)> {
    let (mut ours, left): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(other, _)| *other <= step);
    ours.extend(left);
    ours
}

fn cause(error: &VaultError) -> String {
    match error {
        VaultError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
