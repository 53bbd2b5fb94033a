//! How a run is steered between its steps: knobs, breakpoints, alarms, steps given up, and who is told.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::Run;
use crate::{
    attach::{
        Notice, RunState,
        live::KEPT_ALERTS,
        protocol::{Alert, Level},
    },
    runner::{Ending, hooks::Occasion},
    store::{Event, unix_now},
    task::{StepReport, Text},
};

/// Kinds of events that are alerts, as [`Event::is_alert`] knows them.
pub(super) const ALARM: &str = "alarm";
const BREAK: &str = "break";
const ABORT: &str = "abort";

impl Run {
    /// Lives; a panic is an error like any other, so that the store and whoever watches hear of it.
    pub(super) fn live_or_panic(&mut self) -> Result<Ending> {
        catch_unwind(AssertUnwindSafe(|| self.live())).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(anyhow!("the training thread panicked, which is a defect of the program: {}", said.unwrap_or("no message")))
        })
    }

    /// Sets the values that `step` is made with.
    pub(super) fn turn_knobs(&mut self, step: u32) {
        let knobs = self.steer.begin_step(step);
        if knobs != self.trainer.knobs {
            let all: Vec<String> = knobs.all().iter().map(ToString::to_string).collect();
            self.outlet.say(Level::Info, &format!("step {step} is made with {}", all.join(", ")));
        }
        self.trainer.knobs = knobs;
        self.labels.set_gate(knobs.label_gate);
    }

    /// A phase takes as long as it works: a pause or a wait for labels is the reader's time.
    pub(super) fn leave_standstill_out(&mut self, report: &mut StepReport) {
        for (phase, stood_still) in self.steer.take_standstill() {
            for timing in report.timings.iter_mut().filter(|timing| timing.phase == phase) {
                timing.seconds = (timing.seconds - stood_still.as_secs_f64()).max(0.0);
            }
        }
    }

    /// Whether the step that was cut short is to be made again. Its draws are numbered, so it comes out as it would have.
    pub(super) fn gives_up_step(&mut self) -> Result<bool> {
        let step = self.step + 1;
        if !self.steer.gives_up_step() {
            return Ok(false);
        }
        self.alert(
            step,
            (ABORT, Level::Info),
            &format!("step {step} was given up before its update; resume makes it again"),
            &[],
        )?;
        Ok(true)
    }

    /// Tells what a step's report says about the run's health, keeps it, and pauses where the experiment says so. A run that goes
    /// back because of its numbers has their alarm, however patient it is: what was undone must be visible afterwards.
    pub(super) fn heed_alarms(&mut self, report: &StepReport, goes_back: bool) -> Result<()> {
        let mut changes = self.alarms.observe(report);
        changes.extend(goes_back.then(|| self.alarms.raise_not_finite(report)).flatten());
        for alarm in changes {
            let facts = [
                ("alarm", json!(alarm.kind.name())),
                ("raised", json!(alarm.raised)),
                ("value", json!(alarm.value)),
                ("limit", json!(alarm.limit)),
            ];
            self.alert(report.step, (ALARM, if alarm.raised { Level::Warn } else { Level::Info }), &alarm.message, &facts)?;
            if alarm.pause {
                self.steer.pause_for(ALARM, &alarm.message);
            }
        }
        Ok(())
    }

    /// Pauses where the report hits a breakpoint.
    pub(super) fn heed_breakpoints(&mut self, report: &StepReport) -> Result<()> {
        for hit in self.steer.observe(report) {
            let message = format!("breakpoint {}: {} at step {}", hit.breakpoint, hit.why, hit.step);
            self.alert(report.step, (BREAK, Level::Warn), &message, &[("breakpoint", json!(hit.breakpoint))])?;
            self.steer.pause_for(BREAK, &message);
        }
        Ok(())
    }

    /// Keeps an event that its owner should hear of, and tells everybody.
    pub(super) fn alert(
        &mut self,
        step: u32,
        (kind, level): (&str, Level),
        message: &str,
        facts: &[(&str, Value)],
    ) -> Result<()> {
        self.written(|store| store.add_event(step, kind, message))?;
        self.outlet.say(level, message);
        let alert = Alert { step, unix_s: unix_now(), kind: Text::new(kind), message: Text::new(message) };
        self.outlet.notice(Notice::Alert { alert: Box::new(alert) });
        let facts: Vec<(&str, Value)> = [("kind", json!(kind))].into_iter().chain(facts.iter().cloned()).collect();
        self.steer.hooks.fire(Occasion::Alert, step, &facts, message);
        Ok(())
    }

    /// Says what went wrong with hooks since the last look.
    pub(super) fn heed_hooks(&mut self) {
        for why in self.steer.hooks.failures() {
            self.outlet.say(Level::Warn, &why);
        }
    }

    /// The last hooks; each has its bounded time.
    pub(super) fn tell_ending(&mut self, state: RunState, message: &str) {
        let occasion = match state {
            RunState::Finished => Some(Occasion::Finish),
            RunState::Failed => Some(Occasion::Failure),
            _ => None,
        };
        if let Some(occasion) = occasion {
            let facts = [("steps_total", json!(self.trainer.config.steps))];
            self.steer.hooks.fire(occasion, self.step, &facts, message);
        }
        self.steer.hooks.finish();
        self.heed_hooks();
    }
}

/// The last alerts of a run's history, for whoever attaches.
pub(super) fn alerts(events: &[Event]) -> VecDeque<Alert> {
    let all: Vec<&Event> = events.iter().filter(|e| e.is_alert()).collect();
    let skipped = all.len().saturating_sub(KEPT_ALERTS);
    let alert = |e: &&Event| Alert { step: e.step, unix_s: e.unix_s, kind: Text::new(&e.kind), message: Text::new(&e.message) };
    all[skipped..].iter().map(alert).collect()
}
