//! The supervised warm-up: completion-only loss, the end-of-turn token included, so that the policy learns to stop.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::optimizer::{AdamW, Found, Gradients, Moments, Schedule};
use crate::{
    config::SftConfig,
    data::SftExample,
    model::{Buffers, Policy, batch::TokenBatch},
    task::{Generate, GenerateRequest, Sampling, verdict},
};

/// Where a warm-up stands, beside the adapter and its moments: with these three it goes on to the same bits after a kill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Examples the base model has thought about, where the experiment asks for its own thinking.
    pub thought: usize,
    /// What came of them: those whose completion was well-formed.
    pub own: Vec<SftExample>,
    /// Mean completion loss of each optimizer step taken, nats per token.
    pub losses: Vec<f64>,
    pub n_tokens: u64,
}

/// The optimizer steps of a warm-up, to be taken one by one so that the caller can save in between.
pub struct Lessons {
    encoded: Vec<(Vec<u32>, Vec<u32>)>,
    batch: usize,
    n_steps: usize,
    schedule: Schedule,
}

impl Lessons {
    pub fn new(policy: &Policy, examples: &[SftExample], config: &SftConfig) -> Result<Lessons> {
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
        Ok(Lessons { encoded, batch: config.batch, n_steps, schedule })
    }

    /// Optimizer steps in all.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// Takes the next optimizer step; nothing has changed where it fails, [`OutOfMemory`](crate::model::room::OutOfMemory) among
    /// the reasons.
    pub fn step(&self, policy: &Policy, moments: &mut Moments, warmup: &mut Warmup) -> Result<()> {
        let per_epoch = self.encoded.len().div_ceil(self.batch).max(1);
        let at = warmup.losses.len() % per_epoch * self.batch;
        let batch = &self.encoded[at..self.encoded.len().min(at + self.batch)];
        let (mut grads, loss, n_tokens) = gradients(policy, batch)?;
        let norm = grads.clip(1.0)?;
        ensure!(norm.is_finite(), "the warm-up gradient is not finite; lower sft.learning_rate");
        // + 1: a first step at rate 0 would waste one of few.
        let learning_rate = self.schedule.at(moments.steps + 1);
        let adamw = AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.0 };
        adamw.learn(policy, &grads, moments, learning_rate)?;
        warmup.losses.push(loss);
        warmup.n_tokens += n_tokens;
        Ok(())
    }
}

/// A whole warm-up in one go. `progress(steps done, steps in all)` returns false to abort, which is an error.
pub fn warm_up(
    policy: &Policy,
    examples: &[SftExample],
    config: &SftConfig,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Warmup> {
    let lessons = Lessons::new(policy, examples, config)?;
    let (mut moments, mut warmup) = (Moments::of(policy), Warmup::default());
    while warmup.losses.len() < lessons.n_steps() {
        lessons.step(policy, &mut moments, &mut warmup)?;
        ensure!(progress(warmup.losses.len(), lessons.n_steps()), super::step::Aborted);
    }
    Ok(warmup)
}

/// Notes the base model thinks about in one call.
const CHUNK: usize = 64;
/// Apart from the Scribe's and the Doctor's draws.
const STREAM: u64 = 1 << 61;

/// Replaces the templated thinking of the next few examples by the base model's own, drawn at `sampling`; an example whose
/// completion is malformed is left out.
pub fn think(policy: &Policy, examples: &[SftExample], sampling: Sampling, warmup: &mut Warmup) -> Result<()> {
    let first = warmup.thought;
    let chunk = &examples[first..examples.len().min(first + CHUNK)];
    let request = |i: usize, e: &SftExample| GenerateRequest {
        chat: e.chat.clone(),
        n_completions: 1,
        stream: STREAM | (first + i) as u64,
    };
    let requests: Vec<GenerateRequest> = chunk.iter().enumerate().map(|(i, e)| request(i, e)).collect();
    let completions = policy.base().generate(&requests, sampling, &mut |_, _, _| true)?;
    warmup.own.extend(chunk.iter().zip(&completions).filter_map(|(example, c)| own_thinking(example, &c[0].text)));
    warmup.thought += chunk.len();
    Ok(())
}

fn own_thinking(example: &SftExample, written: &str) -> Option<SftExample> {
    verdict::parse(written).flag()?;
    let (thinking, _) = verdict::split_for_display(written);
    let verdict = &example.completion[example.completion.find("<verdict>")?..];
    Some(SftExample { chat: example.chat.clone(), completion: format!("<thinking>{thinking}</thinking>{verdict}") })
}

fn gradients(policy: &Policy, batch: &[(Vec<u32>, Vec<u32>)]) -> Result<(Found, f64, u64)> {
    let total: usize = batch.iter().map(|(_, completion)| completion.len()).sum();
    let rows = |(prompt, completion): &(Vec<u32>, Vec<u32>)| prompt.len() + completion.len();
    let parts = policy.parts(batch.iter().map(rows));
    let most = parts.iter().map(|part| batch[part.clone()].iter().map(rows).sum::<usize>()).max().unwrap_or(0);
    let longest = batch.iter().flat_map(|(prompt, completion)| [prompt.len(), completion.len()]).max().unwrap_or(0);
    let ((mut grads, placed), mut loss) = (Found::zeros(policy)?, 0f64);
    let backward = |part: usize, buffers: &mut Buffers| {
        let kept = policy.reserve(most, longest, parts.len())?;
        let mut tokens = TokenBatch::default();
        batch[parts[part].clone()].iter().for_each(|(prompt, completion)| tokens.push(prompt, &[completion]));
        let mut loss = 0f64;
        let slopes = |logprobs: &[f32], _entropies: &[f32]| {
            loss = -logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / total as f64;
            vec![-1.0 / total as f32; logprobs.len()]
        };
        let grads = Gradients::of_part(policy, &tokens, 1.0, kept, slopes, (placed.as_ref(), buffers))?;
        Ok((grads, loss))
    };
    policy.in_parts(parts.len(), backward, |_, (part_grads, part_loss)| {
        grads.merge(&part_grads);
        loss += part_loss;
        Ok(())
    })?;
    Ok((Found::of((grads, placed)), loss, total as u64))
}
