//! The whole state of the terminal client and its only transition. Pure: no clock, no I/O; drawing reads it and changes nothing.

use ratatui::{
    crossterm::event::{KeyEvent, MouseEvent},
    layout::Rect,
};

use super::{
    Leave,
    action::Action,
    away::Away,
    charts::Charts,
    follow::Follow,
    inspect::Inspect,
    keymap::{Chord, Keymap},
    layer,
    lead::NOBODY_TRAINS,
    logs::Logs,
    mouse,
    notify::Channel,
    overlay::{self, Menu, Overlay},
    panel::{self, PANELS, Panel, status},
    phases::Phases,
    query::{Loaded, Query},
    screen::{self, Elsewhere, Screen},
    size::Size,
    theme::Theme,
    widget::cut,
};
use crate::{
    attach::{Control, Live, Notice, RunState},
    task::Text,
};

/// Everything that can happen to the client.
#[derive(Clone, Debug)]
pub enum Event {
    Key(KeyEvent),
    Mouse(MouseEvent),
    /// Text pasted at once: never keys.
    Paste(String),
    /// The terminal's window got or lost the keyboard.
    Focus(bool),
    Resize(u16, u16),
    /// The trainer said something.
    Notice(Box<Notice>),
    /// The trainer's socket is gone.
    Closed,
    /// The store answered.
    Loaded(Box<Loaded>),
    /// This process was told to end; the run goes on.
    Hangup,
    /// A second passed; sent only while [`App::wants_tick`].
    Tick,
}

/// What the client must do because of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Send(Control),
    /// Ask the store; the answer comes as [`Event::Loaded`].
    Load(Query),
    /// Put this on the reader's clipboard.
    Copy(Text),
    /// Call the reader, who may be looking elsewhere.
    Call(Channel, Text),
    /// Name the window.
    Title(Text),
    /// Take the mouse from the terminal, or give it back.
    Mouse(bool),
    /// Leave; the run goes on.
    Detach,
    /// Leave for a screen with a loop of its own.
    Visit(Elsewhere),
    /// Leave, to start the trainer again and come back.
    Restart,
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
    /// The run is played back: there is nothing but its own screens.
    pub replayed: bool,
    /// What this client calls itself to the trainer.
    pub me: Option<Text>,
    /// ASCII characters only.
    pub ascii: bool,
    pub notify: Channel,
    /// Whether the terminal's window has the keyboard, where it says so.
    pub in_front: Option<bool>,
    /// Alerts up to this Unix second were seen.
    pub alerts_read: i64,
    /// Effects beside the one that an event leads to; whoever drives takes them.
    pub asides: Vec<Effect>,
    /// A snapshot arrived.
    pub connected: bool,
    /// The socket closed before the run ended.
    pub lost: bool,
    pub size: (u16, u16),
    pub screen: Screen,
    pub inspect: Inspect,
    pub charts: Charts,
    pub logs: Logs,
    /// What happened since the reader last left; shown once.
    pub away: Option<Box<Away>>,
    /// The panel of the Live screen that has the keys.
    pub focus: Panel,
    pub zoomed: bool,
    pub overlay: Option<Overlay>,
    pub menu: Menu,
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
    /// What drawing remembers; the only thing it writes.
    pub scribe_memo: panel::scribe::Memo,
}

impl App {
    pub fn new(theme: Theme, size: (u16, u16)) -> App {
        App {
            live: Live::default(),
            theme,
            keymap: Keymap::default(),
            read_only: false,
            replayed: false,
            me: None,
            ascii: false,
            notify: Channel::Off,
            in_front: None,
            alerts_read: 0,
            asides: Vec::new(),
            connected: false,
            lost: false,
            size,
            screen: Screen::Live,
            inspect: Inspect::default(),
            charts: Charts::default(),
            logs: Logs::default(),
            away: None,
            focus: Panel::Doctor,
            zoomed: false,
            overlay: None,
            menu: Menu::default(),
            follow: Follow::default(),
            phases: Phases::default(),
            scroll: [None; PANELS],
            flash: None,
            stopping: false,
            dirty: true,
            draws: 0,
            scribe_memo: panel::scribe::Memo::default(),
        }
    }

    pub fn area(&self) -> Rect {
        Rect::new(0, 0, self.size.0, self.size.1)
    }

    /// Whether the run is over.
    pub fn ended(&self) -> bool {
        self.live.ended.is_some() || matches!(self.live.state, RunState::Finished | RunState::Failed)
    }

    /// Whether the run has steps left to make.
    pub fn falls_short(&self) -> bool {
        self.live.steps_total == 0 || self.live.reports.back().is_none_or(|report| report.step < self.live.steps_total)
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

    /// The panel that has the keys on the present screen.
    pub fn focused(&self) -> Panel {
        if self.screen == Screen::Log { Panel::Log } else { self.focus }
    }

    /// Takes one event in.
    pub fn update(&mut self, event: Event) -> Option<Effect> {
        let effect = self.take(event);
        if self.screen == Screen::Inspect && self.inspect.stale {
            screen::inspect::lay_out(self);
            self.dirty = true;
        }
        effect
    }

    fn take(&mut self, event: Event) -> Option<Effect> {
        match event {
            Event::Key(key) => self.press(key),
            Event::Mouse(event) => mouse::mouse(self, event),
            Event::Paste(text) => self.paste(&text),
            Event::Focus(front) => {
                self.in_front = Some(front);
                None
            }
            Event::Resize(columns, rows) => {
                self.size = (columns, rows);
                (self.dirty, self.inspect.stale) = (true, true);
                None
            }
            Event::Loaded(answer) => {
                self.dirty = true;
                self.loaded(*answer)
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
        // Once a second, also while nothing happens: worth a frame only where it changes what is on show.
        let machine = matches!(notice, Notice::Machine { .. }).then(|| status::status(self, self.size.0.into()));
        let seen = self.follow.before(&self.live, &notice);
        self.phases.before(&self.live, &notice);
        let snapshot = matches!(notice, Notice::Snapshot { .. });
        let ended = matches!(notice, Notice::Ended { .. });
        // The end may be told of after the socket has closed.
        self.lost &= !ended;
        let asked = match &notice {
            Notice::Step { report } => self.charts.step_committed(report),
            Notice::Snapshot { .. } => self.charts.outdated(),
            Notice::Log { .. } if self.screen == Screen::Log => self.logs.refresh(),
            _ => None,
        };
        self.asides.extend(asked);
        let committed = matches!(notice, Notice::Step { .. });
        self.call_for(&notice);
        let led = self.leads();
        self.live.apply(notice);
        if snapshot {
            (self.connected, self.lost) = (true, false);
            self.follow.start(&self.live);
            self.asides.push(Effect::Title(Text::new(&format!("medserl {}", self.live.run_id))));
        }
        self.tell_lead(led);
        if (ended || snapshot) && self.live.state == RunState::Failed && !self.stopping {
            overlay::open(self, Overlay::Over);
        }
        if self.follow.watched() != shown.as_ref() {
            self.reset_text_scroll();
        }
        self.dirty |=
            seen && machine.is_none_or(|before| self.shows_machine() || before != status::status(self, self.size.0.into()));
        if committed && let Some(effect) = self.inspect.step_committed(self.screen == Screen::Inspect) {
            return Some(effect);
        }
        (ended && self.stopping).then_some(Effect::Quit)
    }

    /// Whether the machine's figures are on show elsewhere than on the status line.
    fn shows_machine(&self) -> bool {
        Size::of(self.area()) == Size::Tiny || screen::places(self).iter().any(|(panel, _)| *panel == Panel::Machine)
    }

    pub(super) fn reply(&mut self, (effect, message): (Option<Effect>, Option<String>)) -> Option<Effect> {
        if let Some(message) = message {
            self.say(&cut::clean(&message));
        }
        effect
    }

    fn reset_text_scroll(&mut self) {
        self.scroll[Panel::Doctor.index()] = None;
        self.scroll[Panel::Scribe.index()] = None;
    }

    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent) -> Option<Effect> {
        if self.overlay.is_none() && self.screen == Screen::Inspect && self.inspect.prompt.is_some() {
            self.dirty = true;
            return self.inspect.typed(key);
        }
        if self.overlay.is_none() && self.screen == Screen::Charts && self.charts.takes_keys() {
            self.dirty = true;
            let reply = self.charts.key(key);
            return self.reply(reply);
        }
        if self.overlay.is_none() && self.screen == Screen::Log && self.logs.takes_keys() {
            self.dirty = true;
            let reply = self.logs.typed(key, &self.live);
            return self.reply(reply);
        }
        if let Some(overlay) = self.overlay {
            return overlay::key(self, overlay, key);
        }
        let action = self.keymap.action(self.screen, Chord::of(key)?)?;
        self.carry_out(action)
    }

    /// Carries out an action.
    pub fn act(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::PauseResume | Action::StepPhase | Action::StepOnce => return self.steer(action),
            Action::Leave if self.ended() || self.lost || self.replayed => return Some(Effect::Quit),
            Action::Leave => overlay::open(self, Overlay::Leave),
            Action::Help => overlay::open(self, Overlay::Help),
            Action::Palette => overlay::open(self, Overlay::Commands),
            Action::Alerts => overlay::open(self, Overlay::Alerts),
            Action::Breakpoints => overlay::open(self, Overlay::Breakpoints),
            Action::Knobs => overlay::open(self, Overlay::Knobs),
            Action::Abort if self.lost || !self.connected || self.ended() => return self.steer(action),
            Action::Abort => overlay::open(self, Overlay::Abort),
            Action::Take => return self.take_lead(),
            Action::Restart if self.ended() && !self.falls_short() => {
                self.say("all its steps are made; `medserl run EXPERIMENT --steps N` gives it more");
            }
            Action::Restart if self.ended() || self.lost => return Some(Effect::Restart),
            Action::Restart => self.say("the run is being trained; Space lets a paused one go on"),
            Action::Go(screen) => return self.go(screen),
            Action::Visit(place) => return Some(Effect::Visit(place)),
            action if self.screen == Screen::Inspect => return self.inspect(action),
            action if self.screen == Screen::Charts => return self.charts(action),
            action if self.screen == Screen::Log => return self.log(action),
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
            Action::Up if self.focused() == Panel::Scribe => return self.pick(-1),
            Action::Down if self.focused() == Panel::Scribe => return self.pick(1),
            Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::Top | Action::Bottom => {
                self.scroll_by(action);
            }
            // The other rows of the table belong to other screens.
            _ => return None,
        }
        self.dirty = true;
        None
    }

    pub(super) fn go(&mut self, screen: Screen) -> Option<Effect> {
        if screen == self.screen {
            return None;
        }
        // What was said was about the screen that is left.
        (self.screen, self.zoomed, self.flash, self.dirty) = (screen, false, None, true);
        self.inspect.stale = true;
        match screen {
            Screen::Inspect => self.inspect.enter(),
            Screen::Charts => self.charts.enter(),
            Screen::Log => self.logs.refresh(),
            Screen::Live => None,
        }
    }

    fn inspect(&mut self, action: Action) -> Option<Effect> {
        self.dirty = true;
        let visible = screen::inspect::visible(self);
        match action {
            Action::Zoom => (self.zoomed, self.inspect.stale) = (!self.zoomed, true),
            Action::Close if self.zoomed && self.inspect.compared.is_none() => {
                (self.zoomed, self.inspect.stale) = (false, true);
            }
            Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::Top | Action::Bottom => {
                return self.inspect.scroll(action, visible.of(self.inspect.part));
            }
            action if visible.list_only && action.reads() => self.say("Enter opens the rollout first"),
            Action::DetailDown | Action::DetailUp => return self.inspect.scroll(action, visible.detail),
            action => {
                let mut reply = self.inspect.act(action, visible.alone);
                if visible.list_only && matches!(action, Action::Tokens | Action::TokensBack) {
                    reply.1 = Some(format!("tokens: {}; Enter opens the rollout", layer::name(self.inspect.layer)));
                }
                return self.reply(reply);
            }
        }
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
            self.say(NOBODY_TRAINS);
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
        self.scroll_panel(self.focused(), action);
    }

    /// Scrolls a panel, focused or not.
    pub fn scroll_panel(&mut self, panel: Panel, action: Action) {
        let places = screen::places(self);
        let Some((_, area)) = places.iter().find(|(there, _)| *there == panel) else { return };
        let Some(extent) = panel::extent(self, panel, *area) else { return };
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
        let at_end = top >= last && panel != Panel::Scribe;
        self.scroll[panel.index()] = if at_end { None } else { Some(top.min(last)) };
    }
}
