//! Every op against central differences, and those with a plain definition against it.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use medserl::model::{
    ops::{
        attention::{Heads, attention},
        geglu::geglu,
        linear::{linear, lora_linear},
        logprob::{ENTROPY, LOGPROB, linear_logprob},
        matrix::Matrix,
        norm::{add_normed, rms_norm},
        rope::{RopeTable, rope},
        simd,
    },
    plan::Plan,
};

use super::tiny::tensor;

/// Half the distance of a central difference. In f32 its error is about 3e-5 for values of order one.
const STEP: f32 = 1e-2;
/// Allowed difference, relative to the largest gradient of an argument (or to one, where all are smaller).
const TOLERANCE: f64 = 1e-3;

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Compares the gradient of a random weighting of `f`'s result with central differences, for every `stride`-th element of every argument.
#[track_caller]
fn check_gradients(arguments: &[Tensor], stride: usize, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let vars: Vec<Var> = arguments.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let result = || f(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>()).unwrap();
    let y = result();
    let weights = tensor(77, y.dims(), 1.0);
    let grads = (&y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let weights = values(&weights);
    let loss = || values(&result()).iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>();
    for (n, var) in vars.iter().enumerate() {
        let gradient = values(grads.get(var).unwrap_or_else(|| panic!("argument {n} has no gradient")));
        let largest = gradient.iter().fold(0f64, |top, g| top.max(f64::from(g.abs())));
        assert!(largest > 0.05, "argument {n}: gradients up to {largest} prove nothing");
        let at = values(var);
        let put = |i: usize, x: f32| {
            let mut moved = at.clone();
            moved[i] = x;
            var.set(&Tensor::from_vec(moved, var.dims(), &Device::Cpu).unwrap()).unwrap();
        };
        for i in (0..at.len()).step_by(stride) {
            let (above, below) = (at[i] + STEP, at[i] - STEP);
            put(i, above);
            let up = loss();
            put(i, below);
            let difference = (up - loss()) / f64::from(above - below);
            let off = (difference - f64::from(gradient[i])).abs();
            assert!(
                off <= TOLERANCE * largest.max(1.0),
                "argument {n}, element {i}: gradient {}, central difference {difference}",
                gradient[i]
            );
        }
        put(0, at[0]);
    }
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() <= tolerance, "element {i}: {found}, expected {expected}");
    }
}

#[test]
fn rms_norm_has_the_gradients_of_input_and_weight() {
    // 40 features: one full row of vector lanes and a remainder.
    let (x, w) = (tensor(1, &[5, 40], 1.0), tensor(2, &[40], 0.5));
    check_gradients(&[x.clone(), w.clone()], 1, |a| rms_norm(&a[0], &a[1], 1e-6));
    let expected: Vec<f64> = values(&x)
        .chunks(40)
        .flat_map(|row| {
            let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 40.0;
            row.iter()
                .zip(values(&w))
                .map(|(x, w)| f64::from(*x) / (mean + 1e-6).sqrt() * (1.0 + f64::from(w)))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_close(&values(&rms_norm(&x, &w, 1e-6).unwrap()), &expected, 1e-5);
}

#[test]
fn a_normed_branch_is_added_with_the_gradients_of_both_sides() {
    let arguments = [tensor(41, &[3, 16], 1.0), tensor(42, &[3, 16], 1.0), tensor(43, &[16], 0.5)];
    check_gradients(&arguments, 1, |a| add_normed(&a[0], &a[1], &a[2], 1e-6));
    let [x, y, w] = &arguments;
    let apart = (x + rms_norm(y, w, 1e-6).unwrap()).unwrap();
    let apart: Vec<f64> = values(&apart).iter().map(|v| f64::from(*v)).collect();
    assert_close(&values(&add_normed(x, y, w, 1e-6).unwrap()), &apart, 1e-6);
}

#[test]
fn rms_norm_of_heads_norms_each_head_alone() {
    let (x, w) = (tensor(3, &[4, 24], 1.0), tensor(4, &[8], 0.5));
    check_gradients(&[x.clone(), w.clone()], 1, |a| rms_norm(&a[0], &a[1], 1e-6));
    let whole = values(&rms_norm(&x, &w, 1e-6).unwrap());
    let split = values(&rms_norm(&x.reshape((12, 8)).unwrap(), &w, 1e-6).unwrap());
    assert_eq!(whole, split);
}

#[test]
fn rope_rotates_by_position_and_back() {
    let table = Arc::new(RopeTable::new(8, 1e4, 1.0, 32));
    let at = |p: &[u32]| Arc::new(p.to_vec());
    check_gradients(&[tensor(5, &[4, 16], 1.0)], 1, |a| rope(&a[0], &table, &at(&[0, 3, 7, 31])));

    // Scores depend on the distance of two positions only.
    let (q, k) = (tensor(6, &[1, 8], 1.0), tensor(7, &[1, 8], 1.0));
    let score = |p: u32, s: u32| {
        let (q, k) = (rope(&q, &table, &at(&[p])).unwrap(), rope(&k, &table, &at(&[s])).unwrap());
        f64::from((q * k).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
    };
    assert!((score(9, 4) - score(25, 20)).abs() < 1e-5);
    assert!((score(9, 4) - score(9, 5)).abs() > 1e-3);
    assert_eq!(values(&rope(&q, &table, &at(&[0])).unwrap()), values(&q), "position 0 is not rotated");
    // Linear scaling divides the position.
    let scaled = Arc::new(RopeTable::new(8, 1e4, 8.0, 32));
    assert_eq!(values(&rope(&q, &scaled, &at(&[16])).unwrap()), values(&rope(&q, &table, &at(&[2])).unwrap()));
    assert!(rope(&q, &table, &at(&[32])).unwrap_err().to_string().contains("position 32"));
}

/// Two prompts with 3 and 2 completions, one without any; the window of 4 is shorter than every one of the prompts.
fn branching() -> Arc<Plan> {
    let mut plan = Plan::default();
    plan.push_root(5);
    [3, 1, 6].into_iter().for_each(|len| _ = plan.push_child(len));
    plan.push_root(7);
    plan.push_root(6);
    [2, 2].into_iter().for_each(|len| _ = plan.push_child(len));
    Arc::new(plan)
}

fn heads(window: Option<usize>) -> Heads {
    Heads { n_heads: 4, n_kv_heads: 2, head_dim: 8, scale: 0.5, window }
}

/// Attention by its definition, in f64.
fn plain_attention(q: &[f32], k: &[f32], v: &[f32], heads: Heads, plan: &Plan) -> Vec<f64> {
    let (hd, per_kv) = (heads.head_dim, heads.n_heads / heads.n_kv_heads);
    let mut out = vec![0f64; q.len()];
    for segment in &plan.segments {
        for i in 0..segment.len {
            let prompt = segment.parent.map_or(0..0, |p| plan.segments[p].start..plan.segments[p].start + plan.segments[p].len);
            let all: Vec<usize> = prompt.chain(segment.start..=segment.start + i).collect();
            let seen = &all[heads.window.map_or(0, |w| all.len().saturating_sub(w))..];
            for head in 0..heads.n_heads {
                let at = |row: usize, head: usize, n: usize| row * n * hd + head * hd;
                let row = at(segment.start + i, head, heads.n_heads);
                let dot = |key: usize| (0..hd).map(|d| f64::from(q[row + d]) * f64::from(k[key + d])).sum::<f64>();
                let keys: Vec<usize> = seen.iter().map(|s| at(*s, head / per_kv, heads.n_kv_heads)).collect();
                let p: Vec<f64> = keys.iter().map(|key| (dot(*key) * f64::from(heads.scale)).exp()).collect();
                let sum: f64 = p.iter().sum();
                for (p, key) in p.iter().zip(&keys) {
                    (0..hd).for_each(|d| out[row + d] += p / sum * f64::from(v[key + d]));
                }
            }
        }
    }
    out
}

#[test]
fn attention_sees_its_prompt_its_past_and_its_window() {
    for window in [None, Some(4), Some(1), Some(100)] {
        let plan = branching();
        let (n, heads) = (plan.n_rows, heads(window));
        let (q, k, v) = (tensor(8, &[n, 32], 2.0), tensor(9, &[n, 16], 2.0), tensor(10, &[n, 16], 1.0));
        let expected = plain_attention(&values(&q), &values(&k), &values(&v), heads, &plan);
        assert_close(&values(&attention(&q, &k, &v, heads, &plan).unwrap()), &expected, 1e-5);
    }
}

#[test]
fn attention_has_the_gradients_of_queries_keys_and_values() {
    let plan = branching();
    let n = plan.n_rows;
    for window in [None, Some(4)] {
        let arguments = [tensor(8, &[n, 32], 1.0), tensor(9, &[n, 16], 1.0), tensor(10, &[n, 16], 1.0)];
        check_gradients(&arguments, 1, |a| attention(&a[0], &a[1], &a[2], heads(window), &plan));
    }
}

#[test]
fn geglu_has_the_gradients_of_gate_and_up() {
    let (gate, up) = (tensor(11, &[6, 9], 3.0), tensor(12, &[6, 9], 2.0));
    check_gradients(&[gate.clone(), up.clone()], 1, |a| geglu(&a[0], &a[1]));
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let expected: Vec<f64> = values(&gate).iter().zip(values(&up)).map(|(g, u)| gelu(f64::from(*g)) * f64::from(u)).collect();
    assert_close(&values(&geglu(&gate, &up).unwrap()), &expected, 2e-6);
    let far = Tensor::new(&[-60f32, 60.0], &Device::Cpu).unwrap();
    assert_eq!(values(&geglu(&far, &Tensor::ones(2, candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap()), [0.0, 60.0]);
}

#[test]
fn a_trainable_product_has_both_gradients() {
    check_gradients(&[tensor(13, &[5, 7], 1.0), tensor(14, &[6, 7], 1.0)], 1, |a| linear(&a[0], &Matrix::Plain(a[1].clone())));
}

#[test]
fn a_frozen_product_passes_the_gradient_and_keeps_none() {
    let w = tensor(14, &[6, 7], 1.0);
    check_gradients(&[tensor(13, &[5, 7], 1.0)], 1, |a| linear(&a[0], &Matrix::Plain(w.clone())));
    let x = Var::from_tensor(&tensor(13, &[5, 7], 1.0)).unwrap();
    let grads = linear(&x, &Matrix::Plain(w.clone())).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_some() && grads.get(&w).is_none());
}

#[test]
fn an_adapted_product_has_the_gradients_of_input_a_and_b() {
    let w = tensor(15, &[6, 7], 1.0);
    let arguments = [tensor(16, &[5, 7], 1.0), tensor(17, &[3, 7], 1.0), tensor(18, &[6, 3], 1.0)];
    check_gradients(&arguments, 1, |a| lora_linear(&a[0], &Matrix::Plain(w.clone()), &a[1], &a[2], 1.5));
    let [x, a, b] = &arguments;
    let low_rank = x.matmul(&a.t().unwrap()).unwrap().matmul(&b.t().unwrap()).unwrap().affine(1.5, 0.0).unwrap();
    let expected = (x.matmul(&w.t().unwrap()).unwrap() + low_rank).unwrap();
    let expected: Vec<f64> = values(&expected).into_iter().map(f64::from).collect();
    assert_close(&values(&lora_linear(x, &Matrix::Plain(w), a, b, 1.5).unwrap()), &expected, 1e-5);
}

/// More words than fit one chunk of the vocabulary, targets in both chunks, and scores spread enough for a few words to matter.
const WORDS: usize = 2100;
const TARGETS: [u32; 4] = [3, 2047, 2048, 2099];

#[test]
fn the_head_has_the_gradients_of_hidden_states_and_embedding() {
    let (h, w) = (tensor(19, &[4, 6], 3.0), tensor(20, &[WORDS, 6], 1.0));
    check_gradients(&[h.clone(), w.clone()], 5, |a| {
        linear_logprob(&a[0], &Matrix::Plain(a[1].clone()), &TARGETS, 0.7)?.get(LOGPROB)
    });
    check_gradients(&[h], 1, |a| linear_logprob(&a[0], &Matrix::Plain(w.clone()), &TARGETS, 0.7)?.get(LOGPROB));
}

#[test]
fn the_head_gives_log_probs_and_entropies_of_the_tempered_softmax() {
    let (h, w) = (tensor(19, &[4, 6], 3.0), tensor(20, &[WORDS, 6], 1.0));
    let logits: Vec<Vec<f32>> = h.matmul(&w.t().unwrap()).unwrap().to_vec2().unwrap();
    let (mut logprobs, mut entropies) = (Vec::new(), Vec::new());
    for (row, target) in logits.iter().zip(TARGETS) {
        let x: Vec<f64> = row.iter().map(|x| f64::from(*x) / 0.7).collect();
        let log_sum = x.iter().map(|x| x.exp()).sum::<f64>().ln();
        logprobs.push(x[target as usize] - log_sum);
        entropies.push(-x.iter().map(|x| (x - log_sum).exp() * (x - log_sum)).sum::<f64>());
    }
    let trained = Var::from_tensor(&w).unwrap();
    for w in [Matrix::Plain(w.clone()), Matrix::Plain(trained.as_tensor().clone())] {
        let stats = linear_logprob(&h, &w, &TARGETS, 0.7).unwrap();
        assert_close(&values(&stats.get(LOGPROB).unwrap()), &logprobs, 2e-5);
        assert_close(&values(&stats.get(ENTROPY).unwrap()), &entropies, 2e-5);
    }
    assert!(linear_logprob(&h, &Matrix::Plain(w), &[0, 1, 2, WORDS as u32], 1.0).is_err(), "a target beyond the vocabulary");
}

#[test]
fn the_fast_exponential_is_exact_to_single_precision() {
    for i in -8_600..=8_700 {
        let x = i as f32 / 100.0;
        let (fast, exact) = (f64::from(simd::exp(x)), f64::from(x).exp());
        assert!(((fast - exact) / exact).abs() < 5e-7, "exp({x}) = {fast}, expected {exact}");
    }
}
