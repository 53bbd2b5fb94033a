//! Making the nano model from nothing: next-token training on generated documents, resumable at any step.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::optimizer::{AdamW, Gradients, Moments, Schedule};
use crate::model::{batch::TokenBatch, gemma3::Gemma3, ops::logprob::LOGPROB, spec::Spec, weights::Weights};

/// The recipe, `experiments/nano/pretrain.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub seed: u64,
    pub steps: u64,
    /// Tokens per optimizer step, about: documents are added until it is reached.
    pub batch_tokens: usize,
    /// Tokens per forward, about.
    pub micro_tokens: usize,
    pub learning_rate: f64,
    pub min_lr_ratio: f64,
    pub warmup_steps: u64,
    pub betas: (f64, f64),
    pub weight_decay: f64,
    pub max_norm: f64,
    /// Loss weight of prompt tokens; completion tokens weigh 1.
    pub prompt_weight: f32,
    pub save_every: u64,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub intermediate_size: usize,
    pub sliding_window: usize,
    pub max_positions: usize,
    /// Documents the tokenizer is trained on.
    pub tokenizer_documents: u64,
}

impl Recipe {
    pub fn spec(&self) -> Spec {
        Spec {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            n_heads: self.heads,
            n_kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            norm_eps: 1e-6,
            query_pre_attn_scalar: self.head_dim as f64,
            sliding_window: self.sliding_window,
            rope_theta_local: 10_000.0,
            rope_theta_global: 1_000_000.0,
            rope_scale_global: 1.0,
            max_positions: self.max_positions,
            // Gemma 3's rhythm: every sixth layer is global.
            global_layers: (1..=self.layers).map(|i| i.is_multiple_of(6)).collect(),
        }
    }
}

/// A document as token ids: `prompt` may be empty only if `completion` has at least two tokens.
pub struct TokenDocument {
    pub prompt: Vec<u32>,
    pub completion: Vec<u32>,
}

/// One line of the loss curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CurvePoint {
    pub step: u64,
    pub tokens: u64,
    /// Mean negative log-prob of completion tokens, nats.
    pub completion_loss: f64,
    pub prompt_loss: f64,
    pub grad_norm: f64,
    pub learning_rate: f64,
    pub tokens_per_second: f64,
}

/// A pretraining run in a folder: state that is saved, and what it is made of.
pub struct Pretraining {
    recipe: Recipe,
    dir: PathBuf,
    model: Gemma3,
    vars: Vec<(String, Var)>,
    moments: Moments,
    /// Documents consumed so far.
    next_document: u64,
    pub step: u64,
    tokens: u64,
}

/// What must be known to go on, beside the tensors.
#[derive(Serialize, Deserialize)]
struct Cursor {
    step: u64,
    next_document: u64,
    tokens: u64,
    recipe: Recipe,
}

impl Pretraining {
    /// Opens the run in `dir`, continuing from its newest state where there is one.
    pub fn open(recipe: Recipe, dir: &Path) -> Result<Pretraining> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let spec = recipe.spec();
        let (weights, vars) = Weights::fresh(&spec, recipe.seed, &Device::Cpu)?;
        let model = Gemma3::new(spec, &weights, recipe.max_positions)?;
        let moments = Moments::zeros(&vars);
        let mut run = Pretraining { recipe, dir: dir.to_owned(), model, vars, moments, next_document: 0, step: 0, tokens: 0 };
        if run.dir.join("cursor.json").exists() {
            run.restore()?;
        }
        Ok(run)
    }

    pub fn is_done(&self) -> bool {
        self.step >= self.recipe.steps
    }

    /// Takes one optimizer step on the next documents. `document(i)` must be a pure function of i.
    pub fn step(&mut self, document: &dyn Fn(u64) -> Result<TokenDocument>) -> Result<CurvePoint> {
        let started = Instant::now();
        let mut documents = Vec::new();
        let mut n_tokens = 0;
        while n_tokens < self.recipe.batch_tokens {
            let d = document(self.next_document)?;
            self.next_document += 1;
            n_tokens += d.prompt.len() + d.completion.len();
            documents.push(d);
        }
        let total_weight: f32 =
            documents.iter().map(|d| self.recipe.prompt_weight * d.prompt.len() as f32 + d.completion.len() as f32).sum();
        let mut grads = Gradients::zeros(&self.vars);
        let mut sums = LossSums::default();
        let mut rest = documents.as_slice();
        while !rest.is_empty() {
            let n = micro_batch_len(rest, self.recipe.micro_tokens);
            let (now, later) = rest.split_at(n);
            self.backward(now, total_weight, &mut grads, &mut sums)?;
            rest = later;
        }
        let grad_norm = grads.clip(self.recipe.max_norm);
        ensure!(grad_norm.is_finite(), "the gradient of step {} is not finite; the last saved state is intact", self.step);
        let learning_rate = self.schedule().at(self.step);
        let adamw = AdamW { betas: self.recipe.betas, eps: 1e-8, weight_decay: self.recipe.weight_decay };
        adamw.step(&self.vars, &grads, &mut self.moments, learning_rate, |name| !name.contains("norm"))?;
        self.step += 1;
        self.tokens += n_tokens as u64;
        let seconds = started.elapsed().as_secs_f64();
        let point = CurvePoint {
            step: self.step,
            tokens: self.tokens,
            completion_loss: sums.completion / sums.n_completion.max(1.0),
            prompt_loss: sums.prompt / sums.n_prompt.max(1.0),
            grad_norm,
            learning_rate,
            tokens_per_second: n_tokens as f64 / seconds,
        };
        self.append_curve(&point)?;
        if self.step.is_multiple_of(self.recipe.save_every) || self.is_done() {
            self.save()?;
        }
        Ok(point)
    }

    /// Mean completion loss of documents, nats a token, without learning from them.
    pub fn score(&self, documents: &[TokenDocument]) -> Result<f64> {
        let (mut sum, mut n) = (0f64, 0f64);
        for d in documents {
            let mut batch = TokenBatch::default();
            batch.push(&d.prompt, &[&d.completion]);
            let (logprobs, _) = batch.score(&self.model, None, 1.0)?;
            sum -= logprobs.iter().map(|l| f64::from(*l)).sum::<f64>();
            n += logprobs.len() as f64;
        }
        Ok(sum / n.max(1.0))
    }

    fn schedule(&self) -> Schedule {
        let r = &self.recipe;
        Schedule { peak: r.learning_rate, min_ratio: r.min_lr_ratio, warmup_steps: r.warmup_steps, total_steps: r.steps }
    }

    fn backward(&self, documents: &[TokenDocument], total_weight: f32, grads: &mut Gradients, sums: &mut LossSums) -> Result<()> {
        let mut batch = TokenBatch::default();
        let mut weights = Vec::new();
        for d in documents {
            let ids: Vec<u32> = d.prompt.iter().chain(&d.completion).copied().collect();
            batch.push_sequence(&ids);
            // Target t is token t + 1 of the sequence.
            weights.extend((1..ids.len()).map(|t| if t < d.prompt.len() { self.recipe.prompt_weight } else { 1.0 }));
        }
        let logprobs = batch.forward(&self.model, None, 1.0)?.get(LOGPROB)?;
        sums.add(&logprobs.to_vec1()?, &weights);
        let n = weights.len();
        let slopes: Vec<f32> = weights.iter().map(|w| -w / total_weight).collect();
        let loss = (logprobs * Tensor::from_vec(slopes, n, &Device::Cpu)?)?.sum_all()?;
        grads.add(&self.vars, 0..self.vars.len(), &loss.backward()?)
    }

    fn append_curve(&self, point: &CurvePoint) -> Result<()> {
        let path = self.dir.join("curve.jsonl");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(writeln!(file, "{}", serde_json::to_string(point)?)?)
    }

    /// Writes the whole state beside the old one, then swaps the cursor in last.
    fn save(&self) -> Result<()> {
        let state: Vec<(String, Tensor)> = self.vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        write_tensors(&self.dir, &format!("weights-{}.safetensors", self.step), state)?;
        let mut moments = Vec::new();
        for (i, (name, var)) in self.vars.iter().enumerate() {
            for (tag, values) in [("first", &self.moments.first[i]), ("second", &self.moments.second[i])] {
                moments.push((format!("{tag}.{name}"), Tensor::from_slice(values, var.shape(), &Device::Cpu)?));
            }
        }
        write_tensors(&self.dir, &format!("moments-{}.safetensors", self.step), moments)?;
        let cursor =
            Cursor { step: self.step, next_document: self.next_document, tokens: self.tokens, recipe: self.recipe.clone() };
        write_file(&self.dir, "cursor.json", &serde_json::to_vec_pretty(&cursor)?)?;
        self.prune()
    }

    /// Removes states older than the one the cursor names.
    fn prune(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let old =
                (name.starts_with("weights-") || name.starts_with("moments-")) && !name.contains(&format!("-{}.", self.step));
            if old {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        let path = self.dir.join("cursor.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let cursor: Cursor = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        ensure!(
            cursor.recipe.spec() == self.recipe.spec(),
            "{} holds a model of another shape; use another folder",
            self.dir.display()
        );
        let load = |name: String| {
            let path = self.dir.join(name);
            candle_core::safetensors::load(&path, &Device::Cpu).with_context(|| format!("cannot read {}", path.display()))
        };
        let weights = load(format!("weights-{}.safetensors", cursor.step))?;
        let moments = load(format!("moments-{}.safetensors", cursor.step))?;
        for (i, (name, var)) in self.vars.iter().enumerate() {
            var.set(weights.get(name).with_context(|| format!("the saved state has no {name}"))?)?;
            for (tag, slot) in [("first", &mut self.moments.first[i]), ("second", &mut self.moments.second[i])] {
                let key = format!("{tag}.{name}");
                *slot = moments.get(&key).with_context(|| format!("the saved state has no {key}"))?.flatten_all()?.to_vec1()?;
            }
        }
        self.moments.steps = cursor.step;
        (self.step, self.next_document, self.tokens) = (cursor.step, cursor.next_document, cursor.tokens);
        Ok(())
    }

    /// Writes the finished model in bf16 with transformers' names, and its config.json.
    pub fn export(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        let tensors: Result<Vec<(String, Tensor)>> =
            self.vars.iter().map(|(name, var)| Ok((format!("model.{name}"), var.as_tensor().to_dtype(DType::BF16)?))).collect();
        write_tensors(dir, "model.safetensors", tensors?)?;
        write_file(dir, "config.json", &serde_json::to_vec_pretty(&self.model.spec.to_json())?)
    }
}

#[derive(Default)]
struct LossSums {
    completion: f64,
    n_completion: f64,
    prompt: f64,
    n_prompt: f64,
}

impl LossSums {
    fn add(&mut self, logprobs: &[f32], weights: &[f32]) {
        for (l, w) in logprobs.iter().zip(weights) {
            if *w == 1.0 {
                self.completion -= f64::from(*l);
                self.n_completion += 1.0;
            } else {
                self.prompt -= f64::from(*l);
                self.n_prompt += 1.0;
            }
        }
    }
}

/// How many documents fit one forward; at least one.
fn micro_batch_len(documents: &[TokenDocument], micro_tokens: usize) -> usize {
    let mut tokens = 0;
    let fits = documents.iter().take_while(|d| {
        tokens += d.prompt.len() + d.completion.len();
        tokens <= micro_tokens
    });
    fits.count().max(1)
}

fn write_tensors(dir: &Path, name: &str, tensors: Vec<(String, Tensor)>) -> Result<()> {
    let part = dir.join(format!("{name}.part"));
    candle_core::safetensors::save(&tensors.into_iter().collect(), &part)
        .with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, dir.join(name)).with_context(|| format!("cannot rename {}", part.display()))
}

fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let part = dir.join(format!("{name}.part"));
    fs::write(&part, bytes).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, dir.join(name)).with_context(|| format!("cannot rename {}", part.display()))
}
