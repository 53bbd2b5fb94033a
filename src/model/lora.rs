//! The LoRA adapter on all seven projections: the only thing a run trains. Files are PEFT's, names and all.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde_json::{Value, json};

use super::{random, spec::Spec};

/// The adapted projections of a layer, in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    pub const ALL: [Projection; 7] =
        [Projection::Q, Projection::K, Projection::V, Projection::O, Projection::Gate, Projection::Up, Projection::Down];

    /// The module path inside a layer, as transformers names it.
    pub fn path(self) -> &'static str {
        match self {
            Projection::Q => "self_attn.q_proj",
            Projection::K => "self_attn.k_proj",
            Projection::V => "self_attn.v_proj",
            Projection::O => "self_attn.o_proj",
            Projection::Gate => "mlp.gate_proj",
            Projection::Up => "mlp.up_proj",
            Projection::Down => "mlp.down_proj",
        }
    }

    /// (out, in) features.
    pub fn shape(self, spec: &Spec) -> (usize, usize) {
        let (h, q, kv) = (spec.hidden_size, spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim);
        match self {
            Projection::Q => (q, h),
            Projection::K | Projection::V => (kv, h),
            Projection::O => (h, q),
            Projection::Gate | Projection::Up => (spec.intermediate_size, h),
            Projection::Down => (h, spec.intermediate_size),
        }
    }
}

/// Trainable A (r, in) and B (out, r) for every projection of every layer.
#[derive(Debug)]
pub struct Adapter {
    pub rank: usize,
    pub alpha: f64,
    /// (PEFT key without prefix, variable), A before B, by layer and projection.
    vars: Vec<(String, Var)>,
}

/// An adapter as the forward takes it.
pub struct AdapterView {
    tensors: Vec<Tensor>,
    pub scale: f32,
}

impl AdapterView {
    /// (A, B) of one projection.
    pub fn pair(&self, layer: usize, projection: Projection) -> (&Tensor, &Tensor) {
        let at = 2 * (layer * Projection::ALL.len() + projection as usize);
        (&self.tensors[at], &self.tensors[at + 1])
    }
}

/// Calls `f` for A then B of every projection: key without prefix, shape.
fn each_matrix(spec: &Spec, rank: usize, mut f: impl FnMut(String, (usize, usize)) -> Result<()>) -> Result<()> {
    for layer in 0..spec.n_layers() {
        for projection in Projection::ALL {
            let (out, input) = projection.shape(spec);
            let path = format!("layers.{layer}.{}", projection.path());
            f(format!("{path}.lora_A.weight"), (rank, input))?;
            f(format!("{path}.lora_B.weight"), (out, rank))?;
        }
    }
    Ok(())
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1/sqrt(in) (PEFT's kaiming_uniform with a = sqrt 5), B zero, so that it changes nothing yet.
    pub fn new(spec: &Spec, rank: usize, alpha: f64, seed: u64, device: &Device) -> Result<Adapter> {
        let mut vars = Vec::new();
        each_matrix(spec, rank, |key, shape| {
            let values = if key.ends_with("lora_A.weight") {
                let bound = 1.0 / (shape.1 as f32).sqrt();
                random::uniform(seed, vars.len() as u64, shape.0 * shape.1, bound)
            } else {
                vec![0f32; shape.0 * shape.1]
            };
            vars.push((key, Var::from_tensor(&Tensor::from_vec(values, shape, device)?)?));
            Ok(())
        })?;
        Ok(Adapter { rank, alpha, vars })
    }

    /// Reads a PEFT adapter folder; any of PEFT's three key prefixes is accepted.
    pub fn load(spec: &Spec, dir: &Path, device: &Device) -> Result<Adapter> {
        let (rank, alpha) = read_config(&dir.join("adapter_config.json"))?;
        let path = dir.join("adapter_model.safetensors");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read the adapter {}", path.display()))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, device).with_context(|| format!("in {}", path.display()))?;
        let mut by_suffix: HashMap<String, Tensor> = HashMap::new();
        for (key, tensor) in tensors {
            let at = key.find("layers.").with_context(|| format!("{}: unknown tensor {key}", path.display()))?;
            by_suffix.insert(key[at..].to_owned(), tensor);
        }
        let mut vars = Vec::new();
        each_matrix(spec, rank, |key, shape| {
            let tensor = by_suffix.remove(&key).with_context(|| format!("{} has no {key}", path.display()))?;
            ensure!(tensor.dims() == [shape.0, shape.1], "{}: {key} is {:?}, expected {shape:?}", path.display(), tensor.dims());
            vars.push((key, Var::from_tensor(&tensor.to_dtype(DType::F32)?)?));
            Ok(())
        })?;
        ensure!(by_suffix.is_empty(), "{} has {} tensors this model has no place for", path.display(), by_suffix.len());
        Ok(Adapter { rank, alpha, vars })
    }

    /// Writes PEFT's two files into `dir`, which must exist. Refuses non-finite values.
    pub fn save(&self, dir: &Path, base_model: &str) -> Result<()> {
        let mut tensors = HashMap::new();
        for (key, var) in &self.vars {
            ensure!(is_finite(var)?, "{key} holds a value that is not finite; the adapter was not saved");
            tensors.insert(format!("base_model.model.model.{key}"), var.as_tensor().clone());
        }
        candle_core::safetensors::save(&tensors, dir.join("adapter_model.safetensors"))?;
        let config = serde_json::to_vec_pretty(&self.config(base_model))?;
        std::fs::write(dir.join("adapter_config.json"), config).with_context(|| format!("cannot write into {}", dir.display()))
    }

    fn config(&self, base_model: &str) -> Value {
        let modules: Vec<&str> = Projection::ALL.iter().filter_map(|p| p.path().rsplit('.').next()).collect();
        json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_model, "r": self.rank,
            "lora_alpha": self.alpha, "lora_dropout": 0.0, "bias": "none", "use_rslora": false, "use_dora": false,
            "fan_in_fan_out": false, "inference_mode": true, "modules_to_save": null, "target_modules": modules,
        })
    }

    /// The matrices with their gradients tracked, for the update.
    pub fn tracked(&self) -> AdapterView {
        AdapterView { tensors: self.vars.iter().map(|(_, v)| v.as_tensor().clone()).collect(), scale: self.scale() }
    }

    /// The same matrices without a graph, for generation.
    pub fn frozen(&self) -> AdapterView {
        AdapterView { tensors: self.vars.iter().map(|(_, v)| v.as_tensor().detach()).collect(), scale: self.scale() }
    }

    fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    /// (key without prefix, variable) in a fixed order.
    pub fn vars(&self) -> &[(String, Var)] {
        &self.vars
    }
}

fn is_finite(var: &Var) -> Result<bool> {
    Ok(var.as_tensor().flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()))
}

fn read_config(path: &Path) -> Result<(usize, f64)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    for (key, fine) in
        [("use_rslora", json!(false)), ("use_dora", json!(false)), ("fan_in_fan_out", json!(false)), ("bias", json!("none"))]
    {
        if config.get(key).is_some_and(|v| !v.is_null() && v != &fine) {
            bail!("{}: {key} = {} is not supported", path.display(), config[key]);
        }
    }
    for key in ["rank_pattern", "alpha_pattern"] {
        if config.get(key).and_then(Value::as_object).is_some_and(|m| !m.is_empty()) {
            bail!("{}: {key} is not supported; every projection must have the same rank and alpha", path.display());
        }
    }
    let rank = config.get("r").and_then(Value::as_u64).with_context(|| format!("{}: r is missing", path.display()))?;
    let alpha =
        config.get("lora_alpha").and_then(Value::as_f64).with_context(|| format!("{}: lora_alpha is missing", path.display()))?;
    ensure!(rank > 0, "{}: r must be at least 1", path.display());
    Ok((rank as usize, alpha))
}
