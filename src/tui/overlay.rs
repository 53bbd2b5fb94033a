//! What lies over the screen: the help made from the action table, and the dialog before leaving.
//! Nothing that harms a run answers to Enter, nor to the key that opened the dialog.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Widget},
};

use super::{
    action::{Action, ActionRow, rows_of},
    app::{App, Effect},
    keymap::{self, Chord},
    panel,
    theme::Token,
    widget::cut,
};
use crate::attach::Control;

/// Which overlay is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    Help {
        /// First row on show.
        top: usize,
    },
    Leave,
    /// What happened while the reader was away.
    Away,
}

/// One way out: keys, words, and whether a read-only client may take it.
struct Choice {
    keys: &'static [&'static str],
    words: &'static str,
    steers: bool,
    stop_now: Option<bool>,
}

const CHOICES: &[Choice] = &[
    Choice { keys: &["enter", "d", "ctrl-c"], words: "detach: the run goes on without you", steers: false, stop_now: None },
    Choice { keys: &["c"], words: "save a checkpoint, then stop the run", steers: true, stop_now: Some(false) },
    Choice { keys: &["s"], words: "stop now: this step is lost", steers: true, stop_now: Some(true) },
];

/// Takes a key while `overlay` is open: the overlay afterwards, and what to do.
pub fn key(app: &mut App, overlay: Overlay, chord: Chord) -> (Option<Overlay>, Option<Effect>) {
    match overlay {
        Overlay::Away => (away_key(chord), None),
        Overlay::Help { top } => (help_key(app, top, chord), None),
        Overlay::Leave if Chord::parse("esc") == Some(chord) => (None, None),
        Overlay::Leave => match CHOICES.iter().find(|c| c.keys.iter().any(|k| Chord::parse(k) == Some(chord))) {
            None => (Some(Overlay::Leave), None),
            Some(choice) => leave(app, choice),
        },
    }
}

fn leave(app: &mut App, choice: &Choice) -> (Option<Overlay>, Option<Effect>) {
    let Some(now) = choice.stop_now else { return (None, Some(Effect::Detach)) };
    if app.read_only && choice.steers {
        app.say("read-only: only detach is possible");
        return (None, None);
    }
    app.stopping = true;
    app.say(if now { "stopping now" } else { "stopping after a checkpoint; q again to leave without waiting" });
    (None, Some(Effect::Send(Control::Stop { now })))
}

fn away_key(chord: Chord) -> Option<Overlay> {
    let closes = ["esc", "enter", "q", "space", "ctrl-c"].iter().any(|key| Chord::parse(key) == Some(chord));
    (!closes).then_some(Overlay::Away)
}

fn help_key(app: &App, top: usize, chord: Chord) -> Option<Overlay> {
    let last = rows_of(app.screen).count().saturating_sub(usize::from(app.size.1).saturating_sub(4).max(1));
    match app.keymap.action(app.screen, chord) {
        Some(Action::Down | Action::PageDown) => Some(Overlay::Help { top: (top + 1).min(last) }),
        Some(Action::Up | Action::PageUp) => Some(Overlay::Help { top: top.saturating_sub(1) }),
        Some(Action::Close | Action::Help | Action::Leave) => None,
        _ => Some(Overlay::Help { top }),
    }
}

/// Draws the open overlay, if any, in the middle of `area`.
pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    match app.overlay {
        None => {}
        Some(Overlay::Help { top }) => draw_help(app, top, area, buf),
        Some(Overlay::Away) => draw_away(app, area, buf),
        Some(Overlay::Leave) => draw_leave(app, area, buf),
    }
}

fn draw_help(app: &App, top: usize, area: Rect, buf: &mut Buffer) {
    let rows: Vec<&ActionRow> = rows_of(app.screen).collect();
    let keys = |row: &ActionRow| row.keys.iter().map(|k| keymap::label(k)).collect::<Vec<_>>().join(" ");
    let key_columns = rows.iter().map(|row| cut::width(&keys(row))).max().unwrap_or(0) + 2;
    let doc_columns = rows.iter().map(|row| cut::width(row.doc)).max().unwrap_or(0);
    let room = usize::from(area.width.saturating_sub(6));
    let lines: Vec<Line> = rows
        .iter()
        .skip(top)
        .map(|row| {
            let doc = cut::fit(row.doc, room.saturating_sub(key_columns));
            let style = if app.read_only && row.steers { app.theme.style(Token::Dim) } else { app.theme.style(Token::Text) };
            Line::from(vec![
                Span::styled(cut::pad(&keys(row), key_columns), app.theme.style(Token::Key)),
                Span::styled(doc, style),
            ])
        })
        .collect();
    let hidden = (top + lines.len()).saturating_sub(top + usize::from(area.height.saturating_sub(2)));
    let foot = if top > 0 || hidden > 0 { "↑↓ more  Esc close" } else { "Esc close" };
    dialog(app, &format!("Keys  {}", app.screen.title()), foot, (key_columns + doc_columns, &lines), area, buf);
}

fn draw_away(app: &App, area: Rect, buf: &mut Buffer) {
    let Some(away) = &app.away else { return };
    let columns = usize::from(area.width.saturating_sub(8)).min(74);
    let lines = away.lines(&app.theme, columns);
    dialog(app, &away.title(), "Esc close", (columns, &lines), area, buf);
}

fn draw_leave(app: &App, area: Rect, buf: &mut Buffer) {
    let title = if app.live.run_id.is_empty() { "Leave?".to_owned() } else { format!("Leave {}?", cut::clean(&app.live.run_id)) };
    let room = usize::from(area.width.saturating_sub(6));
    let choices = CHOICES.iter().filter(|c| !(app.read_only && c.steers));
    let mut lines: Vec<Line> = choices
        .enumerate()
        .map(|(i, choice)| {
            let keys: Vec<String> = choice.keys.iter().take(2).map(|k| keymap::label(k)).collect();
            let words = cut::fit(choice.words, room.saturating_sub(11));
            let style = if i == 0 { app.theme.style(Token::Title) } else { app.theme.style(Token::Text) };
            let mark = if i == 0 { "▸ " } else { "  " };
            let keys = Span::styled(cut::pad(&keys.join(" "), 9), app.theme.style(Token::Key));
            Line::from(vec![Span::styled(mark, style), keys, Span::styled(words, style)])
        })
        .collect();
    let esc = Span::styled(cut::pad("Esc", 9), app.theme.style(Token::Key));
    lines.push(Line::from(vec![Span::raw("  "), esc, Span::raw(cut::fit("stay here", room.saturating_sub(11)))]));
    dialog(app, &title, "", (50, &lines), area, buf);
}

fn dialog(app: &App, title: &str, foot: &str, (columns, lines): (usize, &[Line]), area: Rect, buf: &mut Buffer) {
    let want = |n: usize, extra: u16| u16::try_from(n).unwrap_or(u16::MAX).saturating_add(extra);
    let width = want(columns, 4).min(area.width);
    let height = want(lines.len(), 2).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buf);
    if width < 8 || height < 3 {
        return panel::put(lines, place, buf);
    }
    let style = app.theme.style(Token::Focus);
    let room = usize::from(width.saturating_sub(4));
    let mut block = Block::bordered().border_set(border::THICK).border_style(style);
    block = block.title_top(Line::styled(format!(" {} ", cut::fit(title, room.saturating_sub(2))), style));
    if !foot.is_empty() && cut::width(foot) + 2 <= room {
        block = block.title_bottom(Line::styled(format!(" {foot} "), app.theme.style(Token::Dim)).right_aligned());
    }
    block.render(place, buf);
    panel::put(lines, panel::inner(place), buf);
}
