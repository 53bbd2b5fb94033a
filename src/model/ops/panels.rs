//! A frozen weight matrix packed for products with few rows and with many: panels of [`WIDTH`] output features, input by input,
//! so that one pass reads memory in order whatever the number of rows. Kept as f32, bf16, 8-bit or 4-bit blocks.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    simd,
    tile::{AHEAD, Tiles, WIDTH},
};

/// Input values of one output feature that share a scale in an 8- or 4-bit matrix.
pub const BLOCK: usize = 32;
/// Input values widened at once, so that the widened part of a panel stays in the first-level cache. A multiple of [`BLOCK`].
const DEPTH: usize = 64;
/// Rows of x that meet a panel before the next panel is read.
const ROWS: usize = 96;
/// Below this many multiplications a product is not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 17;

/// Values of all panels, one after the other; inside a panel (inputs, WIDTH). Missing output features of the last panel are zero.
#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    /// Upper halves of f32 values.
    Bf16(Vec<u16>),
    /// value = scale · byte; scales (blocks, WIDTH) by panel.
    Int8 {
        bytes: Vec<i8>,
        scales: Vec<f32>,
    },
    /// value = scale · (nibble - 8); feature j of an input in the low half of byte j, feature j + WIDTH / 2 in its high half.
    Int4 {
        bytes: Vec<u8>,
        scales: Vec<f32>,
    },
}

/// W (out, in), packed.
#[derive(Debug)]
pub struct Panels {
    rows: usize,
    cols: usize,
    values: Values,
}

/// How the values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    F32,
    Bf16,
    Int8,
    Int4,
}

impl Panels {
    /// Packs row-major values (rows, cols) given panel by panel: `fill(rows of a panel, out)` writes them row by row.
    /// Narrower forms round to nearest; blocks take the scale of their largest magnitude. `cols` must be a multiple of [`BLOCK`]
    /// for the block forms.
    pub fn pack(rows: usize, cols: usize, kept: Kept, fill: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Panels {
        let n_panels = rows.div_ceil(WIDTH);
        let (n, n_scales) = (n_panels * WIDTH * cols, n_panels * WIDTH * cols / BLOCK);
        let panel = |p: usize, out: &mut [f32]| {
            let range = p * WIDTH..((p + 1) * WIDTH).min(rows);
            let mut by_row = vec![0f32; range.len() * cols];
            fill(range, &mut by_row);
            turn(&by_row, cols, out);
        };
        let size = (WIDTH * cols).max(1);
        let values = match kept {
            Kept::F32 => {
                let mut all = vec![0f32; n];
                all.par_chunks_mut(size).enumerate().for_each(|(p, out)| panel(p, out));
                Values::F32(all)
            }
            Kept::Bf16 => {
                let mut all = vec![0u16; n];
                all.par_chunks_mut(size).enumerate().for_each_init(
                    || vec![0f32; size],
                    |wide, (p, out)| {
                        panel(p, wide);
                        out.iter_mut().zip(wide).for_each(|(to, v)| *to = narrow(*v));
                    },
                );
                Values::Bf16(all)
            }
            Kept::Int8 => {
                let (mut bytes, mut scales) = (vec![0i8; n], vec![0f32; n_scales]);
                let panels = bytes.par_chunks_mut(size).zip(scales.par_chunks_mut(size / BLOCK)).enumerate();
                panels.for_each(|(p, (bytes, scales))| {
                    let mut wide = vec![0f32; size];
                    panel(p, &mut wide);
                    for_blocks(&wide, scales, 127.0, |at, value| bytes[at] = value as i8);
                });
                Values::Int8 { bytes, scales }
            }
            Kept::Int4 => {
                let (mut bytes, mut scales) = (vec![0u8; n / 2], vec![0f32; n_scales]);
                let panels = bytes.par_chunks_mut(size / 2).zip(scales.par_chunks_mut(size / BLOCK)).enumerate();
                panels.for_each(|(p, (bytes, scales))| {
                    let mut wide = vec![0f32; size];
                    panel(p, &mut wide);
                    for_blocks(&wide, scales, 7.0, |at, value| {
                        let (input, feature) = (at / WIDTH, at % WIDTH);
                        let nibble = (value as i8 + 8) as u8;
                        bytes[input * WIDTH / 2 + feature % (WIDTH / 2)] |= nibble << (4 * (feature / (WIDTH / 2)));
                    });
                });
                Values::Int4 { bytes, scales }
            }
        };
        Panels { rows, cols, values }
    }

    /// (out, in)
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub fn kept(&self) -> Kept {
        match self.values {
            Values::F32(_) => Kept::F32,
            Values::Bf16(_) => Kept::Bf16,
            Values::Int8 { .. } => Kept::Int8,
            Values::Int4 { .. } => Kept::Int4,
        }
    }

    pub fn n_bytes(&self) -> usize {
        match &self.values {
            Values::F32(all) => 4 * all.len(),
            Values::Bf16(all) => 2 * all.len(),
            Values::Int8 { bytes, scales } => bytes.len() + 4 * scales.len(),
            Values::Int4 { bytes, scales } => bytes.len() + 4 * scales.len(),
        }
    }

    /// Widens inputs `from..to` of a panel into `out` (inputs, WIDTH). `from` is a multiple of [`BLOCK`] in the block forms.
    fn widen(&self, panel: usize, from: usize, to: usize, out: &mut [f32]) {
        let at = panel * self.cols * WIDTH;
        let range = at + from * WIDTH..at + to * WIDTH;
        match &self.values {
            Values::F32(all) => out.copy_from_slice(&all[range]),
            Values::Bf16(all) => simd::vectorised(
                #[inline(always)]
                || widen_bf16(&all[range.clone()], out),
            ),
            Values::Int8 { bytes, scales } => {
                let (bytes, scales) = (&bytes[range.clone()], &scales[range.start / BLOCK..range.end / BLOCK]);
                simd::vectorised(
                    #[inline(always)]
                    || widen_int8(bytes, scales, out),
                );
            }
            Values::Int4 { bytes, scales } => {
                let (bytes, scales) = (&bytes[range.start / 2..range.end / 2], &scales[range.start / BLOCK..range.end / BLOCK]);
                simd::vectorised(
                    #[inline(always)]
                    || widen_int4(bytes, scales, out),
                );
            }
        }
    }

    /// `out (rows, WIDTH; row stride out_row) = x (rows, in) · panelᵀ`.
    fn meet(&self, panel: usize, x: &[f32], rows: usize, wide: &mut [f32], out: &mut [f32], out_row: usize) {
        let x_row = self.cols;
        if let Values::F32(all) = &self.values {
            let panel = &all[panel * self.cols * WIDTH..(panel + 1) * self.cols * WIDTH];
            return simd::run(Tiles { panel, x, x_row, rows, out, out_row, add: false, ahead: AHEAD });
        }
        for from in (0..self.cols).step_by(DEPTH) {
            let to = (from + DEPTH).min(self.cols);
            let wide = &mut wide[..(to - from) * WIDTH];
            self.widen(panel, from, to, wide);
            simd::run(Tiles { panel: wide, x: &x[from..], x_row, rows, out, out_row, add: from > 0, ahead: 0 });
        }
    }

    /// x (N, in) · W[features]ᵀ into `out` (N, features), scaled. `features.start` is a multiple of [`WIDTH`].
    pub fn times_transposed(&self, x: &[f32], features: Range<usize>, scale: f32, out: &mut [f32]) {
        let (k, m) = (self.cols, features.len());
        let Some(n) = out.len().checked_div(m).filter(|n| *n > 0) else { return };
        let panels = features.start / WIDTH..features.end.div_ceil(WIDTH);
        let threads = if n * m * k < PARALLEL_FROM { 1 } else { rayon::current_num_threads() };
        if threads == 1 {
            self.rows_times(x, panels, m, scale, out);
        } else if n >= 24 * threads {
            // As many rows to each thread, in blocks that are not too tall for its cache.
            let block = ROWS.min(n.div_ceil(threads).next_multiple_of(12));
            out.par_chunks_mut(block * m).zip(x.par_chunks(block * k)).for_each(|(out, x)| {
                self.rows_times(x, panels.clone(), m, scale, out);
            });
        } else {
            self.panels_times(x, panels, n, scale, out);
        }
    }

    /// Few rows: threads share out the panels, each writing its own columns of every row.
    fn panels_times(&self, x: &[f32], panels: Range<usize>, n: usize, scale: f32, out: &mut [f32]) {
        let each = panels.len().div_ceil(8 * rayon::current_num_threads()).max(1);
        let mut tasks: Vec<Vec<&mut [f32]>> = (0..panels.len().div_ceil(each)).map(|_| Vec::with_capacity(n)).collect();
        for row in out.chunks_exact_mut(out.len() / n) {
            tasks.iter_mut().zip(row.chunks_mut(each * WIDTH)).for_each(|(task, columns)| task.push(columns));
        }
        tasks.into_par_iter().enumerate().for_each(|(task, mut rows)| {
            let (mut wide, mut sums) = ([0f32; DEPTH * WIDTH], vec![0f32; n * WIDTH]);
            let first = panels.start + task * each;
            for (i, panel) in (first..(first + each).min(panels.end)).enumerate() {
                self.meet(panel, x, n, &mut wide, &mut sums, WIDTH);
                for (sums, row) in sums.chunks_exact(WIDTH).zip(&mut rows) {
                    put(sums, i, scale, row);
                }
            }
        });
    }

    /// The same on this thread alone, block of rows by block of rows.
    fn rows_times(&self, x: &[f32], panels: Range<usize>, m: usize, scale: f32, out: &mut [f32]) {
        let mut wide = [0f32; DEPTH * WIDTH];
        for (x, out) in x.chunks(ROWS * self.cols).zip(out.chunks_mut(ROWS * m)) {
            let rows = out.len() / m;
            for (i, panel) in panels.clone().enumerate() {
                if scale == 1.0 && (i + 1) * WIDTH <= m {
                    self.meet(panel, x, rows, &mut wide, &mut out[i * WIDTH..], m);
                } else {
                    let mut part = [0f32; ROWS * WIDTH];
                    self.meet(panel, x, rows, &mut wide, &mut part, WIDTH);
                    part.chunks_exact(WIDTH).zip(out.chunks_exact_mut(m)).for_each(|(sums, row)| put(sums, i, scale, row));
                }
            }
        }
    }

    /// Rows of W as f32, row by row. `rows.start` is a multiple of [`WIDTH`].
    pub fn unpack(&self, rows: Range<usize>, out: &mut [f32]) {
        let first = rows.start / WIDTH;
        out.par_chunks_mut((WIDTH * self.cols).max(1)).enumerate().for_each_init(
            || vec![0f32; WIDTH * self.cols],
            |wide, (i, out)| {
                let wide = match &self.values {
                    Values::F32(all) => &all[(first + i) * self.cols * WIDTH..(first + i + 1) * self.cols * WIDTH],
                    _ => {
                        self.widen(first + i, 0, self.cols, wide);
                        wide.as_slice()
                    }
                };
                turn_back(wide, self.cols, out);
            },
        );
    }

    /// One row of W, appended to `out`; the caller has checked that it exists.
    pub fn push_row(&self, row: usize, out: &mut Vec<f32>) {
        let (panel, j) = (row / WIDTH, row % WIDTH);
        let at = panel * self.cols * WIDTH;
        match &self.values {
            Values::F32(all) => out.extend((0..self.cols).map(|i| all[at + i * WIDTH + j])),
            Values::Bf16(all) => out.extend((0..self.cols).map(|i| widen(all[at + i * WIDTH + j]))),
            _ => {
                let mut wide = vec![0f32; WIDTH * self.cols];
                self.widen(panel, 0, self.cols, &mut wide);
                out.extend((0..self.cols).map(|i| wide[i * WIDTH + j]));
            }
        }
    }
}

#[inline(always)]
fn widen_bf16(bits: &[u16], out: &mut [f32]) {
    bits.iter().zip(out).for_each(|(bits, to)| *to = widen(*bits));
}

#[inline(always)]
fn widen_int8(bytes: &[i8], scales: &[f32], out: &mut [f32]) {
    let blocks = bytes.chunks(BLOCK * WIDTH).zip(scales.chunks_exact(WIDTH)).zip(out.chunks_mut(BLOCK * WIDTH));
    for ((bytes, scales), out) in blocks {
        for (bytes, out) in bytes.chunks_exact(WIDTH).zip(out.chunks_exact_mut(WIDTH)) {
            for i in 0..WIDTH {
                out[i] = scales[i] * f32::from(bytes[i]);
            }
        }
    }
}

#[inline(always)]
fn widen_int4(bytes: &[u8], scales: &[f32], out: &mut [f32]) {
    let blocks = bytes.chunks(BLOCK * WIDTH / 2).zip(scales.chunks_exact(WIDTH)).zip(out.chunks_mut(BLOCK * WIDTH));
    for ((bytes, scales), out) in blocks {
        for (bytes, out) in bytes.chunks_exact(WIDTH / 2).zip(out.chunks_exact_mut(WIDTH)) {
            for i in 0..WIDTH / 2 {
                out[i] = scales[i] * (i32::from(bytes[i] & 15) - 8) as f32;
                out[i + WIDTH / 2] = scales[i + WIDTH / 2] * (i32::from(bytes[i] >> 4) - 8) as f32;
            }
        }
    }
}

/// Writes one panel's sums of a row into columns `WIDTH * at..` of the row, as many as it has.
fn put(sums: &[f32], at: usize, scale: f32, row: &mut [f32]) {
    let first = at * WIDTH;
    let end = row.len().min(first + WIDTH);
    row[first..end].iter_mut().zip(sums).for_each(|(to, sum)| *to = scale * sum);
}

/// Row-major (up to WIDTH rows, cols) → (cols, WIDTH).
fn turn(by_row: &[f32], cols: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (j, row) in by_row.chunks_exact(cols.max(1)).enumerate() {
        for (value, out) in row.iter().zip(out.chunks_exact_mut(WIDTH)) {
            out[j] = *value;
        }
    }
}

/// (cols, WIDTH) → row-major (up to WIDTH rows, cols), a square at a time so that both sides stay in the cache.
fn turn_back(panel: &[f32], cols: usize, out: &mut [f32]) {
    for (b, square) in panel.chunks(WIDTH * WIDTH).enumerate() {
        for (j, row) in out.chunks_exact_mut(cols.max(1)).enumerate() {
            let row = &mut row[b * WIDTH..];
            for (to, from) in row.iter_mut().zip(square.chunks_exact(WIDTH)) {
                *to = from[j];
            }
        }
    }
}

/// Calls `put(position, whole number)` for every value of a panel (inputs, WIDTH), and writes each block's scale.
fn for_blocks(wide: &[f32], scales: &mut [f32], levels: f32, mut put: impl FnMut(usize, f32)) {
    for (b, block) in wide.chunks_exact(BLOCK * WIDTH).enumerate() {
        for j in 0..WIDTH {
            let values = || block.iter().skip(j).step_by(WIDTH);
            let scale = values().fold(0f32, |top, v| top.max(v.abs())) / levels;
            scales[b * WIDTH + j] = scale;
            for (i, value) in values().enumerate() {
                let whole = if scale == 0.0 { 0.0 } else { (value / scale).round_ties_even().clamp(-levels, levels) };
                put((b * BLOCK + i) * WIDTH + j, whole);
            }
        }
    }
}

#[inline(always)]
pub fn widen(bits: u16) -> f32 {
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
