//! Rotary position embedding on rows (N, heads * head_dim); halves are paired (i, i + head_dim/2) as transformers does.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::slice;

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

    fn row(&self, position: u32) -> (&[f32], &[f32]) {
        let at = position as usize * self.half;
        (&self.cos[at..at + self.half], &self.sin[at..at + self.half])
    }
}

/// Rotates every head of every row by its row's position. Fails where a position is beyond the table.
pub fn rope(x: &Tensor, table: &Arc<RopeTable>, positions: &Arc<Vec<u32>>) -> Result<Tensor> {
    if let Some(beyond) = positions.iter().find(|p| **p as usize >= table.n_positions()) {
        candle_core::bail!("position {beyond} is beyond the {} positions this model was opened for", table.n_positions());
    }
    x.contiguous()?.apply_op1(Rope { table: table.clone(), positions: positions.clone(), sign: 1.0 })
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
        let x = slice(storage, layout)?;
        let (_, width) = layout.shape().dims2()?;
        let half = self.table.half;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(width).zip(x.par_chunks(width)).zip(self.positions.par_iter()).with_min_len(16).for_each(
            |((y, x), position)| {
                let (cos, sin) = self.table.row(*position);
                for (y, x) in y.chunks_mut(2 * half).zip(x.chunks(2 * half)) {
                    let ((y1, y2), (x1, x2)) = (y.split_at_mut(half), x.split_at(half));
                    for i in 0..half {
                        let s = sin[i] * self.sign;
                        y1[i] = x1[i] * cos[i] - x2[i] * s;
                        y2[i] = x2[i] * cos[i] + x1[i] * s;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Rope { table: self.table.clone(), positions: self.positions.clone(), sign: -self.sign };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}
