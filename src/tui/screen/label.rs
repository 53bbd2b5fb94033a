//! The Label screen. Small terminals get the note and the decision; larger ones add the queue, the session, the original note and
//! the history. Reads only.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Widget},
};

use crate::tui::{
    label::{
        LabelApp, Mode,
        card::Card,
        claim, decide,
        keys::{KEYS, When},
        note,
        queue::order_name,
        side,
    },
    overlay::{keylist, sheet},
    panel::{self, Frame},
    size::Size,
    theme::Token,
    widget::{cut, wrap},
};

const LEFT_COLUMNS: u16 = 32;
const HISTORY_ROWS: u16 = 7;
const ORIGINAL_MIN_ROWS: u16 = 32;

/// The parts of the screen; those without room are empty.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    header: Rect,
    queue: Rect,
    session: Rect,
    original: Rect,
    note: Rect,
    decide: Rect,
    history: Rect,
    last: Rect,
    hints: Rect,
}

/// Draws the screen into `area`.
pub fn draw(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    let places = places(app, area);
    panel::put(&[header(app, places.header.width.into())], places.header, buf);
    side::draw_queue(app, places.queue, buf);
    side::draw_session(app, places.session, buf);
    draw_original(app, places.original, buf);
    draw_note(app, places.note, buf);
    decide::draw(app, places.decide, buf);
    side::draw_history(app, places.history, buf);
    panel::put(&[side::last(app, places.last.width.into())], places.last, buf);
    panel::put(&[hints(app, places.hints.width.into())], places.hints, buf);
    if let Mode::Help(menu) = &app.mode {
        let sheet = keylist::sheet(&app.theme, menu, "Help  Label", &app.entries(), sheet::columns(area));
        sheet.draw(&app.theme, menu.chosen, area, buf);
    }
}

/// The room for the text of the note on show; `None` without one.
pub fn note_text_room(app: &LabelApp) -> Option<note::Room> {
    let area = places(app, Rect::new(0, 0, app.size.0, app.size.1)).note;
    let (card, room) = (app.card.as_ref()?, note_room(area));
    Some(text_room(room, claim::lines(app, card, room).len()))
}

fn text_room(room: Rect, n_claim: usize) -> note::Room {
    (room.width.into(), usize::from(room.height).saturating_sub(n_claim).max(1))
}

fn places(app: &LabelApp, area: Rect) -> Places {
    let mut places = Places::default();
    let mut rest = area;
    let take_bottom = |rest: &mut Rect, rows: u16| {
        let rows = rows.min(rest.height);
        rest.height -= rows;
        Rect { y: rest.bottom(), height: rows, ..*rest }
    };
    if Size::of(area) == Size::Tiny {
        // The hints are worth a row as soon as there are four, the header as soon as there are three.
        if area.height >= 4 {
            places.hints = take_bottom(&mut rest, 1);
        }
        if area.height >= 6 {
            places.last = take_bottom(&mut rest, 1);
        }
        if rest.height >= 3 {
            places.header = Rect { height: 1, ..rest };
            rest = Rect { y: rest.y + 1, height: rest.height - 1, ..rest };
        }
        let asks = matches!(app.mode, Mode::Reasons | Mode::Typing { .. });
        let decide = if asks { decide::ROWS.min(rest.height) } else { 0 };
        places.decide = take_bottom(&mut rest, decide);
        places.note = rest;
        return places;
    }
    places.hints = take_bottom(&mut rest, 1);
    places.last = take_bottom(&mut rest, 1);
    places.header = Rect { height: 1, ..rest };
    rest = Rect { y: rest.y + 1, height: rest.height - 1, ..rest };
    if Size::of(area) != Size::Small {
        let left = Rect { width: LEFT_COLUMNS, ..rest };
        rest = Rect { x: rest.x + LEFT_COLUMNS, width: rest.width - LEFT_COLUMNS, ..rest };
        let session = left.height.min(14);
        places.queue = Rect { height: left.height - session, ..left };
        places.session = Rect { y: left.bottom() - session, height: session, ..left };
    }
    if area.height >= ORIGINAL_MIN_ROWS {
        places.history = take_bottom(&mut rest, HISTORY_ROWS);
    }
    // A question must show all its answers.
    let share = if app.mode == Mode::Card { rest.height / 2 } else { rest.height.saturating_sub(3) };
    let decide = decide::ROWS.min(share);
    places.decide = take_bottom(&mut rest, decide);
    if area.height >= ORIGINAL_MIN_ROWS && app.show_original && !app.hidden() {
        let rows = (rest.height / 3).min(16);
        places.original = Rect { height: rows, ..rest };
        rest = Rect { y: rest.y + rows, height: rest.height - rows, ..rest };
    }
    places.note = rest;
    places
}

/// Where there is little room it is the note's.
fn has_border(area: Rect) -> bool {
    area.width >= 24 && area.height >= 4
}

/// A border with texts; nothing where there is no room for one.
pub fn boxed(app: &LabelApp, heavy: bool, texts: Frame, area: Rect, buf: &mut Buffer) -> Rect {
    if !has_border(area) {
        return area;
    }
    let (set, line, title) =
        if heavy { (border::THICK, Token::Focus, Token::Focus) } else { (border::ROUNDED, Token::Border, Token::Title) };
    let room = usize::from(area.width - 4);
    let left = cut::fit(&texts.left, room.saturating_sub(2));
    let mut block = Block::bordered().border_set(set).border_style(app.theme.style(line));
    let taken = cut::width(&left) + 2;
    block = block.title_top(Line::from(Span::styled(format!(" {left} "), app.theme.style(title))));
    if !texts.right.is_empty() && taken + cut::width(&texts.right) + 3 <= room {
        let right = Span::styled(format!(" {} ", texts.right), app.theme.style(title));
        block = block.title_top(Line::from(right).right_aligned());
    }
    if !texts.foot.is_empty() && cut::width(&texts.foot) + 2 <= room {
        let foot = Span::styled(format!(" {} ", texts.foot), app.theme.style(Token::Dim));
        block = block.title_bottom(Line::from(foot).right_aligned());
    }
    block.render(area, buf);
    panel::inner(area)
}

fn header(app: &LabelApp, columns: usize) -> Line<'static> {
    let dim = app.theme.style(Token::Dim);
    let left = app.remaining();
    let parts = vec![
        cut::part(format!(" {}", cut::clean(&app.setup.run)), app.theme.style(Token::Title)),
        cut::part("[Label]", app.theme.style(Token::Key)),
        cut::part(format!("{left} left"), app.theme.style(Token::Text)),
        cut::part(format!("{} (T)", app.setup.task.name()), dim),
        cut::part(format!("{} (Q)", order_name(app.setup.order)), dim),
        cut::part(format!("{} decided", app.session.done.len()), dim),
        cut::part(cut::clean(&app.setup.annotator), dim),
    ];
    cut::segments(parts, " · ", columns)
}

fn draw_original(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    let Some(card) = app.card.as_ref().filter(|card| card.sample.is_some() && area.height >= 3) else { return };
    let source = card.sample.as_ref().map(|sample| cut::clean(&sample.source.id)).unwrap_or_default();
    let texts = Frame { left: format!("Original  {source}"), foot: "o hide".to_owned(), ..Frame::default() };
    let room = boxed(app, false, texts, area, buf);
    let window = note::original(app, card, (room.width.into(), room.height.into()));
    panel::put(&window.lines, room, buf);
}

fn note_room(area: Rect) -> Rect {
    if has_border(area) { panel::inner(area) } else { area }
}

fn draw_note(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    let Some(card) = app.card.as_ref().filter(|card| card.sample.is_some()) else { return draw_nothing(app, area, buf) };
    let room = note_room(area);
    let claim = claim::lines(app, card, room);
    let window = note::rewritten(app, card, text_room(room, claim.len()));
    boxed(app, true, note_texts(app, card, &window), area, buf);
    panel::put(&window.lines, room, buf);
    let below = room.height.saturating_sub(u16::try_from(claim.len()).unwrap_or(u16::MAX));
    panel::put(&claim, Rect { y: room.y + below, height: room.height - below, ..room }, buf);
}

fn note_texts(app: &LabelApp, card: &Card, window: &note::Window) -> Frame {
    let place = match (window.above, window.below) {
        (false, false) => "",
        (false, true) => "more below ↓",
        (true, false) => "more above ↑",
        (true, true) => "more above and below ↑↓",
    };
    if app.hidden() {
        let left = format!("Does this note have a clinical error?  {}", side::name(app, &card.id));
        return Frame { left, foot: place.to_owned(), ..Frame::default() };
    }
    let quadrant = card.sample.as_ref().map(|sample| sample.quadrant.title().to_owned()).unwrap_or_default();
    let foot = if place.is_empty() { "[-deleted-] +inserted+ ⟦error⟧" } else { place };
    Frame { left: format!("Rewritten  {}", side::name(app, &card.id)), right: quadrant, foot: foot.to_owned() }
}

fn draw_nothing(app: &LabelApp, area: Rect, buf: &mut Buffer) {
    let room = boxed(app, true, Frame { left: "Label".to_owned(), ..Frame::default() }, area, buf);
    let text = match (&app.card, app.total()) {
        (Some(card), _) => format!("{} is being read.", side::name(app, &card.id)),
        (None, 0) => "There is no sample yet. New ones appear here as the run makes them.".to_owned(),
        (None, n) => {
            format!(
                "All {n} samples are decided. T changes the task, u takes the last decision back, q leaves. New samples appear here."
            )
        }
    };
    panel::put(&wrap::plain(&text, app.theme.style(Token::Dim), room.width.into()), room, buf);
}

fn hints(app: &LabelApp, columns: usize) -> Line<'static> {
    let words = |words: &[(&str, &str)]| words.iter().map(|(key, word)| decide::key_word(app, key, word)).collect();
    let (parts, help) = match &app.mode {
        Mode::Reasons => (words(&[("a letter", "the reason"), ("Esc", "back")]), Vec::new()),
        Mode::Typing { .. } => {
            (words(&[("Enter", "done"), ("Esc", "give up"), ("Ctrl-U", "clear"), ("Ctrl-E", "editor")]), Vec::new())
        }
        // The way out stays as long as a first choice has room beside it.
        Mode::Card | Mode::Help(_) if columns >= 40 => {
            (offered(app, &["help", "leave"]), words(&[("q", "leave"), ("?", "help")]))
        }
        Mode::Card | Mode::Help(_) => (offered(app, &["help"]), words(&[("?", "help")])),
    };
    cut::with_tail(parts, help, columns)
}

/// The rows of the table that do something now, but those with these hints.
fn offered(app: &LabelApp, elsewhere: &[&str]) -> Vec<Vec<Span<'static>>> {
    let applies = |when: When| match when {
        When::Always => true,
        When::Open => !app.hidden(),
        When::Hidden => app.hidden(),
    };
    let rows = KEYS.iter().filter(|row| !row.hint.is_empty() && !elsewhere.contains(&row.hint) && applies(row.when));
    rows.map(|row| decide::key_word(app, row.shown, row.hint)).collect()
}
