//! What was set while the run went on: knobs and breakpoints. Every change is an event of the store before it holds, so a run that
//! goes on from a checkpoint makes each step with the values it was made with.

use std::path::Path;

use anyhow::Result;

use crate::{
    attach::protocol::Steering,
    store::Store,
    task::{Breakpoint, Breakpoints, Knob, Knobs, StepReport, Text, breakpoint::Hit},
};

/// Kinds of events.
const KNOB: &str = "knob";
const BREAKPOINT: &str = "breakpoint";
const ADD: &str = "add ";
const REMOVE: &str = "remove ";

/// The settings of a run, over a connection of their own: the run's is busy inside a step, and a change must not wait for its end.
pub struct Settings {
    store: Store,
    experiment: Knobs,
    /// Step from which it holds, and the change; in the order in which they were asked for.
    changes: Vec<(u32, Knob)>,
    breakpoints: Breakpoints,
}

impl Settings {
    /// Reads what was set so far. The breakpoints of the experiment come first; one that was taken away stays away.
    pub fn open(dir: &Path, experiment: Knobs, breakpoints: &[Breakpoint]) -> Result<Settings> {
        let store = Store::open(dir)?;
        let mut settings = Settings { store, experiment, changes: Vec::new(), breakpoints: Breakpoints::default() };
        breakpoints.iter().for_each(|b| _ = settings.breakpoints.add(b.clone()));
        for event in settings.store.events()? {
            // Another version may write what this one cannot read: it is passed over, as its run would be by that version's rules.
            match event.kind.as_str() {
                KNOB => settings.changes.extend(event.message.parse().map(|knob| (event.step, knob))),
                BREAKPOINT => settings.recall(&event.message),
                _ => {}
            }
        }
        Ok(settings)
    }

    fn recall(&mut self, message: &str) {
        if let Some(Ok(breakpoint)) = message.strip_prefix(ADD).map(str::parse) {
            self.breakpoints.add(breakpoint);
        } else if let Some(Ok(breakpoint)) = message.strip_prefix(REMOVE).map(str::parse) {
            self.breakpoints.remove(&breakpoint);
        }
    }

    /// The values that `step` is made with: of the changes that hold by then, the one asked for last.
    pub fn at(&self, step: u32) -> Knobs {
        let mut knobs = self.experiment;
        self.changes.iter().filter(|(from, _)| *from <= step).for_each(|(_, knob)| knobs.set(*knob));
        knobs
    }

    /// Changes a value from `step` on.
    pub fn change(&mut self, step: u32, knob: Knob) -> Result<()> {
        self.store.add_event(step, KNOB, &knob.to_string())?;
        self.changes.push((step, knob));
        Ok(())
    }

    /// Step `step` is made again: what was asked for during it holds for it.
    pub fn bring_forward(&mut self, step: u32) -> Result<()> {
        self.coming(step).into_iter().try_for_each(|(_, knob)| self.change(step, knob))
    }

    /// Changes that hold after `step` only, without those that a later wish has made void.
    fn coming(&self, step: u32) -> Vec<(u32, Knob)> {
        let is_void = |i: usize, (from, knob): &(u32, Knob)| {
            self.changes[i + 1..].iter().any(|(later, other)| later <= from && other.name() == knob.name())
        };
        let all = self.changes.iter().enumerate();
        all.filter(|(i, change)| change.0 > step && !is_void(*i, change)).map(|(_, change)| *change).collect()
    }

    /// Adds a breakpoint; false where it is there already.
    pub fn add(&mut self, step: u32, breakpoint: &Breakpoint) -> Result<bool> {
        if !self.breakpoints.add(breakpoint.clone()) {
            return Ok(false);
        }
        self.store.add_event(step, BREAKPOINT, &format!("{ADD}{breakpoint}"))?;
        Ok(true)
    }

    /// Takes a breakpoint away; false where there is none like it.
    pub fn remove(&mut self, step: u32, breakpoint: &Breakpoint) -> Result<bool> {
        if !self.breakpoints.remove(breakpoint) {
            return Ok(false);
        }
        self.store.add_event(step, BREAKPOINT, &format!("{REMOVE}{breakpoint}"))?;
        Ok(true)
    }

    pub fn observe(&mut self, report: &StepReport) -> Vec<Hit> {
        self.breakpoints.observe(report)
    }

    /// Notes how the run stands, for those who look at the store.
    pub fn note_state(&mut self, word: &str, message: &str) -> Result<()> {
        Ok(self.store.set_state(word, message)?)
    }

    /// What clients are shown while `step` is the next or the present one.
    pub fn picture(&self, step: u32, paused_by: Option<&str>) -> Steering {
        Steering {
            knobs: Some(self.at(step)),
            experiment: Some(self.experiment),
            coming: self.coming(step),
            breakpoints: self.breakpoints.list(),
            paused_by: paused_by.map(Text::new),
        }
    }
}
