//! Memory for the rows at work in a layer.

use candle_core::{DType, Result};

use super::layers::{Block, Input, Layers};
use crate::model::kernels::{Argument, buffer::Buffer};

/// What a layer computes on its way, each (rows, ..) f32: what its backward reads.
pub struct Rows {
    /// Where weights are bf16: the rounded input of the product at hand, as wide as the widest.
    half: Option<Buffer>,
    /// Normed input of attention.
    pub h: Buffer,
    pub qkv: Buffer,
    pub q: Buffer,
    pub k: Buffer,
    pub v: Buffer,
    pub mixed: Buffer,
    pub o: Buffer,
    /// The stream between attention and feed-forward.
    pub middle: Buffer,
    /// Normed input of the feed-forward.
    pub h2: Buffer,
    pub gate_up: Buffer,
    pub act: Buffer,
    pub down: Buffer,
    /// By block; none without an adapter.
    pub z: [Buffer; 4],
}

impl Rows {
    pub fn new(layers: &Layers, n: usize) -> Result<Rows> {
        let spec = layers.spec();
        let (h, f, q, kv) =
            (spec.hidden_size, spec.intermediate_size, spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim);
        let buffer = |width| layers.buffer(n, width, DType::F32);
        let widest = Block::ALL.iter().map(|b| b.shape(spec)).map(|(out, input)| out.max(input)).max().unwrap_or(0);
        let half = if layers.half { Some(layers.buffer(n, widest, DType::BF16)?) } else { None };
        let z = || buffer(layers.z_width());
        Ok(Rows {
            half,
            h: buffer(h)?,
            qkv: buffer(q + 2 * kv)?,
            q: buffer(q)?,
            k: buffer(kv)?,
            v: buffer(kv)?,
            mixed: buffer(q)?,
            o: buffer(h)?,
            middle: buffer(h)?,
            h2: buffer(h)?,
            gate_up: buffer(2 * f)?,
            act: buffer(f)?,
            down: buffer(h)?,
            z: [z()?, z()?, z()?, z()?],
        })
    }

    /// Where the rounded input lies; nowhere where weights are f32.
    pub fn half(&self) -> u64 {
        self.half.as_ref().map_or(0, Buffer::at)
    }

    pub fn half_argument(&self) -> Argument {
        Argument::At(self.half())
    }

    /// Rows as a product takes them.
    pub fn input(&self, rows: &Buffer) -> Input {
        Input { rows: rows.at(), half: self.half() }
    }
}
