//! Gemma 3, text tower, on flat token rows: embedding, layers, final norm. One page, top to bottom.
//!
//! Norms are `1 + w`; embeddings are scaled by sqrt(hidden); q and k are normed per head before rope; every block has a norm
//! before and after; five local layers (windowed, own rope base) precede each global one; the head is tied to the embedding.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{
    fused::{
        forward::Pass,
        layers::{Block, Layers},
    },
    kernels::buffer::Buffer,
    lora::{AdapterView, Projection},
    ops::{attention::Heads, logprob::Head, matrix::Matrix, rope::RopeTable, with_slice},
    place::{Ops, OverPlan, place_matrix},
    plan::Plan,
    portable::{product::placed, rows::Angles},
    spec::Spec,
    weights::Weights,
};

/// Merged copies of the projections larger than this are not made, bytes: making one reads and writes all of them, which a larger model
/// gets back only after hundreds of tokens.
pub const MERGE_BELOW: usize = 128 << 20;

/// One decoder layer's weights; projections are (out, in).
#[derive(Clone, Debug)]
struct Layer {
    projections: [Matrix; 7],
    input_norm: Tensor,
    post_attention_norm: Tensor,
    pre_feedforward_norm: Tensor,
    post_feedforward_norm: Tensor,
    q_norm: Tensor,
    k_norm: Tensor,
    global: bool,
}

impl Layer {
    /// Puts the matrices of a block into one, of which each is then a part.
    fn join(&mut self, block: Block) -> Result<()> {
        let members = block.members();
        if members.len() < 2 {
            return Ok(());
        }
        let parts = members.iter().map(|p| placed(&self.projections[*p as usize])).collect::<Result<Vec<_>>>()?;
        let rows = parts.iter().map(|w| w.dim(0)).collect::<Result<Vec<_>>>()?;
        let whole = Tensor::cat(&parts, 0)?;
        let mut first = 0;
        for (p, n) in members.iter().zip(rows) {
            self.projections[*p as usize] = Matrix::Placed(whole.narrow(0, first, n)?);
            first += n;
        }
        Ok(())
    }
}

/// One layer's norm weights as plain values.
pub struct Norms {
    pub input: Vec<f32>,
    pub post_attention: Vec<f32>,
    pub pre_feedforward: Vec<f32>,
    pub post_feedforward: Vec<f32>,
    /// (head_dim)
    pub q: Vec<f32>,
    pub k: Vec<f32>,
}

/// The model. Weights are trainable exactly where the tensors it was built from are variables. A clone shares them.
#[derive(Clone, Debug)]
pub struct Gemma3 {
    pub spec: Spec,
    embedding: Matrix,
    layers: Vec<Layer>,
    final_norm: Tensor,
    rope_local: Arc<Angles>,
    rope_global: Arc<Angles>,
    device: Device,
    ops: Ops,
}

/// Computes one layer's attention output from its rotated q, k and its v: over a plan in training, over caches in decoding.
pub trait Attend {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor>;
}

impl Gemma3 {
    /// Builds the model. `n_positions` bounds sequence length (and the rope tables, which all layers share).
    pub fn new(spec: Spec, weights: &Weights, n_positions: usize) -> anyhow::Result<Gemma3> {
        let (h, hd) = (spec.hidden_size, spec.head_dim);
        let embedding = weights.matrix("embed_tokens.weight", (spec.vocab_size, h))?;
        let mut layers = Vec::with_capacity(spec.n_layers());
        for (i, global) in spec.global_layers.iter().enumerate() {
            let norm = |name: &str, len: usize| weights.vector(&format!("layers.{i}.{name}.weight"), len);
            let projection = |p: Projection| weights.matrix(&format!("layers.{i}.{}.weight", p.path()), p.shape(&spec));
            layers.push(Layer {
                projections: [
                    projection(Projection::Q)?,
                    projection(Projection::K)?,
                    projection(Projection::V)?,
                    projection(Projection::O)?,
                    projection(Projection::Gate)?,
                    projection(Projection::Up)?,
                    projection(Projection::Down)?,
                ],
                input_norm: norm("input_layernorm", h)?,
                post_attention_norm: norm("post_attention_layernorm", h)?,
                pre_feedforward_norm: norm("pre_feedforward_layernorm", h)?,
                post_feedforward_norm: norm("post_feedforward_layernorm", h)?,
                q_norm: norm("self_attn.q_norm", hd)?,
                k_norm: norm("self_attn.k_norm", hd)?,
                global: *global,
            });
        }
        let n_positions = n_positions.min(spec.max_positions);
        let angles = |theta, scale| Arc::new(Angles::new(Arc::new(RopeTable::new(hd, theta, scale, n_positions))));
        Ok(Gemma3 {
            final_norm: weights.vector("norm.weight", h)?,
            rope_local: angles(spec.rope_theta_local, 1.0),
            rope_global: angles(spec.rope_theta_global, spec.rope_scale_global),
            device: Device::Cpu,
            ops: Ops::Cpu,
            embedding,
            layers,
            spec,
        })
    }

    /// The same model on another device or by other operations; frozen weights only.
    pub fn moved(mut self, device: &Device, ops: Ops) -> Result<Gemma3> {
        if ops == Ops::Cpu {
            return Ok(self);
        }
        self.embedding = place_matrix(&self.embedding, device)?;
        let beside = ops.kernels().is_some();
        self.final_norm = self.final_norm.to_device(device)?;
        for layer in &mut self.layers {
            for projection in &mut layer.projections {
                *projection = place_matrix(projection, device)?;
            }
            if beside {
                for block in Block::ALL {
                    layer.join(block)?;
                }
            }
            for norm in [
                &mut layer.input_norm,
                &mut layer.post_attention_norm,
                &mut layer.pre_feedforward_norm,
                &mut layer.post_feedforward_norm,
                &mut layer.q_norm,
                &mut layer.k_norm,
            ] {
                *norm = norm.to_device(device)?;
            }
        }
        (self.device, self.ops) = (device.clone(), ops);
        Ok(self)
    }

    pub fn ops(&self) -> Ops {
        self.ops
    }

    /// What keys and values are kept in on a device: bf16 where the weights are.
    pub fn cache_dtype(&self) -> DType {
        match &self.layers[0].projections[0] {
            Matrix::Placed(w) => w.dtype(),
            _ => DType::F32,
        }
    }

    /// Sequences longer than this are refused.
    pub fn n_positions(&self) -> usize {
        self.rope_global.table().n_positions()
    }

    /// Attention over the rows of `plan`, for all layers of a forward.
    pub fn over(&self, plan: &Arc<Plan>) -> OverPlan {
        self.ops.over(plan)
    }

    /// Bytes the frozen weights take as they are kept.
    pub fn weight_bytes(&self) -> usize {
        self.embedding.n_bytes() + self.layers.iter().flat_map(|l| &l.projections).map(Matrix::n_bytes).sum::<usize>()
    }

    /// The model with an adapter added to its projections, for drawing: everything else is shared. `None` where weights are not kept
    /// in f32, or where the copy would be large, or on a GPU.
    pub fn merged(&self, adapter: &AdapterView) -> Result<Option<Gemma3>> {
        let bytes = self.layers.iter().flat_map(|l| &l.projections).map(Matrix::n_bytes).sum::<usize>();
        if self.ops != Ops::Cpu || bytes > MERGE_BELOW {
            return Ok(None);
        }
        let mut merged = self.clone();
        for (i, layer) in merged.layers.iter_mut().enumerate() {
            for p in Projection::ALL {
                let ((a, b), w) = (adapter.pair(i, p), &self.layers[i].projections[p as usize]);
                match with_slice(a, |a| with_slice(b, |b| w.merged(a, b, adapter.scale)))? {
                    Some(sum) => layer.projections[p as usize] = sum,
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(merged))
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Token ids of all rows of `plan` → final hidden states (N, H), ready for the head.
    pub fn forward(&self, ids: &[u32], plan: &Arc<Plan>, adapter: Option<&AdapterView>) -> Result<Tensor> {
        match self.ops.kernels() {
            Some(kernels) => Pass::new(&Layers::new(self, adapter, kernels)?, ids, plan)?.hidden(None),
            None => self.forward_with(ids, plan.positions(), adapter, &mut self.over(plan)),
        }
    }

    /// The same with attention supplied by the caller; `positions` has one entry a row.
    pub fn forward_with(
        &self,
        ids: &[u32],
        positions: Arc<Vec<u32>>,
        adapter: Option<&AdapterView>,
        attend: &mut dyn Attend,
    ) -> Result<Tensor> {
        let mut x = self.embed(ids)?; // (N, H)
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, &positions, adapter, attend)?;
        }
        self.finish(&x)
    }

    /// What every layer of the base model reads, (N, H) each: the scaled embeddings, then what the layer before left.
    pub fn inputs(&self, ids: &[u32], plan: &Arc<Plan>) -> Result<Vec<Tensor>> {
        if let Some(kernels) = self.ops.kernels() {
            let layers = Layers::new(self, None, kernels)?;
            let mut inputs = Pass::new(&layers, ids, plan)?.inputs()?;
            inputs.truncate(self.layers.len());
            return Ok(inputs.into_iter().map(Buffer::into_tensor).collect());
        }
        let (positions, mut over) = (plan.positions(), self.over(plan));
        let mut inputs = vec![self.embed(ids)?];
        for i in 1..self.layers.len() {
            inputs.push(self.layer(i - 1, &inputs[i - 1], &positions, None, &mut over)?);
        }
        Ok(inputs)
    }

    /// The norm between the last layer and the head, (N, H) → (N, H).
    pub fn finish(&self, x: &Tensor) -> Result<Tensor> {
        self.norm(x, &self.final_norm)
    }

    /// Scaled embeddings as plain rows into `rows` (N, H), whatever was in it; frozen weights only.
    pub fn embed_rows(&self, ids: &[u32], rows: &mut Vec<f32>) -> Result<()> {
        rows.clear();
        self.embedding.gather(ids, rows)?;
        let scale = (self.spec.hidden_size as f64).sqrt() as f32;
        rows.iter_mut().for_each(|x| *x *= scale);
        Ok(())
    }

    /// cos and sin (positions, half) of a kind of layer, on the model's device.
    pub fn angles(&self, global: bool) -> Result<(Tensor, Tensor)> {
        let angles = if global { &self.rope_global } else { &self.rope_local };
        angles.whole(&self.device)
    }

    /// Fails where a position is beyond what the model was opened for.
    pub fn check_positions(&self, positions: &[u32]) -> Result<()> {
        self.rope_global.table().check(positions)
    }

    pub fn embedding(&self) -> &Matrix {
        &self.embedding
    }

    pub fn final_norm_weight(&self) -> &Tensor {
        &self.final_norm
    }

    /// A layer's norms: input, after attention, before and after the feed-forward, queries, keys.
    pub fn norm_weights(&self, layer: usize) -> [&Tensor; 6] {
        let layer = &self.layers[layer];
        [
            &layer.input_norm,
            &layer.post_attention_norm,
            &layer.pre_feedforward_norm,
            &layer.post_feedforward_norm,
            &layer.q_norm,
            &layer.k_norm,
        ]
    }

    /// The final norm's weight.
    pub fn final_norm(&self) -> Result<Vec<f32>> {
        self.final_norm.to_vec1()
    }

    /// The head over `n` plain rows of hidden states.
    pub fn head(&self, n: usize, targets: &[u32], temperature: f32) -> Result<Head> {
        Head::new(n, &self.embedding, targets, temperature)
    }

    /// Logits of plain rows of hidden states (N, H) into `out` (N, V).
    pub fn logits_into(&self, hidden: &[f32], out: &mut [f32]) -> Result<()> {
        self.embedding.features_into(hidden, 0..self.spec.vocab_size, 1.0, out)
    }

    /// Scaled embeddings (N, H).
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = match (&self.embedding, self.embedding.variable()) {
            (Matrix::Placed(table), _) | (_, Some(table)) => {
                table.index_select(&Tensor::new(ids, &self.device)?, 0)?.to_dtype(DType::F32)?
            }
            (_, None) => {
                let mut rows = Vec::new();
                self.embedding.gather(ids, &mut rows)?;
                Tensor::from_vec(rows, (ids.len(), self.spec.hidden_size), &self.device)?
            }
        };
        rows * (self.spec.hidden_size as f64).sqrt()
    }

    /// One decoder layer, (N, H) → (N, H).
    pub fn layer(
        &self,
        i: usize,
        x: &Tensor,
        positions: &Arc<Vec<u32>>,
        adapter: Option<&AdapterView>,
        attend: &mut dyn Attend,
    ) -> Result<Tensor> {
        let layer = &self.layers[i];
        let project = |p: Projection, x: &Tensor| self.project(i, p, x, adapter);
        let table = if layer.global { &self.rope_global } else { &self.rope_local };

        let h = self.norm(x, &layer.input_norm)?;
        let turned = |p: Projection, norm: &Tensor| self.ops.rope(&self.norm(&project(p, &h)?, norm)?, table, positions);
        let q = turned(Projection::Q, &layer.q_norm)?; // (N, heads * hd)
        let k = turned(Projection::K, &layer.k_norm)?; // (N, kv heads * hd)
        let v = project(Projection::V, &h)?;
        let mixed = attend.attend(i, &q, &k, &v, self.heads(layer.global))?;
        let x = self.add_normed(x, &project(Projection::O, &mixed)?, &layer.post_attention_norm)?;

        let h = self.norm(&x, &layer.pre_feedforward_norm)?;
        let h = self.ops.geglu(&project(Projection::Gate, &h)?, &project(Projection::Up, &h)?)?; // (N, F)
        self.add_normed(&x, &project(Projection::Down, &h)?, &layer.post_feedforward_norm)
    }

    /// Log-prob, entropy and log-sum-exp (3, N) of `targets` given final hidden states (N, H).
    pub fn logprobs(&self, hidden: &Tensor, targets: &[u32], temperature: f32) -> Result<Tensor> {
        self.ops.logprobs(hidden, &self.embedding, targets, temperature)
    }

    /// Whole logits (N, V): for the sampler and for parity, never for training.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.ops.linear(hidden, &self.embedding)
    }

    /// The frozen matrix of a projection.
    pub fn projection(&self, layer: usize, projection: Projection) -> &Matrix {
        &self.layers[layer].projections[projection as usize]
    }

    pub fn norms(&self, layer: usize) -> Result<Norms> {
        let layer = &self.layers[layer];
        Ok(Norms {
            input: layer.input_norm.to_vec1()?,
            post_attention: layer.post_attention_norm.to_vec1()?,
            pre_feedforward: layer.pre_feedforward_norm.to_vec1()?,
            post_feedforward: layer.post_feedforward_norm.to_vec1()?,
            q: layer.q_norm.to_vec1()?,
            k: layer.k_norm.to_vec1()?,
        })
    }

    pub fn rope_table(&self, layer: usize) -> &RopeTable {
        if self.layers[layer].global { self.rope_global.table() } else { self.rope_local.table() }
    }

    pub fn layer_heads(&self, layer: usize) -> Heads {
        self.heads(self.layers[layer].global)
    }

    fn heads(&self, global: bool) -> Heads {
        Heads {
            n_heads: self.spec.n_heads,
            n_kv_heads: self.spec.n_kv_heads,
            head_dim: self.spec.head_dim,
            scale: (1.0 / self.spec.query_pre_attn_scalar.sqrt()) as f32,
            window: if global { None } else { Some(self.spec.sliding_window) },
        }
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.ops.rms_norm(x, weight, self.spec.norm_eps as f32)
    }

    fn add_normed(&self, x: &Tensor, y: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.ops.add_normed(x, y, weight, self.spec.norm_eps as f32)
    }

    fn project(&self, layer: usize, projection: Projection, x: &Tensor, adapter: Option<&AdapterView>) -> Result<Tensor> {
        let w = &self.layers[layer].projections[projection as usize];
        match adapter.map(|adapter| (adapter.pair(layer, projection), adapter.scale)) {
            Some(((a, b), scale)) => self.ops.lora_linear(x, w, a, b, scale),
            None => self.ops.linear(x, w),
        }
    }
}
