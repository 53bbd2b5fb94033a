//! What lies over the screen: help that is also the palette of commands, dialogs, alerts, breakpoints, knobs.
//! Nothing that harms a run answers to Enter, nor to the key that opened the dialog.

pub mod alerts;
pub mod breakpoints;
pub mod choices;
pub mod keylist;
pub mod knobs;
mod list;
pub mod over;
pub mod palette;
pub mod sheet;

use ratatui::{buffer::Buffer, crossterm::event::KeyEvent, layout::Rect};

pub use sheet::Menu;
use sheet::{Sheet, is_any};

use super::{
    action::Action,
    app::{App, Effect},
    keymap::Chord,
};

/// Which overlay is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Every action and command: typing searches, Enter runs.
    Help,
    /// The same, commands first.
    Commands,
    Leave,
    /// Whether to give up what the step has written so far.
    Abort,
    Alerts,
    Breakpoints,
    Knobs,
    /// What happened while the reader was away.
    Away,
    /// The run failed or its trainer died.
    Over,
}

impl Overlay {
    pub const ALL: [Overlay; 9] = [
        Overlay::Help,
        Overlay::Commands,
        Overlay::Leave,
        Overlay::Abort,
        Overlay::Alerts,
        Overlay::Breakpoints,
        Overlay::Knobs,
        Overlay::Away,
        Overlay::Over,
    ];
}

/// Opens an overlay at its beginning.
pub fn open(app: &mut App, overlay: Overlay) {
    app.menu = Menu::default();
    match overlay {
        Overlay::Help | Overlay::Commands => app.menu = Menu::searching(),
        Overlay::Alerts => app.read_alerts(),
        _ => {}
    }
    (app.overlay, app.dirty) = (Some(overlay), true);
}

/// Takes a key while `overlay` is open.
pub fn key(app: &mut App, overlay: Overlay, key: KeyEvent) -> Option<Effect> {
    let chord = Chord::of(key)?;
    app.dirty = true;
    // A card that came by itself lies in nobody's way.
    if matches!(overlay, Overlay::Away | Overlay::Over)
        && let Some(action @ (Action::Go(_) | Action::Visit(_))) = app.keymap.action(app.screen, chord)
    {
        close(app);
        return app.carry_out(action);
    }
    match overlay {
        Overlay::Help | Overlay::Commands => palette::key(app, key, chord),
        Overlay::Leave => choices::key(app, choices::LEAVE, chord),
        Overlay::Abort => choices::key(app, choices::ABORT, chord),
        Overlay::Alerts => alerts::key(app, chord),
        Overlay::Breakpoints => breakpoints::key(app, key, chord),
        Overlay::Knobs => knobs::key(app, key, chord),
        Overlay::Away => {
            if is_any(chord, &["esc", "enter", "q", "space", "ctrl-c"]) {
                close(app);
            }
            None
        }
        Overlay::Over => over::key(app, chord),
    }
}

/// Closes what is open.
pub fn close(app: &mut App) {
    (app.overlay, app.menu, app.dirty) = (None, Menu::default(), true);
}

/// Draws the open overlay, if any, in the middle of `area`.
pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let Some(overlay) = app.overlay else { return };
    let Some(sheet) = sheet(app, overlay, area) else { return };
    sheet.draw(&app.theme, app.menu.chosen, area, buf);
}

fn sheet(app: &App, overlay: Overlay, area: Rect) -> Option<Sheet> {
    let columns = sheet::columns(area);
    Some(match overlay {
        Overlay::Help | Overlay::Commands => palette::sheet(app, columns),
        Overlay::Leave => choices::sheet(app, choices::LEAVE, columns),
        Overlay::Abort => choices::sheet(app, choices::ABORT, columns),
        Overlay::Alerts => alerts::sheet(app, columns),
        Overlay::Breakpoints => breakpoints::sheet(app, columns),
        Overlay::Knobs => knobs::sheet(app, columns),
        Overlay::Away => {
            let (away, columns) = (app.away.as_ref()?, columns.saturating_sub(4).min(74));
            let lines = away.lines(&app.theme, columns);
            Sheet {
                title: away.title(),
                keys: vec![("Esc", "close"), ("1-6", "another screen")],
                columns,
                head: lines,
                ..Sheet::default()
            }
        }
        Overlay::Over => over::sheet(app, columns),
    })
}

/// The row of the open list at a place on the screen.
pub fn row_at(app: &App, column: u16, row: u16) -> Option<usize> {
    let area = app.area();
    let sheet = sheet(app, app.overlay?, area)?;
    let (place, top, n_visible) = sheet.geometry(app.menu.chosen, area);
    let first = place.y + 1 + u16::try_from(sheet.head.len()).ok()?;
    let inside = place.contains((column, row).into()) && row >= first && usize::from(row - first) < n_visible;
    let at = top + usize::from(row.checked_sub(first)?);
    (inside && at < sheet.rows.len()).then_some(at)
}
