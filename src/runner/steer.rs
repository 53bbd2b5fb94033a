//! Pause, resume, step, stop: Controls from clients and signals, heeded at phase boundaries and between tokens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{deadline::Deadline, signals::Signals};
use crate::{
    attach::{Control, Notice, RunState, Server},
    task::{Phase, Text},
    train::step::{Aborted, Event, Flow},
};

/// How often a paused run looks for signals.
const LOOK: Duration = Duration::from_millis(200);

/// Where the run halts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    Never,
    AtPhase,
    AtStep,
}

/// The steering state of a run.
pub struct Steer {
    server: Arc<Server>,
    signals: Signals,
    deadline: Option<Deadline>,
    halt: Halt,
    state: RunState,
    /// Stop after the step in progress.
    stop: bool,
    /// Stop now, giving up the step in progress.
    stop_now: bool,
    phase_began: Instant,
    step: u32,
}

impl Steer {
    pub fn new(server: Arc<Server>, signals: Signals, deadline: Option<Deadline>) -> Steer {
        Steer {
            server,
            signals,
            deadline,
            halt: Halt::Never,
            state: RunState::Running,
            stop: false,
            stop_now: false,
            phase_began: Instant::now(),
            step: 0,
        }
    }

    pub fn set_step(&mut self, step: u32) {
        self.step = step;
    }

    /// The signal that ends the run, if one came.
    pub fn signal(&self) -> Option<i32> {
        self.signals.asked()
    }

    /// Whether the run should end at this step boundary.
    pub fn wants_stop(&self) -> bool {
        self.stop || self.stop_now || self.signals.asked().is_some() || self.is_out_of_time()
    }

    /// Whether another step could end beyond the deadline.
    pub fn is_out_of_time(&self) -> bool {
        self.deadline.is_some_and(|d| d.forbids_a_step(Instant::now()))
    }

    /// Whether a client asked the run to end.
    pub fn was_told_to_stop(&self) -> bool {
        self.stop || self.stop_now
    }

    pub fn note_step(&mut self, took: Duration) {
        self.deadline.iter_mut().for_each(|d| d.note_step(took));
    }

    pub fn note_save(&mut self, took: Duration) {
        self.deadline.iter_mut().for_each(|d| d.note_save(took));
    }

    pub fn note_sleep(&mut self, slept: Duration) {
        self.deadline.iter_mut().for_each(|d| d.note_sleep(slept));
    }

    /// Halts at the next phase boundary, as a client could ask for.
    pub fn pause_soon(&mut self) {
        self.halt_at(Halt::AtPhase, RunState::Pausing);
    }

    /// Waits until `ready`; false where the run is told to end first. Resume asks once more without waiting.
    pub fn wait_until(&mut self, ready: &dyn Fn() -> bool) -> bool {
        self.announce(RunState::Paused);
        while !ready() {
            if self.wants_stop() {
                return false;
            }
            match self.server.wait_control(LOOK) {
                Some(Control::Resume) => break,
                Some(control @ Control::Stop { .. }) => self.heed(&control),
                _ => {}
            }
        }
        self.announce(RunState::Running);
        true
    }

    /// One look of a run that waits for hand labels: whether to go on waiting. Resume ends the wait.
    pub fn wait_for_labels(&mut self) -> Result<bool> {
        if self.state != RunState::Paused {
            self.announce(RunState::Paused);
        }
        if let Some(control) = self.server.wait_control(LOOK).filter(|control| *control != Control::Pause) {
            self.heed(&control);
        }
        anyhow::ensure!(!self.wants_stop(), Aborted);
        Ok(self.state == RunState::Paused)
    }

    pub fn labels_done(&mut self) {
        if self.state == RunState::Paused {
            self.announce(RunState::Running);
        }
    }

    /// Passes an event of the step to the clients, and says whether to go on.
    pub fn watch(&mut self, event: Event) -> Flow {
        match event {
            Event::Phase { phase, total } => self.phase(phase, total),
            Event::Progress { done, tokens } => {
                self.progress(done, tokens);
                self.flow()
            }
            Event::Look => self.flow(),
            Event::Sample(sample) => self.send(Notice::Sample { sample: Box::new(sample.clone()) }),
            Event::Token { sample, sibling, delta } => {
                let (sample_id, sibling) = (sample.id.clone(), sibling as u32);
                self.send(Notice::Token { sample_id, sibling, delta: Text::new(delta) })
            }
            Event::Rollout(rollout) => self.send(Notice::Rollout { rollout: Box::new(rollout.clone()) }),
        }
    }

    /// Text about a held-out note, for whoever watches.
    pub fn held_out_text(&mut self, note_id: &str, delta: &str) -> Flow {
        self.send(Notice::Token { sample_id: note_id.to_owned(), sibling: 0, delta: Text::new(delta) })
    }

    fn send(&mut self, notice: Notice) -> Flow {
        self.server.send(notice);
        self.flow()
    }

    pub fn progress(&mut self, done: usize, tokens: u64) {
        let seconds = self.phase_began.elapsed().as_secs_f64();
        self.server.send(Notice::Progress { done: done as u32, tokens, seconds });
    }

    /// A phase boundary: halts here if asked to.
    pub fn phase(&mut self, phase: Phase, total: usize) -> Flow {
        self.take_controls();
        if self.halt == Halt::AtPhase {
            self.pause();
        }
        self.phase_began = Instant::now();
        self.server.send(Notice::Phase { step: self.step, phase, total: total as u32 });
        self.flow()
    }

    /// A step boundary: halts here if asked to.
    pub fn step_boundary(&mut self) {
        self.take_controls();
        if self.halt != Halt::Never && !self.wants_stop() {
            self.pause();
        }
    }

    /// Heeds what has come, without waiting.
    pub fn flow(&mut self) -> Flow {
        self.take_controls();
        if self.stop_now || self.must_end() { Flow::Abort } else { Flow::Continue }
    }

    /// A signal came, or the deadline is here.
    fn must_end(&self) -> bool {
        self.signals.asked().is_some() || self.deadline.is_some_and(|d| d.is_due(Instant::now()))
    }

    fn take_controls(&mut self) {
        while let Some(control) = self.server.try_control() {
            self.heed(&control);
        }
    }

    fn heed(&mut self, control: &Control) {
        match control {
            Control::Pause => self.halt_at(Halt::AtPhase, RunState::Pausing),
            Control::Resume => self.halt_at(Halt::Never, RunState::Running),
            Control::StepPhase => self.halt_at(Halt::AtPhase, RunState::Running),
            Control::StepOnce => self.halt_at(Halt::AtStep, RunState::Running),
            Control::Stop { now } => {
                (self.stop, self.stop_now) = (true, self.stop_now || *now);
                self.announce(RunState::Stopping);
            }
        }
    }

    fn halt_at(&mut self, halt: Halt, state: RunState) {
        self.halt = halt;
        self.announce(state);
    }

    fn announce(&mut self, state: RunState) {
        self.state = state;
        self.server.send(Notice::State { state });
    }

    /// Waits until told to go on, to step, or to stop.
    fn pause(&mut self) {
        self.announce(RunState::Paused);
        while self.state == RunState::Paused && !self.must_end() {
            if let Some(control) = self.server.wait_control(LOOK)
                && control != Control::Pause
            {
                self.heed(&control);
            }
        }
    }
}
