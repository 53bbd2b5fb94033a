//! Adapters: where gradients arrive, that a shared prompt changes nothing, that an idle adapter changes nothing, and their files.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use medserl::{
    config::Precision,
    model::{Buffers, batch::TokenBatch, gemma3::Gemma3, lora::Adapter, ops::logprob::LOGPROB, spec::Spec, weights::Weights},
    train::optimizer::Gradients,
};

use super::tiny::{asleep, awake, ids, model, spec, tensor};

const TEMPERATURE: f32 = 0.9;

/// One prompt longer than the window with three completions; the last is a single token.
fn prompt_and_completions() -> (Vec<u32>, Vec<Vec<u32>>) {
    (ids(1, 11), vec![ids(2, 9), ids(3, 14), ids(4, 1)])
}

fn shared() -> TokenBatch {
    let (prompt, completions) = prompt_and_completions();
    let mut batch = TokenBatch::default();
    batch.push(&prompt, &completions.iter().map(Vec::as_slice).collect::<Vec<_>>());
    batch
}

fn separate() -> TokenBatch {
    let (prompt, completions) = prompt_and_completions();
    let mut batch = TokenBatch::default();
    completions.iter().for_each(|c| batch.push(&prompt, &[c]));
    batch
}

/// A loss that weighs every token differently, so that mistakes cannot cancel.
fn loss(model: &Gemma3, adapter: &Adapter, batch: &TokenBatch) -> Tensor {
    let logprobs = batch.forward(model, Some(&adapter.tracked()), TEMPERATURE).unwrap().get(LOGPROB).unwrap();
    let weights = tensor(31, logprobs.dims(), 1.0);
    (logprobs * weights).unwrap().sum_all().unwrap()
}

fn gradients(model: &Gemma3, adapter: &Adapter, batch: &TokenBatch) -> Vec<Vec<f32>> {
    let mut grads = Gradients::zeros(adapter.vars());
    grads.add(adapter.vars(), 0..adapter.vars().len(), &loss(model, adapter, batch).backward().unwrap()).unwrap();
    grads.0
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |top, v| top.max(v.abs()))
}

fn bits(adapter: &Adapter) -> Vec<(String, Vec<u32>)> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    adapter.vars().iter().map(|(key, var)| (key.clone(), flat(var))).collect()
}

#[test]
fn every_adapter_matrix_gets_a_gradient() {
    let adapter = awake();
    assert_eq!(adapter.vars().len(), 3 * 7 * 2);
    for ((key, _), gradient) in adapter.vars().iter().zip(gradients(&model(), &adapter, &shared())) {
        assert!(largest(&gradient) > 1e-4, "{key} gets no gradient");
    }
}

#[test]
fn a_fresh_adapter_learns_through_b_first() {
    let adapter = asleep();
    for ((key, _), gradient) in adapter.vars().iter().zip(gradients(&model(), &adapter, &shared())) {
        if key.ends_with("lora_A.weight") {
            assert_eq!(largest(&gradient), 0.0, "{key}");
        } else {
            assert!(largest(&gradient) > 1e-4, "{key} gets no gradient");
        }
    }
}

#[test]
fn the_gradient_of_the_whole_model_is_the_slope_of_its_loss() {
    let (model, adapter, batch) = (model(), awake(), shared());
    let grads = gradients(&model, &adapter, &batch);
    let at: Vec<Tensor> = adapter.vars().iter().map(|(_, v)| v.as_tensor().copy().unwrap()).collect();
    let way: Vec<Tensor> = at.iter().enumerate().map(|(i, t)| tensor(200 + i as u64, t.dims(), 1.0)).collect();
    let moved = |step: f64| {
        for ((_, var), (at, way)) in adapter.vars().iter().zip(at.iter().zip(&way)) {
            var.set(&(at + way.affine(step, 0.0).unwrap()).unwrap()).unwrap();
        }
        f64::from(loss(&model, &adapter, &batch).to_scalar::<f32>().unwrap())
    };
    let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
    let along = |(g, way): (&Vec<f32>, &Tensor)| -> f64 {
        g.iter().zip(way.flatten_all().unwrap().to_vec1::<f32>().unwrap()).map(|(g, w)| f64::from(*g) * f64::from(w)).sum()
    };
    let slope: f64 = grads.iter().zip(&way).map(along).sum();
    assert!(slope.abs() > 1.0, "a slope of {slope} proves nothing");
    assert!((difference - slope).abs() < 1e-2 * slope.abs(), "slope {slope}, central difference {difference}");
}

#[test]
fn the_gradients_by_hand_are_those_of_autograd() {
    let (model, adapter) = (model(), awake());
    for batch in [shared(), separate()] {
        let mut by_hand = Gradients::zeros(adapter.vars());
        let n = batch.targets.len();
        let slopes = |_: &[f32], _: &[f32]| tensor(31, &[n], 1.0).to_vec1().unwrap();
        batch.backward(&model, &adapter, TEMPERATURE, usize::MAX, slopes, &mut by_hand.0, &mut Buffers::default()).unwrap();
        for (((key, _), hand), auto) in adapter.vars().iter().zip(&by_hand.0).zip(gradients(&model, &adapter, &batch)) {
            let tolerance = 1e-5 * largest(&auto).max(1e-3);
            hand.iter().zip(&auto).for_each(|(h, a)| assert!((h - a).abs() <= tolerance, "{key}: {h} by hand, {a} by autograd"));
        }
    }
}

#[test]
fn computing_layers_twice_gives_the_same_bits() {
    let (model, adapter, batch) = (model(), awake(), shared());
    let gradients = |kept: usize| {
        let (mut grads, mut seen) = (Gradients::zeros(adapter.vars()), Vec::new());
        let slopes = |logprobs: &[f32], entropies: &[f32]| {
            seen = [logprobs, entropies].concat();
            logprobs.iter().map(|l| 0.5 + l.sin()).collect()
        };
        batch.backward(&model, &adapter, TEMPERATURE, kept, slopes, &mut grads.0, &mut Buffers::default()).unwrap();
        (grads.0, seen)
    };
    let plain = gradients(usize::MAX);
    assert!(plain.0.iter().all(|g| largest(g) > 1e-4));
    for kept in 0..model.spec.n_layers() {
        assert_eq!(gradients(kept), plain, "the last {kept} layers computed once");
    }
}

#[test]
fn a_shared_prompt_scores_and_learns_as_separate_sequences_do() {
    let (model, adapter) = (model(), awake());
    let view = adapter.frozen();
    let (together, entropy_together) = shared().score(&model, Some(&view), TEMPERATURE).unwrap();
    let (apart, entropy_apart) = separate().score(&model, Some(&view), TEMPERATURE).unwrap();
    assert_eq!(together.len(), 9 + 14 + 1);
    for (a, b) in together.iter().chain(&entropy_together).zip(apart.iter().chain(&entropy_apart)) {
        assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} and {b}");
    }
    let (together, apart) = (gradients(&model, &adapter, &shared()), gradients(&model, &adapter, &separate()));
    for ((key, _), (together, apart)) in adapter.vars().iter().zip(together.iter().zip(&apart)) {
        let top = largest(apart);
        for (a, b) in together.iter().zip(apart) {
            assert!((a - b).abs() <= 1e-5 * top, "{key}: {a} and {b}, the largest is {top}");
        }
    }
    assert!(shared().n_rows() < separate().n_rows());
}

#[test]
fn a_model_in_bf16_or_blocks_computes_what_the_same_weights_in_f32_do() {
    let spec = Spec { intermediate_size: 64, ..spec() };
    for precision in [Precision::Bf16, Precision::Int8, Precision::Int4] {
        let rounded = Weights::random(&spec, precision, 9).unwrap();
        let adapter = Adapter::new(&spec, 3, 6.0, 5, &Device::Cpu).unwrap();
        for (i, (key, var)) in adapter.vars().iter().enumerate().filter(|(_, (key, _))| key.ends_with("lora_B.weight")) {
            var.set(&tensor(i as u64, var.dims(), 0.3)).unwrap_or_else(|e| panic!("{key}: {e}"));
        }
        let [ours, wide] = [&rounded, &rounded.widened().unwrap()].map(|weights| {
            let model = Gemma3::new(spec.clone(), weights, 512).unwrap();
            let (mut grads, mut values) = (Gradients::zeros(adapter.vars()), Vec::new());
            let slopes = |logprobs: &[f32], _: &[f32]| {
                values = logprobs.to_vec();
                (0..logprobs.len()).map(|t| 1.0 - 0.07 * t as f32).collect()
            };
            shared().backward(&model, &adapter, TEMPERATURE, usize::MAX, slopes, &mut grads.0, &mut Buffers::default()).unwrap();
            (model.weight_bytes(), values, grads.0.concat())
        });
        assert!(ours.0 < wide.0, "{precision:?} takes {} bytes, f32 {}", ours.0, wide.0);
        for (kept, plain) in [(ours.1, wide.1), (ours.2, wide.2)] {
            let top = largest(&plain);
            assert!(top > 0.01, "{precision:?}: values up to {top} prove nothing");
            kept.iter().zip(&plain).for_each(|(a, b)| assert!((a - b).abs() < 3e-5 * top, "{precision:?}: {a}, expected {b}"));
        }
    }
}

#[test]
fn an_adapter_that_is_off_or_fresh_changes_nothing() {
    let model = model();
    let base = shared().score(&model, None, TEMPERATURE).unwrap();
    assert_eq!(shared().score(&model, Some(&asleep().frozen()), TEMPERATURE).unwrap(), base);
    assert_ne!(shared().score(&model, Some(&awake().frozen()), TEMPERATURE).unwrap(), base);
    assert_eq!(shared().score(&model, None, TEMPERATURE).unwrap(), base);
}

#[test]
fn an_adapter_returns_from_its_files_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = awake();
    adapter.save(dir.path(), "google/medgemma-4b-it").unwrap();
    let back = Adapter::load(&spec(), dir.path(), &Device::Cpu).unwrap();
    assert_eq!((back.rank, back.alpha), (3, 6.0));
    assert_eq!(bits(&back), bits(&adapter));

    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], "google/medgemma-4b-it");
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 7);
    // PEFT's names for the same matrices under the image-text model, in both of its spellings.
    let path = dir.path().join("adapter_model.safetensors");
    let saved = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    for prefix in ["base_model.model.language_model.model.", "base_model.model.model.language_model."] {
        let renamed: HashMap<String, Tensor> =
            saved.iter().map(|(key, t)| (key.replace("base_model.model.model.", prefix), t.clone())).collect();
        candle_core::safetensors::save(&renamed, &path).unwrap();
        assert_eq!(bits(&Adapter::load(&spec(), dir.path(), &Device::Cpu).unwrap()), bits(&adapter), "{prefix}");
    }
}

#[test]
fn an_adapter_that_is_not_finite_or_not_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = awake();
    let (key, var) = &adapter.vars()[4];
    let good = var.as_tensor().copy().unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = good.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values[2] = bad;
        var.set(&Tensor::from_vec(values, good.dims(), &Device::Cpu).unwrap()).unwrap();
        let error = adapter.save(dir.path(), "nano").unwrap_err().to_string();
        assert!(error.contains(key.as_str()) && error.contains("not finite"), "{error}");
    }
    assert!(!dir.path().join("adapter_model.safetensors").exists());

    var.set(&good).unwrap();
    adapter.save(dir.path(), "nano").unwrap();
    let refusal = |spec| Adapter::load(&spec, dir.path(), &Device::Cpu).unwrap_err().to_string();
    let wider = medserl::model::spec::Spec { hidden_size: 40, ..spec() };
    assert!(refusal(wider).contains("layers.0.self_attn.q_proj.lora_A.weight"));
    let deeper = medserl::model::spec::Spec { global_layers: vec![true; 4], ..spec() };
    assert!(refusal(deeper).contains("layers.3."));
    let shallower = medserl::model::spec::Spec { global_layers: vec![true; 2], ..spec() };
    assert!(refusal(shallower).contains("14 tensors"));

    let config = dir.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    for (from, to, named) in
        [("\"use_dora\": false", "\"use_dora\": true", "use_dora"), ("\"r\": 3", "\"rr\": 3", "r is missing")]
    {
        std::fs::write(&config, text.replace(from, to)).unwrap();
        let error = format!("{:#}", Adapter::load(&spec(), dir.path(), &Device::Cpu).unwrap_err());
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_merged_adapter_draws_and_scores_as_one_beside_the_weights() {
    let (model, view) = (model(), awake().frozen());
    let merged = model.merged(&view).unwrap().expect("f32 weights are merged");
    let (beside, _) = shared().score(&model, Some(&view), TEMPERATURE).unwrap();
    let (inside, _) = shared().score(&merged, None, TEMPERATURE).unwrap();
    let (base, _) = shared().score(&model, None, TEMPERATURE).unwrap();
    let furthest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(furthest(&beside, &inside) < 1e-4, "{}", furthest(&beside, &inside));
    assert!(furthest(&beside, &base) > 1e-2, "an adapter that does nothing proves nothing");
}
