//! Causal grouped-query attention over a plan, one segment at a time: a completion sees its prompt, which is computed once, and
//! itself. The backward computes the probabilities again.

use std::sync::{Arc, Mutex};

use candle_core::{Device, Result, Tensor, bail};

use super::node::node3;
use crate::model::{
    ops::attention::Heads,
    plan::{Plan, Segment},
};

/// A mask by (segment, window).
type Made = Vec<((usize, Option<usize>), Tensor)>;

/// A plan and the masks its segments need, which all layers of a kind share.
#[derive(Debug)]
pub struct Masks {
    plan: Arc<Plan>,
    /// For each (segment, window): 0 where a key is seen, -inf where it is hidden; (1, 1, queries, keys).
    made: Mutex<Made>,
}

impl Masks {
    pub fn new(plan: &Arc<Plan>) -> Masks {
        Masks { plan: plan.clone(), made: Mutex::new(Vec::new()) }
    }

    fn of(&self, index: usize, heads: Heads, device: &Device) -> Result<Tensor> {
        let Ok(mut made) = self.made.lock() else { bail!("a forward panicked") };
        let key = (index, heads.window);
        if let Some((_, mask)) = made.iter().find(|(k, _)| *k == key) {
            return Ok(mask.clone());
        }
        let Segment { len, first_position, .. } = self.plan.segments[index];
        let n = first_position + len;
        let mut mask = vec![f32::NEG_INFINITY; len * n];
        for (i, row) in mask.chunks_mut(n).enumerate() {
            let position = first_position + i;
            row[heads.first_visible(position)..=position].fill(0.0);
        }
        let mask = Tensor::from_vec(mask, (1, 1, len, n), device)?;
        made.push((key, mask.clone()));
        Ok(mask)
    }
}

/// q (N, heads · hd), k and v (N, kv heads · hd) → (N, heads · hd)
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, masks: &Arc<Masks>) -> Result<Tensor> {
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let parts = (0..masks.plan.segments.len())
        .map(|index| Part { masks, heads, index }.forward(&q.detach(), &k.detach(), &v.detach()))
        .collect::<Result<Vec<_>>>()?;
    let masks = masks.clone();
    node3("attention", [&q, &k, &v], Tensor::cat(&parts, 0)?, move |[q, k, v], slope| backward(q, k, v, slope, heads, &masks))
}

/// Slopes of q, k and v. Segments lie in the order of their rows, so that their own slopes follow each other; a prompt also
/// gathers those of its completions.
fn backward(q: &Tensor, k: &Tensor, v: &Tensor, slope: &Tensor, heads: Heads, masks: &Arc<Masks>) -> Result<[Tensor; 3]> {
    let segments = &masks.plan.segments;
    let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::<Tensor>::new(), Vec::<Tensor>::new());
    for (index, segment) in segments.iter().enumerate() {
        let [q, keys, values] = Part { masks, heads, index }.backward(q, k, v, slope)?;
        dq.push(q);
        let (seen, own) = (segment.first_position, segment.len);
        if let Some(parent) = segment.parent {
            dk[parent] = (&dk[parent] + keys.narrow(0, 0, seen)?)?;
            dv[parent] = (&dv[parent] + values.narrow(0, 0, seen)?)?;
        }
        dk.push(keys.narrow(0, seen, own)?);
        dv.push(values.narrow(0, seen, own)?);
    }
    Ok([Tensor::cat(&dq, 0)?, Tensor::cat(&dk, 0)?, Tensor::cat(&dv, 0)?])
}

/// One segment of an attention.
struct Part<'a> {
    masks: &'a Masks,
    heads: Heads,
    index: usize,
}

impl Part<'_> {
    fn segment(&self) -> Segment {
        self.masks.plan.segments[self.index]
    }

    /// Query rows of the segment by key head, (kv heads, group · len, hd): the query heads of a key head one after the other.
    fn queries(&self, x: &Tensor) -> Result<Tensor> {
        let Segment { start, len, .. } = self.segment();
        let Heads { n_heads, n_kv_heads, head_dim, .. } = self.heads;
        let x = x.narrow(0, start, len)?.reshape((len, n_heads, head_dim))?.transpose(0, 1)?.contiguous()?;
        x.reshape((n_kv_heads, n_heads / n_kv_heads * len, head_dim))
    }

    /// The other way, (len, heads · hd).
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        let len = self.segment().len;
        let Heads { n_heads, head_dim, .. } = self.heads;
        x.reshape((n_heads, len, head_dim))?.transpose(0, 1)?.contiguous()?.reshape((len, n_heads * head_dim))
    }

    /// Rows that the segment sees, its prompt's and then its own, by key head: (kv heads, keys, hd).
    fn seen(&self, x: &Tensor) -> Result<Tensor> {
        let Segment { start, len, parent, .. } = self.segment();
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        let own = x.narrow(0, start, len)?;
        let x = match parent.map(|p| self.masks.plan.segments[p]) {
            Some(parent) => Tensor::cat(&[x.narrow(0, parent.start, parent.len)?, own], 0)?,
            None => own,
        };
        x.reshape((x.dim(0)?, n_kv_heads, head_dim))?.transpose(0, 1)?.contiguous()
    }

    /// The other way, (keys, kv heads · hd).
    fn unseen(&self, x: &Tensor) -> Result<Tensor> {
        let (kv_heads, n, hd) = x.dims3()?;
        x.transpose(0, 1)?.contiguous()?.reshape((n, kv_heads * hd))
    }

    /// Probabilities (kv heads, group · len, keys).
    fn probabilities(&self, queries: &Tensor, keys: &Tensor) -> Result<Tensor> {
        let len = self.segment().len;
        let scores = queries.matmul(&keys.transpose(1, 2)?)?;
        let (kv_heads, rows, n) = scores.dims3()?;
        let mask = self.masks.of(self.index, self.heads, scores.device())?;
        let scores = (scores * f64::from(self.heads.scale))?.reshape((kv_heads, rows / len, len, n))?.broadcast_add(&mask)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(3)?)?.exp()?;
        e.broadcast_div(&e.sum_keepdim(3)?)?.reshape((kv_heads, rows, n))
    }

    fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let p = self.probabilities(&self.queries(q)?, &self.seen(k)?)?;
        self.rows(&p.matmul(&self.seen(v)?)?)
    }

    /// Slopes of the segment's queries (len, heads · hd) and of the keys and values it sees (keys, kv heads · hd).
    fn backward(&self, q: &Tensor, k: &Tensor, v: &Tensor, slope: &Tensor) -> Result<[Tensor; 3]> {
        let (queries, keys, values, slope) = (self.queries(q)?, self.seen(k)?, self.seen(v)?, self.queries(slope)?);
        let p = self.probabilities(&queries, &keys)?;
        let d_values = p.transpose(1, 2)?.matmul(&slope)?;
        let dp = slope.matmul(&values.transpose(1, 2)?)?;
        // ds = scale · p ∘ (dp - p·dp)
        let mean = (&p * &dp)?.sum_keepdim(2)?;
        let ds = ((p * dp.broadcast_sub(&mean)?)? * f64::from(self.heads.scale))?;
        let d_queries = ds.matmul(&keys)?;
        let d_keys = ds.transpose(1, 2)?.matmul(&queries)?;
        Ok([self.rows(&d_queries)?, self.unseen(&d_keys)?, self.unseen(&d_values)?])
    }
}
