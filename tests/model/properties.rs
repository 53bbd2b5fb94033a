//! Every kernel against its plain f64 definition, over ten thousand and more random shapes and values each: one row and many, vector
//! lanes and their remainders, empty windows, single tokens, wide and narrow values.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use medserl::{
    model::{
        ops::{
            attention::{Heads, attention},
            geglu::geglu,
            linear::lora_linear,
            logprob::{Head, LOGPROB, linear_logprob},
            matrix::{BLOCK, Kept, Matrix},
            norm::rms_norm,
            rope::{RopeTable, rope},
            simd,
        },
        plan::Plan,
    },
    train::optimizer::{AdamW, Gradients, Moments},
};

use super::plain;

const CASES: u64 = 10_000;

/// SplitMix64 (Steele et al. 2014), keyed by case.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// 1 to `most`.
    fn size(&mut self, most: usize) -> usize {
        1 + (self.next() % most as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()]
    }

    /// Values in ±bound.
    fn values(&mut self, n: usize, bound: f32) -> Vec<f32> {
        (0..n).map(|_| ((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * bound).collect()
    }
}

fn cases(run: impl Fn(u64, &mut Draws)) {
    for case in 0..CASES {
        run(case, &mut Draws(case.wrapping_mul(0x9e37_79b9) ^ 0x5eed));
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn var(x: &[f32], shape: (usize, usize)) -> Var {
    Var::from_tensor(&Tensor::from_slice(x, shape, &Device::Cpu).unwrap()).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Gradients of sum(y · g) by the variables.
fn gradients(y: &Tensor, g: &[f32], vars: &[&Var]) -> Vec<Vec<f32>> {
    let g = Tensor::from_slice(g, y.dims(), &Device::Cpu).unwrap();
    let grads = (y * g).unwrap().sum_all().unwrap().backward().unwrap();
    vars.iter().map(|v| flat(grads.get(v).unwrap())).collect()
}

/// Differences up to `tolerance` times the largest expected value (or `floor`).
#[track_caller]
fn near(case: u64, what: &str, found: &[f32], expected: &[f64], tolerance: f64, floor: f64) {
    assert_eq!(found.len(), expected.len(), "case {case}, {what}");
    let top = expected.iter().fold(floor, |top, v| top.max(v.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(off <= tolerance * top, "case {case}, {what}, element {i}: {found}, expected {expected}, the largest is {top}");
    }
}

/// A matrix in a kept precision and the values it stands for; `None` is the row-major form that can be trained.
fn kept(draws: &mut Draws, m: usize, k: usize, form: Option<Kept>) -> (Matrix, Vec<f64>) {
    let values = draws.values(m * k, 1.0);
    let matrix = match form {
        None => Matrix::Plain(Tensor::from_vec(values, (m, k), &Device::Cpu).unwrap()),
        Some(form) => Matrix::from_f32(&values, m, k, form).unwrap(),
    };
    let values = matrix.with_rows(0..m, &mut Vec::new(), wide).unwrap();
    (matrix, values)
}

/// x Wᵀ and g W for numbers of rows in `rows`.
fn products(form: Option<Kept>, rows: std::ops::RangeInclusive<usize>) {
    cases(|case, draws| {
        let n = rows.start() + draws.size(rows.end() - rows.start() + 1) - 1;
        let m = draws.pick(&[1, 2, 7, 33]);
        let in_blocks = matches!(form, Some(Kept::Int8 | Kept::Int4));
        let k = if in_blocks { BLOCK * draws.size(2) } else { draws.size(50) };
        let (matrix, w) = kept(draws, m, k, form);
        let (x, g) = (draws.values(n * k, 1.0), draws.values(n * m, 1.0));
        // Errors grow with the number of terms, at worst as each term's rounding.
        near(case, "x Wᵀ", &matrix.times_transposed(&x).unwrap(), &plain::product(&wide(&x), &w, k), 4e-6, 1.0);
        near(case, "g W", &matrix.times(&g).unwrap(), &plain::product_back(&wide(&g), &w, k), 4e-6, 1.0);
    });
}

#[test]
fn few_rows_times_f32() {
    products(Some(Kept::F32), 1..=12);
}

#[test]
fn few_rows_times_bf16() {
    products(Some(Kept::Bf16), 1..=12);
}

#[test]
fn few_rows_times_8_bit() {
    products(Some(Kept::Int8), 1..=12);
}

#[test]
fn few_rows_times_4_bit() {
    products(Some(Kept::Int4), 1..=12);
}

#[test]
fn many_rows_times_f32() {
    products(Some(Kept::F32), 13..=40);
}

#[test]
fn many_rows_times_bf16() {
    products(Some(Kept::Bf16), 13..=40);
}

#[test]
fn many_rows_times_8_bit() {
    products(Some(Kept::Int8), 13..=40);
}

#[test]
fn many_rows_times_4_bit() {
    products(Some(Kept::Int4), 13..=40);
}

#[test]
fn rows_times_a_trainable_matrix() {
    products(None, 1..=20);
}

#[test]
fn adapted_products() {
    cases(|case, draws| {
        let (n, m, k, r) = (draws.size(6), draws.size(8), BLOCK, draws.size(4));
        let form = draws.pick(&[None, Some(Kept::F32), Some(Kept::Bf16), Some(Kept::Int8), Some(Kept::Int4)]);
        let (matrix, w) = kept(draws, m, k, form);
        let (x, a, b) = (draws.values(n * k, 1.0), draws.values(r * k, 1.0), draws.values(m * r, 1.0));
        let found = flat(
            &lora_linear(
                &Tensor::from_slice(&x, (n, k), &Device::Cpu).unwrap(),
                &matrix,
                &Tensor::from_slice(&a, (r, k), &Device::Cpu).unwrap(),
                &Tensor::from_slice(&b, (m, r), &Device::Cpu).unwrap(),
                0.5,
            )
            .unwrap(),
        );
        let low = plain::product(&plain::product(&wide(&x), &wide(&a), k), &wide(&b), r);
        let expected: Vec<f64> = plain::product(&wide(&x), &w, k).iter().zip(low).map(|(y, z)| y + 0.5 * z).collect();
        near(case, "value", &found, &expected, 4e-6, 1.0);
    });
}

#[test]
fn norms() {
    cases(|case, draws| {
        let (rows, blocks, d) = (draws.size(4), draws.size(3), draws.size(40));
        let bound = draws.pick(&[0.01, 1.0, 100.0]);
        let (x, w) = (draws.values(rows * blocks * d, bound), draws.values(d, 1.0));
        let g = draws.values(x.len(), 1.0);
        let eps = f64::from(1e-6f32);
        let (vx, vw) = (var(&x, (rows, blocks * d)), Var::from_slice(&w, d, &Device::Cpu).unwrap());
        let y = rms_norm(&vx, &vw, 1e-6).unwrap();
        near(case, "value", &flat(&y), &plain::norm(&wide(&x), &wide(&w), eps), 2e-6, 0.1);
        let (dx, dw) = plain::norm_back(&wide(&x), &wide(&w), eps, &wide(&g));
        let found = gradients(&y, &g, &[&vx, &vw]);
        // Of one feature the gradient is nearly nothing times a large factor: what cancels sets the scale.
        near(case, "dx", &found[0], &dx, 4e-6, 4.0 / f64::from(bound));
        near(case, "dw", &found[1], &dw, 4e-6, 1.0);
    });
}

#[test]
fn rotations() {
    let tables: Vec<(usize, f64, f64, Arc<RopeTable>)> = [(2, 1e4, 1.0), (8, 1e4, 1.0), (8, 1e6, 8.0), (16, 1e6, 1.0)]
        .into_iter()
        .map(|(hd, theta, scale)| (hd, theta, scale, Arc::new(RopeTable::new(hd, theta, scale, 2048))))
        .collect();
    cases(|case, draws| {
        let (hd, theta, scale, table) = &tables[draws.size(tables.len()) - 1];
        let (rows, heads) = (draws.size(5), draws.size(3));
        let positions: Vec<u32> = (0..rows).map(|_| draws.size(2048) as u32 - 1).collect();
        let (x, g) = (draws.values(rows * heads * hd, 2.0), draws.values(rows * heads * hd, 1.0));
        let vx = var(&x, (rows, heads * hd));
        let y = rope(&vx, table, &Arc::new(positions.clone())).unwrap();
        near(case, "value", &flat(&y), &plain::rope(&wide(&x), &positions, *hd, *theta, *scale, 1.0), 1e-6, 1.0);
        let back = plain::rope(&wide(&g), &positions, *hd, *theta, *scale, -1.0);
        near(case, "gradient", &gradients(&y, &g, &[&vx])[0], &back, 1e-6, 1.0);
    });
}

#[test]
fn gated_gelus() {
    cases(|case, draws| {
        let (rows, width) = (draws.size(4), draws.size(40));
        let bound = draws.pick(&[0.1, 3.0, 12.0, 60.0]);
        let (gate, up) = (draws.values(rows * width, bound), draws.values(rows * width, 2.0));
        let g = draws.values(gate.len(), 1.0);
        let (vg, vu) = (var(&gate, (rows, width)), var(&up, (rows, width)));
        let y = geglu(&vg, &vu).unwrap();
        near(case, "value", &flat(&y), &plain::geglu(&wide(&gate), &wide(&up)), 2e-6, 0.1);
        let (d_gate, d_up) = plain::geglu_back(&wide(&gate), &wide(&up), &wide(&g));
        let found = gradients(&y, &g, &[&vg, &vu]);
        near(case, "d gate", &found[0], &d_gate, 4e-6, 0.5);
        near(case, "d up", &found[1], &d_up, 2e-6, 0.1);
    });
}

/// One or two prompts with up to three completions each.
fn random_plan(draws: &mut Draws) -> Arc<Plan> {
    let mut plan = Plan::default();
    for _ in 0..draws.size(2) {
        plan.push_root(draws.size(5));
        for _ in 1..draws.size(4) {
            plan.push_child(draws.size(4));
        }
    }
    Arc::new(plan)
}

#[test]
fn attentions() {
    cases(|case, draws| {
        let plan = random_plan(draws);
        let (n_heads, n_kv_heads) = draws.pick(&[(1, 1), (2, 1), (4, 2), (3, 3)]);
        let (head_dim, window) = (2 * draws.size(4), draws.pick(&[None, Some(1), Some(2), Some(3), Some(6), Some(50)]));
        attends(case, draws, plan, (n_heads, n_kv_heads, head_dim), window);
    });
}

/// Segments of more rows than are computed at once, and windows that end within them.
#[test]
fn attentions_over_many_blocks() {
    for case in 0..60 {
        let mut draws = Draws(case ^ 0xb10c);
        let mut plan = Plan::default();
        plan.push_root(70 + draws.size(230));
        for _ in 1..draws.size(3) {
            plan.push_child(20 + draws.size(160));
        }
        let (n_heads, n_kv_heads) = draws.pick(&[(1, 1), (4, 1), (4, 2), (8, 1), (8, 2)]);
        let window = draws.pick(&[None, None, Some(1), Some(33), Some(64), Some(100), Some(129)]);
        attends(case, &mut draws, Arc::new(plan), (n_heads, n_kv_heads, 4), window);
    }
}

/// Holds attention over a plan, values drawn, to the plain one.
fn attends(
    case: u64,
    draws: &mut Draws,
    plan: Arc<Plan>,
    (n_heads, n_kv_heads, head_dim): (usize, usize, usize),
    window: Option<usize>,
) {
    let heads = Heads { n_heads, n_kv_heads, head_dim, scale: draws.pick(&[0.25, 1.0]), window };
    let (n, wq, wk) = (plan.n_rows, n_heads * head_dim, n_kv_heads * head_dim);
    let bound = draws.pick(&[0.5, 2.0]);
    let (q, k, v) = (draws.values(n * wq, bound), draws.values(n * wk, bound), draws.values(n * wk, 1.0));
    let g = draws.values(n * wq, 1.0);
    let (vq, vk, vv) = (var(&q, (n, wq)), var(&k, (n, wk)), var(&v, (n, wk)));
    let y = attention(&vq, &vk, &vv, heads, &plan).unwrap();
    let [q, k, v, wide_g] = [wide(&q), wide(&k), wide(&v), wide(&g)];
    near(case, "value", &flat(&y), &plain::attention(&q, &k, &v, heads, &plan), 2e-6, 1.0);
    let expected = plain::attention_back(&q, &k, &v, heads, &plan, &wide_g);
    for (what, (found, expected)) in ["dq", "dk", "dv"].iter().zip(gradients(&y, &g, &[&vq, &vk, &vv]).iter().zip(&expected)) {
        near(case, what, found, expected, 4e-6, 1.0);
    }
}

#[test]
fn exponentials_and_softmaxes() {
    cases(|case, draws| {
        let x = draws.pick(&[1.0f32, 30.0, 86.0]) * draws.values(1, 1.0)[0];
        let (fast, exact) = (f64::from(simd::exp(x)), f64::from(x).exp());
        assert!(((fast - exact) / exact).abs() < 5e-7, "case {case}: exp({x}) = {fast}, expected {exact}");
        let (n, scale) = (draws.size(80), draws.pick(&[0.1f32, 1.0, 3.0]));
        let bound = draws.pick(&[1.0, 20.0]);
        let mut x = draws.values(n, bound);
        let expected = plain::softmax(&x.iter().map(|x| f64::from(*x) * f64::from(scale)).collect::<Vec<f64>>());
        let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(simd::max(&x), top, "case {case}");
        simd::softmax(&mut x, scale);
        near(case, "softmax", &x, &expected, 1e-5, 0.1);
        let sum: f64 = x.iter().map(|x| f64::from(*x)).sum();
        assert!((sum - 1.0).abs() < 1e-5 && (f64::from(simd::sum(&x)) - sum).abs() < 1e-5, "case {case}: sum {sum}");
        let y = draws.values(n, 1.0);
        let dot: f64 = x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        assert!((f64::from(simd::dot(&x, &y)) - dot).abs() < 1e-6, "case {case}");
    });
}

#[test]
fn log_probs() {
    cases(|case, draws| {
        let (n, k, words) = (draws.size(4), draws.size(6), draws.size(60));
        let (h, w) = (draws.values(n * k, 3.0), draws.values(words * k, 1.0));
        let targets: Vec<u32> = (0..n).map(|_| draws.size(words) as u32 - 1).collect();
        let (temperature, g) = (draws.pick(&[0.5f32, 1.0, 1.7]), draws.values(n, 1.0));
        let (vh, vw) = (var(&h, (n, k)), var(&w, (words, k)));
        let stats = linear_logprob(&vh, &Matrix::Plain(vw.as_tensor().clone()), &targets, temperature).unwrap();
        let (h, w, t) = (wide(&h), wide(&w), f64::from(temperature));
        near(case, "values", &flat(&stats), &plain::logprobs(&h, &w, k, &targets, t), 2e-6, 1.0);
        let (dh, dw) = plain::logprobs_back(&h, &w, k, &targets, t, &wide(&g));
        let found = gradients(&stats.get(LOGPROB).unwrap(), &g, &[&vh, &vw]);
        near(case, "dh", &found[0], &dh, 4e-6, 1.0);
        near(case, "dw", &found[1], &dw, 4e-6, 1.0);
    });
}

#[test]
fn log_probs_with_their_slopes() {
    cases(|case, draws| {
        // Now and then more words than a chunk, so that a later chunk has the largest logit.
        let words = if case % 40 == 0 { 500 + draws.size(700) } else { draws.size(60) };
        let form = draws.pick(&[None, Some(Kept::F32), Some(Kept::Bf16), Some(Kept::Int8), Some(Kept::Int4)]);
        let (n, k) = (draws.size(4), if matches!(form, Some(Kept::Int8 | Kept::Int4)) { BLOCK } else { draws.size(6) });
        let (matrix, w) = kept(draws, words, k, form);
        let h = draws.values(n * k, 3.0);
        let targets: Vec<u32> = (0..n).map(|_| draws.size(words) as u32 - 1).collect();
        let temperature = draws.pick(&[0.5f32, 1.0, 1.7]);
        let head = Head::new(n, &matrix, &targets, temperature).unwrap();
        let (stats, slopes) = head.forward_with_slopes(&h).unwrap();
        assert_eq!(stats, head.forward(&h).unwrap(), "case {case}");
        let (h, t) = (wide(&h), f64::from(temperature));
        near(case, "values", &stats, &plain::logprobs(&h, &w, k, &targets, t), 4e-6, 1.0);
        let (expected, _) = plain::logprobs_back(&h, &w, k, &targets, t, &vec![1.0; n]);
        near(case, "slopes", &slopes, &expected, 4e-6, 1.0);
    });
}

#[test]
fn adamw_steps() {
    cases(|case, draws| {
        let n = draws.size(8);
        let rule = AdamW {
            betas: draws.pick(&[(0.9, 0.95), (0.8, 0.999), (0.0, 0.5)]),
            eps: 1e-8,
            weight_decay: draws.pick(&[0.0, 0.1]),
        };
        let lr = draws.pick(&[1e-3, 1e-1]);
        let start = draws.values(n, 1.0);
        let vars = vec![("w".to_owned(), Var::from_slice(&start, n, &Device::Cpu).unwrap())];
        let mut moments = Moments::zeros(&vars);
        let (mut w, mut m, mut v) = (wide(&start), vec![0f64; n], vec![0f64; n]);
        // What the first moment sums, without its signs: gradients can cancel, and rounding is a share of the terms.
        let mut terms = vec![0f64; n];
        let (b1, b2) = rule.betas;
        for t in 1..=3 {
            let bound = draws.pick(&[1e-4, 1.0]);
            let g = draws.values(n, bound);
            rule.step(&vars, &Gradients(vec![g.clone()]), &mut moments, lr, |_| true).unwrap();
            for i in 0..n {
                let g = f64::from(g[i]);
                (m[i], v[i]) = (b1 * m[i] + (1.0 - b1) * g, b2 * v[i] + (1.0 - b2) * g * g);
                terms[i] = b1 * terms[i] + (1.0 - b1) * g.abs();
                let (mh, vh) = (m[i] / (1.0 - b1.powi(t)), v[i] / (1.0 - b2.powi(t)));
                w[i] = w[i] * (1.0 - lr * rule.weight_decay) - lr * mh / (vh.sqrt() + rule.eps);
            }
        }
        near(case, "weights", &flat(vars[0].1.as_tensor()), &w, 2e-6, 1.0);
        near(case, "first moment", &moments.first[0], &m, 1e-6, terms.iter().fold(1e-4, |top, t| t.max(top)));
        near(case, "second moment", &moments.second[0], &v, 1e-6, 1e-8);
    });
}
