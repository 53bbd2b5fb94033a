//! Making text fit: everything is measured in terminal columns, never in characters or bytes.

use ratatui::{
    style::Style,
    text::{Line, Span},
};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::task::Text;

/// Columns the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Sanitises text that did not arrive as [`Text`] and puts it on one line.
pub fn clean(raw: &str) -> String {
    Text::new(raw).as_str().replace('\n', " ")
}

/// Splits at the last character boundary that keeps the head within `columns`.
pub fn split_at_width(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// Shortens to `columns`, at a word boundary where one is near, and marks the cut with `…`.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let (head, _) = split_at_width(text, columns - 1);
    let word_end = head.rfind(' ').filter(|at| at * 2 >= head.len());
    format!("{}…", head[..word_end.unwrap_or(head.len())].trim_end())
}

/// Pads on the right (or cuts) to exactly `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let missing = columns.saturating_sub(width(&text));
    text + &" ".repeat(missing)
}

/// Pads on the left (or cuts) to exactly `columns`.
pub fn pad_left(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// Joins segments with `gap`; the ones that do not fit leave whole, from the right.
pub fn segments(parts: Vec<Vec<Span<'static>>>, gap: &str, columns: usize) -> Line<'static> {
    let mut line = Line::default();
    for (i, part) in parts.into_iter().filter(|p| !p.is_empty()).enumerate() {
        let part_width: usize = part.iter().map(|s| width(&s.content)).sum();
        let gap_width = if i == 0 { 0 } else { width(gap) };
        if line.width() + gap_width + part_width > columns {
            break;
        }
        if i > 0 {
            line.push_span(Span::raw(gap.to_owned()));
        }
        line.spans.extend(part);
    }
    line
}

/// The same, but the first that does not fit is cut where there is room for some of it, as the style of its first span.
pub fn fitted(parts: Vec<Vec<Span<'static>>>, gap: &str, columns: usize) -> Line<'static> {
    const LEAST: usize = 12;
    let n_whole = (0..parts.len()).take_while(|n| segments_width(&parts[..=*n], gap) <= columns).count();
    let next = parts.get(n_whole).cloned();
    let mut line = segments(parts.into_iter().take(n_whole).collect(), gap, columns);
    let taken = if n_whole == 0 { 0 } else { line.width() + width(gap) };
    if let Some(next) = next.filter(|_| columns >= taken + LEAST) {
        let text: String = next.iter().map(|span| span.content.as_ref()).collect();
        if n_whole > 0 {
            line.push_span(Span::raw(gap.to_owned()));
        }
        line.push_span(Span::styled(fit(&text, columns - taken), next.first().map(|span| span.style).unwrap_or_default()));
    }
    line
}

fn segments_width(parts: &[Vec<Span<'static>>], gap: &str) -> usize {
    let widths = parts.iter().map(|part| part.iter().map(|s| width(&s.content)).sum::<usize>());
    widths.sum::<usize>() + width(gap) * parts.len().saturating_sub(1)
}

/// Segments over as many lines as they need.
pub fn flow(parts: Vec<Vec<Span<'static>>>, gap: &str, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut rest = parts.as_slice();
    while !rest.is_empty() {
        let n = (1..=rest.len()).take_while(|n| segments_width(&rest[..*n], gap) <= columns).count().max(1);
        lines.push(segments(rest[..n].to_vec(), gap, columns));
        rest = &rest[n..];
    }
    lines
}

/// Between the keys of a hint line.
const GAP: &str = "  ";

/// A hint line: what does not fit leaves from the right, and the tail never does, since it is the way to everything else.
pub fn with_tail(parts: Vec<Vec<Span<'static>>>, tail: Vec<Vec<Span<'static>>>, columns: usize) -> Line<'static> {
    let tail = segments(tail, GAP, columns.saturating_sub(1));
    let taken = if tail.width() == 0 { 0 } else { tail.width() + width(GAP) };
    let mut line = segments(parts, GAP, columns.saturating_sub(1 + taken));
    if line.width() > 0 && taken > 0 {
        line.push_span(Span::raw(GAP));
    }
    line.spans.insert(0, Span::raw(" "));
    line.spans.extend(tail.spans);
    line
}

/// One-span segment.
pub fn part(text: impl Into<String>, style: Style) -> Vec<Span<'static>> {
    vec![Span::styled(text.into(), style)]
}
