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
