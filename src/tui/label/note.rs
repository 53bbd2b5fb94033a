//! The notes as lines: the rewritten one with its changes and the claimed error, the plain one of a blind judgement, the original.
//! Only what is on show is wrapped, and a place is a sentence and a row of it: a note may be a mebibyte long.

use ratatui::{style::Style, text::Line};

use super::{
    LabelApp,
    card::{Card, SentenceView},
};
use crate::{
    task::Label,
    tui::{
        theme::Token,
        widget::{
            cut,
            diff::Change,
            wrap::{self, Run},
        },
    },
};

const NUMBER_COLUMNS: usize = 4;
/// From this many rows on, a line of what stands before the error is worth its room.
const ROWS_FOR_CONTEXT: usize = 5;

/// A place in a note: a position in [`Card::views`] and a row of that sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    view: usize,
    row: usize,
}

/// Columns and rows.
pub type Room = (usize, usize);

/// What is on show of a note, and whether it goes on above and below.
pub struct Window {
    pub lines: Vec<Line<'static>>,
    pub above: bool,
    pub below: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Original,
    Rewritten,
}

/// A note being looked through.
struct Page<'a> {
    app: &'a LabelApp,
    card: &'a Card,
    side: Side,
    columns: usize,
}

/// The part of the rewritten note that the reader has scrolled to, or where the eye should land.
pub fn rewritten(app: &LabelApp, card: &Card, room: Room) -> Window {
    let page = Page { app, card, side: Side::Rewritten, columns: room.0 };
    page.window(card.scroll.unwrap_or_else(|| page.natural(room.1)), room.1)
}

/// The part of the source note that goes with the eye's natural place.
pub fn original(app: &LabelApp, card: &Card, room: Room) -> Window {
    let page = Page { app, card, side: Side::Original, columns: room.0 };
    page.window(page.natural(room.1), room.1)
}

/// Where the rewritten note stands after scrolling by rows.
pub fn scrolled(app: &LabelApp, card: &Card, room: Room, by: isize) -> Anchor {
    let page = Page { app, card, side: Side::Rewritten, columns: room.0 };
    let from = page.settled(card.scroll.unwrap_or_else(|| page.natural(room.1)), room.1);
    page.settled(if by < 0 { page.back(from, by.unsigned_abs()) } else { page.on(from, by.unsigned_abs()) }, room.1)
}

impl Page<'_> {
    /// The sentence the decision is about, or the first change; the beginning where the claim is hidden, which would tell.
    fn natural(&self, rows: usize) -> Anchor {
        let changed = |view: &SentenceView| view.old != view.new && !self.app.hidden();
        let at_cursor = |view: &SentenceView| self.card.cursor == Some(view.id);
        let views = &self.card.views;
        let eye = if self.card.cursor.is_some() { views.iter().position(at_cursor) } else { views.iter().position(changed) };
        let anchor = Anchor { view: eye.unwrap_or(0), row: 0 };
        if rows < ROWS_FOR_CONTEXT { anchor } else { self.back(anchor, 1) }
    }

    fn window(&self, anchor: Anchor, rows: usize) -> Window {
        let start = self.settled(anchor, rows);
        let mut lines = self.from(start, rows + 1);
        let below = lines.len() > rows;
        lines.truncate(rows);
        Window { lines, above: start != Anchor::default(), below }
    }

    /// The nearest place from which the rest of the note fills the room.
    fn settled(&self, anchor: Anchor, rows: usize) -> Anchor {
        let n_below = self.from(anchor, rows).len();
        self.back(anchor, rows - n_below)
    }

    /// Up to `rows` lines from a place.
    fn from(&self, anchor: Anchor, rows: usize) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        for view in anchor.view..self.card.views.len() {
            let skip = if view == anchor.view { anchor.row } else { 0 };
            lines.extend(self.sentence(view, skip + rows - lines.len()).into_iter().skip(skip).take(rows - lines.len()));
            if lines.len() >= rows {
                break;
            }
        }
        lines
    }

    fn back(&self, mut anchor: Anchor, mut rows: usize) -> Anchor {
        while rows > anchor.row && anchor.view > 0 {
            rows -= anchor.row;
            anchor.view -= 1;
            anchor.row = self.sentence(anchor.view, usize::MAX).len();
        }
        Anchor { row: anchor.row.saturating_sub(rows), ..anchor }
    }

    fn on(&self, mut anchor: Anchor, rows: usize) -> Anchor {
        anchor.row += rows;
        loop {
            let n = self.sentence(anchor.view, usize::MAX).len();
            if anchor.row < n || anchor.view + 1 >= self.card.views.len() {
                return Anchor { row: anchor.row.min(n), ..anchor };
            }
            anchor = Anchor { view: anchor.view + 1, row: anchor.row - n };
        }
    }

    /// The first `rows` lines of one sentence; none where this side has nothing of it to show.
    fn sentence(&self, view: usize, rows: usize) -> Vec<Line<'static>> {
        let Some(view) = self.card.views.get(view) else { return Vec::new() };
        let only_deleted = view.new.is_empty() && (self.app.hidden() || !self.app.show_diff);
        if self.side == Side::Original && view.old.is_empty() || self.side == Side::Rewritten && only_deleted {
            return Vec::new();
        }
        let chosen = self.side == Side::Rewritten && self.card.cursor == Some(view.id);
        let (mark, token) = if chosen { ("▸", Token::Key) } else { ("", Token::Dim) };
        let number = cut::pad_left(&format!("{mark}{}", view.id), NUMBER_COLUMNS - 1) + " ";
        let mut runs: Vec<Run> = vec![(number, self.app.theme.style(token))];
        match self.side {
            Side::Original => runs.push((view.old.clone(), self.app.theme.style(Token::Thinking))),
            Side::Rewritten => runs.extend(self.changes(view)),
        }
        trim(&mut runs, self.columns.saturating_mul(rows));
        let mut lines = wrap::wrap(&runs, self.columns, NUMBER_COLUMNS);
        lines.truncate(rows);
        lines
    }

    fn changes(&self, view: &SentenceView) -> Vec<Run> {
        let (app, hidden) = (self.app, self.app.hidden());
        let error = match self.card.sample.as_ref().map(|sample| &sample.label) {
            Some(Label::Error { sentence, .. }) => *sentence == view.id && !hidden,
            _ => false,
        };
        let changed = view.old != view.new && !hidden;
        let mark = app.theme.style(Token::ErrorMark);
        let plain = app.theme.style(if changed || error || hidden { Token::Text } else { Token::Thinking });
        let mut runs: Vec<Run> = Vec::new();
        if error {
            runs.push(("⟦".to_owned(), mark));
        }
        if changed && app.show_diff && !view.pieces.is_empty() {
            for (i, piece) in view.pieces.iter().enumerate() {
                if i > 0 {
                    runs.push((" ".to_owned(), Style::default()));
                }
                runs.push(match piece.change {
                    Change::Kept => (piece.text.clone(), plain),
                    Change::Deleted => (format!("[-{}-]", piece.text), app.theme.style(Token::Deletion)),
                    Change::Inserted => (format!("+{}+", piece.text), app.theme.style(Token::Insertion)),
                });
            }
        } else {
            runs.push((view.new.clone(), plain));
        }
        if error {
            runs.push(("⟧".to_owned(), mark));
        }
        runs
    }
}

/// What is beyond so many columns cannot be seen and need not be wrapped.
fn trim(runs: &mut Vec<Run>, columns: usize) {
    let mut left = columns;
    for run in runs.iter_mut() {
        // No character takes less than a byte.
        if run.0.len() > left {
            let kept = cut::split_at_width(&run.0, left).0.len();
            run.0.truncate(kept);
        }
        left = left.saturating_sub(cut::width(&run.0));
    }
    runs.retain(|run| !run.0.is_empty());
}
