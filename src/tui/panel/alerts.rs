//! The newest alarms, breakpoints and steps given up.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use crate::tui::{
    app::App,
    panel::{self, Frame, Panel},
    theme::Token,
    widget::{cut, wrap},
};

/// Rows one alert takes at most.
const ALERT_ROWS: usize = 3;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let unread = app.unread_alerts();
    let right = if unread == 0 { String::new() } else { format!("! {unread} unread") };
    let texts = Frame { left: "Alerts".to_owned(), right, foot: "a all".to_owned() };
    let room = panel::frame(app, Panel::Alerts, texts, area, buf);
    let columns = usize::from(room.width);
    let dim = app.theme.style(Token::Dim);
    if app.live.alerts.is_empty() {
        let text = "No alarm, no breakpoint reached, no step given up.";
        return panel::put(&wrap::plain(text, dim, columns), room, buf);
    }
    let newest = app.live.alerts.iter().rev();
    let lines: Vec<Line> = newest
        .take(room.height.into())
        .flat_map(|alert| {
            let token = if alert.unix_s > app.alerts_read { Token::Warn } else { Token::Text };
            let lead = format!("step {}  ", alert.step);
            let indent = cut::width(&lead);
            let runs = [(lead, dim), (cut::clean(alert.message.as_str()), app.theme.style(token))];
            let mut lines = wrap::wrap(&runs, columns, indent.min(columns / 3));
            lines.truncate(ALERT_ROWS);
            lines
        })
        .collect();
    panel::put(&lines, room, buf);
}
