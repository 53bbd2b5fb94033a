//! Rotary position embedding on rows (N, heads * head_dim); halves are paired (i, i + head_dim/2) as transformers does.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{simd, slice};

/// cos and sin of position * inverse frequency, (positions, head_dim / 2), computed in f64 and rounded once.
#[derive(Debug)]
pub struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl RopeTable {
    /// `scale` divides positions (linear rope scaling; 1 where there is none).
    pub fn new(head_dim: usize, theta: f64, scale: f64, n_positions: usize) -> RopeTable {
        let half = head_dim / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(n_positions * half), Vec::with_capacity(n_positions * half));
        for position in 0..n_positions {
            for i in 0..half {
                let angle = position as f64 / scale * theta.powf(-2.0 * i as f64 / head_dim as f64);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        RopeTable { cos, sin, half }
    }

    pub fn n_positions(&self) -> usize {
        self.cos.len() / self.half
    }

    /// cos and sin of these positions, row by row. Fails where one is beyond the table.
    pub fn gather(&self, positions: &[u32]) -> Result<(Vec<f32>, Vec<f32>)> {
        self.check(positions)?;
        let rows = positions.iter().map(|p| self.row(*p));
        let (cos, sin): (Vec<&[f32]>, Vec<&[f32]>) = rows.unzip();
        Ok((cos.concat(), sin.concat()))
    }

    pub fn check(&self, positions: &[u32]) -> Result<()> {
        match positions.iter().find(|p| **p as usize >= self.n_positions()) {
            Some(p) => {
                candle_core::bail!("position {p} is beyond the {} positions this model was opened for", self.n_positions())
            }
            None => Ok(()),
        }
    }

    fn row(&self, position: u32) -> (&[f32], &[f32]) {
        let at = position as usize * self.half;
        (&self.cos[at..at + self.half], &self.sin[at..at + self.half])
    }
}

/// Rotates every head of every row by its row's position. Fails where a position is beyond the table.
pub fn rope(x: &Tensor, table: &Arc<RopeTable>, positions: &Arc<Vec<u32>>) -> Result<Tensor> {
    table.check(positions)?;
    x.contiguous()?.apply_op1(Rope { table: table.clone(), positions: positions.clone(), sign: 1.0 })
}

/// Rotates rows in place, one position a row; `sign` -1 turns back, which is the gradient.
pub fn rotate(x: &mut [f32], table: &RopeTable, positions: &[u32], sign: f32) {
    let width = x.len() / positions.len().max(1);
    x.par_chunks_mut(width.max(1)).zip(positions.par_iter()).with_min_len(16).for_each(|(x, position)| {
        let (cos, sin) = table.row(*position);
        simd::vectorised(
            #[inline(always)]
            || rotate_row(x, cos, sin, sign),
        );
    });
}

#[inline(always)]
fn rotate_row(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    for x in x.chunks_exact_mut(2 * half) {
        let (x1, x2) = x.split_at_mut(half);
        for i in 0..half {
            let (a, b, s) = (x1[i], x2[i], sin[i] * sign);
            x1[i] = a * cos[i] - b * s;
            x2[i] = b * cos[i] + a * s;
        }
    }
}

struct Rope {
    table: Arc<RopeTable>,
    positions: Arc<Vec<u32>>,
    sign: f32,
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = slice(storage, layout)?.to_vec();
        rotate(&mut y, &self.table, &self.positions, self.sign);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Rope { table: self.table.clone(), positions: self.positions.clone(), sign: -self.sign };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}
