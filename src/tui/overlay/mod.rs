//! What lies over the screen: help that is also the palette of commands, dialogs, alerts, breakpoints, knobs.
//! Nothing that harms a run answers to Enter, nor to the key that opened the dialog.

pub mod alerts;
pub mod breakpoints;
pub mod choices;
pub mod knobs;
pub mod over;
pub mod palette;

use ratatui::{
    buffer::Buffer,
    crossterm::event::KeyEvent,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Widget},
};

use super::{
    app::{App, Effect},
    keymap::Chord,
    panel,
    prompt::Prompt,
    theme::Token,
    widget::cut,
};

/// Which overlay is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Every action and command: typing searches, Enter runs.
    Help,
    Leave,
    /// Whether to give up what the step has written so far.
    Abort,
    Alerts,
    Breakpoints,
    Knobs,
    /// What happened while the reader was away.
    Away,
    /// The run failed or its trainer died.
    Over,
}

impl Overlay {
    pub const ALL: [Overlay; 8] = [
        Overlay::Help,
        Overlay::Leave,
        Overlay::Abort,
        Overlay::Alerts,
        Overlay::Breakpoints,
        Overlay::Knobs,
        Overlay::Away,
        Overlay::Over,
    ];
}

/// The reader's place in the open overlay.
#[derive(Clone, Debug, Default)]
pub struct Menu {
    /// What is being typed.
    pub prompt: Option<Prompt>,
    pub chosen: usize,
    /// What is wrong with what was typed.
    pub problem: Option<String>,
}

/// Opens an overlay at its beginning.
pub fn open(app: &mut App, overlay: Overlay) {
    app.menu = Menu::default();
    match overlay {
        Overlay::Help => app.menu.prompt = Some(Prompt::default()),
        Overlay::Alerts => app.read_alerts(),
        _ => {}
    }
    (app.overlay, app.dirty) = (Some(overlay), true);
}

/// Takes a key while `overlay` is open.
pub fn key(app: &mut App, overlay: Overlay, key: KeyEvent) -> Option<Effect> {
    let chord = Chord::of(key)?;
    app.dirty = true;
    match overlay {
        Overlay::Help => palette::key(app, key, chord),
        Overlay::Leave => choices::key(app, choices::LEAVE, chord),
        Overlay::Abort => choices::key(app, choices::ABORT, chord),
        Overlay::Alerts => alerts::key(app, chord),
        Overlay::Breakpoints => breakpoints::key(app, key, chord),
        Overlay::Knobs => knobs::key(app, key, chord),
        Overlay::Away => {
            if is_any(chord, &["esc", "enter", "q", "space", "ctrl-c"]) {
                close(app);
            }
            None
        }
        Overlay::Over => over::key(app, chord),
    }
}

/// Closes what is open.
pub fn close(app: &mut App) {
    (app.overlay, app.menu, app.dirty) = (None, Menu::default(), true);
}

fn is_any(chord: Chord, keys: &[&str]) -> bool {
    keys.iter().any(|key| Chord::parse(key) == Some(chord))
}

/// Moves the choice among `n` rows; whether the key was for that.
fn walk(app: &mut App, chord: Chord, n: usize) -> bool {
    let last = n.saturating_sub(1);
    let chosen = app.menu.chosen.min(last);
    let to = match () {
        () if is_any(chord, &["down", "ctrl-n"]) => chosen + 1,
        () if is_any(chord, &["up", "ctrl-p"]) => chosen.saturating_sub(1),
        () if is_any(chord, &["pagedown"]) => chosen + 10,
        () if is_any(chord, &["pageup"]) => chosen.saturating_sub(10),
        () => return false,
    };
    (app.menu.chosen, app.menu.problem) = (to.min(last), None);
    true
}

/// Draws the open overlay, if any, in the middle of `area`.
pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let Some(overlay) = app.overlay else { return };
    let Some(sheet) = sheet(app, overlay, area) else { return };
    sheet.draw(app, area, buf);
}

fn sheet(app: &App, overlay: Overlay, area: Rect) -> Option<Sheet> {
    let columns = usize::from(area.width.saturating_sub(4)).min(MOST_COLUMNS);
    Some(match overlay {
        Overlay::Help => palette::sheet(app, columns),
        Overlay::Leave => choices::sheet(app, choices::LEAVE, columns),
        Overlay::Abort => choices::sheet(app, choices::ABORT, columns),
        Overlay::Alerts => alerts::sheet(app, columns),
        Overlay::Breakpoints => breakpoints::sheet(app, columns),
        Overlay::Knobs => knobs::sheet(app, columns),
        Overlay::Away => {
            let (away, columns) = (app.away.as_ref()?, columns.saturating_sub(4).min(74));
            let lines = away.lines(&app.theme, columns);
            Sheet { title: away.title(), keys: vec![("Esc", "close")], columns, head: lines, ..Sheet::default() }
        }
        Overlay::Over => over::sheet(app, columns),
    })
}

/// The row of the open list at a place on the screen.
pub fn row_at(app: &App, column: u16, row: u16) -> Option<usize> {
    let area = app.area();
    let sheet = sheet(app, app.overlay?, area)?;
    let (place, top, n_visible) = sheet.geometry(app, area);
    let first = place.y + 1 + u16::try_from(sheet.head.len()).ok()?;
    let inside = place.contains((column, row).into()) && row >= first && usize::from(row - first) < n_visible;
    let at = top + usize::from(row.checked_sub(first)?);
    (inside && at < sheet.rows.len()).then_some(at)
}

/// Wider lines are hard to read.
const MOST_COLUMNS: usize = 96;

/// What an overlay shows: lines, below them rows of which one can be chosen, below these more lines.
#[derive(Default)]
struct Sheet {
    title: String,
    /// Keys and what they do, on the lower border.
    keys: Vec<(&'static str, &'static str)>,
    columns: usize,
    head: Vec<Line<'static>>,
    rows: Vec<Line<'static>>,
    tail: Vec<Line<'static>>,
}

impl Sheet {
    /// Where the box is, the first row on show, and how many rows show.
    fn geometry(&self, app: &App, area: Rect) -> (Rect, usize, usize) {
        let want = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let width = want(self.columns).saturating_add(4).min(area.width);
        let n_lines = self.head.len() + self.rows.len() + self.tail.len();
        let height = want(n_lines).saturating_add(2).min(area.height);
        let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
        let room = usize::from(height.saturating_sub(2));
        let n_visible = room.saturating_sub(self.head.len() + self.tail.len()).min(self.rows.len());
        let chosen = app.menu.chosen.min(self.rows.len().saturating_sub(1));
        // The choice stays in view, with one row after it where there is one.
        let top = (chosen + 2).saturating_sub(n_visible.max(1)).min(self.rows.len().saturating_sub(n_visible));
        (place, top.min(chosen), n_visible)
    }

    fn draw(self, app: &App, area: Rect, buf: &mut Buffer) {
        let (place, top, n_visible) = self.geometry(app, area);
        let n_rows = self.rows.len();
        let mut lines = self.head;
        lines.extend(self.rows.into_iter().skip(top).take(n_visible));
        lines.extend(self.tail);
        Clear.render(place, buf);
        if place.width < 8 || place.height < 3 {
            return panel::put(&lines, place, buf);
        }
        let style = app.theme.style(Token::Focus);
        let room = usize::from(place.width.saturating_sub(4));
        let mut block = Block::bordered().border_set(border::THICK).border_style(style);
        let title = cut::fit(&self.title, room.saturating_sub(2));
        let count =
            if n_visible < n_rows { format!("{} of {n_rows}", app.menu.chosen.min(n_rows - 1) + 1) } else { String::new() };
        let with_count = cut::width(&title) + cut::width(&count) + 4 <= room;
        block = block.title_top(Line::styled(format!(" {title} "), style));
        if !count.is_empty() && with_count {
            block = block.title_top(Line::styled(format!(" {count} "), app.theme.style(Token::Dim)).right_aligned());
        }
        let foot: Vec<Vec<Span>> = self
            .keys
            .iter()
            .map(|(key, word)| {
                vec![
                    Span::styled(*key, app.theme.style(Token::Key)),
                    Span::styled(format!(" {word}"), app.theme.style(Token::Text)),
                ]
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
fn row(app: &App, chosen: bool, mut spans: Vec<Span<'static>>, columns: usize) -> Line<'static> {
    spans.insert(0, Span::raw(if chosen { "▸ " } else { "  " }));
    let mut line = Line::from(spans);
    if chosen {
        let gap = columns.saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(gap)));
        line = line.patch_style(app.theme.style(Token::Chosen));
    }
    line
}

/// The line being typed, its cursor shown; the end stays in view.
fn typed(app: &App, lead: &str, prompt: &Prompt, columns: usize) -> Line<'static> {
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
        Span::styled(lead.to_owned(), app.theme.style(Token::Key)),
        Span::raw(cut::clean(shown)),
        Span::styled("▏", app.theme.style(Token::Key)),
        Span::raw(cut::clean(&rest)),
    ])
}
