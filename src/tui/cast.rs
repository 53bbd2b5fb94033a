//! Screens without a terminal: a run that is played back is drawn frame by frame, into a recording (asciicast, version 2) or as
//! text. What is recorded is what a terminal would have been sent, and the same store gives the same bytes.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::{CrosstermBackend, TestBackend},
    layout::Rect,
};
use serde_json::json;

use super::{
    app::{App, Effect, Event},
    loader,
    query::Loaded,
    screen,
    theme::Theme,
};

/// Something that happens so long after the beginning.
pub type Timed = (Duration, Event);

/// Shortest time between two frames of a recording.
const FRAME: Duration = Duration::from_millis(100);

/// How a recording looks.
#[derive(Clone, Debug)]
pub struct Stage {
    pub theme: Theme,
    pub ascii: bool,
    /// Columns and rows.
    pub size: (u16, u16),
}

/// An application that is fed events and answered from the store of a run.
struct Player<'a> {
    app: App,
    dir: &'a Path,
    store: Option<crate::store::Store>,
}

impl Player<'_> {
    fn new(stage: Stage, dir: &Path) -> Player<'_> {
        let mut app = App::new(stage.theme, stage.size);
        (app.ascii, app.read_only, app.replayed) = (stage.ascii, true, true);
        Player { app, dir, store: None }
    }

    fn take(&mut self, event: Event) {
        let mut waiting: Vec<Effect> = self.app.update(event).into_iter().collect();
        waiting.append(&mut self.app.asides);
        while let Some(effect) = waiting.pop() {
            let Effect::Load(query) = effect else { continue };
            let answer = loader::load(self.dir, &mut self.store, &query);
            let answer = answer.unwrap_or_else(|error| Loaded::Failed { query, why: format!("{error:#}") });
            waiting.extend(self.app.update(Event::Loaded(Box::new(answer))));
            waiting.append(&mut self.app.asides);
        }
    }
}

/// Writes a recording of `events`, which come in the order of their times.
///
/// # Errors
/// A size without room, or whatever `out` fails with.
pub fn record(stage: Stage, dir: &Path, events: impl IntoIterator<Item = Timed>, out: &mut dyn Write) -> Result<()> {
    let (width, height) = stage.size;
    ensure!(width > 0 && height > 0, "a screen of {width}x{height} shows nothing");
    let header = json!({ "version": 2, "width": width, "height": height, "env": { "TERM": "xterm-256color" } });
    writeln!(out, "{header}")?;
    let sent = Sent::default();
    let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, width, height)) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(sent.clone()), options)?;
    let mut player = Player::new(stage, dir);
    let mut drawn: Option<Duration> = None;
    let mut draw = |player: &mut Player, at: Duration, out: &mut dyn Write| -> Result<()> {
        terminal.draw(|frame| screen::draw(&player.app, frame))?;
        player.app.dirty = false;
        let bytes = sent.take();
        writeln!(out, "{}", json!([at.as_secs_f64(), "o", String::from_utf8_lossy(&bytes)]))?;
        Ok(())
    };
    let mut last = Duration::ZERO;
    for (at, event) in events {
        // What has changed so far is drawn before the next thing happens, where enough time has passed.
        let due = drawn.map_or(Duration::ZERO, |before| before + FRAME);
        if player.app.dirty && at >= due.max(last) {
            draw(&mut player, due.max(last), out)?;
            drawn = Some(due.max(last));
        }
        player.take(event);
        last = at;
    }
    draw(&mut player, last.max(drawn.map_or(Duration::ZERO, |before| before + FRAME)), out)?;
    Ok(())
}

/// The screen after `events`, one line a row.
///
/// # Errors
/// A size without room.
pub fn print(stage: Stage, dir: &Path, events: impl IntoIterator<Item = Timed>) -> Result<String> {
    let (width, height) = stage.size;
    ensure!(width > 0 && height > 0, "a screen of {width}x{height} shows nothing");
    let mut player = Player::new(stage, dir);
    events.into_iter().for_each(|(_, event)| player.take(event));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(|never| match never {})?;
    terminal.draw(|frame| screen::draw(&player.app, frame)).map_err(|never| match never {})?;
    let rows = terminal.backend().buffer().content.chunks(usize::from(width));
    Ok(rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect())
}

/// What a terminal would have been sent since the last frame.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

impl Sent {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
