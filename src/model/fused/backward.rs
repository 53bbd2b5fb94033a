//! The backward of all layers by hand. Each layer runs a second time from its input, which is all that is kept of the forward
//! (Chen et al. 2016, 1604.06174), and then back; gradients stay on the device.

use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

use super::{
    flat::Flat,
    forward::Pass,
    layers::{Block, Gradient, Input, Layers},
    tree::Slopes,
};
use crate::model::{
    gemma3::Gemma3,
    kernels::{
        Argument::At,
        Launcher, THREADS,
        buffer::{Buffer, address},
        count,
    },
    lora::AdapterView,
    plan::Plan,
};

/// Slopes on their way through a layer, each (rows, ..) f32.
struct Slope {
    /// Where weights are bf16: the rounded slope that a product reads.
    half: Option<Buffer>,
    /// Of the stream.
    stream: Buffer,
    middle: Buffer,
    /// Of what a half of a layer adds to the stream.
    added: Buffer,
    h: Buffer,
    act: Buffer,
    gate_up: Buffer,
    mixed: Buffer,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    qkv: Buffer,
    z: Buffer,
    trees: Vec<Slopes>,
}

impl Slope {
    fn new(pass: &Pass, end: Buffer) -> candle_core::Result<Slope> {
        let (layers, n) = (pass.layers, pass.n);
        let spec = layers.spec();
        let like = |b: &Buffer| layers.buffer(n, b.tensor().dim(1)?, DType::F32);
        let widest = Block::ALL.iter().map(|b| b.shape(spec).0).max().unwrap_or(0);
        let rows = &pass.rows;
        Ok(Slope {
            half: if layers.half { Some(layers.buffer(n, widest, DType::BF16)?) } else { None },
            middle: like(&end)?,
            added: like(&end)?,
            h: like(&end)?,
            stream: end,
            act: like(&rows.act)?,
            gate_up: like(&rows.gate_up)?,
            mixed: like(&rows.mixed)?,
            q: like(&rows.q)?,
            k: like(&rows.k)?,
            v: like(&rows.v)?,
            qkv: like(&rows.qkv)?,
            z: layers.buffer(n, layers.z_width(), DType::F32)?,
            trees: pass.trees.slopes()?,
        })
    }

    fn half(&self) -> u64 {
        self.half.as_ref().map_or(0, Buffer::at)
    }

    fn input(&self, rows: &Buffer) -> Input {
        Input { rows: rows.at(), half: self.half() }
    }
}

/// Adds to `grads` the gradients of what `head` gives the slope (n, H) of, by the last layer's output (n, H).
pub fn backward(
    model: &Gemma3,
    launcher: Launcher,
    adapter: &AdapterView,
    (ids, plan): (&[u32], &Arc<Plan>),
    head: impl FnOnce(&Tensor) -> Result<Tensor>,
    grads: &Flat,
) -> Result<()> {
    let layers = Layers::new(model, Some(adapter), launcher)?;
    let pass = Pass::new(&layers, ids, plan)?;
    let mut inputs = pass.inputs()?;
    let end = inputs.last().context("the model has no layers")?;
    // A buffer of its own: the stream's slope is written in place.
    let slope = Slope::new(&pass, Buffer::of(head(end.tensor())?.force_contiguous()?)?)?;
    for i in (0..layers.layers.len()).rev() {
        let out = inputs.pop().context("a layer without a result")?;
        let x = inputs.last().context("a layer without an input")?;
        layers.enter(i, pass.n, x.at(), &pass.rows)?;
        pass.layer(i, x.at(), None, out.at())?;
        back(&pass, i, x, &slope, grads.gradients(i))?;
    }
    Ok(())
}

/// From the slope of layer `i`'s result to that of its input `x`, both in `slope.stream`.
fn back(pass: &Pass, i: usize, x: &Buffer, slope: &Slope, gradients: [Gradient; 4]) -> candle_core::Result<()> {
    let (layers, rows, n) = (pass.layers, &pass.rows, pass.n);
    let (layer, spec) = (&layers.layers[i], layers.spec());
    let normed = |x: &Buffer, w: u64, g: &Buffer, base: u64, dx: &Buffer, half: u64| {
        let at = [x.at(), w, g.at(), base, dx.at(), half].map(At);
        layers.by_row("norm_slope", n, &[&at[..], &[count(spec.hidden_size)?, layers.eps()]].concat())
    };
    let project = |block: Block, by: &Buffer, x: &Buffer, dx: &Buffer| {
        let (z, gradient) = (rows.z[block as usize].at(), gradients[block as usize]);
        layers.project_back(i, block, n, slope.input(by), (x.at(), z), slope.z.at(), dx.at(), gradient)
    };
    normed(&rows.down, layer.post_feedforward_norm, &slope.stream, 0, &slope.added, slope.half())?;
    project(Block::Down, &slope.added, &rows.act, &slope.act)?;
    let f = spec.intermediate_size;
    let at = [rows.gate_up.at(), slope.act.at(), slope.gate_up.at(), slope.half()].map(At);
    layers.machine.launch("gate_slope", (n, f.div_ceil(THREADS)), &[&at[..], &[count(f)?]].concat())?;
    project(Block::GateUp, &slope.gate_up, &rows.h2, &slope.h)?;
    normed(&rows.middle, layer.pre_feedforward_norm, &slope.h, slope.stream.at(), &slope.middle, 0)?;

    normed(&rows.o, layer.post_attention_norm, &slope.middle, 0, &slope.added, slope.half())?;
    project(Block::O, &slope.added, &rows.mixed, &slope.mixed)?;
    let to = [slope.q.at(), slope.k.at(), slope.v.at()];
    pass.trees.backward(layers, layer.heads, slope.mixed.at(), to, rows, &slope.trees)?;
    let at = [rows.qkv.at(), layer.q_norm, layer.k_norm, layer.angles.0, layer.angles.1, address(&pass.positions)?];
    let at = [&at[..], &to, &[slope.qkv.at(), slope.half()]].concat();
    let numbers = [count(spec.n_heads)?, count(spec.n_kv_heads)?, count(spec.head_dim)?, layers.eps()];
    let arguments: Vec<_> = at.into_iter().map(At).chain(numbers).collect();
    let of_a_row = spec.n_heads + 2 * spec.n_kv_heads;
    layers.machine.launch("heads_slope", (n, of_a_row.div_ceil(THREADS / 32)), &arguments)?;
    // The layer's end left the next one's normed input there.
    layers.enter(i, n, x.at(), rows)?;
    project(Block::Qkv, &slope.qkv, &rows.h, &slope.h)?;
    normed(x, layer.input_norm, &slope.h, slope.middle.at(), &slope.stream, 0)
}
