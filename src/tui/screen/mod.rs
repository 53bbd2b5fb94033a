//! Where everything goes, by the size of the terminal.

pub mod live;
pub mod runs;
pub mod tiny;

use ratatui::{Frame, layout::Rect};

use super::{app::App, overlay, panel::Panel, size::Size};

/// Draws one frame. Reads only.
pub fn draw(app: &App, frame: &mut Frame) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    match Size::of(area) {
        Size::Tiny => tiny::draw(app, area, buf),
        _ => live::draw(app, area, buf),
    }
    overlay::draw(app, area, buf);
}

/// The panels on screen and their places at the application's present size.
pub fn places(app: &App) -> Vec<(Panel, Rect)> {
    let area = app.area();
    if Size::of(area) == Size::Tiny { Vec::new() } else { live::places(app, area) }
}
