//! BERTScore against the Python package on a tiny DeBERTa with random weights; `tests/golden/bertscore.py` makes the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, pickle::read_all, safetensors};
use medserl::model::bertscore::{BASELINE, BertScore, LAYER, Scorer, read_baseline};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    layer: usize,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    candidate: String,
    reference: String,
    raw: [f32; 3],
    rescaled: [f32; 3],
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bertscore")
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(folder().join("scores.json")).unwrap()).unwrap()
}

fn copy(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| _ = fs::copy(folder().join(name), dir.path().join(name)).unwrap());
    dir
}

#[track_caller]
fn assert_close(found: BertScore, expected: [f32; 3], about: &str) {
    let found = [found.precision, found.recall, found.f];
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 2e-5, "{about:?}: {found:?}, the package says {expected:?}");
}

fn all(scorer: &Scorer, baseline: Option<[f32; 3]>) -> Vec<BertScore> {
    let pairs: Vec<_> = golden().pairs.into_iter().map(|p| (p.candidate, p.reference)).collect();
    scorer.score(&pairs, baseline, &mut |_, _| true).unwrap()
}

#[test]
fn scores_are_those_of_the_python_package() {
    let golden = golden();
    let scorer = Scorer::load(&folder(), golden.layer).unwrap();
    let baseline = read_baseline(&folder().join("baseline.tsv"), golden.layer).unwrap();
    assert_eq!(baseline, BASELINE, "the file has the row that is built in");
    for ((raw, rescaled), pair) in all(&scorer, None).into_iter().zip(all(&scorer, Some(baseline))).zip(&golden.pairs) {
        assert_close(raw, pair.raw, &pair.candidate);
        assert_close(rescaled, pair.rescaled, &pair.candidate);
    }
    // Another layer is another score.
    let other = all(&Scorer::load(&folder(), 3).unwrap(), None);
    assert!(other.iter().zip(&golden.pairs).any(|(score, pair)| (score.f - pair.raw[2]).abs() > 0.01));
}

#[test]
fn safetensors_without_a_prefix_are_the_same_model() {
    let dir = copy(&["config.json", "vocab.json", "merges.txt"]);
    let tensors = read_all(folder().join("pytorch_model.bin")).unwrap();
    let bare = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("deberta.")?.to_owned(), tensor.to_dtype(DType::F32).unwrap())));
    let bare: std::collections::HashMap<_, _> = bare.collect();
    safetensors::save(&bare, dir.path().join("model.safetensors")).unwrap();
    let (here, there) = (Scorer::load(dir.path(), 2).unwrap(), Scorer::load(&folder(), 2).unwrap());
    assert_eq!(all(&here, None), all(&there, None));
    assert!(bare.values().all(|t| t.device().same_device(&Device::Cpu)));
}

#[test]
fn what_cannot_be_scored_with_is_named() {
    let fails = |dir: &Path, layer: usize, part: &str| {
        let error = format!("{:#}", Scorer::load(dir, layer).err().expect("loaded"));
        assert!(error.contains(part), "{error:?} does not mention {part:?}");
    };
    fails(&folder(), LAYER, "has 3 layers; layer 40 is asked for");
    fails(&folder(), 0, "layer 0");
    let every = ["config.json", "vocab.json", "merges.txt", "pytorch_model.bin"];
    for (left_out, part) in every.iter().zip([
        "config.json",
        "tokenizer.json nor vocab.json",
        "merges.txt",
        "model.safetensors nor pytorch_model.bin",
    ]) {
        let rest: Vec<&str> = every.iter().filter(|name| *name != left_out).copied().collect();
        fails(copy(&rest).path(), 2, part);
    }
    let edit = |from: &str, to: &str, part: &str| {
        let dir = copy(&every);
        let path = dir.path().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        fails(dir.path(), 2, part);
    };
    edit("\"deberta\"", "\"deberta-v2\"", "deberta-v2");
    edit("c2p|p2c", "c2p", "both kinds");
    edit("\"vocab_size\": 301", "\"vocab_size\": 300", "word_embeddings.weight is [301, 16], expected [300, 16]");
    edit("\"gelu\"", "\"relu\"", "relu");
    edit("\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "heads");
    let dir = copy(&every);
    fs::write(dir.path().join("pytorch_model.bin"), b"not a zip").unwrap();
    fails(dir.path(), 2, "pytorch_model.bin");
    let row = read_baseline(&folder().join("baseline.tsv"), 9).unwrap_err().to_string();
    assert!(row.contains("baseline.tsv") && row.contains("9,P,R,F"), "{row}");
}
