//! The model's own GPU kernels as functions of tensors, without graph: one launch where candle's operations would take many.
//!
//! A launcher is the CUDA driver, or in tests a library made from the same source for the CPU, so that kernels, argument order
//! and grid sizes are exercised on machines without a GPU.

pub mod check;
#[cfg(feature = "cuda")]
mod cuda;
mod emulated;
#[cfg(feature = "cuda")]
pub mod gpu;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};

use super::ops::attention::Heads;

pub use emulated::Emulator;

/// Threads of a block in every kernel.
const THREADS: usize = 256;
/// Query heads that share a key head, for which there is a decode kernel, and the widest head it takes.
const GROUPS: [usize; 3] = [1, 2, 4];
const WIDEST_HEAD: usize = 256;

/// What runs kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Launcher {
    /// The GPU on which the tensors lie.
    #[cfg(feature = "cuda")]
    Cuda,
    Emulated(Emulator),
}

/// One launch. Every kernel takes its inputs, then its outputs (all f32), then numbers.
pub struct Call<'a> {
    pub name: &'static str,
    /// Blocks in x and y.
    pub grid: (usize, usize),
    pub inputs: &'a [&'a Tensor],
    pub outputs: &'a [Shape],
    pub numbers: &'a [Number],
}

/// A number passed by value, four bytes either way.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Count(u32),
    Real(f32),
}

fn count(n: usize) -> Result<Number> {
    match u32::try_from(n) {
        Ok(n) => Ok(Number::Count(n)),
        Err(_) => bail!("{n} values are more than one kernel takes"),
    }
}

/// Rows of width `d` that x holds.
fn rows_of(x: &Tensor, d: usize) -> usize {
    x.elem_count() / d.max(1)
}

impl Launcher {
    fn run(self, call: &Call) -> Result<Vec<Tensor>> {
        for input in call.inputs {
            if !input.is_contiguous() {
                bail!("{}: inputs must be contiguous", call.name);
            }
        }
        match self {
            #[cfg(feature = "cuda")]
            Launcher::Cuda => cuda::run(call),
            Launcher::Emulated(emulator) => emulator.run(call),
        }
    }

    fn run_one(self, call: &Call) -> Result<Tensor> {
        match self.run(call)?.pop() {
            Some(y) => Ok(y),
            None => bail!("{} gives nothing", call.name),
        }
    }

    /// See [`super::portable::rms_norm`].
    pub fn rms_norm(self, x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
        let d = w.elem_count();
        self.run_one(&Call {
            name: "rms_norm",
            grid: (rows_of(x, d), 1),
            inputs: &[x, w],
            outputs: &[x.shape().clone()],
            numbers: &[count(d)?, Number::Real(eps)],
        })
    }

    pub fn rms_norm_back(self, x: &Tensor, w: &Tensor, slope: &Tensor, eps: f32) -> Result<Tensor> {
        let d = w.elem_count();
        self.run_one(&Call {
            name: "rms_norm_back",
            grid: (rows_of(x, d), 1),
            inputs: &[x, w, slope],
            outputs: &[x.shape().clone()],
            numbers: &[count(d)?, Number::Real(eps)],
        })
    }

    /// `sign` -1 turns back.
    pub fn rope(self, x: &Tensor, cos: &Tensor, sin: &Tensor, sign: f32) -> Result<Tensor> {
        let (pairs, (_, width)) = (x.elem_count() / 2, x.dims2()?);
        self.run_one(&Call {
            name: "rope",
            grid: (pairs.div_ceil(THREADS), 1),
            inputs: &[x, cos, sin],
            outputs: &[x.shape().clone()],
            numbers: &[count(pairs)?, count(cos.dim(1)?)?, count(width)?, Number::Real(sign)],
        })
    }

    pub fn geglu(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        let n = gate.elem_count();
        self.run_one(&Call {
            name: "geglu",
            grid: (n.div_ceil(THREADS), 1),
            inputs: &[gate, up],
            outputs: &[gate.shape().clone()],
            numbers: &[count(n)?],
        })
    }

    /// Slopes of gate and up.
    pub fn geglu_back(self, gate: &Tensor, up: &Tensor, slope: &Tensor) -> Result<[Tensor; 2]> {
        let n = gate.elem_count();
        let mut both = self.run(&Call {
            name: "geglu_back",
            grid: (n.div_ceil(THREADS), 1),
            inputs: &[gate, up, slope],
            outputs: &[gate.shape().clone(), gate.shape().clone()],
            numbers: &[count(n)?],
        })?;
        match (both.pop(), both.pop()) {
            (Some(d_up), Some(d_gate)) => Ok([d_gate, d_up]),
            _ => bail!("geglu_back gives two slopes"),
        }
    }

    /// Probabilities from scores (kv heads, group · len, keys), whose queries are `len` positions from `first` for each head.
    pub fn masked_softmax(self, scores: &Tensor, len: usize, first: usize, heads: Heads) -> Result<Tensor> {
        let n = scores.dim(2)?;
        self.run_one(&Call {
            name: "masked_softmax",
            grid: (rows_of(scores, n), 1),
            inputs: &[scores],
            outputs: &[scores.shape().clone()],
            numbers: &[count(n)?, count(len)?, count(first)?, window(heads)?, Number::Real(heads.scale)],
        })
    }

    /// scale · p ∘ (dp - p·dp) over the last dimension.
    pub fn softmax_back(self, p: &Tensor, dp: &Tensor, scale: f32) -> Result<Tensor> {
        let n = p.dim(2)?;
        self.run_one(&Call {
            name: "softmax_back",
            grid: (rows_of(p, n), 1),
            inputs: &[p, dp],
            outputs: &[p.shape().clone()],
            numbers: &[count(n)?, Number::Real(scale)],
        })
    }

    /// q (rows, heads · hd) over cached keys and values (positions, kv heads · hd); spans (rows, 4).
    pub fn decode_attention(self, q: &Tensor, (k, v): &(Tensor, Tensor), spans: &Tensor, heads: Heads) -> Result<Tensor> {
        let group = heads.n_heads / heads.n_kv_heads;
        let name = match (group, k.dtype()) {
            (1, DType::F32) => "decode_1_f32",
            (2, DType::F32) => "decode_2_f32",
            (4, DType::F32) => "decode_4_f32",
            (1, DType::BF16) => "decode_1_bf16",
            (2, DType::BF16) => "decode_2_bf16",
            (4, DType::BF16) => "decode_4_bf16",
            (group, dtype) => bail!("no kernel reads {dtype:?} caches for {group} query heads a key head ({GROUPS:?} are there)"),
        };
        if heads.head_dim > WIDEST_HEAD {
            bail!("heads of {} are wider than the decode kernel's {WIDEST_HEAD}", heads.head_dim);
        }
        self.run_one(&Call {
            name,
            grid: (q.dim(0)?, heads.n_kv_heads),
            inputs: &[q, k, v, spans],
            outputs: &[q.shape().clone()],
            numbers: &[count(heads.n_kv_heads)?, count(heads.head_dim)?, window(heads)?, Number::Real(heads.scale)],
        })
    }

    /// Running statistics of `n` rows before any word: (n, 4) of largest, sum, weighted sum, target.
    pub fn statistics(self, n: usize, device: &Device) -> Result<Tensor> {
        let rows: Vec<f32> = (0..n).flat_map(|_| [-3.0e38, 0.0, 0.0, 0.0]).collect();
        Tensor::from_vec(rows, (n, 4), device)
    }

    /// The running statistics with a chunk of logits (N, words) more, of the words from `first` on.
    pub fn add_statistics(
        self,
        logits: &Tensor,
        targets: &Tensor,
        first: usize,
        inverse: f32,
        running: &Tensor,
    ) -> Result<Tensor> {
        let (rows, n) = logits.dims2()?;
        self.run_one(&Call {
            name: "add_statistics",
            grid: (rows, 1),
            inputs: &[logits, targets, running],
            outputs: &[running.shape().clone()],
            numbers: &[count(n)?, count(first)?, Number::Real(inverse)],
        })
    }

    /// (3, N): log-prob, entropy, log-sum-exp.
    pub fn finish_statistics(self, running: &Tensor) -> Result<Tensor> {
        let rows = running.dim(0)?;
        self.run_one(&Call {
            name: "finish_statistics",
            grid: (rows.div_ceil(THREADS), 1),
            inputs: &[running],
            outputs: &[Shape::from((3, rows))],
            numbers: &[count(rows)?],
        })
    }

    /// slope · softmax of a chunk of logits (N, words).
    pub fn logit_slopes(self, logits: &Tensor, log_sum_exp: &Tensor, slope: &Tensor, inverse: f32) -> Result<Tensor> {
        let (rows, n) = logits.dims2()?;
        self.run_one(&Call {
            name: "logit_slopes",
            grid: (rows, n.div_ceil(THREADS)),
            inputs: &[logits, log_sum_exp, slope],
            outputs: &[logits.shape().clone()],
            numbers: &[count(n)?, Number::Real(inverse)],
        })
    }

    /// See [`super::portable::pick::pick`].
    pub fn pick(self, logits: &Tensor, units: &[f64], inverse: f32, draws: bool) -> Result<Vec<(u32, f32)>> {
        let (rows, n) = logits.dims2()?;
        let units: Vec<f32> = units.iter().map(|u| *u as f32).collect();
        let picked = self.run_one(&Call {
            name: "pick",
            grid: (rows, 1),
            inputs: &[&logits.contiguous()?, &Tensor::new(units, logits.device())?],
            outputs: &[Shape::from((rows, 2))],
            numbers: &[count(n)?, Number::Real(inverse), Number::Count(u32::from(!draws))],
        })?;
        Ok(picked.to_vec2::<f32>()?.into_iter().map(|row| (row[0] as u32, row[1])).collect())
    }

    /// x (N, K) f32 times bf16 weights (M, K), transposed or as they lie, summed and returned in f32.
    pub fn half_product(self, x: &Tensor, w: &Tensor, transposed: bool) -> Result<Tensor> {
        match self {
            #[cfg(feature = "cuda")]
            Launcher::Cuda => cuda::half_product(x, w, transposed),
            Launcher::Emulated(_) => {
                let (x, w) = (x.to_dtype(w.dtype())?.to_dtype(DType::F32)?, w.to_dtype(DType::F32)?);
                if transposed { x.matmul(&w.t()?) } else { x.matmul(&w) }
            }
        }
    }
}

/// 0 sees everything.
fn window(heads: Heads) -> Result<Number> {
    count(heads.window.unwrap_or(0))
}
