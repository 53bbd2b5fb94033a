//! What an adapter's training holds beside it, on the device: gradients and moments, each in one piece, and the step that uses them.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, Var};

use super::layers::{Block, Gradient};
use crate::model::{
    gemma3::Gemma3,
    kernels::{
        Argument::{At, Count, Real},
        Launcher, THREADS,
        buffer::{Buffer, address},
        count,
        machine::Machine,
    },
    lora::Projection,
    spec::Spec,
};

/// Blocks that sum the squares of one array.
const PARTS: usize = 64;

/// One f32 for each of an adapter's, in the order in which the backward leaves gradients: by layer and block A of all members, then B.
pub struct Flat {
    buffer: Buffer,
    /// (first, length) by variable.
    places: Arc<Vec<(usize, usize)>>,
    launcher: Launcher,
}

/// What a step of AdamW multiplies by.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Of the gradients.
    pub factor: f32,
    pub betas: (f32, f32),
    /// 1 minus each of them.
    pub rest: (f32, f32),
    pub step_size: f32,
    /// Root of what corrects the second moment.
    pub correct2: f32,
    pub eps: f32,
    /// What weight decay leaves.
    pub keep: f32,
}

/// Where each variable's values lie.
fn places(spec: &Spec, rank: usize) -> Vec<(usize, usize)> {
    let mut places = vec![(0, 0); 2 * spec.n_layers() * Projection::ALL.len()];
    let mut next = 0;
    for layer in 0..spec.n_layers() {
        for block in Block::ALL {
            for b in 0..2 {
                for member in block.members() {
                    let (out, input) = member.shape(spec);
                    let n = rank * if b == 0 { input } else { out };
                    places[2 * (layer * Projection::ALL.len() + *member as usize) + b] = (next, n);
                    next += n;
                }
            }
        }
    }
    places
}

impl Flat {
    pub fn zeros(model: &Gemma3, rank: usize, launcher: Launcher) -> Result<Flat> {
        let places = Arc::new(places(&model.spec, rank));
        let n = places.iter().map(|(_, n)| n).sum::<usize>();
        Ok(Flat { buffer: Buffer::new(n, DType::F32, model.device())?, places, launcher })
    }

    fn at(&self) -> u64 {
        self.buffer.at()
    }

    /// Where the gradients of a layer's blocks lie: those of a block's members follow each other.
    pub fn gradients(&self, layer: usize) -> [Gradient; 4] {
        Block::ALL.map(|block| {
            let first = 2 * (layer * Projection::ALL.len() + block.members()[0] as usize);
            let at = |variable: usize| self.at() + (4 * self.places[variable].0) as u64;
            Gradient { a: at(first), b: at(first + 1) }
        })
    }

    fn machine(&self) -> Machine {
        Machine::new(self.buffer.tensor().device(), self.launcher)
    }

    /// A copy that shares nothing.
    pub fn copy(&self) -> Result<Flat> {
        let buffer = Buffer::of(self.buffer.tensor().copy()?)?;
        Ok(Flat { buffer, places: self.places.clone(), launcher: self.launcher })
    }

    /// The values by variable.
    pub fn to_main(&self) -> Result<Vec<Vec<f32>>> {
        let all = self.buffer.tensor().to_vec1::<f32>()?;
        Ok(self.places.iter().map(|(first, n)| all[*first..first + n].to_vec()).collect())
    }

    /// Takes values by variable.
    pub fn set(&mut self, values: &[Vec<f32>]) -> Result<()> {
        let mut all = vec![0f32; self.buffer.tensor().elem_count()];
        for ((first, n), values) in self.places.iter().zip(values) {
            if values.len() != *n {
                candle_core::bail!("{} values for a variable of {n}", values.len());
            }
            all[*first..first + n].copy_from_slice(values);
        }
        self.buffer = Buffer::of(Tensor::new(all, self.buffer.tensor().device())?)?;
        Ok(())
    }

    /// L2 norm of all values together, summed in f64; not finite where one is not.
    pub fn norm(&self) -> Result<f64> {
        let sums = squares(&self.machine(), &[(self.at(), self.buffer.tensor().elem_count())])?;
        Ok(sums.into_iter().sum::<f64>().sqrt())
    }

    /// One step of the variables, whose moments are `first` and `second` and whose gradients these.
    pub fn step(&self, vars: &[(String, Var)], first: &Flat, second: &Flat, rule: &Rule) -> Result<()> {
        let machine = self.machine();
        let Rule { factor, betas, rest, step_size, correct2, eps, keep } = *rule;
        let numbers = [factor, betas.0, rest.0, betas.1, rest.1, step_size, correct2, eps, keep].map(Real);
        for ((_, var), (at, n)) in vars.iter().zip(self.places.iter()) {
            let of = |flat: &Flat| At(flat.at() + 4 * *at as u64);
            let head = [At(address(var.as_tensor())?), of(first), of(second), of(self), count(*n)?];
            machine.launch("adamw", (n.div_ceil(THREADS), 1), &[&head[..], &numbers].concat())?;
        }
        Ok(())
    }
}

/// Whether every value of these variables is finite.
pub fn all_finite(vars: &[(String, Var)], device: &candle_core::Device, launcher: Launcher) -> Result<bool> {
    let arrays: Vec<(u64, usize)> =
        vars.iter().map(|(_, var)| Ok((address(var.as_tensor())?, var.elem_count()))).collect::<Result<_>>()?;
    Ok(squares(&Machine::new(device, launcher), &arrays)?.into_iter().all(f64::is_finite))
}

/// Sums of squares of arrays (address, values), in [`PARTS`] each.
fn squares(machine: &Machine, arrays: &[(u64, usize)]) -> Result<Vec<f64>> {
    // Two words a part: candle reads no f64 that it did not write.
    let parts = Buffer::new(2 * PARTS * arrays.len().max(1), DType::U32, machine.device())?;
    for (i, (at, n)) in arrays.iter().enumerate() {
        let to = parts.at() + (8 * PARTS * i) as u64;
        machine.launch("squares", (PARTS, 1), &[At(*at), At(to), count(*n)?, Count(PARTS as u32)])?;
    }
    let words = parts.tensor().to_vec1::<u32>()?;
    Ok(words.chunks_exact(2).map(|w| f64::from_bits(u64::from(w[0]) | u64::from(w[1]) << 32)).collect())
}
