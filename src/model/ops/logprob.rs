//! Tied head, log-softmax and the log-prob of given tokens in one op, over chunks of the vocabulary: the (N, V) logits never
//! exist whole, in the forward or the backward.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    gemm::{Mat, Threads, gemm},
    linear::Grad,
    simd, slice, with_slice,
};

/// Vocabulary rows per chunk.
const CHUNK: usize = 2048;

/// Rows of the result.
pub const LOGPROB: usize = 0;
pub const ENTROPY: usize = 1;
const LOG_SUM_EXP: usize = 2;

/// h (N, K), w (V, K), targets (N) → (3, N): log-prob of the target, entropy, log-sum-exp, all of softmax(h Wᵀ / temperature), in nats.
/// Only the log-prob row carries a gradient; an entropy bonus is deliberately not offered.
pub fn linear_logprob(h: &Tensor, w: &Tensor, targets: &[u32], temperature: f32, grad: Grad) -> Result<Tensor> {
    let (n, v) = (h.dim(0)?, w.dim(0)?);
    if targets.len() != n || targets.iter().any(|t| *t as usize >= v) {
        candle_core::bail!("{} targets for {n} rows over a vocabulary of {v}", targets.len());
    }
    let head = Head { targets: Arc::new(targets.to_vec()), inverse_temperature: 1.0 / temperature };
    match grad {
        Grad::Weight => h.contiguous()?.apply_op2(w, Trainable(head)),
        Grad::InputOnly => h.contiguous()?.apply_op1(Frozen { head, w: w.detach() }),
    }
}

struct Head {
    targets: Arc<Vec<u32>>,
    inverse_temperature: f32,
}

/// Running softmax statistics of one row.
#[derive(Clone, Copy)]
struct RowSum {
    max: f32,
    /// sum of e^(x - max)
    sum: f32,
    /// sum of e^(x - max) * x
    weighted: f32,
    target: f32,
}

impl Head {
    fn forward(&self, h: &[f32], w: &[f32], k: usize) -> Vec<f32> {
        let (n, v) = (self.targets.len(), w.len() / k);
        let mut rows = vec![RowSum { max: f32::NEG_INFINITY, sum: 0.0, weighted: 0.0, target: 0.0 }; n];
        let mut logits = vec![0f32; n * CHUNK.min(v)];
        for first in (0..v).step_by(CHUNK) {
            let c = CHUNK.min(v - first);
            gemm(
                (n, c, k),
                Mat::rows(h, k),
                Mat::t(&w[first * k..], k),
                &mut logits,
                c,
                false,
                self.inverse_temperature,
                Threads::All,
            );
            logits[..n * c].par_chunks(c).zip(rows.par_iter_mut()).zip(self.targets.par_iter()).for_each(|((x, row), target)| {
                let target = *target as usize;
                if (first..first + c).contains(&target) {
                    row.target = x[target - first];
                }
                simd::vectorised(
                    #[inline(always)]
                    || add_chunk(x, row),
                );
            });
        }
        let mut out = vec![0f32; 3 * n];
        for (i, row) in rows.iter().enumerate() {
            let log_sum_exp = row.max + row.sum.ln();
            out[LOGPROB * n + i] = row.target - log_sum_exp;
            out[ENTROPY * n + i] = log_sum_exp - row.weighted / row.sum;
            out[LOG_SUM_EXP * n + i] = log_sum_exp;
        }
        out
    }

    /// Returns dh (N, K) and, where asked, dw (V, K). `stats` is the forward result, `grad` its gradient.
    fn backward(&self, h: &[f32], w: &[f32], k: usize, stats: &[f32], grad: &[f32], wants_weight: bool) -> (Vec<f32>, Vec<f32>) {
        let (n, v) = (self.targets.len(), w.len() / k);
        let mut dh = vec![0f32; n * k];
        let mut dw = vec![0f32; if wants_weight { v * k } else { 0 }];
        let mut logits = vec![0f32; n * CHUNK.min(v)];
        let (grad, log_sum_exp) = (&grad[LOGPROB * n..], &stats[LOG_SUM_EXP * n..]);
        for first in (0..v).step_by(CHUNK) {
            let c = CHUNK.min(v - first);
            let w_chunk = &w[first * k..(first + c) * k];
            gemm((n, c, k), Mat::rows(h, k), Mat::t(w_chunk, k), &mut logits, c, false, self.inverse_temperature, Threads::All);
            logits[..n * c].par_chunks_mut(c).enumerate().for_each(|(i, x)| {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for x in x.iter_mut() {
                            *x = -grad[i] * simd::exp(*x - log_sum_exp[i]);
                        }
                    },
                );
                let target = self.targets[i] as usize;
                if (first..first + c).contains(&target) {
                    x[target - first] += grad[i];
                }
            });
            gemm(
                (n, k, c),
                Mat::rows(&logits, c),
                Mat::rows(w_chunk, k),
                &mut dh,
                k,
                first > 0,
                self.inverse_temperature,
                Threads::All,
            );
            if wants_weight {
                let out = &mut dw[first * k..(first + c) * k];
                gemm((c, k, n), Mat::t(&logits, c), Mat::rows(h, k), out, k, false, self.inverse_temperature, Threads::All);
            }
        }
        (dh, dw)
    }
}

#[inline(always)]
fn add_chunk(x: &[f32], row: &mut RowSum) {
    let max = row.max.max(simd::max(x));
    let keep = if row.max.is_finite() { (row.max - max).exp() } else { 0.0 };
    let (mut sums, mut weighted) = ([0f32; 16], [0f32; 16]);
    let chunks = x.chunks_exact(16);
    let (mut rest, mut rest_weighted) = (0f32, 0f32);
    for v in chunks.remainder() {
        let e = simd::exp(v - max);
        rest += e;
        rest_weighted += e * v;
    }
    for chunk in chunks {
        for i in 0..16 {
            let e = simd::exp(chunk[i] - max);
            sums[i] += e;
            weighted[i] = e.mul_add(chunk[i], weighted[i]);
        }
    }
    row.sum = row.sum * keep + rest + sums.iter().sum::<f32>();
    row.weighted = row.weighted * keep + rest_weighted + weighted.iter().sum::<f32>();
    row.max = max;
}

struct Trainable(Head);

impl CustomOp2 for Trainable {
    fn name(&self) -> &'static str {
        "linear-logprob"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, k) = l1.shape().dims2()?;
        Ok((CpuStorage::F32(self.0.forward(slice(s1, l1)?, slice(s2, l2)?, k)), Shape::from((3, n))))
    }

    fn bwd(&self, h: &Tensor, w: &Tensor, stats: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, k) = h.dims2()?;
        let (dh, dw) = with_slice(h, |h| {
            with_slice(w, |w| {
                with_slice(stats, |stats| with_slice(&grad.contiguous()?, |grad| Ok(self.0.backward(h, w, k, stats, grad, true))))
            })
        })?;
        Ok((Some(Tensor::from_vec(dh, h.shape(), h.device())?), Some(Tensor::from_vec(dw, w.shape(), w.device())?)))
    }
}

struct Frozen {
    head: Head,
    w: Tensor,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear-logprob"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, k) = layout.shape().dims2()?;
        let h = slice(storage, layout)?;
        let out = with_slice(&self.w, |w| Ok(self.head.forward(h, w, k)))?;
        Ok((CpuStorage::F32(out), Shape::from((3, n))))
    }

    fn bwd(&self, h: &Tensor, stats: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, k) = h.dims2()?;
        let (dh, _) = with_slice(h, |h| {
            with_slice(&self.w, |w| {
                with_slice(stats, |stats| {
                    with_slice(&grad.contiguous()?, |grad| Ok(self.head.backward(h, w, k, stats, grad, false)))
                })
            })
        })?;
        Ok(Some(Tensor::from_vec(dh, h.shape(), h.device())?))
    }
}
