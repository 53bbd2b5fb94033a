//! The whole state of the terminal client and its only transition. Pure: no clock, no I/O; drawing reads it and changes nothing.

use ratatui::{crossterm::event::KeyEvent, layout::Rect};

use super::{
    Leave,
    action::{ACTIONS, Action},
    follow::Follow,
    keymap::{Chord, Keymap},
    overlay::{self, Overlay},
    panel::{self, PANELS, Panel},
    phases::Phases,
    screen,
    theme::Theme,
};
use crate::attach::{Control, Live, Notice, RunState};

/// Everything that can happen to the client.
#[derive(Clone, Debug)]
pub enum Event {
    Key(KeyEvent),
    Resize(u16, u16),
    /// The trainer said something.
    Notice(Box<Notice>),
    /// The trainer's socket is gone.
    Closed,
    /// This process was told to end; the run goes on.
    Hangup,
    /// A second passed; sent only while [`App::wants_tick`].
    Tick,
}

/// What the client must do because of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send(Control),
    /// Leave; the run goes on.
    Detach,
    /// Leave; [`App::outcome`] says why.
    Quit,
}

/// Seconds a message stays on the hint line.
const FLASH_TICKS: u8 = 4;

/// The client's state: the run's picture, and how the reader looks at it.
#[derive(Clone, Debug)]
pub struct App {
    pub live: Live,
    pub theme: Theme,
    pub keymap: Keymap,
    /// Watching only: nothing that steers is sent.
    pub read_only: bool,
    /// A snapshot arrived.
    pub connected: bool,
    /// The socket closed before the run ended.
    pub lost: bool,
    pub size: (u16, u16),
    pub focus: Panel,
    pub zoomed: bool,
    pub overlay: Option<Overlay>,
    pub follow: Follow,
    pub phases: Phases,
    /// First line on show, by panel; `None` is the panel's natural place.
    pub scroll: [Option<usize>; PANELS],
    /// A passing message and the ticks it still stays.
    pub flash: Option<(String, u8)>,
    /// The reader asked the run to stop and waits for its end.
    pub stopping: bool,
    /// Something visible changed since the last draw.
    pub dirty: bool,
    /// Frames drawn so far.
    pub draws: u64,
}

impl App {
    pub fn new(theme: Theme, size: (u16, u16)) -> App {
        App {
            live: Live::default(),
            theme,
            keymap: Keymap::default(),
            read_only: false,
            connected: false,
            lost: false,
            size,
            focus: Panel::Doctor,
            zoomed: false,
            overlay: None,
            follow: Follow::default(),
            phases: Phases::default(),
            scroll: [None; PANELS],
            flash: None,
            stopping: false,
            dirty: true,
            draws: 0,
        }
    }

    pub fn area(&self) -> Rect {
        Rect::new(0, 0, self.size.0, self.size.1)
    }

    /// Whether the run is over.
    pub fn ended(&self) -> bool {
        self.live.ended.is_some() || matches!(self.live.state, RunState::Finished | RunState::Failed)
    }

    /// Whether time alone changes the screen.
    pub fn wants_tick(&self) -> bool {
        self.flash.is_some()
    }

    /// Why the client leaves on [`Effect::Quit`].
    pub fn outcome(&self) -> Leave {
        match (self.ended(), self.stopping) {
            (true, true) => Leave::Stopped,
            (true, false) => Leave::RunEnded,
            (false, _) => Leave::ConnectionLost,
        }
    }

    /// Takes one event in.
    pub fn update(&mut self, event: Event) -> Option<Effect> {
        match event {
            Event::Key(key) => self.key(key),
            Event::Resize(columns, rows) => {
                self.size = (columns, rows);
                self.dirty = true;
                None
            }
            Event::Notice(notice) => self.notice(*notice),
            Event::Closed => {
                self.dirty = true;
                self.lost = !self.ended();
                (self.stopping && self.ended()).then_some(Effect::Quit)
            }
            Event::Hangup => Some(Effect::Detach),
            Event::Tick => {
                self.tick();
                None
            }
        }
    }

    fn tick(&mut self) {
        if let Some((_, left)) = &mut self.flash {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.flash = None;
                self.dirty = true;
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Option<Effect> {
        let shown = self.follow.watched().cloned();
        let seen = self.follow.before(&self.live, &notice);
        self.phases.before(&self.live, &notice);
        let snapshot = matches!(notice, Notice::Snapshot { .. });
        let ended = matches!(notice, Notice::Ended { .. });
        self.live.apply(notice);
        if snapshot {
            (self.connected, self.lost) = (true, false);
            self.follow.start(&self.live);
        }
        if self.follow.watched() != shown.as_ref() {
            self.reset_text_scroll();
        }
        self.dirty |= seen;
        (ended && self.stopping).then_some(Effect::Quit)
    }

    fn reset_text_scroll(&mut self) {
        self.scroll[Panel::Doctor.index()] = None;
        self.scroll[Panel::Scribe.index()] = None;
    }

    fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        let chord = Chord::of(key)?;
        if let Some(overlay) = self.overlay {
            let (overlay, effect) = overlay::key(self, overlay, chord);
            self.dirty |= self.overlay != overlay;
            self.overlay = overlay;
            return effect;
        }
        let action = self.keymap.action(chord)?;
        if self.read_only && ACTIONS.iter().any(|row| row.action == action && row.steers) {
            self.say("read-only: attach without --read-only to steer");
            return None;
        }
        self.act(action)
    }

    /// Carries out an action.
    pub fn act(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::PauseResume | Action::StepPhase | Action::StepOnce => return self.steer(action),
            Action::Leave if self.ended() || self.lost => return Some(Effect::Quit),
            Action::Leave => self.overlay = Some(Overlay::Leave),
            Action::Help => self.overlay = Some(Overlay::Help { top: 0 }),
            Action::Follow => {
                self.follow.toggle(&self.live);
                self.reset_text_scroll();
            }
            Action::NextSibling => return self.walk(1, Follow::step_sibling, "no completion after this one"),
            Action::PreviousSibling => return self.walk(-1, Follow::step_sibling, "no completion before this one"),
            Action::NextPanel => self.focus = self.focus.next(1),
            Action::PreviousPanel => self.focus = self.focus.next(-1),
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Close if self.zoomed => self.zoomed = false,
            Action::Close if self.flash.is_some() => self.flash = None,
            Action::Close => return None,
            Action::Up if self.focus == Panel::Scribe => return self.pick(-1),
            Action::Down if self.focus == Panel::Scribe => return self.pick(1),
            Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::Top | Action::Bottom => {
                self.scroll_by(action);
            }
        }
        self.dirty = true;
        None
    }

    fn walk(&mut self, by: i64, step: fn(&mut Follow, i64) -> bool, at_the_end: &str) -> Option<Effect> {
        if step(&mut self.follow, by) {
            self.reset_text_scroll();
            self.dirty = true;
        } else {
            self.say(at_the_end);
        }
        None
    }

    fn pick(&mut self, by: i64) -> Option<Effect> {
        if self.follow.step_sample(&self.live, by) {
            self.reset_text_scroll();
            self.dirty = true;
        } else {
            self.say(if by < 0 { "this is the first sample of the step" } else { "this is the last sample so far" });
        }
        None
    }

    fn steer(&mut self, action: Action) -> Option<Effect> {
        if self.lost || !self.connected || self.ended() {
            self.say("there is no running trainer to steer");
            return None;
        }
        let paused = matches!(self.live.state, RunState::Paused | RunState::Pausing);
        let (control, message) = match action {
            Action::StepPhase => (Control::StepPhase, "runs to the end of the phase, then pauses"),
            Action::StepOnce => (Control::StepOnce, "runs to the end of the step, then pauses"),
            _ if paused => (Control::Resume, "resume asked for"),
            _ => (Control::Pause, "pause asked for: stops when this phase is done"),
        };
        self.say(message);
        Some(Effect::Send(control))
    }

    /// Shows a message for some seconds.
    pub fn say(&mut self, message: &str) {
        self.flash = Some((message.to_owned(), FLASH_TICKS));
        self.dirty = true;
    }

    fn scroll_by(&mut self, action: Action) {
        let places = screen::places(self);
        let Some((_, area)) = places.iter().find(|(panel, _)| *panel == self.focus) else { return };
        let Some(extent) = panel::extent(self, self.focus, *area) else { return };
        let last = extent.total.saturating_sub(extent.visible);
        let page = (extent.visible / 2).max(1);
        let top = match action {
            Action::Up => extent.top.saturating_sub(1),
            Action::Down => extent.top + 1,
            Action::PageUp => extent.top.saturating_sub(page),
            Action::PageDown => extent.top + page,
            Action::Top => 0,
            _ => last,
        };
        // At its end a panel goes back to following its end; only the Scribe's natural place is elsewhere.
        let at_end = top >= last && self.focus != Panel::Scribe;
        self.scroll[self.focus.index()] = if at_end { None } else { Some(top.min(last)) };
    }
}
