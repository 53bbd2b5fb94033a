//! Our Gemma 3 beside candle-transformers', which was written by other people: the same weights give the same logits.
//!
//! Within one window only: further back that one sees a token more than transformers does.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::gemma3::{Config, Model};
use medserl::{
    config::Precision,
    model::{gemma3::Gemma3, plan::Plan, spec::Spec, weights::Weights},
};

use super::tiny;

#[test]
fn another_implementation_gives_the_same_logits() {
    let spec = Spec { sliding_window: 64, rope_scale_global: 1.0, ..tiny::spec() };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.safetensors");
    tiny::save(&file);
    let ours = Gemma3::new(spec.clone(), &Weights::load_dir(dir.path(), Precision::Stored).unwrap(), 128).unwrap();
    let config: Config = serde_json::from_value(spec.to_json()).unwrap();
    let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let mut other = Model::new(false, &config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();

    let ids: Vec<u32> = (0..48).map(|i| (i * 37 + 11) % tiny::VOCABULARY as u32).collect();
    let mut plan = Plan::default();
    plan.push_root(ids.len());
    let hidden = ours.forward(&ids, &plan.into(), None).unwrap();
    let last = hidden.narrow(0, ids.len() - 1, 1).unwrap();
    let ours: Vec<f32> = ours.logits(&last).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    // Token by token: its windowed cache takes no more than one at a time.
    let mut read = |(i, id): (usize, &u32)| other.forward(&Tensor::new(&[[*id]], &Device::Cpu).unwrap(), i).unwrap();
    let other: Vec<f32> = ids.iter().enumerate().map(&mut read).last().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let largest = other.iter().fold(0f32, |top, v| top.max(v.abs()));
    let worst = ours.iter().zip(&other).fold(0f32, |top, (a, b)| top.max((a - b).abs()));
    assert!(largest > 1.0 && worst < 2e-5 * largest, "off by {worst} of {largest}");
}
