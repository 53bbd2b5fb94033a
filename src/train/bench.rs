//! One policy step on random weights, phase by phase, for `medserl bench`: how long, how much arithmetic, how much memory.
//! Must not print, and must not know of notes or rewards.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    algo::Algo,
    budget::{self, Lengths, Load, Target},
    optimizer::{Moments, Schedule},
    update::{PromptGroup, Trajectory, reference_logprobs, update},
};
use crate::{
    config::{AlgoConfig, LoraConfig, Place, Precision, RunConfig},
    model::{
        Policy,
        generate::{Slot, Source, TokenRequest, generate_tokens},
        kernels::ceilings::ceilings as gpu_ceilings,
        ops::gemm::{Mat, Threads, gemm},
        place::{self, Ops},
        policy::Pen,
        random,
        spec::Spec,
    },
    task::Sampling,
};

/// The shapes people ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The nano model's size.
    Tiny,
    /// google/gemma-3-270m
    Small,
    /// The text tower of google/gemma-3-4b and google/medgemma-4b.
    Large,
}

impl Shape {
    pub fn spec(self) -> Spec {
        let spec = |h, layers: usize, heads, kv, hd, ffn, vocab, window, scale| Spec {
            vocab_size: vocab,
            hidden_size: h,
            intermediate_size: ffn,
            n_heads: heads,
            n_kv_heads: kv,
            head_dim: hd,
            norm_eps: 1e-6,
            query_pre_attn_scalar: 256.0,
            sliding_window: window,
            rope_theta_local: 1e4,
            rope_theta_global: 1e6,
            rope_scale_global: scale,
            max_positions: 8192,
            global_layers: (1..=layers).map(|i| i.is_multiple_of(6)).collect(),
        };
        match self {
            Shape::Tiny => spec(256, 6, 4, 1, 64, 1024, 4096, 128, 1.0),
            Shape::Small => spec(640, 18, 4, 1, 256, 2048, 262_144, 512, 1.0),
            Shape::Large => spec(2560, 34, 8, 4, 256, 10_240, 262_208, 1024, 8.0),
        }
    }
}

/// How much of it: every sequence has exactly these lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    pub prompts: usize,
    pub completions: usize,
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
}

/// One repetition, seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Prefill and decode together.
    pub rollout: f64,
    /// Until every completion has its first token.
    pub prefill: f64,
    pub decode: f64,
    pub reference: f64,
    pub update: f64,
}

impl Times {
    /// Without the reference pass, which a run without a KL penalty need not make.
    pub fn step(&self) -> f64 {
        self.rollout + self.update
    }
}

/// Arithmetic of a phase, 10⁹ floating-point operations: what the shape asks for, not what is computed. Recomputed parts do not count
/// twice, and the last layer counts for every row although it is computed only for those that predict something.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Arithmetic {
    pub rollout: f64,
    pub prefill: f64,
    pub decode: f64,
    pub reference: f64,
    pub update: f64,
}

/// A model of a shape, ready to be measured.
pub struct Bench {
    pub work: Work,
    policy: Policy,
    precision: Precision,
    prompts: Vec<Vec<u32>>,
    moments: Moments,
    algo: Algo,
    round: u64,
}

impl Bench {
    pub fn new(place: Place, spec: Spec, precision: Precision, work: Work, micro_rows: usize) -> Result<Bench> {
        ensure!(
            work.prompts * work.completions > 0 && work.prompt_tokens > 0 && work.completion_tokens > 1 && spec.vocab_size > 1,
            "no work to measure"
        );
        let vocab = spec.vocab_size;
        let prompt = |i: usize| {
            let draws = random::uniform(7, i as u64, work.prompt_tokens, 0.5);
            draws.iter().map(|u| ((u + 0.5) * vocab as f32) as u32 % vocab as u32).collect()
        };
        let prompts = (0..work.prompts).map(prompt).collect();
        let mut policy = Policy::random(place, spec, precision, &LoraConfig::default())?;
        policy.micro_rows = micro_rows;
        let moments = Moments::of(&policy);
        let batch = work.prompts * work.completions;
        let algo = Algo::resolve(&AlgoConfig { batch: Some(batch), learning_rate: Some(1e-4), ..AlgoConfig::default() });
        Ok(Bench { work, policy, precision, prompts, moments, algo, round: 0 })
    }

    /// Rollout, reference log-probs, update; the adapter really moves.
    pub fn repeat(&mut self) -> Result<Times> {
        self.round += 1;
        let clock = Instant::now();
        let (slots, prefill) = self.rollout(clock)?;
        let rollout = clock.elapsed().as_secs_f64();
        let groups = self.trajectories(slots);
        let clock = Instant::now();
        let reference = reference_logprobs(&self.policy, &groups, 1.0)?;
        let reference_s = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let schedule = Schedule { peak: 1e-4, min_ratio: 1.0, warmup_steps: 0, total_steps: 1 };
        let (policy, moments) = (&self.policy, &mut self.moments);
        let report = update(policy, &groups, &reference, &self.algo, 1.0, &schedule, moments, &mut |_, _| ())?;
        ensure!(report.grad_norm.is_finite() && report.n_skipped == 0, "the benchmark's update was skipped");
        let update = clock.elapsed().as_secs_f64();
        Ok(Times { rollout, prefill, decode: rollout - prefill, reference: reference_s, update })
    }

    /// The completions, and how long after `clock` all of them had begun.
    fn rollout(&self, clock: Instant) -> Result<(Vec<Slot>, f64)> {
        let pen = Pen::with(&self.policy.model, self.policy.adapter.frozen())?;
        let (model, adapter) = pen.of(&self.policy.model);
        // No token ends a completion, so that every repetition is the same work.
        let cache_bytes = self.policy.cache_bytes();
        let source = Source { model, adapter, stops: &[], seed: self.round, cache_bytes };
        let request = |(i, prompt): (usize, &Vec<u32>)| TokenRequest {
            prompt: prompt.clone(),
            n_completions: self.work.completions,
            stream: i as u64,
        };
        let requests: Vec<TokenRequest> = self.prompts.iter().enumerate().map(request).collect();
        let sampling = Sampling { temperature: 1.0, max_tokens: self.work.completion_tokens };
        let (n, mut prefill) = (self.work.prompts * self.work.completions, None);
        let slots = generate_tokens(source, &requests, sampling, &mut |slots| {
            if prefill.is_none() && slots.iter().filter(|s| !s.tokens.is_empty()).count() == n {
                prefill = Some(clock.elapsed().as_secs_f64());
            }
            Ok(true)
        })?;
        Ok((slots, prefill.context("a completion never began")?))
    }

    fn trajectories(&self, slots: Vec<Slot>) -> Vec<PromptGroup> {
        let mut groups: Vec<PromptGroup> = self
            .prompts
            .iter()
            .map(|prompt| PromptGroup { prompt: prompt.clone(), completions: Vec::new(), trains: true })
            .collect();
        for slot in slots {
            let reward = (slot.tokens[0] % 7) as f32 / 7.0;
            let trajectory = Trajectory { tokens: slot.tokens, rollout_logprobs: slot.logprobs, reward };
            groups[slot.request].completions.push(trajectory);
        }
        groups
    }

    /// Counted from the shape: two operations a multiply-add; a shared prompt counts once, the causal half of attention only.
    pub fn arithmetic(&self) -> Arithmetic {
        let (s, w) = (&self.policy.model.spec, self.work);
        let adapter: usize = self.policy.adapter.vars().iter().map(|(_, v)| v.elem_count()).sum();
        let linear = s.n_parameters() - s.vocab_size * s.hidden_size + adapter;
        let head = s.vocab_size * s.hidden_size;
        let (lp, lc) = (w.prompt_tokens as f64, w.completion_tokens as f64);
        let rows = w.prompts as f64 * (lp + w.completions as f64 * (lc - 1.0));
        let predicted = (w.prompts * w.completions) as f64 * lc;
        let seen = |from: usize, n: usize| -> f64 {
            let local = (from..from + n).map(|p| (p + 1).min(s.sliding_window)).sum::<usize>();
            let global = (from..from + n).map(|p| p + 1).sum::<usize>();
            s.global_layers.iter().map(|g| if *g { global } else { local } as f64).sum()
        };
        let sequences = w.completions as f64 * seen(w.prompt_tokens, w.completion_tokens - 1);
        let attention = 4.0 * (s.n_heads * s.head_dim) as f64 * w.prompts as f64 * (seen(0, w.prompt_tokens) + sequences);
        let forward = 2.0 * linear as f64 * rows + attention;
        let heads = 2.0 * head as f64 * predicted;
        let rollout = forward + 2.0 * head as f64 * (w.prompts as f64 + (w.prompts * w.completions) as f64 * (lc - 1.0));
        let read = 4.0 * (s.n_heads * s.head_dim) as f64 * seen(0, w.prompt_tokens) + 2.0 * (linear as f64 * lp + head as f64);
        let prefill = w.prompts as f64 * read;
        let update = 2.0 * forward + 2.0 * adapter as f64 * rows + attention + 2.0 * heads;
        let [rollout, prefill, reference, update] = [rollout, prefill, forward + heads, update].map(|n| n / 1e9);
        Arithmetic { rollout, prefill, decode: rollout - prefill, reference, update }
    }

    /// Memory that decoding reads at least, 10⁹ bytes: all weights for every token of the batch, and what each completion attends to.
    pub fn decode_gbytes(&self) -> f64 {
        let (s, w) = (&self.policy.model.spec, self.work);
        let positions: usize = (w.prompt_tokens..w.prompt_tokens + w.completion_tokens - 1)
            .map(|p| s.global_layers.iter().map(|g| if *g { p + 1 } else { (p + 1).min(s.sliding_window) }).sum::<usize>())
            .sum();
        let a_value = self.policy.model.cache_dtype().size_in_bytes();
        let cached = 2 * a_value * s.n_kv_heads * s.head_dim * positions * w.prompts * w.completions;
        ((w.completion_tokens - 1) * self.weight_bytes() + cached) as f64 / 1e9
    }

    /// Most bytes of a GPU's memory in use at a time so far; `None` on the CPU.
    pub fn peak_gpu_memory(&self) -> Result<Option<u64>> {
        Ok(place::peak_memory(self.policy.model.device())?)
    }

    /// What `medserl plan` would say of this work, bytes: of this machine's memory, or of the GPU's without its context, which the peak
    /// of its pool does not count either.
    pub fn planned(&self) -> u64 {
        let (w, policy) = (self.work, &self.policy);
        let target = if policy.model.ops() == Ops::Cpu { Target::Cpu } else { Target::Gpu };
        let config = RunConfig { precision: self.precision, ..RunConfig::default() };
        let load = Load {
            samples: w.prompts,
            completions: w.completions,
            completion_tokens: w.completion_tokens,
            scribe_tokens: 0,
            held_out: 0,
            warmup_batch: 0,
            micro_rows: policy.micro_rows,
            ..Load::of(&config, Lengths::all(w.prompt_tokens), target)
        };
        let context = if target == Target::Gpu { budget::GPU_CONTEXT } else { 0 };
        budget::memory(&policy.model.spec, &load, target, self.precision == Precision::F32).peak().1 - context
    }

    /// Bytes of weights as kept.
    pub fn weight_bytes(&self) -> usize {
        self.policy.model.weight_bytes()
    }
}

/// What the machine can do at best: matrix products of friendly shape (10⁹ operations a second; f32 on all threads of a CPU, bf16 on a
/// GPU) and its memory (10⁹ bytes a second; reading on a CPU, reading and writing on a GPU).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ceilings {
    pub gflops: f64,
    pub gbytes: f64,
}

/// Measures the ceilings of a device: the best of several tries each.
pub fn ceilings(place: Place) -> Result<Ceilings> {
    let Place::Cuda { index, .. } = place else { return Ok(cpu_ceilings()) };
    let (device, ops) = place::open(Place::Cuda { index, kernels: true })?;
    let kernels = ops.kernels().context("a GPU without kernels")?;
    let (gflops, gbytes) = gpu_ceilings(&device, kernels)?;
    Ok(Ceilings { gflops, gbytes })
}

/// Those of the processor and its memory.
pub fn cpu_ceilings() -> Ceilings {
    const N: usize = 1024;
    let (a, b) = (random::uniform(1, 1, N * N, 1.0), random::uniform(1, 2, N * N, 1.0));
    let mut out = vec![0f32; N * N];
    let gflops = best(6, || gemm((N, N, N), Mat::rows(&a, N), Mat::t(&b, N), &mut out, N, false, 1.0, Threads::All));
    let memory = vec![1u64; 64 << 20];
    let gbytes = best(4, || {
        let sum: u64 = memory.par_chunks(1 << 18).map(|part| part.iter().fold(0u64, |a, b| a.wrapping_add(*b))).sum();
        std::hint::black_box(sum);
    });
    Ceilings { gflops: 2.0 * (N * N * N) as f64 / 1e9 / gflops, gbytes: (memory.len() * 8) as f64 / 1e9 / gbytes }
}

fn best(tries: usize, mut f: impl FnMut()) -> f64 {
    let time = |f: &mut dyn FnMut()| {
        let clock = Instant::now();
        f();
        clock.elapsed().as_secs_f64()
    };
    (0..tries).map(|_| time(&mut f)).fold(f64::INFINITY, f64::min)
}

/// Peak resident memory of this process so far, bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
