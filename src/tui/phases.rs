//! What the phases of the current step took, as far as this client saw them: the picture itself keeps only the phase in progress.

use crate::{
    attach::{Live, Notice},
    task::{Phase, StepReport, report::PhaseTiming},
};

/// A phase that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseMark {
    pub phase: Phase,
    pub done: u32,
    pub seconds: f64,
}

/// Marks of the current step.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    marks: Vec<PhaseMark>,
}

/// Where a phase stands in the current step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// `None`: it ended before this client attached.
    Done(Option<PhaseMark>),
    Active,
    Pending,
}

impl Phases {
    /// Looks at a notice before the picture takes it in.
    pub fn before(&mut self, live: &Live, notice: &Notice) {
        match notice {
            Notice::Snapshot { .. } => self.marks.clear(),
            Notice::Phase { step, phase, .. } => {
                if *step != live.step || *phase == Phase::Scribe {
                    self.marks.clear();
                } else if let Some(over) = live.phase {
                    self.marks.push(PhaseMark { phase: over, done: live.phase_done, seconds: live.phase_seconds });
                }
            }
            _ => {}
        }
    }

    /// Where `phase` stands. A committed step's own timings win over what was seen.
    pub fn standing(&self, live: &Live, phase: Phase) -> Standing {
        let Some(current) = live.phase else { return Standing::Pending };
        let report = live.reports.back().filter(|r| r.step == live.step);
        let committed = report.is_some() && phase == Phase::Commit;
        if phase == current && !committed {
            return Standing::Active;
        }
        // Before step 1 there is an evaluation, and nothing came before it.
        let stepping = live.step > 0 && current != Phase::Warmup && phase != Phase::Warmup;
        let over = stepping && (committed || phase < current);
        let seen = self.marks.iter().rev().find(|m| m.phase == phase).copied();
        let timed = report.and_then(|r| timing(r, phase)).map(|t| {
            let done = seen.map_or(0, |m| m.done);
            PhaseMark { phase, done, seconds: t.seconds }
        });
        if over || seen.is_some() { Standing::Done(timed.or(seen)) } else { Standing::Pending }
    }
}

/// What `phase` took in a committed step.
pub fn timing(report: &StepReport, phase: Phase) -> Option<&PhaseTiming> {
    report.timings.iter().find(|t| t.phase == phase)
}

/// Mean seconds a step took, over the newest `n` that were timed; `None` before the first.
pub fn mean_step_seconds(live: &Live, n: usize) -> Option<f64> {
    let timed = live.reports.iter().rev().filter(|r| !r.timings.is_empty()).take(n);
    let sums: Vec<f64> = timed.map(|r| r.timings.iter().map(|t| t.seconds).sum()).collect();
    #[expect(clippy::cast_precision_loss)]
    let mean = sums.iter().sum::<f64>() / sums.len() as f64;
    (!sums.is_empty()).then_some(mean)
}
