//! Which screens there are, and where everything goes by the size of the terminal.

pub mod charts;
pub mod inspect;
pub mod label;
pub mod live;
pub mod log;
pub mod runs;
pub mod tiny;

use ratatui::{Frame, buffer::Buffer, layout::Rect};

use super::{
    app::App,
    glyphs, overlay,
    panel::{self, Panel, status},
    size::Size,
};

/// The screens of an attached client. Only those that are built are here: each has its number in the tab bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Screen {
    #[default]
    Live,
    Inspect,
    Charts,
    Log,
}

/// Screens with a loop of their own: the client leaves for them and attaches again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elsewhere {
    Label,
    Runs,
}

/// The tab bar: key, title, and the screen where it is one of an attached client's.
pub const TABS: [(char, &str, Option<Screen>); 6] = [
    ('1', "Live", Some(Screen::Live)),
    ('2', "Inspect", Some(Screen::Inspect)),
    ('3', "Label", None),
    ('4', "Charts", Some(Screen::Charts)),
    ('5', "Runs", None),
    ('6', "Log", Some(Screen::Log)),
];

impl Screen {
    pub const ALL: [Screen; 4] = [Screen::Live, Screen::Inspect, Screen::Charts, Screen::Log];

    /// The key that leads there.
    pub fn number(self) -> char {
        match self {
            Screen::Live => '1',
            Screen::Inspect => '2',
            Screen::Charts => '4',
            Screen::Log => '6',
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Screen::Live => "Live",
            Screen::Inspect => "Inspect",
            Screen::Charts => "Charts",
            Screen::Log => "Log",
        }
    }
}

/// Draws one frame. Reads only.
pub fn draw(app: &App, frame: &mut Frame) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    match (app.screen, Size::of(area)) {
        (Screen::Inspect, Size::Tiny) => inspect::draw_tiny(app, area, buf),
        (Screen::Charts, Size::Tiny) => charts::draw_tiny(app, area, buf),
        (Screen::Log, Size::Tiny) if area.height >= 3 => log::draw(app, area, buf),
        (_, Size::Tiny) => tiny::draw(app, area, buf),
        (Screen::Live, _) => framed(app, area, buf, live::draw),
        (Screen::Inspect, _) => framed(app, area, buf, inspect::draw),
        (Screen::Charts, _) => framed(app, area, buf, charts::draw),
        (Screen::Log, _) => framed(app, area, buf, log::draw),
    }
    overlay::draw(app, area, buf);
    if app.ascii {
        glyphs::to_ascii(buf);
    }
}

/// The room between the header and the two lines at the foot.
pub fn body(area: Rect) -> Rect {
    Rect { y: area.y + 1.min(area.height), height: area.height.saturating_sub(3), ..area }
}

/// Header, `inside`, status and key hints: the same on every screen.
fn framed(app: &App, area: Rect, buf: &mut Buffer, inside: impl Fn(&App, Rect, &mut Buffer)) {
    let columns = usize::from(area.width);
    panel::put(&[status::header(app, columns)], Rect { height: 1, ..area }, buf);
    inside(app, body(area), buf);
    let foot = Rect { y: area.bottom().saturating_sub(2), height: 2, ..area };
    panel::put(&[status::status(app, columns), status::hints(app, columns)], foot, buf);
}

/// The panels on screen that scroll by lines, and their places at the application's present size.
pub fn places(app: &App) -> Vec<(Panel, Rect)> {
    let area = app.area();
    match (app.screen, Size::of(area)) {
        (Screen::Live, Size::Small | Size::Medium | Size::Large) => live::places(app, area),
        _ => Vec::new(),
    }
}
