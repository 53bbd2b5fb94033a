//! Around the card: what waits, how the session goes, what was decided last.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    LabelApp,
    claim::doctor,
    queue::{alias, order_name},
    session::Done,
};
use crate::{
    task::Quadrant,
    tui::{
        panel::{self, Frame},
        screen::label::boxed,
        theme::Token,
        widget::{cut, number},
    },
};

/// A sample's name, which must not tell its quadrant before a blind judgement.
pub fn name(app: &LabelApp, id: &str) -> String {
    if app.hidden() { alias(app.setup.seed, id) } else { cut::clean(id) }
}

pub fn draw_queue(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    if area.height < 3 {
        return;
    }
    let texts = Frame { left: "Queue".to_owned(), right: format!("{} left", app.remaining()), ..Frame::default() };
    let room = boxed(app, false, texts, area, buf);
    let columns = usize::from(room.width);
    let (dim, text) = (app.theme.style(Token::Dim), app.theme.style(Token::Text));
    let mut lines = vec![
        Line::from(vec![Span::styled("task   ", dim), Span::styled(app.setup.task.name(), text)]),
        Line::from(vec![Span::styled("order  ", dim), Span::styled(order_name(app.setup.order), text)]),
        Line::styled("─".repeat(columns), dim),
    ];
    let shown = app.card.as_ref().map(|card| card.id.as_str());
    let rows = usize::from(room.height).saturating_sub(lines.len());
    lines.extend(app.upcoming().take(rows).map(|head| {
        let chosen = shown == Some(head.id.as_str());
        let line = format!("{} {}", if chosen { "▸" } else { " " }, name(app, &head.id));
        Line::styled(cut::pad(&line, columns), app.theme.style(if chosen { Token::Chosen } else { Token::Text }))
    }));
    panel::put(&lines, room, buf);
}

#[allow(clippy::cast_precision_loss)]
pub fn draw_session(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    if area.height < 3 {
        return;
    }
    #[allow(clippy::cast_precision_loss)]
    let minutes = number::seconds((app.now - app.session.began).max(0) as f64 / 1000.0);
    let room = boxed(app, false, Frame { left: "Session".to_owned(), right: minutes, ..Frame::default() }, area, buf);
    let counts = app.session.counts();
    let total = counts.total();
    let share = |n: usize| number::percent((total > 0).then(|| n as f64 / total as f64));
    let pace = app.session.per_minute(app.now).map_or_else(String::new, |pace| format!("  {pace:.1} a min"));
    let mut lines = vec![Line::raw(format!("done      {total:>4}{pace}"))];
    let rows = [("accept", counts.right), ("amend", counts.mended), ("reject", counts.wrong), ("no answer", counts.unsure)];
    lines.extend(rows.map(|(word, n)| Line::raw(format!("{word:9} {n:>4}  {:>4}", share(n)))));
    lines.push(Line::raw(format!("differs   {:>4}  judged blind", counts.doubt)));
    lines.push(Line::styled("claims right", app.theme.style(Token::Dim)));
    lines.extend(Quadrant::ALL.map(|quadrant| {
        let (right, judged) = app.session.of_quadrant(quadrant);
        let bad = judged >= 5 && right * 5 < judged * 4;
        let mark = if bad { " !" } else { "" };
        Line::styled(
            format!("{:9} {right:>4} of {judged}{mark}", quadrant.code()),
            app.theme.style(if bad { Token::Warn } else { Token::Text }),
        )
    }));
    let (again, same) = app.session.self_agreement();
    if again > 0 {
        lines.push(Line::raw(format!("as before {same:>4} of {again}")));
    }
    panel::put(&lines, room, buf);
}

pub fn draw_history(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    if area.height < 3 {
        return;
    }
    let texts =
        Frame { left: "History".to_owned(), right: "u undo   U redo".to_owned(), foot: "each line is on disk".to_owned() };
    let room = boxed(app, false, texts, area, buf);
    let columns = usize::from(room.width);
    let rows = app.session.done.iter().rev().take(room.height.into());
    let lines: Vec<Line> = rows.map(|done| Line::raw(cut::fit(&history_line(done), columns))).collect();
    panel::put(&lines, room, buf);
}

fn history_line(done: &Done) -> String {
    let remark = if done.remark.is_empty() { String::new() } else { format!("  \"{}\"", cut::clean(&done.remark)) };
    let id = cut::pad(&cut::clean(&done.sample), 14);
    format!("{id} {}  {:>6}{remark}", cut::pad(&cut::clean(&done.what), 36), number::seconds(f64::from(done.seconds)))
}

/// The message of the moment, else the last decision beside the truth that goes with it.
pub fn last(app: &LabelApp, columns: usize) -> Line<'static> {
    if let Some(message) = &app.flash {
        return Line::styled(cut::fit(&format!(" {}", cut::clean(message)), columns), app.theme.style(Token::Warn));
    }
    let Some(done) = app.session.done.last().filter(|done| done.in_session) else { return Line::default() };
    let dim = app.theme.style(Token::Dim);
    let mut parts = vec![
        cut::part(format!(" last  {}", cut::clean(&done.sample)), dim),
        cut::part(format!("you: {}", cut::clean(&done.what)), app.theme.style(Token::Text)),
        cut::part(format!("claim: {}", done.claim), dim),
    ];
    if done.votes.total() > 0 {
        parts.push(cut::part(doctor(done.votes), dim));
    }
    parts.push(cut::part("u takes it back", dim));
    cut::segments(parts, " · ", columns)
}
