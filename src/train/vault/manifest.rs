//! The list of a checkpoint's files with size and BLAKE3, written last: a folder that does not match its list is no checkpoint. The
//! list has a hash of its own, so that one from which a file was taken out as if it had never been there is no list either.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Files, MANIFEST};

/// A manifest has a few lines; one beyond this is not ours and is not read into memory.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
const FORMAT: u32 = 2;

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// File name → (bytes, BLAKE3 in hex).
    pub files: BTreeMap<String, (u64, String)>,
    /// BLAKE3 of all entries; see [`seal`].
    #[serde(default)]
    seal: String,
}

impl Manifest {
    /// The list of these files; `Err` names one that may not be called so.
    pub fn of(files: &Files) -> Result<Manifest, String> {
        if let Some(name) = files.keys().find(|name| !is_plain(name)) {
            return Err(format!("{name:?} cannot be the name of a checkpoint's file"));
        }
        let entry = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), (bytes.len() as u64, hash(bytes)));
        let files = files.iter().map(entry).collect();
        Ok(Manifest { format: FORMAT, seal: seal(&files), files })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("names and numbers are always JSON")
    }

    /// Reads a list. Only the very bytes that [`Manifest::to_bytes`] writes are accepted, so that no change goes unnoticed.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| format!("is damaged: {e}"))?;
        if manifest.format != FORMAT {
            return Err(format!("has format {}, this program reads {FORMAT}", manifest.format));
        }
        if let Some(name) = manifest.files.keys().find(|name| !is_plain(name)) {
            return Err(format!("names a file {name:?}, which is no plain name"));
        }
        if manifest.to_bytes() != bytes || manifest.seal != seal(&manifest.files) {
            return Err("is damaged: it is not as it was written".into());
        }
        Ok(manifest)
    }

    /// Why these bytes are not the file that was listed as `name`.
    pub fn mismatch(&self, name: &str, bytes: &[u8]) -> Option<String> {
        let (size, listed) = self.files.get(name)?;
        let found = hash(bytes);
        (bytes.len() as u64 != *size || found != *listed)
            .then(|| format!("does not match the manifest ({size} bytes, BLAKE3 {listed}; found {} bytes, {found})", bytes.len()))
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, (size, _)| sum.saturating_add(*size))
    }
}

/// BLAKE3 over names, sizes and hashes, the length of each name and hash before it.
fn seal(files: &BTreeMap<String, (u64, String)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, (size, listed)) in files {
        for text in [name, listed] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&size.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Letters, digits, `.`, `_` and `-`, not starting with a dot: such a name cannot lead out of its folder.
fn is_plain(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(fine) && name != MANIFEST && name != super::KEPT
}
