//! The Runs screen: one line a run, the chosen one in figures below. Columns leave whole when there is no room, the id and the
//! state last.

mod over;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    store::RunSummary,
    tui::{
        keymap,
        panel::{self, status},
        runs::{KEYS, RunsApp, Wish, state_word},
        theme::Token,
        widget::{cut, number, wrap},
    },
};

const ID_COLUMNS: usize = 24;
/// Rows of the figures below the list, and the least height at which they are shown.
const DETAIL_ROWS: u16 = 6;
const TALL: u16 = 18;
/// The least size that has a row for the tabs.
const TABBED: u16 = 10;
const TABBED_COLUMNS: usize = 60;

/// Heading, width, and how a run fills it; in the order in which columns are given room.
type Column = (&'static str, usize, fn(&RunsApp, &RunSummary) -> (String, Token));

const COLUMNS: &[Column] = &[
    ("state", 12, |_, run| state(run)),
    ("step", 12, |_, run| (format!("{}/{}", run.step, run.steps_total), Token::Text)),
    ("last sign", 10, |app, run| (ago(app.now - run.updated), Token::Dim)),
    ("reward", 8, |_, run| (number::signed(run.reward), Token::Text)),
    ("right", 7, |_, run| (number::percent(run.accuracy), Token::Text)),
    ("held-out", 9, |_, run| (number::percent(run.eval_accuracy), Token::Text)),
    ("FP", 5, |_, run| (number::percent(run.false_positive_rate), Token::Dim)),
    ("FN", 5, |_, run| (number::percent(run.false_negative_rate), Token::Dim)),
    ("KL", 7, |_, run| (number::plain(run.kl), Token::Dim)),
    ("model", 22, |_, run| (cut::clean(&run.model), Token::Dim)),
    ("name", 24, |_, run| (cut::clean(&run.name), Token::Dim)),
];

/// Where the list is, which of the runs is its first row, and the rows of the figures below it.
struct Places {
    list: Rect,
    top: usize,
    detail: u16,
}

fn has_tabs(area: Rect) -> bool {
    area.height >= TABBED && usize::from(area.width) >= TABBED_COLUMNS
}

fn places(app: &RunsApp, area: Rect) -> Places {
    let detail = if area.height >= TALL && !app.shown().is_empty() { DETAIL_ROWS } else { 0 };
    let above = (2 + u16::from(has_tabs(area))).min(area.height);
    let list = Rect { y: area.y + above, height: area.height.saturating_sub(above + 1 + detail), ..area };
    Places { list, top: (app.chosen + 1).saturating_sub(usize::from(list.height).max(1)), detail }
}

/// The key of the tab at a place on the screen.
pub fn tab_at(app: &RunsApp, area: Rect, column: u16, row: u16) -> Option<char> {
    if row == 0 && has_tabs(area) { status::tab_in(&tabs(app, area.width.into()), column) } else { None }
}

/// The run at a place on the screen, as a place among those shown.
pub fn row_at(app: &RunsApp, area: Rect, column: u16, row: u16) -> Option<usize> {
    let Places { list, top, .. } = places(app, area);
    let at = top + usize::from(row.checked_sub(list.y)?);
    (list.contains((column, row).into()) && at < app.shown().len()).then_some(at)
}

/// Draws one frame. Reads only.
pub fn draw(app: &RunsApp, frame: &mut Frame) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    let columns = usize::from(area.width);
    let shown = app.shown();
    let Places { list, top, detail } = places(app, area);
    let mut above = vec![title(app, &shown, columns), head(app, columns)];
    if has_tabs(area) {
        above.insert(0, tabs(app, columns));
    }
    panel::put(&above, Rect { height: list.y - area.y, ..area }, buf);
    let lines: Vec<Line> = (shown.iter().enumerate().skip(top).take(usize::from(list.height).max(1)))
        .map(|(i, run)| row(app, run, i == app.chosen, columns))
        .collect();
    panel::put(&lines, list, buf);
    if shown.is_empty() {
        let text = if app.runs.is_empty() {
            " No run yet. Start one with `medserl demo`, or `medserl run EXPERIMENT.toml`."
        } else {
            " No run has these words (Esc shows all)."
        };
        panel::put(&[Line::styled(cut::fit(text, columns), app.theme.style(Token::Dim))], list, buf);
    }
    if let Some(run) = app.run().filter(|_| detail > 0) {
        let place = Rect { y: list.bottom(), height: detail, ..area };
        panel::put(&figures(app, run, columns), place, buf);
    }
    let foot = Rect { y: area.bottom().saturating_sub(1), height: 1.min(area.height), ..area };
    panel::put(&[hints(app, columns)], foot, buf);
    over::draw(app, Rect { height: area.height.saturating_sub(1), ..area }, buf);
}

/// The same line as on the screens of one run.
fn tabs(app: &RunsApp, columns: usize) -> Line<'static> {
    let title = app.theme.style(Token::Title);
    let name = app.back.as_deref().map_or_else(|| "medserl".to_owned(), cut::clean);
    let mut parts = vec![cut::part(format!(" {}", cut::fit(&name, columns / 4)), title), status::tabs(&app.theme, '5', "  ")];
    if columns < 90 && cut::width(&name) > 15 {
        parts.remove(0);
        parts[0].insert(0, Span::raw(" "));
    }
    let help = cut::part("? help", app.theme.style(Token::Dim));
    let mut line = cut::segments(parts, " · ", columns.saturating_sub(8));
    line.push_span(Span::raw(" ".repeat(columns.saturating_sub(line.width() + 7))));
    line.spans.extend(help);
    line
}

fn title(app: &RunsApp, shown: &[&RunSummary], columns: usize) -> Line<'static> {
    let dim = app.theme.style(Token::Dim);
    if let Some(prompt) = &app.prompt {
        return Line::from(vec![
            Span::styled(" / ", app.theme.style(Token::Key)),
            Span::raw(cut::fit(&format!("{}▏", cut::clean(&prompt.text())), columns.saturating_sub(3))),
        ]);
    }
    let n = if shown.len() == app.runs.len() {
        number::many(app.runs.len(), "run")
    } else {
        format!("{} of {} runs", shown.len(), app.runs.len())
    };
    let count = |word: &str| app.runs.iter().filter(|run| state_word(run) == word).count();
    let mut parts = vec![cut::part(" Runs", app.theme.style(Token::Key)), cut::part(n, dim), cut::part(app.by.name(), dim)];
    if !app.filter.is_empty() {
        parts.insert(2, cut::part(format!("/{}", cut::clean(&app.filter)), app.theme.style(Token::Text)));
    }
    let running = app.runs.iter().filter(|run| run.alive).count();
    for (n, word, token) in
        [(running, "in training", Token::Run), (count("failed") + count("died"), "failed or died", Token::Fail)]
    {
        if n > 0 {
            parts.push(cut::part(format!("{n} {word}"), app.theme.style(token)));
        }
    }
    if !app.marks.is_empty() {
        parts.push(cut::part(format!("{} marked", app.marks.len()), app.theme.style(Token::Warn)));
    }
    cut::segments(parts, " · ", columns)
}

fn hints(app: &RunsApp, columns: usize) -> Line<'static> {
    if let Some(message) = &app.message {
        return Line::styled(cut::fit(&format!(" {}", cut::clean(message)), columns), app.theme.style(Token::Title));
    }
    let key =
        |keys: &str, word: &str| vec![Span::styled(keys.to_owned(), app.theme.style(Token::Key)), Span::raw(format!(" {word}"))];
    let parts = if app.prompt.is_some() {
        vec![key("Enter", "apply"), key("Esc", "cancel"), key("Ctrl-U", "clear")]
    } else {
        let offered = KEYS.iter().filter(|row| row.wish != Wish::Help && !row.hint.is_empty() && app.offers(row.wish));
        let mut parts: Vec<_> = offered.map(|row| key(&keymap::label(row.keys[0]), row.hint)).collect();
        if app.offers(Wish::Down) {
            parts.push(key("↑↓", "choose"));
        }
        parts
    };
    let help = if app.prompt.is_none() { vec![key("?", "help")] } else { Vec::new() };
    cut::with_tail(parts, help, columns)
}

/// How many of the columns fit beside the id.
fn fitting(columns: usize) -> &'static [Column] {
    let mut used = 3 + ID_COLUMNS;
    let n = COLUMNS
        .iter()
        .take_while(|(_, width, _)| {
            used += width + 1;
            used <= columns
        })
        .count();
    &COLUMNS[..n]
}

fn head(app: &RunsApp, columns: usize) -> Line<'static> {
    let mut text = cut::pad("   run", 3 + ID_COLUMNS);
    for (heading, width, _) in fitting(columns) {
        text.push(' ');
        text.push_str(&cut::pad(heading, *width));
    }
    Line::styled(cut::fit(text.trim_end(), columns), app.theme.style(Token::Dim))
}

fn row(app: &RunsApp, run: &RunSummary, chosen: bool, columns: usize) -> Line<'static> {
    let id = cut::pad(&cut::clean(&run.id), ID_COLUMNS.min(columns.saturating_sub(3)));
    let mark = if app.marks.contains(&run.id) { "*" } else { " " };
    let mut line = Line::from(vec![
        Span::raw(if chosen { "▸" } else { " " }),
        Span::styled(format!("{mark} "), app.theme.style(Token::Warn)),
        Span::styled(id, app.theme.style(Token::Title)),
    ]);
    match &run.broken {
        Some(reason) => {
            let reason = cut::fit(&format!("✗ unreadable: {}", cut::clean(reason)), columns.saturating_sub(4 + ID_COLUMNS));
            line.push_span(Span::styled(format!(" {reason}"), app.theme.style(Token::Fail)));
        }
        None => line.spans.extend(fitting(columns).iter().map(|(_, width, text)| {
            let (text, token) = text(app, run);
            Span::styled(format!(" {}", cut::pad(&text, *width)), app.theme.style(token))
        })),
    }
    if chosen { line.patch_style(app.theme.style(Token::Chosen)) } else { line }
}

/// The chosen run: every figure, whatever the width of the list left out, and what it said last.
fn figures(app: &RunsApp, run: &RunSummary, columns: usize) -> Vec<Line<'static>> {
    let [dim, text, strong] = [Token::Dim, Token::Text, Token::Title].map(|token| app.theme.style(token));
    let rule = columns.saturating_sub(cut::width(&run.id) + 5);
    let mut lines = vec![Line::from(vec![
        Span::styled(" ─ ", app.theme.style(Token::Border)),
        Span::styled(cut::fit(&cut::clean(&run.id), columns.saturating_sub(4)), strong),
        Span::styled(format!(" {}", "─".repeat(rule)), app.theme.style(Token::Border)),
    ])];
    if let Some(why) = &run.broken {
        lines.extend(wrap::plain(&format!(" {}", cut::clean(why)), app.theme.style(Token::Fail), columns));
        return lines;
    }
    let (word, token) = state(run);
    let fact = |label: &str, value: String| vec![Span::styled(format!("{label} "), dim), Span::styled(value, text)];
    let first = vec![
        cut::part(format!(" {word}"), app.theme.style(token)),
        fact("step", format!("{} of {}", run.step, run.steps_total)),
        fact("model", cut::clean(&run.model)),
        fact("begun", ago(app.now - run.started)),
        fact("last sign", ago(app.now - run.updated)),
    ];
    let second = vec![
        fact(" reward", number::signed(run.reward)),
        fact("right", number::percent(run.accuracy)),
        fact("held-out", number::percent(run.eval_accuracy)),
        fact("false positives", number::percent(run.false_positive_rate)),
        fact("false negatives", number::percent(run.false_negative_rate)),
        fact("KL", number::plain(run.kl)),
    ];
    lines.push(cut::segments(first, "   ", columns));
    lines.push(cut::segments(second, "   ", columns));
    if !run.message.is_empty() {
        let mut said = wrap::plain(&format!(" {}", cut::clean(&run.message)), text, columns);
        said.truncate(usize::from(DETAIL_ROWS) - lines.len());
        lines.extend(said);
    }
    lines
}

fn state(run: &RunSummary) -> (String, Token) {
    match (state_word(run), run.alive) {
        ("done", _) => ("■ done".to_owned(), Token::Correct),
        ("failed", _) => ("✗ failed".to_owned(), Token::Fail),
        ("unreadable", _) => ("✗ unreadable".to_owned(), Token::Fail),
        ("paused", true) => ("‖ paused".to_owned(), Token::Warn),
        ("stopped", false) => ("■ stopped".to_owned(), Token::Dim),
        ("died", false) => ("✗ died".to_owned(), Token::Fail),
        (state, _) => (format!("● {}", cut::clean(state)), Token::Run),
    }
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => "just now".to_owned(),
        60..3600 => format!("{} m ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}
