//! Faults on purpose, to show that a run survives them. A plan comes from the hidden option `--inject-faults` alone: no experiment
//! file, environment variable or stored run can carry one, the run says aloud that it has one, and its history keeps that.

use std::ops::RangeInclusive;

/// What is made to go wrong in an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `nan`: one token's log-prob is not a number, and with it the gradient.
    NotFinite,
    /// `oom`: the first micro-batch finds no memory.
    OutOfMemory,
    /// `oom-later`: the second one does, when the first has been used.
    OutOfMemoryLater,
}

/// Which faults strike which steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Planned>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Planned {
    fault: Fault,
    steps: RangeInclusive<u32>,
    /// Times it still strikes; `None` for ever.
    left: Option<u32>,
}

impl Faults {
    /// Reads `nan@3`, `nan@3-5x3,oom@2x1`: what, in which steps, and at most how often in this process.
    pub fn parse(text: &str) -> Result<Faults, String> {
        text.split(',').map(planned).collect::<Result<_, _>>().map(Faults)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this fault strikes this step now; a limited one is used up by it.
    pub fn strikes(&mut self, fault: Fault, step: u32) -> bool {
        let due = |p: &&mut Planned| p.fault == fault && p.steps.contains(&step) && p.left != Some(0);
        let Some(planned) = self.0.iter_mut().find(due) else { return false };
        planned.left = planned.left.map(|n| n - 1);
        true
    }
}

fn planned(text: &str) -> Result<Planned, String> {
    let refuse = || format!("{text:?} is no fault; write nan@3, nan@3-5, oom@2x1 or oom-later@2");
    let (what, rest) = text.split_once('@').ok_or_else(refuse)?;
    let fault = match what {
        "nan" => Fault::NotFinite,
        "oom" => Fault::OutOfMemory,
        "oom-later" => Fault::OutOfMemoryLater,
        _ => return Err(refuse()),
    };
    let (steps, times) = rest.split_once('x').map_or((rest, None), |(steps, times)| (steps, Some(times)));
    let (first, last) = steps.split_once('-').unwrap_or((steps, steps));
    let number = |text: &str| text.parse::<u32>().map_err(|_| refuse());
    Ok(Planned { fault, steps: number(first)?..=number(last)?, left: times.map(number).transpose()? })
}
