//! Keys and values of tokens already read: one cache per prompt, shared by its completions, and one per completion. Layers that
//! see only a window keep only what their window can still reach.

use std::sync::Arc;

use candle_core::Result;
use rayon::prelude::*;

use super::{
    ops::{
        attention::Heads,
        decode::{Attention, Part, STRIDE},
        simd,
    },
    plan::Plan,
    spec::Spec,
    tape::Attend,
};

/// Rotated keys and values of one sequence, layer by layer.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: Vec<Layer>,
}

/// One layer: keys (kv heads, hd, capacity), values (kv heads, capacity, hd).
#[derive(Clone, Debug, Default)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
    capacity: usize,
    /// Tokens read so far, kept or not.
    n_read: usize,
    /// Tokens kept: the last ones read. Token t lies at `t % n_slots` where it was added by [`Layer::push`].
    n_slots: usize,
}

impl Cache {
    pub fn new(n_layers: usize) -> Cache {
        Cache { layers: vec![Layer::default(); n_layers] }
    }

    /// Bytes of the cache of a completion of up to `max_tokens`.
    pub fn bytes(spec: &Spec, max_tokens: usize) -> usize {
        let slots = |global: &bool| if *global { max_tokens } else { max_tokens.min(spec.sliding_window) };
        let positions: usize = spec.global_layers.iter().map(|global| slots(global).next_multiple_of(STRIDE)).sum();
        2 * size_of::<f32>() * spec.n_kv_heads * spec.head_dim * positions
    }
}

impl Layer {
    fn open(n_slots: usize, heads: Heads) -> Layer {
        let capacity = n_slots.next_multiple_of(STRIDE);
        let n = heads.n_kv_heads * heads.head_dim * capacity;
        Layer { keys: vec![0.0; n], values: vec![0.0; n], capacity, n_read: 0, n_slots }
    }

    /// Adds one token's keys and values (kv heads * hd), over the oldest where all slots are taken.
    fn push(&mut self, k: &[f32], v: &[f32], heads: Heads) {
        let (hd, slot) = (heads.head_dim, self.n_read % self.n_slots);
        for (h, (k, v)) in k.chunks_exact(hd).zip(v.chunks_exact(hd)).enumerate() {
            let keys = &mut self.keys[h * hd * self.capacity..(h + 1) * hd * self.capacity];
            keys.iter_mut().skip(slot).step_by(self.capacity).zip(k).for_each(|(to, k)| *to = *k);
            let at = (h * self.capacity + slot) * hd;
            self.values[at..at + hd].copy_from_slice(v);
        }
        self.n_read += 1;
    }

    fn n_kept(&self) -> usize {
        self.n_read.min(self.n_slots)
    }

    /// One key head's positions from `first` (counted among the kept ones) on.
    fn part(&self, kv_head: usize, first: usize, hd: usize) -> Part<'_> {
        let n = hd * self.capacity;
        let range = kv_head * n..(kv_head + 1) * n;
        let last = self.n_kept();
        Part { keys: &self.keys[range.clone()], values: &self.values[range], visible: (first.min(last), last) }
    }
}

/// Attention over whole prompts that also fills one cache per prompt (group) of the plan.
pub struct Prefill<'a> {
    pub plan: Arc<Plan>,
    pub caches: &'a mut [Cache],
}

impl Attend for Prefill<'_> {
    fn attend(&mut self, layer: usize, [q, k, v]: [&[f32]; 3], heads: Heads, out: &mut [f32]) -> Result<()> {
        let width = heads.n_kv_heads * heads.head_dim;
        self.caches.par_iter_mut().enumerate().for_each(|(group, cache)| {
            let (start, len) = self.plan.group_rows(group);
            // The first completion token sees itself and window - 1 tokens before it.
            let n_kept = heads.window.map_or(len, |w| len.min(w - 1));
            let mut kept = Layer::open(n_kept.max(1), heads);
            let rows = (start + len - n_kept) * width..(start + len) * width;
            for (k, v) in k[rows.clone()].chunks_exact(width).zip(v[rows].chunks_exact(width)) {
                kept.push(k, v, heads);
            }
            cache.layers[layer] = kept;
        });
        self.plan.attend(layer, [q, k, v], heads, out)
    }
}

/// One token per completion: attends to the prompt's cache and to the completion's own, which grows by this token.
pub struct Decode<'a> {
    /// For each row: the prompt's cache and length, and the completion's own cache.
    pub rows: Vec<(&'a Cache, usize, &'a mut Cache)>,
    /// Tokens a completion can have.
    pub max_tokens: usize,
}

impl Attend for Decode<'_> {
    fn attend(&mut self, layer: usize, [q, k, v]: [&[f32]; 3], heads: Heads, out: &mut [f32]) -> Result<()> {
        let width = heads.n_kv_heads * heads.head_dim;
        let n_slots = heads.window.map_or(self.max_tokens, |w| w.min(self.max_tokens));
        let rows = self.rows.par_iter_mut().zip(k.par_chunks(width).zip(v.par_chunks(width)));
        rows.with_min_len(8).for_each(|((_, _, own), (k, v))| {
            let own = &mut own.layers[layer];
            if own.n_slots == 0 {
                *own = Layer::open(n_slots, heads);
            }
            own.push(k, v, heads);
        });
        let group = heads.n_heads / heads.n_kv_heads * heads.head_dim;
        out.par_chunks_mut(group).zip(q.par_chunks(group)).enumerate().for_each_init(Vec::new, |scores, (i, (out, q))| {
            let (prompt, prompt_len, own) = &self.rows[i / heads.n_kv_heads];
            let (prompt, own) = (&prompt.layers[layer], &own.layers[layer]);
            let first = heads.first_visible(prompt_len + own.n_read - 1);
            let dropped = prompt_len - prompt.n_kept();
            let kv_head = i % heads.n_kv_heads;
            let parts =
                [prompt.part(kv_head, first.saturating_sub(dropped), heads.head_dim), own.part(kv_head, 0, heads.head_dim)];
            simd::run(Attention { q, head_dim: heads.head_dim, scale: heads.scale, parts, scores, out });
        });
        Ok(())
    }
}
