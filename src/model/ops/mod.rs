//! Differentiable operations on flat token rows `(N, features)`, each with a hand-written backward.
//!
//! candle's fused `rope`, `softmax_last_dim` and `rms_norm` have no backward and silently cut the graph (design law 4),
//! so none of them is used. These ops run on CPU in f32 only; on another device they fail with candle's own "no cuda
//! implementation" error, never silently.

pub mod attention;
pub mod decode;
pub mod geglu;
pub mod gemm;
pub mod linear;
pub mod logprob;
pub mod matrix;
pub mod norm;
mod panels;
pub mod rope;
pub mod simd;
mod tile;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// Borrows the f32 data of a contiguous CPU tensor argument.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("this operation needs contiguous rows"),
    }
}

/// Runs `f` on the f32 data of a contiguous CPU tensor.
pub fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("this operation has no kernel for {:?}; run on the CPU", tensor.device().location()),
    }
}
