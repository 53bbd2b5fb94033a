//! The screen of a terminal too small for panels: the facts as text, most important first. All keys work.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use crate::tui::{
    app::App,
    panel::{self, doctor, quadrants, status},
    theme::Token,
    widget::cut,
};

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let mut lines: Vec<Line> = Vec::new();
    let mut facts = status::facts(app);
    // Facts flow over as many lines as they need, each line whole.
    while !facts.is_empty() && lines.len() < 3 {
        let line = cut::segments(facts.clone(), "  ", columns);
        let n_taken = taken(&facts, columns).max(1);
        let nothing_fits = line.width() == 0;
        let first = facts[0].iter().map(|s| s.content.as_ref()).collect::<String>();
        lines.push(if nothing_fits { Line::raw(cut::fit(&first, columns)) } else { line });
        facts.drain(..n_taken);
    }
    lines.push(quadrants::strip(app, columns));
    lines.retain(|line| line.width() > 0);
    let rows = usize::from(area.height);
    let with_hints = rows >= 4;
    let text_rows = rows.saturating_sub(lines.len() + usize::from(with_hints) * 2);
    lines.extend(tail(app, columns, text_rows));
    lines.truncate(rows);
    if with_hints {
        lines.truncate(rows - 1);
        let size = format!("{}x{} is small: 80x24 shows more", area.width, area.height);
        if lines.len() + 1 < rows && cut::width(&size) <= columns {
            lines.resize(rows - 2, Line::default());
            lines.push(Line::styled(size, app.theme.style(Token::Dim)));
        }
        lines.resize(rows - 1, Line::default());
        lines.push(status::hints(app, columns));
    }
    panel::put(&lines, area, buf);
}

/// How many segments the first line took.
fn taken(facts: &[Vec<ratatui::text::Span<'static>>], columns: usize) -> usize {
    (1..=facts.len())
        .take_while(|n| facts[..*n].iter().flatten().map(|s| cut::width(&s.content)).sum::<usize>() + 2 * (n - 1) <= columns)
        .count()
}

/// The end of the completion on show, and its verdict.
fn tail(app: &App, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let Some(stream) = app.follow.stream(&app.live).filter(|_| rows > 0 && columns >= 16) else { return Vec::new() };
    let mut lines = doctor::text_lines(app, columns);
    lines.extend(doctor::verdict_lines(app, stream, columns));
    let skip = lines.len().saturating_sub(rows);
    lines.into_iter().skip(skip).collect()
}
