//! Keys and values of tokens already read: one copy per prompt, shared by its completions, and a tail per completion.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{
    gemma3::Attend,
    ops::{
        attention::{Heads, attention},
        simd, with_slice,
    },
    plan::Plan,
};
use std::sync::Arc;

/// Rotated keys and values of consecutive positions, per layer, row-major (positions, kv heads * hd).
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Cache {
    pub fn new(n_layers: usize) -> Cache {
        Cache { layers: vec![(Vec::new(), Vec::new()); n_layers] }
    }
}

/// Attention over whole prompts that also fills one cache per prompt (group) of the plan.
pub struct Prefill<'a> {
    pub plan: &'a Arc<Plan>,
    pub caches: &'a mut [Cache],
}

impl Attend for Prefill<'_> {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
        let width = heads.n_kv_heads * heads.head_dim;
        with_slice(k, |k| {
            with_slice(v, |v| {
                for (group, cache) in self.caches.iter_mut().enumerate() {
                    let (start, len) = self.plan.group_rows(group);
                    let rows = start * width..(start + len) * width;
                    cache.layers[layer] = (k[rows.clone()].to_vec(), v[rows].to_vec());
                }
                Ok(())
            })
        })?;
        attention(q, k, v, heads, self.plan)
    }
}

/// One token per completion: attends to the prompt's cache and to the completion's own, which grows by this token.
pub struct Decode<'a> {
    /// For each row: the prompt's cache and the completion's own.
    pub rows: Vec<(&'a Cache, &'a mut Cache)>,
}

impl Attend for Decode<'_> {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
        let (q_width, kv_width) = (heads.n_heads * heads.head_dim, heads.n_kv_heads * heads.head_dim);
        let mut out = vec![0f32; q.elem_count()];
        with_slice(q, |q| {
            with_slice(k, |k| {
                with_slice(v, |v| {
                    out.par_chunks_mut(q_width)
                        .zip(q.par_chunks(q_width))
                        .zip(k.par_chunks(kv_width).zip(v.par_chunks(kv_width)))
                        .zip(self.rows.par_iter_mut())
                        .for_each(|(((out, q), (k, v)), (prompt, own))| {
                            let own = &mut own.layers[layer];
                            own.0.extend_from_slice(k);
                            own.1.extend_from_slice(v);
                            simd::vectorised(
                                #[inline(always)]
                                || attend_row(q, &prompt.layers[layer], own, heads, out),
                            );
                        });
                    Ok(())
                })
            })
        })?;
        Tensor::from_vec(out, q.shape(), q.device())
    }
}

/// q (heads * hd) over the prompt's and the completion's keys → out (heads * hd).
#[inline(always)]
fn attend_row(q: &[f32], prompt: &(Vec<f32>, Vec<f32>), own: &(Vec<f32>, Vec<f32>), heads: Heads, out: &mut [f32]) {
    let (hd, width) = (heads.head_dim, heads.n_kv_heads * heads.head_dim);
    let n_prompt = prompt.0.len() / width;
    let first = heads.first_visible(n_prompt + own.0.len() / width - 1);
    // The window may hide some of the prompt, and in a long completion some of its own beginning.
    let (skip_prompt, skip_own) = (first.min(n_prompt) * width, first.saturating_sub(n_prompt) * width);
    let keys = [&prompt.0[skip_prompt..], &own.0[skip_own..]];
    let values = [&prompt.1[skip_prompt..], &own.1[skip_own..]];
    let mut scores = Vec::with_capacity((keys[0].len() + keys[1].len()) / width);
    for head in 0..heads.n_heads {
        let at = head / (heads.n_heads / heads.n_kv_heads) * hd;
        let q = &q[head * hd..(head + 1) * hd];
        scores.clear();
        for part in keys {
            scores.extend(part.chunks_exact(width).map(|row| simd::dot(q, &row[at..at + hd])));
        }
        simd::softmax(&mut scores, heads.scale);
        let out = &mut out[head * hd..(head + 1) * hd];
        let rows = values[0].chunks_exact(width).chain(values[1].chunks_exact(width));
        for (p, row) in scores.iter().zip(rows) {
            simd::add_scaled(out, *p, &row[at..at + hd]);
        }
    }
}
