//! Word wrapping of styled runs, in one pass. ratatui's own wrapping paragraph is hundreds of times slower on long text.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::cut;

/// A run of text in one style.
pub type Run = (String, Style);

/// Wraps runs to `columns`; continuation lines are indented by `indent`. Line feeds in the text break lines.
pub fn wrap(runs: &[Run], columns: usize, indent: usize) -> Vec<Line<'static>> {
    let columns = columns.max(1);
    let indent = if indent * 2 > columns { 0 } else { indent };
    let mut page = Page { lines: vec![Line::default()], used: 0, columns, indent };
    let mut word: Vec<Run> = Vec::new();
    for (text, style) in runs {
        for piece in pieces(text) {
            match piece {
                "\n" => {
                    page.push_word(&mut word);
                    page.break_line(0);
                }
                blank if blank.starts_with(' ') => {
                    page.push_word(&mut word);
                    page.push_blank(blank, *style);
                }
                letters => word.push((letters.to_owned(), *style)),
            }
        }
    }
    page.push_word(&mut word);
    page.lines
}

/// Wraps text of one style.
pub fn plain(text: &str, style: Style, columns: usize) -> Vec<Line<'static>> {
    wrap(&[(text.to_owned(), style)], columns, 0)
}

struct Page {
    lines: Vec<Line<'static>>,
    used: usize,
    columns: usize,
    indent: usize,
}

impl Page {
    fn break_line(&mut self, indent: usize) {
        self.lines.push(Line::default());
        self.used = indent;
        if indent > 0 {
            self.add(" ".repeat(indent), Style::default());
        }
    }

    fn add(&mut self, text: String, style: Style) {
        let Some(line) = self.lines.last_mut() else { return };
        match line.spans.last_mut() {
            Some(last) if last.style == style => last.content.to_mut().push_str(&text),
            _ => line.spans.push(Span::styled(text, style)),
        }
    }

    /// Spaces at the end of a line vanish; a space keeps its style so that a crossed-out phrase stays one phrase.
    fn push_blank(&mut self, blank: &str, style: Style) {
        let at_start = self.used == 0 || self.used >= self.columns;
        if !at_start {
            let (kept, _) = cut::split_at_width(blank, self.columns - self.used);
            self.used += cut::width(kept);
            self.add(kept.to_owned(), style);
        }
    }

    fn push_word(&mut self, word: &mut Vec<Run>) {
        let word_width: usize = word.iter().map(|(text, _)| cut::width(text)).sum();
        if self.used > self.indent && self.used + word_width > self.columns {
            self.break_line(self.indent);
        }
        for (text, style) in word.drain(..) {
            self.push_piece(&text, style);
        }
    }

    /// A word longer than the line is cut at the edge.
    fn push_piece(&mut self, text: &str, style: Style) {
        let mut rest = text;
        while !rest.is_empty() {
            let (mut head, mut tail) = cut::split_at_width(rest, self.columns.saturating_sub(self.used));
            if head.is_empty() {
                let fresh = self.used <= self.indent;
                if !fresh {
                    self.break_line(self.indent);
                    continue;
                }
                // Not even one character fits a fresh line: take it anyway, the edge of the buffer clips it.
                let first = rest.chars().next().map_or(rest.len(), char::len_utf8);
                (head, tail) = rest.split_at(first);
            }
            self.used += cut::width(head);
            self.add(head.to_owned(), style);
            rest = tail;
        }
    }
}

/// Splits into line feeds, runs of spaces and runs of anything else.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match first {
            '\n' => 1,
            ' ' => rest.find(|c| c != ' ').unwrap_or(rest.len()),
            _ => rest.find([' ', '\n']).unwrap_or(rest.len()),
        };
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece)
    })
}
