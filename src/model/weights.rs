//! Checkpoint tensors of the text tower by their bare names (`layers.0.mlp.up_proj.weight`), whatever prefix a file uses.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;

use super::{random, spec::Spec};

/// Prefixes seen in published and saved checkpoints; towers under other names are skipped.
const PREFIXES: [&str; 3] = ["language_model.model.", "model.language_model.", "model."];
const SKIPPED: [&str; 5] =
    ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.", "lm_head."];

/// Named tensors, all f32 on the CPU for now.
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    source: String,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards named by `model.safetensors.index.json`, from a model folder.
    pub fn load_dir(dir: &Path, device: &Device) -> Result<Weights> {
        let mut weights = Weights { tensors: HashMap::new(), source: dir.display().to_string() };
        for path in shard_paths(dir)? {
            let tensors =
                candle_core::safetensors::load(&path, device).with_context(|| format!("cannot read {}", path.display()))?;
            weights.add(tensors)?;
        }
        ensure!(!weights.tensors.is_empty(), "{} holds no Gemma 3 text weights", dir.display());
        Ok(weights)
    }

    /// Reads one safetensors buffer.
    pub fn from_bytes(bytes: &[u8], source: &str, device: &Device) -> Result<Weights> {
        let mut weights = Weights { tensors: HashMap::new(), source: source.to_owned() };
        weights.add(candle_core::safetensors::load_buffer(bytes, device).with_context(|| format!("in {source}"))?)?;
        Ok(weights)
    }

    fn add(&mut self, tensors: HashMap<String, Tensor>) -> Result<()> {
        for (key, tensor) in tensors {
            if SKIPPED.iter().any(|s| key.starts_with(s)) {
                continue;
            }
            let bare = PREFIXES
                .iter()
                .find_map(|p| key.strip_prefix(p))
                .with_context(|| format!("{}: unknown tensor {key}", self.source))?;
            self.tensors.insert(bare.to_owned(), tensor.to_dtype(DType::F32)?);
        }
        Ok(())
    }

    /// Looks a tensor up and checks its shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.tensors.get(name).with_context(|| format!("{} has no tensor {name}", self.source))?;
        ensure!(tensor.dims() == shape, "{}: {name} is {:?}, its configuration says {shape:?}", self.source, tensor.dims());
        Ok(tensor.clone())
    }

    /// Fresh trainable weights for pretraining: normal with standard deviation 0.02 (projections into the residual stream
    /// smaller by sqrt(2 layers)), norms zero (that is, factor one). Returns the variables by bare name too.
    pub fn fresh(spec: &Spec, seed: u64, device: &Device) -> Result<(Weights, Vec<(String, Var)>)> {
        let mut vars = Vec::new();
        for (index, (name, shape)) in names(spec).into_iter().enumerate() {
            let n = shape.iter().product();
            let values = match weight_std(spec, &name) {
                Some(std) => random::normal(seed, index as u64, n, std),
                None => vec![0f32; n],
            };
            vars.push((name, Var::from_tensor(&Tensor::from_vec(values, shape, device)?)?));
        }
        let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        Ok((Weights { tensors, source: "fresh weights".into() }, vars))
    }
}

fn weight_std(spec: &Spec, name: &str) -> Option<f32> {
    if name.contains("norm") {
        return None;
    }
    let residual = name.contains("o_proj") || name.contains("down_proj");
    Some(if residual { 0.02 / (2.0 * spec.n_layers() as f32).sqrt() } else { 0.02 })
}

/// Every tensor of the text tower with its shape, in a fixed order.
pub fn names(spec: &Spec) -> Vec<(String, Vec<usize>)> {
    let h = spec.hidden_size;
    let mut names = vec![("embed_tokens.weight".to_owned(), vec![spec.vocab_size, h]), ("norm.weight".to_owned(), vec![h])];
    for i in 0..spec.n_layers() {
        for projection in super::lora::Projection::ALL {
            let (out, input) = projection.shape(spec);
            names.push((format!("layers.{i}.{}.weight", projection.path()), vec![out, input]));
        }
        for norm in ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"] {
            names.push((format!("layers.{i}.{norm}.weight"), vec![h]));
        }
        for norm in ["self_attn.q_norm", "self_attn.k_norm"] {
            names.push((format!("layers.{i}.{norm}.weight"), vec![spec.head_dim]));
        }
    }
    names
}

fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    if single.exists() {
        return Ok(vec![single]);
    }
    let text = std::fs::read_to_string(&index)
        .with_context(|| format!("{} has neither model.safetensors nor model.safetensors.index.json", dir.display()))?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", index.display()))?;
    let map =
        json.get("weight_map").and_then(Value::as_object).with_context(|| format!("{} has no weight_map", index.display()))?;
    let mut files: Vec<String> = map.values().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    files.sort();
    files.dedup();
    for file in &files {
        ensure!(!file.contains(['/', '\\']), "{}: shard name {file:?} leaves the model folder", index.display());
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}
