//! The box with the choices: one key each, the reasons of a rejection, and the line being typed.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    Field, LabelApp, Mode,
    card::{Card, reason_key},
};
use crate::tui::{
    panel::{self, Frame},
    screen::label::boxed,
    theme::Token,
    widget::{cut, wrap},
};

/// Rows of the box, its border included.
pub const ROWS: u16 = 7;

pub fn draw(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let title = match &app.mode {
        Mode::Reasons => "Why is the claim rejected?",
        Mode::Typing { what: Field::Remark, .. } => "Comment",
        Mode::Typing { what: Field::Correction, .. } => "What should the sentence say?",
        _ if app.hidden() => "Decide",
        _ => "Is the claim right?",
    };
    let right = if matches!(app.mode, Mode::Typing { .. }) { "" } else { "one key, then the next sample" };
    let texts = Frame { left: title.to_owned(), right: right.to_owned(), ..Frame::default() };
    let room = boxed(app, matches!(app.mode, Mode::Reasons | Mode::Typing { .. }), texts, area, buf);
    let columns = usize::from(room.width);
    let lines = match &app.mode {
        Mode::Reasons => reasons(app, columns),
        Mode::Typing { text, .. } => typing(app, text, columns),
        Mode::Card | Mode::Help(_) => options(app, columns),
    };
    panel::put(&lines, room, buf);
}

pub fn key_word(app: &LabelApp, key: &str, word: &str) -> Vec<Span<'static>> {
    vec![Span::styled(key.to_owned(), app.theme.style(Token::Key)), Span::raw(format!(" {word}"))]
}

fn options(app: &LabelApp, columns: usize) -> Vec<Line<'static>> {
    let Some(card) = app.card.as_ref().filter(|card| card.sample.is_some()) else { return Vec::new() };
    let option = |key: &str, word: &str| key_word(app, key, word);
    let dim = |text: &str| cut::part(text.to_owned(), app.theme.style(Token::Dim));
    let kinds = [option("1", "diagnosis"), option("2", "management"), option("3", "treatment")];
    let more = [option("4", "pharmacotherapy"), option("5", "causal organism")];
    let error = card.sample.as_ref().is_some_and(|sample| sample.label.is_error());
    let (first, lead) = if app.hidden() {
        let at = card.cursor.map_or_else(|| "error of type".to_owned(), |id| format!("error in sentence {id} of type"));
        (vec![option("0", "no error"), option("Space", "cannot tell")], at)
    } else {
        let accept = if error { "accept: the note has this error" } else { "accept: the note is clean" };
        let lead = if error { "the error's type is rather" } else { "has an error (with [ ] and e)" };
        (vec![option("a", accept), option("x", "reject, asks why"), option("Space", "cannot tell")], lead.to_owned())
    };
    let mut lines = cut::flow(first, "   ", columns);
    let indent = " ".repeat(cut::width(&lead));
    let rows = [[vec![dim(&lead)], kinds.to_vec()].concat(), [vec![dim(&indent)], more.to_vec()].concat()];
    let aligned: Vec<Line> = rows.iter().flat_map(|row| cut::flow(row.clone(), "  ", columns)).collect();
    if aligned.len() == rows.len() {
        lines.extend(aligned);
    } else {
        lines.extend(cut::flow([vec![dim(&lead)], kinds.to_vec(), more.to_vec()].concat(), "  ", columns));
    }
    let mut pending = vec![option("[ ]", "sentence")];
    if !app.hidden() {
        pending.push(option("e", "correction"));
    }
    pending.push(option("c", "comment"));
    if let Some(correction) = &card.correction {
        pending.push(dim(&format!("right: {}", cut::fit(&cut::clean(correction), columns / 3))));
    }
    if !card.remark.is_empty() {
        pending.push(dim(&format!("\"{}\"", cut::fit(&cut::clean(&card.remark), columns / 3))));
    }
    lines.push(cut::segments(pending, "   ", columns));
    lines
}

fn reasons(app: &LabelApp, columns: usize) -> Vec<Line<'static>> {
    let reasons = app.card.as_ref().map(Card::reasons).unwrap_or_default();
    let mut lines: Vec<Line> = reasons
        .into_iter()
        .map(|reason| cut::segments(vec![key_word(app, &reason_key(reason).to_string(), reason.describe())], "", columns))
        .collect();
    // Never a reason of which nothing shows: on narrow terminals the letter alone stands.
    for (line, reason) in lines.iter_mut().zip(app.card.as_ref().map(Card::reasons).unwrap_or_default()) {
        if line.width() == 0 {
            *line = Line::raw(cut::fit(&format!("{} {}", reason_key(reason), reason.describe()), columns));
        }
    }
    lines
}

fn typing(app: &LabelApp, text: &str, columns: usize) -> Vec<Line<'static>> {
    let text = format!("{}▏", cut::clean(text));
    let mut lines = wrap::plain(&text, app.theme.style(Token::Text), columns);
    let keys = cut::segments(
        vec![
            key_word(app, "Enter", "done"),
            key_word(app, "Esc", "give up"),
            key_word(app, "Ctrl-U", "clear"),
            key_word(app, "Ctrl-E", "editor"),
        ],
        "   ",
        columns,
    );
    // The end is where the typing happens.
    let skip = lines.len().saturating_sub(usize::from(ROWS) - 3);
    lines.drain(..skip);
    lines.push(keys);
    lines
}
