//! What the kernels' way through a model takes of a device's memory beside weights, adapter and caches, in bytes: one estimate for
//! whoever asks before using it, and for `medserl plan`. Each line mirrors an allocation of this module.

use super::layers::Block;
use crate::model::{lora::Projection, spec::Spec};

/// A shape whose weights are kept in bf16 or f32, and an adapter's rank.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a> {
    pub spec: &'a Spec,
    pub half: bool,
    pub rank: usize,
}

/// Rows of some trees: prompts, each with its completions.
#[derive(Clone, Copy, Debug)]
pub struct Trees {
    pub rows: usize,
    pub prompt: usize,
    /// Completions of a prompt, and rows of the longest.
    pub kids: usize,
    pub longest: usize,
}

const F32: usize = 4;

impl Footprint<'_> {
    fn widths(&self) -> (usize, usize, usize, usize) {
        let s = self.spec;
        (s.hidden_size, s.intermediate_size, s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim)
    }

    /// Of [`super::rows::Rows`].
    pub fn a_row(&self) -> usize {
        let (h, f, q, kv) = self.widths();
        let widest = Block::ALL.iter().map(|b| b.shape(self.spec)).map(|(out, input)| out.max(input)).max().unwrap_or(0);
        let half = if self.half { 2 * widest } else { 0 };
        F32 * (5 * h + 3 * q + 4 * kv + 3 * f + 4 * 3 * self.rank.max(1)) + half
    }

    /// Of the slopes beside it in a backward.
    fn a_slope(&self) -> usize {
        let (h, f, q, kv) = self.widths();
        let widest = Block::ALL.iter().map(|b| b.shape(self.spec).0).max().unwrap_or(0);
        let half = if self.half { 2 * widest } else { 0 };
        F32 * (4 * h + 3 * q + 4 * kv + 3 * f + 3 * self.rank.max(1)) + half
    }

    /// Of a row of the stream.
    pub fn a_stream(&self) -> usize {
        F32 * self.spec.hidden_size
    }

    /// Of the trees that hold such rows; `backs` times the probabilities and the padded rows.
    pub fn trees(&self, trees: Trees, backs: bool) -> usize {
        let Trees { rows, prompt, kids, longest } = trees;
        let (s, times) = (self.spec, if backs { 2 } else { 1 });
        let n_trees = rows.div_ceil((prompt + kids * longest).max(1));
        let padded = n_trees * kids * longest * s.head_dim;
        let scores = s.n_heads * (rows * prompt + n_trees * kids * longest * longest);
        F32 * (times * (scores + (s.n_heads + 2 * s.n_kv_heads) * padded) + s.n_heads * padded)
    }

    /// Of an adapter's matrices joined for the kernels.
    pub fn joined(&self) -> usize {
        let members = [Block::Qkv, Block::GateUp].into_iter().flat_map(Block::members);
        let one = |p: &Projection| {
            let (out, input) = p.shape(self.spec);
            self.rank * (out + input)
        };
        F32 * self.spec.n_layers() * members.map(one).sum::<usize>()
    }

    /// Of the head over so many predicted tokens: their hidden states, and a chunk of logits, their slopes and the rounded ones.
    pub fn head(&self, predicted: usize) -> usize {
        let s = self.spec;
        let chunk = (predicted * s.vocab_size).min(HEAD_VALUES.max(256 * predicted));
        3 * predicted * self.a_stream() + chunk * (2 * F32 + if self.half { 2 } else { 0 })
    }

    /// Of a forward and backward over trees that predict so many tokens: every layer's input, one layer's rows, and either the head or
    /// that layer's slopes.
    pub fn update(&self, trees: Trees, predicted: usize) -> usize {
        let stream = trees.rows * self.a_stream();
        let forward = self.joined() + stream * (self.spec.n_layers() + 1) + trees.rows * self.a_row() + self.trees(trees, false);
        let slopes = trees.rows * self.a_slope() + self.trees(trees, true) - self.trees(trees, false);
        forward + (3 * stream + self.head(predicted)).max(slopes)
    }

    /// Of a forward alone.
    pub fn score(&self, trees: Trees, predicted: usize) -> usize {
        let stream = trees.rows * self.a_stream();
        // The rows' memory is given back before the head begins, but for the last hidden states.
        let layers = stream + trees.rows * self.a_row() + self.trees(trees, false);
        self.joined() + layers.max(2 * stream + self.head(predicted))
    }
}

/// Values of a chunk of logits, about; see `model::portable::logprob`.
const HEAD_VALUES: usize = 32 << 20;
