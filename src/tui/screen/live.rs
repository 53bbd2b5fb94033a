//! The Live screen: one step of the run as it happens. Layout only; the panels know what they say.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::tui::{
    app::App,
    panel::{self, Panel},
    size::Size,
};

const LEFT_COLUMNS: u16 = 46;
const RIGHT_COLUMNS: u16 = 50;

/// Draws the panels into the room inside the frame.
pub fn draw(app: &App, body: Rect, buf: &mut Buffer) {
    for (panel, place) in in_body(app, body, Size::of(app.area())) {
        panel::draw(app, panel, place, buf);
    }
}

/// The panels and where they go. A focused panel that has no place of its own takes the Doctor's.
pub fn places(app: &App, area: Rect) -> Vec<(Panel, Rect)> {
    in_body(app, super::body(area), Size::of(area))
}

fn in_body(app: &App, body: Rect, size: Size) -> Vec<(Panel, Rect)> {
    if app.zoomed {
        return vec![(app.focus, body)];
    }
    let mut places = match size {
        Size::Large => large(body),
        Size::Medium => medium(body),
        Size::Small | Size::Tiny => small(body),
    };
    if places.iter().all(|(panel, _)| *panel != app.focus)
        && let Some(main) = places.iter_mut().find(|(panel, _)| *panel == Panel::Doctor)
    {
        main.0 = app.focus;
    }
    places
}

/// The top `height` rows, and what is below.
fn cut_top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

/// The left `width` columns, and what is right of them.
fn cut_left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

/// Stacks the panels that fit, in the order given; the last one takes what is left. `wanted` is the height of comfort.
fn stack(area: Rect, wanted: &[(Panel, u16)]) -> Vec<(Panel, Rect)> {
    let mut room = area.height;
    let mut chosen: Vec<(Panel, u16)> = Vec::new();
    for (panel, height) in wanted {
        let height = (*height).min(room);
        if height < panel.least_height() && !chosen.is_empty() {
            continue;
        }
        room -= height;
        chosen.push((*panel, height));
    }
    if let Some((_, height)) = chosen.last_mut() {
        *height += room;
    }
    let mut rest = area;
    chosen
        .into_iter()
        .map(|(panel, height)| {
            let (place, below) = cut_top(rest, height);
            rest = below;
            (panel, place)
        })
        .collect()
}

fn small(body: Rect) -> Vec<(Panel, Rect)> {
    let strips = if body.height >= 19 { 9 } else { 0 };
    let (top, main) = cut_top(body, strips);
    let mut places = Vec::new();
    if strips > 0 {
        let (left, right) = cut_left(top, body.width.div_ceil(2));
        places.extend([(Panel::Quadrants, left), (Panel::Trend, right)]);
    }
    let log_rows = if main.height >= 22 { 5 } else { 0 };
    let (main, log) = cut_top(main, main.height - log_rows);
    if main.height >= 20 {
        places.extend(scribe_and_doctor(main));
    } else {
        places.push((Panel::Doctor, main));
    }
    if log_rows > 0 {
        places.push((Panel::Log, log));
    }
    places
}

/// The Scribe above the Doctor where both have room, else the Doctor alone.
fn scribe_and_doctor(area: Rect) -> Vec<(Panel, Rect)> {
    if area.height < 18 {
        return vec![(Panel::Doctor, area)];
    }
    let (scribe, doctor) = cut_top(area, area.height * 9 / 20);
    vec![(Panel::Scribe, scribe), (Panel::Doctor, doctor)]
}

fn medium(body: Rect) -> Vec<(Panel, Rect)> {
    let log_rows = if body.height >= 34 { 4 } else { 0 };
    let (body, log) = cut_top(body, body.height - log_rows);
    let (left, right) = cut_left(body, LEFT_COLUMNS);
    let mut places = stack(left, &[(Panel::Quadrants, 8), (Panel::Step, 10), (Panel::Trend, 9), (Panel::Machine, 9)]);
    places.extend(scribe_and_doctor(right));
    if log_rows > 0 {
        places.push((Panel::Log, log));
    }
    places
}

/// Tall screens keep the log in the left column, below the machine; others give it a strip at the foot.
fn large(body: Rect) -> Vec<(Panel, Rect)> {
    let tall = body.height >= 40;
    let log_rows = if tall || body.height < 27 { 0 } else { 4 };
    let (body, log) = cut_top(body, body.height - log_rows);
    let (left, rest) = cut_left(body, LEFT_COLUMNS + body.width.saturating_sub(160) / 8);
    let (middle, right) = cut_left(rest, rest.width - RIGHT_COLUMNS.min(rest.width / 3));
    let mut left_panels = vec![(Panel::Step, 10), (Panel::Quadrants, 8), (Panel::Machine, 9)];
    if tall {
        left_panels.extend([(Panel::Alerts, 6), (Panel::Log, body.height)]);
    }
    let mut places = stack(left, &left_panels);
    let finished_rows = if middle.height >= 36 { middle.height / 4 } else { 0 };
    let (main, finished) = cut_top(middle, middle.height - finished_rows);
    places.extend(scribe_and_doctor(main));
    if finished_rows > 0 {
        places.push((Panel::Finished, finished));
    }
    places.push((Panel::Trend, right));
    if log_rows > 0 {
        places.push((Panel::Log, log));
    }
    places
}
