//! The files of a run directory (design §10).

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::config::RunConfig;

/// Paths inside one run directory.
#[derive(Clone, Debug)]
pub struct RunDir(pub PathBuf);

impl RunDir {
    /// `<root>/<name>-s<seed>`: the same experiment and seed are the same run, so that the same command continues it.
    pub fn of(root: &Path, config: &RunConfig) -> Result<RunDir> {
        let safe = config.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !config.name.is_empty()
            && !config.name.starts_with('.');
        ensure!(safe, "name = {:?} becomes a directory: use letters, digits, '-', '_' and '.' only", config.name);
        Ok(RunDir(root.join(format!("{}-s{}", config.name, config.seed))))
    }

    /// Makes the directory and what is missing above it, for its owner only: it holds notes, and the socket that steers the run.
    pub fn create(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(self.checkpoints());
        made.with_context(|| format!("cannot create {}", self.checkpoints().display()))
    }

    /// Whether others than its owner may write into the directory: then they could put a socket of theirs in the trainer's place.
    pub fn is_open_to_others(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|meta| meta.mode() & 0o022 != 0)
    }

    pub fn id(&self) -> String {
        self.0.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub fn experiment(&self) -> PathBuf {
        self.0.join("experiment.toml")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("trainer.log")
    }
}
