//! What lies over the list of runs: help, the comparison, and the two questions before something is lost.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    text::{Line, Span},
    widgets::{Block, Clear, Widget},
};

use crate::{
    store::RunSummary,
    tui::{
        overlay::{keylist, sheet},
        panel,
        runs::{Over, RunsApp, differences, state_word},
        theme::Token,
        widget::{cut, number},
    },
};

pub(super) fn draw(app: &RunsApp, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width.saturating_sub(6));
    match &app.over {
        None => {}
        Some(Over::Help(menu)) => {
            let sheet = keylist::sheet(&app.theme, menu, "Help  Runs", &app.entries(), sheet::columns(area));
            sheet.draw(&app.theme, menu.chosen, area, buf);
        }
        Some(Over::Compare) => dialog(app, "Compare", "Esc close", &comparison(app, columns), area, buf),
        Some(Over::Stop(dir)) => {
            let id = dir.file_name().unwrap_or_default().to_string_lossy();
            dialog(app, &format!("Stop {}?", cut::clean(&id)), "", &stop(app, columns), area, buf);
        }
        Some(Over::Delete { id, typed, .. }) => {
            let (id, typed) = (cut::clean(id), cut::clean(&typed.text()));
            let fail = app.theme.style(Token::Fail);
            let lines = vec![
                Line::styled(cut::fit("Its steps, rollouts, labels and checkpoints will be gone for good.", columns), fail),
                Line::raw(cut::fit(&format!("Type {id} and Enter to delete it; Esc keeps it."), columns)),
                Line::from(vec![
                    Span::styled("> ", app.theme.style(Token::Key)),
                    Span::raw(cut::fit(&format!("{typed}▏"), columns.saturating_sub(2))),
                ]),
            ];
            dialog(app, &format!("Delete {id}?"), "", &lines, area, buf);
        }
    }
}

fn stop(app: &RunsApp, columns: usize) -> Vec<Line<'static>> {
    let rows = [("c", "save a checkpoint, then stop the run"), ("s", "stop now: this step is lost"), ("Esc", "let it go on")];
    let line = |(key, words): (&str, &str)| {
        let words = cut::fit(words, columns.saturating_sub(6));
        Line::from(vec![Span::styled(cut::pad(key, 6), app.theme.style(Token::Key)), Span::raw(words)])
    };
    rows.into_iter().map(line).collect()
}

/// A figure, and how a run shows it.
type Figure = (&'static str, fn(&RunSummary) -> String);

const FIGURES: &[Figure] = &[
    ("state", |run| state_word(run).to_owned()),
    ("step", |run| format!("{} of {}", run.step, run.steps_total)),
    ("reward", |run| number::signed(run.reward)),
    ("right", |run| number::percent(run.accuracy)),
    ("held-out", |run| number::percent(run.eval_accuracy)),
    ("false positives", |run| number::percent(run.false_positive_rate)),
    ("false negatives", |run| number::percent(run.false_negative_rate)),
    ("KL", |run| number::plain(run.kl)),
];

/// Figures of the marked runs, then the keys on which their experiments differ.
fn comparison(app: &RunsApp, columns: usize) -> Vec<Line<'static>> {
    let runs = app.compared();
    let [dim, text, strong] = [Token::Dim, Token::Text, Token::Title].map(|token| app.theme.style(token));
    let (different, n_same) = differences(&runs);
    let widest = different.iter().map(|(key, _)| cut::width(key)).max().unwrap_or(0).clamp(15, 30);
    let each = (columns.saturating_sub(widest) / runs.len().max(1)).clamp(8, 26);
    let cells = |values: Vec<String>, style| {
        values.into_iter().map(move |value| Span::styled(format!(" {}", cut::pad(&value, each.saturating_sub(1))), style))
    };
    let line = |label: &str, values: Vec<String>, style| {
        let mut line = Line::styled(cut::pad(label, widest), dim);
        line.spans.extend(cells(values, style));
        line
    };
    let mut lines = vec![line("", runs.iter().map(|run| cut::clean(&run.id)).collect(), strong)];
    lines.extend(FIGURES.iter().map(|(label, show)| line(label, runs.iter().map(|run| cut::clean(&show(run))).collect(), text)));
    let title = match different.len() {
        0 => format!("the experiments are the same in all {n_same} keys"),
        n => format!("the experiments differ in {n} of {} keys", n + n_same),
    };
    lines.push(Line::styled(cut::fit(&title, columns), dim));
    let rows = different.into_iter().map(|(key, values)| {
        let values = values.iter().map(|value| cut::clean(value)).collect();
        line(&cut::clean(&key), values, app.theme.style(Token::Warn))
    });
    lines.extend(rows);
    lines
}

fn dialog(app: &RunsApp, title: &str, foot: &str, lines: &[Line], area: Rect, buf: &mut Buffer) {
    let want = |n: usize, extra: u16| u16::try_from(n).unwrap_or(u16::MAX).saturating_add(extra);
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(cut::width(title) + 2);
    let (width, height) = (want(widest, 4).min(area.width), want(lines.len(), 2).min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buf);
    if width < 8 || height < 3 {
        return panel::put(lines, place, buf);
    }
    let style = app.theme.style(Token::Focus);
    let room = usize::from(width.saturating_sub(4));
    let mut block = Block::bordered().border_set(border::THICK).border_style(style);
    block = block.title_top(Line::styled(format!(" {} ", cut::fit(title, room.saturating_sub(2))), style));
    if !foot.is_empty() && cut::width(foot) + 2 <= room {
        block = block.title_bottom(Line::styled(format!(" {foot} "), app.theme.style(Token::Dim)).right_aligned());
    }
    block.render(place, buf);
    panel::put(lines, panel::inner(place), buf);
}
