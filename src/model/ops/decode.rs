//! Attention of one new token over cached keys and values: the query heads that share a key head meet each cached value once.
//!
//! Keys lie feature by feature (head_dim, capacity), so that scores of neighbouring positions are neighbours in a vector and no
//! sum runs across one; values lie position by position.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::simd;

/// Capacities are multiples of this, so that scores are computed in whole vectors.
pub const STRIDE: usize = 32;

/// Cached positions of one key head.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// (head_dim, capacity)
    pub keys: &'a [f32],
    /// (capacity, head_dim)
    pub values: &'a [f32],
    /// First and one past the last position that the token sees.
    pub visible: (usize, usize),
}

impl Part<'_> {
    fn visible(&self) -> Range<usize> {
        self.visible.0..self.visible.1
    }
}

/// The query heads of one key head, (heads, head_dim), over two parts (a shared prompt and the completion's own tokens) → out
/// (heads, head_dim). `scores` is scratch.
pub struct Attention<'a> {
    pub q: &'a [f32],
    pub head_dim: usize,
    pub scale: f32,
    pub parts: [Part<'a>; 2],
    pub scores: &'a mut Vec<f32>,
    pub out: &'a mut [f32],
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let n_heads = self.q.len() / self.head_dim;
        let mut head = 0;
        while head < n_heads {
            head += match n_heads - head {
                4.. => self.heads::<S, 4>(simd, head),
                2..=3 => self.heads::<S, 2>(simd, head),
                _ => self.heads::<S, 1>(simd, head),
            };
        }
    }
}

impl Attention<'_> {
    /// H heads from `head` on; returns H.
    #[inline(always)]
    fn heads<S: Simd, const H: usize>(&mut self, simd: S, head: usize) -> usize {
        let hd = self.head_dim;
        let q = &self.q[head * hd..(head + H) * hd];
        let capacities = self.parts.map(|part| part.keys.len() / hd);
        let width = capacities[0] + capacities[1];
        self.scores.clear();
        self.scores.resize(H * width, 0.0);
        let mut at = 0;
        for (part, capacity) in self.parts.iter().zip(capacities) {
            scores::<S, H>(simd, q, hd, part, capacity, &mut self.scores[at..], width);
            at += capacity;
        }
        for row in self.scores.chunks_exact_mut(width.max(1)) {
            let (first, second) = row.split_at_mut(capacities[0]);
            softmax(&mut first[self.parts[0].visible()], &mut second[self.parts[1].visible()], self.scale);
        }
        let out = &mut self.out[head * hd..(head + H) * hd];
        out.fill(0.0);
        let mut at = 0;
        for (part, capacity) in self.parts.iter().zip(capacities) {
            mix::<S, H>(simd, &self.scores[at..], width, hd, part, out);
            at += capacity;
        }
        H
    }
}

/// Scores of H heads over the vectors that hold visible positions; row `h` begins at `h * width`.
#[inline(always)]
fn scores<S: Simd, const H: usize>(simd: S, q: &[f32], hd: usize, part: &Part, capacity: usize, out: &mut [f32], width: usize) {
    let step = 2 * S::F32_LANES;
    let mut at = part.visible.0 / step * step;
    while at < part.visible.1 {
        let mut acc = [[simd.splat_f32s(0.0); 2]; H];
        for d in 0..hd {
            let (k, _) = S::as_simd_f32s(&part.keys[d * capacity + at..d * capacity + at + step]);
            let (k0, k1) = (k[0], k[1]);
            for h in 0..H {
                let value = simd.splat_f32s(q[h * hd + d]);
                acc[h][0] = simd.mul_add_e_f32s(value, k0, acc[h][0]);
                acc[h][1] = simd.mul_add_e_f32s(value, k1, acc[h][1]);
            }
        }
        for (h, acc) in acc.iter().enumerate() {
            let (to, _) = S::as_mut_simd_f32s(&mut out[h * width + at..h * width + at + step]);
            (to[0], to[1]) = (acc[0], acc[1]);
        }
        at += step;
    }
}

/// Turns two runs of scores into probabilities that sum to one together.
#[inline(always)]
fn softmax(a: &mut [f32], b: &mut [f32], scale: f32) {
    let top = simd::max(a).max(simd::max(b));
    simd::exps(a, top, scale);
    simd::exps(b, top, scale);
    let inverse = 1.0 / (simd::sum(a) + simd::sum(b));
    for v in a.iter_mut() {
        *v *= inverse;
    }
    for v in b.iter_mut() {
        *v *= inverse;
    }
}

/// out (H, hd) += probabilities · visible values.
#[inline(always)]
fn mix<S: Simd, const H: usize>(simd: S, scores: &[f32], width: usize, hd: usize, part: &Part, out: &mut [f32]) {
    let step = 2 * S::F32_LANES;
    let whole = hd / step * step;
    for d in (0..whole).step_by(step) {
        let mut acc = [[simd.splat_f32s(0.0); 2]; H];
        for position in part.visible() {
            let (v, _) = S::as_simd_f32s(&part.values[position * hd + d..position * hd + d + step]);
            let (v0, v1) = (v[0], v[1]);
            for h in 0..H {
                let p = simd.splat_f32s(scores[h * width + position]);
                acc[h][0] = simd.mul_add_e_f32s(p, v0, acc[h][0]);
                acc[h][1] = simd.mul_add_e_f32s(p, v1, acc[h][1]);
            }
        }
        for (h, acc) in acc.iter().enumerate() {
            let (to, _) = S::as_mut_simd_f32s(&mut out[h * hd + d..h * hd + d + step]);
            (to[0], to[1]) = (simd.add_f32s(to[0], acc[0]), simd.add_f32s(to[1], acc[1]));
        }
    }
    // Head sizes below two vectors: plain.
    for h in 0..H {
        for position in part.visible() {
            let p = scores[h * width + position];
            let values = &part.values[position * hd + whole..(position + 1) * hd];
            simd::add_scaled(&mut out[h * hd + whole..(h + 1) * hd], p, values);
        }
    }
}
