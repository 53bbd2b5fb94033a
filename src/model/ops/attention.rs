//! Causal grouped-query attention over a [`Plan`]: scores are scaled, windowed by position, and a completion sees its prompt.
//!
//! Forward keeps nothing but its output; backward recomputes the probabilities (as flash attention does). Both go block by block of a
//! segment's rows, with all query heads of a key head in one product, so that most of what causality hides is never computed and
//! memory stays at (queries of a block) x (keys they see).

use std::{borrow::Cow, ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    gemm::{Mat, Threads, gemm},
    simd, slice, with_slice,
};
use crate::model::plan::{Plan, Segment};

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Keys more than `window - 1` positions back are hidden; `None` sees all.
    pub window: Option<usize>,
}

impl Heads {
    fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Query heads per key head.
    fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// First visible key position for a query at `position`.
    pub fn first_visible(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }
}

/// q (N, heads * hd), k and v (N, kv heads * hd) → (N, heads * hd)
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, plan: &Arc<Plan>) -> Result<Tensor> {
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Attention { heads, plan: plan.clone() })
}

/// Queries, over all heads that share a key head, that meet their keys at once, about: over some hundred keys their scores stay in the
/// second cache, and a block reaches little beyond the causal edge.
const QUERIES: usize = 256;

/// Some rows of a segment, and what they see of the keys of their prompt and segment.
struct Block {
    /// First row in the segment.
    first: usize,
    len: usize,
    /// Of the first row.
    position: usize,
    keys: Range<usize>,
}

impl Block {
    /// Its keys in rows of `hd` values.
    fn seen(&self, hd: usize) -> Range<usize> {
        self.keys.start * hd..self.keys.end * hd
    }
}

/// Attention of one shape over one plan, on plain rows.
pub struct Attention {
    pub heads: Heads,
    pub plan: Arc<Plan>,
}

impl Attention {
    /// One task per (group, key head).
    fn tasks(&self) -> Vec<(usize, usize)> {
        (0..self.plan.groups.len()).flat_map(|g| (0..self.heads.n_kv_heads).map(move |h| (g, h))).collect()
    }

    fn segments(&self, group: usize) -> &[Segment] {
        let (from, to) = self.plan.groups[group];
        &self.plan.segments[from..to]
    }

    /// Copies the rows a segment sees (its prompt, then itself) of one key head, (keys, hd).
    fn visible(&self, x: &[f32], kv_head: usize, segment: &Segment) -> Vec<f32> {
        let (width, hd) = (self.heads.kv_width(), self.heads.head_dim);
        let columns = kv_head * hd..(kv_head + 1) * hd;
        let mut rows = Vec::with_capacity((segment.first_position + segment.len) * hd);
        if let Some(parent) = segment.parent {
            let parent = self.plan.segments[parent];
            copy_columns(&x[parent.start * width..][..parent.len * width], width, columns.clone(), &mut rows);
        }
        copy_columns(&x[segment.start * width..][..segment.len * width], width, columns, &mut rows);
        rows
    }

    /// The blocks of a segment.
    fn blocks(&self, segment: &Segment) -> impl Iterator<Item = Block> {
        let (at_once, segment, heads) = ((QUERIES / self.heads.group()).clamp(32, 128), *segment, self.heads);
        (0..segment.len).step_by(at_once).map(move |first| {
            let last = (first + at_once).min(segment.len);
            let position = segment.first_position + first;
            Block { first, len: last - first, position, keys: heads.first_visible(position)..segment.first_position + last }
        })
    }

    /// Rows of x (N, heads * hd) from `start` on, those columns that share a key head: (len * group heads, hd).
    fn queries<'a>(&self, x: &'a [f32], kv_head: usize, start: usize, len: usize) -> Cow<'a, [f32]> {
        let (width, part) = (self.heads.q_width(), self.heads.group() * self.heads.head_dim);
        let rows = &x[start * width..(start + len) * width];
        if part == width {
            return Cow::Borrowed(rows);
        }
        let mut copy = Vec::with_capacity(len * part);
        copy_columns(rows, width, kv_head * part..(kv_head + 1) * part, &mut copy);
        Cow::Owned(copy)
    }

    /// Probabilities of a block's queries (len * group heads, hd) over its keys, (len * group heads, keys), zero where hidden.
    fn probabilities(&self, q: &[f32], keys: &[f32], block: &Block, p: &mut Vec<f32>) {
        let (hd, per_kv, n) = (self.heads.head_dim, self.heads.group(), block.keys.len());
        p.resize(block.len * per_kv * n, 0.0);
        gemm((block.len * per_kv, n, hd), Mat::rows(q, hd), Mat::t(keys, hd), p, n, false, 1.0, Threads::One);
        for (i, row) in p.chunks_exact_mut(n).enumerate() {
            let position = block.position + i / per_kv;
            let (first, end) = (self.heads.first_visible(position) - block.keys.start, position + 1 - block.keys.start);
            row[..first].fill(0.0);
            row[end..].fill(0.0);
            simd::vectorised(
                #[inline(always)]
                || simd::softmax(&mut row[first..end], self.heads.scale),
            );
        }
    }

    /// Output of one task over its group's rows, (rows, group heads * hd).
    fn forward_task(&self, (group, kv_head): (usize, usize), q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (hd, per_kv) = (self.heads.head_dim, self.heads.group());
        let (start, rows) = self.plan.group_rows(group);
        let (mut out, mut p) = (vec![0f32; rows * per_kv * hd], Vec::new());
        for segment in self.segments(group) {
            let (keys, values) = (self.visible(k, kv_head, segment), self.visible(v, kv_head, segment));
            for block in self.blocks(segment) {
                let (row, n, seen) = (segment.start + block.first, block.keys.len(), block.seen(hd));
                let q = self.queries(q, kv_head, row, block.len);
                self.probabilities(&q, &keys[seen.clone()], &block, &mut p);
                let shape = (block.len * per_kv, hd, n);
                let out = &mut out[(row - start) * per_kv * hd..];
                gemm(shape, Mat::rows(&p, n), Mat::rows(&values[seen], hd), out, hd, false, 1.0, Threads::One);
            }
        }
        out
    }

    /// Gradients of one task: dq (rows, group heads * hd), dk and dv (rows, hd).
    fn backward_task(&self, (group, kv_head): (usize, usize), q: &[f32], k: &[f32], v: &[f32], grad: &[f32]) -> [Vec<f32>; 3] {
        let (hd, per_kv) = (self.heads.head_dim, self.heads.group());
        let (start, rows) = self.plan.group_rows(group);
        let (mut dq, mut dk, mut dv) = (vec![0f32; rows * per_kv * hd], vec![0f32; rows * hd], vec![0f32; rows * hd]);
        let (mut p, mut ds) = (Vec::new(), Vec::new());
        for segment in self.segments(group) {
            let (keys, values) = (self.visible(k, kv_head, segment), self.visible(v, kv_head, segment));
            let (mut d_keys, mut d_values) = (vec![0f32; keys.len()], vec![0f32; values.len()]);
            for block in self.blocks(segment) {
                let (row, m, n, seen) = (segment.start + block.first, block.len * per_kv, block.keys.len(), block.seen(hd));
                let (keys, values) = (&keys[seen.clone()], &values[seen.clone()]);
                let (q, grad) = (self.queries(q, kv_head, row, block.len), self.queries(grad, kv_head, row, block.len));
                self.probabilities(&q, keys, &block, &mut p);
                let d_values = &mut d_values[seen.clone()];
                gemm((n, hd, m), Mat::t(&p, n), Mat::rows(&grad, hd), d_values, hd, true, 1.0, Threads::One);
                ds.resize(m * n, 0.0);
                gemm((m, n, hd), Mat::rows(&grad, hd), Mat::t(values, hd), &mut ds, n, false, 1.0, Threads::One);
                for (p, ds) in p.chunks_exact(n).zip(ds.chunks_exact_mut(n)) {
                    simd::vectorised(
                        #[inline(always)]
                        || softmax_backward(p, ds, self.heads.scale),
                    );
                }
                let dq = &mut dq[(row - start) * per_kv * hd..];
                gemm((m, hd, n), Mat::rows(&ds, n), Mat::rows(keys, hd), dq, hd, false, 1.0, Threads::One);
                gemm((n, hd, m), Mat::t(&ds, n), Mat::rows(&q, hd), &mut d_keys[seen], hd, true, 1.0, Threads::One);
            }
            self.add_visible(&d_keys, segment, start, &mut dk);
            self.add_visible(&d_values, segment, start, &mut dv);
        }
        [dq, dk, dv]
    }

    /// Adds gradients of the visible rows back to the rows of the group.
    fn add_visible(&self, grad: &[f32], segment: &Segment, group_start: usize, out: &mut [f32]) {
        let hd = self.heads.head_dim;
        let prompt = segment.first_position * hd;
        if let Some(parent) = segment.parent {
            let at = (self.plan.segments[parent].start - group_start) * hd;
            simd::vectorised(
                #[inline(always)]
                || simd::add_scaled(&mut out[at..at + prompt], 1.0, &grad[..prompt]),
            );
        }
        let at = (segment.start - group_start) * hd;
        let own = &grad[prompt..];
        simd::vectorised(
            #[inline(always)]
            || simd::add_scaled(&mut out[at..at + own.len()], 1.0, own),
        );
    }

    /// q (N, heads * hd), k and v (N, kv heads * hd) → y (N, heads * hd)
    pub fn forward(&self, q: &[f32], k: &[f32], v: &[f32], y: &mut [f32]) {
        let tasks = self.tasks();
        let outs: Vec<Vec<f32>> = tasks.par_iter().map(|task| self.forward_task(*task, q, k, v)).collect();
        for (task, out) in tasks.iter().zip(&outs) {
            self.scatter(*task, out, self.heads.group() * self.heads.head_dim, y);
        }
    }

    /// The gradients of q, k and v from that of the output.
    pub fn backward(&self, q: &[f32], k: &[f32], v: &[f32], grad: &[f32], [dq, dk, dv]: [&mut [f32]; 3]) {
        let tasks = self.tasks();
        let grads: Vec<[Vec<f32>; 3]> = tasks.par_iter().map(|t| self.backward_task(*t, q, k, v, grad)).collect();
        for (task, [task_dq, task_dk, task_dv]) in tasks.iter().zip(&grads) {
            self.scatter(*task, task_dq, self.heads.group() * self.heads.head_dim, dq);
            self.scatter(*task, task_dk, self.heads.head_dim, dk);
            self.scatter(*task, task_dv, self.heads.head_dim, dv);
        }
    }

    /// Writes a task's rows (rows, task width) into columns of the whole (N, width).
    fn scatter(&self, (group, kv_head): (usize, usize), rows: &[f32], task_width: usize, whole: &mut [f32]) {
        let width = task_width * self.heads.n_kv_heads;
        let (start, _) = self.plan.group_rows(group);
        for (i, row) in rows.chunks(task_width).enumerate() {
            let at = (start + i) * width + kv_head * task_width;
            whole[at..at + task_width].copy_from_slice(row);
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
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
        let (q, k, v) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let mut y = vec![0f32; q.len()];
        self.forward(q, k, v, &mut y);
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (mut dq, mut dk, mut dv) = (vec![0f32; q.elem_count()], vec![0f32; k.elem_count()], vec![0f32; v.elem_count()]);
        let grad = grad.contiguous()?;
        let sides = [&mut dq[..], &mut dk[..], &mut dv[..]];
        with_slice(q, |q| {
            with_slice(k, |k| {
                with_slice(v, |v| {
                    with_slice(&grad, |g| {
                        self.backward(q, k, v, g, sides);
                        Ok(())
                    })
                })
            })
        })?;
        let tensor = |data, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}

/// Puts some columns of rows of `width` values behind `out`.
fn copy_columns(rows: &[f32], width: usize, columns: Range<usize>, out: &mut Vec<f32>) {
    rows.chunks_exact(width).for_each(|row| out.extend_from_slice(&row[columns.clone()]));
}

/// ds := scale * p ∘ (ds - p·ds), in place.
#[inline(always)]
fn softmax_backward(p: &[f32], ds: &mut [f32], scale: f32) {
    let mean = simd::dot(p, ds);
    for (ds, p) in ds.iter_mut().zip(p) {
        *ds = p * (*ds - mean) * scale;
    }
}
