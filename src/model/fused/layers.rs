//! The weights of all layers as the kernels read them: addresses of matrices that lie side by side, and an adapter beside them.

use candle_core::{DType, Result, Tensor, bail};

use crate::model::{
    gemma3::Gemma3,
    kernels::{
        Argument, Launcher,
        buffer::{Buffer, address},
        machine::{Machine, Product, View},
    },
    lora::{AdapterView, Projection},
    ops::attention::Heads,
    portable::product::placed,
    spec::Spec,
};

/// The most query heads that share a key head, and the widest head, that the kernels take.
const GROUPS: [usize; 3] = [1, 2, 4];
const WIDEST_HEAD: usize = 256;

/// Projections that read the same rows: their matrices follow each other, and so do their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Block {
    pub const ALL: [Block; 4] = [Block::Qkv, Block::O, Block::GateUp, Block::Down];

    pub fn members(self) -> &'static [Projection] {
        match self {
            Block::Qkv => &[Projection::Q, Projection::K, Projection::V],
            Block::O => &[Projection::O],
            Block::GateUp => &[Projection::Gate, Projection::Up],
            Block::Down => &[Projection::Down],
        }
    }

    /// (out, in) features of all members together.
    pub fn shape(self, spec: &Spec) -> (usize, usize) {
        let out = self.members().iter().map(|p| p.shape(spec).0).sum();
        (out, self.members()[0].shape(spec).1)
    }

    /// Members of equal width that follow each other: (how many, features of each, features before them).
    fn runs(self, spec: &Spec) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut before = 0;
        for (member, width) in self.members().iter().map(|p| p.shape(spec).0).enumerate() {
            match runs.last_mut() {
                Some(run) if run.width == width => run.n += 1,
                _ => runs.push(Run { n: 1, width, before, member }),
            }
            before += width;
        }
        runs
    }
}

#[derive(Clone, Copy, Debug)]
struct Run {
    n: usize,
    width: usize,
    /// Features before them.
    before: usize,
    /// Which member the first is.
    member: usize,
}

/// Addresses of a layer.
pub struct LayerAt {
    weights: [u64; 4],
    /// A (members · r, in) and B (out, r) by block, where there is an adapter.
    adapter: Option<[(u64, u64); 4]>,
    pub input_norm: u64,
    pub post_attention_norm: u64,
    pub pre_feedforward_norm: u64,
    pub post_feedforward_norm: u64,
    pub q_norm: u64,
    pub k_norm: u64,
    pub heads: Heads,
    /// cos and sin of every position.
    pub angles: (u64, u64),
}

/// All layers on their device, and an adapter as it stands now.
pub struct Layers<'a> {
    pub machine: Machine,
    pub model: &'a Gemma3,
    pub layers: Vec<LayerAt>,
    pub final_norm: u64,
    pub embedding: u64,
    /// Whether weights are bf16.
    pub half: bool,
    rank: usize,
    scale: f32,
    /// What the addresses above point at, beside what the model and the caller hold.
    _held: Vec<Tensor>,
}

/// What a block of an input needs of its rows: f32, and bf16 where weights are.
#[derive(Clone, Copy)]
pub struct Input {
    pub rows: u64,
    pub half: u64,
}

/// Where a block's adapter leaves its gradients: A (members · r, in), B (out, r).
#[derive(Clone, Copy)]
pub struct Gradient {
    pub a: u64,
    pub b: u64,
}

impl<'a> Layers<'a> {
    pub fn new(model: &'a Gemma3, adapter: Option<&AdapterView>, launcher: Launcher) -> Result<Layers<'a>> {
        let spec = &model.spec;
        let group = spec.n_heads / spec.n_kv_heads.max(1);
        if !GROUPS.contains(&group) || spec.head_dim > WIDEST_HEAD || !spec.head_dim.is_multiple_of(2) {
            bail!(
                "{} query heads a key head, of {} features: the GPU's kernels take {GROUPS:?} a key head and at most {WIDEST_HEAD} \
                 features",
                group,
                spec.head_dim
            );
        }
        let mut held = Vec::new();
        let mut angles = |global| -> Result<(u64, u64)> {
            let (cos, sin) = model.angles(global)?;
            let at = (address(&cos)?, address(&sin)?);
            held.extend([cos, sin]);
            Ok(at)
        };
        let (local, global) = (angles(false)?, angles(true)?);
        let rank = adapter.map_or(Ok(0), |adapter| adapter.pair(0, Projection::Q).0.dim(0))?;
        let mut layers = Vec::with_capacity(spec.n_layers());
        for i in 0..spec.n_layers() {
            let mut weights = [0; 4];
            for (at, block) in weights.iter_mut().zip(Block::ALL) {
                *at = side_by_side(model, i, block)?;
            }
            let adapter = adapter.map(|adapter| joined(adapter, i, &mut held)).transpose()?;
            let [input, post_attention, pre_feedforward, post_feedforward, q, k] = model.norm_weights(i);
            layers.push(LayerAt {
                weights,
                adapter,
                input_norm: address(input)?,
                post_attention_norm: address(post_attention)?,
                pre_feedforward_norm: address(pre_feedforward)?,
                post_feedforward_norm: address(post_feedforward)?,
                q_norm: address(q)?,
                k_norm: address(k)?,
                heads: model.layer_heads(i),
                angles: if spec.global_layers[i] { global } else { local },
            });
        }
        let embedding = placed(model.embedding())?;
        let half = embedding.dtype() == DType::BF16;
        Ok(Layers {
            // Beside products of bf16, whose inputs keep 8 bits.
            machine: Machine::new(model.device(), launcher).rounding(half),
            layers,
            final_norm: address(model.final_norm_weight())?,
            embedding: address(embedding)?,
            half,
            rank,
            scale: adapter.map_or(0.0, |adapter| adapter.scale),
            model,
            _held: held,
        })
    }

    pub fn spec(&self) -> &'a Spec {
        &self.model.spec
    }

    pub fn eps(&self) -> Argument {
        Argument::Real(self.model.spec.norm_eps as f32)
    }

    /// Values that one row of z takes for the widest block.
    pub fn z_width(&self) -> usize {
        3 * self.rank.max(1)
    }

    fn view(&self, input: Input, width: usize) -> View {
        if self.half { View::rows(input.half, width).half() } else { View::rows(input.rows, width) }
    }

    fn weight(&self, layer: usize, block: Block, transposed: bool) -> View {
        let (at, (_, input)) = (self.layers[layer].weights[block as usize], block.shape(self.spec()));
        let view = if transposed { View::t(at, input) } else { View::rows(at, input) };
        if self.half { view.half() } else { view }
    }

    /// y (n, out) = x Wᵀ + scale z Bᵀ with z (n, members · r) = x Aᵀ, which is left for the backward.
    pub fn project(&self, layer: usize, block: Block, n: usize, x: Input, z: u64, y: u64) -> Result<()> {
        let (out, input) = block.shape(self.spec());
        let product = Product::of((n, out, input), self.view(x, input), self.weight(layer, block, true), View::rows(y, out));
        self.machine.product(&product)?;
        let Some(adapter) = &self.layers[layer].adapter else { return Ok(()) };
        let ((a, b), r) = (adapter[block as usize], self.rank);
        let wide = block.members().len() * r;
        let low = Product::of((n, wide, input), View::rows(x.rows, input), View::t(a, input), View::rows(z, wide));
        self.machine.product(&low)?;
        for Run { n: members, width, before, member } in block.runs(self.spec()) {
            let z = View::rows(z, wide).skip(member * r).step(r);
            let (b, y) = (View::t(b, r).skip(before * r).step(width * r), View::rows(y, out).skip(before).step(width));
            self.machine.product(&Product::of((n, width, r), z, b, y).scaled(self.scale).added(true).batch(members))?;
        }
        Ok(())
    }

    /// The slope of x by that of y: dx = g W + dz A, with dz = scale g B in `dz`'s place; to the adapter's gradients are added
    /// dA = dzᵀ x and dB = scale gᵀ z.
    #[allow(clippy::too_many_arguments)]
    pub fn project_back(
        &self,
        layer: usize,
        block: Block,
        n: usize,
        slope: Input,
        (x, z): (u64, u64),
        dz: u64,
        dx: u64,
        gradient: Gradient,
    ) -> Result<()> {
        let (out, input) = block.shape(self.spec());
        let back = Product::of((n, input, out), self.view(slope, out), self.weight(layer, block, false), View::rows(dx, input));
        self.machine.product(&back)?;
        let Some(adapter) = &self.layers[layer].adapter else { return Ok(()) };
        let ((a, b), r) = (adapter[block as usize], self.rank);
        let wide = block.members().len() * r;
        for Run { n: members, width, before, member } in block.runs(self.spec()) {
            let low = View::rows(dz, wide).skip(member * r).step(r);
            let b = View::rows(b, r).skip(before * r).step(width * r);
            let g = View::rows(slope.rows, out).skip(before).step(width);
            self.machine.product(&Product::of((n, r, width), g, b, low).scaled(self.scale).batch(members))?;
            let g = View::t(slope.rows, out).skip(before).step(width);
            let z = View::rows(z, wide).skip(member * r).step(r);
            let db = View::rows(gradient.b, r).skip(before * r).step(width * r);
            self.machine.product(&Product::of((width, r, n), g, z, db).scaled(self.scale).added(true).batch(members))?;
        }
        let da = View::rows(gradient.a, input);
        self.machine.product(&Product::of((wide, input, n), View::t(dz, wide), View::rows(x, input), da).added(true))?;
        let (dz, a) = (View::rows(dz, wide), View::rows(a, input));
        self.machine.product(&Product::of((n, input, wide), dz, a, View::rows(dx, input)).added(true))
    }

    /// A kernel of one block a row.
    pub fn by_row(&self, name: &'static str, n: usize, arguments: &[Argument]) -> Result<()> {
        self.machine.launch(name, (n, 1), arguments)
    }

    /// Rows of zeros.
    pub fn buffer(&self, rows: usize, width: usize, dtype: DType) -> Result<Buffer> {
        Buffer::new((rows, width), dtype, self.machine.device())
    }
}

/// Address of a block's matrices, which must follow each other.
fn side_by_side(model: &Gemma3, layer: usize, block: Block) -> Result<u64> {
    let mut first = None;
    let mut next = 0;
    for member in block.members() {
        let w = placed(model.projection(layer, *member))?;
        let at = address(w)?;
        if first.is_some() && at != next {
            bail!("the {} of layer {layer} does not follow the matrix before it", member.path());
        }
        first = first.or(Some(at));
        next = at + (w.elem_count() * w.dtype().size_in_bytes()) as u64;
    }
    first.ok_or_else(|| candle_core::Error::Msg("a block without members".into()))
}

/// A and B of every block, joined over its members.
fn joined(adapter: &AdapterView, layer: usize, held: &mut Vec<Tensor>) -> Result<[(u64, u64); 4]> {
    let mut at = [(0, 0); 4];
    for (at, block) in at.iter_mut().zip(Block::ALL) {
        let (a, b): (Vec<&Tensor>, Vec<&Tensor>) = block.members().iter().map(|p| adapter.pair(layer, *p)).unzip();
        let one = |parts: &[&Tensor]| if let [one] = parts { one.contiguous() } else { Tensor::cat(parts, 0) };
        let (a, b) = (one(&a)?.detach(), one(&b)?.detach());
        *at = (address(&a)?, address(&b)?);
        held.extend([a, b]);
    }
    Ok(at)
}
