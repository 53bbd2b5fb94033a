//! The picture of a run that nobody trains right now, made from its store: finished, stopped and crashed runs are looked at
//! on the same screens as live ones.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    attach::{
        Live, Notice, RunState,
        live::Stream,
        protocol::{Alert, Level},
    },
    store::{Store, StoreError},
    task::{Phase, Rollout, Sample, StepReport, Text, report::PhaseTiming},
};

/// Reports that go into the picture; the screens read older ones from the store.
const REPORTS: u32 = 512;

/// What a client would see had it attached at the last committed step.
///
/// # Errors
/// No store, or one that cannot be read.
pub fn picture(dir: &Path) -> Result<Live, StoreError> {
    let store = Store::open_read_only(dir)?;
    let (status, last) = (store.state()?, store.last_step()?);
    let step = last.unwrap_or(0);
    let mut live = Live { step, phase: last.map(|_| Phase::Commit), ..Live::default() };
    if let Some(run) = store.run()? {
        (live.run_id, live.model, live.steps_total) = (run.id, run.model, run.steps_total);
    }
    live.reports = store.reports(step.saturating_sub(REPORTS - 1))?.into();
    live.samples = store.samples(step)?.into_iter().map(Into::into).collect();
    live.streams = store
        .rollouts(step)?
        .into_iter()
        .map(|rollout| Stream {
            sample_id: rollout.sample.id.clone(),
            sibling: rollout.sibling,
            text: Text::new(&rollout.completion.text),
            rollout: Some(rollout),
        })
        .collect();
    for event in store.events()? {
        let message = Text::new(&format!("step {}  {}: {}", event.step, event.kind, event.message));
        live.apply(Notice::Log { level: Level::Info, message });
        if event.is_alert() {
            let (kind, message) = (Text::new(&event.kind), Text::new(&event.message));
            let alert = Alert { step: event.step, unix_s: event.unix_s, kind, message };
            live.apply(Notice::Alert { alert: Box::new(alert) });
        }
    }
    let (state, message) = ending(&status.state, &status.message);
    live.apply(Notice::Ended { state, message: Text::new(&message) });
    Ok(live)
}

/// A run that is neither over nor held by a trainer has died; the caller knows that nobody holds it.
fn ending(state: &str, message: &str) -> (RunState, String) {
    // What the trainer wrote last is worth more than a phrase; it says itself how to go on.
    let or = |otherwise: &str| match message {
        "" => otherwise.to_owned(),
        message if message.starts_with(state) => message.to_owned(),
        message => format!("{state}: {message}"),
    };
    match state {
        "finished" => (RunState::Finished, or("the run is over")),
        "stopped" => (RunState::Finished, or("stopped; the command that started it continues it")),
        "failed" => (RunState::Failed, or("failed; the command that started it continues from the last checkpoint")),
        _ => (
            RunState::Failed,
            "the trainer died; the command that started it continues from the last checkpoint (see trainer.log)".to_owned(),
        ),
    }
}

/// Longest a phase takes when it is played back: nobody waits through an update.
const LONGEST_PHASE: Duration = Duration::from_secs(8);
/// Characters of a completion that come at once, about a word.
const PIECE: usize = 6;

/// What a client that was attached during the steps `from..=to` would have been told, and when. Pieces of completions are spread
/// evenly over their phase; the store does not keep the moment of each token.
///
/// # Errors
/// No store, or one that cannot be read.
pub fn notices(dir: &Path, from: u32, to: u32) -> Result<Vec<(Duration, Notice)>, StoreError> {
    let store = Store::open_read_only(dir)?;
    let to = to.min(store.last_step()?.unwrap_or(0));
    let mut live = picture(dir)?;
    live.reports.retain(|report| report.step < from);
    (live.state, live.ended, live.phase, live.step) = (RunState::Running, None, None, from.saturating_sub(1));
    (live.samples, live.streams) = (Vec::new(), Vec::new());
    live.log.clear();
    live.alerts.retain(|alert| alert.step < from);
    let mut told = Told { at: Duration::ZERO, notices: vec![(Duration::ZERO, Notice::Snapshot { live: Box::new(live) })] };
    let reports = store.reports(from)?;
    for report in reports.into_iter().filter(|report| report.step <= to) {
        let samples = store.samples(report.step)?;
        let rollouts = store.rollouts(report.step)?;
        told.step(&report, samples, rollouts);
    }
    Ok(told.notices)
}

struct Told {
    at: Duration,
    notices: Vec<(Duration, Notice)>,
}

impl Told {
    fn say(&mut self, notice: Notice) {
        self.notices.push((self.at, notice));
    }

    fn step(&mut self, report: &StepReport, samples: Vec<Sample>, rollouts: Vec<Rollout>) {
        let (n_samples, n_rollouts) = (samples.len(), rollouts.len());
        self.phase(
            report,
            Phase::Scribe,
            n_samples,
            samples.into_iter().map(|s| Notice::Sample { sample: Box::new(s) }).collect(),
        );
        self.phase(report, Phase::Gate, n_samples, Vec::new());
        let rollouts: Vec<Arc<Rollout>> = rollouts.into_iter().map(Arc::new).collect();
        self.phase(report, Phase::Doctor, n_rollouts, pieces(&rollouts));
        let scored = rollouts.iter().map(|rollout| Notice::Rollout { rollout: Box::new(rollout.as_ref().clone()) });
        self.phase(report, Phase::Reward, n_rollouts, scored.collect());
        self.phase(report, Phase::Update, n_rollouts, Vec::new());
        self.phase(report, Phase::Commit, 0, Vec::new());
        self.say(Notice::Step { report: Box::new(report.clone()) });
    }

    /// A phase, its notices spread over the time it took.
    fn phase(&mut self, report: &StepReport, phase: Phase, total: usize, notices: Vec<Notice>) {
        self.say(Notice::Phase { step: report.step, phase, total: u32::try_from(total).unwrap_or(u32::MAX) });
        let timing: Option<&PhaseTiming> = report.timings.iter().find(|timing| timing.phase == phase);
        let seconds = timing.map_or(0.0, |timing| timing.seconds);
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default().min(LONGEST_PHASE);
        if notices.is_empty() {
            self.at += took;
        }
        let each = took / u32::try_from(notices.len()).unwrap_or(u32::MAX).max(1);
        for notice in notices {
            self.at += each;
            self.say(notice);
        }
        let tokens = timing.map_or(0, |timing| timing.tokens);
        self.say(Notice::Progress { done: u32::try_from(total).unwrap_or(u32::MAX), tokens, seconds });
    }
}

/// The completions piece by piece; siblings are written at the same time, as they were.
fn pieces(rollouts: &[Arc<Rollout>]) -> Vec<Notice> {
    let mut notices = Vec::new();
    for siblings in rollouts.chunk_by(|a, b| a.sample.id == b.sample.id) {
        let texts: Vec<Vec<char>> = siblings.iter().map(|rollout| rollout.completion.text.chars().collect()).collect();
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        for first in (0..longest).step_by(PIECE) {
            for (rollout, text) in siblings.iter().zip(&texts).filter(|(_, text)| first < text.len()) {
                let delta: String = text[first..(first + PIECE).min(text.len())].iter().collect();
                let (sample_id, sibling) = (rollout.sample.id.clone(), rollout.sibling);
                notices.push(Notice::Token { sample_id, sibling, delta: Text::new(&delta) });
            }
        }
    }
    notices
}
