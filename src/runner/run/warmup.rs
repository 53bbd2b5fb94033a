//! The supervised warm-up of a run: stopped or killed anywhere, it goes on to the same bits.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Run;
use crate::{
    attach::protocol::Level,
    config::{SftConfig, Thinking},
    data::{self, SftExample},
    model::lora::Adapter,
    runner::{
        outlet::Output,
        rows::{self, RowPlan},
    },
    task::{Phase, Sampling},
    train::{
        guard,
        optimizer::Moments,
        sft::{self, Lessons},
        step::Flow,
    },
};

/// A kill loses at most about this much of a warm-up. What is learnt does not depend on when it is saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

impl Run {
    /// A new run may start from an adapter that was learnt elsewhere.
    pub(super) fn start_from_adapter(&mut self) -> Result<()> {
        let Some(dir) = self.trainer.config.lora.from.clone() else { return Ok(()) };
        let (policy, lora) = (&mut self.trainer.policy, &self.trainer.config.lora);
        let adapter = Adapter::load(&policy.model.spec, &dir, policy.model.device())?;
        anyhow::ensure!(
            (adapter.rank, adapter.alpha) == (lora.rank, lora.alpha),
            "{} has rank {} and alpha {}; set lora.rank and lora.alpha to these",
            dir.display(),
            adapter.rank,
            adapter.alpha
        );
        policy.adapter = adapter;
        self.outlet.say(Level::Info, &format!("starting from the adapter in {}", dir.display()));
        Ok(())
    }

    /// Warms the adapter up, from the beginning or from where an earlier start left off. False where the run is to end first;
    /// then where it stands is saved.
    pub(super) fn warm_up(&mut self) -> Result<bool> {
        let config = self.trainer.config.sft.clone();
        let n = config.notes.min(self.warmup.len());
        let style = self.trainer.config.prompt_style();
        let mut examples = data::examples(&self.warmup, &config, style, self.trainer.config.seed);
        examples.truncate(n);
        if config.thinking == Thinking::Own {
            if !self.think(&examples)? {
                return Ok(false);
            }
            examples.clone_from(&self.warmup_stands.own);
        }
        if !self.take_lessons(&examples, &config)? {
            return Ok(false);
        }
        let losses = &self.warmup_stands.losses;
        let (first, last) = (losses.first().copied().unwrap_or(0.0), losses.last().copied().unwrap_or(0.0));
        self.outlet.say(
            Level::Info,
            &format!("warm-up on {} notes: completion loss {first:.3} to {last:.3} nats a token", examples.len()),
        );
        // The policy's updates start with moments of their own.
        self.trainer.moments = Moments::of(&self.trainer.policy);
        Ok(true)
    }

    fn take_lessons(&mut self, examples: &[SftExample], config: &SftConfig) -> Result<bool> {
        let lessons = Lessons::new(&self.trainer.policy, examples, config)?;
        let total = lessons.n_steps();
        self.steer.phase(Phase::Warmup, total);
        if !self.warmup_stands.losses.is_empty() {
            let done = self.warmup_stands.losses.len();
            self.outlet.say(Level::Info, &format!("continuing the warm-up after {done} of {total} optimizer steps"));
        }
        let mut saved = Instant::now();
        while self.warmup_stands.losses.len() < total {
            self.lesson(&lessons)?;
            let done = self.warmup_stands.losses.len();
            self.steer.progress(done, 0);
            self.outlet.output(Output::Warmup { done, total });
            if self.steer.flow() == Flow::Abort {
                self.save_warmup()?;
                return Ok(false);
            }
            if saved.elapsed() >= SAVE_EVERY {
                self.save_warmup()?;
                saved = Instant::now();
            }
        }
        Ok(true)
    }

    /// One optimizer step, in smaller micro-batches where memory runs out.
    fn lesson(&mut self, lessons: &Lessons) -> Result<()> {
        let at = u32::try_from(self.warmup_stands.losses.len())?;
        self.trainer.policy.micro_rows = self.rows.at_warmup(at);
        while let Err(error) = lessons.step(&self.trainer.policy, &mut self.trainer.moments, &mut self.warmup_stands) {
            let fewer = guard::smaller(error, self.trainer.policy.micro_rows)?;
            self.written(|store| store.add_event(at, rows::IN_WARMUP, &RowPlan::message(fewer)))?;
            self.rows.note_warmup(at, fewer);
            self.trainer.policy.micro_rows = fewer;
            self.outlet.say(Level::Warn, &format!("warm-up: {}", RowPlan::message(fewer)));
        }
        Ok(())
    }

    /// Lets the base model think about the examples. False where the run is to end first.
    fn think(&mut self, examples: &[SftExample]) -> Result<bool> {
        let doctor = &self.trainer.config.doctor;
        let sampling = Sampling { temperature: doctor.temperature, max_tokens: doctor.max_tokens };
        let n = examples.len();
        self.steer.phase(Phase::Warmup, n);
        let mut news = false;
        while self.warmup_stands.thought < n {
            sft::think(&self.trainer.policy, examples, sampling, &mut self.warmup_stands)?;
            news = true;
            self.steer.progress(self.warmup_stands.thought, 0);
            if self.steer.flow() == Flow::Abort {
                self.save_warmup()?;
                return Ok(false);
            }
        }
        if news {
            let own = self.warmup_stands.own.len();
            self.outlet.say(Level::Info, &format!("warm-up: {own} of {n} completions of the model's own are well-formed"));
        }
        Ok(true)
    }

    fn save_warmup(&mut self) -> Result<()> {
        let stands = self.warmup_stands.clone();
        self.write_checkpoint(Some(&stands))
    }
}
