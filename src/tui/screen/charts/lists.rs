//! The two lists that lie over the charts: runs to lay beside this one, and what each metric means.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Widget},
};

use super::title;
use crate::tui::{
    app::App,
    charts::{Picker, metric},
    panel,
    theme::Token,
    widget::{cut, number, wrap},
};

pub(super) fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    if let Some(picker) = &app.charts.picker {
        let (lines, at) = runs(app, picker, usize::from(area.width.saturating_sub(6)));
        let some = picker.runs.as_ref().is_some_and(|runs| !runs.is_empty());
        let keys = if some { "Space lays beside or takes away  ↑↓ choose  Esc done" } else { "Esc close" };
        over(app, "Compare with", keys, &lines, at, area, buf);
    } else if app.charts.list {
        let (lines, at) = metrics(app, usize::from(area.width.saturating_sub(6)));
        over(app, "Metrics", "↑↓ choose  Esc close", &lines, at, area, buf);
    }
}

fn runs(app: &App, picker: &Picker, columns: usize) -> (Vec<Line<'static>>, usize) {
    let dim = app.theme.style(Token::Dim);
    let Some(runs) = &picker.runs else { return (vec![Line::styled("looking for runs…", dim)], 0) };
    if runs.is_empty() {
        return (vec![Line::styled(cut::fit("there is no other run beside this one", columns), dim)], 0);
    }
    let line = |(i, run): (usize, &crate::store::RunSummary)| {
        let beside = app.charts.runs.iter().position(|there| there.dir == run.dir);
        let mark = beside.map_or("·", |at| super::LETTERS[at]);
        let facts = run.broken.as_ref().map_or_else(
            || {
                format!(
                    "{:>5} of {:<5} reward {}  {}",
                    run.step,
                    run.steps_total,
                    number::signed(run.reward),
                    cut::clean(&run.state)
                )
            },
            |why| format!("unreadable: {}", cut::clean(why)),
        );
        let text = cut::fit(&format!("{mark} {} {facts}", cut::pad(&cut::clean(&run.id), 24)), columns);
        let line = Line::styled(text, app.theme.style(Token::Text));
        if i == picker.at { line.patch_style(app.theme.style(Token::Chosen)) } else { line }
    };
    (runs.iter().enumerate().map(line).collect(), picker.at)
}

/// Made from the registry alone.
fn metrics(app: &App, columns: usize) -> (Vec<Line<'static>>, usize) {
    let shown = app.charts.shown();
    let widest = shown.iter().map(|key| cut::width(key)).max().unwrap_or(0);
    let line = |(i, key): (usize, &&str)| {
        let newest = app.charts.own().and_then(|run| run.series.get(*key)?.raw.newest());
        let value = cut::pad_left(&newest.map_or_else(|| "–".to_owned(), number::compact), 8);
        let (unit, meaning) = metric(key).map_or(("", "unknown to this version"), |metric| (metric.unit, metric.meaning));
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        let name = cut::pad(&title(&cut::clean(key)), widest);
        let room = columns.saturating_sub(widest + 11);
        let (whole, chosen) = (format!("{meaning}{unit}"), i == app.charts.chosen);
        let line = Line::from(vec![
            Span::styled(name, app.theme.style(Token::Title)),
            Span::styled(format!(" {value}  "), app.theme.style(Token::Text)),
            Span::styled(cut::fit(&whole, room), app.theme.style(Token::Dim)),
        ]);
        if !chosen {
            return vec![line];
        }
        // What is cut is told below the row.
        let rest =
            if cut::width(&whole) > room { wrap::plain(&whole, app.theme.style(Token::Text), columns) } else { Vec::new() };
        [vec![line.patch_style(app.theme.style(Token::Chosen))], rest].concat()
    };
    (shown.iter().enumerate().flat_map(line).collect(), app.charts.chosen)
}

/// A box in the middle; the chosen line stays in it.
fn over(app: &App, name: &str, foot: &str, lines: &[Line], at: usize, area: Rect, buf: &mut Buffer) {
    let want = |n: usize, extra: u16| u16::try_from(n).unwrap_or(u16::MAX).saturating_add(extra);
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(cut::width(foot) + 2).max(30);
    let (width, height) = (want(widest, 4).min(area.width), want(lines.len(), 2).min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buf);
    if width < 8 || height < 3 {
        return panel::put(lines, place, buf);
    }
    let style = app.theme.style(Token::Focus);
    let mut block = Block::bordered().border_set(border::THICK).border_style(style);
    block = block.title_top(Line::styled(format!(" {name} "), style));
    if cut::width(foot) + 4 <= usize::from(width) {
        block = block.title_bottom(Line::styled(format!(" {foot} "), app.theme.style(Token::Dim)).right_aligned());
    }
    block.render(place, buf);
    let room = panel::inner(place);
    let top = (at + 1).saturating_sub(room.height.into());
    panel::put(&lines[top.min(lines.len())..], room, buf);
}
