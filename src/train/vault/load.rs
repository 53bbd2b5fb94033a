//! Reading checkpoints back: nothing is used that does not match its manifest, and what is passed over is named.

use std::path::{Path, PathBuf};

use super::{Disk, Files, MANIFEST, Manifest, Vault, VaultError, manifest::MAX_MANIFEST_BYTES};

/// The newest checkpoint that can be used, and those that cannot.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<T> {
    pub chosen: Option<Chosen<T>>,
    /// Newer than the chosen one, newest first.
    pub refused: Vec<Refused>,
}

/// A valid checkpoint and what the judge made of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen<T> {
    pub step: u32,
    pub dir: PathBuf,
    pub value: T,
}

/// A checkpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub dir: PathBuf,
    pub why: String,
}

impl<D: Disk> Vault<D> {
    /// Every file of a checkpoint, checked against its manifest.
    pub fn read(&self, dir: &Path) -> Result<Files, VaultError> {
        let manifest = self.manifest(dir)?;
        let mut files = Files::new();
        for name in manifest.files.keys() {
            files.insert(name.clone(), self.listed(dir, name, &manifest)?);
        }
        Ok(files)
    }

    /// Checks a checkpoint one file at a time, in the memory of its largest file.
    pub fn check(&self, dir: &Path) -> Result<Manifest, VaultError> {
        let manifest = self.manifest(dir)?;
        manifest.files.keys().try_for_each(|name| self.listed(dir, name, &manifest).map(drop))?;
        Ok(manifest)
    }

    /// The newest checkpoint that is whole and that `judge` accepts; an error only where the folder itself cannot be read.
    pub fn choose<T>(&self, mut judge: impl FnMut(&Path, Files) -> Result<T, String>) -> Result<Choice<T>, VaultError> {
        let mut refused = Vec::new();
        for (step, dir) in self.list()? {
            match self.read(&dir).map_err(|e| e.to_string()).and_then(|files| judge(&dir, files)) {
                Ok(value) => return Ok(Choice { chosen: Some(Chosen { step, dir, value }), refused }),
                Err(why) => refused.push(Refused { dir, why }),
            }
        }
        Ok(Choice { chosen: None, refused })
    }

    fn manifest(&self, dir: &Path) -> Result<Manifest, VaultError> {
        let path = dir.join(MANIFEST);
        let size = self.disk.size(&path).map_err(|source| VaultError::Io { path: path.clone(), source })?;
        if size > MAX_MANIFEST_BYTES {
            return Err(VaultError::Damaged {
                path,
                why: format!("has {size} bytes, a manifest has at most {MAX_MANIFEST_BYTES}"),
            });
        }
        let bytes = self.disk.read(&path).map_err(|source| VaultError::Io { path: path.clone(), source })?;
        Manifest::parse(&bytes).map_err(|why| VaultError::Damaged { path, why })
    }

    fn listed(&self, dir: &Path, name: &str, manifest: &Manifest) -> Result<Vec<u8>, VaultError> {
        let path = dir.join(name);
        let bytes = self.disk.read(&path).map_err(|source| VaultError::Io { path: path.clone(), source })?;
        match manifest.mismatch(name, &bytes) {
            Some(why) => Err(VaultError::Damaged { path, why }),
            None => Ok(bytes),
        }
    }
}
