//! GeGLU: gelu_tanh(gate) * up, elementwise.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{simd, slice};

const CHUNK: usize = 4096;

/// gate, up (.., F) → (.., F)
pub fn geglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, Geglu)
}

/// y = gelu(gate) * up
pub fn geglu_rows(gate: &[f32], up: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK))).for_each(|(y, (gate, up))| {
        simd::vectorised(
            #[inline(always)]
            || forward(gate, up, y),
        );
    });
}

// Rows come as arguments: what a closure captures is read anew for every element, and nothing is vectorised.
#[inline(always)]
fn forward(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        *y = gelu_with_slope(*gate).0 * up;
    }
}

#[inline(always)]
fn backward(gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let n = d_gate.len();
    let (gate, up, grad, d_up) = (&gate[..n], &up[..n], &grad[..n], &mut d_up[..n]);
    for i in 0..n {
        let (value, slope) = gelu_with_slope(gate[i]);
        d_gate[i] = grad[i] * up[i] * slope;
        d_up[i] = grad[i] * value;
    }
}

/// Gradients of gate and up from that of their product.
pub fn geglu_rows_backward(gate: &[f32], up: &[f32], grad: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    d_gate
        .par_chunks_mut(CHUNK)
        .zip(d_up.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(grad.par_chunks(CHUNK)))
        .for_each(|((d_gate, d_up), ((gate, up), grad))| {
            simd::vectorised(
                #[inline(always)]
                || backward(gate, up, grad, d_gate, d_up),
            );
        });
}

struct Geglu;

impl CustomOp2 for Geglu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut y = vec![0f32; gate.len()];
        geglu_rows(gate, up, &mut y);
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        // One pass writes both gradients into one (2, n) buffer.
        let both = gate.detach().apply_op3_no_bwd(&up.detach(), &grad.contiguous()?, &GegluGrad)?;
        Ok((Some(both.get(0)?.reshape(gate.shape())?), Some(both.get(1)?.reshape(up.shape())?)))
    }
}

struct GegluGrad;

impl CustomOp3 for GegluGrad {
    fn name(&self) -> &'static str {
        "geglu-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up, grad) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let n = gate.len();
        let mut both = vec![0f32; 2 * n];
        let (d_gate, d_up) = both.split_at_mut(n);
        geglu_rows_backward(gate, up, grad, d_gate, d_up);
        Ok((CpuStorage::F32(both), Shape::from((2, n))))
    }
}

/// gelu (tanh form) and its derivative.
#[inline(always)]
fn gelu_with_slope(x: f32) -> (f32, f32) {
    const ROOT_2_OVER_PI: f32 = 0.797_884_6;
    let u = ROOT_2_OVER_PI * (x + 0.044_715 * x * x * x);
    let e = simd::exp(2.0 * u.clamp(-20.0, 20.0));
    let tanh = (e - 1.0) / (e + 1.0);
    let du = ROOT_2_OVER_PI * (1.0 + 3.0 * 0.044_715 * x * x);
    (0.5 * x * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * du)
}
