//! The Runs screen: one line a run. Columns leave whole when there is no room, the id and the state last.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    store::RunSummary,
    tui::{
        panel,
        runs::RunsApp,
        theme::Token,
        widget::{cut, number},
    },
};

const ID_COLUMNS: usize = 24;

/// Heading, width, and how a run fills it; in the order in which columns are given room.
type Column = (&'static str, usize, fn(&RunsApp, &RunSummary) -> (String, Token));

const COLUMNS: &[Column] = &[
    ("state", 12, |_, run| state(run)),
    ("step", 12, |_, run| (format!("{}/{}", run.step, run.steps_total), Token::Text)),
    ("last sign", 10, |app, run| (ago(app.now - run.updated), Token::Dim)),
    ("reward", 8, |_, run| (number::signed(run.reward), Token::Text)),
    ("right", 7, |_, run| (number::percent(run.accuracy), Token::Text)),
    ("name", 30, |_, run| (cut::clean(&run.name), Token::Dim)),
];

/// Draws one frame. Reads only.
pub fn draw(app: &RunsApp, frame: &mut Frame) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    let columns = usize::from(area.width);
    let dim = app.theme.style(Token::Dim);
    let mut lines = vec![cut::segments(
        vec![
            cut::part(" medserl", app.theme.style(Token::Title)),
            cut::part("[Runs]", app.theme.style(Token::Key)),
            cut::part(format!("{} runs", app.runs.len()), dim),
        ],
        " · ",
        columns,
    )];
    lines.push(head(app, columns));
    let rows = usize::from(area.height).saturating_sub(3).max(1);
    let top = (app.chosen + 1).saturating_sub(rows);
    let shown = app.runs.iter().enumerate().skip(top).take(rows);
    lines.extend(shown.map(|(i, run)| row(app, run, i == app.chosen, columns)));
    if app.runs.is_empty() {
        lines.push(Line::styled(
            cut::fit(" No run yet. Start one with `medserl demo`, or `medserl run EXPERIMENT.toml`.", columns),
            dim,
        ));
    }
    panel::put(&lines, Rect { height: area.height.saturating_sub(1), ..area }, buf);
    let keys = [("Enter", "open"), ("q", "quit"), ("↑↓", "choose")];
    let hints = keys.map(|(key, word)| vec![Span::styled(key, app.theme.style(Token::Key)), Span::raw(format!(" {word}"))]);
    let mut hints = cut::segments(hints.to_vec(), "  ", columns.saturating_sub(1));
    hints.spans.insert(0, Span::raw(" "));
    panel::put(&[hints], Rect { y: area.bottom().saturating_sub(1), height: 1.min(area.height), ..area }, buf);
}

/// How many of the columns fit beside the id.
fn fitting(columns: usize) -> &'static [Column] {
    let mut used = 2 + ID_COLUMNS;
    let n = COLUMNS
        .iter()
        .take_while(|(_, width, _)| {
            used += width + 1;
            used <= columns
        })
        .count();
    &COLUMNS[..n]
}

fn head(app: &RunsApp, columns: usize) -> Line<'static> {
    let mut text = cut::pad("  run", 2 + ID_COLUMNS);
    for (heading, width, _) in fitting(columns) {
        text.push(' ');
        text.push_str(&cut::pad(heading, *width));
    }
    Line::styled(cut::fit(text.trim_end(), columns), app.theme.style(Token::Dim))
}

fn row(app: &RunsApp, run: &RunSummary, chosen: bool, columns: usize) -> Line<'static> {
    let id = cut::pad(&cut::clean(&run.id), ID_COLUMNS.min(columns.saturating_sub(2)));
    let mut line = Line::from(vec![Span::raw(if chosen { "▸ " } else { "  " }), Span::styled(id, app.theme.style(Token::Title))]);
    match &run.broken {
        Some(reason) => {
            let reason = cut::fit(&format!("✗ unreadable: {}", cut::clean(reason)), columns.saturating_sub(3 + ID_COLUMNS));
            line.push_span(Span::styled(format!(" {reason}"), app.theme.style(Token::Fail)));
        }
        None => line.spans.extend(fitting(columns).iter().map(|(_, width, text)| {
            let (text, token) = text(app, run);
            Span::styled(format!(" {}", cut::pad(&text, *width)), app.theme.style(token))
        })),
    }
    if chosen { line.patch_style(app.theme.style(Token::Chosen)) } else { line }
}

/// A run that is neither ended nor held by a trainer has died.
fn state(run: &RunSummary) -> (String, Token) {
    match (run.state.as_str(), run.alive) {
        ("finished", _) => ("■ done".to_owned(), Token::Correct),
        ("failed", _) => ("✗ failed".to_owned(), Token::Fail),
        ("paused", true) => ("‖ paused".to_owned(), Token::Warn),
        (state, true) => (format!("● {}", cut::clean(state)), Token::Run),
        ("stopped", false) => ("■ stopped".to_owned(), Token::Dim),
        (_, false) => ("✗ died".to_owned(), Token::Fail),
    }
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => "just now".to_owned(),
        60..3600 => format!("{} m ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}
