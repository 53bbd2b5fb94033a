//! Evaluations between steps, and rounds: what is scored at their ends, and whether another one begins.

use anyhow::{Context, Result};

use super::Run;
use crate::{
    attach::protocol::Level,
    runner::{
        outlet::Output,
        rounds::{Standing, judge},
    },
    train::step::StepOutcome,
};

/// The name of the evaluation at a round's end.
pub(super) const ROUND: &str = "round";

impl Run {
    /// Evaluates where it is due, so that the scores stand in the step's own report, then commits.
    pub(super) fn conclude(&mut self, mut outcome: StepOutcome) -> Result<()> {
        let step = outcome.report.step;
        if let Some(name) = self.due_evaluation(step) {
            // A run told to stop here commits the step without its evaluation.
            if let Some(scores) = self.evaluate_at(step, name)? {
                let metrics = &mut outcome.report.metrics;
                metrics.insert("eval_accuracy".into(), scores.flag_accuracy);
                metrics.insert("eval_false_positive_rate".into(), scores.false_positive_rate);
                metrics.insert("eval_pair_accuracy".into(), scores.pair_accuracy);
                metrics.insert("eval_malformed_rate".into(), scores.malformed_rate);
            }
        }
        self.commit(outcome)
    }

    /// The name of the evaluation that is due after `step`, if one is.
    pub(super) fn due_evaluation(&self, step: u32) -> Option<&'static str> {
        let config = &self.trainer.config;
        let every = config.eval.every;
        match (step < config.steps, config.rounds.ends_at(step)) {
            (false, _) => None,
            (true, true) => Some(ROUND),
            (true, false) => (every > 0 && step.is_multiple_of(every)).then_some("step"),
        }
    }

    /// How the rounds went that the store knows of.
    pub(super) fn rounds(&self) -> Result<Standing> {
        let rounds = &self.trainer.config.rounds;
        let evals = self.store.evals()?;
        let score = |value: &serde_json::Value| value.get(rounds.metric.key()).and_then(serde_json::Value::as_f64);
        let before = evals.iter().rfind(|e| matches!(e.name.as_str(), "before" | "warm")).and_then(|e| score(&e.value));
        let scores: Option<Vec<f64>> = evals.iter().filter(|e| e.name == ROUND).map(|e| score(&e.value)).collect();
        let scores = scores.with_context(|| format!("a stored evaluation has no {}", rounds.metric.key()))?;
        Ok(judge(rounds, before, &scores))
    }

    /// Says how a round went, where one ended with the last step.
    pub(super) fn conclude_round(&mut self) -> Result<()> {
        let (config, step) = (self.trainer.config.rounds.clone(), self.step);
        if !config.ends_at(step) || !self.has_eval(ROUND)? {
            return Ok(());
        }
        let standing = self.rounds()?;
        let verdict = match (standing.stops, standing.idle) {
            (true, idle) => format!("{idle} in a row gained less than {}: the run ends", config.min_gain),
            (false, 0) => "it gained".to_owned(),
            (false, idle) => format!("{idle} in a row gained less than {}", config.min_gain),
        };
        let message = format!(
            "round {} of {} steps is over; best {} {:.4}; {verdict}",
            standing.n,
            config.steps,
            config.metric.key(),
            standing.best.unwrap_or(f64::NAN)
        );
        self.written(|store| store.add_event(step, ROUND, &message))?;
        self.outlet.say(Level::Info, &message);
        Ok(())
    }

    /// Whether the stop rule has ended the run.
    pub(super) fn is_over(&self) -> Result<bool> {
        Ok(self.trainer.config.rounds.steps > 0 && self.rounds()?.stops)
    }

    /// The last evaluation, unless it was made: the one at a round's end is the same. False where the run is to end first.
    pub(super) fn evaluate_last(&mut self) -> Result<bool> {
        if self.has_eval("after")? {
            return Ok(true);
        }
        let same = self.store.evals()?.into_iter().find(|e| e.name == ROUND && e.step == self.step);
        let Some(round) = same else { return self.evaluate("after") };
        let step = self.step;
        self.written(|store| store.add_eval(step, "after", &round.value))?;
        let scores = Box::new(serde_json::from_value(round.value).context("a stored evaluation cannot be read")?);
        self.outlet.output(Output::Eval { step: self.step, name: "after".to_owned(), scores });
        Ok(true)
    }

    /// How a run that came to its end came to it.
    pub(super) fn why_finished(&self) -> String {
        let steps = self.trainer.config.steps;
        match self.rounds() {
            Ok(standing) if standing.stops && self.step < steps => {
                format!("the stop rule ended the run after round {} at step {} of {steps}", standing.n, self.step)
            }
            _ => format!("all {steps} steps are done"),
        }
    }
}
