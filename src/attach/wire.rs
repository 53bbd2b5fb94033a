//! Notices to lines and back. JSON cannot say NaN or infinity, so those metrics travel beside the report, by name.

use serde::{Deserialize, Serialize};

use super::protocol::Notice;
use crate::task::StepReport;

/// A line that carries metrics JSON cannot write. A reader that does not know the field still reads the notice.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    notice: &'a Notice,
    non_finite: Vec<NonFinite>,
}

#[derive(Deserialize)]
struct Extras {
    #[serde(default)]
    non_finite: Vec<NonFinite>,
}

/// One such metric; `value` is `NaN`, `inf` or `-inf`, and `report` counts the notice's reports.
#[derive(Serialize, Deserialize)]
struct NonFinite {
    report: usize,
    key: String,
    value: String,
}

/// Makes the rest of a notice writable: log-probs with a non-finite value among them are left out as a whole (the store
/// keeps them), since no client can draw them.
pub(super) fn plain(mut notice: Notice) -> Notice {
    if let Notice::Rollout { rollout } = &mut notice {
        if rollout.completion.rollout_logprobs.iter().any(|p| !p.is_finite()) {
            rollout.completion.rollout_logprobs.clear();
        }
        rollout.advantage = rollout.advantage.filter(|a| a.is_finite());
    }
    notice
}

/// One notice as one line, line feed included.
pub(super) fn encode(notice: &Notice) -> Vec<u8> {
    let mut line = if reports(notice).any(|r| r.metrics.values().any(|v| !v.is_finite())) {
        let mut rest = notice.clone();
        let non_finite = take_non_finite(&mut rest);
        serde_json::to_vec(&Line { notice: &rest, non_finite })
    } else {
        serde_json::to_vec(notice)
    }
    .expect("a notice is plain data with string keys");
    line.push(b'\n');
    line
}

/// Reads one line.
pub(super) fn decode(line: &[u8]) -> serde_json::Result<Notice> {
    let mut notice: Notice = serde_json::from_slice(line)?;
    if reports(&notice).next().is_some() {
        let extras: Extras = serde_json::from_slice(line)?;
        let mut reports: Vec<&mut StepReport> = reports_mut(&mut notice).collect();
        for NonFinite { report, key, value } in extras.non_finite {
            if let (Some(report), Ok(value)) = (reports.get_mut(report), value.parse()) {
                report.metrics.insert(key, value);
            }
        }
    }
    Ok(notice)
}

fn take_non_finite(notice: &mut Notice) -> Vec<NonFinite> {
    let mut taken = Vec::new();
    for (report, r) in reports_mut(notice).enumerate() {
        r.metrics.retain(|key, value| {
            if !value.is_finite() {
                taken.push(NonFinite { report, key: key.clone(), value: value.to_string() });
            }
            value.is_finite()
        });
    }
    taken
}

/// The reports inside a notice.
fn reports(notice: &Notice) -> Box<dyn Iterator<Item = &StepReport> + '_> {
    match notice {
        Notice::Step { report } => Box::new(std::iter::once(&**report)),
        Notice::Snapshot { live } => Box::new(live.reports.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

fn reports_mut(notice: &mut Notice) -> Box<dyn Iterator<Item = &mut StepReport> + '_> {
    match notice {
        Notice::Step { report } => Box::new(std::iter::once(&mut **report)),
        Notice::Snapshot { live } => Box::new(live.reports.iter_mut()),
        _ => Box::new(std::iter::empty()),
    }
}
