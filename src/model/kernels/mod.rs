//! The model's own GPU kernels as functions of tensors, without graph: one launch where candle's operations would take many.
//!
//! A launcher is the CUDA driver, or in tests a library made from the same source for the CPU, so that kernels, argument order
//! and grid sizes are exercised on machines without a GPU.

pub mod buffer;
pub mod ceilings;
pub mod check;
#[cfg(feature = "cuda")]
mod cuda;
mod emulated;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod machine;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};

use buffer::{Buffer, address};
use machine::{Machine, Product, View};

pub use emulated::Emulator;

/// Threads of a block in every kernel.
pub const THREADS: usize = 256;

/// What runs kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Launcher {
    /// The GPU on which the tensors lie.
    #[cfg(feature = "cuda")]
    Cuda,
    Emulated(Emulator),
}

/// What a kernel takes: the address of values on its device, or a number passed by value.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    At(u64),
    Count(u32),
    Real(f32),
}

/// One launch whose outputs are new tensors of f32. The kernel takes its inputs, then its outputs, then numbers.
pub struct Call<'a> {
    pub name: &'static str,
    /// Blocks in x and y.
    pub grid: (usize, usize),
    pub inputs: &'a [&'a Tensor],
    pub outputs: &'a [Shape],
    pub numbers: &'a [Argument],
}

pub fn count(n: usize) -> Result<Argument> {
    match u32::try_from(n) {
        Ok(n) => Ok(Argument::Count(n)),
        Err(_) => bail!("{n} values are more than one kernel takes"),
    }
}

impl Launcher {
    fn run(self, call: &Call) -> Result<Vec<Tensor>> {
        let Some(first) = call.inputs.first() else { bail!("{}: no inputs", call.name) };
        let machine = Machine::new(first.device(), self);
        let outputs =
            call.outputs.iter().map(|s| Buffer::new(s.clone(), DType::F32, first.device())).collect::<Result<Vec<_>>>()?;
        let mut arguments = call.inputs.iter().map(|t| Ok(Argument::At(address(t)?))).collect::<Result<Vec<_>>>()?;
        arguments.extend(outputs.iter().map(|out| Argument::At(out.at())));
        arguments.extend_from_slice(call.numbers);
        machine.launch(call.name, call.grid, &arguments)?;
        Ok(outputs.into_iter().map(Buffer::into_tensor).collect())
    }

    fn run_one(self, call: &Call) -> Result<Tensor> {
        match self.run(call)?.pop() {
            Some(y) => Ok(y),
            None => bail!("{} gives nothing", call.name),
        }
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
            numbers: &[count(n)?, count(first)?, Argument::Real(inverse)],
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
            numbers: &[count(n)?, Argument::Real(inverse)],
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
            numbers: &[count(n)?, Argument::Real(inverse), Argument::Count(u32::from(!draws))],
        })?;
        Ok(picked.to_vec2::<f32>()?.into_iter().map(|row| (row[0] as u32, row[1])).collect())
    }

    /// x (N, K) f32 times bf16 weights (M, K), transposed or as they lie, summed and returned in f32.
    pub fn half_product(self, x: &Tensor, w: &Tensor, transposed: bool) -> Result<Tensor> {
        let half = x.to_dtype(DType::BF16)?.contiguous()?;
        let ((rows, inner), (out, input)) = (half.dims2()?, w.dims2()?);
        let (columns, expected) = if transposed { (out, input) } else { (input, out) };
        if inner != expected || !w.is_contiguous() {
            bail!("a product of {rows} x {inner} with weights {out} x {input} does not fit");
        }
        let y = Buffer::new((rows, columns), DType::F32, x.device())?;
        let w = if transposed { View::t(address(w)?, input) } else { View::rows(address(w)?, input) };
        let (x, out) = (View::rows(address(&half)?, inner), View::rows(y.at(), columns));
        Machine::new(half.device(), self).product(&Product::of((rows, columns, inner), x.half(), w.half(), out))?;
        Ok(y.into_tensor())
    }
}
