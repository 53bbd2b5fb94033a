//! Tied head, log-softmax and the log-prob of given tokens in one op, over chunks of the vocabulary: the (N, V) logits never
//! exist whole, in the forward or the backward.

use std::{ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    gemm::{Mat, Threads, gemm},
    matrix::Matrix,
    simd, slice, with_slice,
};

/// Vocabulary rows per chunk, in whole panels: few enough that a chunk of weights and its logits stay in the second cache.
const CHUNK: usize = 512;

/// Rows of the result.
pub const LOGPROB: usize = 0;
pub const ENTROPY: usize = 1;
const LOG_SUM_EXP: usize = 2;

/// h (N, K), w (V, K), targets (N) → (3, N): log-prob of the target, entropy, log-sum-exp, all of softmax(h Wᵀ / temperature), in nats.
/// Only the log-prob row carries a gradient; an entropy bonus is deliberately not offered.
pub fn linear_logprob(h: &Tensor, w: &Matrix, targets: &[u32], temperature: f32) -> Result<Tensor> {
    let head = Head::new(h.dim(0)?, w, targets, temperature)?;
    match w.variable() {
        Some(w) => h.contiguous()?.apply_op2(w, Trainable(head)),
        None => h.contiguous()?.apply_op1(Frozen(head)),
    }
}

/// The head over the rows of one batch; [`linear_logprob`] in plain rows.
pub struct Head {
    targets: Arc<Vec<u32>>,
    inverse_temperature: f32,
    w: Matrix,
}

/// Running softmax statistics of one row.
#[derive(Clone, Copy)]
struct RowSum {
    /// Of the chunks so far.
    max: f32,
    /// What the newest chunk made of sums before it: e^(max before - max).
    keep: f32,
    /// sum of e^(x - max)
    sum: f32,
    /// sum of e^(x - max) * x
    weighted: f32,
    target: f32,
}

impl Head {
    /// For `n` rows, each with its target.
    pub fn new(n: usize, w: &Matrix, targets: &[u32], temperature: f32) -> Result<Head> {
        let v = w.dims()?.0;
        if targets.len() != n || targets.iter().any(|t| *t as usize >= v) {
            candle_core::bail!("{} targets for {n} rows over a vocabulary of {v}", targets.len());
        }
        Ok(Head { targets: Arc::new(targets.to_vec()), inverse_temperature: 1.0 / temperature, w: w.clone() })
    }

    /// h (N, K) → log-probs, entropies and log-sum-exps (3, N).
    pub fn forward(&self, h: &[f32]) -> Result<Vec<f32>> {
        Ok(statistics(&self.over_chunks(h, |_, _, _| Ok(()))?))
    }

    /// The same, and the slope of each log-prob by its row of h, (N, K): (W[target] - mean of W under softmax) / temperature. One pass
    /// over the vocabulary serves both: the mean is kept as a sum scaled by the largest logit so far, as flash attention keeps its
    /// output (Dao et al. 2022, 2205.14135), so that no chunk of logits is computed a second time for the backward.
    pub fn forward_with_slopes(&self, h: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (n, k) = (self.targets.len(), self.w.dims()?.1);
        let (mut mean, mut scratch) = (vec![0f32; n * k], Vec::new());
        let rows = self.over_chunks(h, |words, exps, rows| {
            mean.par_chunks_mut(k).zip(rows).for_each(|(mean, row)| {
                if row.keep != 1.0 {
                    mean.iter_mut().for_each(|m| *m *= row.keep);
                }
            });
            let c = words.len();
            self.w.with_rows(words, &mut scratch, |w| {
                gemm((n, k, c), Mat::rows(exps, c), Mat::rows(w, k), &mut mean, k, true, 1.0, Threads::All);
            })
        })?;
        let mut of_targets = Vec::with_capacity(n * k);
        self.w.gather(&self.targets, &mut of_targets)?;
        let scale = self.inverse_temperature;
        mean.par_chunks_mut(k).zip(of_targets.par_chunks(k)).zip(&rows).for_each(|((mean, target), row)| {
            mean.iter_mut().zip(target).for_each(|(m, t)| *m = scale * (t - *m / row.sum));
        });
        Ok((statistics(&rows), mean))
    }

    /// Statistics over all words; `each` is given every chunk of words with the exponentials of its logits (N, words), each less the
    /// largest of its row so far.
    fn over_chunks(&self, h: &[f32], mut each: impl FnMut(Range<usize>, &[f32], &[RowSum]) -> Result<()>) -> Result<Vec<RowSum>> {
        let (n, (v, _)) = (self.targets.len(), self.w.dims()?);
        let mut rows = vec![RowSum { max: f32::NEG_INFINITY, keep: 0.0, sum: 0.0, weighted: 0.0, target: 0.0 }; n];
        let mut logits = vec![0f32; n * CHUNK.min(v)];
        for first in (0..v).step_by(CHUNK) {
            let c = CHUNK.min(v - first);
            let chunk = &mut logits[..n * c];
            self.w.features_into(h, first..first + c, self.inverse_temperature, chunk)?;
            chunk.par_chunks_mut(c).zip(rows.par_iter_mut()).zip(self.targets.par_iter()).for_each(|((x, row), target)| {
                let target = *target as usize;
                if (first..first + c).contains(&target) {
                    row.target = x[target - first];
                }
                simd::vectorised(
                    #[inline(always)]
                    || add_chunk(x, row),
                );
            });
            each(first..first + c, chunk, &rows)?;
        }
        Ok(rows)
    }

    /// Returns dh (N, K) and, where the weight is trained, dw (V, K). `stats` is the forward result, `grad` its gradient.
    pub fn backward(&self, h: &[f32], stats: &[f32], grad: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (n, (v, k)) = (self.targets.len(), self.w.dims()?);
        let wants_weight = self.w.variable().is_some();
        let mut dh = vec![0f32; n * k];
        let mut dw = vec![0f32; if wants_weight { v * k } else { 0 }];
        let mut logits = vec![0f32; n * CHUNK.min(v)];
        let mut scratch = Vec::new();
        for first in (0..v).step_by(CHUNK) {
            let c = CHUNK.min(v - first);
            let scale = self.inverse_temperature;
            self.w.features_into(h, first..first + c, scale, &mut logits[..n * c])?;
            self.slopes(&mut logits[..n * c], first..first + c, stats, grad);
            self.w.with_rows(first..first + c, &mut scratch, |w| {
                gemm((n, k, c), Mat::rows(&logits, c), Mat::rows(w, k), &mut dh, k, first > 0, scale, Threads::All);
                if wants_weight {
                    let out = &mut dw[first * k..(first + c) * k];
                    gemm((c, k, n), Mat::t(&logits, c), Mat::rows(h, k), out, k, false, scale, Threads::All);
                }
            })?;
        }
        Ok((dh, dw))
    }

    /// Turns a chunk of logits (N, words) into the loss's slopes by them: grad · (target - softmax).
    fn slopes(&self, logits: &mut [f32], words: Range<usize>, stats: &[f32], grad: &[f32]) {
        let n = self.targets.len();
        let (grad, log_sum_exp) = (&grad[LOGPROB * n..], &stats[LOG_SUM_EXP * n..]);
        logits.par_chunks_mut(words.len()).enumerate().for_each(|(i, x)| {
            simd::vectorised(
                #[inline(always)]
                || slopes_of_row(x, -grad[i], log_sum_exp[i]),
            );
            let target = self.targets[i] as usize;
            if words.contains(&target) {
                x[target - words.start] += grad[i];
            }
        });
    }
}

#[inline(always)]
fn slopes_of_row(x: &mut [f32], factor: f32, log_sum_exp: f32) {
    for x in x.iter_mut() {
        *x = factor * simd::exp(*x - log_sum_exp);
    }
}

/// Log-probs, entropies and log-sum-exps (3, N).
fn statistics(rows: &[RowSum]) -> Vec<f32> {
    let n = rows.len();
    let mut out = vec![0f32; 3 * n];
    for (i, row) in rows.iter().enumerate() {
        let log_sum_exp = row.max + row.sum.ln();
        out[LOGPROB * n + i] = row.target - log_sum_exp;
        out[ENTROPY * n + i] = log_sum_exp - row.weighted / row.sum;
        out[LOG_SUM_EXP * n + i] = log_sum_exp;
    }
    out
}

/// Adds a chunk of logits and leaves e^(x - max) in its place.
#[inline(always)]
fn add_chunk(x: &mut [f32], row: &mut RowSum) {
    let max = row.max.max(simd::max(x));
    let keep = if row.max.is_finite() { (row.max - max).exp() } else { 0.0 };
    let (mut sums, mut weighted) = ([0f32; 16], [0f32; 16]);
    let mut chunks = x.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for i in 0..16 {
            let e = simd::exp(chunk[i] - max);
            sums[i] += e;
            weighted[i] = e.mul_add(chunk[i], weighted[i]);
            chunk[i] = e;
        }
    }
    let (mut rest, mut rest_weighted) = (0f32, 0f32);
    for v in chunks.into_remainder() {
        let e = simd::exp(*v - max);
        rest += e;
        rest_weighted += e * *v;
        *v = e;
    }
    row.sum = row.sum * keep + rest + sums.iter().sum::<f32>();
    row.weighted = row.weighted * keep + rest_weighted + weighted.iter().sum::<f32>();
    (row.max, row.keep) = (max, keep);
}

/// The head's weight is an argument, so that it gets a gradient.
struct Trainable(Head);

impl CustomOp2 for Trainable {
    fn name(&self) -> &'static str {
        "linear-logprob"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, _s2: &CpuStorage, _l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let n = l1.shape().dims2()?.0;
        Ok((CpuStorage::F32(self.0.forward(slice(s1, l1)?)?), Shape::from((3, n))))
    }

    fn bwd(&self, h: &Tensor, w: &Tensor, stats: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dh, dw) = gradients(&self.0, h, stats, grad)?;
        Ok((Some(Tensor::from_vec(dh, h.shape(), h.device())?), Some(Tensor::from_vec(dw, w.shape(), w.device())?)))
    }
}

struct Frozen(Head);

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear-logprob"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let n = layout.shape().dims2()?.0;
        Ok((CpuStorage::F32(self.0.forward(slice(storage, layout)?)?), Shape::from((3, n))))
    }

    fn bwd(&self, h: &Tensor, stats: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (dh, _) = gradients(&self.0, h, stats, grad)?;
        Ok(Some(Tensor::from_vec(dh, h.shape(), h.device())?))
    }
}

fn gradients(head: &Head, h: &Tensor, stats: &Tensor, grad: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
    let grad = grad.contiguous()?;
    with_slice(h, |h| with_slice(stats, |stats| with_slice(&grad, |grad| head.backward(h, stats, grad))))
}
