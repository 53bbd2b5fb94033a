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

/// How the base model's own class names its layers, which an adapter's keys repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `Gemma3ForCausalLM`
    Causal,
    /// `Gemma3ForConditionalGeneration` since transformers 4.52
    Conditional,
    /// The same before
    Legacy,
}

impl Layout {
    pub const ALL: [Layout; 3] = [Layout::Causal, Layout::Conditional, Layout::Legacy];

    /// What stands before `layers.N`.
    pub fn prefix(self) -> &'static str {
        match self {
            Layout::Causal => "base_model.model.model.",
            Layout::Conditional => "base_model.model.model.language_model.",
            Layout::Legacy => "base_model.model.language_model.model.",
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

    /// [`Adapter::load`] into main memory, for looking at it and rewriting it.
    pub fn open(spec: &Spec, dir: &Path) -> Result<Adapter> {
        Adapter::load(spec, dir, &Device::Cpu)
    }

    /// Reads a PEFT adapter folder; any of PEFT's three key prefixes is accepted.
    pub fn load(spec: &Spec, dir: &Path, device: &Device) -> Result<Adapter> {
        let (rank, alpha) = read_config(&dir.join("adapter_config.json"))?;
        let path = dir.join("adapter_model.safetensors");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read the adapter {}", path.display()))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, device).with_context(|| format!("in {}", path.display()))?;
        let mut by_suffix: HashMap<String, Tensor> = HashMap::new();
        for (key, tensor) in tensors {
            let bare = Layout::ALL.iter().filter_map(|l| key.strip_prefix(l.prefix())).find(|rest| rest.starts_with("layers."));
            let bare = bare.with_context(|| {
                format!("{}: {key} is no part of a Gemma 3 text model; only adapters of its layers can be used", path.display())
            })?;
            // PEFT's own state, unlike its files, names the adapter.
            by_suffix.insert(bare.replace(".default.weight", ".weight"), tensor);
        }
        let mut vars = Vec::new();
        each_matrix(spec, rank, |key, shape| {
            let tensor = by_suffix.remove(&key).with_context(|| {
                format!("{} has no {key}; all seven projections of every layer must be adapted", path.display())
            })?;
            ensure!(tensor.dims() == [shape.0, shape.1], "{}: {key} is {:?}, expected {shape:?}", path.display(), tensor.dims());
            let var = Var::from_tensor(&tensor.to_dtype(DType::F32)?)?;
            ensure!(is_finite(&var)?, "{}: {key} holds a value that is not finite", path.display());
            vars.push((key, var));
            Ok(())
        })?;
        ensure!(by_suffix.is_empty(), "{} has {} tensors this model has no place for", path.display(), by_suffix.len());
        Ok(Adapter { rank, alpha, vars })
    }

    /// Writes PEFT's two files into `dir`, which must exist. Refuses non-finite values.
    pub fn save(&self, dir: &Path, base_model: &str) -> Result<()> {
        self.save_as(dir, base_model, Layout::Causal)
    }

    /// The same with the keys of another class of the base model.
    pub fn save_as(&self, dir: &Path, base_model: &str, layout: Layout) -> Result<()> {
        let mut tensors = HashMap::new();
        for (key, var) in &self.vars {
            ensure!(is_finite(var)?, "{key} holds a value that is not finite; the adapter was not saved");
            tensors.insert(format!("{}{key}", layout.prefix()), var.as_tensor().clone());
        }
        candle_core::safetensors::save(&tensors, dir.join("adapter_model.safetensors"))?;
        let config = serde_json::to_vec_pretty(&self.config(base_model, layout))?;
        std::fs::write(dir.join("adapter_config.json"), config).with_context(|| format!("cannot write into {}", dir.display()))
    }

    fn config(&self, base_model: &str, layout: Layout) -> Value {
        let leaves: Vec<&str> = Projection::ALL.iter().filter_map(|p| p.path().rsplit('.').next()).collect();
        // Bare names would also match the vision tower, which has projections of the same names.
        let modules = match layout {
            Layout::Causal => json!(leaves),
            _ => json!(format!(r".*language_model.*\.({})", leaves.join("|"))),
        };
        // A repository's name without our spelling of its revision, which PEFT keeps apart.
        let (base_model, revision) = base_model.split_once('@').map_or((base_model, None), |(id, rev)| (id, Some(rev)));
        json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_model, "r": self.rank,
            "lora_alpha": self.alpha, "lora_dropout": 0.0, "bias": "none", "use_rslora": false, "use_dora": false,
            "fan_in_fan_out": false, "inference_mode": true, "modules_to_save": null, "target_modules": modules,
            "revision": revision,
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

/// Rank and alpha of a PEFT adapter folder.
pub fn read_config(path: &Path) -> Result<(usize, f64)> {
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
