//! The Charts screen: a grid of small charts under one axis, one crosshair through all of them; or one chart alone.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use crate::tui::{
    app::App,
    charts::{Axis, Charts, Grid, RunCurves, Series, metric, title},
    history::MarkKind,
    panel::{self, Frame, status},
    size::Size,
    theme::Token,
    widget::{
        chart::{self, Chart, Curve, Dash, Scale, Sign},
        cut, number, wrap,
    },
};

mod lists;

/// The least room of a chart in the grid, and the least width of one alone.
const CELL: (u16, u16) = (38, 9);
/// Columns that the numbers and the border of a chart take, about.
const MARGIN: u16 = 12;
/// Names of the runs on show.
const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// The grid for the present size and the charts there are.
pub fn grid(app: &App) -> Grid {
    let body = super::body(app.area());
    let (width, height) = (body.width, body.height.saturating_sub(2));
    let n = app.charts.shown().len().max(1);
    if app.zoomed || Size::of(app.area()) == Size::Tiny {
        return Grid { columns: 1, rows: 1, plot_columns: usize::from(width.saturating_sub(MARGIN)) };
    }
    let rows = usize::from((height / CELL.1).max(1)).min(n);
    let columns = usize::from((width / CELL.0).max(1)).min(n.div_ceil(rows));
    let each = usize::from(width) / columns;
    Grid { columns, rows: rows.min(n.div_ceil(columns)), plot_columns: each.saturating_sub(MARGIN.into()) }
}

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let line = |y: u16| Rect { y, height: 1.min(area.height), ..area };
    panel::put(&[head(app, columns)], line(area.y), buf);
    let place = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
    draw_grid(app, place, buf);
    panel::put(&[foot(app, columns)], line(area.bottom().saturating_sub(1)), buf);
    lists::draw(app, place, buf);
}

/// Without frames: the chosen chart, its name and value above it.
pub fn draw_tiny(app: &App, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let hints = u16::from(area.height >= 4);
    let key = app.charts.chosen_key();
    let first = match (&app.charts.prompt, key) {
        (Some(_), _) => head(app, columns),
        (None, Some(key)) => {
            let text = format!("{} {}", title(key), value_text(&app.charts, key).unwrap_or_default());
            Line::styled(cut::fit(&text, columns), app.theme.style(Token::Title))
        }
        (None, None) => Line::styled(cut::fit(&nothing(app), columns), app.theme.style(Token::Dim)),
    };
    panel::put(&[first], Rect { height: 1.min(area.height), ..area }, buf);
    let place = Rect { y: area.y + 1.min(area.height), height: area.height.saturating_sub(1 + hints), ..area };
    if let Some(key) = key {
        draw_chart(app, key, place, buf);
    }
    if hints > 0 {
        panel::put(&[status::hints(app, columns)], Rect { y: area.bottom() - 1, height: 1, ..area }, buf);
    }
    lists::draw(app, place, buf);
}

fn nothing(app: &App) -> String {
    match &app.charts.failed {
        Some(why) => format!("the store cannot be read: {}", cut::clean(why)),
        None if app.charts.runs.is_empty() => "reading the store…".to_owned(),
        None if app.charts.extent().is_none() => "no step is committed yet: charts come here when one is".to_owned(),
        None => "no metric has such a name (Esc clears the filter)".to_owned(),
    }
}

/// How the charts are drawn; while a filter is written, the filter.
fn head(app: &App, columns: usize) -> Line<'static> {
    let charts = &app.charts;
    let [dim, text, key] = [Token::Dim, Token::Text, Token::Key].map(|token| app.theme.style(token));
    if let Some(prompt) = &charts.prompt {
        let mut line = Line::styled(" / ", key);
        let letters: Vec<char> = cut::clean(&prompt.text()).chars().chain([' ']).collect();
        let first = prompt.at().saturating_sub(columns.saturating_sub(6));
        for (i, letter) in letters.iter().enumerate().skip(first).take(columns.saturating_sub(4)) {
            let style = if i == prompt.at() { app.theme.style(Token::Chosen) } else { text };
            line.push_span(Span::styled(letter.to_string(), style));
        }
        return line;
    }
    let smooth =
        if charts.weight.value() == 0.0 { "raw".to_owned() } else { format!("average {} over raw", charts.weight.value()) };
    let mut parts = vec![cut::part(format!(" {smooth}"), text)];
    parts.push(cut::part(steps_text(charts), if charts.view.span.is_some() { text } else { dim }));
    if charts.log {
        parts.push(cut::part("log values", text));
    }
    if !charts.filter.is_empty() {
        parts.push(cut::part(format!("/{}", cut::clean(&charts.filter)), text));
    }
    if charts.runs.len() > 1 {
        for (i, run) in charts.runs.iter().enumerate() {
            let name = format!("{}{} {}", LETTERS[i], sample(i), cut::clean(&run.id));
            parts.push(cut::part(name, style_of(app, i)));
        }
    }
    if charts.loading {
        parts.push(cut::part("reading…", dim));
    }
    cut::segments(parts, "  ", columns)
}

/// A piece of the line of run `index`.
fn sample(index: usize) -> &'static str {
    match Dash::of(index) {
        Dash::Solid => "⠤⠤",
        Dash::Dotted => "⠄⠄",
        Dash::Dashed => "⠤⠠",
        Dash::Sparse => "⠄ ",
    }
}

fn steps_text(charts: &Charts) -> String {
    let Some((start, end)) = charts.range() else { return String::new() };
    let follows = if charts.view.end.is_none() { ", follows" } else { "" };
    format!("steps {:.0}–{:.0}{follows}", start.max(0.0), end)
}

fn style_of(app: &App, index: usize) -> Style {
    app.theme.style([Token::Bar, Token::SeriesB, Token::SeriesC, Token::SeriesD][index % 4])
}

fn draw_grid(app: &App, area: Rect, buf: &mut Buffer) {
    let shown = app.charts.shown();
    if shown.is_empty() {
        let lines = wrap::plain(&nothing(app), app.theme.style(Token::Dim), area.width.saturating_sub(2).max(1).into());
        return panel::put(&lines, Rect { x: area.x + 1, ..area }, buf);
    }
    let chosen = app.charts.chosen.min(shown.len() - 1);
    if app.zoomed {
        return draw_framed(app, shown[chosen], true, area, buf);
    }
    for (i, place) in cells(app, area, chosen, shown.len()) {
        draw_framed(app, shown[i], i == chosen, place, buf);
    }
}

/// The charts on the screen and their places; whole rows scroll, so that the chosen one is among them.
fn cells(app: &App, area: Rect, chosen: usize, n: usize) -> Vec<(usize, Rect)> {
    let grid = grid(app);
    let first = (chosen / grid.columns + 1).saturating_sub(grid.rows) * grid.columns;
    let edge = |length: u16, n: usize, i: usize| u16::try_from(usize::from(length) * i / n).unwrap_or(length);
    let cell = |i: usize| {
        let (column, row) = ((i - first) % grid.columns, (i - first) / grid.columns);
        let (x, right) = (edge(area.width, grid.columns, column), edge(area.width, grid.columns, column + 1));
        let (y, bottom) = (edge(area.height, grid.rows, row), edge(area.height, grid.rows, row + 1));
        (i, Rect { x: area.x + x, y: area.y + y, width: right - x, height: bottom - y })
    };
    (first..n.min(first + grid.columns * grid.rows)).map(cell).collect()
}

/// The chart under a place of the screen.
pub fn chart_at(app: &App, column: u16, row: u16) -> Option<usize> {
    let body = super::body(app.area());
    let area = Rect { y: body.y + 1, height: body.height.saturating_sub(2), ..body };
    let n = app.charts.shown().len();
    let chosen = app.charts.chosen.min(n.checked_sub(1)?);
    if Size::of(app.area()) == Size::Tiny || !area.contains((column, row).into()) {
        return None;
    }
    if app.zoomed {
        return Some(chosen);
    }
    cells(app, area, chosen, n).into_iter().find(|(_, place)| place.contains((column, row).into())).map(|(i, _)| i)
}

fn draw_framed(app: &App, key: &str, chosen: bool, area: Rect, buf: &mut Buffer) {
    if area.width < 8 || area.height < 4 {
        return;
    }
    let right = value_text(&app.charts, key).unwrap_or_default();
    let n = app.charts.shown().len();
    let place = if chosen { format!("{} of {n}", app.charts.chosen.min(n.saturating_sub(1)) + 1) } else { String::new() };
    let texts = Frame { left: cut::clean(&title(key)), right, foot: place };
    let room = panel::frame_with(app, chosen, texts, area, buf);
    draw_chart(app, key, room, buf);
    if app.zoomed {
        draw_legend(app, key, room, buf);
    }
}

/// The smoothed value where the crosshair is, else the newest, with its unit.
fn value_text(charts: &Charts, key: &str) -> Option<String> {
    let series = charts.own()?.series.get(key)?;
    let (at, value) = value_at(charts, series)?;
    let unit = metric(key).map_or("", |metric| metric.unit);
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let place = if charts.cursor.is_some() { format!(" @{at:.0}") } else { String::new() };
    Some(format!("{}{unit}{place}", number::compact(value)))
}

/// Step and smoothed value under the crosshair, else of the newest step.
fn value_at(charts: &Charts, series: &Series) -> Option<(f64, f64)> {
    let points = drawn(charts, series);
    match charts.cursor {
        Some(cursor) => points.nearest(cursor),
        None => points.last(),
    }
}

fn drawn<'a>(charts: &Charts, series: &'a Series) -> &'a crate::tui::widget::pyramid::Pyramid {
    if charts.weight.value() == 0.0 { &series.raw } else { &series.smooth }
}

/// The raw series dim, the smoothed ones over it, the reader's own run last, on top.
fn draw_chart(app: &App, key: &str, room: Rect, buf: &mut Buffer) {
    let charts = &app.charts;
    let Some(range) = charts.range() else { return };
    let mut curves = Vec::new();
    let raw = charts.weight.value() != 0.0;
    if let Some(own) = charts.own().and_then(|run| run.series.get(key)).filter(|_| raw) {
        curves.push(Curve { points: &own.raw, style: app.theme.style(Token::Dim), dash: Dash::Solid });
    }
    for (i, run) in charts.runs.iter().enumerate().rev() {
        if let Some(series) = run.series.get(key) {
            curves.push(Curve { points: drawn(charts, series), style: style_of(app, i), dash: Dash::of(i) });
        }
    }
    let mut spans = curves.iter().map(|curve| {
        let (from, to) = (curve.points.index(range.0), curve.points.index(range.1.next_up()));
        curve.points.extremes(from, to)
    });
    let Some(mut span) = spans.next() else { return };
    spans.for_each(|other| span.merge(&other));
    let signs = charts.own().map_or_else(Vec::new, |own| signs(app, own, range));
    chart::draw(
        &Chart {
            curves: &curves,
            x: range,
            scale: Scale::of(span.low, span.high, charts.log),
            signs: &signs,
            cursor: charts.cursor,
            labels: &number::compact,
            x_label: &|x| x_label(charts, x),
            axis: app.theme.style(Token::Dim),
            odd: app.theme.style(Token::Fail),
            cursor_style: app.theme.style(Token::Key),
        },
        room,
        buf,
    );
}

fn x_label(charts: &Charts, x: f64) -> String {
    match charts.axis {
        Axis::Step => format!("{x:.0}"),
        Axis::Clock => charts.own().and_then(|run| run.seconds_at(x)).map_or_else(|| format!("{x:.0}"), number::seconds),
    }
}

/// Alarms last: they may hide what shares their column.
fn signs(app: &App, run: &RunCurves, range: (f64, f64)) -> Vec<Sign> {
    let within = run.marks.iter().filter(|mark| (range.0..=range.1).contains(&f64::from(mark.step)));
    let mut signs: Vec<(u8, Sign)> = within
        .map(|mark| {
            let (rank, glyph, token) = glyph(mark.kind);
            (rank, Sign { x: mark.step.into(), glyph, style: app.theme.style(token) })
        })
        .collect();
    signs.sort_by_key(|(rank, _)| *rank);
    signs.into_iter().map(|(_, sign)| sign).collect()
}

fn glyph(kind: MarkKind) -> (u8, &'static str, Token) {
    match kind {
        MarkKind::Event => (0, "•", Token::Text),
        MarkKind::Checkpoint => (1, "◆", Token::Key),
        MarkKind::Alarm => (2, "▲", Token::Warn),
    }
}

/// In the corner of a chart alone: every run's value under the crosshair, smoothed and raw.
fn draw_legend(app: &App, key: &str, room: Rect, buf: &mut Buffer) {
    let charts = &app.charts;
    if charts.runs.len() < 2 && charts.cursor.is_none() {
        return;
    }
    let lines: Vec<Line> = charts
        .runs
        .iter()
        .enumerate()
        .filter_map(|(i, run)| {
            let series = run.series.get(key)?;
            let (at, smooth) = value_at(charts, series)?;
            let raw = charts.cursor.map_or_else(|| series.raw.last(), |cursor| series.raw.nearest(cursor))?.1;
            let text = format!(
                "{} {} step {at:.0}: {} (raw {})",
                LETTERS[i],
                cut::clean(&run.id),
                number::compact(smooth),
                number::compact(raw)
            );
            Some(Line::styled(text, style_of(app, i)))
        })
        .collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0);
    let Ok(columns) = u16::try_from(width) else { return };
    if columns + 12 > room.width || usize::from(room.height) < lines.len() + 4 {
        return;
    }
    // Away from where the reader looks.
    let range = charts.range().unwrap_or((0.0, 1.0));
    let late = charts.cursor.is_some_and(|cursor| cursor > f64::midpoint(range.0, range.1));
    let x = if late || charts.cursor.is_none() { room.x + 10 } else { room.right() - columns };
    panel::put(&lines, Rect { x, width: columns, ..room }, buf);
}

/// What the chosen metric is, and what stands under the crosshair.
fn foot(app: &App, columns: usize) -> Line<'static> {
    let charts = &app.charts;
    let [dim, strong] = [Token::Dim, Token::Title].map(|token| app.theme.style(token));
    let Some(key) = charts.chosen_key() else { return Line::default() };
    let mut parts = Vec::new();
    if let Some(cursor) = charts.cursor {
        let clock = charts
            .own()
            .and_then(|run| run.seconds_at(cursor))
            .map_or_else(String::new, |s| format!(" · {}", number::seconds(s)));
        parts.push(cut::part(format!(" step {cursor:.0}{clock}"), strong));
        if let Some(series) = charts.own().and_then(|run| run.series.get(key)) {
            let raw = series.raw.nearest(cursor).map_or_else(|| "–".to_owned(), |(_, value)| number::compact(value));
            parts.push(cut::part(format!("{} raw {raw}", title(key)), strong));
        }
        for mark in charts.marks_at(cursor) {
            let (_, glyph, token) = glyph(mark.kind);
            parts.push(cut::part(format!("{glyph} {}", cut::clean(&mark.text)), app.theme.style(token)));
        }
    }
    let meaning = metric(key).map_or("a metric that this version of the program does not know", |metric| metric.meaning);
    let lead = if parts.is_empty() { " " } else { "" };
    parts.push(cut::part(format!("{lead}{}: {meaning}", title(key)), dim));
    cut::fitted(parts, "   ", columns)
}
