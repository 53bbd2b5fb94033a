//! A tiny random Gemma with a tokenizer of its own: three layers, a window shorter than any sequence here, one global layer.

use std::{collections::HashMap, sync::OnceLock};

use candle_core::{Device, Tensor};
use medserl::{
    clinic,
    config::Precision,
    model::{
        files::nano_template,
        gemma3::Gemma3,
        lora::Adapter,
        random::uniform,
        spec::Spec,
        tokenizer::{Tokenizer, train_nano},
        weights::Weights,
    },
    task::Chat,
};

pub const VOCABULARY: usize = 420;

pub fn spec() -> Spec {
    Spec {
        vocab_size: VOCABULARY,
        hidden_size: 32,
        intermediate_size: 48,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        norm_eps: 1e-6,
        query_pre_attn_scalar: 8.0,
        sliding_window: 6,
        rope_theta_local: 1e4,
        rope_theta_global: 1e6,
        rope_scale_global: 8.0,
        max_positions: 512,
        global_layers: vec![false, true, false],
    }
}

/// Frozen weights eight times larger than fresh ones, and norms off one, so that no part of the forward is nearly idle.
pub fn model() -> Gemma3 {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("model.safetensors"));
    let weights = Weights::load_dir(dir.path(), Precision::Stored).unwrap();
    Gemma3::new(spec(), &weights, 512).unwrap()
}

/// Writes its weights.
pub fn save(file: &std::path::Path) {
    let (_, vars) = Weights::fresh(&spec(), 7, &Device::Cpu).unwrap();
    let loud = |(i, (name, var)): (usize, &(String, candle_core::Var))| {
        let values = if name.contains("norm") {
            tensor(i as u64, var.dims(), 0.3)
        } else {
            var.as_detached_tensor().affine(8.0, 0.0).unwrap()
        };
        (format!("model.{name}"), values)
    };
    let tensors: HashMap<String, Tensor> = vars.iter().enumerate().map(loud).collect();
    candle_core::safetensors::save(&tensors, file).unwrap();
}

/// Uniform values in ±bound; another `key`, other values.
pub fn tensor(key: u64, shape: &[usize], bound: f32) -> Tensor {
    Tensor::from_vec(uniform(1000 + key, key, shape.iter().product(), bound), shape, &Device::Cpu).unwrap()
}

/// A fresh adapter: B is zero.
pub fn asleep() -> Adapter {
    Adapter::new(&spec(), 3, 6.0, 5, &Device::Cpu).unwrap()
}

/// An adapter whose B is not zero, as after some training.
pub fn awake() -> Adapter {
    let adapter = asleep();
    for (i, (key, var)) in adapter.vars().iter().enumerate() {
        if key.ends_with("lora_B.weight") {
            var.set(&tensor(50 + i as u64, var.dims(), 0.3)).unwrap();
        }
    }
    adapter
}

pub fn corpus() -> impl Iterator<Item = String> + Send {
    (0..80).map(|index| clinic::document(3, index).text)
}

pub fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| {
        let json = train_nano(corpus(), VOCABULARY).unwrap();
        Tokenizer::from_bytes(json.as_bytes(), "the test tokenizer").unwrap().with_template(Some(nano_template().unwrap()))
    })
}

pub fn chat(text: &str) -> Chat {
    Chat::user(text.to_owned())
}

/// `n` token ids of the vocabulary.
pub fn ids(key: u64, n: usize) -> Vec<u32> {
    uniform(2000 + key, key, n, 0.5).iter().map(|u| ((u + 0.5) * VOCABULARY as f32) as u32 % VOCABULARY as u32).collect()
}
