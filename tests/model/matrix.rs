//! Kept precisions against the plain product, over many random shapes.

use candle_core::{Device, Tensor};
use medserl::model::{
    ops::{
        linear::lora_linear,
        matrix::{BLOCK, Kept, Matrix},
    },
    random::uniform,
};

use super::tiny::tensor;

fn f32_matrix(key: u64, rows: usize, cols: usize) -> Matrix {
    Matrix::Plain(tensor(key, &[rows, cols], 1.0))
}

/// The values that a matrix stands for.
fn widened(matrix: &Matrix) -> Vec<f32> {
    let rows = matrix.dims().unwrap().0;
    matrix.with_rows(0..rows, &mut Vec::new(), <[f32]>::to_vec).unwrap()
}

/// The same matrix packed.
fn packed(matrix: &Matrix, kept: Kept) -> Matrix {
    let (rows, cols) = matrix.dims().unwrap();
    Matrix::from_f32(&widened(matrix), rows, cols, kept).unwrap()
}

/// x (n, k) · Wᵀ in f64.
fn plain(x: &[f32], w: &[f32], k: usize) -> Vec<f64> {
    let row =
        |x: &[f32]| w.chunks(k).map(|w| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()).collect::<Vec<f64>>();
    x.chunks(k).flat_map(row).collect()
}

/// g (n, m) · W in f64.
fn plain_back(g: &[f32], w: &[f32], m: usize, k: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for g in g.chunks(m) {
        for j in 0..k {
            out.push((0..m).map(|i| f64::from(g[i]) * f64::from(w[i * k + j])).sum());
        }
    }
    out
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5, "{what}: {found}, expected {expected}");
    }
}

/// A number below `below` for case `case`, another for each `purpose`.
fn below(case: u64, purpose: u64, below: usize) -> usize {
    ((uniform(case, purpose, 1, 0.5)[0] + 0.5) * below as f32) as usize % below
}

#[test]
fn products_of_every_precision_equal_the_plain_product_of_the_values_kept() {
    // Shapes around every boundary: one row, few rows and many, lanes and their remainders, more than one task.
    for case in 0..600 {
        let (n, m, blocks) = (1 + below(case, 1, 20), 1 + below(case, 2, 80), 1 + below(case, 3, 3));
        let k = if case % 2 == 0 { blocks * BLOCK } else { 1 + below(case, 4, 80) };
        let exact = f32_matrix(case, m, k);
        let mut kept = vec![exact.clone(), packed(&exact, Kept::F32), packed(&exact, Kept::Bf16)];
        if k % BLOCK == 0 {
            kept.extend([packed(&exact, Kept::Int8), packed(&exact, Kept::Int4)]);
        }
        let (x, g) = (uniform(case, 5, n * k, 1.0), uniform(case, 6, n * m, 1.0));
        for matrix in kept {
            let (what, values) = (format!("case {case}: {n} x {m} x {k}, {matrix:.0?}"), widened(&matrix));
            let what = &what[..what.len().min(60)];
            assert_near(&matrix.times_transposed(&x).unwrap(), &plain(&x, &values, k), what);
            assert_near(&matrix.times(&g).unwrap(), &plain_back(&g, &values, m, k), what);
        }
    }
}

#[test]
fn many_rows_and_panels_join_without_a_seam() {
    // Every way the work is shared out: one thread, panels, blocks of rows; part of a last panel; features out of the middle.
    for (n, m, k) in [(1, 3000, 512), (13, 3001, 96), (300, 130, 64), (97, 1056, 160)] {
        for kept in [Kept::F32, Kept::Bf16, Kept::Int8, Kept::Int4] {
            let matrix = packed(&f32_matrix(3, m, k), kept);
            let (values, x, g) = (widened(&matrix), uniform(8, 1, n * k, 1.0), uniform(8, 2, n * m, 0.1));
            let close = |found: &[f32], expected: &[f64]| {
                found.iter().zip(expected).for_each(|(f, e)| assert!((f64::from(*f) - e).abs() < 4e-4, "{f}, expected {e}"));
            };
            let (forward, some) = (plain(&x, &values, k), 32..m.min(90));
            close(&matrix.times_transposed(&x).unwrap(), &forward);
            close(&matrix.times(&g).unwrap(), &plain_back(&g, &values, m, k));
            let mut out = vec![0f32; n * some.len()];
            matrix.features_into(&x, some.clone(), 0.5, &mut out).unwrap();
            let expected: Vec<f64> = forward.chunks(m).flat_map(|row| row[some.clone()].iter().map(|v| v / 2.0)).collect();
            close(&out, &expected);
        }
    }
}

#[test]
fn a_row_is_the_same_bits_beside_however_many_others() {
    for kept in [Kept::F32, Kept::Bf16, Kept::Int8] {
        let matrix = packed(&f32_matrix(4, 256, 320), kept);
        let x = uniform(9, 1, 200 * 320, 1.0);
        let all = matrix.times_transposed(&x).unwrap();
        for n in [1, 2, 3, 7, 12, 31, 64, 130] {
            assert_eq!(matrix.times_transposed(&x[..n * 320]).unwrap(), all[..n * 256], "{n} rows, {kept:?}");
        }
    }
}

#[test]
fn rounding_is_to_the_nearest() {
    let exact = f32_matrix(1, 40, 64);
    let (values, half, int) = (widened(&exact), widened(&packed(&exact, Kept::Bf16)), widened(&packed(&exact, Kept::Int8)));
    let four = widened(&packed(&exact, Kept::Int4));
    for (block, values) in values.chunks(BLOCK).enumerate() {
        let top = values.iter().fold(0f32, |top, v| top.max(v.abs()));
        for (i, value) in values.iter().enumerate() {
            let at = block * BLOCK + i;
            assert!((half[at] - value).abs() <= value.abs() / 256.0, "bf16 keeps eight bits");
            assert!((int[at] - value).abs() <= top / 127.0 * 0.5001, "an 8-bit value is at most half a level off");
            assert!((four[at] - value).abs() <= top / 7.0 * 0.5001, "a 4-bit value is at most half a level off");
        }
    }
    let ties = Tensor::new(&[[1.0f32 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::NAN, f32::INFINITY]], &Device::Cpu).unwrap();
    let rounded = widened(&packed(&Matrix::Plain(ties), Kept::Bf16));
    assert_eq!(rounded[..2], [1.0, 1.0 + 4.0 / 256.0], "ties go to even");
    assert!(rounded[2].is_nan() && rounded[3] == f32::INFINITY);
    let zeros = Matrix::Plain(Tensor::zeros((2, BLOCK), candle_core::DType::F32, &Device::Cpu).unwrap());
    assert!(widened(&packed(&zeros, Kept::Int8)).iter().all(|v| *v == 0.0));
    assert!(Matrix::from_f32(&[0.0; 4 * 33], 4, 33, Kept::Int8).is_err(), "a ragged last block");
}

#[test]
fn gradients_flow_through_every_precision() {
    let exact = f32_matrix(15, 6, 32);
    for matrix in [Kept::F32, Kept::Bf16, Kept::Int8, Kept::Int4].map(|kept| packed(&exact, kept)) {
        let wide = Matrix::Plain(Tensor::from_vec(widened(&matrix), (6, 32), &Device::Cpu).unwrap());
        let gradients = |w: &Matrix| {
            let vars = [tensor(16, &[5, 32], 1.0), tensor(17, &[3, 32], 1.0), tensor(18, &[6, 3], 1.0)]
                .map(|t| candle_core::Var::from_tensor(&t).unwrap());
            let y = lora_linear(&vars[0], w, &vars[1], &vars[2], 1.5).unwrap();
            let grads = (y * tensor(19, &[5, 6], 1.0)).unwrap().sum_all().unwrap().backward().unwrap();
            vars.map(|v| grads.get(&v).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        for (kept, plain) in gradients(&matrix).iter().zip(gradients(&wide)) {
            kept.iter().zip(plain).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a}, expected {b}"));
        }
    }
}

#[test]
fn a_token_beyond_the_vocabulary_is_an_error() {
    let matrix = packed(&f32_matrix(1, 4, 32), Kept::Bf16);
    let mut rows = Vec::new();
    matrix.gather(&[2, 0], &mut rows).unwrap();
    assert_eq!(rows[..32], widened(&matrix)[64..96]);
    assert!(matrix.gather(&[4], &mut rows).unwrap_err().to_string().contains("token id 4"));
}
