//! Breakpoints: what the run pauses at, what was hit last, and where new ones are written.

use ratatui::{crossterm::event::KeyEvent, text::Span};

use super::{Sheet, close, is_any, row, typed, walk};
use crate::{
    attach::Control,
    task::breakpoint::FORMS,
    tui::{
        app::{App, Effect},
        keymap::Chord,
        prompt::{Prompt, Typed},
        theme::Token,
        widget::{cut, wrap},
    },
};

pub(super) fn key(app: &mut App, key: KeyEvent, chord: Chord) -> Option<Effect> {
    if app.menu.prompt.is_some() {
        return write(app, key);
    }
    let all = app.live.steering.breakpoints.clone();
    if walk(app, chord, all.len()) {
        return None;
    }
    if is_any(chord, &["esc", "q", "B", "ctrl-c"]) {
        close(app);
        return None;
    }
    let (adds, removes) = (is_any(chord, &["a"]), is_any(chord, &["x"]));
    if !adds && !removes {
        return None;
    }
    app.menu.problem = app.why_not_steer();
    if app.menu.problem.is_some() {
        return None;
    }
    if adds {
        app.menu.prompt = Some(Prompt::default());
        return None;
    }
    let condition = all.get(app.menu.chosen.min(all.len().saturating_sub(1)))?.clone();
    Some(Effect::Send(Control::Unbreak { condition }))
}

fn write(app: &mut App, key: KeyEvent) -> Option<Effect> {
    let prompt = app.menu.prompt.as_mut()?;
    match prompt.key(key) {
        Typed::Cancelled => (app.menu.prompt, app.menu.problem) = (None, None),
        Typed::Changed => app.menu.problem = None,
        Typed::Nothing => {}
        Typed::Done => match prompt.text().parse() {
            Ok(condition) => {
                (app.menu.prompt, app.menu.problem) = (None, None);
                return Some(Effect::Send(Control::Break { condition }));
            }
            Err(problem) => app.menu.problem = Some(problem),
        },
    }
    None
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let all = &app.live.steering.breakpoints;
    let chosen = app.menu.chosen.min(all.len().saturating_sub(1));
    let dim = app.theme.style(Token::Dim);
    let rows: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(i, breakpoint)| {
            let condition = breakpoint.to_string();
            let lead = format!("breakpoint {condition}: ");
            let hit = app.live.alerts.iter().rev().find_map(|a| a.message.as_str().strip_prefix(&lead).map(cut::clean));
            let hit = hit.map(|why| format!("  hit: {why}")).unwrap_or_default();
            let hit = cut::fit(&hit, columns.saturating_sub(2 + cut::width(&condition)));
            row(app, i == chosen, vec![Span::styled(condition, app.theme.style(Token::Title)), Span::styled(hit, dim)], columns)
        })
        .collect();
    let mut tail = Vec::new();
    if all.is_empty() && app.menu.prompt.is_none() {
        tail.extend(wrap::plain("The run pauses nowhere by itself but at alarms.", dim, columns));
    }
    if let Some(prompt) = &app.menu.prompt {
        tail.push(typed(app, "pause where ", prompt, columns));
    }
    match &app.menu.problem {
        Some(problem) => tail.extend(wrap::plain(&cut::clean(problem), app.theme.style(Token::Warn), columns)),
        None => tail.extend(wrap::plain(&format!("such as {FORMS}"), dim, columns)),
    }
    let keys = if app.menu.prompt.is_some() {
        vec![("Enter", "set"), ("Esc", "give up")]
    } else {
        vec![("a", "add"), ("x", "remove"), ("↑↓", "choose"), ("Esc", "close")]
    };
    Sheet { title: "Breakpoints".to_owned(), keys, columns, rows, tail, ..Sheet::default() }
}
