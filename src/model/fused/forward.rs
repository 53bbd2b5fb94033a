//! The forward of all layers over the rows of a plan, or over whatever attention the caller supplies.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::{
    layers::{Block, Layers},
    rows::Rows,
    tree::Trees,
};
use crate::model::{
    kernels::{
        Argument::{self, At},
        buffer::Buffer,
        count,
    },
    plan::Plan,
    portable::arena::Arena,
};

/// Where keys and values of rows go beside their own rows: caches, and a place in them for each row (addresses).
#[derive(Clone, Copy)]
pub struct Caches {
    pub keys: u64,
    pub values: u64,
    pub places: u64,
    pub half: bool,
}

impl Layers<'_> {
    /// Scaled embeddings of `ids` (an address) into `x`.
    pub fn embed(&self, n: usize, ids: u64, x: u64) -> Result<()> {
        let d = self.spec().hidden_size;
        let name = if self.half { "embed_bf16" } else { "embed_f32" };
        let scale = Argument::Real((d as f64).sqrt() as f32);
        let grid = (n, d.div_ceil(crate::model::kernels::THREADS));
        self.machine.launch(name, grid, &[At(self.embedding), At(ids), At(x), count(d)?, scale])
    }

    /// The normed input of layer `i`, for its first products.
    pub fn enter(&self, i: usize, n: usize, x: u64, rows: &Rows) -> Result<()> {
        let d = count(self.spec().hidden_size)?;
        let norm = At(self.layers[i].input_norm);
        self.by_row("enter", n, &[At(x), norm, At(rows.h.at()), rows.half_argument(), d, self.eps()])
    }

    /// Queries, keys and values of the rows of layer `i`, normed and turned. `positions` is an address.
    pub fn heads(&self, i: usize, n: usize, positions: u64, caches: Option<Caches>, rows: &Rows) -> Result<()> {
        let (layer, spec) = (&self.layers[i], self.spec());
        self.project(i, Block::Qkv, n, rows.input(&rows.h), rows.z[0].at(), rows.qkv.at())?;
        let Caches { keys, values, places, half } = caches.unwrap_or(Caches { keys: 0, values: 0, places: 0, half: false });
        let of_a_row = spec.n_heads + 2 * spec.n_kv_heads;
        self.machine.launch(
            if half { "heads_bf16" } else { "heads_f32" },
            (n, of_a_row.div_ceil(crate::model::kernels::THREADS / 32)),
            &[
                At(rows.qkv.at()),
                At(layer.q_norm),
                At(layer.k_norm),
                At(layer.angles.0),
                At(layer.angles.1),
                At(positions),
                At(places),
                At(rows.q.at()),
                At(rows.k.at()),
                At(rows.v.at()),
                At(keys),
                At(values),
                count(spec.n_heads)?,
                count(spec.n_kv_heads)?,
                count(spec.head_dim)?,
                self.eps(),
            ],
        )
    }

    /// From what attention mixed, of which `rows.half` holds the rounded copy, to the layer's result in `out`, and its norm by `next`.
    pub fn leave(&self, i: usize, n: usize, x: u64, next: u64, out: u64, rows: &Rows) -> Result<()> {
        let (layer, spec) = (&self.layers[i], self.spec());
        let (d, f) = (spec.hidden_size, spec.intermediate_size);
        let join = |x: u64, y: u64, after: u64, before: u64, joined: u64, h: &Buffer| {
            let at = [x, y, after, before, joined, h.at(), rows.half()].map(At);
            self.by_row("join", n, &[&at[..], &[count(d)?, self.eps()]].concat())
        };
        self.project(i, Block::O, n, rows.input(&rows.mixed), rows.z[1].at(), rows.o.at())?;
        join(x, rows.o.at(), layer.post_attention_norm, layer.pre_feedforward_norm, rows.middle.at(), &rows.h2)?;
        self.project(i, Block::GateUp, n, rows.input(&rows.h2), rows.z[2].at(), rows.gate_up.at())?;
        let grid = (n, f.div_ceil(crate::model::kernels::THREADS));
        self.machine.launch("gate_rows", grid, &[At(rows.gate_up.at()), At(rows.act.at()), rows.half_argument(), count(f)?])?;
        self.project(i, Block::Down, n, rows.input(&rows.act), rows.z[3].at(), rows.down.at())?;
        join(rows.middle.at(), rows.down.at(), layer.post_feedforward_norm, next, out, &rows.h)
    }

    /// The norm that what layer `i` leaves goes into.
    pub fn next_norm(&self, i: usize) -> u64 {
        self.layers.get(i + 1).map_or(self.final_norm, |next| next.input_norm)
    }
}

/// A forward over the rows of a plan.
pub struct Pass<'a> {
    pub layers: &'a Layers<'a>,
    pub n: usize,
    pub rows: Rows,
    pub trees: Trees,
    pub positions: Tensor,
    ids: Tensor,
}

impl<'a> Pass<'a> {
    pub fn new(layers: &'a Layers<'a>, ids: &[u32], plan: &Arc<Plan>) -> Result<Pass<'a>> {
        let device = layers.machine.device();
        layers.model.check_positions(&plan.positions())?;
        Ok(Pass {
            layers,
            n: ids.len(),
            rows: Rows::new(layers, ids.len())?,
            trees: Trees::new(layers, plan)?,
            positions: Tensor::new(plan.positions().as_slice(), device)?,
            ids: Tensor::new(ids, device)?,
        })
    }

    /// Layer `i`, whose normed input lies in `rows.h`: from x to `out`.
    pub fn layer(&self, i: usize, x: u64, caches: Option<Caches>, out: u64) -> Result<()> {
        let (layers, rows) = (self.layers, &self.rows);
        let positions = crate::model::kernels::buffer::address(&self.positions)?;
        layers.heads(i, self.n, positions, caches, rows)?;
        self.trees.forward(layers, layers.layers[i].heads, rows)?;
        if layers.half {
            layers.halve(&rows.mixed, rows.half())?;
        }
        layers.leave(i, self.n, x, layers.next_norm(i), out, rows)
    }

    /// Scaled embeddings into `x`, and their norm for the first layer.
    pub fn start(&self, x: u64) -> Result<()> {
        let ids = crate::model::kernels::buffer::address(&self.ids)?;
        self.layers.embed(self.n, ids, x)?;
        self.layers.enter(0, self.n, x, &self.rows)
    }

    /// The final hidden states (N, H). Keys and values also go into an arena, at `places`, where one is given.
    pub fn hidden(self, arena: Option<(&Arena, &Tensor)>) -> Result<Tensor> {
        let x = self.layers.buffer(self.n, self.layers.spec().hidden_size, DType::F32)?;
        self.start(x.at())?;
        for i in 0..self.layers.layers.len() {
            let caches = arena.map(|(arena, places)| arena.caches(i, places)).transpose()?;
            self.layer(i, x.at(), caches, x.at())?;
        }
        Ok(self.rows.h.into_tensor())
    }

    /// The input of every layer, and what the last one leaves.
    pub fn inputs(&self) -> Result<Vec<Buffer>> {
        let buffer = || self.layers.buffer(self.n, self.layers.spec().hidden_size, DType::F32);
        let mut inputs = vec![buffer()?];
        self.start(inputs[0].at())?;
        for i in 0..self.layers.layers.len() {
            inputs.push(buffer()?);
            self.layer(i, inputs[i].at(), None, inputs[i + 1].at())?;
        }
        Ok(inputs)
    }
}

impl Layers<'_> {
    /// A bf16 copy of f32 values.
    pub fn halve(&self, from: &Buffer, to: u64) -> Result<()> {
        let n = from.tensor().elem_count();
        let grid = (n.div_ceil(crate::model::kernels::THREADS), 1);
        self.machine.launch("halve", grid, &[At(from.at()), At(to), count(n)?])
    }
}
