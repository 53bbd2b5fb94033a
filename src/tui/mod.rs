//! The terminal client: draws a run's live picture and its store, and sends the reader's wishes. It never trains and never
//! opens a model. `app` is the pure state, `screen`, `panel` and `widget` draw it, `loader` reads the store on a thread of
//! its own, and this file is the loop around them.

pub mod action;
mod answers;
pub mod app;
pub mod away;
pub mod cast;
pub mod charts;
pub mod clipboard;
pub mod command;
pub mod editor;
pub mod follow;
pub mod glyphs;
pub mod history;
pub mod inspect;
mod keyboard;
pub mod keymap;
pub mod label;
pub mod layer;
mod lead;
pub mod loader;
pub mod logs;
pub mod measure;
pub mod mouse;
pub mod notify;
pub mod overlay;
pub mod panel;
pub mod phases;
pub mod prompt;
pub mod query;
pub mod replay;
pub mod runs;
pub mod screen;
pub mod size;
pub mod terminal;
pub mod theme;
pub mod widget;

use std::{
    io::{self, BufWriter},
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        execute, queue,
        terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate, size},
    },
    layout::Rect,
};

pub use app::{App, Effect, Event};
pub use screen::{Elsewhere, Screen};
pub use terminal::{TerminalError, TerminalGuard};
pub use theme::{Theme, ThemeError};

use crate::{attach::Control, store::RunSummary, task::Text};
use loader::Loader;
use notify::Channel;
use query::{Loaded, Query};
use runs::{Choice, Order, Outcome, RunsApp};

/// Shortest time between two frames of what the trainer says: text is read no faster, and the trainer needs the processor.
const FRAME: Duration = Duration::from_millis(100);
/// A key is answered after this part of a frame.
const HASTE: u32 = 4;
const TICK: Duration = Duration::from_secs(1);
/// How often the Runs screen looks at the stores; it draws only where something changed.
const LOOK: Duration = Duration::from_secs(2);

/// How the reader left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The run goes on.
    Detached,
    /// The reader stopped the run, and it ended.
    Stopped,
    RunEnded,
    /// The trainer's socket closed before the run ended.
    ConnectionLost,
    /// To start the trainer again, and come back.
    Restart,
    /// For another screen, and then back to the one that was on show.
    Visit(Elsewhere, Screen),
}

/// What the caller decides about the screen.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// dark, light or mono; `None` asks the environment.
    pub theme: Option<String>,
    /// ASCII characters only.
    pub ascii: bool,
    /// Leave the mouse to the terminal.
    pub no_mouse: bool,
    /// How to call a reader who looks elsewhere.
    pub notify: Channel,
    /// Send nothing that steers.
    pub read_only: bool,
    /// The run is played back.
    pub replay: bool,
    /// What this client calls itself to the trainer.
    pub me: Option<Text>,
    /// Whose store the Inspect screen reads; without one it says so.
    pub run_dir: Option<PathBuf>,
    /// What is shown first.
    pub screen: Screen,
    /// Said as the screen opens: how something went that the reader left for.
    pub say: Option<String>,
}

/// Shows the Runs screen until the reader opens a run or quits; `back` is the run the reader comes from, if any. `list` reads the runs and the clock (Unix seconds); `obey` carries
/// an order out and says in one line how it went.
///
/// # Errors
/// No terminal, a terminal that went away, or an unknown theme.
pub fn choose_run(
    options: &Options,
    back: Option<String>,
    list: &mut dyn FnMut() -> (Vec<RunSummary>, i64),
    obey: &mut dyn FnMut(Order) -> String,
) -> anyhow::Result<Choice> {
    let theme = Theme::choose(options.theme.as_deref(), |name| std::env::var(name).ok())?;
    let _guard = TerminalGuard::take(!options.no_mouse)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout())))?;
    let (sender, events) = mpsc::channel();
    let _keyboard = keyboard::Keyboard::listen(&sender)?;
    let mut app = RunsApp::new(theme);
    (app.read_only, app.back) = (options.read_only, back);
    if let Some(say) = &options.say {
        app.say(say.clone());
    }
    let mut draw = |app: &RunsApp| {
        let frame = |frame: &mut ratatui::Frame| {
            screen::runs::draw(app, frame);
            if options.ascii {
                glyphs::to_ascii(frame.buffer_mut());
            }
        };
        terminal.draw(frame).map(drop)
    };
    let mut next_look = Instant::now();
    loop {
        if Instant::now() >= next_look {
            let (runs, now) = list();
            app.refresh(runs, now);
            next_look = Instant::now() + LOOK;
        }
        if app.dirty {
            draw(&app)?;
            app.dirty = false;
        }
        let pressed = match events.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
            Ok(Event::Key(key)) => Some(key),
            Ok(Event::Mouse(event)) => {
                let (columns, rows) = size()?;
                mouse::on_runs(&mut app, event, Rect::new(0, 0, columns, rows))
            }
            Ok(Event::Hangup) | Err(RecvTimeoutError::Disconnected) => return Ok(Choice::Quit),
            Ok(Event::Resize(..)) => {
                app.dirty = true;
                None
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => None,
        };
        match pressed.map_or(Outcome::Nothing, |key| app.key(key)) {
            Outcome::Nothing => {}
            Outcome::Choice(choice) => return Ok(choice),
            Outcome::Order(order) => {
                app.say("working…");
                draw(&app)?;
                app.say(obey(order));
                next_look = Instant::now();
            }
        }
    }
}

/// Shows a run until the reader leaves.
///
/// `channel` is where the caller's attach thread puts [`Event::Notice`]s, the snapshot first, and [`Event::Closed`] at the end;
/// keys are fed into the same channel. `control` sends to the trainer and must not block.
///
/// # Errors
/// No terminal, a terminal that went away, or an unknown theme.
pub fn run(
    options: &Options,
    channel: (&Sender<Event>, &Receiver<Event>),
    control: &mut dyn FnMut(Control),
) -> anyhow::Result<Leave> {
    let theme = Theme::choose(options.theme.as_deref(), |name| std::env::var(name).ok())?;
    let guard = TerminalGuard::take(!options.no_mouse)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout())))?;
    let mut app = App::new(theme, size()?);
    (app.read_only, app.ascii, app.notify) = (options.read_only, options.ascii, options.notify);
    app.replayed = options.replay;
    app.me.clone_from(&options.me);
    let entered = app.go(options.screen);
    app.asides.extend(entered);
    if let Some(say) = &options.say {
        app.say(&widget::cut::clean(say));
    }
    app.alerts_read = options.run_dir.as_deref().and_then(away::Seen::read).map_or(0, |seen| seen.unix_s);
    let in_tmux = std::env::var_os("TMUX").is_some();
    let keyboard = keyboard::Keyboard::listen(channel.0)?;
    let mut draw = |app: &App| -> anyhow::Result<()> {
        queue!(terminal.backend_mut(), BeginSynchronizedUpdate)?;
        terminal.draw(|frame| screen::draw(app, frame))?;
        execute!(terminal.backend_mut(), EndSynchronizedUpdate)?;
        Ok(())
    };
    let loader = options.run_dir.clone().map(|dir| Loader::start(dir, channel.0.clone())).transpose()?;
    if let Some(loader) = loader.as_ref().filter(|_| !options.replay) {
        loader.ask(Query::Away);
    }
    let mut perform = |effect| match effect {
        Effect::Send(wish) => control(wish),
        // A terminal that is gone is noticed by the next draw.
        Effect::Copy(text) => drop(clipboard::copy(&mut io::stdout(), &text)),
        Effect::Load(query) => match &loader {
            Some(loader) => loader.ask(query),
            None => {
                let why = "this client was not told where the run's files are".to_owned();
                drop(channel.0.send(Event::Loaded(Box::new(Loaded::Failed { query, why }))));
            }
        },
        Effect::Call(channel, text) => drop(notify::call(&mut io::stdout(), channel, &text, in_tmux)),
        Effect::Title(text) => drop(notify::title(&mut io::stdout(), &text)),
        Effect::Mouse(on) => drop(terminal::mouse(&mut io::stdout(), on)),
        Effect::Detach | Effect::Quit | Effect::Visit(_) | Effect::Restart => {}
    };
    let leave = drive(&mut app, channel.1, FRAME, &mut draw, &mut perform);
    drop(keyboard);
    drop(guard);
    if let (false, Some(dir), Some(last)) = (options.read_only, &options.run_dir, app.live.reports.back()) {
        away::Seen { step: last.step, unix_s: loader::unix_now() }.write(dir);
    }
    leave
}

/// The loop: takes events, draws only after a visible change and never more often than once a `frame` (after a key: a part of one),
/// sleeps otherwise.
/// `perform` carries out every effect but leaving, and must not block.
///
/// # Errors
/// Whatever `draw` fails with.
pub fn drive(
    app: &mut App,
    events: &Receiver<Event>,
    frame: Duration,
    draw: &mut dyn FnMut(&App) -> anyhow::Result<()>,
    perform: &mut dyn FnMut(Effect),
) -> anyhow::Result<Leave> {
    let (mut next_draw, mut last_draw) = (Instant::now(), Instant::now());
    let mut next_tick = None;
    loop {
        let now = Instant::now();
        if app.dirty && now >= next_draw {
            draw(app)?;
            app.dirty = false;
            app.draws += 1;
            last_draw = Instant::now();
            next_draw = last_draw + frame;
        }
        next_tick = if app.wants_tick() { next_tick.or(Some(now + TICK)) } else { None };
        let wake = [app.dirty.then_some(next_draw), next_tick].into_iter().flatten().min();
        let event = match wake {
            None => events.recv().ok(),
            Some(wake) => match events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => {
                    if next_tick.is_none_or(|at| Instant::now() < at) {
                        continue;
                    }
                    next_tick = None;
                    Some(Event::Tick)
                }
                Err(RecvTimeoutError::Disconnected) => None,
            },
        };
        // Nobody can send any more: no key will come either.
        let Some(event) = event else { return Ok(app.outcome()) };
        if matches!(event, Event::Key(_) | Event::Mouse(_) | Event::Paste(_) | Event::Resize(..)) {
            next_draw = next_draw.min(last_draw + frame / HASTE);
        }
        let effect = app.update(event);
        std::mem::take(&mut app.asides).into_iter().for_each(&mut *perform);
        match effect {
            None => {}
            Some(Effect::Restart) => return Ok(Leave::Restart),
            Some(Effect::Detach) => return Ok(Leave::Detached),
            Some(Effect::Quit) => return Ok(app.outcome()),
            Some(Effect::Visit(place)) => return Ok(Leave::Visit(place, app.screen)),
            Some(effect) => perform(effect),
        }
    }
}
