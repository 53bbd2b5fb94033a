//! The picture of a run that nobody trains right now, made from its store: finished, stopped and crashed runs are looked at
//! on the same screens as live ones.

use std::path::Path;

use crate::{
    attach::{Live, Notice, RunState, live::Stream, protocol::Level},
    store::{Store, StoreError},
    task::{Phase, Text},
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
    }
    let (state, message) = ending(&status.state, &status.message);
    live.apply(Notice::Ended { state, message: Text::new(&message) });
    Ok(live)
}

/// A run that is neither over nor held by a trainer has died; the caller knows that nobody holds it.
fn ending(state: &str, message: &str) -> (RunState, String) {
    // What the trainer wrote last is worth more than a phrase; it says itself how to go on.
    let or = |otherwise: &str| if message.is_empty() { otherwise.to_owned() } else { format!("{state}: {message}") };
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
