//! The loop around the Label screen: keys in, decisions to the disk, frames out. The caller reads and writes.

use std::{
    collections::HashMap,
    io::{self, BufWriter},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{event::KeyEvent, terminal},
};

use super::{Effect, LabelApp, Setup, Want, queue::Votes};
use crate::{
    store::SampleHead,
    task::{Entry, Sample, Standing},
    tui::{Event, Options, TerminalGuard, Theme, editor, glyphs, keyboard::Keyboard, mouse, screen},
};

/// How often new samples and the labels of others are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// Where samples come from and labels go to: a run, or a file of samples.
pub trait Desk {
    /// A sample and what the Doctor says of it; an error says why there is none.
    fn sample(&mut self, id: &str) -> anyhow::Result<(Sample, Votes)>;
    /// The Doctor's verdicts on every sample, by id.
    fn votes(&mut self) -> anyhow::Result<HashMap<String, Votes>>;
    /// Writes an entry down and returns it with its id once it is on disk.
    fn keep(&mut self, entry: Entry) -> anyhow::Result<Entry>;
    /// Samples and entries that have come since the last look; everything at the first.
    fn look(&mut self) -> anyhow::Result<(Vec<SampleHead>, Vec<Entry>)>;
}

/// How the reader left the Label screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub n_decisions: usize,
    /// This process was told to end, or its terminal is gone.
    pub hung_up: bool,
}

/// Shows the Label screen until the reader leaves.
///
/// # Errors
/// No terminal, a terminal that went away, an unknown theme, or samples that cannot be read at all.
pub fn label(options: &Options, setup: Setup, desk: &mut dyn Desk) -> anyhow::Result<Left> {
    let theme = Theme::choose(options.theme.as_deref(), |name| std::env::var(name).ok())?;
    let (heads, entries) = desk.look()?;
    let standing: Standing = entries.into_iter().collect();
    let mut guard = TerminalGuard::take(!options.no_mouse)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout())))?;
    let (sender, events) = mpsc::channel();
    let mut keyboard = Keyboard::listen(&sender)?;
    let mut app = LabelApp::new(theme, terminal::size()?, setup, heads, standing, unix_ms());
    let mut next_look = Instant::now() + LOOK;
    let hung_up = loop {
        feed(&mut app, desk);
        if app.dirty {
            terminal.draw(|frame| {
                screen::label::draw(&app, frame.area(), frame.buffer_mut());
                if options.ascii {
                    glyphs::to_ascii(frame.buffer_mut());
                }
            })?;
            app.dirty = false;
        }
        match events.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
            Ok(Event::Key(key)) => {
                if press(&mut app, desk, key, unix_ms()) {
                    break false;
                }
                if let Some(text) = app.editing.take() {
                    // Nothing but the editor may read the terminal meanwhile, and a panic in between must find it restored.
                    keyboard.stop();
                    drop(guard);
                    app.edited(editor::edit(&std::env::temp_dir(), &text));
                    guard = TerminalGuard::take(!options.no_mouse)?;
                    keyboard = Keyboard::listen(&sender)?;
                    terminal.clear()?;
                }
            }
            Ok(Event::Mouse(event)) => {
                if let Some(arrow) = mouse::wheel(event) {
                    press(&mut app, desk, arrow, unix_ms());
                }
            }
            Ok(Event::Paste(text)) => app.paste(&text),
            Ok(Event::Resize(columns, rows)) => (app.size, app.dirty) = ((columns, rows), true),
            Ok(Event::Hangup) | Err(RecvTimeoutError::Disconnected) => break true,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next_look {
            app.now = unix_ms();
            look(&mut app, desk);
            next_look = Instant::now() + LOOK;
        }
    };
    drop(keyboard);
    drop(guard);
    Ok(Left { n_decisions: app.session.counts().total(), hung_up })
}

/// Passes a key on and carries out what it asks for; true where the reader leaves.
pub fn press(app: &mut LabelApp, desk: &mut dyn Desk, key: KeyEvent, now: i64) -> bool {
    app.now = now;
    match app.key(key) {
        Some(Effect::Leave) => return true,
        Some(Effect::Keep(entry)) => match desk.keep(entry) {
            Ok(entry) => app.kept(entry),
            Err(error) => app.not_kept(&format!("NOT KEPT: {error:#}")),
        },
        None => {}
    }
    feed(app, desk);
    false
}

/// Fetches what the application wants until it has it.
pub fn feed(app: &mut LabelApp, desk: &mut dyn Desk) {
    while let Some(want) = app.wants() {
        match &want {
            Want::Sample(id) => match desk.sample(id) {
                Ok((sample, votes)) => app.show(sample, votes),
                Err(error) => app.missing(id, &format!("{error:#}")),
            },
            Want::Votes => match desk.votes() {
                Ok(votes) => app.count_votes(votes),
                Err(error) => {
                    app.count_votes(HashMap::new());
                    app.say(&format!("the Doctor's verdicts cannot be read: {error:#}"));
                }
            },
        }
        if let (true, Want::Sample(id)) = (app.wants().as_ref() == Some(&want), &want) {
            app.missing(id, "another sample came in its place");
        }
    }
}

fn look(app: &mut LabelApp, desk: &mut dyn Desk) {
    match desk.look() {
        Ok((heads, entries)) => {
            app.learn(entries);
            app.offer(heads);
        }
        Err(error) => app.say(&format!("{error:#}")),
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
