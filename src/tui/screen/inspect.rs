//! The Inspect screen: the list of committed rollouts and the one being read; on narrow terminals one of the two at a time.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    store::RolloutRow,
    tui::{
        app::App,
        inspect::{Page, Part},
        panel::{self, Frame, outcome, rollout, status},
        size::Size,
        theme::Token,
        widget::{cut, number},
    },
};

const LIST_COLUMNS: u16 = 47;
const ID_COLUMNS: usize = 15;
/// Columns from which the detail is laid out in two.
const TWO_COLUMNS: u16 = 110;
/// Lines at the head of the list: the filter, and the names of the columns.
const HEAD_ROWS: usize = 2;

/// Where the two parts are; a part that is not on the screen has no place.
struct Places {
    list: Option<Rect>,
    detail: Option<Rect>,
}

/// How many lines each part shows, and whether it has the screen alone.
#[derive(Clone, Copy, Debug)]
pub struct Visible {
    pub list: usize,
    pub detail: usize,
    pub alone: bool,
    /// The list has the screen, and the rollout is out of sight.
    pub list_only: bool,
}

impl Visible {
    pub fn of(self, part: Part) -> usize {
        if part == Part::List { self.list } else { self.detail }
    }
}

/// Whether what is read needs the whole width.
fn whole(app: &App) -> bool {
    app.inspect.compared.is_some() || app.inspect.beside && app.inspect.shown.is_some()
}

fn places(app: &App, body: Rect) -> Places {
    let size = Size::of(app.area());
    let alone = app.zoomed || matches!(size, Size::Tiny | Size::Small);
    if alone || whole(app) {
        let detail = app.inspect.part == Part::Detail || whole(app);
        return Places { list: (!detail).then_some(body), detail: detail.then_some(body) };
    }
    let width = LIST_COLUMNS.min(body.width);
    let list = Rect { width, ..body };
    let detail = Rect { x: body.x + width, width: body.width - width, ..body };
    Places { list: Some(list), detail: Some(detail) }
}

/// The inner room of a part: framed, except on tiny terminals.
fn inner(app: &App, area: Rect) -> Rect {
    if Size::of(app.area()) == Size::Tiny { area } else { panel::inner(area) }
}

fn body(app: &App) -> Rect {
    let area = app.area();
    if Size::of(area) == Size::Tiny { tiny_body(area) } else { super::body(area) }
}

/// Rows of the detail that scroll: what is pinned below them leaves first where there is little room.
fn scrolling(app: &App, rows: usize) -> usize {
    let pinned = app.inspect.page.pinned.len();
    if pinned > 0 && rows > pinned + 4 { rows - pinned - 1 } else { rows }
}

/// What each part shows at the present size.
pub fn visible(app: &App) -> Visible {
    let places = places(app, body(app));
    let rows = |area: Option<Rect>| area.map_or(0, |area| usize::from(inner(app, area).height));
    let head = if Size::of(app.area()) == Size::Tiny { 0 } else { HEAD_ROWS };
    Visible {
        list: rows(places.list).saturating_sub(head).max(1),
        detail: scrolling(app, rows(places.detail)).max(1),
        alone: places.list.is_none() || places.detail.is_none(),
        list_only: places.detail.is_none(),
    }
}

/// Lays the detail out for the present size; called when it changed, never while drawing.
pub fn lay_out(app: &mut App) {
    let before = app.inspect.page.tokens_at;
    let area = places(app, body(app)).detail;
    app.inspect.page = area.map_or_else(Page::default, |area| {
        let room = inner(app, area);
        rollout::page(app, usize::from(room.width).max(1), area.width >= TWO_COLUMNS)
    });
    app.inspect.stale = false;
    let last = app.inspect.page.height().saturating_sub(visible(app).detail);
    // Whoever turns the token layer on wants to see it.
    if let (Some(at), None, 1) = (app.inspect.page.tokens_at, before, app.inspect.page.columns.len()) {
        app.inspect.top = at;
    }
    // A token that was just chosen is brought into view.
    let moved = std::mem::replace(&mut app.inspect.token_seen, app.inspect.token) != app.inspect.token;
    if let Some(at) = app.inspect.page.token_at.filter(|_| moved) {
        let visible = visible(app).detail;
        app.inspect.top = app.inspect.top.clamp((at + 2).saturating_sub(visible).min(at), at);
    }
    app.inspect.top = app.inspect.top.min(last);
}

/// The part at a place on the screen, and the row of the list there.
pub fn part_at(app: &App, column: u16, row: u16) -> Option<(Part, Option<usize>)> {
    let places = places(app, body(app));
    let at = |area: &Rect| area.contains((column, row).into());
    if let Some(area) = places.list.filter(at) {
        let head = if Size::of(app.area()) == Size::Tiny { 0 } else { HEAD_ROWS };
        let room = inner(app, area);
        let line = usize::from(row).checked_sub(usize::from(room.y) + head).filter(|_| row < room.bottom());
        return Some((Part::List, line.map(|line| first_row(app, visible(app).list) + line)));
    }
    places.detail.filter(at).map(|_| (Part::Detail, None))
}

/// The first row of the list on show: the chosen one stands in the middle.
fn first_row(app: &App, visible: usize) -> usize {
    let inspect = &app.inspect;
    (inspect.chosen + 1).saturating_sub(visible.div_ceil(2)).min(inspect.rows.len().saturating_sub(visible))
}

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let places = places(app, area);
    if let Some(area) = places.list.filter(|area| area.width >= 4 && area.height >= 3) {
        let room = panel::frame_with(app, app.inspect.part == Part::List, list_frame(app), area, buf);
        let mut lines = head(app, room.width.into());
        lines.extend(rows(app, room.width.into(), usize::from(room.height).saturating_sub(HEAD_ROWS)));
        panel::put(&lines, room, buf);
    }
    if let Some(area) = places.detail.filter(|area| area.width >= 4 && area.height >= 3) {
        let alone = app.inspect.part == Part::Detail || whole(app);
        let room = panel::frame_with(app, alone, detail_frame(app, panel::inner(area)), area, buf);
        draw_page(app, room, buf);
    }
}

fn tiny_body(area: Rect) -> Rect {
    let hint = u16::from(area.height >= 4);
    let top = u16::from(area.height >= 2);
    Rect { y: area.y + top, height: area.height.saturating_sub(top + hint), ..area }
}

/// Without frames: a title, the part that has the keys, the hints.
pub fn draw_tiny(app: &App, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let texts = if app.inspect.part == Part::List { list_frame(app) } else { detail_frame(app, tiny_body(area)) };
    let title = app.inspect.prompt.as_ref().map_or_else(
        || Line::styled(cut::fit(&texts.left, columns), app.theme.style(Token::Title)),
        |_| filter_line(app, columns),
    );
    panel::put(&[title], Rect { height: 1.min(area.height), ..area }, buf);
    let body = tiny_body(area);
    let places = places(app, body);
    if places.list.is_some() {
        panel::put(&rows(app, columns, body.height.into()), body, buf);
    } else {
        draw_page(app, body, buf);
    }
    if area.height >= 4 {
        let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
        panel::put(&[status::hints(app, columns)], foot, buf);
    }
}

fn list_frame(app: &App) -> Frame {
    let inspect = &app.inspect;
    let n = inspect.rows.len();
    let left = if n as u64 == inspect.n_all { format!("Rollouts  {n}") } else { format!("Rollouts  {n} of {}", inspect.n_all) };
    let arrow = if inspect.sort.descending { "↓" } else { "↑" };
    let mut foot = Vec::new();
    if !inspect.marks.is_empty() {
        foot.push(format!("{} marked", inspect.marks.len()));
    }
    if inspect.n_new_steps > 0 {
        foot.push(format!("+{} · R", number::many(inspect.n_new_steps as usize, "step")));
    }
    if inspect.loading {
        foot.push("reading…".to_owned());
    }
    Frame { left, right: format!("{} {arrow}", inspect.sort.key.name()), foot: foot.join(" · ") }
}

fn detail_frame(app: &App, room: Rect) -> Frame {
    let inspect = &app.inspect;
    let below = inspect.page.height().saturating_sub(inspect.top + scrolling(app, room.height.into()));
    let foot = if below > 0 { format!("+{} · J", number::many(below, "line")) } else { String::new() };
    if inspect.compared.is_some() {
        return Frame { left: "Compare".to_owned(), right: "Esc back".to_owned(), foot };
    }
    if let (true, Some(rollout)) = (inspect.beside, inspect.rollout()) {
        let n_right = inspect.group.iter().filter(|r| crate::store::Cell::of(r).is_right()).count();
        let truth = outcome::truth(&rollout.sample.label);
        let left = format!("{}  {n_right} of {} right  truth {truth}", cut::clean(&rollout.sample.id), inspect.group.len());
        return Frame { left, right: "Esc back".to_owned(), foot };
    }
    let Some(key) = &inspect.shown else { return Frame { left: "Rollout".to_owned(), ..Frame::default() } };
    let mark = if inspect.marks.contains(key) { "* " } else { "" };
    let left = format!("{mark}{}  completion {}/{}", cut::clean(&key.sample_id), key.sibling + 1, inspect.group.len().max(1));
    let place = if inspect.rows.is_empty() { String::new() } else { format!("{} of {}", inspect.chosen + 1, inspect.rows.len()) };
    Frame { left, right: place, foot }
}

/// The filter in force or being written, and the names of the columns (or what is wrong with the filter).
fn head(app: &App, columns: usize) -> Vec<Line<'static>> {
    let dim = app.theme.style(Token::Dim);
    let second = match &app.inspect.problem {
        Some(problem) if app.inspect.prompt.is_some() => {
            Line::styled(cut::fit(&cut::clean(&problem.to_string()), columns), app.theme.style(Token::Warn))
        }
        _ => Line::styled(cut::fit(column_names(columns).trim_end(), columns), dim),
    };
    vec![filter_line(app, columns), second]
}

/// While written, the line shows the part around the place, which is marked; so is the first wrong character.
fn filter_line(app: &App, columns: usize) -> Line<'static> {
    let (text, dim) = (app.theme.style(Token::Text), app.theme.style(Token::Dim));
    let Some(prompt) = &app.inspect.prompt else {
        let written = cut::clean(&app.inspect.filter_text);
        let shown = if written.is_empty() { "no filter".to_owned() } else { written };
        return Line::from(vec![
            Span::styled("/ ", app.theme.style(Token::Key)),
            Span::styled(
                cut::fit(&shown, columns.saturating_sub(2)),
                if app.inspect.filter.terms.is_empty() { dim } else { text },
            ),
        ]);
    };
    let mut line = Line::styled("/ ", app.theme.style(Token::Key));
    let letters: Vec<char> = cut::clean(&prompt.text()).chars().chain([' ']).collect();
    let wrong_at = app.inspect.problem.as_ref().map(|p| p.at);
    let first = prompt.at().saturating_sub(columns.saturating_sub(4));
    let mut used = 2;
    for (i, letter) in letters.iter().enumerate().skip(first) {
        let letter = letter.to_string();
        used += cut::width(&letter);
        if used > columns {
            break;
        }
        let style = if i == prompt.at() {
            app.theme.style(Token::Chosen)
        } else if wrong_at.is_some_and(|at| i >= at) {
            app.theme.style(Token::Fail)
        } else {
            text
        };
        line.push_span(Span::styled(letter, style));
    }
    line
}

/// Heading, width, and how a rollout fills it; in the order in which columns are given room.
type Column = (&'static str, usize, fn(&RolloutRow) -> (String, Token));

const COLUMNS: &[Column] = &[
    ("cell", 4, |row| (format!("{}{}", row.cell.glyph(), row.cell.code()), row.cell.token())),
    ("reward", 6, |row| (number::signed(Some(row.reward)), row.cell.token())),
    ("adv.", 6, |row| (number::signed(row.advantage), Token::Text)),
    ("tokens", 6, |row| (row.n_tokens.to_string(), Token::Dim)),
    ("step", 7, |row| (row.step.to_string(), Token::Dim)),
    ("quadrant", 20, |row| (row.quadrant.title().to_owned(), Token::Dim)),
];

fn fitting(columns: usize) -> &'static [Column] {
    let mut used = 2 + ID_COLUMNS;
    let fits = |(_, width, _): &&Column| {
        used += width + 1;
        used <= columns
    };
    &COLUMNS[..COLUMNS.iter().take_while(fits).count()]
}

/// Words stand left, numbers right.
fn cell(heading: &str, text: &str, width: usize) -> String {
    if matches!(heading, "cell" | "quadrant") { cut::pad(text, width) } else { cut::pad_left(text, width) }
}

fn column_names(columns: usize) -> String {
    let names = fitting(columns).iter().map(|(heading, width, _)| format!(" {}", cell(heading, heading, *width)));
    cut::pad("  sample/sibling", 2 + ID_COLUMNS) + &names.collect::<String>()
}

/// The rows around the chosen one: only what is on the screen is made into text.
fn rows(app: &App, columns: usize, visible: usize) -> Vec<Line<'static>> {
    let inspect = &app.inspect;
    if inspect.rows.is_empty() {
        let text = match &inspect.failed {
            Some(why) => format!("the store cannot be read: {}", cut::clean(why)),
            None if !inspect.loaded => "reading the store…".to_owned(),
            None if inspect.n_all == 0 => "no step is committed yet: rollouts come here when one is".to_owned(),
            None => "no rollout passes this filter (Esc clears it)".to_owned(),
        };
        return crate::tui::widget::wrap::plain(&text, app.theme.style(Token::Dim), columns);
    }
    let top = first_row(app, visible);
    let shown = inspect.rows.iter().enumerate().skip(top).take(visible);
    shown.map(|(i, row)| line(app, row, i == inspect.chosen, columns)).collect()
}

fn line(app: &App, row: &RolloutRow, chosen: bool, columns: usize) -> Line<'static> {
    let marked = !app.inspect.marks.is_empty() && app.inspect.marks.contains(&row.key());
    let id = cut::clean(&format!("{}/{}", row.sample_id, row.sibling + 1));
    let mut line = Line::from(vec![
        Span::raw(if chosen { "▸" } else { " " }),
        Span::styled(if marked { "*" } else { " " }, app.theme.style(Token::Warn)),
        Span::raw(cut::pad(&id, ID_COLUMNS.min(columns.saturating_sub(2)))),
    ]);
    line.spans.extend(fitting(columns).iter().map(|(heading, width, text)| {
        let (text, token) = text(row);
        Span::styled(format!(" {}", cell(heading, &text, *width)), app.theme.style(token))
    }));
    if chosen { line.patch_style(app.theme.style(Token::Chosen)) } else { line }
}

/// The part of the page on show; a second column stands right of a rule.
fn draw_page(app: &App, room: Rect, buf: &mut Buffer) {
    let page = &app.inspect.page;
    if page.columns.is_empty() {
        let text = if app.inspect.shown.is_some() { "reading…" } else { "no rollout is chosen" };
        return panel::put(&[Line::styled(cut::fit(text, room.width.into()), app.theme.style(Token::Dim))], room, buf);
    }
    let scrolling = u16::try_from(scrolling(app, room.height.into())).unwrap_or(room.height);
    if scrolling < room.height {
        let rule = Line::styled("─".repeat(room.width.into()), app.theme.style(Token::Border));
        let foot = Rect { y: room.y + scrolling, height: room.height - scrolling, ..room };
        panel::put(&[rule], foot, buf);
        panel::put(&page.pinned, Rect { y: foot.y + 1, height: foot.height - 1, ..foot }, buf);
    }
    let room = Rect { height: scrolling, ..room };
    let n = u16::try_from(page.columns.len()).unwrap_or(1).max(1);
    let each = if n == 1 { room.width } else { room.width.saturating_sub(3 * (n - 1)) / n };
    let mut x = room.x;
    for (i, column) in page.columns.iter().enumerate() {
        let place = Rect { x, width: each.min(room.right().saturating_sub(x)), ..room };
        let shown = column.iter().skip(app.inspect.top).take(room.height.into());
        for (line, y) in shown.zip(place.top()..place.bottom()) {
            buf.set_line(place.x, y, line, place.width);
        }
        x = x.saturating_add(each).saturating_add(3);
        if i + 1 < page.columns.len() && x < room.right() {
            let rule = app.theme.style(Token::Border);
            (room.top()..room.bottom()).for_each(|y| buf.set_string(x - 2, y, "│", rule));
        }
    }
}
