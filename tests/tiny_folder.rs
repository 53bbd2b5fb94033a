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

use crate::model::tiny;

const VOCABULARY: usize = 900;

pub fn spec() -> Spec {
    Spec { vocab_size: VOCABULARY, sliding_window: 64, max_positions: 4096, global_layers: vec![false, true], ..tiny::spec() }
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
