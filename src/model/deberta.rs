//! DeBERTa, the first version (microsoft/deberta-xlarge-mnli is one; candle-transformers has the second only): its lower layers, forward,
//! one sentence at a time. Formulas: transformers `modeling_deberta.py`, disentangled attention of content and relative position.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, DType, Device, Module, Tensor, pickle::PthTensors, safetensors};
use serde::Deserialize;

/// The parts of `config.json` that matter; what is not supported is refused.
#[derive(Clone, Debug, Deserialize)]
struct Shape {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    #[serde(default = "unset")]
    max_relative_positions: i64,
    layer_norm_eps: f64,
    hidden_act: String,
    relative_attention: bool,
    position_biased_input: bool,
    type_vocab_size: usize,
    #[serde(default)]
    talking_head: bool,
    embedding_size: Option<usize>,
    pos_att_type: PositionTerms,
}

fn unset() -> i64 {
    -1
}

/// Written `"c2p|p2c"` or as a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum PositionTerms {
    Text(String),
    List(Vec<String>),
}

impl PositionTerms {
    fn has_both(&self) -> bool {
        let has = |term: &str| match self {
            PositionTerms::Text(text) => text.split('|').any(|t| t.trim() == term),
            PositionTerms::List(list) => list.iter().any(|t| t == term),
        };
        has("c2p") && has("p2c")
    }
}

/// The file with the weights, as downloaded.
enum Weights {
    Safetensors(HashMap<String, Tensor>, PathBuf),
    /// A zip of tensors; nothing in it is executed.
    Pickle(PthTensors, PathBuf),
}

impl Weights {
    fn open(dir: &Path) -> Result<Weights> {
        let (safe, pickle) = (dir.join("model.safetensors"), dir.join("pytorch_model.bin"));
        if safe.is_file() {
            let tensors = safetensors::load(&safe, &Device::Cpu).with_context(|| format!("cannot read {}", safe.display()))?;
            return Ok(Weights::Safetensors(tensors, safe));
        }
        ensure!(
            pickle.is_file(),
            "{} has neither model.safetensors nor pytorch_model.bin; give the folder of a DeBERTa model",
            dir.display()
        );
        let tensors = PthTensors::new(&pickle, None).with_context(|| format!("cannot read {}", pickle.display()))?;
        Ok(Weights::Pickle(tensors, pickle))
    }

    /// A tensor of this shape, widened to f32; with or without the prefix that a classifier's file has.
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (path, mut found) = match self {
            Weights::Safetensors(_, path) | Weights::Pickle(_, path) => (path, None),
        };
        for name in [format!("deberta.{name}"), name.to_owned()] {
            found = match self {
                Weights::Safetensors(tensors, _) => tensors.get(&name).cloned(),
                Weights::Pickle(tensors, _) => tensors.get(&name)?,
            };
            if found.is_some() {
                break;
            }
        }
        let tensor = found.with_context(|| format!("{} has no tensor {name}", path.display()))?;
        ensure!(tensor.dims() == shape, "{}: {name} is {:?}, expected {shape:?}", path.display(), tensor.dims());
        Ok(tensor.to_dtype(DType::F32)?)
    }
}

struct Linear {
    /// (in, out).
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn load(weights: &Weights, name: &str, n_in: usize, n_out: usize, with_bias: bool) -> Result<Linear> {
        let weight = weights.get(&format!("{name}.weight"), &[n_out, n_in])?.t()?.contiguous()?;
        let bias = if with_bias { Some(weights.get(&format!("{name}.bias"), &[n_out])?) } else { None };
        Ok(Linear { weight, bias })
    }
}

impl Module for Linear {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let out = xs.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => out.broadcast_add(bias),
            None => Ok(out),
        }
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    fn load(weights: &Weights, name: &str, shape: &Shape) -> Result<Norm> {
        let get = |part: &str| weights.get(&format!("{name}.{part}"), &[shape.hidden_size]);
        Ok(Norm { weight: get("weight")?, bias: get("bias")?, eps: shape.layer_norm_eps })
    }

    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let centred = xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        normed.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Layer {
    in_proj: Linear,
    q_bias: Tensor,
    v_bias: Tensor,
    pos_key: Linear,
    pos_query: Linear,
    out: Linear,
    out_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

impl Layer {
    fn load(weights: &Weights, at: usize, shape: &Shape) -> Result<Layer> {
        let h = shape.hidden_size;
        let name = |part: &str| format!("encoder.layer.{at}.{part}");
        let up_bias = name("intermediate.dense.bias");
        // The width of the feed-forward is whatever the file has.
        let n_up = match weights {
            Weights::Safetensors(tensors, _) => {
                tensors.get(&format!("deberta.{up_bias}")).or(tensors.get(&up_bias)).map(Tensor::elem_count)
            }
            Weights::Pickle(tensors, _) => {
                let infos = tensors.tensor_infos();
                infos.get(&format!("deberta.{up_bias}")).or(infos.get(&up_bias)).map(|info| info.layout.shape().elem_count())
            }
        };
        let n_up = n_up.with_context(|| format!("the weights have no {up_bias}"))?;
        Ok(Layer {
            in_proj: Linear::load(weights, &name("attention.self.in_proj"), h, 3 * h, false)?,
            q_bias: weights.get(&name("attention.self.q_bias"), &[h])?,
            v_bias: weights.get(&name("attention.self.v_bias"), &[h])?,
            pos_key: Linear::load(weights, &name("attention.self.pos_proj"), h, h, false)?,
            pos_query: Linear::load(weights, &name("attention.self.pos_q_proj"), h, h, true)?,
            out: Linear::load(weights, &name("attention.output.dense"), h, h, true)?,
            out_norm: Norm::load(weights, &name("attention.output.LayerNorm"), shape)?,
            up: Linear::load(weights, &name("intermediate.dense"), h, n_up, true)?,
            down: Linear::load(weights, &name("output.dense"), n_up, h, true)?,
            down_norm: Norm::load(weights, &name("output.LayerNorm"), shape)?,
        })
    }

    /// `positions` are the embeddings of the relative distances -n to n - 1.
    fn forward(&self, xs: &Tensor, positions: &Tensor, n_heads: usize) -> Result<Tensor> {
        let attended = self.attend(xs, positions, n_heads)?;
        let xs = self.out_norm.forward(&(self.out.forward(&attended)? + xs)?)?;
        let wide = self.up.forward(&xs)?.gelu_erf()?;
        Ok(self.down_norm.forward(&(self.down.forward(&wide)? + xs)?)?)
    }

    fn attend(&self, xs: &Tensor, positions: &Tensor, n_heads: usize) -> Result<Tensor> {
        let (n, hidden) = xs.dims2()?;
        let width = hidden / n_heads;
        let heads = |xs: &Tensor| -> Result<Tensor> {
            let rows = xs.dim(0)?;
            Ok(xs.reshape((rows, n_heads, width))?.transpose(0, 1)?.contiguous()?)
        };
        // Query, key and value of a head lie together.
        let all = self.in_proj.forward(xs)?.reshape((n, n_heads, 3 * width))?.transpose(0, 1)?.contiguous()?;
        let part = |i: usize| all.narrow(2, i * width, width);
        let bias = |bias: &Tensor| bias.reshape((n_heads, 1, width));
        // One term for the content and one for each of the two positions.
        let scale = 1.0 / (3.0 * width as f64).sqrt();
        let query = (part(0)?.broadcast_add(&bias(&self.q_bias)?)? * scale)?;
        let key = part(1)?.contiguous()?;
        let value = part(2)?.broadcast_add(&bias(&self.v_bias)?)?;

        let content = query.matmul(&key.transpose(1, 2)?.contiguous()?)?;
        let pos_key = heads(&self.pos_key.forward(positions)?)?;
        let pos_query = (heads(&self.pos_query.forward(positions)?)? * scale)?;
        let to_position = query.matmul(&pos_key.transpose(1, 2)?.contiguous()?)?;
        let from_position = key.matmul(&pos_query.transpose(1, 2)?.contiguous()?)?;
        let to_position = to_position.gather(&distances(n, n_heads, |row, column| row - column)?, D::Minus1)?;
        let from_position = from_position.gather(&distances(n, n_heads, |row, column| column - row)?, D::Minus1)?;
        let scores = ((content + to_position)? + from_position.transpose(1, 2)?)?;

        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let shares = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        Ok(shares.matmul(&value.contiguous()?)?.transpose(0, 1)?.reshape((n, hidden))?)
    }
}

/// For every head the place of each pair's distance among the 2n of [`Layer::forward`].
fn distances(n: usize, n_heads: usize, of: impl Fn(i64, i64) -> i64) -> Result<Tensor> {
    let n = n as i64;
    let one: Vec<u32> = (0..n)
        .flat_map(|row| (0..n).map(move |column| (row, column)))
        .map(|(row, column)| (of(row, column) + n) as u32)
        .collect();
    let n = n as usize;
    Ok(Tensor::from_vec(one, (1, n, n), &Device::Cpu)?.broadcast_as((n_heads, n, n))?.contiguous()?)
}

/// The lower layers of a DeBERTa.
pub struct Deberta {
    words: Tensor,
    norm: Norm,
    distances: Tensor,
    layers: Vec<Layer>,
    n_heads: usize,
    /// Tokens of a sentence at most, the two special ones included.
    pub max_tokens: usize,
}

impl Deberta {
    /// Loads the first `n_layers` of the model in a folder (config.json and model.safetensors or pytorch_model.bin), as f32.
    pub fn load(dir: &Path, n_layers: usize) -> Result<Deberta> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shape: Shape =
            serde_json::from_str(&text).with_context(|| format!("{} is no configuration of DeBERTa", path.display()))?;
        check(&shape, &path)?;
        ensure!(
            (1..=shape.num_hidden_layers).contains(&n_layers),
            "{} has {} layers; layer {n_layers} is asked for",
            path.display(),
            shape.num_hidden_layers
        );
        let weights = Weights::open(dir)?;
        let h = shape.hidden_size;
        let reach =
            usize::try_from(shape.max_relative_positions).ok().filter(|n| *n > 0).unwrap_or(shape.max_position_embeddings);
        Ok(Deberta {
            words: weights.get("embeddings.word_embeddings.weight", &[shape.vocab_size, h])?,
            norm: Norm::load(&weights, "embeddings.LayerNorm", &shape)?,
            distances: weights.get("encoder.rel_embeddings.weight", &[2 * reach, h])?,
            layers: (0..n_layers).map(|at| Layer::load(&weights, at, &shape)).collect::<Result<_>>()?,
            n_heads: shape.num_attention_heads,
            max_tokens: shape.max_position_embeddings.min(reach),
        })
    }

    /// The last loaded layer's output for one sentence: one row of `hidden_size` a token.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        ensure!(!ids.is_empty() && ids.len() <= self.max_tokens, "{} tokens; 1 to {} can be read", ids.len(), self.max_tokens);
        let n = ids.len();
        let positions = self.distances.narrow(0, self.distances.dim(0)? / 2 - n, 2 * n)?.contiguous()?;
        let mut xs = self.norm.forward(&self.words.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?)?;
        for layer in &self.layers {
            xs = layer.forward(&xs, &positions, self.n_heads)?;
        }
        Ok(xs)
    }
}

fn check(shape: &Shape, path: &Path) -> Result<()> {
    let refuse = |what: &str| bail!("{}: {what}; expected a model like microsoft/deberta-xlarge-mnli", path.display());
    if shape.model_type != "deberta" {
        return refuse(&format!("model_type is {:?}, not \"deberta\"", shape.model_type));
    }
    let is_plain = shape.relative_attention
        && !shape.position_biased_input
        && shape.type_vocab_size == 0
        && !shape.talking_head
        && shape.embedding_size.is_none_or(|n| n == shape.hidden_size);
    if !is_plain || !shape.pos_att_type.has_both() {
        return refuse("only relative positions of both kinds (c2p and p2c), without absolute ones, are supported");
    }
    if shape.hidden_act != "gelu" {
        return refuse(&format!("hidden_act is {:?}, not \"gelu\"", shape.hidden_act));
    }
    if shape.num_attention_heads == 0 || !shape.hidden_size.is_multiple_of(shape.num_attention_heads) {
        return refuse("the heads do not divide hidden_size");
    }
    Ok(())
}
