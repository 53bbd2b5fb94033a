//! Prompts with their completions as one flat batch: which row predicts which token.

use std::sync::Arc;

use anyhow::Result;
use candle_core::Tensor;

use super::{
    gemma3::Gemma3,
    lora::AdapterView,
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

    /// Log-prob and entropy of every predicted token, as plain numbers.
    pub fn score(&self, model: &Gemma3, adapter: Option<&AdapterView>, temperature: f32) -> Result<(Vec<f32>, Vec<f32>)> {
        let stats = self.forward(model, adapter, temperature)?.detach();
        Ok((stats.get(LOGPROB)?.to_vec1()?, stats.get(ENTROPY)?.to_vec1()?))
    }
}
