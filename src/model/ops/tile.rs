//! The inner product of the packed matrix product: a few rows of x meet one panel of weights in registers. Written once over
//! `pulp`'s vectors, so that every instruction set found at run time gets its own copy.

use pulp::{Simd, WithSimd};

/// Output features of a panel.
pub const WIDTH: usize = 32;

/// `out (rows, WIDTH; row stride out_row) = x (rows, depth; row stride x_row) · panel (depth, WIDTH)`, or added to it.
pub struct Tiles<'a> {
    pub panel: &'a [f32],
    pub x: &'a [f32],
    pub x_row: usize,
    pub rows: usize,
    pub out: &'a mut [f32],
    pub out_row: usize,
    pub add: bool,
    /// How far ahead of the sums the panel's memory is asked for, values; 0 for a panel that is in the first cache already.
    pub ahead: usize,
}

/// With few rows of x a product waits for memory, and the machine's own guesses leave a third of its bandwidth unused. Far enough
/// to hide the way to memory, near enough to stay in the first cache.
pub const AHEAD: usize = 2048;

impl WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Two vectors of accumulators a row; 12 rows fill 24 of 32 registers, 6 rows 12 of 16.
        let tallest = if S::REGISTER_COUNT >= 32 { 12 } else { 6 };
        let mut done = 0;
        while done < self.rows {
            let (x, out) = (&self.x[done * self.x_row..], &mut self.out[done * self.out_row..]);
            let strides = (self.x_row, self.out_row);
            done += match (self.rows - done).min(tallest) {
                12 => tile::<S, 12>(simd, self.panel, x, strides, self.add, self.ahead, out),
                8..=11 => tile::<S, 8>(simd, self.panel, x, strides, self.add, self.ahead, out),
                6..=7 => tile::<S, 6>(simd, self.panel, x, strides, self.add, self.ahead, out),
                4..=5 => tile::<S, 4>(simd, self.panel, x, strides, self.add, self.ahead, out),
                2..=3 => tile::<S, 2>(simd, self.panel, x, strides, self.add, self.ahead, out),
                _ => tile::<S, 1>(simd, self.panel, x, strides, self.add, self.ahead, out),
            };
        }
    }
}

/// One tile of R rows; additions run along the depth, the same whatever the number of rows. Returns R.
#[inline(always)]
fn tile<S: Simd, const R: usize>(
    simd: S,
    panel: &[f32],
    x: &[f32],
    (x_row, out_row): (usize, usize),
    add: bool,
    ahead: usize,
    out: &mut [f32],
) -> usize {
    let depth = panel.len() / WIDTH;
    let step = 2 * S::F32_LANES;
    let x: [&[f32]; R] = std::array::from_fn(|r| &x[r * x_row..r * x_row + depth]);
    for first in (0..WIDTH).step_by(step) {
        let mut acc = [[simd.splat_f32s(0.0); 2]; R];
        if add {
            for (r, acc) in acc.iter_mut().enumerate() {
                let (from, _) = S::as_simd_f32s(&out[r * out_row + first..r * out_row + first + step]);
                *acc = [from[0], from[1]];
            }
        }
        for (k, row) in panel.chunks_exact(WIDTH).enumerate() {
            fetch(row, ahead);
            let (w, _) = S::as_simd_f32s(&row[first..first + step]);
            let (w0, w1) = (w[0], w[1]);
            for r in 0..R {
                let value = simd.splat_f32s(x[r][k]);
                acc[r][0] = simd.mul_add_e_f32s(value, w0, acc[r][0]);
                acc[r][1] = simd.mul_add_e_f32s(value, w1, acc[r][1]);
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            let (to, _) = S::as_mut_simd_f32s(&mut out[r * out_row + first..r * out_row + first + step]);
            (to[0], to[1]) = (acc[0], acc[1]);
        }
    }
    R
}

/// Asks for the row of a panel that comes so much later.
#[inline(always)]
#[allow(unsafe_code)]
fn fetch(row: &[f32], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..WIDTH).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(ahead + line).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, ahead);
}
