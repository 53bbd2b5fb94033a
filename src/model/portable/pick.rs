//! Drawing tokens from logits that lie on a device. The logits stay there: one number for every 512 words comes back, and then the
//! 512 words in which the draw fell.

use candle_core::{Result, Tensor};

use crate::model::kernels::Launcher;

/// Words whose probabilities are summed on the device.
const PART: usize = 512;

/// For each row of logits (R, V): a token drawn from softmax(logits / temperature) by inverse CDF at `units` (in [0, 1)), or the
/// most likely at temperature 0, where the log-prob is that of the untempered softmax. Returns (token, log-prob).
pub fn pick(logits: &Tensor, temperature: f32, units: &[f64], kernels: Option<Launcher>) -> Result<Vec<(u32, f32)>> {
    let inverse = if temperature > 0.0 { 1.0 / temperature } else { 1.0 };
    if let Some(kernels) = kernels {
        return kernels.pick(logits, units, inverse, temperature > 0.0);
    }
    let x = (logits * f64::from(inverse))?;
    let e = x.broadcast_sub(&x.max_keepdim(1)?)?.exp()?;
    if temperature > 0.0 {
        return draw(&e, units);
    }
    let best: Vec<u32> = logits.argmax(1)?.to_vec1()?;
    let sums: Vec<f32> = e.sum(1)?.to_vec1()?;
    Ok(best.into_iter().zip(sums).map(|(token, sum)| (token, -sum.ln())).collect())
}

/// `e` (R, V): unnormalised probabilities of which the largest is 1.
fn draw(e: &Tensor, units: &[f64]) -> Result<Vec<(u32, f32)>> {
    let (n_rows, v) = e.dims2()?;
    let n_parts = v.div_ceil(PART);
    let e = e.pad_with_zeros(1, 0, n_parts * PART - v)?.reshape((n_rows * n_parts, PART))?;
    let sums: Vec<Vec<f32>> = e.sum(1)?.reshape((n_rows, n_parts))?.to_vec2()?;
    let parts: Vec<(usize, f64, f64)> = sums.iter().zip(units).map(|(sums, unit)| part(sums, *unit)).collect();
    let rows: Vec<u32> = parts.iter().enumerate().map(|(row, part)| (row * n_parts + part.0) as u32).collect();
    let chosen: Vec<Vec<f32>> = e.index_select(&Tensor::new(rows, e.device())?, 0)?.to_vec2()?;
    let word = |((part, rest, total), words): (&(usize, f64, f64), &Vec<f32>)| {
        let at = reach(words, *rest).0;
        ((part * PART + at) as u32, (f64::from(words[at]).ln() - total.ln()) as f32)
    };
    Ok(parts.iter().zip(&chosen).map(word).collect())
}

/// The part in which a draw falls, how far into it, and the sum of all.
fn part(sums: &[f32], unit: f64) -> (usize, f64, f64) {
    let total: f64 = sums.iter().map(|s| f64::from(*s)).sum();
    let (at, before) = reach(sums, unit * total);
    (at, unit * total - before, total)
}

/// The first place where the running sum exceeds `target`, and the sum before it. Rounding can leave the sum a hair below: then the
/// last place with any mass.
fn reach(masses: &[f32], target: f64) -> (usize, f64) {
    let mut sum = 0f64;
    let mut last = (0, 0f64);
    for (i, mass) in masses.iter().enumerate().filter(|(_, m)| **m > 0.0) {
        last = (i, sum);
        sum += f64::from(*mass);
        if sum > target {
            break;
        }
    }
    last
}
