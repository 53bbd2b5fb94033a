//! Values of single tokens of a step: how they read, and which are old enough to go.

use std::collections::HashSet;

use anyhow::Result;

use super::Run;
use crate::{attach::protocol::Level, store::tokens_of, task::Rollout};

/// Tokens whose spelling the store knows.
#[derive(Default)]
pub(super) struct Spelt(HashSet<u32>);

impl Run {
    /// Takes away what the experiment does not keep.
    pub(super) fn only_kept_traces(&self, rollouts: &mut [Rollout]) {
        if self.trainer.config.doctor.token_steps == 0 {
            rollouts.iter_mut().for_each(|rollout| rollout.trace = None);
        }
    }

    /// After the commit of a step. Nothing here is worth ending a run for: what fails is said, and tried again at the next step.
    pub(super) fn tidy_tokens(&mut self, step: u32, rollouts: &[Rollout]) {
        if let Err(error) = self.spell(step, rollouts) {
            self.spelt = Spelt::default();
            self.outlet.say(Level::Warn, &format!("token values of step {step}: {error:#}"));
        }
    }

    fn spell(&mut self, step: u32, rollouts: &[Rollout]) -> Result<()> {
        let kept = self.trainer.config.doctor.token_steps;
        let traced = rollouts.iter().filter(|rollout| rollout.trace.is_some());
        let fresh: Vec<u32> = traced.flat_map(tokens_of).filter(|token| self.spelt.0.insert(*token)).collect();
        let tokenizer = &self.trainer.policy.tokenizer;
        let spellings = fresh.into_iter().map(|token| Ok((token, tokenizer.spelling(token)?)));
        self.store.keep_spellings(&spellings.collect::<Result<Vec<_>>>()?)?;
        Ok(self.store.forget_traces_before((step + 1).saturating_sub(kept))?)
    }
}
