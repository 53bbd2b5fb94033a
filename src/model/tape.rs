//! One decoder layer forward and backward by hand, for the LoRA gradients of frozen weights: the same mathematics as
//! [`Gemma3::layer`] under candle's autograd, which adds every gradient to a tensor of zeros and so moves each several times.
//! `tests/model/adapter.rs` holds the two against each other.

use std::sync::Arc;

use candle_core::Result;

use super::{
    gemma3::Gemma3,
    lora::{AdapterView, Projection},
    ops::{
        attention::{Attention, Heads},
        geglu::{geglu_rows, geglu_rows_backward},
        linear::LoraRows,
        norm::{norm_rows, norm_rows_backward},
        rope::rotate,
        with_slice,
    },
    plan::Plan,
    spec::Spec,
};

/// Buffers that are used again as they are, so that no memory is cleared or asked for twice.
#[derive(Default)]
pub struct Buffers(Vec<Vec<f32>>);

/// More than this is not kept from one batch to the next, bytes: with two workers, what both need where tapes take [`most_bytes`] of a
/// small model.
pub const KEPT_BETWEEN: usize = 384 << 20;

impl Buffers {
    /// `n` values, whatever they are. A buffer serves for what is at least half its size: small pieces that take large ones would leave
    /// none for large pieces. Of those too small by less than half, one is given up for the new one: batches of all sizes would leave
    /// some of every size behind.
    pub fn take(&mut self, n: usize) -> Vec<f32> {
        let sizes = self.0.iter().map(Vec::capacity).enumerate();
        let near = sizes.filter(|(_, size)| *size <= 2 * n && 2 * *size >= n);
        let nearest = near.min_by_key(|(_, size)| (*size < n, size.abs_diff(n)));
        let found = nearest.map(|(i, _)| self.0.swap_remove(i)).filter(|buffer| buffer.capacity() >= n);
        let mut buffer = found.unwrap_or_else(|| Vec::with_capacity(n));
        buffer.resize(n, 0.0);
        buffer
    }

    pub fn give<const N: usize>(&mut self, buffers: [Vec<f32>; N]) {
        self.0.extend(buffers.into_iter().filter(|b| b.capacity() > 0));
    }

    /// Gives memory back to the system where there is much of it.
    pub fn trim(&mut self) {
        if self.0.iter().map(|b| size_of::<f32>() * b.capacity()).sum::<usize>() > KEPT_BETWEEN {
            self.0.clear();
        }
    }
}

/// Computes one layer's attention from its rotated q (N, heads * hd) and k, and its v (N, kv heads * hd), into `out` (N, heads * hd):
/// over the rows themselves, or over caches.
pub trait Attend {
    fn attend(&mut self, layer: usize, qkv: [&[f32]; 3], heads: Heads, out: &mut [f32]) -> Result<()>;
}

/// Rows of a plan see each other.
impl Attend for Arc<Plan> {
    fn attend(&mut self, _layer: usize, [q, k, v]: [&[f32]; 3], heads: Heads, out: &mut [f32]) -> Result<()> {
        Attention { heads, plan: self.clone() }.forward(q, k, v, out);
        Ok(())
    }
}

/// What a layer's backward needs of its forward; rows are tokens. The input is kept by the caller.
#[derive(Default)]
pub struct Tape {
    /// Normed input of q, k and v, and of gate and up.
    attention_in: Vec<f32>,
    feedforward_in: Vec<f32>,
    /// Projections before norm and rope, and after.
    q_raw: Vec<f32>,
    k_raw: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    attention_out: Vec<f32>,
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    product: Vec<f32>,
    feedforward_out: Vec<f32>,
    /// x Aᵀ of each projection.
    z: [Vec<f32>; 7],
}

/// Bytes of a [`Tape`] a row, with the layer's input.
pub fn bytes_a_row(spec: &Spec, rank: usize) -> usize {
    let (q, kv) = (spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim);
    let (h, ffn, z) = (spec.hidden_size, spec.intermediate_size, Projection::ALL.len() * rank);
    size_of::<f32>() * (6 * h + 3 * (q + kv + ffn) + z)
}

/// Bytes that a forward and backward by hand over some rows hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The inputs of all layers, the tape of one, and what a backward holds beside it.
    pub least: usize,
    /// The tape of one layer.
    pub tape: usize,
    n_layers: usize,
}

impl Footprint {
    pub fn of(spec: &Spec, rank: usize, rows: usize) -> Footprint {
        let (n_layers, input) = (spec.n_layers(), size_of::<f32>() * spec.hidden_size);
        let tape = rows * (bytes_a_row(spec, rank) - input);
        let least = rows * (input * (n_layers + 1) + backward_bytes_a_row(spec)) + tape;
        Footprint { least, tape, n_layers }
    }

    /// With the tapes of so many layers.
    pub fn bytes(&self, layers: usize) -> usize {
        self.least + layers.saturating_sub(1) * self.tape
    }

    /// Of how many layers the tapes may stay where they may take so many bytes; of the last one in any case, since it is needed at once.
    pub fn layers(&self, tape_bytes: usize) -> usize {
        tape_bytes.checked_div(self.tape).unwrap_or(self.n_layers).clamp(1, self.n_layers.max(1))
    }
}

/// What the tapes of all parts at work may take together beside weights of so many bytes: layers whose tape does not fit are computed
/// twice. Half the weights is no new order of magnitude, nor is half a GiB.
pub fn most_bytes(weights: usize) -> usize {
    (weights / 2).max(512 << 20)
}

/// The part of a tape's row that lies behind the attention.
pub fn bytes_a_row_after_attention(spec: &Spec) -> usize {
    size_of::<f32>() * (4 * spec.hidden_size + spec.n_heads * spec.head_dim + 3 * spec.intermediate_size)
}

/// Bytes a row that a layer's backward holds beside its tape.
pub fn backward_bytes_a_row(spec: &Spec) -> usize {
    let (q, kv) = (spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim);
    size_of::<f32>() * 3 * (spec.hidden_size + spec.intermediate_size + q + kv)
}

impl Tape {
    /// Hands its memory back.
    pub fn release(self, buffers: &mut Buffers) {
        buffers.give([self.attention_in, self.feedforward_in, self.q_raw, self.k_raw, self.q, self.k, self.v, self.mixed]);
        buffers.give([self.attention_out, self.middle, self.gate, self.up, self.product, self.feedforward_out]);
        buffers.give(self.z);
    }
}

/// What all layers of one pass share.
pub struct Pass<'a> {
    pub model: &'a Gemma3,
    /// `None` is the base model, which has no gradients here.
    pub adapter: Option<&'a AdapterView>,
    pub positions: &'a [u32],
    /// Rows, in rising order, whose output of the last layer is wanted: nothing after its attention is computed for the others,
    /// of which only keys and values count.
    pub wanted: &'a [u32],
}

impl Pass<'_> {
    fn eps(&self) -> f32 {
        self.model.spec.norm_eps as f32
    }

    /// Rows of a layer's output.
    fn outputs(&self, layer: usize) -> Option<&[u32]> {
        let last = layer + 1 == self.model.spec.n_layers() && self.wanted.len() < self.positions.len();
        last.then_some(self.wanted)
    }

    /// Projects rows, and notes x Aᵀ.
    fn project(&self, i: usize, p: Projection, x: &[f32], z: &mut [Vec<f32>; 7], buffers: &mut Buffers) -> Result<Vec<f32>> {
        let (m, k) = p.shape(&self.model.spec);
        let n = x.len() / k;
        let mut y = buffers.take(n * m);
        match self.adapter {
            None => self.model.projection(i, p).features_into(x, 0..m, 1.0, &mut y)?,
            Some(adapter) => self.with_lora(adapter, i, p, |lora| {
                let z = &mut z[p as usize];
                *z = buffers.take(n * lora.rank);
                lora.forward(x, &mut y, z)
            })?,
        }
        Ok(y)
    }

    fn with_lora<R>(&self, adapter: &AdapterView, i: usize, p: Projection, f: impl FnOnce(&LoraRows) -> Result<R>) -> Result<R> {
        let ((a, b), w) = (adapter.pair(i, p), self.model.projection(i, p));
        let (rank, scale) = (a.dim(0)?, adapter.scale);
        with_slice(a, |a| with_slice(b, |b| f(&LoraRows { w, a, b, rank, scale })))
    }

    /// The input of layer 0, (N, H).
    pub fn embeddings(&self, ids: &[u32], buffers: &mut Buffers) -> Result<Vec<f32>> {
        let mut x = buffers.take(ids.len() * self.model.spec.hidden_size);
        self.model.embed_rows(ids, &mut x)?;
        Ok(x)
    }

    /// Final hidden states of the wanted rows, ready for the head, (wanted, H).
    pub fn hidden(&self, ids: &[u32], attend: &mut dyn Attend, buffers: &mut Buffers) -> Result<Vec<f32>> {
        let mut x = self.embeddings(ids, buffers)?;
        for i in 0..self.model.spec.n_layers() {
            let (y, tape) = self.forward(i, &x, attend, buffers)?;
            tape.release(buffers);
            buffers.give([std::mem::replace(&mut x, y)]);
        }
        let mut y = buffers.take(x.len());
        norm_rows::<false>(&x, &self.model.final_norm()?, self.eps(), &mut y);
        buffers.give([x]);
        Ok(y)
    }

    /// Layer `i` on x (N, H) → its output (N, H), of the last layer that of the wanted rows.
    pub fn forward(&self, i: usize, x: &[f32], attend: &mut dyn Attend, buffers: &mut Buffers) -> Result<(Vec<f32>, Tape)> {
        let (layer, eps) = (self.model.norms(i)?, self.eps());
        let mut tape = Tape::default();
        let mut z: [Vec<f32>; 7] = Default::default();
        let normed = |x: &[f32], w: &[f32], buffers: &mut Buffers| {
            let mut y = buffers.take(x.len());
            norm_rows::<false>(x, w, eps, &mut y);
            y
        };
        tape.attention_in = normed(x, &layer.input, buffers);
        tape.q_raw = self.project(i, Projection::Q, &tape.attention_in, &mut z, buffers)?;
        tape.k_raw = self.project(i, Projection::K, &tape.attention_in, &mut z, buffers)?;
        tape.v = self.project(i, Projection::V, &tape.attention_in, &mut z, buffers)?;
        tape.q = normed(&tape.q_raw, &layer.q, buffers);
        tape.k = normed(&tape.k_raw, &layer.k, buffers);
        let table = self.model.rope_table(i);
        rotate(&mut tape.q, table, self.positions, 1.0);
        rotate(&mut tape.k, table, self.positions, 1.0);
        tape.mixed = buffers.take(tape.q.len());
        attend.attend(i, [&tape.q, &tape.k, &tape.v], self.model.layer_heads(i), &mut tape.mixed)?;
        match self.outputs(i) {
            Some(rows) => {
                let chosen = choose(&tape.mixed, self.positions.len(), rows, buffers);
                buffers.give([std::mem::replace(&mut tape.mixed, chosen)]);
                tape.middle = choose(x, self.positions.len(), rows, buffers);
            }
            None => {
                tape.middle = buffers.take(x.len());
                tape.middle.copy_from_slice(x);
            }
        }
        tape.attention_out = self.project(i, Projection::O, &tape.mixed, &mut z, buffers)?;
        norm_rows::<true>(&tape.attention_out, &layer.post_attention, eps, &mut tape.middle);

        tape.feedforward_in = normed(&tape.middle, &layer.pre_feedforward, buffers);
        tape.gate = self.project(i, Projection::Gate, &tape.feedforward_in, &mut z, buffers)?;
        tape.up = self.project(i, Projection::Up, &tape.feedforward_in, &mut z, buffers)?;
        tape.product = buffers.take(tape.gate.len());
        geglu_rows(&tape.gate, &tape.up, &mut tape.product);
        tape.feedforward_out = self.project(i, Projection::Down, &tape.product, &mut z, buffers)?;
        let mut y = buffers.take(tape.middle.len());
        y.copy_from_slice(&tape.middle);
        norm_rows::<true>(&tape.feedforward_out, &layer.post_feedforward, eps, &mut y);
        tape.z = z;
        Ok((y, tape))
    }

    /// From the slope of the layer's output to that of its input x, in place; adds the gradients of A and B of all projections to
    /// `grads` (14 of them, A before B). `plan` is the forward's.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        i: usize,
        x: &[f32],
        tape: &Tape,
        slope: &mut Vec<f32>,
        plan: &Arc<Plan>,
        grads: &mut [Vec<f32>],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let (layer, eps) = (self.model.norms(i)?, self.eps());
        let Some(adapter) = self.adapter else { candle_core::bail!("the base model is frozen and has no gradients") };
        let mut back = |p: Projection, x: &[f32], g: &[f32], add: bool, dx: &mut [f32]| {
            let (da, db) = grads[2 * p as usize..].split_at_mut(1);
            self.with_lora(adapter, i, p, |lora| lora.backward(x, &tape.z[p as usize], g, &mut da[0], &mut db[0], add, dx))
        };
        let mut out = buffers.take(slope.len());
        norm_rows_backward::<false>(&tape.feedforward_out, slope, &layer.post_feedforward, eps, &mut out);
        let mut product = buffers.take(tape.product.len());
        back(Projection::Down, &tape.product, &out, false, &mut product)?;
        let (mut gate, mut up) = (buffers.take(product.len()), buffers.take(product.len()));
        geglu_rows_backward(&tape.gate, &tape.up, &product, &mut gate, &mut up);
        let mut inner = buffers.take(slope.len());
        back(Projection::Gate, &tape.feedforward_in, &gate, false, &mut inner)?;
        back(Projection::Up, &tape.feedforward_in, &up, true, &mut inner)?;
        norm_rows_backward::<true>(&tape.middle, &inner, &layer.pre_feedforward, eps, slope);
        buffers.give([product, gate, up]);

        norm_rows_backward::<false>(&tape.attention_out, slope, &layer.post_attention, eps, &mut out);
        let mut mixed = buffers.take(tape.mixed.len());
        back(Projection::O, &tape.mixed, &out, false, &mut mixed)?;
        if let Some(rows) = self.outputs(i) {
            let spread_mixed = spread(&mixed, self.positions.len(), rows, buffers);
            let spread_slope = spread(slope, self.positions.len(), rows, buffers);
            buffers.give([std::mem::replace(&mut mixed, spread_mixed), std::mem::replace(slope, spread_slope), inner]);
            inner = buffers.take(x.len());
        }
        let (mut q, mut k, mut v) = (buffers.take(tape.q.len()), buffers.take(tape.k.len()), buffers.take(tape.v.len()));
        Attention { heads: self.model.layer_heads(i), plan: plan.clone() }.backward(
            &tape.q,
            &tape.k,
            &tape.v,
            &mixed,
            [&mut q, &mut k, &mut v],
        );
        let table = self.model.rope_table(i);
        rotate(&mut q, table, self.positions, -1.0);
        rotate(&mut k, table, self.positions, -1.0);
        let (mut q_raw, mut k_raw) = (buffers.take(q.len()), buffers.take(k.len()));
        norm_rows_backward::<false>(&tape.q_raw, &q, &layer.q, eps, &mut q_raw);
        norm_rows_backward::<false>(&tape.k_raw, &k, &layer.k, eps, &mut k_raw);
        back(Projection::Q, &tape.attention_in, &q_raw, false, &mut inner)?;
        back(Projection::K, &tape.attention_in, &k_raw, true, &mut inner)?;
        back(Projection::V, &tape.attention_in, &v, true, &mut inner)?;
        norm_rows_backward::<true>(x, &inner, &layer.input, eps, slope);
        buffers.give([out, inner, mixed, q, k, v, q_raw, k_raw]);
        Ok(())
    }
}

/// Some of `n` rows, one after the other.
fn choose(x: &[f32], n: usize, rows: &[u32], buffers: &mut Buffers) -> Vec<f32> {
    let width = x.len() / n;
    let mut chosen = buffers.take(rows.len() * width);
    for (to, row) in chosen.chunks_exact_mut(width).zip(rows) {
        to.copy_from_slice(&x[*row as usize * width..(*row as usize + 1) * width]);
    }
    chosen
}

/// The opposite: `n` rows of which the others are zero.
fn spread(chosen: &[f32], n: usize, rows: &[u32], buffers: &mut Buffers) -> Vec<f32> {
    let width = chosen.len() / rows.len();
    let mut x = buffers.take(n * width);
    x.fill(0.0);
    for (from, row) in chosen.chunks_exact(width).zip(rows) {
        x[*row as usize * width..(*row as usize + 1) * width].copy_from_slice(from);
    }
    x
}
