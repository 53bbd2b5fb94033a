//! Size classes: what a terminal has room for.

use ratatui::layout::Rect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Status text only.
    Tiny,
    /// One main panel and summary strips.
    Small,
    /// A left column and the main panels.
    Medium,
    /// Three columns.
    Large,
}

impl Size {
    pub fn of(area: Rect) -> Size {
        match (area.width, area.height) {
            (0..60, _) | (_, 0..15) => Size::Tiny,
            (60..100, _) => Size::Small,
            (100..160, _) => Size::Medium,
            _ => Size::Large,
        }
    }
}
