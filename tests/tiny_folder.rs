//! A model folder of a few thousand random weights, so that a whole run of the program takes a second.

use std::{fs, path::Path, sync::OnceLock};

use candle_core::Device;
use medserl::{
    clinic,
    model::{
        merge::{WrittenAs, write_merged},
        spec::Spec,
        tokenizer::train_nano,
        weights::Weights,
    },
};
use tempfile::TempDir;

const VOCABULARY: usize = 900;

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
        sliding_window: 64,
        rope_theta_local: 1e4,
        rope_theta_global: 1e6,
        rope_scale_global: 8.0,
        max_positions: 4096,
        global_layers: vec![false, true],
    }
}

/// The folder, made once a test process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (weights, _) = Weights::fresh(&spec(), 7, &Device::Cpu).unwrap();
        write_merged(&spec(), &weights, None, dir.path(), WrittenAs::F32).unwrap();
        let corpus = (0..120).map(|index| clinic::document(3, index).text);
        fs::write(dir.path().join("tokenizer.json"), train_nano(corpus, VOCABULARY).unwrap()).unwrap();
        fs::write(dir.path().join("chat_template.jinja"), include_str!("../assets/nano/chat_template.jinja")).unwrap();
        dir
    });
    folder.path()
}
