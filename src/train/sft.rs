//! The supervised warm-up: completion-only loss, the end-of-turn token included, so that the policy learns to stop.

use anyhow::{Result, ensure};

use super::optimizer::{AdamW, Gradients, Moments, Schedule};
use crate::{
    config::SftConfig,
    data::SftExample,
    model::{Buffers, Policy, batch::TokenBatch},
    task::{Generate, GenerateRequest, Sampling, verdict},
};

/// Mean completion loss of each optimizer step, nats per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WarmupReport {
    pub losses: Vec<f64>,
    pub n_tokens: u64,
}

/// Trains the adapter on the examples. `progress(steps done, steps in all)` returns false to abort, which is an error.
pub fn warm_up(
    policy: &Policy,
    examples: &[SftExample],
    config: &SftConfig,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<WarmupReport> {
    let encoded: Vec<(Vec<u32>, Vec<u32>)> = examples
        .iter()
        .map(|e| Ok((policy.tokenizer.encode_chat(&e.chat)?, policy.tokenizer.encode_completion(&e.completion)?)))
        .collect::<Result<_>>()?;
    let n_steps = encoded.len().div_ceil(config.batch) * config.epochs;
    let schedule = Schedule {
        peak: config.learning_rate,
        min_ratio: 0.1,
        warmup_steps: (n_steps as u64).div_ceil(20),
        total_steps: n_steps as u64,
    };
    let adamw = AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.0 };
    let mut moments = Moments::zeros(policy.adapter.vars());
    let mut report = WarmupReport::default();
    for _epoch in 0..config.epochs {
        for batch in encoded.chunks(config.batch) {
            let (grads, loss, n_tokens) = gradients(policy, batch)?;
            let mut grads = grads;
            let norm = grads.clip(1.0);
            ensure!(norm.is_finite(), "the warm-up gradient is not finite; lower sft.learning_rate");
            // + 1: a first step at rate 0 would waste one of few.
            let learning_rate = schedule.at(moments.steps + 1);
            adamw.step(policy.adapter.vars(), &grads, &mut moments, learning_rate, |_| true)?;
            report.losses.push(loss);
            report.n_tokens += n_tokens;
            ensure!(progress(report.losses.len(), n_steps), super::step::Aborted);
        }
    }
    Ok(report)
}

/// Notes the base model thinks about in one call.
const CHUNK: usize = 64;
/// Apart from the Scribe's and the Doctor's draws.
const STREAM: u64 = 1 << 61;

/// Replaces the templated thinking of each example by the base model's own, drawn at `sampling`; an example whose completion
/// is malformed is left out. `go_on` is asked between calls; false aborts, which is an error.
pub fn with_own_thinking(
    policy: &Policy,
    examples: Vec<SftExample>,
    sampling: Sampling,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<SftExample>> {
    let mut own = Vec::with_capacity(examples.len());
    for (c, chunk) in examples.chunks(CHUNK).enumerate() {
        let request = |i: usize, e: &SftExample| GenerateRequest {
            chat: e.chat.clone(),
            n_completions: 1,
            stream: STREAM | (c * CHUNK + i) as u64,
        };
        let requests: Vec<GenerateRequest> = chunk.iter().enumerate().map(|(i, e)| request(i, e)).collect();
        let completions = policy.base().generate(&requests, sampling, &mut |_, _, _| true)?;
        ensure!(go_on((c + 1) * CHUNK), super::step::Aborted);
        own.extend(chunk.iter().zip(&completions).filter_map(|(example, c)| own_thinking(example, &c[0].text)));
    }
    Ok(own)
}

fn own_thinking(example: &SftExample, written: &str) -> Option<SftExample> {
    verdict::parse(written).flag()?;
    let (thinking, _) = verdict::split_for_display(written);
    let verdict = &example.completion[example.completion.find("<verdict>")?..];
    Some(SftExample { chat: example.chat.clone(), completion: format!("<thinking>{thinking}</thinking>{verdict}") })
}

fn gradients(policy: &Policy, batch: &[(Vec<u32>, Vec<u32>)]) -> Result<(Gradients, f64, u64)> {
    let total: usize = batch.iter().map(|(_, completion)| completion.len()).sum();
    let mut grads = Gradients::zeros(policy.adapter.vars());
    let (mut loss_sum, mut buffers) = (0f64, Buffers::default());
    let mut rest = batch;
    while !rest.is_empty() {
        let mut n_rows = 0;
        let fits = rest.iter().take_while(|(p, c)| {
            n_rows += p.len() + c.len();
            n_rows <= policy.micro_rows
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        rest = later;
        let mut tokens = TokenBatch::default();
        now.iter().for_each(|(prompt, completion)| tokens.push(prompt, &[completion]));
        let slopes = |logprobs: &[f32], _entropies: &[f32]| {
            loss_sum -= logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / total as f64;
            vec![-1.0 / total as f32; logprobs.len()]
        };
        let Policy { model, adapter, recompute, .. } = policy;
        tokens.backward(model, adapter, 1.0, *recompute, slopes, &mut grads.0, &mut buffers)?;
    }
    Ok((grads, loss_sum, total as u64))
}
