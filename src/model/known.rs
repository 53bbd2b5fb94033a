//! The shapes of published Gemma 3 checkpoints, so that an experiment can be planned before anything is downloaded. From their
//! config.json as published (transformers 4.50 spelling); a folder's or the cache's own config.json always goes first.

use anyhow::{Context, Result};

use super::{
    hub::{self, Location, Settings},
    spec::Spec,
};

/// The spec of a configured model without its weights, and where it was found.
pub fn spec_of(model: &str) -> Result<(Spec, String)> {
    match hub::locate(model)? {
        Location::Nano => Ok((super::files::nano_spec()?, "the embedded model".into())),
        Location::Folder(dir) => {
            let path = dir.join("config.json");
            Ok((Spec::load(&path)?, path.display().to_string()))
        }
        Location::Hub(repo) => {
            if let Some(path) = hub::cached(&repo, &Settings::from_env()?, "config.json")? {
                return Ok((Spec::load(&path)?, path.display().to_string()));
            }
            let spec = published(&repo.id).with_context(|| {
                format!("{repo} is neither in the hub's cache nor a shape this program knows; put its config.json into a folder and name that")
            })?;
            Ok((spec, "the built-in table of published shapes".into()))
        }
    }
}

/// The text tower of a published model.
pub fn published(id: &str) -> Option<Spec> {
    let name = id.strip_prefix("google/")?;
    let name = name.trim_end_matches("-it").trim_end_matches("-pt");
    // Hidden, layers, heads, kv heads, head size, feed-forward, vocabulary, window, positions, rope factor, query scalar.
    let row = match name {
        "gemma-3-270m" => (640, 18, 4, 1, 256, 2048, 262_144, 512, 32_768, 1.0, 256.0),
        "gemma-3-1b" => (1152, 26, 4, 1, 256, 6912, 262_144, 512, 32_768, 1.0, 256.0),
        "gemma-3-4b" | "medgemma-4b" | "medgemma-1.5-4b" => (2560, 34, 8, 4, 256, 10_240, 262_208, 1024, 131_072, 8.0, 256.0),
        "gemma-3-12b" => (3840, 48, 16, 8, 256, 15_360, 262_208, 1024, 131_072, 8.0, 256.0),
        "gemma-3-27b" | "medgemma-27b" | "medgemma-27b-text" => {
            (5376, 62, 32, 16, 128, 21_504, 262_208, 1024, 131_072, 8.0, 168.0)
        }
        _ => return None,
    };
    let (hidden, layers, heads, kv, head, ffn, vocab, window, positions, factor, scalar) = row;
    Some(Spec {
        vocab_size: vocab,
        hidden_size: hidden,
        intermediate_size: ffn,
        n_heads: heads,
        n_kv_heads: kv,
        head_dim: head,
        norm_eps: 1e-6,
        query_pre_attn_scalar: scalar,
        sliding_window: window,
        rope_theta_local: 1e4,
        rope_theta_global: 1e6,
        rope_scale_global: factor,
        max_positions: positions,
        global_layers: (1..=layers).map(|i: usize| i.is_multiple_of(6)).collect(),
    })
}
