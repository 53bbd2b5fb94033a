//! Checkpoints as named byte files that survive whatever happens while they are written: staged, synced, listed, renamed, read
//! back, and only then is anything older removed. Knows nothing of tensors, models or steps beyond their number.

mod disk;
mod load;
mod manifest;
mod prune;
mod save;

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

pub use disk::{Disk, Local};
pub use load::{Choice, Chosen, Refused};
pub use manifest::Manifest;
pub use prune::Keep;
pub use save::Saved;

/// The list's own file.
pub use crate::config::MANIFEST;

/// A checkpoint's files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// An empty file of this name in a checkpoint's folder protects it from removal; anybody may put it there.
pub const KEPT: &str = "KEPT";
/// A folder being written.
const STAGE: &str = ".stage-";
/// A folder being removed.
const GONE: &str = ".gone-";
/// What a checkpoint is called while another of the same step takes its place.
const OLD: &str = ".old";

/// A folder of checkpoints on a disk. One writer at a time: whoever holds the run's lock.
#[derive(Clone, Debug)]
pub struct Vault<D> {
    disk: D,
    root: PathBuf,
}

/// Why a checkpoint was not saved or cannot be used. In every case the one before it stands.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the disk is full: a checkpoint in {path} needs {needed} bytes and {free} are free; make room")]
    Full { path: PathBuf, needed: u64, free: u64 },
    #[error("{path} could not be made durable ({source}); this checkpoint is void and the one before it stands")]
    Unsynced { path: PathBuf, source: io::Error },
    #[error("{path} {why}")]
    Damaged { path: PathBuf, why: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl<D: Disk> Vault<D> {
    /// The vault at `root`, which need not exist yet.
    pub fn new(disk: D, root: &Path) -> Vault<D> {
        Vault { disk, root: root.to_owned() }
    }

    /// Every checkpoint, newest first, valid or not: (step, folder). One that was being replaced comes after its successor.
    pub fn list(&self) -> Result<Vec<(u32, PathBuf)>, VaultError> {
        let names = self.root_names()?;
        let mut found: Vec<(u32, bool, PathBuf)> =
            names.iter().filter_map(|name| parse_name(name).map(|(step, old)| (step, old, self.root.join(name)))).collect();
        found.sort_by_key(|(step, old, _)| (std::cmp::Reverse(*step), *old));
        Ok(found.into_iter().map(|(step, _, path)| (step, path)).collect())
    }

    /// Removes what a crash left half written or half removed, and says what it was. Only for the holder of the run's lock.
    pub fn sweep(&self) -> Result<Vec<String>, VaultError> {
        let mut swept = Vec::new();
        for name in self.root_names()? {
            if name.starts_with(STAGE) || name.starts_with(GONE) {
                let path = self.root.join(&name);
                self.disk.remove_dir(&path).map_err(|source| VaultError::Io { path, source })?;
                swept.push(name);
            }
        }
        swept.sort();
        Ok(swept)
    }

    /// Protects a checkpoint from removal, for good.
    pub fn mark_kept(&self, dir: &Path) -> Result<(), VaultError> {
        let path = dir.join(KEPT);
        let io = |source| VaultError::Io { path: path.clone(), source };
        match self.disk.create(&path) {
            Ok(file) => self.disk.sync(file).and_then(|()| self.disk.sync_dir(dir)).map_err(io),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io(error)),
        }
    }

    /// Whether a checkpoint carries the mark.
    pub fn is_kept(&self, dir: &Path) -> bool {
        self.disk.size(&dir.join(KEPT)).is_ok()
    }

    fn root_names(&self) -> Result<Vec<String>, VaultError> {
        match self.disk.names(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| VaultError::Io { path: self.root.clone(), source }),
        }
    }

    /// Takes a folder out of the list in one act, then removes it: a crash in between leaves something to sweep, not a ruin.
    pub fn discard(&self, dir: &Path) -> Result<(), VaultError> {
        let io = |source| VaultError::Io { path: dir.to_owned(), source };
        let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let gone = self.root.join(format!("{GONE}{name}"));
        if self.root_names()?.contains(&format!("{GONE}{name}")) {
            self.disk.remove_dir(&gone).map_err(io)?;
        }
        self.disk.rename(dir, &gone).map_err(io)?;
        self.disk.remove_dir(&gone).map_err(io)
    }
}

/// `step-N` or `step-N.old` → (N, whether it is the old one).
fn parse_name(name: &str) -> Option<(u32, bool)> {
    let (plain, old) = name.strip_suffix(OLD).map_or((name, false), |plain| (plain, true));
    let step: u32 = plain.strip_prefix("step-")?.parse().ok()?;
    // `step-+4` and `step-04` are somebody else's.
    (plain == format!("step-{step}")).then_some((step, old))
}
