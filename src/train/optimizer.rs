//! AdamW with its own saved moments, gradient clipping by global norm, and the learning-rate schedule.

use std::{borrow::Cow, ops::Range};

use anyhow::{Result, ensure};
use candle_core::{Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

use crate::model::{
    Buffers, Policy,
    batch::TokenBatch,
    fused::flat::{Flat, Rule},
    kernels::Launcher,
};

/// AdamW's constants (Loshchilov and Hutter, 1711.05101); weight decay is decoupled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
}

/// First and second moments of every variable, and the shared count of steps taken.
#[derive(Default)]
pub struct Moments {
    pub steps: u64,
    pub first: Vec<Vec<f32>>,
    pub second: Vec<Vec<f32>>,
    /// The same where the variables are learnt on a device by kernels of ours; the two above are then empty. Made by the first step.
    placed: Option<[Flat; 2]>,
}

impl Moments {
    pub fn zeros(vars: &[(String, Var)]) -> Moments {
        let zeros: Vec<Vec<f32>> = vars.iter().map(|(_, v)| vec![0f32; v.elem_count()]).collect();
        Moments { first: zeros.clone(), second: zeros, ..Moments::default() }
    }

    /// Zeros for a policy's adapter, where that is learnt.
    pub fn of(policy: &Policy) -> Moments {
        if policy.model.ops().kernels().is_some() { Moments::default() } else { Moments::zeros(policy.adapter.vars()) }
    }

    /// A copy that shares nothing.
    pub fn copy(&self) -> Result<Moments> {
        let placed = self.placed.as_ref().map(|[first, second]| candle_core::Result::Ok([first.copy()?, second.copy()?]));
        let placed = placed.transpose()?;
        Ok(Moments { steps: self.steps, first: self.first.clone(), second: self.second.clone(), placed })
    }

    /// First and second moments in main memory, by variable.
    pub fn by_variable(&self, vars: &[(String, Var)]) -> Result<[Cow<'_, [Vec<f32>]>; 2]> {
        match &self.placed {
            Some([first, second]) => Ok([first.to_main()?.into(), second.to_main()?.into()]),
            None if !self.first.is_empty() => Ok([self.first.as_slice().into(), self.second.as_slice().into()]),
            None => {
                let zeros = Moments::zeros(vars);
                Ok([zeros.first.into(), zeros.second.into()])
            }
        }
    }

    /// Takes moments from main memory to where `policy`'s adapter is learnt.
    pub fn take(policy: &Policy, steps: u64, [first, second]: [Vec<Vec<f32>>; 2]) -> Result<Moments> {
        let Some(kernels) = policy.model.ops().kernels() else { return Ok(Moments { steps, first, second, placed: None }) };
        let mut placed = zeros_placed(policy, kernels)?;
        placed[0].set(&first)?;
        placed[1].set(&second)?;
        Ok(Moments { steps, placed: Some(placed), ..Moments::default() })
    }

    /// Whether every value is finite.
    pub fn is_finite(&self) -> Result<bool> {
        if let Some([first, second]) = &self.placed {
            return Ok(first.norm()?.is_finite() && second.norm()?.is_finite());
        }
        Ok(self.first.iter().chain(&self.second).flatten().all(|v| v.is_finite()))
    }
}

fn zeros_placed(policy: &Policy, kernels: Launcher) -> Result<[Flat; 2]> {
    let zeros = || Flat::zeros(&policy.model, policy.adapter.rank, kernels);
    Ok([zeros()?, zeros()?])
}

/// The gradients of a policy's adapter, where it is learnt.
pub enum Found {
    Main(Gradients),
    /// On a device, and what clipping will multiply them by.
    Placed(Flat, f32),
}

impl Found {
    /// Zeros: in main memory, or on a device.
    pub fn zeros(policy: &Policy) -> Result<(Gradients, Option<Flat>)> {
        Ok(match policy.model.ops().kernels() {
            Some(kernels) => (Gradients::default(), Some(Flat::zeros(&policy.model, policy.adapter.rank, kernels)?)),
            None => (Gradients::zeros(policy.adapter.vars()), None),
        })
    }

    /// What all parts of a batch have added up to.
    pub fn of((grads, placed): (Gradients, Option<Flat>)) -> Found {
        placed.map_or(Found::Main(grads), |placed| Found::Placed(placed, 1.0))
    }

    /// See [`Gradients::clip`].
    pub fn clip(&mut self, max_norm: f64) -> Result<f64> {
        match self {
            Found::Main(sums) => Ok(sums.clip(max_norm)),
            Found::Placed(sums, factor) => {
                let norm = sums.norm()?;
                *factor = clip_factor(norm, max_norm);
                Ok(norm)
            }
        }
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

    /// The gradients of a part of a batch: added to `placed` where there is one, else returned.
    pub fn of_part(
        policy: &Policy,
        batch: &TokenBatch,
        temperature: f32,
        kept: usize,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32> + Send,
        (placed, buffers): (Option<&Flat>, &mut Buffers),
    ) -> Result<Gradients> {
        let (model, adapter) = (&policy.model, &policy.adapter);
        match (placed, model.ops().kernels()) {
            (Some(placed), Some(kernels)) => {
                batch.backward_placed(model, adapter, temperature, slopes, kernels, placed)?;
                Ok(Gradients::default())
            }
            _ => {
                let mut grads = Gradients::zeros(adapter.vars());
                batch.backward(model, adapter, temperature, kept, slopes, &mut grads.0, buffers)?;
                Ok(grads)
            }
        }
    }

    /// L2 norm of all gradients together, summed in f64 in a fixed order.
    pub fn norm(&self) -> f64 {
        self.0.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt()
    }

    /// Scales so that the global norm is at most `max_norm` (torch's `clip_grad_norm_`); returns the norm before.
    pub fn clip(&mut self, max_norm: f64) -> f64 {
        let norm = self.norm();
        let factor = clip_factor(norm, max_norm);
        if factor < 1.0 {
            self.0.iter_mut().flatten().for_each(|g| *g *= factor);
        }
        norm
    }
}

/// What brings a global norm down to `max_norm`, as torch's `clip_grad_norm_` computes it.
fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    (max_norm / (norm + 1e-6)).min(1.0) as f32
}

impl AdamW {
    /// What step `t`, counted from 1, multiplies by.
    fn rule(&self, t: u64, lr: f64) -> Rule {
        let (b1, b2) = self.betas;
        Rule {
            factor: 1.0,
            betas: (b1 as f32, b2 as f32),
            // Taken from one in f64: in f32, 1 - 0.999 is already off by 1.3e-5 of itself.
            rest: ((1.0 - b1) as f32, (1.0 - b2) as f32),
            step_size: (lr / (1.0 - b1.powi(t as i32))) as f32,
            correct2: (1.0 - b2.powi(t as i32)).sqrt() as f32,
            eps: self.eps as f32,
            keep: (1.0 - lr * self.weight_decay) as f32,
        }
    }

    /// One step of a policy's adapter, all of which decays.
    pub fn learn(&self, policy: &Policy, found: &Found, moments: &mut Moments, lr: f64) -> Result<()> {
        let vars = policy.adapter.vars();
        match (found, policy.model.ops().kernels()) {
            (Found::Placed(grads, factor), Some(kernels)) => {
                if moments.placed.is_none() {
                    moments.placed = Some(zeros_placed(policy, kernels)?);
                }
                moments.steps += 1;
                let rule = Rule { factor: *factor, ..self.rule(moments.steps, lr) };
                let Some([first, second]) = &moments.placed else { anyhow::bail!("the moments are gone") };
                Ok(grads.step(vars, first, second, &rule)?)
            }
            (Found::Main(grads), _) => self.step(vars, grads, moments, lr, |_| true),
            (Found::Placed(..), None) => anyhow::bail!("gradients lie on a device that has no kernels"),
        }
    }

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
        let Rule { betas: (b1, b2), rest: (rest1, rest2), step_size, correct2, eps, keep: decayed, .. } =
            self.rule(moments.steps, lr);
        for (i, (name, var)) in vars.iter().enumerate() {
            let keep = if decays(name) { decayed } else { 1.0 };
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
