//! The box that lies over a screen: lines, rows of which one is chosen, more lines, keys on the lower border. Knows no screen.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Widget},
};

use crate::tui::{
    keymap::Chord,
    panel,
    prompt::Prompt,
    theme::{Theme, Token},
    widget::cut,
};

/// The reader's place in what is open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Menu {
    /// What is being typed.
    pub prompt: Option<Prompt>,
    pub chosen: usize,
    /// What is wrong with what was typed.
    pub problem: Option<String>,
}

impl Menu {
    /// A menu whose rows are found by typing.
    pub fn searching() -> Menu {
        Menu { prompt: Some(Prompt::default()), ..Menu::default() }
    }

    /// What is typed, in lower case.
    pub fn typed(&self) -> String {
        self.prompt.as_ref().map(Prompt::text).unwrap_or_default().to_lowercase()
    }

    /// Moves the choice among `n` rows; whether the key was for that.
    pub fn walk(&mut self, chord: Chord, n: usize) -> bool {
        let last = n.saturating_sub(1);
        let chosen = self.chosen.min(last);
        let to = match () {
            () if is_any(chord, &["down", "ctrl-n"]) => chosen + 1,
            () if is_any(chord, &["up", "ctrl-p"]) => chosen.saturating_sub(1),
            () if is_any(chord, &["pagedown"]) => chosen + 10,
            () if is_any(chord, &["pageup"]) => chosen.saturating_sub(10),
            () => return false,
        };
        (self.chosen, self.problem) = (to.min(last), None);
        true
    }
}

/// Whether every typed word occurs in a row's text.
pub fn finds(typed: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    typed.split_whitespace().all(|word| text.contains(word))
}

pub fn is_any(chord: Chord, keys: &[&str]) -> bool {
    keys.iter().any(|key| Chord::parse(key) == Some(chord))
}

/// The room for the lines of a sheet over `area`.
pub fn columns(area: Rect) -> usize {
    usize::from(area.width.saturating_sub(4)).min(MOST_COLUMNS)
}

/// Wider lines are hard to read.
const MOST_COLUMNS: usize = 96;

/// What an overlay shows: lines, below them rows of which one can be chosen, below these more lines.
#[derive(Default)]
pub struct Sheet {
    pub title: String,
    /// Keys and what they do, on the lower border.
    pub keys: Vec<(&'static str, &'static str)>,
    pub columns: usize,
    pub head: Vec<Line<'static>>,
    pub rows: Vec<Line<'static>>,
    pub tail: Vec<Line<'static>>,
}

impl Sheet {
    /// Where the box is, the first row on show, and how many rows show.
    pub fn geometry(&self, chosen: usize, area: Rect) -> (Rect, usize, usize) {
        let want = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let width = want(self.columns).saturating_add(4).min(area.width);
        let n_lines = self.head.len() + self.rows.len() + self.tail.len();
        let height = want(n_lines).saturating_add(2).min(area.height);
        let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
        let room = usize::from(height.saturating_sub(2));
        let n_visible = room.saturating_sub(self.head.len() + self.tail.len()).min(self.rows.len());
        let chosen = chosen.min(self.rows.len().saturating_sub(1));
        // The choice stays in view, with one row after it where there is one.
        let top = (chosen + 2).saturating_sub(n_visible.max(1)).min(self.rows.len().saturating_sub(n_visible));
        (place, top.min(chosen), n_visible)
    }

    /// Draws it in the middle of `area`.
    pub fn draw(self, theme: &Theme, chosen: usize, area: Rect, buf: &mut Buffer) {
        let (place, top, n_visible) = self.geometry(chosen, area);
        let n_rows = self.rows.len();
        let mut lines = self.head;
        lines.extend(self.rows.into_iter().skip(top).take(n_visible));
        lines.extend(self.tail);
        Clear.render(place, buf);
        if place.width < 8 || place.height < 3 {
            return panel::put(&lines, place, buf);
        }
        let style = theme.style(Token::Focus);
        let room = usize::from(place.width.saturating_sub(4));
        let mut block = Block::bordered().border_set(border::THICK).border_style(style);
        let title = cut::fit(&self.title, room.saturating_sub(2));
        let count = if n_visible < n_rows { format!("{} of {n_rows}", chosen.min(n_rows - 1) + 1) } else { String::new() };
        let with_count = cut::width(&title) + cut::width(&count) + 4 <= room;
        block = block.title_top(Line::styled(format!(" {title} "), style));
        if !count.is_empty() && with_count {
            block = block.title_top(Line::styled(format!(" {count} "), theme.style(Token::Dim)).right_aligned());
        }
        let foot: Vec<Vec<Span>> = self
            .keys
            .iter()
            .map(|(key, word)| {
                vec![Span::styled(*key, theme.style(Token::Key)), Span::styled(format!(" {word}"), theme.style(Token::Text))]
            })
            .collect();
        let mut foot = cut::segments(foot, "  ", room.saturating_sub(2));
        if foot.width() > 0 {
            foot.spans.insert(0, Span::raw(" "));
            foot.push_span(Span::raw(" "));
            block = block.title_bottom(foot.right_aligned());
        }
        block.render(place, buf);
        panel::put(&lines, panel::inner(place), buf);
    }
}

/// A row that can be chosen: marked by a glyph and by style.
pub fn row(theme: &Theme, chosen: bool, mut spans: Vec<Span<'static>>, columns: usize) -> Line<'static> {
    spans.insert(0, Span::raw(if chosen { "▸ " } else { "  " }));
    let mut line = Line::from(spans);
    if chosen {
        let gap = columns.saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(gap)));
        line = line.patch_style(theme.style(Token::Chosen));
    }
    line
}

/// The line being typed, its cursor shown; the end stays in view.
pub fn typed(theme: &Theme, lead: &str, prompt: &Prompt, columns: usize) -> Line<'static> {
    let room = columns.saturating_sub(cut::width(lead) + 1);
    let text: Vec<char> = prompt.text().chars().collect();
    let (before, after) = text.split_at(prompt.at().min(text.len()));
    let (before, after): (String, String) = (before.iter().collect(), after.iter().collect());
    let mut shown = before.as_str();
    while cut::width(shown) > room {
        shown = &shown[shown.chars().next().map_or(0, char::len_utf8)..];
    }
    let rest = cut::split_at_width(&after, room.saturating_sub(cut::width(shown))).0.to_owned();
    Line::from(vec![
        Span::styled(lead.to_owned(), theme.style(Token::Key)),
        Span::raw(cut::clean(shown)),
        Span::styled("▏", theme.style(Token::Key)),
        Span::raw(cut::clean(&rest)),
    ])
}
