//! A model's files, from inside the binary, a folder or the hub's cache: shape, weights and tokenizer.

use std::{
    borrow::Cow,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    hub::{self, Location},
    spec::Spec,
    tokenizer::Tokenizer,
    weights::Weights,
};
use crate::config::Precision;

const NANO_WEIGHTS: &[u8] = include_bytes!("../../assets/nano/model.safetensors");
const NANO_CONFIG: &[u8] = include_bytes!("../../assets/nano/config.json");
const NANO_TOKENIZER: &[u8] = include_bytes!("../../assets/nano/tokenizer.json");

/// What a model is made from.
pub struct Files {
    pub spec: Spec,
    pub weights: Weights,
    /// The text of `tokenizer.json`.
    pub tokenizer_json: Cow<'static, [u8]>,
    tokenizer_source: String,
}

impl Files {
    /// Opens `nano`, a folder, or a hub id (downloading it where it is not in the cache).
    pub fn open(model: &str, precision: Precision) -> Result<Files> {
        match hub::locate(model)? {
            Location::Nano => Files::nano(precision),
            Location::Folder(dir) => Files::folder(&dir, precision),
            Location::Hub(id) => Files::folder(&hub::fetch(&id)?, precision),
        }
    }

    fn nano(precision: Precision) -> Result<Files> {
        let precision = if precision == Precision::Stored { Precision::F32 } else { precision };
        let config = serde_json::from_slice(NANO_CONFIG).context("the embedded configuration is damaged")?;
        Ok(Files {
            spec: Spec::from_json(&config)?,
            weights: Weights::from_bytes(NANO_WEIGHTS, "the embedded nano model", precision)?,
            tokenizer_json: Cow::Borrowed(NANO_TOKENIZER),
            tokenizer_source: "the embedded tokenizer".into(),
        })
    }

    fn folder(dir: &Path, precision: Precision) -> Result<Files> {
        let path = dir.join("tokenizer.json");
        let spec = Spec::load(&dir.join("config.json"))?;
        let json = std::fs::read(&path).with_context(|| format!("cannot read the tokenizer {}", path.display()))?;
        let files = Files {
            spec,
            weights: Weights::load_dir(dir, precision)?,
            tokenizer_json: Cow::Owned(json),
            tokenizer_source: path.display().to_string(),
        };
        Ok(files)
    }

    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_bytes(&self.tokenizer_json, &self.tokenizer_source)
    }
}

/// BLAKE3 of a model's frozen weights with their configuration, and of its tokenizer. Reads every byte of the files.
pub fn hashes(model: &str) -> Result<[String; 2]> {
    let of = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        parts.iter().for_each(|part| _ = hasher.update(part));
        hasher.finalize().to_hex().to_string()
    };
    let dir = match hub::locate(model)? {
        Location::Nano => return Ok([of(&[NANO_CONFIG, NANO_WEIGHTS]), of(&[NANO_TOKENIZER])]),
        Location::Folder(dir) => dir,
        Location::Hub(id) => hub::fetch(&id)?,
    };
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let mut weights: Vec<PathBuf> = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    weights.sort();
    let mut hasher = blake3::Hasher::new();
    for path in [dir.join("config.json")].iter().chain(&weights) {
        let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
        read.with_context(|| format!("cannot read {}", path.display()))?;
    }
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = fs::read(&tokenizer).with_context(|| format!("cannot read {}", tokenizer.display()))?;
    Ok([hasher.finalize().to_hex().to_string(), of(&[&tokenizer])])
}

/// The nano model's own tokenizer.
pub fn nano_tokenizer() -> Result<Tokenizer> {
    Tokenizer::from_bytes(NANO_TOKENIZER, "the embedded tokenizer")
}
