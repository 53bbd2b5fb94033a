//! Prompts with their completions as one flat batch: which row predicts which token.

use std::{ops::Range, sync::Arc};

use anyhow::{Context, Result};
use candle_core::{Tensor, Var, backprop::GradStore};

use super::{
    gemma3::{Gemma3, OverPlan},
    lora::{Adapter, AdapterView, Projection},
    ops::logprob::{ENTROPY, LOGPROB},
    plan::Plan,
};

/// A flat batch. Completion token t is predicted by the row of token t-1; token 0 by the last row of its prompt, which all
/// completions of the prompt share. The last token of a completion predicts nothing and is no row.
#[derive(Clone, Debug, Default)]
pub struct TokenBatch {
    pub ids: Vec<u32>,
    plan: Plan,
    /// For each predicted token, the row that predicts it.
    rows: Vec<u32>,
    pub targets: Vec<u32>,
    /// (first, length) of each completion's predicted tokens, in the order pushed.
    pub spans: Vec<(usize, usize)>,
}

impl TokenBatch {
    /// Adds a prompt (at least one token) and its completions (each at least one token).
    pub fn push(&mut self, prompt: &[u32], completions: &[&[u32]]) {
        let root = self.plan.push_root(prompt.len());
        let last = (self.plan.segments[root].start + prompt.len() - 1) as u32;
        self.ids.extend_from_slice(prompt);
        for tokens in completions {
            self.spans.push((self.targets.len(), tokens.len()));
            self.targets.extend_from_slice(tokens);
            self.rows.push(last);
            let Some((_, inputs)) = tokens.split_last().filter(|(_, inputs)| !inputs.is_empty()) else { continue };
            let child = self.plan.push_child(inputs.len());
            let start = self.plan.segments[child].start as u32;
            self.rows.extend(start..start + inputs.len() as u32);
            self.ids.extend_from_slice(inputs);
        }
    }

    /// Adds one sequence in which every token but the first is predicted.
    pub fn push_sequence(&mut self, ids: &[u32]) {
        self.push(&ids[..1], &[&ids[1..]]);
    }

    /// Rows to compute.
    pub fn n_rows(&self) -> usize {
        self.ids.len()
    }

    pub fn plan(&self) -> Arc<Plan> {
        Arc::new(self.plan.clone())
    }

    /// Log-probs and entropies (3, predicted tokens) with their graph; see [`Gemma3::logprobs`].
    pub fn forward(&self, model: &Gemma3, adapter: Option<&AdapterView>, temperature: f32) -> Result<Tensor> {
        let hidden = model.forward(&self.ids, &self.plan(), adapter)?;
        let rows = Tensor::new(self.rows.as_slice(), model.device())?;
        Ok(model.logprobs(&hidden.index_select(&rows, 0)?, &self.targets, temperature)?)
    }

    /// Backward from sum(slope · log-prob) over the predicted tokens. `slopes` is given log-probs and entropies, `sink` the
    /// gradients of a range of the adapter's variables: all at once or, with `recompute`, layer by layer.
    ///
    /// Recomputing keeps only the input of each layer and runs each layer a second time on the way back (Chen et al. 2016,
    /// 1604.06174): the same gradients, bit for bit, for a third more arithmetic and a small part of the memory.
    pub fn backward(
        &self,
        model: &Gemma3,
        adapter: &Adapter,
        temperature: f32,
        recompute: bool,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
        sink: &mut dyn FnMut(Range<usize>, &GradStore) -> Result<()>,
    ) -> Result<()> {
        if !recompute {
            let stats = self.forward(model, Some(&adapter.tracked()), temperature)?;
            return sink(0..adapter.vars().len(), &weighted(&stats, slopes)?.backward()?);
        }
        let (plan, frozen) = (self.plan(), adapter.frozen());
        let positions = plan.positions();
        let mut inputs = vec![model.embed(&self.ids)?];
        for i in 0..model.spec.n_layers() {
            let y = model.layer(i, &inputs[i], &positions, Some(&frozen), &mut OverPlan(&plan))?;
            inputs.push(y);
        }
        let end = Var::from_tensor(&inputs.pop().context("the model has no layers")?)?;
        let rows = Tensor::new(self.rows.as_slice(), model.device())?;
        let stats = model.logprobs(&model.finish(&end)?.index_select(&rows, 0)?, &self.targets, temperature)?;
        let mut slope = gradient_of(&weighted(&stats, slopes)?.backward()?, &end)?;
        let tracked = adapter.tracked();
        for (i, input) in inputs.into_iter().enumerate().rev() {
            let input = Var::from_tensor(&input)?;
            let y = model.layer(i, &input, &positions, Some(&tracked), &mut OverPlan(&plan))?;
            let grads = (y * &slope)?.sum_all()?.backward()?;
            let n = 2 * Projection::ALL.len();
            sink(i * n..(i + 1) * n, &grads)?;
            slope = gradient_of(&grads, &input)?;
        }
        Ok(())
    }

    /// Log-prob and entropy of every predicted token, as plain numbers.
    pub fn score(&self, model: &Gemma3, adapter: Option<&AdapterView>, temperature: f32) -> Result<(Vec<f32>, Vec<f32>)> {
        let stats = self.forward(model, adapter, temperature)?.detach();
        Ok((stats.get(LOGPROB)?.to_vec1()?, stats.get(ENTROPY)?.to_vec1()?))
    }
}

/// sum(slope · log-prob), whose gradient is that of any loss with these slopes.
fn weighted(stats: &Tensor, slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>) -> Result<Tensor> {
    let logprobs = stats.get(LOGPROB)?;
    let slopes = slopes(&logprobs.to_vec1()?, &stats.get(ENTROPY)?.to_vec1()?);
    Ok((&logprobs * Tensor::from_vec(slopes, logprobs.shape(), logprobs.device())?)?.sum_all()?)
}

fn gradient_of(grads: &GradStore, var: &Var) -> Result<Tensor> {
    Ok(grads.get(var.as_tensor()).context("a layer's input has no gradient")?.detach())
}
