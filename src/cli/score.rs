//! `medserl score`: token ids in, log-probs out, one JSON object a line each way; for checking this model against another.

use std::{
    io::{BufRead, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use super::eval::precision;
use crate::{
    config::{LoraConfig, Place, Precision},
    model::{Policy, batch::TokenBatch, lora::Adapter},
};

#[derive(clap::Args)]
pub struct Args {
    /// nano, a local folder, or a hub id
    #[arg(long, default_value = "nano")]
    model: String,
    /// How the weights are kept in memory: stored, f32, bf16 or int8
    #[arg(long, default_value = "stored", value_parser = precision)]
    precision: Precision,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Place::Cpu)]
    device: Place,
    /// A PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// At least two token ids; every token but the first is scored.
    ids: Vec<u32>,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(args.temperature > 0.0, "--temperature must be above 0");
    let mut policy = Policy::open_at(args.device, &args.model, args.precision, &LoraConfig::default(), 0, &mut super::to_stderr)?;
    if let Some(dir) = &args.adapter {
        policy.adapter = Adapter::load(&policy.model.spec, dir, policy.model.device())?;
    }
    let view = args.adapter.is_some().then(|| policy.adapter.frozen());
    let (vocabulary, longest) = (policy.model.spec.vocab_size, policy.model.n_positions());
    let mut out = std::io::stdout().lock();
    for (n, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("standard input is not text")?;
        let read = || -> Result<Request> {
            let request: Request = serde_json::from_str(&line).context("expected {\"ids\": [2, 105, …]}")?;
            ensure!((2..=longest).contains(&request.ids.len()), "expected 2 to {longest} ids, found {}", request.ids.len());
            let beyond = request.ids.iter().find(|id| **id as usize >= vocabulary);
            ensure!(beyond.is_none(), "id {} lies beyond the vocabulary of {vocabulary}", beyond.copied().unwrap_or_default());
            Ok(request)
        };
        let request = read().with_context(|| format!("line {} of standard input", n + 1))?;
        let mut batch = TokenBatch::default();
        batch.push_sequence(&request.ids);
        let (logprobs, entropies) = batch.score(&policy.model, view.as_ref(), args.temperature)?;
        writeln!(out, "{}", json!({ "logprobs": logprobs, "entropies": entropies }))?;
    }
    Ok(())
}
