//! One f32 matrix product with strides, the only place that calls the unsafe `gemm` kernel.

use rayon::current_num_threads;

/// A matrix inside a slice: element (i, j) is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub col: usize,
}

impl<'a> Mat<'a> {
    /// Row-major with `row` floats from one row to the next.
    pub fn rows(data: &'a [f32], row: usize) -> Mat<'a> {
        Mat { data, row, col: 1 }
    }

    /// The transpose of a row-major matrix.
    pub fn t(data: &'a [f32], row: usize) -> Mat<'a> {
        Mat { data, row: 1, col: row }
    }

    fn covers(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// Whether a product may use all threads or must stay on its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    All,
    One,
}

/// Below this many multiplications a product is not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 18;

/// `out (m, n; row stride out_row) = keep * out + scale * a (m, k) · b (k, n)`, with `keep` 0 or 1.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub fn gemm(
    (m, n, k): (usize, usize, usize),
    a: Mat,
    b: Mat,
    out: &mut [f32],
    out_row: usize,
    accumulate: bool,
    scale: f32,
    threads: Threads,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.covers(m, k) && b.covers(k, n) && (m - 1) * out_row + n <= out.len(), "matrix product out of bounds");
    let parallelism = if threads == Threads::All && m * n * k > PARALLEL_FROM {
        gemm::Parallelism::Rayon(current_num_threads())
    } else {
        gemm::Parallelism::None
    };
    // SAFETY: the assertion above proves that every element the kernel reads or writes lies inside its slice, and `out`
    // is borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_row as isize,
            accumulate,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
