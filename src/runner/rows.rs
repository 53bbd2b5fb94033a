//! How many rows a micro-batch may have, step by step. Another cut adds in another order, so a step made again after a kill must be
//! cut as it was: every change is an event of the run's history, which outlives the steps.

use std::collections::BTreeMap;

use crate::store::Event;

/// The kind of the events that note a change in a step, and in an optimizer step of the warm-up.
pub const IN_STEP: &str = "fewer_rows";
pub const IN_WARMUP: &str = "warmup_rows";

/// Rows of a micro-batch in every step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowPlan {
    first: usize,
    /// From this step on, so many.
    steps: BTreeMap<u32, usize>,
    warmup: BTreeMap<u32, usize>,
}

impl RowPlan {
    pub fn new(first: usize) -> RowPlan {
        RowPlan { first, ..RowPlan::default() }
    }

    /// The plan of a run's history.
    pub fn recall(first: usize, events: &[Event]) -> RowPlan {
        let mut plan = RowPlan::new(first);
        for event in events {
            let rows = event.message.split(' ').next().and_then(|word| word.parse().ok());
            match (event.kind.as_str(), rows) {
                (IN_STEP, Some(rows)) => _ = plan.steps.insert(event.step, rows),
                (IN_WARMUP, Some(rows)) => _ = plan.warmup.insert(event.step, rows),
                _ => {}
            }
        }
        plan
    }

    /// Rows in a step.
    pub fn at(&self, step: u32) -> usize {
        let warmup = self.warmup.values().next_back().unwrap_or(&self.first);
        *self.steps.range(..=step).next_back().map_or(warmup, |(_, rows)| rows)
    }

    /// Rows in an optimizer step of the warm-up.
    pub fn at_warmup(&self, optimizer_step: u32) -> usize {
        self.warmup.range(..=optimizer_step).next_back().map_or(self.first, |(_, rows)| *rows)
    }

    pub fn note(&mut self, step: u32, rows: usize) {
        self.steps.insert(step, rows);
    }

    pub fn note_warmup(&mut self, optimizer_step: u32, rows: usize) {
        self.warmup.insert(optimizer_step, rows);
    }

    /// What the history says of a change; the number comes first.
    pub fn message(rows: usize) -> String {
        format!("{rows} rows a micro-batch from here on, since memory ran out")
    }
}
