//! Breakpoints: what the run pauses at, what was hit last, and where new ones are written.

use ratatui::{crossterm::event::KeyEvent, text::Span};

use super::{
    Sheet, is_any,
    list::{self, Words},
};
use crate::{
    attach::Control,
    task::{Breakpoint, breakpoint::FORMS},
    tui::{
        app::{App, Effect},
        keymap::Chord,
        theme::Token,
        widget::cut,
    },
};

pub(super) fn key(app: &mut App, key: KeyEvent, chord: Chord) -> Option<Effect> {
    if app.menu.prompt.is_some() {
        return list::write(app, key, |text| text.parse().map(|condition| Control::Break { condition }));
    }
    let n = app.live.steering.breakpoints.len();
    if list::walks(app, chord, n, "B") {
        return None;
    }
    if is_any(chord, &["a"]) {
        list::begin(app, "");
    }
    if !is_any(chord, &["x"]) {
        return None;
    }
    app.menu.problem = app.why_not_steer();
    let condition = app.live.steering.breakpoints.get(app.menu.chosen.min(n.saturating_sub(1)))?.clone();
    app.menu.problem.is_none().then_some(Effect::Send(Control::Unbreak { condition }))
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let rows = app.live.steering.breakpoints.iter().map(|breakpoint| spans(app, breakpoint, columns)).collect();
    let words = Words {
        title: "Breakpoints",
        nothing: "No breakpoint: the run pauses by itself only at alarms that `alarms.pause` names.",
        lead: "pause where ".to_owned(),
        hint: format!("such as {FORMS}"),
        keys: vec![("a", "add")],
        row_keys: vec![("x", "remove")],
    };
    list::sheet(app, words, rows, columns)
}

/// The condition, and what was hit last.
fn spans(app: &App, breakpoint: &Breakpoint, columns: usize) -> Vec<Span<'static>> {
    let condition = breakpoint.to_string();
    let lead = format!("breakpoint {condition}: ");
    let hit = app.live.alerts.iter().rev().find_map(|a| a.message.as_str().strip_prefix(&lead).map(cut::clean));
    let hit = hit.map(|why| format!("  hit: {why}")).unwrap_or_default();
    let hit = cut::fit(&hit, columns.saturating_sub(2 + cut::width(&condition)));
    vec![Span::styled(condition, app.theme.style(Token::Title)), Span::styled(hit, app.theme.style(Token::Dim))]
}
