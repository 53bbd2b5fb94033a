//! A model's files, from inside the binary, a folder or the hub's cache: shape, weights and tokenizer.

use std::{borrow::Cow, path::Path};

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

/// The nano model's own tokenizer.
pub fn nano_tokenizer() -> Result<Tokenizer> {
    Tokenizer::from_bytes(NANO_TOKENIZER, "the embedded tokenizer")
}
