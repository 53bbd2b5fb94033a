//! Pause, resume, step, give up, stop: Controls from clients and signals, heeded at phase boundaries and between tokens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::json;

use super::{
    deadline::Deadline,
    hooks::{Hooks, Occasion},
    outlet::Outlet,
    settings::Settings,
    signals::Signals,
};
use crate::{
    attach::{Control, Notice, RunState, Server, protocol::Level},
    task::{Breakpoint, Knob, Knobs, Phase, StepReport, Text, breakpoint::Hit},
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
    outlet: Outlet,
    signals: Signals,
    deadline: Option<Deadline>,
    halt: Halt,
    state: RunState,
    /// Stop after the step in progress.
    stop: bool,
    /// Stop now, giving up the step in progress.
    stop_now: bool,
    /// Give up the step in progress, and go on living.
    give_up: bool,
    phase: Option<Phase>,
    phase_began: Instant,
    step: u32,
    /// `step` is being made; otherwise it is done.
    in_step: bool,
    settings: Settings,
    pub hooks: Hooks,
    /// Why the run pauses, in a word and in a sentence; told once it does.
    paused_by: Option<(&'static str, String)>,
    /// How long the run stood still in (or before) a phase of the step being made.
    stood_still: Vec<(Phase, Duration)>,
}

impl Steer {
    pub fn new(outlet: Outlet, signals: Signals, deadline: Option<Deadline>, settings: Settings, hooks: Hooks) -> Steer {
        Steer {
            server: outlet.server.clone(),
            outlet,
            signals,
            deadline,
            halt: Halt::Never,
            state: RunState::Running,
            stop: false,
            stop_now: false,
            give_up: false,
            phase: None,
            phase_began: Instant::now(),
            step: 0,
            in_step: false,
            settings,
            hooks,
            paused_by: None,
            stood_still: Vec::new(),
        }
    }

    /// Step `step` is done, whatever is made next.
    pub fn set_step(&mut self, step: u32) {
        (self.step, self.in_step) = (step, false);
        self.tell();
    }

    /// Step `step` is about to be made; the values it is made with.
    pub fn begin_step(&mut self, step: u32) -> Knobs {
        (self.step, self.in_step) = (step, true);
        // A step that was given up leaves its own behind.
        self.stood_still.clear();
        self.tell();
        self.settings.at(step)
    }

    /// The step was told to stop: whether it is to be made again, after a pause.
    pub fn gives_up_step(&mut self) -> bool {
        if !std::mem::take(&mut self.give_up) || self.wants_stop() {
            return false;
        }
        let phase = self.phase.map_or("", Phase::name);
        let what = format!("step {} was given up in its {phase} phase; resume makes it again", self.step);
        if let Err(error) = self.settings.bring_forward(self.step) {
            self.warn(&format!("changes asked for during the step hold from the next one only: {error:#}"));
        }
        (self.step, self.in_step) = (self.step.saturating_sub(1), false);
        self.pause_for("abort", &what);
        true
    }

    /// Halts at the next boundary and says why.
    pub fn pause_for(&mut self, word: &'static str, why: &str) {
        self.paused_by = Some((word, why.to_owned()));
        self.halt_at(Halt::AtPhase, RunState::Pausing);
    }

    /// Breakpoints that this report hits.
    pub fn observe(&mut self, report: &StepReport) -> Vec<Hit> {
        self.settings.observe(report)
    }

    /// Tells clients what steers the run now.
    pub fn tell(&mut self) {
        let present = if self.in_step { self.step } else { self.step + 1 };
        let steering = Box::new(self.settings.picture(present, self.paused_by.as_ref().map(|(_, why)| why.as_str())));
        self.server.send(Notice::Steering { steering });
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

    /// How long the run stood still since this was last asked, by phase.
    pub fn take_standstill(&mut self) -> Vec<(Phase, Duration)> {
        std::mem::take(&mut self.stood_still)
    }

    pub fn note_save(&mut self, took: Duration) {
        self.deadline.iter_mut().for_each(|d| d.note_save(took));
    }

    pub fn note_sleep(&mut self, slept: Duration) {
        self.deadline.iter_mut().for_each(|d| d.note_sleep(slept));
    }

    /// Waits until `ready`; false where the run is told to end first. Resume asks once more without waiting. `why` says what is
    /// missing, for those who find the run paused.
    pub fn wait_until(&mut self, why: &str, ready: &dyn Fn() -> bool) -> bool {
        self.paused_by = Some(("disk", why.to_owned()));
        self.announce(RunState::Paused);
        while !ready() {
            if self.wants_stop() {
                return false;
            }
            match self.server.wait_control(LOOK) {
                Some(Control::Resume) => break,
                Some(Control::Pause | Control::StepPhase | Control::StepOnce) | None => {}
                Some(control) => self.heed(&control),
            }
        }
        self.announce(RunState::Running);
        true
    }

    /// One look of a run that waits for hand labels: whether to go on waiting. Resume ends the wait.
    pub fn wait_for_labels(&mut self) -> Result<bool> {
        if self.state != RunState::Paused {
            self.paused_by = Some(("labels", "samples wait for hand labels".to_owned()));
            self.announce(RunState::Paused);
        }
        let began = Instant::now();
        if let Some(control) = self.server.wait_control(LOOK).filter(|control| *control != Control::Pause) {
            self.heed(&control);
        }
        self.stood_still.extend(self.phase.map(|phase| (phase, began.elapsed())));
        anyhow::ensure!(!self.wants_stop() && !self.give_up, Aborted);
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
        // The beginning of a step is a step boundary, where the run has halted already if it was to.
        if self.halt == Halt::AtPhase && phase != Phase::Scribe {
            let began = Instant::now();
            self.pause();
            self.stood_still.push((phase, began.elapsed()));
        }
        (self.phase, self.phase_began) = (Some(phase), Instant::now());
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
        if self.stop_now || self.give_up || self.must_end() { Flow::Abort } else { Flow::Continue }
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
                // A pause that was asked for before must not hold up the end.
                self.halt = Halt::Never;
                self.announce(RunState::Stopping);
            }
            Control::Abort => self.abort(),
            Control::Set { knob } => self.set(*knob),
            Control::Break { condition } => self.add(condition),
            Control::Unbreak { condition } => self.remove(condition),
            // The server's own business.
            Control::Attach { .. } | Control::Take => {}
        }
    }

    /// Up to the update a step can be given up; from there on it is part of the policy.
    fn abort(&mut self) {
        let writes = matches!(self.phase, Some(Phase::Scribe | Phase::Gate | Phase::Doctor | Phase::Reward));
        if self.in_step && writes {
            self.give_up = true;
            self.info(&format!("step {} is being given up", self.step));
        } else {
            self.warn("nothing to give up: only what the Scribe and the Doctor write can be, before the update begins");
        }
    }

    fn set(&mut self, knob: Knob) {
        let from = self.step + 1;
        match self.settings.change(from, knob) {
            Ok(()) => self.info(&format!("{knob} from step {from} on")),
            Err(error) => self.warn(&format!("{knob} does not hold, since it could not be written down: {error:#}")),
        }
        self.tell();
    }

    fn add(&mut self, breakpoint: &Breakpoint) {
        match self.settings.add(self.step, breakpoint) {
            Ok(true) => self.info(&format!("pauses where {breakpoint}")),
            Ok(false) => self.info(&format!("pauses where {breakpoint} already")),
            Err(error) => self.warn(&format!("the breakpoint could not be written down: {error:#}")),
        }
        self.tell();
    }

    fn remove(&mut self, breakpoint: &Breakpoint) {
        match self.settings.remove(self.step, breakpoint) {
            Ok(true) => self.info(&format!("does not pause where {breakpoint} any more")),
            Ok(false) => self.warn(&format!("there is no breakpoint {breakpoint}")),
            Err(error) => self.warn(&format!("the breakpoint could not be written away: {error:#}")),
        }
        self.tell();
    }

    fn info(&mut self, message: &str) {
        self.outlet.say(Level::Info, message);
    }

    fn warn(&mut self, message: &str) {
        self.outlet.say(Level::Warn, message);
    }

    fn halt_at(&mut self, halt: Halt, state: RunState) {
        self.halt = halt;
        self.announce(state);
    }

    fn announce(&mut self, state: RunState) {
        let before = std::mem::replace(&mut self.state, state);
        self.server.send(Notice::State { state });
        if state == RunState::Paused && before != RunState::Paused {
            self.tell_pause();
        }
        if state == RunState::Running && (before == RunState::Paused || self.paused_by.is_some()) {
            self.paused_by = None;
            self.note("running", "");
            self.tell();
        }
    }

    fn tell_pause(&mut self) {
        let (word, why) = self.paused_by.clone().unwrap_or_else(|| ("asked", String::new()));
        self.note("paused", &why);
        let phase = self.phase.filter(|_| self.in_step).map(Phase::name);
        self.hooks.fire(Occasion::Pause, self.step, &[("reason", json!(word)), ("after_phase", json!(phase))], &why);
        self.tell();
    }

    /// For those who look at the store; a run goes on without them.
    fn note(&mut self, state: &str, message: &str) {
        if let Err(error) = self.settings.note_state(state, message) {
            self.warn(&format!("the state could not be written down: {error:#}"));
        }
    }

    /// Waits until told to go on, to step, or to stop.
    fn pause(&mut self) {
        self.announce(RunState::Paused);
        while self.state == RunState::Paused && !self.must_end() && !self.give_up {
            if let Some(control) = self.server.wait_control(LOOK)
                && control != Control::Pause
            {
                self.heed(&control);
            }
        }
    }
}
