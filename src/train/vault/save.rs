//! Writing one checkpoint. The order of the calls is the whole point: at no instant is there less than one valid checkpoint, once
//! there was one.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{Disk, Files, KEPT, Keep, MANIFEST, Manifest, OLD, STAGE, Vault, VaultError};

/// Bytes handed to the disk at once.
const CHUNK: usize = 64 << 10;
/// Room a checkpoint takes beside its bytes: names, inodes, the manifest, rounding up to blocks.
const OVERHEAD: u64 = 128 << 10;

/// What a save did.
#[derive(Debug)]
pub struct Saved {
    pub dir: PathBuf,
    pub bytes: u64,
    /// Older checkpoints removed.
    pub pruned: Vec<PathBuf>,
    /// What should be known though the checkpoint is safe: an old one that could not be removed, a quota that cannot be kept.
    pub remarks: Vec<String>,
}

impl<D: Disk> Vault<D> {
    /// Writes `step-N`: stage, write, sync each, manifest last, sync, rename, sync the parent, read back and compare; then, and
    /// only then, what `keep` lets go is removed. After an error everything that was valid before still is.
    pub fn save(&self, step: u32, files: &Files, keep: &Keep) -> Result<Saved, VaultError> {
        let target = self.root.join(format!("step-{step}"));
        let manifest = Manifest::of(files).map_err(|why| VaultError::Damaged { path: target.clone(), why })?;
        let needed = manifest.total_bytes() + OVERHEAD;
        self.require_room(needed)?;
        let stage = self.root.join(format!("{STAGE}{step}-{}", std::process::id()));
        let kept = self.is_kept(&target) || self.is_kept(&old_name(&target));
        let staged = self.stage(&stage, files, &manifest, kept).and_then(|()| self.put_in_place(&stage, &target, needed));
        if let Err(error) = staged {
            // Best effort: the next start sweeps it, and the room it took is given back.
            let _ = self.disk.remove_dir(&stage);
            return Err(self.with_free(error));
        }
        let mut saved = Saved { dir: target.clone(), bytes: needed - OVERHEAD, pruned: Vec::new(), remarks: Vec::new() };
        self.prune(step, keep, &mut saved);
        Ok(saved)
    }

    /// Refuses where fewer than `needed` bytes are free; makes the folder of checkpoints where it is missing.
    pub fn require_room(&self, needed: u64) -> Result<(), VaultError> {
        self.prepare_root(needed)?;
        let free = self.disk.free_bytes(&self.root).map_err(|e| self.failure(&self.root, needed, e))?;
        if free < needed { Err(VaultError::Full { path: self.root.clone(), needed, free }) } else { Ok(()) }
    }

    fn prepare_root(&self, needed: u64) -> Result<(), VaultError> {
        let missing = matches!(self.disk.names(&self.root), Err(error) if error.kind() == ErrorKind::NotFound);
        self.disk.create_dir(&self.root).map_err(|e| self.failure(&self.root, needed, e))?;
        let first = missing || self.list()?.is_empty();
        // The folders above may be as new as this one. Those of other people are none of ours.
        for above in self.root.ancestors().skip(1).filter(|above| first && !above.as_os_str().is_empty()) {
            match self.disk.sync_dir(above) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
                other => other.map_err(|e| self.unsynced(above, needed, e))?,
            }
        }
        Ok(())
    }

    /// Writes everything into `stage` and makes it durable.
    fn stage(&self, stage: &Path, files: &Files, manifest: &Manifest, kept: bool) -> Result<(), VaultError> {
        let needed = manifest.total_bytes() + OVERHEAD;
        let name = stage.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if self.root_names()?.contains(&name) {
            self.disk.remove_dir(stage).map_err(|e| self.failure(stage, needed, e))?;
        }
        self.disk.create_dir(stage).map_err(|e| self.failure(stage, needed, e))?;
        if kept {
            self.write(&stage.join(KEPT), &[], needed)?;
        }
        for (name, bytes) in files {
            self.write(&stage.join(name), bytes, needed)?;
        }
        self.write(&stage.join(MANIFEST), &manifest.to_bytes(), needed)?;
        self.disk.sync_dir(stage).map_err(|e| self.unsynced(stage, needed, e))
    }

    fn write(&self, path: &Path, bytes: &[u8], needed: u64) -> Result<(), VaultError> {
        let mut file = self.disk.create(path).map_err(|e| self.failure(path, needed, e))?;
        for chunk in bytes.chunks(CHUNK) {
            self.disk.append(&mut file, chunk).map_err(|e| self.failure(path, needed, e))?;
        }
        self.disk.sync(file).map_err(|e| self.unsynced(path, needed, e))
    }

    /// The commit point. One of the same step steps aside first and goes only when its successor has been read back.
    fn put_in_place(&self, stage: &Path, target: &Path, needed: u64) -> Result<(), VaultError> {
        let old = self.step_aside(target, needed)?;
        let placed = self.disk.rename(stage, target).map_err(|e| self.failure(target, needed, e));
        let synced = placed.and_then(|()| self.disk.sync_dir(&self.root).map_err(|e| self.unsynced(&self.root, needed, e)));
        if let Err(error) = synced.and_then(|()| self.check(target).map(drop)) {
            self.take_back(stage, target, old.as_deref());
            return Err(error);
        }
        // What cannot be removed now is removed by a later prune.
        let _ = old.map(|old| self.discard(&old));
        Ok(())
    }

    /// Makes `target` free. What was there is returned, under its new name.
    fn step_aside(&self, target: &Path, needed: u64) -> Result<Option<PathBuf>, VaultError> {
        let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let old = old_name(target);
        let names = self.root_names()?;
        let (is_there, old_is_there) = (names.contains(&name), names.contains(&format!("{name}{OLD}")));
        match (is_there, old_is_there) {
            (false, false) => return Ok(None),
            (false, true) => return Ok(Some(old)),
            // A crash left both. The better of the two is the one to fall back on.
            (true, true) if self.check(target).is_err() => {
                self.discard(target)?;
                return Ok(Some(old));
            }
            (true, true) => self.discard(&old)?,
            (true, false) => {}
        }
        self.disk.rename(target, &old).map_err(|e| self.failure(target, needed, e))?;
        Ok(Some(old))
    }

    /// Undoes a placing that failed, as far as the disk allows; the caller removes the stage.
    fn take_back(&self, stage: &Path, target: &Path, old: Option<&Path>) {
        let _ = self.disk.rename(target, stage);
        if let Some(old) = old {
            let _ = self.disk.rename(old, target);
        }
    }

    /// A failed sync. A disk that fills up only when the bytes are forced out is full all the same.
    fn unsynced(&self, path: &Path, needed: u64, source: io::Error) -> VaultError {
        if is_full(&source) { self.failure(path, needed, source) } else { VaultError::Unsynced { path: path.to_owned(), source } }
    }

    fn failure(&self, path: &Path, needed: u64, source: io::Error) -> VaultError {
        let path = path.to_owned();
        if is_full(&source) { VaultError::Full { path, needed, free: 0 } } else { VaultError::Io { path, source } }
    }

    /// Free bytes as the user finds them: after the failed attempt was cleared away.
    fn with_free(&self, error: VaultError) -> VaultError {
        match error {
            VaultError::Full { path, needed, .. } => {
                VaultError::Full { path, needed, free: self.disk.free_bytes(&self.root).unwrap_or(0) }
            }
            other => other,
        }
    }
}

/// What a checkpoint is called while its successor is put in place.
fn old_name(target: &Path) -> PathBuf {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    target.with_file_name(format!("{name}{OLD}"))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
