//! What the mouse means: a click chooses a tab, a panel or a row, the wheel scrolls what is under it. Motion is never asked for.

use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind},
    layout::Rect,
};

use super::{
    action::Action,
    app::{App, Effect},
    inspect::Part,
    overlay,
    panel::status,
    runs::RunsApp,
    screen::{self, Screen},
};

/// Lines a turn of the wheel moves.
const LINES: usize = 3;

/// A turn of the wheel as the arrow key it stands for; `None` for anything else.
pub fn wheel(event: MouseEvent) -> Option<KeyEvent> {
    let code = match event.kind {
        MouseEventKind::ScrollUp => KeyCode::Up,
        MouseEventKind::ScrollDown => KeyCode::Down,
        _ => return None,
    };
    Some(KeyEvent::new(code, KeyModifiers::NONE))
}

/// On the Runs screen: the key that an event stands for. A click chooses a run; on the chosen one it is Enter.
pub fn on_runs(app: &mut RunsApp, event: MouseEvent, area: Rect) -> Option<KeyEvent> {
    if let Some(arrow) = wheel(event) {
        return Some(arrow);
    }
    if event.kind != MouseEventKind::Down(MouseButton::Left) || app.over.is_some() || app.prompt.is_some() {
        return None;
    }
    let press = |code| Some(KeyEvent::new(code, KeyModifiers::NONE));
    if let Some(tab) = screen::runs::tab_at(app, area, event.column, event.row) {
        return press(KeyCode::Char(tab));
    }
    let row = screen::runs::row_at(app, area, event.column, event.row)?;
    if row == app.chosen {
        return press(KeyCode::Enter);
    }
    (app.chosen, app.message, app.dirty) = (row, None, true);
    None
}

/// Takes an event of the mouse in.
pub fn mouse(app: &mut App, event: MouseEvent) -> Option<Effect> {
    if let Some(arrow) = wheel(event) {
        return turn(app, event, arrow);
    }
    if event.kind != MouseEventKind::Down(MouseButton::Left) {
        return None;
    }
    if app.overlay.is_some() {
        return click_overlay(app, event);
    }
    if event.row == 0 {
        let key = status::tab_at(app, event.column)?;
        return app.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
    }
    if app.screen == Screen::Inspect {
        return click_inspect(app, event);
    }
    if app.screen == Screen::Charts && !app.charts.takes_keys() {
        return click_chart(app, event);
    }
    let (panel, _) = screen::places(app).into_iter().find(|(_, place)| place.contains((event.column, event.row).into()))?;
    if app.screen == Screen::Live && app.focus != panel {
        (app.focus, app.dirty) = (panel, true);
    }
    None
}

fn turn(app: &mut App, event: MouseEvent, arrow: KeyEvent) -> Option<Effect> {
    if app.overlay.is_some() {
        return app.press(arrow);
    }
    let action = if arrow.code == KeyCode::Up { Action::Up } else { Action::Down };
    if app.screen == Screen::Inspect {
        let (part, _) = screen::inspect::part_at(app, event.column, event.row)?;
        let action = match (part, action) {
            (Part::List, action) => action,
            (Part::Detail, Action::Up) => Action::DetailUp,
            (Part::Detail, _) => Action::DetailDown,
        };
        let before = std::mem::replace(&mut app.inspect.part, part);
        // The last row reached is the one to read; those passed on the way need no loading.
        let effect = (0..LINES).filter_map(|_| app.act(action)).last();
        app.inspect.part = before;
        return effect;
    }
    let places = screen::places(app);
    let under = places.into_iter().find(|(_, place)| place.contains((event.column, event.row).into())).map(|(panel, _)| panel);
    match (app.screen, under) {
        (Screen::Charts, _) if app.charts.takes_keys() => return app.press(arrow),
        // Over a chart the wheel zooms, as it does in every other program with charts.
        (Screen::Charts, _) => return app.act(if action == Action::Up { Action::ZoomIn } else { Action::ZoomOut }),
        (Screen::Live, Some(panel)) => (0..LINES).for_each(|_| app.scroll_panel(panel, action)),
        (_, _) => (0..LINES).for_each(|_| drop(app.act(action))),
    }
    app.dirty = true;
    None
}

/// A click chooses a row; a click on the chosen one is Enter.
fn click_overlay(app: &mut App, event: MouseEvent) -> Option<Effect> {
    let row = overlay::row_at(app, event.column, event.row)?;
    if app.menu.chosen == row {
        return app.press(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
    }
    (app.menu.chosen, app.menu.problem, app.dirty) = (row, None, true);
    None
}

/// A click chooses a chart; a click on the chosen one is zoom.
fn click_chart(app: &mut App, event: MouseEvent) -> Option<Effect> {
    let chart = screen::charts::chart_at(app, event.column, event.row)?;
    if chart == app.charts.chosen {
        return app.act(Action::Zoom);
    }
    (app.charts.chosen, app.dirty) = (chart, true);
    None
}

fn click_inspect(app: &mut App, event: MouseEvent) -> Option<Effect> {
    let (part, row) = screen::inspect::part_at(app, event.column, event.row)?;
    (app.inspect.part, app.inspect.stale, app.dirty) = (part, true, true);
    let row = row.filter(|row| *row < app.inspect.rows.len())?;
    if row == app.inspect.chosen {
        return app.act(Action::Open);
    }
    app.inspect.choose(row)
}
