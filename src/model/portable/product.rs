//! Products with frozen weights that lie on a device: x Wᵀ and g W, alone and with LoRA.

use candle_core::{DType, Result, Tensor, bail};

use super::node::{node1, node3};
use crate::model::{kernels::Launcher, ops::matrix::Matrix};

/// The values of a matrix that a portable operation can read.
pub fn placed(w: &Matrix) -> Result<&Tensor> {
    match w {
        Matrix::Placed(w) => Ok(w),
        Matrix::Plain(w) if w.is_variable() => bail!("weights are trained on the CPU only"),
        Matrix::Plain(w) => Ok(w),
        _ => bail!("this matrix was not moved to the device"),
    }
}

/// x (N, K) f32 · Wᵀ, w (M, K) → (N, M) f32, no graph. Meeting bf16 weights, x is rounded to bf16 and sums are f32.
pub fn times_transposed(x: &Tensor, w: &Tensor, kernels: Option<Launcher>) -> Result<Tensor> {
    match (w.dtype(), kernels) {
        (DType::F32, _) => x.matmul(&w.t()?),
        (_, Some(kernels)) => kernels.half_product(x, w, true),
        (_, None) => x.to_dtype(w.dtype())?.matmul(&w.t()?)?.to_dtype(DType::F32),
    }
}

/// g (N, M) f32 · W, w (M, K) → (N, K) f32, no graph.
pub fn times(g: &Tensor, w: &Tensor, kernels: Option<Launcher>) -> Result<Tensor> {
    match (w.dtype(), kernels) {
        (DType::F32, _) => g.matmul(w),
        (_, Some(kernels)) => kernels.half_product(g, w, false),
        (_, None) => g.to_dtype(w.dtype())?.matmul(w)?.to_dtype(DType::F32),
    }
}

/// x (N, K), frozen w (M, K) → (N, M)
pub fn linear(x: &Tensor, w: &Matrix, kernels: Option<Launcher>) -> Result<Tensor> {
    let (x, w) = (x.contiguous()?, placed(w)?.clone());
    let y = times_transposed(&x.detach(), &w, kernels)?;
    node1("frozen-linear", &x, y, move |_, slope| Ok([times(slope, &w, kernels)?]))
}

/// x (N, K), frozen w (M, K), a (r, K), b (M, r) → x Wᵀ + scale (x Aᵀ) Bᵀ, (N, M). The adapter's part is f32 throughout.
pub fn lora_linear(x: &Tensor, w: &Matrix, a: &Tensor, b: &Tensor, scale: f32, kernels: Option<Launcher>) -> Result<Tensor> {
    let (x, w, scale) = (x.contiguous()?, placed(w)?.clone(), f64::from(scale));
    let z = (x.detach().matmul(&a.detach().t()?)? * scale)?; // (N, r)
    let y = (times_transposed(&x.detach(), &w, kernels)? + z.matmul(&b.detach().t()?)?)?;
    drop(z);
    // z = x Aᵀ; dB = s gᵀ z; dz = s g B; dA = dzᵀ x; dx = g W + dz A.
    node3("lora-linear", [&x, a, b], y, move |[x, a, b], slope| {
        let z = (x.matmul(&a.t()?)? * scale)?;
        let db = slope.t()?.matmul(&z)?;
        let dz = (slope.matmul(b)? * scale)?;
        let da = dz.t()?.matmul(x)?;
        let dx = (times(slope, &w, kernels)? + dz.matmul(a)?)?;
        Ok([dx, da, db])
    })
}
