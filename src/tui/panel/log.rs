//! The newest lines of the trainer's log.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    attach::protocol::Level,
    tui::{
        app::App,
        panel::{self, Extent, Frame, Panel},
        theme::Token,
        widget::cut,
    },
};

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let (lines, extent) = body(app, panel::inner(area));
    let below = extent.total.saturating_sub(extent.top + extent.visible);
    let foot = if below > 0 { format!("+{below} newer  End") } else { String::new() };
    let room = panel::frame(app, Panel::Log, Frame { left: "Log".to_owned(), foot, ..Frame::default() }, area, buf);
    panel::put(&lines[extent.top.min(lines.len())..], room, buf);
}

/// One line an entry, and where the view stands.
pub fn body(app: &App, room: Rect) -> (Vec<Line<'static>>, Extent) {
    let columns = usize::from(room.width);
    let lines: Vec<Line> = app
        .live
        .log
        .iter()
        .map(|(level, message)| {
            let (word, token) = match level {
                Level::Info => ("· info", Token::Dim),
                Level::Warn => ("! WARN", Token::Warn),
                Level::Error => ("✗ ERROR", Token::Fail),
            };
            let message = cut::fit(&cut::clean(message.as_str()), columns.saturating_sub(8));
            Line::from(vec![Span::styled(cut::pad(word, 8), app.theme.style(token)), Span::raw(message)])
        })
        .collect();
    let visible = usize::from(room.height);
    let last = lines.len().saturating_sub(visible);
    let top = app.scroll[Panel::Log.index()].map_or(last, |top| top.min(last));
    let extent = Extent { total: lines.len(), visible, top };
    (lines, extent)
}
