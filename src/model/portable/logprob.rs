//! Tied head, log-softmax and the log-prob of given tokens over chunks of the vocabulary: (N, V) logits never exist whole.

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

use super::{
    node::node1,
    product::{placed, times, times_transposed},
};
use crate::model::{kernels::Launcher, ops::matrix::Matrix};

/// Values of a chunk of logits, about: 128 MiB.
const CHUNK_VALUES: usize = 32 << 20;

/// h (N, K), frozen w (V, K), targets (N) → (3, N): log-prob of the target, entropy, log-sum-exp, all of
/// softmax(h Wᵀ / temperature), in nats. Only the log-prob row carries a gradient.
pub fn linear_logprob(h: &Tensor, w: &Matrix, targets: &[u32], temperature: f32, kernels: Option<Launcher>) -> Result<Tensor> {
    let (h, w) = (h.contiguous()?, placed(w)?.clone());
    let (n, v) = (h.dim(0)?, w.dim(0)?);
    if targets.len() != n || targets.iter().any(|t| *t as usize >= v) {
        bail!("{} targets for {n} rows over a vocabulary of {v}", targets.len());
    }
    let targets = Tensor::new(targets, h.device())?;
    let head = Head { w, targets, inverse: 1.0 / f64::from(temperature), kernels };
    let stats = head.forward(&h.detach())?;
    let log_sum_exp = stats.get(2)?;
    node1("linear-logprob", &h, stats, move |[h], slope| Ok([head.backward(h, &log_sum_exp, &slope.get(0)?)?]))
}

struct Head {
    w: Tensor,
    targets: Tensor,
    /// 1 / temperature
    inverse: f64,
    kernels: Option<Launcher>,
}

/// Running softmax statistics, each (N, 1).
struct Running {
    max: Tensor,
    /// sum of e^(x - max)
    sum: Tensor,
    /// sum of e^(x - max) · x
    weighted: Tensor,
}

impl Head {
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let v = self.w.dims()[0];
        let rows = (CHUNK_VALUES / self.targets.elem_count().max(1)).clamp(256.min(v), v);
        (0..v).step_by(rows).map(move |first| first..(first + rows).min(v))
    }

    fn words(&self, range: &Range<usize>) -> Result<Tensor> {
        self.w.narrow(0, range.start, range.len())
    }

    fn logits(&self, h: &Tensor, range: &Range<usize>) -> Result<Tensor> {
        times_transposed(h, &self.words(range)?, self.kernels)? * self.inverse
    }

    /// The rows of the targets, (N, K) f32.
    fn target_words(&self) -> Result<Tensor> {
        self.w.index_select(&self.targets, 0)?.to_dtype(DType::F32)
    }

    fn forward(&self, h: &Tensor) -> Result<Tensor> {
        if let Some(kernels) = self.kernels {
            return self.forward_by(h, kernels);
        }
        let mut running: Option<Running> = None;
        let mut target = Tensor::zeros((h.dim(0)?, 1), DType::F32, h.device())?;
        for range in self.chunks() {
            let x = self.logits(h, &range)?;
            target = (target + self.picked(&x, &range)?)?;
            running = Some(add_chunk(&x, running)?);
        }
        let Some(Running { max, sum, weighted }) = running else { bail!("the vocabulary is empty") };
        let log_sum_exp = (max + sum.log()?)?;
        let entropy = (&log_sum_exp - (weighted / sum)?)?;
        Tensor::cat(&[(target - &log_sum_exp)?, entropy, log_sum_exp], 1)?.t()?.contiguous()
    }

    /// The same with one kernel a chunk, over rows of (max, sum, weighted, target).
    fn forward_by(&self, h: &Tensor, kernels: Launcher) -> Result<Tensor> {
        let mut running = kernels.statistics(h.dim(0)?, h.device())?;
        for range in self.chunks() {
            let x = times_transposed(h, &self.words(&range)?, self.kernels)?;
            running = kernels.add_statistics(&x, &self.targets, range.start, self.inverse as f32, &running)?;
        }
        kernels.finish_statistics(&running)
    }

    /// The targets' logits where they lie in this chunk, else 0, (N, 1).
    fn picked(&self, x: &Tensor, range: &Range<usize>) -> Result<Tensor> {
        let last = range.len() as f64 - 1.0;
        let at = (self.targets.to_dtype(DType::F32)? - range.start as f64)?;
        let inside = (at.ge(0f64)?.to_dtype(DType::F32)? * at.le(last)?.to_dtype(DType::F32)?)?.unsqueeze(1)?;
        x.gather(&at.clamp(0f64, last)?.to_dtype(DType::U32)?.unsqueeze(1)?, 1)? * inside
    }

    /// dh = Σ over words of g (1[target] - p) / temperature · word
    fn backward(&self, h: &Tensor, log_sum_exp: &Tensor, slope: &Tensor) -> Result<Tensor> {
        let (log_sum_exp, slope) = (log_sum_exp.unsqueeze(1)?.contiguous()?, slope.unsqueeze(1)?.contiguous()?);
        let mut dh = self.target_words()?.broadcast_mul(&slope)?;
        for range in self.chunks() {
            let slopes = match self.kernels {
                Some(kernels) => {
                    let x = times_transposed(h, &self.words(&range)?, self.kernels)?;
                    kernels.logit_slopes(&x, &log_sum_exp, &slope, self.inverse as f32)?
                }
                None => self.logits(h, &range)?.broadcast_sub(&log_sum_exp)?.exp()?.broadcast_mul(&slope)?,
            };
            dh = (dh - times(&slopes, &self.words(&range)?, self.kernels)?)?;
        }
        dh * self.inverse
    }
}

fn add_chunk(x: &Tensor, before: Option<Running>) -> Result<Running> {
    let top = x.max_keepdim(1)?;
    let max = match &before {
        Some(before) => before.max.maximum(&top)?,
        None => top,
    };
    let e = x.broadcast_sub(&max)?.exp()?;
    let (mut sum, mut weighted) = (e.sum_keepdim(1)?, (&e * x)?.sum_keepdim(1)?);
    if let Some(before) = before {
        let keep = (before.max - &max)?.exp()?;
        sum = (sum + (before.sum * &keep)?)?;
        weighted = (weighted + (before.weighted * keep)?)?;
    }
    Ok(Running { max, sum, weighted })
}
