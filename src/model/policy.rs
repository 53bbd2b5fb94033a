//! The policy: one copy of the base weights and one trainable adapter. With the adapter off it is the reference, and by default
//! the Scribe.

use anyhow::{Context, Result};
use candle_core::Device;

use super::{
    gemma3::Gemma3,
    generate::{Source, generate},
    hub::{self, Location},
    lora::{Adapter, AdapterView},
    spec::Spec,
    tokenizer::Tokenizer,
    weights::Weights,
};
use crate::{
    config::LoraConfig,
    task::{Completion, Generate, GenerateRequest, Sampling},
};

const NANO_WEIGHTS: &[u8] = include_bytes!("../../assets/nano/model.safetensors");
const NANO_CONFIG: &[u8] = include_bytes!("../../assets/nano/config.json");
const NANO_TOKENIZER: &[u8] = include_bytes!("../../assets/nano/tokenizer.json");

/// Sequences longer than this are refused; MEDEC notes with prompt and reasoning stay far below (research: medserl-peers §1.3).
const MAX_POSITIONS: usize = 4096;

/// A model ready to write, to be scored and to be trained.
pub struct Policy {
    pub model: Gemma3,
    pub tokenizer: Tokenizer,
    pub adapter: Adapter,
    pub seed: u64,
}

impl Policy {
    /// Opens the configured model with a fresh adapter.
    pub fn open(model: &str, lora: &LoraConfig, seed: u64) -> Result<Policy> {
        let device = Device::Cpu;
        let (spec, weights, tokenizer) = match hub::locate(model)? {
            Location::Nano => open_nano(&device)?,
            Location::Folder(dir) => open_dir(&dir, &device)?,
            Location::Hub(id) => open_dir(&hub::fetch(&id)?, &device)?,
        };
        let adapter = Adapter::new(&spec, lora.rank, lora.alpha, seed, &device)?;
        let model = Gemma3::new(spec, &weights, MAX_POSITIONS)?;
        Ok(Policy { model, tokenizer, adapter, seed })
    }

    /// A writer with the adapter as it stands now.
    pub fn current(&self) -> Writer<'_> {
        Writer { policy: self, view: Some(self.adapter.frozen()) }
    }

    /// A writer with the adapter off.
    pub fn base(&self) -> Writer<'_> {
        Writer { policy: self, view: None }
    }
}

fn open_nano(device: &Device) -> Result<(Spec, Weights, Tokenizer)> {
    let config = serde_json::from_slice(NANO_CONFIG).context("the embedded configuration is damaged")?;
    let weights = Weights::from_bytes(NANO_WEIGHTS, "the embedded nano model", device)?;
    Ok((Spec::from_json(&config)?, weights, Tokenizer::from_bytes(NANO_TOKENIZER, "the embedded tokenizer")?))
}

fn open_dir(dir: &std::path::Path, device: &Device) -> Result<(Spec, Weights, Tokenizer)> {
    let spec = Spec::load(&dir.join("config.json"))?;
    let tokenizer = Tokenizer::load(&dir.join("tokenizer.json"))?;
    Ok((spec, Weights::load_dir(dir, device)?, tokenizer))
}

/// The policy holding a pen: adapter on (as of now) or off.
pub struct Writer<'a> {
    policy: &'a Policy,
    view: Option<AdapterView>,
}

impl Generate for Writer<'_> {
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        sampling: Sampling,
        on_token: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> Result<Vec<Vec<Completion>>> {
        let Policy { model, tokenizer, seed, .. } = self.policy;
        generate(Source { model, tokenizer, adapter: self.view.as_ref(), seed: *seed }, requests, sampling, on_token)
    }
}
