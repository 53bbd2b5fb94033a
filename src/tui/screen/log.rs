//! The Log screen: one line an entry, the chosen one in full below where it was cut.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    attach::protocol::Level,
    task::Text,
    tui::{
        app::App,
        panel::{self, Frame},
        theme::Token,
        widget::{cut, number, wrap},
    },
};

/// Rows the chosen line takes in full at most.
const WHOLE_ROWS: usize = 4;
const SOURCE_COLUMNS: usize = 7;
const LEVEL_COLUMNS: usize = 8;

/// How many lines the screen shows at the present size.
pub fn visible(app: &App) -> usize {
    usize::from(panel::inner(super::body(app.area())).height).max(1)
}

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    if area.width < 4 || area.height < 3 {
        return;
    }
    let shown = app.logs.shown(&app.live);
    let n = shown.len();
    let least = ["all levels", "! WARN and worse", "✗ ERROR only"][app.logs.least.min(2)];
    let source = app.logs.source.map_or("all sources", |source| source);
    let place = match app.logs.chosen {
        None => "follows".to_owned(),
        Some(at) => format!("{} of {n}", at + 1),
    };
    let texts = Frame { left: format!("Log  {least}  {source}"), right: place, foot: foot(app, n) };
    let room = panel::frame_with(app, true, texts, area, buf);
    let columns = usize::from(room.width);
    if n == 0 {
        let text = if app.logs.least > 0 || app.logs.source.is_some() {
            "no such line (Esc shows all)"
        } else {
            "nothing was logged yet"
        };
        return panel::put(&[Line::styled(cut::fit(text, columns), app.theme.style(Token::Dim))], room, buf);
    }
    let chosen = app.logs.chosen.unwrap_or(n - 1).min(n - 1);
    let (whole, was_cut) = whole(app, shown[chosen].3, columns);
    let below = if was_cut && usize::from(room.height) > whole.len() + 4 { whole.len() + 1 } else { 0 };
    let rows = usize::from(room.height).saturating_sub(below).max(1);
    let top = match app.logs.chosen {
        None => n.saturating_sub(rows),
        Some(at) => (at + 1).saturating_sub(rows.div_ceil(2)).min(n.saturating_sub(rows)),
    };
    let lines: Vec<Line> = shown
        .iter()
        .enumerate()
        .skip(top)
        .take(rows)
        .map(|(at, entry)| line(app, *entry, Some(at) == app.logs.chosen, columns))
        .collect();
    panel::put(&lines, room, buf);
    if below > 0 {
        let place = Rect { y: room.bottom().saturating_sub(u16::try_from(below).unwrap_or(0)), height: 1, ..room };
        panel::put(&[Line::styled("─".repeat(columns), app.theme.style(Token::Border))], place, buf);
        panel::put(&whole, Rect { y: place.y + 1, height: room.bottom() - place.y - 1, ..room }, buf);
    }
}

/// The search, written or in force.
fn foot(app: &App, n: usize) -> String {
    if let Some(prompt) = &app.logs.prompt {
        return format!("/{}▏", cut::clean(&prompt.text()));
    }
    let sought = &app.logs.search;
    if sought.is_empty() { number::many(n, "line") } else { format!("/{}  n next · N before", cut::clean(sought)) }
}

/// The message wrapped, and whether a single line would cut it.
fn whole(app: &App, text: &Text, columns: usize) -> (Vec<Line<'static>>, bool) {
    let text = cut::clean(text.as_str());
    let was_cut = cut::width(&text) > columns.saturating_sub(lead(columns));
    let mut lines = wrap::plain(&text, app.theme.style(Token::Text), columns);
    lines.truncate(WHOLE_ROWS);
    (lines, was_cut)
}

/// Columns before the message: time, level, source, as far as there is room.
fn lead(columns: usize) -> usize {
    LEVEL_COLUMNS + time_columns(columns) + if columns >= 60 { SOURCE_COLUMNS } else { 0 }
}

/// With the date where there is room.
fn time_columns(columns: usize) -> usize {
    match columns {
        100.. => 15,
        50..100 => 9,
        _ => 0,
    }
}

fn line(
    app: &App,
    (level, source, unix_s, text): (&Level, &'static str, Option<i64>, &Text),
    chosen: bool,
    columns: usize,
) -> Line<'static> {
    let dim = app.theme.style(Token::Dim);
    let time = unix_s.map_or_else(String::new, number::clock);
    let time_room = time_columns(columns);
    let time = if time_room < 15 { time.split_once(' ').map_or(time.as_str(), |(_, clock)| clock) } else { time.as_str() };
    let (word, token) = match level {
        Level::Info => ("· info", Token::Dim),
        Level::Warn => ("! WARN", Token::Warn),
        Level::Error => ("✗ ERROR", Token::Fail),
    };
    let mut line = Line::default();
    if time_room > 0 {
        line.push_span(Span::styled(cut::pad(time, time_room), dim));
    }
    line.push_span(Span::styled(cut::pad(word, LEVEL_COLUMNS), app.theme.style(token)));
    if columns >= 60 {
        line.push_span(Span::styled(cut::pad(source, SOURCE_COLUMNS), dim));
    }
    let message = cut::fit(&cut::clean(text.as_str()), columns.saturating_sub(lead(columns)));
    found(app, &message, &mut line);
    if chosen { line.patch_style(app.theme.style(Token::Chosen)) } else { line }
}

/// Marks what is searched.
fn found(app: &App, message: &str, line: &mut Line<'static>) {
    let (text, mark) = (app.theme.style(Token::Text), app.theme.style(Token::ErrorMark));
    let lower = message.to_lowercase();
    // Case changes the length of a few letters: then nothing is marked, rather than the wrong place.
    let wanted = &app.logs.search;
    if wanted.is_empty() || lower.len() != message.len() {
        return line.push_span(Span::styled(message.to_owned(), text));
    }
    let mut at = 0;
    while let Some(found) = lower[at..].find(wanted.as_str()).map(|found| at + found) {
        let end = found + wanted.len();
        if !message.is_char_boundary(found) || !message.is_char_boundary(end) {
            break;
        }
        line.push_span(Span::styled(message[at..found].to_owned(), text));
        line.push_span(Span::styled(message[found..end].to_owned(), mark));
        at = end;
    }
    line.push_span(Span::styled(message[at..].to_owned(), text));
}
