//! The live picture of a run: what a client draws. The trainer's server and every client fold the same notices into it.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};

use super::protocol::{Alert, Attached, Level, Machine, Notice, RunState, Steering};
use crate::task::{Phase, Rollout, Sample, StepReport, Text};

/// Step reports kept for trend lines; older ones are read from the store.
const KEPT_REPORTS: usize = 512;
const KEPT_LOG_LINES: usize = 200;
pub const KEPT_ALERTS: usize = 100;

/// A completion being written, or just finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub sample_id: String,
    pub sibling: u32,
    pub text: Text,
    pub rollout: Option<Rollout>,
}

/// Everything the Live screen shows. Built only by [`Live::apply`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub run_id: String,
    pub model: String,
    pub steps_total: u32,
    pub state: RunState,
    pub step: u32,
    pub phase: Option<Phase>,
    pub phase_total: u32,
    pub phase_done: u32,
    pub phase_tokens: u64,
    pub phase_seconds: f64,
    /// Samples of the current step, in the order they were accepted.
    pub samples: Vec<Arc<Sample>>,
    /// Completions of the current step, in the order they began.
    pub streams: Vec<Stream>,
    pub reports: VecDeque<StepReport>,
    pub machine: Machine,
    pub log: VecDeque<(Level, Text)>,
    pub steering: Steering,
    pub clients: Vec<Attached>,
    pub alerts: VecDeque<Alert>,
    pub ended: Option<Text>,
}

impl Live {
    /// Folds one notice in.
    pub fn apply(&mut self, notice: Notice) {
        match notice {
            Notice::Snapshot { live } => *self = *live,
            Notice::State { state } => self.state = state,
            Notice::Phase { step, phase, total } => self.begin_phase(step, phase, total),
            Notice::Progress { done, tokens, seconds } => {
                (self.phase_done, self.phase_tokens, self.phase_seconds) = (done, tokens, seconds);
            }
            Notice::Sample { sample } => self.samples.push(Arc::from(sample)),
            Notice::Token { sample_id, sibling, delta } => self.append(&sample_id, sibling, &delta),
            Notice::Rollout { rollout } => self.finish(*rollout),
            Notice::Step { report } => {
                self.reports.push_back(*report);
                while self.reports.len() > KEPT_REPORTS {
                    self.reports.pop_front();
                }
            }
            Notice::Machine { machine } => self.machine = *machine,
            Notice::Log { level, message } => {
                self.log.push_back((level, message));
                while self.log.len() > KEPT_LOG_LINES {
                    self.log.pop_front();
                }
            }
            Notice::Steering { steering } => self.steering = *steering,
            Notice::Clients { clients } => self.clients = clients,
            Notice::Alert { alert } => {
                self.alerts.push_back(*alert);
                while self.alerts.len() > KEPT_ALERTS {
                    self.alerts.pop_front();
                }
            }
            Notice::Skipped { .. } => {}
            Notice::Ended { state, message } => {
                self.state = state;
                self.ended = Some(message);
            }
        }
    }

    /// Who steers the run, where somebody does.
    pub fn lead(&self) -> Option<&Text> {
        self.clients.iter().find(|client| client.steers).map(|client| &client.who)
    }

    fn begin_phase(&mut self, step: u32, phase: Phase, total: u32) {
        // A step that makes up for what it left out comes back to its Scribe.
        if phase == Phase::Scribe && step != self.step {
            self.samples.clear();
            self.streams.clear();
        }
        (self.step, self.phase, self.phase_total) = (step, Some(phase), total);
        (self.phase_done, self.phase_tokens, self.phase_seconds) = (0, 0, 0.0);
    }

    fn stream_mut(&mut self, sample_id: &str, sibling: u32) -> &mut Stream {
        let found = self.streams.iter().position(|s| s.sibling == sibling && s.sample_id == sample_id);
        let at = found.unwrap_or_else(|| {
            self.streams.push(Stream { sample_id: sample_id.to_owned(), sibling, text: Text::default(), rollout: None });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }

    fn append(&mut self, sample_id: &str, sibling: u32, delta: &Text) {
        self.stream_mut(sample_id, sibling).text.push(delta.as_str());
    }

    fn finish(&mut self, rollout: Rollout) {
        let stream = self.stream_mut(&rollout.sample.id.clone(), rollout.sibling);
        stream.text = Text::new(&rollout.completion.text);
        stream.rollout = Some(rollout);
    }
}
