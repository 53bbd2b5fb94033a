//! Every completion of one sample side by side: what it earned part by part, its advantage, what it wrote.

use ratatui::text::{Line, Span};

use super::{heading, labelled, raw_advantage, signed, words};
use crate::{
    store::Cell,
    task::{Rollout, StopReason},
    tui::{
        app::App,
        inspect::Page,
        panel::outcome,
        theme::Token,
        widget::{cut, number},
    },
};

/// The least width of a column, and the blanks between two.
const LEAST: usize = 34;
const GAP: usize = 3;

/// As many siblings as fit, the one on show among them.
pub(super) fn page(app: &App, shown: &Rollout, columns: usize) -> Page {
    let group = &app.inspect.group;
    let n = ((columns + GAP) / (LEAST + GAP)).clamp(1, group.len().max(1));
    let each = (columns.saturating_sub(GAP * (n - 1)) / n).max(1);
    let at = group.iter().position(|r| r.sibling == shown.sibling).unwrap_or(0);
    let first = (at / n * n).min(group.len().saturating_sub(n));
    let columns = group.iter().skip(first).take(n).map(|rollout| column(app, rollout, rollout.sibling == shown.sibling, each));
    Page { columns: columns.collect(), ..Page::default() }
}

fn column(app: &App, rollout: &Rollout, here: bool, columns: usize) -> Vec<Line<'static>> {
    let [text, strong, dim] = [Token::Text, Token::Verdict, Token::Dim].map(|token| app.theme.style(token));
    let cell = Cell::of(rollout);
    let mark = if here { "▸ " } else { "" };
    let n_all = app.inspect.group.len();
    let mut lines = vec![heading(app, &format!("{mark}completion {} of {n_all}", rollout.sibling + 1), columns)];
    lines.push(Line::from(Span::styled(
        cut::fit(&format!("{} {} {}", cell.glyph(), cell.code(), cell.word()), columns),
        app.theme.style(cell.token()),
    )));
    lines.extend(labelled(app, "verdict", vec![(outcome::claim(&rollout.verdict), strong)], columns));
    for (name, value) in rollout.reward.parts().into_iter().filter(|(_, value)| *value != 0.0) {
        lines.extend(labelled(app, &name.replace('_', " "), vec![(signed(value), text)], columns));
    }
    lines.extend(labelled(app, "reward", vec![(signed(rollout.reward.total()), app.theme.style(cell.token()))], columns));
    let raw = raw_advantage(app, rollout).map_or_else(|| "–".to_owned(), |raw| number::signed(Some(raw)));
    lines.extend(labelled(app, "raw adv.", vec![(raw, text)], columns));
    let advantage = rollout.advantage.map_or_else(|| "not set".to_owned(), signed);
    lines.extend(labelled(app, "advantage", vec![(advantage, strong), (" normalised".to_owned(), dim)], columns));
    let stop = if rollout.completion.stop == StopReason::EndOfTurn { "" } else { ", cut" };
    let length = format!("{} tokens{stop}", rollout.completion.tokens.len());
    lines.extend(labelled(app, "length", vec![(length, text)], columns));
    lines.extend(words(app, rollout, columns));
    lines
}
