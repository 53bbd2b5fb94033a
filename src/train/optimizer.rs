//! AdamW with its own saved moments, gradient clipping by global norm, and the learning-rate schedule.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::{Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

/// AdamW's constants (Loshchilov and Hutter, 1711.05101); weight decay is decoupled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
}

/// First and second moments of one variable, and the shared count of steps taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    pub steps: u64,
    pub first: Vec<Vec<f32>>,
    pub second: Vec<Vec<f32>>,
}

impl Moments {
    pub fn zeros(vars: &[(String, Var)]) -> Moments {
        let zeros: Vec<Vec<f32>> = vars.iter().map(|(_, v)| vec![0f32; v.elem_count()]).collect();
        Moments { steps: 0, first: zeros.clone(), second: zeros }
    }
}

/// Gradients of every variable, flat, in the order of the variables.
#[derive(Clone, Debug, Default)]
pub struct Gradients(pub Vec<Vec<f32>>);

impl Gradients {
    pub fn zeros(vars: &[(String, Var)]) -> Gradients {
        Gradients(vars.iter().map(|(_, v)| vec![0f32; v.elem_count()]).collect())
    }

    /// Adds one backward pass over the variables in `range`. One of them without a gradient is an error: somewhere the graph is
    /// cut (design law 4).
    pub fn add(&mut self, vars: &[(String, Var)], range: Range<usize>, store: &GradStore) -> Result<()> {
        for ((name, var), sum) in vars[range.clone()].iter().zip(&mut self.0[range]) {
            let Some(grad) = store.get(var) else { anyhow::bail!("no gradient reached {name}") };
            let grad = grad.flatten_all()?.to_vec1::<f32>()?;
            ensure!(grad.len() == sum.len(), "gradient of {name} has {} values, expected {}", grad.len(), sum.len());
            sum.par_iter_mut().zip(grad).with_min_len(4096).for_each(|(s, g)| *s += g);
        }
        Ok(())
    }

    /// Adds the gradients of another part of the batch.
    pub fn merge(&mut self, part: &Gradients) {
        for (sum, part) in self.0.iter_mut().zip(&part.0) {
            sum.iter_mut().zip(part).for_each(|(sum, g)| *sum += g);
        }
    }

    /// L2 norm of all gradients together, summed in f64 in a fixed order.
    pub fn norm(&self) -> f64 {
        self.0.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt()
    }

    /// Scales so that the global norm is at most `max_norm` (torch's `clip_grad_norm_`); returns the norm before.
    pub fn clip(&mut self, max_norm: f64) -> f64 {
        let norm = self.norm();
        let factor = (max_norm / (norm + 1e-6)).min(1.0) as f32;
        if factor < 1.0 {
            self.0.iter_mut().flatten().for_each(|g| *g *= factor);
        }
        norm
    }
}

impl AdamW {
    /// One step. `decays(name)` says which variables decay.
    pub fn step(
        &self,
        vars: &[(String, Var)],
        grads: &Gradients,
        moments: &mut Moments,
        lr: f64,
        decays: impl Fn(&str) -> bool,
    ) -> Result<()> {
        moments.steps += 1;
        let (b1, b2) = self.betas;
        let t = moments.steps as i32;
        let (correct1, correct2) = (1.0 - b1.powi(t), (1.0 - b2.powi(t)).sqrt());
        // Taken from one in f64: in f32, 1 - 0.999 is already off by 1.3e-5 of itself.
        let (rest1, rest2) = ((1.0 - b1) as f32, (1.0 - b2) as f32);
        let (b1, b2, eps) = (b1 as f32, b2 as f32, self.eps as f32);
        let (step_size, correct2) = ((lr / correct1) as f32, correct2 as f32);
        for (i, (name, var)) in vars.iter().enumerate() {
            let keep = if decays(name) { (1.0 - lr * self.weight_decay) as f32 } else { 1.0 };
            let mut values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
            let (m, v, g) = (&mut moments.first[i], &mut moments.second[i], &grads.0[i]);
            values.par_iter_mut().zip(m.par_iter_mut()).zip(v.par_iter_mut()).zip(g.par_iter()).with_min_len(4096).for_each(
                |(((w, m), v), g)| {
                    *m = b1 * *m + rest1 * g;
                    *v = b2 * *v + rest2 * g * g;
                    *w = *w * keep - step_size * *m / (v.sqrt() / correct2 + eps);
                },
            );
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
        Ok(())
    }
}

/// Warm-up to `peak`, then cosine to `min_ratio * peak`, as transformers' `cosine_with_min_lr` (research: serl-openrlhf §1.3 item 15),
/// except that progress is clamped at 1, so that the rate never climbs again past the horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub peak: f64,
    pub min_ratio: f64,
    pub warmup_steps: u64,
    pub total_steps: u64,
}

impl Schedule {
    /// Learning rate of optimizer step `s`, counted from 0; the first step of a warm-up is 0.
    pub fn at(&self, s: u64) -> f64 {
        if s < self.warmup_steps {
            return self.peak * s as f64 / self.warmup_steps as f64;
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((s - self.warmup_steps) as f64 / span).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.peak * (cosine * (1.0 - self.min_ratio) + self.min_ratio)
    }
}
