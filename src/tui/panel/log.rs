//! The newest lines of the trainer's log.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use crate::{
    attach::protocol::Level,
    task::Text,
    tui::{
        app::App,
        panel::{self, Extent, Frame, Panel},
        theme::Token,
        widget::{cut, wrap},
    },
};

const WORD_COLUMNS: usize = 8;
/// Rows from which long messages are wrapped instead of cut.
const TALL: u16 = 6;
/// Rows one message takes at most.
const ENTRY_ROWS: usize = 4;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let (lines, extent) = body(app, panel::inner(area));
    let below = extent.total.saturating_sub(extent.top + extent.visible);
    let foot = if below > 0 { format!("+{below} newer  End") } else { String::new() };
    let room = panel::frame(app, Panel::Log, Frame { left: "Log".to_owned(), foot, ..Frame::default() }, area, buf);
    panel::put(&lines[extent.top.min(lines.len())..], room, buf);
}

/// The entries as lines, wrapped where the panel is tall, and where the view stands.
pub fn body(app: &App, room: Rect) -> (Vec<Line<'static>>, Extent) {
    let tall = room.height >= TALL;
    let lines: Vec<Line> = app.live.log.iter().flat_map(|entry| entry_lines(app, entry, room.width.into(), tall)).collect();
    let visible = usize::from(room.height);
    let last = lines.len().saturating_sub(visible);
    let top = app.scroll[Panel::Log.index()].map_or(last, |top| top.min(last));
    let extent = Extent { total: lines.len(), visible, top };
    (lines, extent)
}

fn entry_lines(app: &App, (level, message): &(Level, Text), columns: usize, tall: bool) -> Vec<Line<'static>> {
    let (word, token) = match level {
        Level::Info => ("· info", Token::Dim),
        Level::Warn => ("! WARN", Token::Warn),
        Level::Error => ("✗ ERROR", Token::Fail),
    };
    let message = cut::clean(message.as_str());
    let message = if tall { message } else { cut::fit(&message, columns.saturating_sub(WORD_COLUMNS)) };
    let runs = [(cut::pad(word, WORD_COLUMNS), app.theme.style(token)), (message, app.theme.style(Token::Text))];
    let mut lines = wrap::wrap(&runs, columns, WORD_COLUMNS);
    lines.truncate(if tall { ENTRY_ROWS } else { 1 });
    lines
}
