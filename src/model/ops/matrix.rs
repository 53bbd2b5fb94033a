//! A weight matrix (out, in): an f32 tensor that may be trained, or frozen and packed in the precision it is kept in.
//! Arithmetic is f32 throughout; a kept precision only says how many bytes a weight takes in memory. Must not know what the
//! matrix is for.

use std::{ops::Range, sync::Arc};

use candle_core::{Result, Tensor, bail};

pub use super::panels::{BLOCK, Kept, narrow};
use super::{
    gemm::{Mat, Threads, gemm},
    panels::Panels,
    tile::WIDTH,
    with_slice,
};

/// f32 values unpacked at once, about: they should stay in the second-level cache of the cores together.
const UNPACKED: usize = 1 << 19;

/// Cheap to clone: the values are shared.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Row-major f32, trainable where the tensor is a variable.
    Plain(Tensor),
    /// Frozen.
    Packed(Arc<Panels>),
    /// f32 or bf16 for the operations of [`crate::model::portable`], on any device; none of this file's products take it.
    Placed(Tensor),
}

impl Matrix {
    /// f32 values (rows, cols), row by row.
    pub fn from_f32(values: &[f32], rows: usize, cols: usize, kept: Kept) -> Result<Matrix> {
        if values.len() != rows * cols {
            bail!("{} values do not make a matrix of {rows} by {cols}", values.len());
        }
        Matrix::pack(rows, cols, kept, |range, out| out.copy_from_slice(&values[range.start * cols..range.end * cols]))
    }

    /// A frozen matrix; see [`Panels::pack`].
    pub fn pack(rows: usize, cols: usize, kept: Kept, fill: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Result<Matrix> {
        if matches!(kept, Kept::Int8 | Kept::Int4) && !cols.is_multiple_of(BLOCK) {
            bail!("8-bit and 4-bit blocks need input features in multiples of {BLOCK}, not {cols}");
        }
        Ok(Matrix::Packed(Arc::new(Panels::pack(rows, cols, kept, fill))))
    }

    /// W + scale B A packed as f32, for drawing with an adapter at the cost of none; `None` where W is not f32 itself, since a sum
    /// rounded to fewer bits would be another model. a (r, in), b (out, r).
    pub fn merged(&self, a: &[f32], b: &[f32], scale: f32) -> Result<Option<Matrix>> {
        let Matrix::Packed(panels) = self else { return Ok(None) };
        let (rows, cols) = panels.dims();
        let r = a.len() / cols;
        let fill = |range: Range<usize>, out: &mut [f32]| {
            panels.unpack(range.clone(), out);
            let shape = (range.len(), cols, r);
            gemm(shape, Mat::rows(&b[range.start * r..], r), Mat::rows(a, cols), out, cols, true, scale, Threads::One);
        };
        if panels.kept() == Kept::F32 { Matrix::pack(rows, cols, Kept::F32, fill).map(Some) } else { Ok(None) }
    }

    /// (out, in)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Matrix::Plain(tensor) | Matrix::Placed(tensor) => tensor.dims2(),
            Matrix::Packed(panels) => Ok(panels.dims()),
        }
    }

    /// Bytes the values take.
    pub fn n_bytes(&self) -> usize {
        match self {
            Matrix::Plain(tensor) | Matrix::Placed(tensor) => tensor.dtype().size_in_bytes() * tensor.elem_count(),
            Matrix::Packed(panels) => panels.n_bytes(),
        }
    }

    /// The variable behind it, where it is trained.
    pub fn variable(&self) -> Option<&Tensor> {
        match self {
            Matrix::Plain(tensor) if tensor.is_variable() => Some(tensor),
            _ => None,
        }
    }

    /// Gives `f` some rows as f32, row by row; `scratch` holds them where they have to be unpacked. `rows.start` is a multiple of
    /// [`WIDTH`].
    pub fn with_rows<R>(&self, rows: Range<usize>, scratch: &mut Vec<f32>, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
        match self {
            Matrix::Placed(_) => elsewhere(),
            Matrix::Plain(tensor) => {
                let cols = tensor.dim(1)?;
                with_slice(tensor, |values| Ok(f(&values[rows.start * cols..rows.end * cols])))
            }
            Matrix::Packed(panels) => {
                scratch.resize(rows.len() * panels.dims().1, 0.0);
                panels.unpack(rows, scratch);
                Ok(f(scratch))
            }
        }
    }

    /// x (N, in) · Wᵀ → (N, out)
    pub fn times_transposed(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (m, k) = self.dims()?;
        let mut y = vec![0f32; x.len() / k * m];
        self.features_into(x, 0..m, 1.0, &mut y)?;
        Ok(y)
    }

    /// `scale` · x (N, in) · W[features]ᵀ into `out` (N, features). `features.start` is a multiple of [`WIDTH`].
    pub fn features_into(&self, x: &[f32], features: Range<usize>, scale: f32, out: &mut [f32]) -> Result<()> {
        match self {
            Matrix::Placed(_) => elsewhere(),
            Matrix::Plain(tensor) => {
                let k = tensor.dim(1)?;
                let (n, m) = (x.len() / k, features.len());
                with_slice(tensor, |w| {
                    let w = &w[features.start * k..features.end * k];
                    gemm((n, m, k), Mat::rows(x, k), Mat::t(w, k), out, m, false, scale, Threads::All);
                    Ok(())
                })
            }
            Matrix::Packed(panels) => {
                panels.times_transposed(x, features, scale, out);
                Ok(())
            }
        }
    }

    /// g (N, out) · W → (N, in): the gradient of the input.
    pub fn times(&self, g: &[f32]) -> Result<Vec<f32>> {
        let (m, k) = self.dims()?;
        let mut dx = vec![0f32; g.len() / m * k];
        self.times_into(g, false, &mut dx)?;
        Ok(dx)
    }

    /// The same into `dx`, or added to it.
    pub fn times_into(&self, g: &[f32], add: bool, dx: &mut [f32]) -> Result<()> {
        let (m, k) = self.dims()?;
        let (n, mut scratch) = (g.len() / m, Vec::new());
        let at_once = match self {
            Matrix::Plain(_) | Matrix::Placed(_) => m.max(1),
            Matrix::Packed(_) => (UNPACKED / k.max(1)).next_multiple_of(WIDTH),
        };
        for first in (0..m).step_by(at_once) {
            let c = at_once.min(m - first);
            self.with_rows(first..first + c, &mut scratch, |w| {
                gemm((n, k, c), Mat::rows(&g[first..], m), Mat::rows(w, k), dx, k, add || first > 0, 1.0, Threads::All);
            })?;
        }
        Ok(())
    }

    /// Puts the rows of these ids, (ids, in), behind `out`, as f32.
    pub fn gather(&self, ids: &[u32], out: &mut Vec<f32>) -> Result<()> {
        let (rows, cols) = self.dims()?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            bail!("token id {id} lies beyond the vocabulary of {rows}");
        }
        out.reserve(ids.len() * cols);
        match self {
            Matrix::Placed(_) => elsewhere()?,
            Matrix::Plain(tensor) => with_slice(tensor, |values| {
                ids.iter().for_each(|id| out.extend_from_slice(&values[*id as usize * cols..(*id as usize + 1) * cols]));
                Ok(())
            })?,
            Matrix::Packed(panels) => ids.iter().for_each(|id| panels.push_row(*id as usize, out)),
        }
        Ok(())
    }
}

fn elsewhere<R>() -> Result<R> {
    bail!("these weights were given to another kind of operation")
}
