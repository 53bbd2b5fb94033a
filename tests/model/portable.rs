//! The path a GPU runs, on the CPU: by candle's operations, and by the GPU's own kernels compiled for the CPU. Both are held
//! against the CPU's fused operations, in values and in gradients.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
};

use candle_core::{DType, Device, Tensor, Var};
use medserl::{
    config::{Place, Precision},
    model::{
        Buffers,
        batch::TokenBatch,
        fused::flat::{Flat, Rule, all_finite},
        gemma3::Gemma3,
        generate::{Source, TokenRequest, generate_tokens},
        kernels::{Emulator, Launcher},
        lora::Adapter,
        ops::{
            attention::Heads,
            matrix::{Kept, Matrix},
        },
        place::{Ops, open, place_matrix},
        plan::Plan,
        portable::{arena::Cells, pick::pick, product},
        random::uniform,
        spec::Spec,
        weights::Weights,
    },
    task::Sampling,
    train::{
        optimizer::{AdamW, Gradients, Moments},
        parity::compare,
    },
};

use super::tiny::{awake, ids, model, tensor};

const COMPOSED: Ops = Ops::Portable(None);

/// The GPU's kernels, compiled once for this CPU.
fn kernels() -> Launcher {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    Launcher::Emulated(*EMULATOR.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("kernels.so");
        let built = Command::new("c++")
            .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-o"])
            .arg(&library)
            .arg(root.join("tests/model/emulate.cpp"))
            .output()
            .expect("this test needs a C++ compiler called c++");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        // SAFETY: the library was just built from this repository, and is never unloaded.
        unsafe {
            let library = Box::leak(Box::new(libloading::Library::new(&library).unwrap()));
            Emulator::new(*library.get(b"medserl_launch").unwrap())
        }
    }))
}

fn both() -> [(&'static str, Ops); 2] {
    [("composed", COMPOSED), ("kernels", Ops::Portable(Some(kernels())))]
}

fn moved(ops: Ops) -> Gemma3 {
    model().moved(&Device::Cpu, ops).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Within `tolerance` of the largest expected value (or of one, where all are smaller).
#[track_caller]
fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1f32, |top, v| top.max(v.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        assert!(off <= tolerance * largest, "{what}, value {i}: {found}, expected {expected}");
    }
}

/// Two prompts, one with three completions of different lengths, one of which is a single token; longer than the window of 6.
fn batch() -> TokenBatch {
    let mut batch = TokenBatch::default();
    batch.push(&ids(1, 11), &[&ids(2, 9), &ids(3, 1), &ids(4, 14)]);
    batch.push(&ids(5, 7), &[&ids(6, 8)]);
    batch
}

#[test]
fn whole_forwards_give_the_same_hidden_states_and_statistics() {
    let (reference, view, batch) = (model(), awake().frozen(), batch());
    let expected = values(&reference.forward(&batch.ids, &batch.plan(), Some(&view)).unwrap());
    let (logprobs, entropies) = batch.score(&reference, Some(&view), 0.7).unwrap();
    for (name, ops) in both() {
        let model = moved(ops);
        assert_near(name, &values(&model.forward(&batch.ids, &batch.plan(), Some(&view)).unwrap()), &expected, 2e-5);
        let found = batch.score(&model, Some(&view), 0.7).unwrap();
        assert_near(name, &found.0, &logprobs, 2e-5);
        assert_near(name, &found.1, &entropies, 2e-5);
    }
}

fn gradients(model: &Gemma3, adapter: &Adapter, kept: usize) -> Vec<Vec<f32>> {
    let mut sums = Gradients::zeros(adapter.vars());
    let slopes = |logprobs: &[f32], _: &[f32]| (0..logprobs.len()).map(|i| (i % 5) as f32 - 1.7).collect();
    batch().backward(model, adapter, 0.7, kept, slopes, &mut sums.0, &mut Buffers::default()).unwrap();
    sums.0
}

#[test]
fn every_gradient_reaches_the_adapter_and_is_the_same() {
    let adapter = awake();
    let expected = gradients(&model(), &adapter, usize::MAX);
    for (name, ops) in both() {
        let model = moved(ops);
        let found = gradients(&model, &adapter, usize::MAX);
        for ((key, _), (found, expected)) in adapter.vars().iter().zip(found.iter().zip(&expected)) {
            assert!(expected.iter().any(|g| g.abs() > 1e-4), "{key}: nothing to compare");
            assert_near(&format!("{name} {key}"), found, expected, 5e-5);
        }
        assert_eq!(gradients(&model, &adapter, 0), found, "{name}: a layer computed twice gives the same bits");
    }
}

#[test]
fn bf16_weights_stay_close_to_the_f32_they_were_rounded_from() {
    let matrix = Matrix::from_f32(&values(&tensor(9, &[40, 32], 1.0)), 40, 32, Kept::Bf16).unwrap();
    let placed = place_matrix(&matrix, &Device::Cpu).unwrap();
    let Matrix::Placed(tensor_of) = &placed else { panic!("a placed matrix") };
    assert_eq!(tensor_of.dtype(), DType::BF16);
    // A product of bf16 weights: x is rounded too, so each term is off by at most 2⁻⁸ of itself.
    let x = tensor(10, &[5, 32], 1.0);
    let mut wide = Vec::new();
    matrix.with_rows(0..40, &mut Vec::new(), |rows| wide = rows.to_vec()).unwrap();
    let exact = x.matmul(&Tensor::from_vec(wide, (40, 32), &Device::Cpu).unwrap().t().unwrap()).unwrap();
    for kernels in [None, Some(kernels())] {
        let y = product::times_transposed(&x, tensor_of, kernels).unwrap();
        assert_near("bf16 product", &values(&y), &values(&exact), 2e-2);
        let back = product::times(&y, tensor_of, kernels).unwrap();
        assert_eq!(back.dims(), [5, 32]);
    }
}

fn requests() -> Vec<TokenRequest> {
    [(20, 13, 3), (21, 4, 1), (22, 9, 2), (23, 6, 4)]
        .map(|(key, len, n)| TokenRequest { prompt: ids(key, len), n_completions: n, stream: key })
        .into()
}

fn written(model: &Gemma3, temperature: f32, stops: &[u32], cache_bytes: usize) -> Vec<(Vec<u32>, Vec<f32>)> {
    let view = awake().frozen();
    let source = Source { model, adapter: Some(&view), stops, seed: 4, cache_bytes };
    let slots = generate_tokens(source, &requests(), Sampling { temperature, max_tokens: 17 }, &mut |_| Ok(true)).unwrap();
    slots.into_iter().map(|s| (s.tokens, s.logprobs)).collect()
}

#[test]
fn completions_are_the_same_tokens_with_the_same_log_probs() {
    for temperature in [0.0, 1.0] {
        // Tokens of the unstopped text as stops: some completions end early and make room.
        let all = written(&model(), temperature, &[], usize::MAX);
        let stops = [all[0].0[5], all[4].0[2], all[7].0[9]];
        let expected = written(&model(), temperature, &stops, usize::MAX);
        assert!(expected.iter().any(|c| c.0.len() < 17), "some end early");
        for (name, ops) in both() {
            // Room for two completions at a time: the others wait, and nothing else changes.
            let found = written(&moved(ops), temperature, &stops, 30 << 10);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.0, expected.0, "{name}, completion {i} at temperature {temperature}");
                assert_near(name, &found.1, &expected.1, 3e-5);
            }
        }
    }
}

#[test]
fn room_is_cut_into_cells_that_fit_it() {
    let sizes = [(13, 3), (4, 1), (9, 2), (6, 4)];
    let all = Cells::fit(&sizes, 17, 100, usize::MAX);
    assert_eq!((all.n_tails, all.n_prompts), (10, 4));
    for budget in [0, 5_000, 9_000, 20_000, 40_000] {
        let cells = Cells::fit(&sizes, 17, 100, budget);
        assert!(cells.n_tails == 1 || cells.positions() * 100 <= budget, "{cells:?} in {budget}");
        assert!(cells.n_tails >= 1 && cells.n_prompts >= 1);
        let starts = (0..cells.n_prompts).map(|c| cells.prompt_start(c)).chain((0..cells.n_tails).map(|c| cells.tail_start(c)));
        let starts: Vec<usize> = starts.collect();
        assert!(starts.is_sorted() && *starts.last().unwrap() + 17 == cells.positions());
    }
}

#[test]
fn a_draw_falls_where_the_running_sum_says() {
    // 1300 words: three parts of 512, the last one short.
    let logits = Tensor::from_vec(uniform(3, 3, 4 * 1300, 4.0), (4, 1300), &Device::Cpu).unwrap();
    for (name, kernels) in [("composed", None), ("kernels", Some(kernels()))] {
        for round in 0..25u64 {
            let units: Vec<f64> = uniform(9, round, 4, 0.5).iter().map(|u| f64::from(*u) + 0.5).collect();
            let picked = pick(&logits, 1.3, &units, kernels).unwrap();
            for ((row, unit), (token, logprob)) in logits.to_vec2::<f32>().unwrap().iter().zip(&units).zip(picked) {
                let e: Vec<f64> = row.iter().map(|x| f64::from(x / 1.3).exp()).collect();
                let total: f64 = e.iter().sum();
                let before: f64 = e[..token as usize].iter().sum();
                let (low, high) = (before / total, (before + e[token as usize]) / total);
                assert!((low - 1e-6..=high + 1e-6).contains(unit), "{name}: {unit} is not in {low}..{high}");
                assert!((f64::from(logprob) - (e[token as usize] / total).ln()).abs() < 1e-5, "{name}");
            }
        }
        let greedy = pick(&logits, 0.0, &[0.0; 4], kernels).unwrap();
        for (row, (token, _)) in logits.to_vec2::<f32>().unwrap().iter().zip(greedy) {
            assert!(row.iter().all(|x| *x <= row[token as usize]), "{name}");
        }
    }
}

#[test]
fn every_composed_operation_agrees_with_the_cpu_on_awkward_shapes() {
    for round in 0..24u64 {
        let draw =
            |low: usize, high: usize, key: u64| low + ((uniform(round, key, 1, 0.5)[0] + 0.5) * (high - low) as f32) as usize;
        let (rows, group, kv, hd) = (draw(1, 5, 1), [1, 2, 4][round as usize % 3], draw(1, 4, 2), 2 * draw(1, 40, 3));
        let heads = Heads {
            n_heads: group * kv,
            n_kv_heads: kv,
            head_dim: hd,
            scale: 0.4,
            window: (round % 2 == 0).then(|| draw(1, 9, 4)),
        };
        let mut plan = Plan::default();
        plan.push_root(draw(1, 9, 5));
        (0..draw(0, 4, 6)).for_each(|i| _ = plan.push_child(draw(1, 7, 10 + i as u64)));
        let n = plan.n_rows;
        let plan = Arc::new(plan);
        let arguments = [tensor(1, &[n, group * kv * hd], 1.0), tensor(2, &[n, kv * hd], 1.0), tensor(3, &[n, kv * hd], 1.0)];
        let weights = tensor(4, &[n, group * kv * hd], 1.0);
        let attend = |ops: Ops| {
            let vars: Vec<Var> = arguments.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let y = medserl::model::gemma3::Attend::attend(&mut ops.over(&plan), 0, &vars[0], &vars[1], &vars[2], heads).unwrap();
            let grads = (&y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            let mut all = vec![values(&y)];
            all.extend(vars.iter().map(|v| values(grads.get(v).unwrap())));
            all
        };
        let expected = attend(Ops::Cpu);
        for (found, expected) in attend(COMPOSED).iter().zip(&expected) {
            assert_near(&format!("attention {heads:?}"), found, expected, 2e-5);
        }
        let (d, width) = (2 * draw(1, 300, 7), rows);
        let (x, w, up) = (tensor(5, &[width, d], 2.0), tensor(6, &[d], 0.5), tensor(7, &[width, d], 2.0));
        let run = |ops: Ops| {
            let vars = [Var::from_tensor(&x).unwrap(), Var::from_tensor(&up).unwrap()];
            let y = ops.geglu(&ops.rms_norm(&vars[0], &w, 1e-6).unwrap(), &vars[1]).unwrap();
            let grads = (&y * &up).unwrap().sum_all().unwrap().backward().unwrap();
            [values(&y), values(grads.get(&vars[0]).unwrap()), values(grads.get(&vars[1]).unwrap())]
        };
        let expected = run(Ops::Cpu);
        run(COMPOSED).iter().zip(&expected).for_each(|(f, e)| assert_near(&format!("norm and geglu of {d}"), f, e, 3e-5));
    }
}

/// A model, an adapter and a batch of a shape that no GPU would choose.
fn awkward(round: u64) -> (Spec, TokenBatch) {
    let draw = |low: usize, high: usize, key: u64| low + ((uniform(round, key, 1, 0.5)[0] + 0.5) * (high - low) as f32) as usize;
    let (group, kv) = ([1, 2, 4][round as usize % 3], draw(1, 4, 2));
    let spec = Spec {
        vocab_size: draw(40, 1400, 1),
        hidden_size: draw(5, 600, 7),
        intermediate_size: draw(3, 700, 8),
        n_heads: group * kv,
        n_kv_heads: kv,
        head_dim: if round == 7 { 256 } else { 2 * draw(1, 40, 3) },
        norm_eps: 1e-6,
        query_pre_attn_scalar: 20.0,
        sliding_window: draw(1, 9, 4),
        rope_theta_local: 1e4,
        rope_theta_global: 1e6,
        rope_scale_global: 8.0,
        max_positions: 64,
        global_layers: vec![round.is_multiple_of(2), round % 4 < 2],
    };
    let mut batch = TokenBatch::default();
    for root in 0..draw(1, 4, 5) as u64 {
        let words = |key: u64, n: usize| -> Vec<u32> {
            let draws = uniform(round, 100 * (root + 1) + key, n, 0.5);
            draws.iter().map(|u| ((u + 0.5) * spec.vocab_size as f32) as u32 % spec.vocab_size as u32).collect()
        };
        let kids: Vec<Vec<u32>> = (0..draw(1, 5, 6 + root)).map(|k| words(k as u64, draw(1, 12, 40 + k as u64))).collect();
        batch.push(&words(50, draw(1, 14, 20 + root)), &kids.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    (spec, batch)
}

#[test]
fn kernels_agree_with_the_cpu_on_awkward_shapes() {
    for round in 0..24u64 {
        let (spec, batch) = awkward(round);
        let weights = Weights::random(&spec, Precision::F32, round).unwrap();
        let adapter = Adapter::new(&spec, 3, 6.0, round, &Device::Cpu).unwrap();
        for (i, (_, var)) in adapter.vars().iter().enumerate() {
            var.set(&tensor(round + i as u64, var.dims(), 0.2)).unwrap();
        }
        let run = |ops: Ops| {
            let model = Gemma3::new(spec.clone(), &weights, 64).unwrap().moved(&Device::Cpu, ops).unwrap();
            let mut sums = Gradients::zeros(adapter.vars());
            let slopes = |logprobs: &[f32], _: &[f32]| (0..logprobs.len()).map(|i| (i % 5) as f32 - 1.7).collect();
            batch.backward(&model, &adapter, 0.9, 0, slopes, &mut sums.0, &mut Buffers::default()).unwrap();
            let view = adapter.frozen();
            let mut base = batch.score(&model, None, 1.0).unwrap().0;
            base.extend(model.inputs(&batch.ids, &batch.plan()).unwrap().iter().flat_map(values));
            let source = Source { model: &model, adapter: Some(&view), stops: &[], seed: 4, cache_bytes: 60 << 10 };
            let request = |n: usize| TokenRequest { prompt: batch.ids[..n].to_vec(), n_completions: n, stream: n as u64 };
            let requests = [request(1), request(3.min(batch.ids.len()))];
            let slots =
                generate_tokens(source, &requests, Sampling { temperature: 1.0, max_tokens: 7 }, &mut |_| Ok(true)).unwrap();
            let tokens: Vec<Vec<u32>> = slots.iter().map(|s| s.tokens.clone()).collect();
            (sums.0, base, tokens, slots.into_iter().flat_map(|s| s.logprobs).collect::<Vec<f32>>())
        };
        let (expected, found) = (run(Ops::Cpu), run(Ops::Portable(Some(kernels()))));
        for ((key, _), (found, expected)) in adapter.vars().iter().zip(found.0.iter().zip(&expected.0)) {
            assert_near(&format!("{spec:?}: {key}"), found, expected, 1e-4);
        }
        assert_near(&format!("{spec:?}: base log-probs and hidden states"), &found.1, &expected.1, 3e-5);
        assert_eq!(found.2, expected.2, "{spec:?}: tokens");
        assert_near(&format!("{spec:?}: log-probs of tokens"), &found.3, &expected.3, 3e-5);
    }
}

/// The largest difference, as a share of the largest expected value.
fn apart(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1e-9f32, |top, v| top.max(v.abs()));
    found.iter().zip(expected).map(|(f, e)| (f - e).abs() / largest).fold(0.0, f32::max)
}

/// A model of an awkward shape by the kernels, its adapter and a batch.
fn placed_awkward(round: u64, precision: Precision) -> (Gemma3, Gemma3, Adapter, TokenBatch) {
    let (spec, batch) = awkward(round);
    let weights = Weights::random(&spec, precision, round).unwrap();
    let adapter = Adapter::new(&spec, 3, 6.0, round, &Device::Cpu).unwrap();
    adapter.vars().iter().enumerate().for_each(|(i, (_, var))| var.set(&tensor(i as u64, var.dims(), 0.05)).unwrap());
    let model = |ops| Gemma3::new(spec.clone(), &weights, 64).unwrap().moved(&Device::Cpu, ops).unwrap();
    (model(Ops::Cpu), model(Ops::Portable(Some(kernels()))), adapter, batch)
}

fn some_slopes(logprobs: &[f32], _: &[f32]) -> Vec<f32> {
    (0..logprobs.len()).map(|i| (i % 5) as f32 - 1.7).collect()
}

/// Of bf16 weights, what meets them in a product is rounded too: each term is off by at most 2⁻⁸ of itself.
#[test]
fn kernels_stay_close_to_the_cpu_where_weights_are_bf16() {
    for round in [1, 7, 12] {
        let (cpu, placed, adapter, batch) = placed_awkward(round, Precision::Bf16);
        let run = |model: &Gemma3| {
            let mut sums = Gradients::zeros(adapter.vars());
            batch.backward(model, &adapter, 0.9, 0, some_slopes, &mut sums.0, &mut Buffers::default()).unwrap();
            (sums.0, batch.score(model, Some(&adapter.frozen()), 1.0).unwrap().0)
        };
        let (expected, found) = (run(&cpu), run(&placed));
        assert!(apart(&found.1, &expected.1) < 2e-2, "round {round}: log-probs");
        for ((key, _), (found, expected)) in adapter.vars().iter().zip(found.0.iter().zip(&expected.0)) {
            let off = apart(found, expected);
            assert!(off < 5e-2, "round {round}: {key} is off by {off}");
        }
    }
}

#[test]
fn gradients_add_up_where_they_are_and_learn_as_on_the_cpu() {
    let (_, placed, adapter, batch) = placed_awkward(3, Precision::F32);
    let zeros = || Flat::zeros(&placed, adapter.rank, kernels()).unwrap();
    let grads = zeros();
    let mut expected = Gradients::zeros(adapter.vars());
    for _ in 0..2 {
        batch.backward_placed(&placed, &adapter, 0.9, some_slopes, kernels(), &grads).unwrap();
        batch.backward(&placed, &adapter, 0.9, 0, some_slopes, &mut expected.0, &mut Buffers::default()).unwrap();
    }
    for ((key, _), (found, expected)) in adapter.vars().iter().zip(grads.to_main().unwrap().iter().zip(&expected.0)) {
        assert_near(key, found, expected, 1e-6);
    }
    assert!((grads.norm().unwrap() / expected.norm() - 1.0).abs() < 1e-6);

    // Two steps of the same rule, one on either side, from the same weights and moments.
    let twin: Vec<(String, Var)> =
        adapter.vars().iter().map(|(key, v)| (key.clone(), Var::from_tensor(&v.as_tensor().copy().unwrap()).unwrap())).collect();
    let (mut first, mut second) = (zeros(), zeros());
    let start: Vec<Vec<f32>> = expected.0.iter().map(|g| vec![0.25; g.len()]).collect();
    first.set(&start).unwrap();
    second.set(&start).unwrap();
    let mut moments = Moments::zeros(adapter.vars());
    (moments.first, moments.second) = (start.clone(), start);
    let adamw = AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1 };
    for t in 1..=2 {
        let rule = Rule {
            factor: 1.0,
            betas: (0.9, 0.95),
            rest: (0.1, 0.05),
            step_size: (0.01 / (1.0 - 0.9f64.powi(t))) as f32,
            correct2: (1.0 - 0.95f64.powi(t)).sqrt() as f32,
            eps: 1e-8,
            keep: 1.0 - 0.01 * 0.1,
        };
        grads.step(adapter.vars(), &first, &second, &rule).unwrap();
        adamw.step(&twin, &expected, &mut moments, 0.01, |_| true).unwrap();
    }
    for (i, ((key, found), (_, expected))) in adapter.vars().iter().zip(&twin).enumerate() {
        assert_near(key, &values(found), &values(expected), 1e-6);
        assert_near(key, &first.to_main().unwrap()[i], &moments.first[i], 1e-6);
        assert_near(key, &second.copy().unwrap().to_main().unwrap()[i], &moments.second[i], 1e-6);
    }
    assert!(all_finite(adapter.vars(), &Device::Cpu, kernels()).unwrap());
    let (_, last) = adapter.vars().last().unwrap();
    last.set(&Tensor::full(f32::NAN, last.shape(), &Device::Cpu).unwrap()).unwrap();
    assert!(!all_finite(adapter.vars(), &Device::Cpu, kernels()).unwrap());
    assert!(zeros().set(&[vec![0.0; 1]]).is_err(), "values for another adapter");
}

#[test]
fn trained_weights_and_8_bit_weights_are_refused_by_name() {
    let matrix = Matrix::from_f32(&values(&tensor(1, &[4, 32], 1.0)), 4, 32, Kept::Int8).unwrap();
    let error = place_matrix(&matrix, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("8-bit") && error.contains("bf16"), "{error}");
    let trained = Matrix::Plain(Var::from_tensor(&tensor(1, &[4, 32], 1.0)).unwrap().as_tensor().clone());
    let error = COMPOSED.linear(&tensor(2, &[1, 32], 1.0), &trained).unwrap_err().to_string();
    assert!(error.contains("trained on the CPU only"), "{error}");
}

#[test]
fn the_reference_dump_holds_on_the_gpu_path_too() {
    // The dumps lie beside a full checkout; `medserl parity DIR --device cpu/composed` is the same by hand.
    let dumps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens/golden-1");
    for dump in ["text", "mm"].map(|kind| dumps.join(kind)).iter().filter(|d| d.exists()) {
        let rows = compare(Place::Composed, dump, "config.json", "model.safetensors", Precision::Stored).unwrap();
        assert!(rows.len() > 20);
        let failed: Vec<_> = rows.iter().filter(|r| !r.passed).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
    if !dumps.exists() {
        eprintln!("skipped: there are no dumps in {}", dumps.display());
    }
    assert_eq!(open(Place::Composed).unwrap().1, COMPOSED);
}
