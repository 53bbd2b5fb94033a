//! RMS norm over the last `weight.len()` features of each row: y = x / sqrt(mean(x²) + eps) * (1 + w) (Gemma 3).

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{simd, slice};

/// x (.., D), w (D) → same shape as x. x may be wider than D: then each block of D features is normed alone (q and k norms).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op2(weight, RmsNorm { eps })
}

/// x + rms_norm(y, w): what a block adds to the residual stream x (N, D).
pub fn add_normed(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&y.contiguous()?, weight, AddNormed { eps })
}

struct AddNormed {
    eps: f32,
}

impl CustomOp3 for AddNormed {
    fn name(&self) -> &'static str {
        "add-normed"
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
        let mut sum = slice(s1, l1)?.to_vec();
        norm_rows::<true>(slice(s2, l2)?, slice(s3, l3)?, self.eps, &mut sum);
        Ok((CpuStorage::F32(sum), l1.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        y: &Tensor,
        w: &Tensor,
        _sum: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dy, dw) = RmsNorm { eps: self.eps }.bwd(y, w, y, grad)?;
        Ok((Some(grad.clone()), dy, dw))
    }
}

/// Rows of one task.
const ROWS: usize = 32;

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut y = vec![0f32; x.len()];
        norm_rows::<false>(x, w, self.eps, &mut y);
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, w, grad) = (x.detach(), w.detach(), grad.contiguous()?);
        let dx = x.apply_op3_no_bwd(&w, &grad, &RmsNormDx { eps: self.eps })?;
        let dw = x.apply_op3_no_bwd(&w, &grad, &RmsNormDw { eps: self.eps })?;
        Ok((Some(dx), Some(dw)))
    }
}

struct RmsNormDx {
    eps: f32,
}

impl CustomOp3 for RmsNormDx {
    fn name(&self) -> &'static str {
        "rms-norm-dx"
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
        let (x, w, g) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let mut dx = vec![0f32; x.len()];
        norm_rows_backward::<false>(x, g, w, self.eps, &mut dx);
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }
}

struct RmsNormDw {
    eps: f32,
}

impl CustomOp3 for RmsNormDw {
    fn name(&self) -> &'static str {
        "rms-norm-dw"
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
        let (x, w, g) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let d = w.len();
        let mut dw = vec![0f32; d];
        for (x, g) in x.chunks(d).zip(g.chunks(d)) {
            simd::vectorised(
                #[inline(always)]
                || {
                    let r = inverse_rms(x, self.eps);
                    for i in 0..d {
                        dw[i] += g[i] * x[i] * r;
                    }
                },
            );
        }
        Ok((CpuStorage::F32(dw), l2.shape().clone()))
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (simd::dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// y = norm(x), or y += norm(x) where ADD.
pub fn norm_rows<const ADD: bool>(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let d = w.len() * ROWS;
    y.par_chunks_mut(d).zip(x.par_chunks(d)).for_each(|(y, x)| {
        simd::vectorised(
            #[inline(always)]
            || forward::<ADD>(x, w, eps, y),
        )
    });
}

// Rows come as arguments: what a closure captures is read anew for every element, and nothing is vectorised.
#[inline(always)]
fn forward<const ADD: bool>(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let d = w.len();
    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        let r = inverse_rms(x, eps);
        for i in 0..d {
            let value = x[i] * r * (1.0 + w[i]);
            y[i] = if ADD { y[i] + value } else { value };
        }
    }
}

/// dx, or dx += where ADD: r (g (1+w)) - x r³ mean(x g (1+w))
pub fn norm_rows_backward<const ADD: bool>(x: &[f32], g: &[f32], w: &[f32], eps: f32, dx: &mut [f32]) {
    let d = w.len() * ROWS;
    dx.par_chunks_mut(d).zip(x.par_chunks(d).zip(g.par_chunks(d))).for_each(|(dx, (x, g))| {
        let mut scaled = vec![0f32; w.len()];
        simd::vectorised(
            #[inline(always)]
            || backward::<ADD>(x, g, w, eps, &mut scaled, dx),
        )
    });
}

#[inline(always)]
fn backward<const ADD: bool>(x: &[f32], g: &[f32], w: &[f32], eps: f32, scaled: &mut [f32], dx: &mut [f32]) {
    let d = w.len();
    for (dx, (x, g)) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d).zip(g.chunks_exact(d))) {
        let r = inverse_rms(x, eps);
        for i in 0..d {
            scaled[i] = g[i] * (1.0 + w[i]);
        }
        let c = simd::dot(scaled, x) * r * r * r / d as f32;
        for i in 0..d {
            let value = scaled[i] * r - x[i] * c;
            dx[i] = if ADD { dx[i] + value } else { value };
        }
    }
}
