//! A weight matrix (out, in) in the precision it is kept in: f32, bf16 or 8-bit blocks. Arithmetic is f32 throughout; a kept
//! precision only says how many bytes a weight takes in memory. Must not know what the matrix is for.

use std::{ops::Range, sync::Arc};

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::{
    gemm::{Mat, Threads, gemm},
    simd, with_slice,
};

/// Values that share one scale in an 8-bit matrix.
pub const BLOCK: usize = 32;
/// Up to so many rows of x, each weight row is widened in registers and met by all of them; beyond, panels of it are widened
/// into memory for the blocked product.
const FEW: usize = 12;
/// Rows of x that one pass over a weight row serves.
const TOGETHER: usize = 4;
/// Weight rows of a task in the few-row product.
const TASK_ROWS: usize = 16;
/// f32 values of a widened panel, about: it should stay in the second-level cache of the cores together.
const PANEL: usize = 1 << 20;

/// Cheap to clone: the values are shared.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// f32, trainable where the tensor is a variable.
    F32(Tensor),
    Bf16(Arc<Bf16>),
    Int8(Arc<Int8>),
}

/// Upper halves of f32 values, row by row.
#[derive(Debug)]
pub struct Bf16 {
    cols: usize,
    bits: Vec<u16>,
}

/// Signed bytes with one scale per [`BLOCK`] consecutive values of a row: value = scale · byte.
#[derive(Debug)]
pub struct Int8 {
    cols: usize,
    bytes: Vec<i8>,
    scales: Vec<f32>,
}

impl Matrix {
    /// bf16 bits (rows, cols), row by row.
    pub fn from_bf16(bits: Vec<u16>, rows: usize, cols: usize) -> Result<Matrix> {
        if bits.len() != rows * cols {
            bail!("{} values do not make a matrix of {rows} by {cols}", bits.len());
        }
        Ok(Matrix::Bf16(Arc::new(Bf16 { cols, bits })))
    }

    /// The same matrix in bf16, rounded to nearest even.
    pub fn rounded(&self) -> Result<Matrix> {
        let (rows, cols) = self.dims()?;
        let (mut bits, mut scratch) = (Vec::with_capacity(rows * cols), Vec::new());
        let panel = panel_rows(rows, cols);
        for first in (0..rows).step_by(panel) {
            self.with_rows(first..(first + panel).min(rows), &mut scratch, |values| {
                bits.extend(values.iter().map(|v| narrow(*v)))
            })?;
        }
        Matrix::from_bf16(bits, rows, cols)
    }

    /// The same matrix in 8-bit blocks: the scale of a block is its largest magnitude / 127, values round to nearest.
    /// The input features must be a multiple of [`BLOCK`].
    pub fn quantised(&self) -> Result<Matrix> {
        let (rows, cols) = self.dims()?;
        if cols % BLOCK != 0 {
            bail!("8-bit blocks need input features in multiples of {BLOCK}, not {cols}");
        }
        let (mut bytes, mut scales, mut scratch) = (vec![0i8; rows * cols], vec![0f32; rows * cols / BLOCK], Vec::new());
        let panel = panel_rows(rows, cols);
        for first in (0..rows).step_by(panel) {
            let range = first..(first + panel).min(rows);
            let (to_bytes, to_scales) = (
                &mut bytes[range.start * cols..range.end * cols],
                &mut scales[range.start * cols / BLOCK..range.end * cols / BLOCK],
            );
            self.with_rows(range, &mut scratch, |values| {
                let blocks = values.par_chunks(BLOCK).zip(to_bytes.par_chunks_mut(BLOCK)).zip(to_scales.par_iter_mut());
                blocks.for_each(|((values, bytes), scale)| *scale = quantise(values, bytes));
            })?;
        }
        Ok(Matrix::Int8(Arc::new(Int8 { cols, bytes, scales })))
    }

    /// (out, in)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Matrix::F32(tensor) => tensor.dims2(),
            Matrix::Bf16(half) => Ok((half.bits.len() / half.cols, half.cols)),
            Matrix::Int8(int) => Ok((int.bytes.len() / int.cols, int.cols)),
        }
    }

    /// Bytes the values take.
    pub fn n_bytes(&self) -> usize {
        match self {
            Matrix::F32(tensor) => 4 * tensor.elem_count(),
            Matrix::Bf16(half) => 2 * half.bits.len(),
            Matrix::Int8(int) => int.bytes.len() + 4 * int.scales.len(),
        }
    }

    /// The variable behind it, where it is trained.
    pub fn variable(&self) -> Option<&Tensor> {
        match self {
            Matrix::F32(tensor) if tensor.is_variable() => Some(tensor),
            _ => None,
        }
    }

    /// Gives `f` some rows as f32, row by row; `scratch` holds them where they have to be widened.
    pub fn with_rows<R>(&self, rows: Range<usize>, scratch: &mut Vec<f32>, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        match self {
            Matrix::F32(tensor) => {
                let cols = tensor.dim(1)?;
                with_slice(tensor, |values| Ok(f(&values[rows.start * cols..rows.end * cols])))
            }
            Matrix::Bf16(half) => {
                let from = &half.bits[rows.start * half.cols..rows.end * half.cols];
                scratch.resize(from.len(), 0.0);
                from.par_chunks(half.cols).zip(scratch.par_chunks_mut(half.cols)).for_each(|(from, to)| {
                    simd::vectorised(
                        #[inline(always)]
                        || from.iter().zip(to).for_each(|(bits, to)| *to = widen(*bits)),
                    );
                });
                Ok(f(scratch))
            }
            Matrix::Int8(int) => {
                let range = rows.start * int.cols..rows.end * int.cols;
                let (from, scales) = (&int.bytes[range.clone()], &int.scales[range.start / BLOCK..range.end / BLOCK]);
                scratch.resize(from.len(), 0.0);
                let rows = from.par_chunks(int.cols).zip(scales.par_chunks(int.cols / BLOCK));
                rows.zip(scratch.par_chunks_mut(int.cols)).for_each(|((from, scales), to)| {
                    simd::vectorised(
                        #[inline(always)]
                        || {
                            for ((from, scale), to) in from.chunks_exact(BLOCK).zip(scales).zip(to.chunks_exact_mut(BLOCK)) {
                                from.iter().zip(to).for_each(|(byte, to)| *to = scale * f32::from(*byte));
                            }
                        },
                    );
                });
                Ok(f(scratch))
            }
        }
    }

    /// x (N, in) · Wᵀ → (N, out)
    pub fn times_transposed(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (m, k) = self.dims()?;
        let n = x.len() / k;
        match self {
            // Inlined by force, as everything inside `vectorised` must be.
            Matrix::Bf16(half) if n <= FEW => Ok(few_rows(
                x,
                k,
                m,
                #[inline(always)]
                |row, x, out| half.meet(row, x, out),
            )),
            Matrix::Int8(int) if n <= FEW => Ok(few_rows(
                x,
                k,
                m,
                #[inline(always)]
                |row, x, out| int.meet(row, x, out),
            )),
            _ => {
                let (mut y, mut scratch) = (vec![0f32; n * m], Vec::new());
                let panel = self.panel(m, k);
                for first in (0..m).step_by(panel) {
                    let c = panel.min(m - first);
                    self.with_rows(first..first + c, &mut scratch, |w| {
                        gemm((n, c, k), Mat::rows(x, k), Mat::t(w, k), &mut y[first..], m, false, 1.0, Threads::All);
                    })?;
                }
                Ok(y)
            }
        }
    }

    /// g (N, out) · W → (N, in): the gradient of the input.
    pub fn times(&self, g: &[f32]) -> Result<Vec<f32>> {
        let (m, k) = self.dims()?;
        let n = g.len() / m;
        let (mut dx, mut scratch) = (vec![0f32; n * k], Vec::new());
        let panel = self.panel(m, k);
        for first in (0..m).step_by(panel) {
            let c = panel.min(m - first);
            self.with_rows(first..first + c, &mut scratch, |w| {
                gemm((n, k, c), Mat::rows(&g[first..], m), Mat::rows(w, k), &mut dx, k, first > 0, 1.0, Threads::All);
            })?;
        }
        Ok(dx)
    }

    /// Rows widened at once; f32 needs no panels.
    fn panel(&self, rows: usize, cols: usize) -> usize {
        if matches!(self, Matrix::F32(_)) { rows.max(1) } else { panel_rows(rows, cols) }
    }

    /// The rows of these ids, (ids, in), as f32.
    pub fn gather(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let (rows, cols) = self.dims()?;
        let mut out = Vec::with_capacity(ids.len() * cols);
        let mut scratch = Vec::new();
        for id in ids {
            let id = *id as usize;
            if id >= rows {
                bail!("token id {id} lies beyond the vocabulary of {rows}");
            }
            self.with_rows(id..id + 1, &mut scratch, |row| out.extend_from_slice(row))?;
        }
        Ok(out)
    }
}

fn panel_rows(rows: usize, cols: usize) -> usize {
    (PANEL / cols.max(1)).clamp(1, rows.max(1))
}

#[inline(always)]
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16, ties to even; NaN stays NaN.
pub fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn quantise(values: &[f32], bytes: &mut [i8]) -> f32 {
    let top = values.iter().fold(0f32, |top, v| top.max(v.abs()));
    if top == 0.0 {
        bytes.fill(0);
        return 0.0;
    }
    let scale = top / 127.0;
    for (value, byte) in values.iter().zip(bytes) {
        *byte = (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    scale
}

/// y (N, M) from a kernel that meets one weight row with up to [`TOGETHER`] rows of x: `meet(row, x, out)`.
fn few_rows(x: &[f32], k: usize, m: usize, meet: impl Fn(usize, &[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let n = x.len() / k;
    let mut transposed = vec![0f32; m * n];
    transposed.par_chunks_mut(TASK_ROWS * n).enumerate().for_each(|(task, out)| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (i, out) in out.chunks_exact_mut(n).enumerate() {
                    for (x, out) in x.chunks(TOGETHER * k).zip(out.chunks_mut(TOGETHER)) {
                        meet(task * TASK_ROWS + i, x, out);
                    }
                }
            },
        );
    });
    let mut y = vec![0f32; n * m];
    for (j, row) in y.chunks_exact_mut(m).enumerate() {
        for (i, y) in row.iter_mut().enumerate() {
            *y = transposed[i * n + j];
        }
    }
    y
}

impl Bf16 {
    #[inline(always)]
    fn meet(&self, row: usize, x: &[f32], out: &mut [f32]) {
        let w = &self.bits[row * self.cols..(row + 1) * self.cols];
        match out.len() {
            1 => dots::<1>(w, x, out),
            2 => dots::<2>(w, x, out),
            3 => dots::<3>(w, x, out),
            _ => dots::<4>(w, x, out),
        }
    }
}

/// Dot products of one bf16 row with R rows of x, the additions always in the same order.
#[inline(always)]
fn dots<const R: usize>(w: &[u16], x: &[f32], out: &mut [f32]) {
    const LANES: usize = 16;
    let k = w.len();
    let mut sums = [[0f32; LANES]; R];
    let whole = k / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let mut wide = [0f32; LANES];
        for (wide, bits) in wide.iter_mut().zip(&w[at..at + LANES]) {
            *wide = widen(*bits);
        }
        for r in 0..R {
            let x = &x[r * k + at..r * k + at + LANES];
            for i in 0..LANES {
                sums[r][i] = wide[i].mul_add(x[i], sums[r][i]);
            }
        }
    }
    for r in 0..R {
        let rest: f32 = (whole..k).map(|i| widen(w[i]) * x[r * k + i]).sum();
        out[r] = sums[r].iter().sum::<f32>() + rest;
    }
}

impl Int8 {
    #[inline(always)]
    fn meet(&self, row: usize, x: &[f32], out: &mut [f32]) {
        let bytes = &self.bytes[row * self.cols..(row + 1) * self.cols];
        let scales = &self.scales[row * self.cols / BLOCK..(row + 1) * self.cols / BLOCK];
        match out.len() {
            1 => block_dots::<1>(bytes, scales, x, out),
            2 => block_dots::<2>(bytes, scales, x, out),
            3 => block_dots::<3>(bytes, scales, x, out),
            _ => block_dots::<4>(bytes, scales, x, out),
        }
    }
}

/// Dot products of one 8-bit row with R rows of x.
#[inline(always)]
fn block_dots<const R: usize>(bytes: &[i8], scales: &[f32], x: &[f32], out: &mut [f32]) {
    let k = bytes.len();
    let mut sums = [[0f32; BLOCK]; R];
    for (block, (bytes, scale)) in bytes.chunks_exact(BLOCK).zip(scales).enumerate() {
        let mut wide = [0f32; BLOCK];
        for (wide, byte) in wide.iter_mut().zip(bytes) {
            *wide = scale * f32::from(*byte);
        }
        for r in 0..R {
            let x = &x[r * k + block * BLOCK..r * k + (block + 1) * BLOCK];
            for i in 0..BLOCK {
                sums[r][i] = wide[i].mul_add(x[i], sums[r][i]);
            }
        }
    }
    for r in 0..R {
        out[r] = sums[r].iter().sum();
    }
}
