//! The shape of a Gemma 3 text model, read from any spelling of `config.json`.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Far beyond every published shape, and small enough that products of three such numbers and the layers are still numbers.
const MOST_OF_ANYTHING: usize = 1 << 24;
const MOST_LAYERS: usize = 1024;

/// Everything the forward needs to know about a checkpoint's architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f64,
    /// Attention scores are multiplied by this to the power -1/2; not always the head size.
    pub query_pre_attn_scalar: f64,
    pub sliding_window: usize,
    pub rope_theta_local: f64,
    pub rope_theta_global: f64,
    /// Positions on global layers are divided by this.
    pub rope_scale_global: f64,
    pub max_positions: usize,
    /// For each layer, whether it attends to everything (true) or only to the window.
    pub global_layers: Vec<bool>,
}

impl Spec {
    pub fn load(path: &Path) -> Result<Spec> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the model configuration {}", path.display()))?;
        let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        Spec::from_json(&json).with_context(|| format!("in {}", path.display()))
    }

    /// Accepts `Gemma3ForCausalLM` and the `text_config` of `Gemma3ForConditionalGeneration`, as published with
    /// transformers 4.5x or as written by transformers 5. Missing keys take the defaults of transformers' `Gemma3TextConfig`.
    pub fn from_json(json: &Value) -> Result<Spec> {
        let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let text = match kind {
            "gemma3" => json.get("text_config").context("model_type is gemma3 but there is no text_config")?,
            "gemma3_text" => json,
            other => bail!("model_type is {other:?}; this program trains gemma3 and gemma3_text models"),
        };
        for softcap in ["attn_logit_softcapping", "final_logit_softcapping"] {
            ensure!(text.get(softcap).is_none_or(Value::is_null), "{softcap} is set; Gemma 3 has none and this model is not one");
        }
        ensure!(text.get("attention_bias").is_none_or(|b| b == &Value::Bool(false)), "attention_bias is not supported");
        let n_layers = integer(text, "num_hidden_layers", 26)?;
        ensure!((1..=MOST_LAYERS).contains(&n_layers), "num_hidden_layers = {n_layers}; expected 1 to {MOST_LAYERS}");
        let n_heads = integer(text, "num_attention_heads", 8)?;
        let spec = Spec {
            vocab_size: integer(text, "vocab_size", 262_208)?,
            hidden_size: integer(text, "hidden_size", 2304)?,
            intermediate_size: integer(text, "intermediate_size", 9216)?,
            n_heads,
            n_kv_heads: integer(text, "num_key_value_heads", 4)?,
            head_dim: integer(text, "head_dim", 256)?,
            norm_eps: number(text, "rms_norm_eps", 1e-6)?,
            query_pre_attn_scalar: number(text, "query_pre_attn_scalar", 256.0)?,
            sliding_window: integer(text, "sliding_window", 4096)?,
            rope_theta_local: rope_theta(text, "sliding_attention", "rope_local_base_freq", 10_000.0)?,
            rope_theta_global: rope_theta(text, "full_attention", "rope_theta", 1_000_000.0)?,
            rope_scale_global: rope_scale(text)?,
            max_positions: integer(text, "max_position_embeddings", 131_072)?,
            global_layers: global_layers(text, n_layers)?,
        };
        spec.is_reasonable()?;
        ensure!(
            spec.n_kv_heads > 0 && spec.n_heads.is_multiple_of(spec.n_kv_heads),
            "num_attention_heads must be a multiple of num_key_value_heads"
        );
        ensure!(spec.head_dim > 0 && spec.head_dim.is_multiple_of(2), "head_dim must be even");
        Ok(spec)
    }

    /// Refuses shapes that no Gemma has: a damaged or hostile file must not make this program reckon beyond its numbers or ask for
    /// all memory there is.
    fn is_reasonable(&self) -> Result<()> {
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.n_heads),
            ("num_key_value_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("sliding_window", self.sliding_window),
            ("max_position_embeddings", self.max_positions),
        ] {
            ensure!((1..=MOST_OF_ANYTHING).contains(&value), "{key} = {value}; expected 1 to {MOST_OF_ANYTHING}");
        }
        for (key, value) in [
            ("rms_norm_eps", self.norm_eps),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
            ("rope_local_base_freq", self.rope_theta_local),
            ("rope_theta", self.rope_theta_global),
            ("rope_scaling.factor", self.rope_scale_global),
        ] {
            ensure!(value.is_finite() && value > 0.0, "{key} = {value}; expected a number above 0");
        }
        Ok(())
    }

    pub fn n_layers(&self) -> usize {
        self.global_layers.len()
    }

    /// All weights of the text model; the tied head counts once.
    pub fn n_parameters(&self) -> usize {
        let attention = self.hidden_size * self.head_dim * (2 * self.n_heads + 2 * self.n_kv_heads) + 2 * self.head_dim;
        let layer = attention + 3 * self.hidden_size * self.intermediate_size + 4 * self.hidden_size;
        self.vocab_size * self.hidden_size + self.n_layers() * layer + self.hidden_size
    }

    /// Bytes that one token row keeps for the backward in candle's graph, over all layers: every op's input and output in f32, about.
    pub fn activation_bytes_a_row(&self) -> usize {
        let (q, kv) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        // Norms, residuals and projections of H; q, k, v before and after norm and rope, the mix; gate, up and their product.
        4 * self.n_layers() * (10 * self.hidden_size + 4 * q + 5 * kv + 3 * self.intermediate_size)
    }

    /// The configuration as transformers spells it for `Gemma3ForCausalLM` (published 4.5x spelling).
    pub fn to_json(&self) -> Value {
        let pattern = self.global_layers.iter().position(|g| *g).map_or(self.n_layers() + 1, |i| i + 1);
        serde_json::json!({
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attention_bias": false,
            "attn_logit_softcapping": null, "final_logit_softcapping": null, "hidden_activation": "gelu_pytorch_tanh",
            "vocab_size": self.vocab_size, "hidden_size": self.hidden_size, "intermediate_size": self.intermediate_size,
            "num_attention_heads": self.n_heads, "num_key_value_heads": self.n_kv_heads, "head_dim": self.head_dim,
            "num_hidden_layers": self.n_layers(), "rms_norm_eps": self.norm_eps,
            "query_pre_attn_scalar": whole(self.query_pre_attn_scalar), "sliding_window": self.sliding_window,
            "sliding_window_pattern": pattern, "rope_local_base_freq": self.rope_theta_local, "rope_theta": self.rope_theta_global,
            "rope_scaling": if self.rope_scale_global == 1.0 { Value::Null } else {
                serde_json::json!({"factor": self.rope_scale_global, "rope_type": "linear"}) },
            "max_position_embeddings": self.max_positions, "tie_word_embeddings": true,
            "bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0,
        })
    }
}

/// A whole number without its point: transformers 5 refuses 64.0 where it declares an integer.
fn whole(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { (x as i64).into() } else { x.into() }
}

fn integer(json: &Value, key: &str, default: usize) -> Result<usize> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_u64().map(|v| v as usize).with_context(|| format!("{key} = {value} is not a whole number")),
    }
}

fn number(json: &Value, key: &str, default: f64) -> Result<f64> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_f64().with_context(|| format!("{key} = {value} is not a number")),
    }
}

/// transformers 5 nests rope parameters by layer type; earlier versions have one flat key each.
fn rope_theta(text: &Value, layer_type: &str, flat_key: &str, default: f64) -> Result<f64> {
    match text.get("rope_parameters").and_then(|p| p.get(layer_type)) {
        Some(nested) => number(nested, "rope_theta", default),
        None => number(text, flat_key, default),
    }
}

fn rope_scale(text: &Value) -> Result<f64> {
    let nested = text.get("rope_parameters").and_then(|p| p.get("full_attention"));
    let Some(scaling) = nested.or_else(|| text.get("rope_scaling")).filter(|v| !v.is_null()) else {
        return Ok(1.0);
    };
    match scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str) {
        None | Some("default") => Ok(1.0),
        Some("linear") => number(scaling, "factor", 1.0),
        Some(other) => bail!("rope scaling {other:?} is not supported; Gemma 3 uses linear"),
    }
}

fn global_layers(text: &Value, n_layers: usize) -> Result<Vec<bool>> {
    if let Some(types) = text.get("layer_types").and_then(Value::as_array) {
        ensure!(types.len() == n_layers, "layer_types has {} entries for {n_layers} layers", types.len());
        return types
            .iter()
            .map(|t| match t.as_str() {
                Some("full_attention") => Ok(true),
                Some("sliding_attention") => Ok(false),
                _ => bail!("layer type {t} is not supported"),
            })
            .collect();
    }
    let pattern = integer(text, "sliding_window_pattern", integer(text, "_sliding_window_pattern", 6)?)?;
    ensure!(pattern > 0, "sliding_window_pattern must be positive");
    Ok((1..=n_layers).map(|i| i.is_multiple_of(pattern)).collect())
}
