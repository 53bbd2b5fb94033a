//! The panels: each reads the application and fills its rectangle.

pub mod alerts;
pub mod doctor;
pub mod finished;
pub mod log;
pub mod machine;
pub mod outcome;
pub mod quadrants;
pub mod rollout;
pub mod scribe;
pub mod siblings;
pub mod status;
pub mod step;
pub mod tokens;
pub mod trend;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Widget},
};

use super::{app::App, theme::Token, widget::cut};

/// Number of panels.
pub const PANELS: usize = 9;

/// A panel of the Live screen, in the order Tab walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    Doctor,
    Scribe,
    Log,
    Alerts,
    Step,
    Quadrants,
    Trend,
    Machine,
    Finished,
}

impl Panel {
    pub const ALL: [Panel; PANELS] = [
        Panel::Doctor,
        Panel::Scribe,
        Panel::Log,
        Panel::Alerts,
        Panel::Step,
        Panel::Quadrants,
        Panel::Trend,
        Panel::Machine,
        Panel::Finished,
    ];

    pub fn index(self) -> usize {
        self as usize
    }

    /// The panel `by` places further round.
    pub fn next(self, by: isize) -> Panel {
        Panel::ALL[(self.index() + PANELS).saturating_add_signed(by) % PANELS]
    }

    /// The least height at which the panel says something, borders included.
    pub fn least_height(self) -> u16 {
        match self {
            Panel::Doctor | Panel::Quadrants => 8,
            Panel::Scribe | Panel::Trend | Panel::Machine => 6,
            Panel::Step => 9,
            Panel::Log => 3,
            Panel::Alerts => 4,
            Panel::Finished => 5,
        }
    }
}

/// How much text a scrolling panel has, shows, and from which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub total: usize,
    pub visible: usize,
    pub top: usize,
}

/// The scroll state of a panel drawn in `area`; `None` for panels that do not scroll.
pub fn extent(app: &App, panel: Panel, area: Rect) -> Option<Extent> {
    match panel {
        Panel::Doctor => Some(doctor::body(app, inner(area)).1),
        Panel::Scribe => Some(scribe::body(app, inner(area)).1),
        Panel::Log => Some(log::body(app, inner(area)).1),
        _ => None,
    }
}

/// Draws `panel` in `area`.
pub fn draw(app: &App, panel: Panel, area: Rect, buf: &mut Buffer) {
    if area.width < 4 || area.height < 3 {
        return;
    }
    match panel {
        Panel::Doctor => doctor::draw(app, area, buf),
        Panel::Scribe => scribe::draw(app, area, buf),
        Panel::Log => log::draw(app, area, buf),
        Panel::Alerts => alerts::draw(app, area, buf),
        Panel::Step => step::draw(app, area, buf),
        Panel::Quadrants => quadrants::draw(app, area, buf),
        Panel::Trend => trend::draw(app, area, buf),
        Panel::Machine => machine::draw(app, area, buf),
        Panel::Finished => finished::draw(app, area, buf),
    }
}

/// The room inside the border, one blank column on either side.
pub fn inner(area: Rect) -> Rect {
    Rect {
        x: area.x.saturating_add(2),
        y: area.y.saturating_add(1),
        width: area.width.saturating_sub(4),
        height: area.height.saturating_sub(2),
    }
}

/// Texts on a panel's border. What does not fit leaves whole: the foot first, then the right, then the middle.
#[derive(Default)]
pub struct Frame {
    pub left: String,
    pub right: String,
    pub foot: String,
}

/// Draws the border, heavy where the panel has the focus, and returns the room inside.
pub fn frame(app: &App, panel: Panel, texts: Frame, area: Rect, buf: &mut Buffer) -> Rect {
    frame_with(app, app.focused() == panel, texts, area, buf)
}

/// The same for what is no [`Panel`]: `focused` says whether it has the keys.
pub fn frame_with(app: &App, focused: bool, texts: Frame, area: Rect, buf: &mut Buffer) -> Rect {
    let focused = focused && app.overlay.is_none();
    let (set, border, title) = if focused {
        (border::THICK, app.theme.style(Token::Focus), app.theme.style(Token::Focus))
    } else {
        (border::ROUNDED, app.theme.style(Token::Border), app.theme.style(Token::Title))
    };
    let room = usize::from(area.width.saturating_sub(4));
    let left = cut::fit(&texts.left, room.saturating_sub(2));
    let mut block = Block::bordered().border_set(set).border_style(border);
    let left_width = cut::width(&left) + 2;
    block = block.title_top(Line::from(Span::styled(format!(" {left} "), title)));
    if !texts.right.is_empty() && left_width + cut::width(&texts.right) + 3 <= room {
        block = block.title_top(Line::from(Span::styled(format!(" {} ", texts.right), title)).right_aligned());
    }
    if !texts.foot.is_empty() && cut::width(&texts.foot) + 2 <= room {
        let foot = Span::styled(format!(" {} ", texts.foot), app.theme.style(Token::Dim));
        block = block.title_bottom(Line::from(foot).right_aligned());
    }
    block.render(area, buf);
    inner(area)
}

/// Writes lines from the top of `area`; the ones below its end are left out.
pub fn put(lines: &[Line<'_>], area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        buf.set_line(area.x, y, line, area.width);
    }
}
