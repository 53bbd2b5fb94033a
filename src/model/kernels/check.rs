//! Every operation of a device against the CPU's own, values and gradients, at shapes of real models: what shows that a GPU computes
//! what it should, and what our kernels gain there.

use std::{sync::Arc, time::Instant};

use candle_core::{DType, Device, Result, Tensor, Var};
use serde::Serialize;

use crate::{
    config::Precision,
    model::{
        Buffers,
        batch::TokenBatch,
        files::Files,
        gemma3::{Attend, Gemma3},
        generate::{Source, TokenRequest, generate_tokens},
        lora::Adapter,
        ops::{
            attention::Heads,
            matrix::{Kept, Matrix},
            rope::RopeTable,
        },
        place::{Ops, place_matrix},
        plan::Plan,
        portable::{
            arena::{Arena, Cells, Span, Step},
            pick::pick,
            rows::Angles,
        },
        random,
        spec::Spec,
        weights::Weights,
    },
    task::Sampling,
};

/// Differences are relative to the largest value of their kind; bf16 operands are off by up to 2⁻⁸ each.
const F32: f32 = 1e-4;
const BF16: f32 = 2e-2;
/// Of a whole model's gradients, in which such differences add up.
const MODEL_BF16: f32 = 5e-2;
const TIMED: usize = 5;

/// One operation compared and timed.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub n_values: usize,
    pub difference: f32,
    pub allowed: f32,
    pub passed: bool,
    /// Milliseconds forward and backward, median; without our kernels beside it where there are some.
    pub ms: f64,
    pub composed_ms: Option<f64>,
}

/// An operation ready to run somewhere: the tracked arguments to a value.
type Operation<'a> = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + 'a>;
/// Makes it ready: what is not tracked moves to the device once.
type Prepare<'a> = &'a dyn Fn(Ops, &Device) -> Result<Operation<'a>>;

fn uniform(key: u64, shape: &[usize], bound: f32) -> Result<Tensor> {
    Tensor::from_vec(random::uniform(77, key, shape.iter().product(), bound), shape, &Device::Cpu)
}

fn matrix(key: u64, rows: usize, cols: usize, kept: Kept) -> Result<Matrix> {
    Matrix::from_f32(&random::uniform(77, key, rows * cols, 0.05), rows, cols, kept)
}

/// The matrix where `ops` reads it.
fn placed(matrix: &Matrix, ops: Ops, device: &Device) -> Result<Matrix> {
    if ops == Ops::Cpu { Ok(matrix.clone()) } else { place_matrix(matrix, device) }
}

/// Value and gradients of a random weighting of it.
fn evaluate(operation: &Operation, arguments: &[Tensor], device: &Device) -> Result<Vec<Tensor>> {
    let vars = arguments.iter().map(|t| Var::from_tensor(&t.to_device(device)?)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = operation(&tensors)?;
    let weights = uniform(99, y.dims(), 1.0)?.to_device(device)?;
    let grads = (&y * weights)?.sum_all()?.backward()?;
    let mut all = vec![y];
    for var in &vars {
        all.push(grads.get(var).ok_or_else(|| candle_core::Error::Msg("a gradient was cut off".into()))?.clone());
    }
    Ok(all)
}

fn time(operation: &Operation, arguments: &[Tensor], device: &Device) -> Result<f64> {
    let mut times = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        device.synchronize()?;
        let clock = Instant::now();
        evaluate(operation, arguments, device)?;
        device.synchronize()?;
        times.push(clock.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[TIMED / 2])
}

/// Largest difference relative to the largest value, over all tensors; a NaN is infinitely far.
fn difference(found: &[Tensor], expected: &[Tensor]) -> Result<(usize, f32)> {
    difference_from(found, expected, 1e-6)
}

/// The same, values below `least` counting as that.
fn difference_from(found: &[Tensor], expected: &[Tensor], least: f32) -> Result<(usize, f32)> {
    let (mut n, mut worst) = (0, 0f32);
    for (found, expected) in found.iter().zip(expected) {
        let values = |t: &Tensor| t.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>();
        let (found, expected) = (values(found)?, values(expected)?);
        let largest = expected.iter().fold(least, |top, v| top.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let off = (found - expected).abs() / largest;
            worst = worst.max(if off.is_nan() { f32::INFINITY } else { off });
        }
        n += expected.len();
    }
    Ok((n, worst))
}

struct Checks<'a> {
    ops: Ops,
    device: &'a Device,
    rows: Vec<Row>,
}

impl Checks<'_> {
    fn add(&mut self, what: &str, allowed: f32, arguments: &[Tensor], prepare: Prepare) -> Result<()> {
        let expected = evaluate(&prepare(Ops::Cpu, &Device::Cpu)?, arguments, &Device::Cpu)?;
        let operation = prepare(self.ops, self.device)?;
        let (n_values, difference) = difference(&evaluate(&operation, arguments, self.device)?, &expected)?;
        let composed = Ops::Portable(None);
        let composed_ms = match self.ops.kernels() {
            Some(_) => Some(time(&prepare(composed, self.device)?, arguments, self.device)?),
            None => None,
        };
        self.rows.push(Row {
            what: what.to_owned(),
            n_values,
            difference,
            allowed,
            passed: difference <= allowed,
            ms: time(&operation, arguments, self.device)?,
            composed_ms,
        });
        Ok(())
    }
}

/// Compares what `ops` compute on `device` with the CPU's: operations one by one, and models as a whole. `n` is the rows of token-wise
/// operations.
pub fn check(ops: Ops, device: &Device, n: usize) -> Result<Vec<Row>> {
    let mut checks = Checks { ops, device, rows: Vec::new() };
    products(&mut checks, n)?;
    drawing(&mut checks)?;
    // Kernels of ours compute layers whole.
    if ops.kernels().is_none() {
        rows_of_features(&mut checks, n)?;
        for (name, heads) in [("4b global", (8, 4, None)), ("4b local", (8, 4, Some(1024))), ("270m local", (4, 1, Some(512)))] {
            attention(&mut checks, name, heads, n)?;
            decoding(&mut checks, name, heads)?;
        }
    }
    models(&mut checks, n)?;
    Ok(checks.rows)
}

fn rows_of_features(checks: &mut Checks, n: usize) -> Result<()> {
    for (what, width, d) in [("norm, 2560", 2560, 2560), ("norm of 8 heads of 256", 2048, 256)] {
        let w = uniform(1, &[d], 0.5)?;
        checks.add(what, F32, &[uniform(2, &[n, width], 2.0)?], &|ops, device| {
            let w = w.to_device(device)?;
            Ok(Box::new(move |x| ops.rms_norm(&x[0], &w, 1e-6)))
        })?;
    }
    let positions: Arc<Vec<u32>> = Arc::new((0..n as u32).collect());
    checks.add("rope, 8 heads of 256", F32, &[uniform(3, &[n, 2048], 1.0)?], &|ops, _| {
        let angles = Angles::new(Arc::new(RopeTable::new(256, 1e6, 8.0, n)));
        let positions = positions.clone();
        Ok(Box::new(move |x| ops.rope(&x[0], &angles, &positions)))
    })?;
    let gate_up = [uniform(4, &[n, 10_240], 3.0)?, uniform(5, &[n, 10_240], 1.0)?];
    checks.add("geglu, 10240", F32, &gate_up, &|ops, _| Ok(Box::new(move |x| ops.geglu(&x[0], &x[1]))))
}

fn products(checks: &mut Checks, n: usize) -> Result<()> {
    for (what, kept, allowed) in [("f32", Kept::F32, F32), ("bf16", Kept::Bf16, BF16)] {
        let w = matrix(6, 2560, 2048, kept)?;
        let x = uniform(7, &[n, 2048], 1.0)?;
        let (a, b) = (uniform(8, &[16, 2048], 0.05)?, uniform(9, &[2560, 16], 0.05)?);
        checks.add(
            &format!("product with {what} weights, 2048 to 2560"),
            allowed,
            std::slice::from_ref(&x),
            &|ops, device| {
                let w = placed(&w, ops, device)?;
                Ok(Box::new(move |x| ops.linear(&x[0], &w)))
            },
        )?;
        checks.add(&format!("the same and LoRA of 16, {what}"), allowed, &[x, a, b], &|ops, device| {
            let w = placed(&w, ops, device)?;
            Ok(Box::new(move |x| ops.lora_linear(&x[0], &w, &x[1], &x[2], 2.0)))
        })?;
    }
    let targets: Vec<u32> = (0..n as u32).map(|i| i * 509 % 262_144).collect();
    for (what, kept, allowed) in [("f32", Kept::F32, F32), ("bf16", Kept::Bf16, BF16)] {
        let w = matrix(10, 262_144, 64, kept)?;
        let name = format!("log-probs over 262144 words, {what}");
        checks.add(&name, allowed, &[uniform(11, &[n, 64], 4.0)?], &|ops, device| {
            let (w, targets) = (placed(&w, ops, device)?, targets.clone());
            Ok(Box::new(move |h| ops.logprobs(&h[0], &w, &targets, 0.7)?.narrow(0, 0, 1)))
        })?;
    }
    Ok(())
}

fn heads((n_heads, n_kv_heads, window): (usize, usize, Option<usize>)) -> Heads {
    Heads { n_heads, n_kv_heads, head_dim: 256, scale: 1.0 / 16.0, window }
}

/// A prompt of half the rows that two completions share.
fn attention(checks: &mut Checks, name: &str, shape: (usize, usize, Option<usize>), n: usize) -> Result<()> {
    let (half, quarter) = (n / 2, n / 4);
    let mut plan = Plan::default();
    plan.push_root(half);
    plan.push_child(quarter);
    plan.push_child(n - half - quarter);
    let (plan, heads) = (Arc::new(plan), heads(shape));
    let row = |key, n_heads: usize| uniform(key, &[n, n_heads * 256], 1.0);
    let arguments = [row(12, heads.n_heads)?, row(13, heads.n_kv_heads)?, row(14, heads.n_kv_heads)?];
    checks.add(&format!("attention, {name}"), F32, &arguments, &|ops, _| {
        let plan = plan.clone();
        Ok(Box::new(move |x| ops.over(&plan).attend(0, &x[0], &x[1], &x[2], heads)))
    })
}

/// One token each for 8 completions of two prompts, against the composed operations on the CPU.
fn decoding(checks: &mut Checks, name: &str, shape: (usize, usize, Option<usize>)) -> Result<()> {
    let heads = heads(shape);
    let width = heads.n_kv_heads * heads.head_dim;
    let cells = Cells { n_tails: 8, tail: 128, n_prompts: 2, prompt: 1024 };
    let span = |i: usize| Span {
        prompt_start: cells.prompt_start(i % 2),
        prompt_len: 1000 - i,
        own_start: cells.tail_start(i),
        own_len: 1 + 15 * i,
    };
    let spans: Vec<Span> = (0..8).map(span).collect();
    let (q, k, v) =
        (uniform(15, &[8, 256 * heads.n_heads], 1.0)?, uniform(16, &[8, width], 1.0)?, uniform(17, &[8, width], 1.0)?);
    let cache = |key| uniform(key, &[cells.positions(), width], 1.0);
    let (keys, values) = (cache(18)?, cache(19)?);
    for (what, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        let at = |device: &Device| -> Result<(Tensor, f64)> {
            let kept = |x: &Tensor| x.to_dtype(dtype)?.to_device(device);
            let arena = Arena::of(vec![(kept(&keys)?, kept(&values)?)]);
            let [q, k, v] = [q.to_device(device)?, k.to_device(device)?, v.to_device(device)?];
            let mut step = Step::new(&arena, &spans, shape.2.unwrap_or(1024), width, device)?;
            let y = step.attend(0, &q, &k, &v, heads)?;
            device.synchronize()?;
            let clock = Instant::now();
            step.attend(0, &q, &k, &v, heads)?;
            device.synchronize()?;
            Ok((y, clock.elapsed().as_secs_f64() * 1e3))
        };
        let ((expected, _), (found, ms)) = (at(&Device::Cpu)?, at(checks.device)?);
        let (n_values, difference) = difference(&[found], &[expected])?;
        let what = format!("decoding, {name}, {what} caches");
        let passed = difference <= F32;
        checks.rows.push(Row { what, n_values, difference, allowed: F32, passed, ms, composed_ms: None });
    }
    Ok(())
}

/// Tokens drawn by both must be the same: their difference is 0 or at least 1.
fn drawing(checks: &mut Checks) -> Result<()> {
    let logits = uniform(20, &[16, 262_144], 6.0)?;
    let units: Vec<f64> = (0..16).map(|i| (f64::from(i) + 0.37) / 16.0).collect();
    for (what, temperature) in [("drawing from 262144 words", 1.0), ("the most likely of 262144 words", 0.0)] {
        let at = |ops: Ops, device: &Device| -> Result<(Vec<(u32, f32)>, f64)> {
            let logits = logits.to_device(device)?;
            pick(&logits, temperature, &units, ops.kernels())?;
            let clock = Instant::now();
            Ok((pick(&logits, temperature, &units, ops.kernels())?, clock.elapsed().as_secs_f64() * 1e3))
        };
        let composed = Ops::Portable(None);
        let ((expected, _), (found, ms)) = (at(composed, &Device::Cpu)?, at(checks.ops, checks.device)?);
        // A draw on the border of two words may fall either way: its log-prob then says so, not its number.
        let same = found.iter().zip(&expected).filter(|(a, b)| a.0 == b.0);
        let off = same.clone().map(|(a, b)| (a.1 - b.1).abs()).fold(0f32, f32::max);
        let passed = off <= F32 && same.count() + 1 >= found.len();
        let composed_ms = if checks.ops.kernels().is_some() { Some(at(composed, checks.device)?.1) } else { None };
        let what = what.to_owned();
        checks.rows.push(Row { what, n_values: found.len(), difference: off, allowed: F32, passed, ms, composed_ms });
    }
    Ok(())
}

/// A model and an adapter by an operation set, on its device.
type Open<'a> = &'a dyn Fn(Ops, &Device) -> Result<(Gemma3, Adapter)>;

fn message(error: anyhow::Error) -> candle_core::Error {
    candle_core::Error::Msg(format!("{error:#}"))
}

/// An adapter that changes something.
fn awake(spec: &Spec, device: &Device) -> Result<Adapter> {
    let adapter = Adapter::new(spec, 4, 8.0, 5, device).map_err(message)?;
    for (i, (_, var)) in adapter.vars().iter().enumerate().filter(|(_, (key, _))| key.ends_with("lora_B.weight")) {
        var.set(&uniform(100 + i as u64, var.dims(), 0.05)?.to_device(device)?)?;
    }
    Ok(adapter)
}

/// Whole models: the embedded one, and two layers (one local, one global) of the shapes of gemma-3-270m and medgemma-4b.
fn models(checks: &mut Checks, n: usize) -> Result<()> {
    whole(checks, "nano", F32, 150, &|ops, device| {
        let files = Files::open("nano", Precision::F32, &mut |_| ()).map_err(message)?;
        let adapter = awake(&files.spec, device)?;
        Ok((Gemma3::new(files.spec, &files.weights, 512).map_err(message)?.moved(device, ops)?, adapter))
    })?;
    for (name, (h, heads, kv, hd, f)) in
        [("2 layers of 270m", (640, 4, 1, 256, 2048)), ("2 layers of 4b", (2560, 8, 4, 256, 10_240))]
    {
        let spec = Spec {
            vocab_size: 4096,
            hidden_size: h,
            intermediate_size: f,
            n_heads: heads,
            n_kv_heads: kv,
            head_dim: hd,
            norm_eps: 1e-6,
            query_pre_attn_scalar: 256.0,
            sliding_window: n / 3,
            rope_theta_local: 1e4,
            rope_theta_global: 1e6,
            rope_scale_global: 8.0,
            max_positions: 8192,
            global_layers: vec![false, true],
        };
        for (kept, precision, allowed) in [("f32", Precision::F32, F32), ("bf16", Precision::Bf16, MODEL_BF16)] {
            whole(checks, &format!("{name}, {kept}"), allowed, n / 2, &|ops, device| {
                let weights = Weights::random(&spec, precision, 3).map_err(message)?;
                let adapter = awake(&spec, device)?;
                Ok((Gemma3::new(spec.clone(), &weights, 2048).map_err(message)?.moved(device, ops)?, adapter))
            })?;
        }
    }
    Ok(())
}

/// A model as a whole: log-probs and entropies of a shared prompt's completions, every gradient of an adapter, and the log-probs of
/// greedy text, whose tokens must be the same where weights are f32.
fn whole(checks: &mut Checks, name: &str, allowed: f32, prompt: usize, open: Open) -> Result<()> {
    let vocab = 4000.0;
    let word =
        |key: u64, n: usize| random::uniform(78, key, n, 0.5).iter().map(|u| ((u + 0.5) * vocab) as u32).collect::<Vec<_>>();
    let mut batch = TokenBatch::default();
    batch.push(&word(1, prompt), &[&word(2, 40), &word(5, 1), &word(3, 90)]);
    batch.push(&word(6, prompt / 3), &[&word(7, 60)]);
    let run = |ops: Ops, device: &Device| -> Result<([Vec<Tensor>; 4], f64)> {
        let (model, adapter) = open(ops, device)?;
        let mut values: Vec<Vec<f32>> = Vec::new();
        let zeros = || adapter.vars().iter().map(|(_, v)| vec![0.0; v.elem_count()]).collect::<Vec<Vec<f32>>>();
        let mut grads = zeros();
        let slopes = |logprobs: &[f32], entropies: &[f32]| {
            values = vec![logprobs.to_vec(), entropies.to_vec()];
            (0..logprobs.len()).map(|i| (i % 7) as f32 - 2.5).collect()
        };
        batch.backward(&model, &adapter, 0.8, 0, slopes, &mut grads, &mut Buffers::default()).map_err(message)?;
        let again = |l: &[f32], _: &[f32]| vec![1.0; l.len()];
        let clock = Instant::now();
        batch.backward(&model, &adapter, 0.8, 0, again, &mut zeros(), &mut Buffers::default()).map_err(message)?;
        let ms = clock.elapsed().as_secs_f64() * 1e3;
        let plain = |all: Vec<Vec<f32>>| all.into_iter().map(|v| Tensor::new(v, &Device::Cpu)).collect::<Result<Vec<_>>>();
        let view = adapter.frozen();
        let source = Source { model: &model, adapter: Some(&view), stops: &[], seed: 1, cache_bytes: 1 << 30 };
        let request = TokenRequest { prompt: word(4, 60), n_completions: 2, stream: 1 };
        let sampling = Sampling { temperature: 0.0, max_tokens: 32 };
        let slots = generate_tokens(source, &[request], sampling, &mut |_| Ok(true)).map_err(message)?;
        let tokens = slots.iter().map(|s| s.tokens.iter().map(|t| *t as f32).collect()).collect();
        let logprobs = slots.into_iter().map(|s| s.logprobs).collect();
        Ok(([plain(values)?, plain(grads)?, plain(tokens)?, plain(logprobs)?], ms))
    };
    let (expected, _) = run(Ops::Cpu, &Device::Cpu)?;
    let (found, ms) = run(checks.ops, checks.device)?;
    let composed_ms = match checks.ops.kernels() {
        Some(_) => Some(run(Ops::Portable(None), checks.device)?.1),
        None => None,
    };
    let kinds = ["log-probs and entropies", "gradients of its adapter", "greedy tokens", "their log-probs"];
    for ((kind, found), expected) in kinds.into_iter().zip(found).zip(expected) {
        // A sure token's log-prob is next to nothing.
        let least = if kind.contains("log-probs") { 1.0 } else { 1e-6 };
        let (n_values, difference) = difference_from(&found, &expected, least)?;
        // With rounded inputs a near tie may fall either way, and the text goes on from there.
        let judged = allowed == F32 || !kind.contains("tokens") && !kind.contains("their");
        let passed = !judged || difference <= allowed;
        let what = format!("{name}, {kind}");
        checks.rows.push(Row { what, n_values, difference, allowed, passed, ms, composed_ms });
    }
    Ok(())
}
