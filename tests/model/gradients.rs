//! Gradients of every own operation against finite differences, taken in f64 on a plain definition of the operation that shares no
//! code with it. The plain backward passes, which the property tests use, are held to the same differences.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use medserl::model::{
    gemma3::Gemma3,
    ops::{
        attention::{Heads, attention},
        geglu::geglu,
        linear::{linear, lora_linear},
        logprob::{Head, LOGPROB, linear_logprob},
        matrix::{Kept, Matrix},
        norm::rms_norm,
        rope::{RopeTable, rope},
    },
    plan::Plan,
    weights::Weights,
};

use super::{
    plain,
    tiny::{spec, tensor},
};

/// Half the distance of a central difference in f64: its own error is below 1e-9.
const STEP: f64 = 1e-5;
/// Largest difference between an f32 value or gradient and its f64 counterpart, relative to the largest of its tensor.
const TOLERANCE: f64 = 5e-6;
/// The same between two f64 numbers.
const EXACT: f64 = 1e-8;

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let top = expected.iter().fold(0f64, |top, v| top.max(v.abs()));
    assert!(top > 0.05, "{what}: values up to {top} prove nothing");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * top, "{what}, element {i}: {a}, expected {b}, the largest is {top}");
    }
}

/// d (g · f) / d argument n, for every element.
fn differences(at: &[Vec<f64>], n: usize, g: &[f64], f: &dyn Fn(&[Vec<f64>]) -> Vec<f64>) -> Vec<f64> {
    let mut moved = at.to_vec();
    let mut loss = |i: usize, x: f64| {
        moved[n][i] = x;
        let y: f64 = f(&moved).iter().zip(g).map(|(y, g)| y * g).sum();
        moved[n][i] = at[n][i];
        y
    };
    (0..at[n].len()).map(|i| (loss(i, at[n][i] + STEP) - loss(i, at[n][i] - STEP)) / (2.0 * STEP)).collect()
}

/// From arguments and the gradient of the result to the gradient of each argument.
type Backward<'a> = &'a dyn Fn(&[Vec<f64>], &[f64]) -> Vec<Vec<f64>>;

/// Holds an operation and the plain backward (one gradient an argument) to the plain forward.
#[track_caller]
fn check(
    arguments: &[Tensor],
    ours: impl Fn(&[Tensor]) -> Result<Tensor>,
    forward: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
    backward: Backward,
) {
    let vars: Vec<Var> = arguments.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let y = ours(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>()).unwrap();
    let at: Vec<Vec<f64>> = arguments.iter().map(values).collect();
    assert_near("the value", &values(&y), &forward(&at), TOLERANCE);
    let weights = tensor(77, y.dims(), 1.0);
    let grads = (&y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let g = values(&weights);
    let plain = backward(&at, &g);
    for (n, var) in vars.iter().enumerate() {
        let expected = differences(&at, n, &g, forward);
        let found = values(grads.get(var).unwrap_or_else(|| panic!("argument {n} has no gradient")));
        assert_near(&format!("gradient of argument {n}"), &found, &expected, TOLERANCE);
        assert_near(&format!("plain gradient of argument {n}"), &plain[n], &expected, EXACT);
    }
}

#[test]
fn norm() {
    // One full row of vector lanes and a remainder; then heads normed alone.
    for (shape, d) in [([5, 40], 40), ([4, 24], 8)] {
        let arguments = [tensor(1, &shape, 1.0), tensor(2, &[d], 0.5)];
        check(&arguments, |a| rms_norm(&a[0], &a[1], 1e-6), &|a| plain::norm(&a[0], &a[1], f64::from(1e-6f32)), &|a, g| {
            let (dx, dw) = plain::norm_back(&a[0], &a[1], f64::from(1e-6f32), g);
            vec![dx, dw]
        });
    }
}

#[test]
fn rotation() {
    let positions = vec![0u32, 3, 7, 500];
    for (theta, scale) in [(1e4, 1.0), (1e6, 8.0)] {
        let (table, at) = (Arc::new(RopeTable::new(8, theta, scale, 512)), Arc::new(positions.clone()));
        check(
            &[tensor(5, &[4, 16], 1.0)],
            |a| rope(&a[0], &table, &at),
            &|a| plain::rope(&a[0], &positions, 8, theta, scale, 1.0),
            &|_, g| vec![plain::rope(g, &positions, 8, theta, scale, -1.0)],
        );
    }
}

#[test]
fn gated_gelu() {
    check(
        &[tensor(11, &[6, 9], 4.0), tensor(12, &[6, 9], 2.0)],
        |a| geglu(&a[0], &a[1]),
        &|a| plain::geglu(&a[0], &a[1]),
        &|a, g| {
            let (gate, up) = plain::geglu_back(&a[0], &a[1], g);
            vec![gate, up]
        },
    );
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

#[test]
fn attention_over_shared_prompts_and_windows() {
    let plan = branching();
    let n = plan.n_rows;
    for window in [None, Some(4), Some(1)] {
        let heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 8, scale: 0.5, window };
        let arguments = [tensor(8, &[n, 32], 1.0), tensor(9, &[n, 16], 1.0), tensor(10, &[n, 16], 1.0)];
        let forward = |a: &[Vec<f64>]| plain::attention(&a[0], &a[1], &a[2], heads, &plan);
        let backward = |a: &[Vec<f64>], g: &[f64]| plain::attention_back(&a[0], &a[1], &a[2], heads, &plan, g).into();
        if window == Some(1) {
            // A row that sees only itself has no use for its query and key: their gradients are zero, not small.
            let vars: Vec<Var> = arguments.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let y = attention(vars[0].as_tensor(), vars[1].as_tensor(), vars[2].as_tensor(), heads, &plan).unwrap();
            let grads = y.sum_all().unwrap().backward().unwrap();
            assert_near("the value", &values(&y), &forward(&arguments.iter().map(values).collect::<Vec<_>>()), TOLERANCE);
            assert!(vars[..2].iter().all(|v| values(grads.get(v).unwrap()).iter().all(|g| g.abs() < 1e-6)));
            continue;
        }
        check(&arguments, |a| attention(&a[0], &a[1], &a[2], heads, &plan), &forward, &backward);
    }
}

fn kept(matrix: &Matrix) -> Vec<f64> {
    let rows = matrix.dims().unwrap().0;
    matrix.with_rows(0..rows, &mut Vec::new(), |v| v.iter().map(|v| f64::from(*v)).collect()).unwrap()
}

#[test]
fn products_trainable_frozen_and_adapted() {
    let (n, m, k, r, scale) = (5, 6, 32, 3, 1.5);
    let w = tensor(14, &[m, k], 1.0);
    check(
        &[tensor(13, &[n, k], 1.0), w.clone()],
        |a| linear(&a[0], &Matrix::Plain(a[1].clone())),
        &|a| plain::product(&a[0], &a[1], k),
        &|a, g| vec![plain::product_back(g, &a[1], k), plain::outer(g, &a[0], m, k)],
    );
    let exact: Vec<f32> = w.flatten_all().unwrap().to_vec1().unwrap();
    for form in [Kept::F32, Kept::Bf16, Kept::Int8, Kept::Int4] {
        let matrix = Matrix::from_f32(&exact, m, k, form).unwrap();
        let w = kept(&matrix);
        check(&[tensor(13, &[n, k], 1.0)], |a| linear(&a[0], &matrix), &|a| plain::product(&a[0], &w, k), &|_, g| {
            vec![plain::product_back(g, &w, k)]
        });
        let add = |mut a: Vec<f64>, b: Vec<f64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += scale * b);
            a
        };
        check(
            &[tensor(16, &[n, k], 1.0), tensor(17, &[r, k], 1.0), tensor(18, &[m, r], 1.0)],
            |a| lora_linear(&a[0], &matrix, &a[1], &a[2], scale as f32),
            &|a| add(plain::product(&a[0], &w, k), plain::product(&plain::product(&a[0], &a[1], k), &a[2], r)),
            &|a, g| {
                let (z, dz) = (plain::product(&a[0], &a[1], k), plain::product_back(g, &a[2], r));
                let scaled = |v: Vec<f64>| v.into_iter().map(|v| scale * v).collect::<Vec<f64>>();
                let dx = add(plain::product_back(g, &w, k), plain::product_back(&dz, &a[1], k));
                vec![dx, scaled(plain::outer(&dz, &a[0], r, k)), scaled(plain::outer(g, &z, m, r))]
            },
        );
    }
}

#[test]
fn log_probs_over_chunks_of_the_vocabulary() {
    // More words than one chunk, targets in both.
    let (words, k, targets) = (2100, 4, [3u32, 2047, 2048, 2099]);
    let temperature = f64::from(0.7f32);
    let only = |all: Vec<f64>| all[..targets.len()].to_vec();
    let w = tensor(20, &[words, k], 1.0);
    let plain_w = values(&w);
    check(
        &[tensor(19, &[4, k], 3.0)],
        |a| linear_logprob(&a[0], &Matrix::Plain(w.clone()), &targets, 0.7)?.get(LOGPROB),
        &|a| only(plain::logprobs(&a[0], &plain_w, k, &targets, temperature)),
        &|a, g| vec![plain::logprobs_back(&a[0], &plain_w, k, &targets, temperature, g).0],
    );
    // The embedding's gradient at a size where every element can be moved.
    let (words, targets) = (90, [3u32, 0, 47, 89]);
    check(
        &[tensor(19, &[4, k], 2.0), tensor(20, &[words, k], 1.0)],
        |a| linear_logprob(&a[0], &Matrix::Plain(a[1].clone()), &targets, 0.7)?.get(LOGPROB),
        &|a| only(plain::logprobs(&a[0], &a[1], k, &targets, temperature)),
        &|a, g| {
            let (dh, dw) = plain::logprobs_back(&a[0], &a[1], k, &targets, temperature, g);
            vec![dh, dw]
        },
    );
}

#[test]
fn slopes_of_log_probs_found_on_the_way_forward() {
    let (words, k, targets) = (2100, 4, [3u32, 2047, 2048, 2099]);
    let (h, w) = (tensor(19, &[4, k], 3.0), tensor(20, &[words, k], 1.0));
    let (at, plain_w) = (vec![values(&h)], values(&w));
    let matrix = Matrix::from_f32(&w.flatten_all().unwrap().to_vec1::<f32>().unwrap(), words, k, Kept::F32).unwrap();
    let rows = h.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (_, slopes) = Head::new(4, &matrix, &targets, 0.7).unwrap().forward_with_slopes(&rows).unwrap();
    let forward = |a: &[Vec<f64>]| plain::logprobs(&a[0], &plain_w, k, &targets, f64::from(0.7f32))[..4].to_vec();
    let slopes: Vec<f64> = slopes.into_iter().map(f64::from).collect();
    assert_near("slopes", &slopes, &differences(&at, 0, &[1.0; 4], &forward), TOLERANCE);
}

#[test]
fn embeddings_that_are_trained() {
    let (weights, vars) = Weights::fresh(&spec(), 7, &Device::Cpu).unwrap();
    let model = Gemma3::new(spec(), &weights, 64).unwrap();
    let (_, table) = vars.iter().find(|(name, _)| name == "embed_tokens.weight").unwrap();
    // A token that comes twice adds both of its gradients.
    let ids = [7u32, 300, 7, 419];
    let y = model.embed(&ids).unwrap();
    let (h, scale) = (spec().hidden_size, (spec().hidden_size as f64).sqrt());
    let at = values(table.as_tensor());
    let forward =
        |a: &[Vec<f64>]| ids.iter().flat_map(|id| a[0][*id as usize * h..][..h].iter().map(|v| v * scale)).collect::<Vec<f64>>();
    assert_near("the value", &values(&y), &forward(std::slice::from_ref(&at)), TOLERANCE);
    let weights = tensor(77, y.dims(), 1.0);
    let grads = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let found = values(grads.get(table).unwrap());
    let expected = {
        // Only the rows of these tokens move anything.
        let mut all = vec![0.0; at.len()];
        let g = values(&weights);
        for (row, id) in ids.iter().enumerate() {
            for j in 0..h {
                let moved = |x: f64| {
                    let mut a = [at.clone()];
                    a[0][*id as usize * h + j] += x;
                    forward(&a)[row * h + j] * g[row * h + j]
                };
                all[*id as usize * h + j] += (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            }
        }
        all
    };
    assert_near("gradient of the table", &found, &expected, TOLERANCE);
}
