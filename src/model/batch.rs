//! Prompts with their completions as one flat batch: which row predicts which token.

use std::{ops::Range, sync::Arc};

use anyhow::{Context, Result};
use candle_core::{Tensor, Var, backprop::GradStore};

use super::{
    fused::{self, flat::Flat},
    gemma3::Gemma3,
    kernels::Launcher,
    lora::{Adapter, AdapterView, Projection},
    ops::{
        logprob::{ENTROPY, LOGPROB},
        norm::{norm_rows, norm_rows_backward},
    },
    place::Ops,
    plan::Plan,
    tape::{Buffers, Pass},
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

    /// The rows that predict something, in rising order.
    fn wanted(&self) -> Vec<u32> {
        let mut wanted = self.rows.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// For each predicted token, where among the wanted rows of `width` values its own lies.
    fn predicting(&self, wanted: &[u32], width: usize) -> Vec<Range<usize>> {
        let at = |row: &u32| wanted.partition_point(|w| w < row) * width;
        self.rows.iter().map(|row| at(row)..at(row) + width).collect()
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

    /// Backward from sum(slope · log-prob) over the predicted tokens. `slopes` is given log-probs and entropies; the gradients are
    /// added to `grads`, one entry for each of the adapter's variables.
    ///
    /// The last `kept` layers keep what their backward needs. Of the others only the input is kept, and they run a second time on the
    /// way back (Chen et al. 2016, 1604.06174): the same gradients, bit for bit, for up to a third more arithmetic and a small part of
    /// the memory. By candle's graph it is all layers or none.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        model: &Gemma3,
        adapter: &Adapter,
        temperature: f32,
        kept: usize,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32> + Send,
        grads: &mut [Vec<f32>],
        buffers: &mut Buffers,
    ) -> Result<()> {
        if let Some(kernels) = model.ops().kernels() {
            let found = Flat::zeros(model, adapter.rank, kernels)?;
            self.backward_placed(model, adapter, temperature, slopes, kernels, &found)?;
            for (sum, found) in grads.iter_mut().zip(found.to_main()?) {
                sum.iter_mut().zip(found).for_each(|(sum, g)| *sum += g);
            }
            return Ok(());
        }
        if model.ops() != Ops::Cpu {
            return self.backward_by_graph(model, adapter, temperature, kept < model.spec.n_layers(), slopes, grads);
        }
        let (view, wanted) = (adapter.frozen(), self.wanted());
        let pass = Pass { model, adapter: Some(&view), positions: &self.plan.positions(), wanted: &wanted };
        // In the pool, so that its threads are the only ones at work and none has to be woken for every product.
        rayon::scope(|_| self.backward_by(&pass, temperature, kept, slopes, grads, buffers))
    }

    /// The same by kernels of ours, added to gradients that stay on the device. Every layer is computed twice.
    pub fn backward_placed(
        &self,
        model: &Gemma3,
        adapter: &Adapter,
        temperature: f32,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
        kernels: Launcher,
        grads: &Flat,
    ) -> Result<()> {
        let head = |end: &Tensor| self.head_slope_by_graph(model, end, temperature, slopes);
        fused::backward::backward(model, kernels, &adapter.frozen(), (&self.ids, &self.plan()), head, grads)
    }

    fn backward_by(
        &self,
        pass: &Pass,
        temperature: f32,
        kept: usize,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
        grads: &mut [Vec<f32>],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let model = pass.model;
        let mut plan = self.plan();
        let mut inputs: Vec<Vec<f32>> = vec![pass.embeddings(&self.ids, buffers)?];
        let mut tapes = Vec::new();
        for i in 0..model.spec.n_layers() {
            let (y, tape) = pass.forward(i, &inputs[i], &mut plan, buffers)?;
            inputs.push(y);
            if i < model.spec.n_layers().saturating_sub(kept) {
                tape.release(buffers);
            } else {
                tapes.push(tape);
            }
        }
        let mut slope = inputs.pop().context("the model has no layers")?;
        self.head_slope(pass, &mut slope, temperature, slopes)?;
        for (i, input) in inputs.into_iter().enumerate().rev() {
            let tape = match tapes.pop() {
                Some(tape) => tape,
                None => {
                    let (y, tape) = pass.forward(i, &input, &mut plan, buffers)?;
                    buffers.give([y]);
                    tape
                }
            };
            let n = 2 * Projection::ALL.len();
            pass.backward(i, &input, &tape, &mut slope, &plan, &mut grads[i * n..(i + 1) * n], buffers)?;
            tape.release(buffers);
            buffers.give([input]);
        }
        buffers.give([slope]);
        Ok(())
    }

    /// The same by candle's graph, for the operations that work on any device. Gradients stay on the device until the last layer
    /// is done: none of the layers waits for a copy.
    fn backward_by_graph(
        &self,
        model: &Gemma3,
        adapter: &Adapter,
        temperature: f32,
        recompute: bool,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
        grads: &mut [Vec<f32>],
    ) -> Result<()> {
        let (n, n_vars) = (2 * Projection::ALL.len(), adapter.vars().len());
        let mut found: Vec<(usize, Tensor)> = Vec::with_capacity(n_vars);
        let mut keep = |from: usize, to: usize, store: &GradStore| -> Result<()> {
            for (i, (name, var)) in adapter.vars().iter().enumerate().take(to).skip(from) {
                found.push((i, store.get(var).with_context(|| format!("no gradient reached {name}"))?.detach()));
            }
            Ok(())
        };
        if recompute {
            let (plan, frozen, tracked) = (self.plan(), adapter.frozen(), adapter.tracked());
            let (positions, mut over) = (plan.positions(), model.over(&plan));
            let mut inputs = vec![model.embed(&self.ids)?];
            for i in 0..model.spec.n_layers() {
                inputs.push(model.layer(i, &inputs[i], &positions, Some(&frozen), &mut over)?);
            }
            let mut slope =
                self.head_slope_by_graph(model, &inputs.pop().context("the model has no layers")?, temperature, slopes)?;
            for (i, input) in inputs.into_iter().enumerate().rev() {
                let input = Var::from_tensor(&input)?;
                let y = model.layer(i, &input, &positions, Some(&tracked), &mut over)?;
                let store = (y * &slope)?.sum_all()?.backward()?;
                keep(i * n, (i + 1) * n, &store)?;
                slope = gradient_of(&store, &input)?;
            }
        } else {
            let stats = self.forward(model, Some(&adapter.tracked()), temperature)?;
            keep(0, n_vars, &weighted(&stats, slopes)?.backward()?)?;
        }
        for (i, grad) in found {
            grads[i].iter_mut().zip(grad.flatten_all()?.to_vec1::<f32>()?).for_each(|(sum, g)| *sum += g);
        }
        Ok(())
    }

    /// The slope of sum(slope · log-prob) by the last layer's output (rows, H), by candle's graph.
    fn head_slope_by_graph(
        &self,
        model: &Gemma3,
        end: &Tensor,
        temperature: f32,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
    ) -> Result<Tensor> {
        let end = Var::from_tensor(end)?;
        let rows = Tensor::new(self.rows.as_slice(), model.device())?;
        // Normed before rows are chosen, as in the forward: a row that predicts several tokens sums their slopes in the same order.
        let hidden = model.finish(&end)?.index_select(&rows, 0)?;
        let stats = model.logprobs(&hidden, &self.targets, temperature)?;
        gradient_of(&weighted(&stats, slopes)?.backward()?, &end)
    }

    /// The slope of sum(slope · log-prob) by the last layer's output (wanted rows, H), in its place.
    fn head_slope(
        &self,
        pass: &Pass,
        end: &mut [f32],
        temperature: f32,
        slopes: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
    ) -> Result<()> {
        let (model, n) = (pass.model, self.targets.len());
        let (weight, eps) = (model.final_norm()?, model.spec.norm_eps as f32);
        let mut normed = vec![0f32; end.len()];
        norm_rows::<false>(end, &weight, eps, &mut normed);
        let predicting = self.predicting(pass.wanted, model.spec.hidden_size);
        let hidden = gathered(&normed, &predicting);
        let (stats, by_token) = model.head(n, &self.targets, temperature)?.forward_with_slopes(&hidden)?;
        let slopes = slopes(&stats[LOGPROB * n..][..n], &stats[ENTROPY * n..][..n]);
        // A row that predicts several tokens sums their slopes.
        normed.fill(0.0);
        for ((by_token, slope), row) in by_token.chunks_exact(model.spec.hidden_size).zip(slopes).zip(predicting) {
            normed[row].iter_mut().zip(by_token).for_each(|(sum, s)| *sum += slope * s);
        }
        let x = end.to_vec();
        norm_rows_backward::<false>(&x, &normed, &weight, eps, end);
        Ok(())
    }

    /// Log-prob and entropy of every predicted token, as plain numbers.
    pub fn score(&self, model: &Gemma3, adapter: Option<&AdapterView>, temperature: f32) -> Result<(Vec<f32>, Vec<f32>)> {
        self.score_with(model, adapter, temperature, &mut Buffers::default())
    }

    /// The same in memory that the next batch uses again.
    pub fn score_with(
        &self,
        model: &Gemma3,
        adapter: Option<&AdapterView>,
        temperature: f32,
        buffers: &mut Buffers,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        if model.ops() != Ops::Cpu {
            let stats = self.forward(model, adapter, temperature)?;
            return Ok((stats.get(LOGPROB)?.to_vec1()?, stats.get(ENTROPY)?.to_vec1()?));
        }
        let wanted = self.wanted();
        let pass = Pass { model, adapter, positions: &self.plan.positions(), wanted: &wanted };
        rayon::scope(|_| {
            let hidden = pass.hidden(&self.ids, &mut self.plan(), buffers)?;
            let (n, predicting) = (self.targets.len(), self.predicting(&wanted, model.spec.hidden_size));
            let stats = model.head(n, &self.targets, temperature)?.forward(&gathered(&hidden, &predicting))?;
            buffers.give([hidden]);
            Ok((stats[LOGPROB * n..][..n].to_vec(), stats[ENTROPY * n..][..n].to_vec()))
        })
    }
}

/// Pieces of `x`, one after the other.
fn gathered(x: &[f32], pieces: &[Range<usize>]) -> Vec<f32> {
    pieces.iter().map(|piece| &x[piece.clone()]).collect::<Vec<_>>().concat()
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
