//! The rollouts of this step that are scored, newest first.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    store::Cell,
    task::Rollout,
    tui::{
        app::App,
        panel::{self, Frame, Panel, outcome},
        theme::Token,
        widget::{cut, number},
    },
};

const ID_COLUMNS: usize = 15;
const OUTCOME_COLUMNS: usize = 17;
const NUMBER_COLUMNS: usize = 7;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let scored: Vec<&Rollout> = app.live.streams.iter().rev().filter_map(|s| s.rollout.as_ref()).collect();
    let right = if scored.is_empty() { String::new() } else { format!("{} of {} scored", scored.len(), app.live.streams.len()) };
    let room = panel::frame(app, Panel::Finished, Frame { left: "Rollouts".to_owned(), right, ..Frame::default() }, area, buf);
    let columns = usize::from(room.width);
    if scored.is_empty() {
        let line = Line::styled(cut::fit("no rollout of this step is scored yet", columns), app.theme.style(Token::Dim));
        return panel::put(&[line], room, buf);
    }
    let head = format!(
        "{:<ID_COLUMNS$} {:<OUTCOME_COLUMNS$}{:>7}{:>7}{:>7}  claim",
        "sample/sibling", "outcome", "reward", "adv.", "tokens"
    );
    let mut lines = vec![Line::styled(cut::fit(&head, columns), app.theme.style(Token::Dim))];
    lines.extend(scored.iter().map(|r| row(app, r, columns)));
    panel::put(&lines, room, buf);
}

fn row(app: &App, rollout: &Rollout, columns: usize) -> Line<'static> {
    let cell = Cell::of(rollout);
    let id = cut::clean(&format!("{}/{}", rollout.sample.id, rollout.sibling + 1));
    let fixed = ID_COLUMNS + 1 + OUTCOME_COLUMNS + 3 * NUMBER_COLUMNS;
    let claim = cut::fit(&outcome::claim(&rollout.verdict), columns.saturating_sub(fixed + 2));
    Line::from(vec![
        Span::raw(cut::pad(&id, ID_COLUMNS + 1)),
        Span::styled(cut::pad(&format!("{} {}", cell.glyph(), cell.word()), OUTCOME_COLUMNS), app.theme.style(cell.token())),
        Span::raw(format!("{:>NUMBER_COLUMNS$}", number::signed(Some(f64::from(rollout.reward.total()))))),
        Span::raw(format!("{:>NUMBER_COLUMNS$}", number::signed(rollout.advantage.map(f64::from)))),
        Span::styled(format!("{:>NUMBER_COLUMNS$}  ", rollout.completion.tokens.len()), app.theme.style(Token::Dim)),
        Span::styled(claim, app.theme.style(Token::Thinking)),
    ])
}
