//! Parsers of model files and checkpoints. Their folders lie in memory where there is such a place, so that millions of cases wear no disk.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use medserl::{
    config::Precision,
    model::{
        lora::Adapter,
        spec::Spec,
        template::{ChatTemplate, gemma_tokens},
        tokenizer::Tokenizer,
        weights::Weights,
    },
    task::{Chat, Role, Turn},
    train::{
        checkpoint,
        vault::{Files, Keep, Local, MANIFEST, Vault},
    },
};

use super::target::fuzz;
use crate::tiny_folder;

/// A folder in memory, or the usual one.
pub fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

fn read(name: &str) -> Vec<u8> {
    fs::read(tiny_folder::folder().join(name)).unwrap()
}

const JSON: [&str; 15] =
    ["{", "}", "[", "]", "\"", ":", ",", "null", "true", "-1", "0", "1e400", "\\u0000", "\\ud800", "4611686018427387904"];

#[test]
fn model_weights() {
    // Small: the embedding alone would be most of the file.
    let tensors: HashMap<String, Tensor> = [("model.norm.weight", vec![4]), ("model.layers.0.mlp.up_proj.weight", vec![4, 6])]
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap()))
        .collect();
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let path = dir.path().join("x.safetensors");
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let words = [
        "data_offsets",
        "[0,",
        "]",
        "shape",
        "F32",
        "BF16",
        "F64",
        "__metadata__",
        "model.",
        "\"",
        "{",
        "}",
        "\u{0}\u{0}\u{0}\u{0}",
    ];
    let corpus = [fs::read(&path).unwrap()];
    fuzz("model.safetensors", &corpus, &words, 2_000, &mut |bytes| {
        Weights::from_bytes(bytes, "mutated", Precision::Stored).is_ok()
    });
}

#[test]
fn model_configuration() {
    let corpus = [tiny_folder::spec().to_json().to_string().into_bytes(), read("config.json")];
    let words = [&JSON[..], &["num_hidden_layers", "layer_types", "rope_scaling", "gemma3", "\"full_attention\"", "text_config"]]
        .concat();
    fuzz("config.json", &corpus, &words, 2_000, &mut |bytes| {
        let Ok(json) = serde_json::from_slice(bytes) else { return false };
        let Ok(spec) = Spec::from_json(&json) else { return false };
        // What is read must be safe to reckon with.
        assert!(spec.n_parameters() > 0 && spec.activation_bytes_a_row() > 0 && spec.n_layers() > 0);
        true
    });
}

#[test]
fn tokenizer_json() {
    let corpus = [read("tokenizer.json")];
    let words = [
        &JSON[..],
        &["\"BPE\"", "merges", "vocab", "\"ByteLevel\"", "<bos>", "added_tokens", "\"id\"", "\"Unigram\"", "\"Split\""],
    ]
    .concat();
    fuzz("tokenizer.json", &corpus, &words, 60, &mut |bytes| {
        let Ok(tokenizer) = Tokenizer::from_bytes(bytes, "mutated") else { return false };
        if let Ok(ids) = tokenizer.encode("He has a fever of 38,6 °C.") {
            let _ = tokenizer.decode(&ids);
        }
        true
    });
}

#[test]
fn chat_templates() {
    let corpus = [read("chat_template.jinja"), include_bytes!("../model/gemma3.jinja").to_vec()];
    let words = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{%- ",
        "-%}",
        "{# ",
        "for m in messages",
        "endfor",
        "if ",
        "endif",
        "set x = ",
        "macro f(a)",
        "endmacro",
        "loop.index0",
        "messages[0]['content']",
        "| trim",
        "| join",
        "~",
        "+",
        "*",
        "namespace(",
        "range(9)",
        "raise_exception('x')",
        "'",
        "include 'a'",
        "self",
        "is string",
    ];
    let turn = |role, content: &str| Turn { role, content: content.to_owned() };
    let chat =
        Chat { turns: vec![turn(Role::User, "Is <bos> an error?"), turn(Role::Model, "No."), turn(Role::User, "And here?")] };
    let specials = ["<bos>", "<start_of_turn>", "<end_of_turn>"].map(str::to_owned);
    fuzz("chat template", &corpus, &words, 1_500, &mut |bytes| {
        let Ok(template) = ChatTemplate::new(&String::from_utf8_lossy(bytes), gemma_tokens(), "mutated") else { return false };
        template.pieces(&chat, &specials).is_ok()
    });
}

#[test]
fn adapters() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let spec = Spec { global_layers: vec![true], ..tiny_folder::spec() };
    let adapter = Adapter::new(&spec, 1, 2.0, 1, &Device::Cpu).unwrap();
    adapter.save(dir.path(), "base").unwrap();
    let names = ["adapter_config.json", "adapter_model.safetensors"].map(|name| dir.path().join(name));
    let [config, tensors] = names.each_ref().map(|path| fs::read(path).unwrap());
    // The two files one after the other, cut where the second one begins.
    let cut = config.len();
    let corpus = [[config, tensors].concat()];
    let words = [&JSON[..], &["\"r\"", "lora_alpha", "lora_A", "layers.", "F32", "data_offsets", "base_model.model."]].concat();
    fuzz("adapter", &corpus, &words, 800, &mut |bytes| {
        let (config, tensors) = bytes.split_at(cut.min(bytes.len()));
        fs::write(&names[0], config).unwrap();
        fs::write(&names[1], tensors).unwrap();
        Adapter::load(&spec, dir.path(), &Device::Cpu).is_ok()
    });
}

#[test]
fn checkpoints() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let root = dir.path().join("checkpoints");
    let files = Files::from([("cursor.json".to_owned(), b"{\"step\":4}".to_vec()), ("x.bin".to_owned(), vec![7; 40])]);
    let saved = Vault::new(Local, &root).save(4, &files, &Keep { newest: 1, ..Keep::default() }).unwrap();
    let manifest = saved.dir.join(MANIFEST);
    let original = fs::read(&manifest).unwrap();
    // Outside the folder, and must be read by nobody.
    fs::write(dir.path().join("secret"), b"outside").unwrap();
    let words = [&JSON[..], &["../secret", "x.bin", "cursor.json", "files", "format", "/etc/passwd", "9999999999999"]].concat();
    fuzz("checkpoint manifest", std::slice::from_ref(&original), &words, 800, &mut |bytes| {
        fs::write(&manifest, bytes).unwrap();
        let choice = Vault::new(Local, &root).choose(|_, files| Ok(files)).unwrap();
        let chosen = choice.chosen.is_some();
        // Only the very bytes that were written are a checkpoint.
        assert_eq!(chosen, bytes == original, "{}", bytes.escape_ascii());
        assert_eq!(choice.chosen.is_none(), choice.refused.iter().any(|r| !r.why.to_string().is_empty()));
        chosen
    });
}

#[test]
fn cursors() {
    let cursor = checkpoint::Cursor { step: 4, config_hash: "aa".into(), program_version: "0.1.0".into(), ..Default::default() };
    let warmup = r#"{"thought":2,"own":[],"losses":[1.5,0.25],"n_tokens":9}"#;
    let corpus = [serde_json::to_vec(&cursor).unwrap(), warmup.as_bytes().to_vec()];
    let words = [&JSON[..], &["step", "losses", "wall_seconds", "threads", "micro_batch_plan"]].concat();
    fuzz("checkpoint cursor and warm-up", &corpus, &words, 3_000, &mut |bytes| {
        serde_json::from_slice::<checkpoint::Cursor>(bytes).is_ok()
            | serde_json::from_slice::<medserl::train::sft::Warmup>(bytes).is_ok()
    });
}

#[test]
fn shard_names_never_lead_out_of_the_model_folder() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("model.safetensors"), b"outside").unwrap();
    let up = format!("../{}/model.safetensors", outside.path().file_name().unwrap().to_string_lossy());
    let absolute = outside.path().join("model.safetensors").to_string_lossy().into_owned();
    for name in [up.as_str(), &absolute, "..", ".", "", "a/../../b", "..\\x", "sub/model.safetensors", "\u{0}", "a\u{0}/../b"] {
        let dir = tempfile::tempdir().unwrap();
        let index = serde_json::json!({ "weight_map": { "model.norm.weight": name } });
        fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let error = Weights::load_dir(dir.path(), Precision::Stored).err().unwrap_or_else(|| panic!("{name:?} was read"));
        let error = format!("{error:#}");
        assert!(!error.contains("too short") && !error.contains("header"), "{name:?} was opened: {error}");
    }
}
