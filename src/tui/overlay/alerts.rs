//! Alerts: alarms, returns to a checkpoint, breakpoints and steps given up, the newest first. Enter shows the rollouts of that step.

use ratatui::text::Span;

use super::{Sheet, close, is_any, sheet::row};
use crate::tui::{
    app::{App, Effect},
    keymap::Chord,
    theme::Token,
    widget::{cut, wrap},
};

pub(super) fn key(app: &mut App, chord: Chord) -> Option<Effect> {
    let n = app.live.alerts.len();
    if app.menu.walk(chord, n) {
        return None;
    }
    if is_any(chord, &["esc", "q", "a", "ctrl-c"]) {
        close(app);
    }
    if !is_any(chord, &["enter"]) {
        return None;
    }
    let step = app.live.alerts.iter().rev().nth(app.menu.chosen.min(n.saturating_sub(1)))?.step;
    close(app);
    app.show_step(step)
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let dim = app.theme.style(Token::Dim);
    let chosen = app.menu.chosen.min(app.live.alerts.len().saturating_sub(1));
    let rows = app.live.alerts.iter().rev().enumerate().map(|(i, alert)| {
        let lead = format!("step {:<6} {:8} ", alert.step, cut::clean(alert.kind.as_str()));
        let text = cut::fit(&cut::clean(alert.message.as_str()), columns.saturating_sub(2 + cut::width(&lead)));
        row(&app.theme, i == chosen, vec![Span::styled(lead, dim), Span::styled(text, app.theme.style(Token::Warn))], columns)
    });
    let rows: Vec<_> = rows.collect();
    let whole = app.live.alerts.iter().rev().nth(chosen).map(|alert| cut::clean(alert.message.as_str()));
    let nothing = "No alarm, no breakpoint reached and no step given up so far.".to_owned();
    let tail = wrap::plain(&whole.unwrap_or(nothing), app.theme.style(Token::Text), columns);
    let mut keys = vec![("Esc", "close")];
    if !rows.is_empty() {
        keys.extend([("Enter", "that step's rollouts"), ("↑↓", "choose")]);
    }
    Sheet { title: "Alerts".to_owned(), keys, columns, rows, tail, ..Sheet::default() }
}
