//! `medserl parity DIR`: compares this build with a reference dump (format of the goldens' README), number by number.
//!
//! Where the frozen weights are kept as the dump has them (f32, or bf16 where its values are bf16 values), every number must agree to
//! [`TOLERANCE`] and greedy ids exactly. Where keeping them rounds them, the model is another one by as much. Then two things are
//! asked: that the same rounded weights, widened to f32, give the same numbers to [`TOLERANCE`], greedy ids and Adam step included, so that
//! the arithmetic on blocks is exact; and that the rounded model is within [`ROUNDED`] of the dump, without what a rounding may turn over.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use serde::Serialize;
use serde_json::Value;

use super::{
    advantage::{Episode, Shaping, k1, returns, scores, token_moments},
    loss::{Clip, TokenLoss, token_loss},
    optimizer::{AdamW, Gradients, Moments},
};
use crate::{
    config::{Estimator, Place, Precision},
    model::{
        Buffers,
        batch::TokenBatch,
        gemma3::Gemma3,
        generate::{Source, TokenRequest, generate_tokens},
        lora::{Adapter, AdapterView},
        place,
        plan::Plan,
        policy::CACHE_BYTES,
        spec::Spec,
        weights::Weights,
    },
    task::Sampling,
};

/// |difference| must be at most this times the largest entry of the kind.
const TOLERANCE: f32 = 3e-5;
/// The same where keeping the weights rounds them: in bf16 by 2⁻⁹ of each, in 8-bit and 4-bit blocks by 1/254 and 1/14 of each block's
/// largest. About twice what random models show (experiments/LOG.md, 2026-11-26: 0.009, 0.028 and 0.51, all of them gradients).
const ROUNDED: [f32; 3] = [0.02, 0.06, 1.0];
const KIND_FLOOR: f32 = 0.01;
const KL_COEF: f32 = 0.001;
const CLIP: Clip = Clip { low: 0.2, high: 0.2, log_ratio: Some(20.0) };

/// One kind of number compared.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub n_values: usize,
    pub max_difference: f32,
    pub allowed: f32,
    pub passed: bool,
}

/// Reference tensors by name.
struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn load(path: &Path) -> Result<Golden> {
        Ok(Golden(candle_core::safetensors::load(path, &Device::Cpu).with_context(|| format!("cannot read {}", path.display()))?))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).with_context(|| format!("the dump has no {name}"))
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.tensor(name)?.flatten_all()?.to_vec1()?)
    }

    fn ids(&self, name: &str) -> Result<Vec<u32>> {
        Ok(self.tensor(name)?.flatten_all()?.to_vec1::<i64>()?.into_iter().map(|id| id as u32).collect())
    }

    fn scalar(&self, name: &str) -> Result<f32> {
        Ok(self.floats(name)?[0])
    }
}

/// Collects numbers by kind, ours beside the dump's.
#[derive(Default)]
struct Table {
    kinds: Vec<Kind>,
    /// Whether what is added now may turn over where the weights are rounded.
    sharp: bool,
}

struct Kind {
    what: String,
    sharp: bool,
    ours: Vec<f32>,
    reference: Vec<f32>,
}

impl Table {
    fn add(&mut self, what: &str, ours: &[f32], reference: &[f32]) -> Result<()> {
        anyhow::ensure!(ours.len() == reference.len(), "{what}: {} values against {}", ours.len(), reference.len());
        let at = self.kinds.iter().position(|k| k.what == what).unwrap_or_else(|| {
            self.kinds.push(Kind { what: what.to_owned(), sharp: self.sharp, ours: Vec::new(), reference: Vec::new() });
            self.kinds.len() - 1
        });
        self.kinds[at].ours.extend(ours);
        self.kinds[at].reference.extend(reference);
        Ok(())
    }

    /// Every kind against the dump; where the weights are rounded, those that a rounding cannot turn over.
    fn rows(&self, exact: bool, tolerance: f32) -> Vec<Row> {
        let kinds = self.kinds.iter().filter(|kind| exact || !kind.sharp);
        kinds.map(|kind| row(kind.what.clone(), &kind.ours, &kind.reference, tolerance)).collect()
    }

    /// Every kind against the same numbers of another model.
    fn against(&self, other: &Table, name: &str) -> Result<Vec<Row>> {
        let pairs = self.kinds.iter().zip(&other.kinds).map(|(ours, others)| {
            let same = ours.what == others.what && ours.ours.len() == others.ours.len();
            anyhow::ensure!(same, "{}: other numbers than those of {name}", ours.what);
            Ok(row(format!("{}, {name}", ours.what), &ours.ours, &others.ours, TOLERANCE))
        });
        pairs.collect()
    }
}

fn row(what: String, ours: &[f32], reference: &[f32], tolerance: f32) -> Row {
    // A NaN on our side must fail, so it counts as infinitely far.
    let far = |(a, b): (&f32, &f32)| Some((a - b).abs()).filter(|d| !d.is_nan()).unwrap_or(f32::INFINITY);
    let max_difference = ours.iter().zip(reference).map(far).fold(0.0, f32::max);
    let scale = reference.iter().fold(KIND_FLOOR, |scale, value| scale.max(value.abs()));
    let allowed = tolerance * scale;
    Row { what, n_values: ours.len(), max_difference, allowed, passed: max_difference <= allowed }
}

/// One loaded dump.
struct Case {
    golden: Golden,
    model: Gemma3,
    adapter: Adapter,
    n_sequences: usize,
    adamw: (AdamW, f64),
}

/// Runs every comparison for a model file of the dump: `dir` holds config.json, adapter/ and expected.safetensors.
pub fn compare(place: Place, dir: &Path, config: &str, model_file: &str, precision: Precision) -> Result<Vec<Row>> {
    let path = dir.join(model_file);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let weights = Weights::from_bytes(&bytes, model_file, precision)?;
    let exact = match precision {
        Precision::Stored | Precision::F32 => true,
        Precision::Bf16 => Weights::from_bytes(&bytes, model_file, Precision::Stored)?.are_bf16()?,
        Precision::Int8 | Precision::Int4 => false,
    };
    let numbers = |weights: &Weights| Case::load(place, dir, config, weights)?.numbers();
    let table = numbers(&weights)?;
    let mut rows = table.rows(
        exact,
        match precision {
            _ if exact => TOLERANCE,
            Precision::Int8 => ROUNDED[1],
            Precision::Int4 => ROUNDED[2],
            _ => ROUNDED[0],
        },
    );
    if !exact {
        rows.extend(table.against(&numbers(&weights.widened()?)?, "same weights in f32")?);
    }
    Ok(rows)
}

impl Case {
    fn load(place: Place, dir: &Path, config: &str, weights: &Weights) -> Result<Case> {
        let (device, ops) = place::open(place)?;
        let spec = Spec::load(&dir.join(config))?;
        let adapter = Adapter::load(&spec, &dir.join("adapter"), &device)?;
        let golden = Golden::load(&dir.join("expected.safetensors"))?;
        let n_sequences = (0..).take_while(|i| golden.0.contains_key(&format!("seq{i}.ids"))).count();
        let n_positions = spec.max_positions;
        let model = Gemma3::new(spec, weights, n_positions)?.moved(&device, ops)?;
        let adamw = read_adamw(dir).unwrap_or((AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.01 }, 1e-3));
        Ok(Case { golden, model, adapter, n_sequences, adamw })
    }

    /// Everything that is compared, in an order of its own.
    fn numbers(&self) -> Result<Table> {
        let mut table = Table::default();
        self.forward(&mut table)?;
        self.weighted_logprobs(&mut table)?;
        for (name, estimator) in [("rpp", Estimator::Reinforce), ("rppb", Estimator::ReinforceBaseline)] {
            table.sharp = false;
            self.policy_step(name, estimator, &mut table)?;
        }
        self.greedy(&mut table)?;
        self.rollout(&mut table)?;
        Ok(table)
    }

    fn logits(&self, ids: &[u32], adapter: Option<&AdapterView>) -> Result<Tensor> {
        let mut plan = Plan::default();
        plan.push_root(ids.len());
        Ok(self.model.logits(&self.model.forward(ids, &plan.into(), adapter)?)?)
    }

    fn forward(&self, table: &mut Table) -> Result<()> {
        let view = self.adapter.frozen();
        for i in 0..self.n_sequences {
            let ids = self.golden.ids(&format!("seq{i}.ids"))?;
            for (suffix, adapter) in [("_base", None), ("", Some(&view))] {
                let name = format!("seq{i}.logits{suffix}");
                let logits: Vec<f32> = self.logits(&ids, adapter)?.flatten_all()?.to_vec1()?;
                table.add(&format!("logits{suffix}"), &logits, &self.golden.floats(&name)?)?;
                let mut batch = TokenBatch::default();
                batch.push_sequence(&ids);
                let (logprobs, _) = batch.score(&self.model, adapter, 1.0)?;
                table.add(&format!("logprobs{suffix}"), &logprobs, &self.golden.floats(&format!("seq{i}.logprobs{suffix}"))?)?;
            }
        }
        self.hidden(table)
    }

    fn hidden(&self, table: &mut Table) -> Result<()> {
        let ids = self.golden.ids("seq0.ids")?;
        let mut plan = Plan::default();
        plan.push_root(ids.len());
        let plan = plan.into();
        for (layer, x) in self.model.inputs(&ids, &plan)?.into_iter().enumerate() {
            let expected = self.golden.floats(&format!("seq0.hidden_base.{layer}"))?;
            table.add("hidden_base", &x.flatten_all()?.to_vec1::<f32>()?, &expected)?;
        }
        let last = self.model.forward(&ids, &plan, None)?;
        let name = format!("seq0.hidden_base.{}", self.model.spec.n_layers());
        table.add("hidden_base", &last.flatten_all()?.to_vec1::<f32>()?, &self.golden.floats(&name)?)
    }

    /// Greedy ids must match exactly; they go in as numbers whose difference is 0 or at least 1.
    fn greedy(&self, table: &mut Table) -> Result<()> {
        let view = self.adapter.frozen();
        for i in 0..self.n_sequences {
            for (suffix, adapter) in [("_base", None), ("", Some(&view))] {
                let expected = self.golden.ids(&format!("seq{i}.greedy{suffix}"))?;
                let mut ids = self.golden.ids(&format!("seq{i}.ids"))?;
                let start = ids.len();
                for _ in 0..expected.len() {
                    let logits = self.logits(&ids, adapter)?;
                    ids.push(logits.get(ids.len() - 1)?.argmax(0)?.to_scalar()?);
                }
                table.add(&format!("greedy{suffix}"), &as_numbers(&ids[start..]), &as_numbers(&expected))?;
            }
        }
        Ok(())
    }

    /// The same ids as a rollout draws them at temperature 0: prompts read together, one token at a time over caches.
    fn rollout(&self, table: &mut Table) -> Result<()> {
        let view = self.adapter.frozen();
        for (suffix, adapter) in [("_base", None), ("", Some(&view))] {
            let (mut requests, mut expected) = (Vec::new(), Vec::new());
            for i in 0..self.n_sequences {
                let prompt = self.golden.ids(&format!("seq{i}.ids"))?;
                requests.push(TokenRequest { prompt, n_completions: 1, stream: i as u64 });
                expected.push(self.golden.ids(&format!("seq{i}.greedy{suffix}"))?);
            }
            let max_tokens = expected.first().map_or(0, Vec::len);
            let source = Source { model: &self.model, adapter, stops: &[], seed: 0, cache_bytes: CACHE_BYTES };
            let slots = generate_tokens(source, &requests, Sampling { temperature: 0.0, max_tokens }, &mut |_| Ok(true))?;
            for slot in slots {
                table.add(&format!("rollout{suffix}"), &as_numbers(&slot.tokens), &as_numbers(&expected[slot.request]))?;
            }
        }
        Ok(())
    }

    fn weighted_logprobs(&self, table: &mut Table) -> Result<()> {
        let mut batch = TokenBatch::default();
        let mut slopes = Vec::new();
        for i in 0..self.n_sequences {
            batch.push_sequence(&self.golden.ids(&format!("seq{i}.ids"))?);
            slopes.extend(self.golden.floats(&format!("seq{i}.weights"))?.iter().map(|w| -w));
        }
        let (logprobs, grads) = self.backward(&batch, usize::MAX, |_| slopes.clone())?;
        let loss: f64 = logprobs.iter().zip(&slopes).map(|(l, s)| f64::from(l * s)).sum();
        table.add("wlp.loss", &[loss as f32], &self.golden.floats("wlp.loss")?)?;
        self.compare_by_key("wlp.grad", &grads.0, table)?;
        let (_, grads) = self.backward(&batch, 0, |_| slopes.clone())?;
        self.compare_by_key_as("wlp.grad, layers twice", "wlp.grad", &grads.0, table)
    }

    /// Gradients of sum(slope * logprob), where the slopes may depend on the log-probs.
    fn backward(
        &self,
        batch: &TokenBatch,
        kept: usize,
        slopes: impl FnOnce(&[f32]) -> Vec<f32> + Send,
    ) -> Result<(Vec<f32>, Gradients)> {
        let (mut values, mut grads) = (Vec::new(), Gradients::zeros(self.adapter.vars()));
        let slopes = |logprobs: &[f32], _entropies: &[f32]| {
            values = logprobs.to_vec();
            slopes(logprobs)
        };
        batch.backward(&self.model, &self.adapter, 1.0, kept, slopes, &mut grads.0, &mut Buffers::default())?;
        Ok((values, grads))
    }

    fn compare_by_key(&self, prefix: &str, ours: &[Vec<f32>], table: &mut Table) -> Result<()> {
        self.compare_by_key_as(prefix, prefix, ours, table)
    }

    fn compare_by_key_as(&self, what: &str, prefix: &str, ours: &[Vec<f32>], table: &mut Table) -> Result<()> {
        for ((key, _), values) in self.adapter.vars().iter().zip(ours) {
            table.add(what, values, &self.by_key(prefix, key)?)?;
        }
        Ok(())
    }

    /// The dump names adapter tensors with the prefix of its own file; ours end the same way.
    fn by_key(&self, prefix: &str, key: &str) -> Result<Vec<f32>> {
        let (start, end) = (format!("{prefix}."), format!(".{key}"));
        let name = self.golden.0.keys().find(|name| name.starts_with(&start) && name.ends_with(&end));
        self.golden.floats(name.with_context(|| format!("the dump has no {prefix} for {key}"))?)
    }

    fn policy_step(&self, name: &str, estimator: Estimator, table: &mut Table) -> Result<()> {
        let golden = &self.golden;
        let lens: Vec<usize> = golden.ids("prompt_lens")?.iter().map(|n| *n as usize).collect();
        let rewards = golden.floats("rewards")?;
        let mut batch = TokenBatch::default();
        let mut old = Vec::new();
        let mut reference = Vec::new();
        for (i, len) in lens.iter().enumerate() {
            let ids = golden.ids(&format!("seq{i}.ids"))?;
            batch.push(&ids[..*len], &[&ids[*len..]]);
            old.push(golden.floats(&format!("seq{i}.old_logprobs"))?);
            reference.push(golden.floats(&format!("seq{i}.ref_logprobs"))?);
        }
        let shaping = Shaping { estimator, kl_coef: KL_COEF, kl_clamp: Some(10.0), reward_clip: 10.0 };
        let episodes: Vec<Episode> = (0..lens.len())
            .map(|i| Episode { reward: rewards[i], group: i / 2, old_logprobs: &old[i], reference_logprobs: &reference[i] })
            .collect();
        let scores = scores(&episodes, &shaping);
        table.add(&format!("{name}.score"), &scores, &golden.floats(&format!("{name}.score"))?)?;
        let kls: Vec<Vec<f32>> = episodes.iter().map(|e| k1(e.old_logprobs, e.reference_logprobs, shaping.kl_clamp)).collect();
        let gone: Vec<Vec<f32>> = scores.iter().zip(&kls).map(|(s, kl)| returns(*s, kl, KL_COEF)).collect();
        let (mean, variance) = token_moments(&gone);
        table.add(&format!("{name}.return_mean"), &[mean], &golden.floats(&format!("{name}.return_mean"))?)?;
        table.add(&format!("{name}.return_var"), &[variance], &golden.floats(&format!("{name}.return_var"))?)?;
        let advantages = super::advantage::advantages(&episodes, &shaping);
        for i in 0..lens.len() {
            // A token's reward is what its return has more than the next one's.
            let next = gone[i].iter().skip(1).chain(&[0.0]);
            let token_rewards = gone[i].iter().zip(next).map(|(now, next)| now - next).collect();
            let rows = [("kl", &kls[i]), ("token_reward", &token_rewards), ("return", &gone[i]), ("advantage", &advantages[i])];
            for (what, ours) in rows {
                table.add(&format!("{name}.{what}"), ours, &golden.floats(&format!("seq{i}.{name}.{what}"))?)?;
            }
        }
        self.compare_update(name, &batch, &old.concat(), &advantages.concat(), table)
    }

    /// One list over all sequences of a number that the dump has by sequence.
    fn over_sequences(&self, what: &str) -> Result<Vec<f32>> {
        let parts = (0..self.n_sequences).map(|i| self.golden.floats(&format!("seq{i}.{what}")));
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    fn compare_update(&self, name: &str, batch: &TokenBatch, old: &[f32], advantages: &[f32], table: &mut Table) -> Result<()> {
        let n = old.len() as f32;
        let losses = |policy: &[f32]| -> Vec<TokenLoss> {
            (0..policy.len()).map(|t| token_loss(policy[t], old[t], advantages[t], CLIP)).collect()
        };
        let (policy, mut grads) =
            self.backward(batch, usize::MAX, |policy| losses(policy).iter().map(|l| l.slope / n).collect())?;
        let losses = losses(&policy);
        // Ratios are exponentials of what differs; the mean of token losses of both signs is next to nothing; which side of the clip a
        // token falls, and the sign of a first Adam step, may turn over with a rounding.
        table.sharp = true;
        let ratios: Vec<f32> = policy.iter().zip(old).map(|(p, o)| (p - o).clamp(-20.0, 20.0).exp()).collect();
        table.add(&format!("{name}.ratio"), &ratios, &self.over_sequences(&format!("{name}.ratio"))?)?;
        let each: Vec<f32> = losses.iter().map(|l| l.loss).collect();
        table.add(&format!("{name}.token_loss"), &each, &self.over_sequences(&format!("{name}.token_loss"))?)?;
        let golden = |key: &str| self.golden.floats(&format!("{name}.{key}"));
        table.add(&format!("{name}.loss"), &[losses.iter().map(|l| l.loss).sum::<f32>() / n], &golden("loss")?)?;
        let clipped = losses.iter().filter(|l| l.clipped).count() as f32 / n;
        table.add(&format!("{name}.clip_fraction"), &[clipped], &golden("clip_fraction")?)?;
        // What cancels in a mean of differences should not be lost in the sum.
        let approx_kl = old.iter().zip(&policy).map(|(o, p)| f64::from(*o) - f64::from(*p)).sum::<f64>() / f64::from(n);
        table.add(&format!("{name}.approx_kl"), &[approx_kl as f32], &golden("approx_kl")?)?;
        self.compare_by_key(&format!("{name}.grad"), &grads.0, table)?;
        table.add(&format!("{name}.grad_norm"), &[grads.norm() as f32], &golden("grad_norm")?)?;
        grads.clip(f64::from(self.golden.scalar(&format!("{name}.max_norm"))?));
        self.compare_adamw(name, &grads, table)
    }

    /// Takes the step on a copy of the adapter. The first Adam step is nearly lr * sign, so entries whose gradients are tiny in the dump
    /// are left out.
    fn compare_adamw(&self, name: &str, grads: &Gradients, table: &mut Table) -> Result<()> {
        let copy = self
            .adapter
            .vars()
            .iter()
            .map(|(key, var)| Ok((key.clone(), candle_core::Var::from_tensor(&var.as_tensor().copy()?)?)));
        let vars: Vec<(String, candle_core::Var)> = copy.collect::<Result<_>>()?;
        let (adamw, lr) = self.adamw;
        adamw.step(&vars, grads, &mut Moments::zeros(&vars), lr, |_| true)?;
        let scalar = |what: &str| self.golden.scalar(&format!("{name}.{what}"));
        let clipped = (scalar("max_norm")? / scalar("grad_norm")?).min(1.0);
        for (key, var) in &vars {
            let grad = self.by_key(&format!("{name}.grad"), key)?;
            let (ours, expected): (Vec<f32>, Vec<f32>) =
                (var.as_tensor().flatten_all()?.to_vec1()?, self.by_key(&format!("{name}.adamw"), key)?);
            let large: Vec<usize> = (0..ours.len()).filter(|i| clipped * grad[*i].abs() >= 1e-5).collect();
            let pick = |v: &[f32]| large.iter().map(|i| v[*i]).collect::<Vec<f32>>();
            table.add(&format!("{name}.adamw"), &pick(&ours), &pick(&expected))?;
        }
        Ok(())
    }
}

/// Ids as numbers whose difference is 0 or at least 10⁶.
fn as_numbers(ids: &[u32]) -> Vec<f32> {
    ids.iter().map(|id| *id as f32 * 1e6).collect()
}

/// AdamW constants and learning rate from the dump's meta.json, one folder up.
fn read_adamw(dir: &Path) -> Option<(AdamW, f64)> {
    let text = std::fs::read_to_string(dir.parent()?.join("meta.json")).ok()?;
    let meta: Value = serde_json::from_str(&text).ok()?;
    let adamw = meta.get("adamw")?;
    let number = |key: &str| adamw.get(key)?.as_f64();
    let beta = |i: usize| adamw.get("betas")?.get(i)?.as_f64();
    Some((AdamW { betas: (beta(0)?, beta(1)?), eps: number("eps")?, weight_decay: number("weight_decay")? }, number("lr")?))
}
