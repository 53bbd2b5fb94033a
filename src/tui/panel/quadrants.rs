//! The Scribe's four quadrants: how many rollouts, what they earned, how often the Doctor was wrong, and where it is going.
//! Columns leave whole when there is no room.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    task::{Quadrant, StepReport, report::QuadrantStats},
    tui::{
        app::App,
        panel::{self, Frame, Panel},
        theme::Token,
        widget::{cut, number, spark},
    },
};

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let (report, so_far) = shown(app);
    let left = "Quadrants".to_owned();
    let right = match &report {
        Some(r) if so_far => format!("step {} so far", r.step),
        Some(r) => format!("step {}", r.step),
        None => String::new(),
    };
    let room = panel::frame(app, Panel::Quadrants, Frame { left, right, ..Frame::default() }, area, buf);
    let Some(report) = report else {
        let line = Line::styled(cut::fit("no rollout is scored yet", room.width.into()), app.theme.style(Token::Dim));
        return panel::put(&[line], room, buf);
    };
    panel::put(&lines(app, &report, room.width.into()), room, buf);
}

/// The current step's counts where it has any, else the last committed step's. The flag says the step is not over.
pub fn shown(app: &App) -> (Option<StepReport>, bool) {
    let live = &app.live;
    let committed = live.reports.back();
    if committed.is_some_and(|r| r.step == live.step) {
        return (committed.cloned(), false);
    }
    let mut current = StepReport { step: live.step, ..StepReport::default() };
    for rollout in live.streams.iter().filter_map(|s| s.rollout.as_ref()) {
        current.count(std::slice::from_ref(rollout));
    }
    if current.total().n_rollouts > 0 { (Some(current), true) } else { (committed.cloned(), false) }
}

/// Which columns there is room for, and how wide they are.
struct Columns {
    title: usize,
    malformed: bool,
    trend: usize,
}

const FIXED: usize = 2 + 1 + 4 + 1 + 6 + 1 + 5 + 1 + 6;

impl Columns {
    fn new(columns: usize) -> Columns {
        let spare = columns.saturating_sub(FIXED);
        let (title, spare) = if spare >= 20 + 2 + 8 { (20, spare - 20) } else { (0, spare) };
        let (malformed, spare) = if spare >= 7 + 2 + 5 { (true, spare - 7) } else { (false, spare) };
        Columns { title, malformed, trend: if spare >= 2 + 3 { (spare - 2).min(24) } else { 0 } }
    }
}

fn lines(app: &App, report: &StepReport, columns: usize) -> Vec<Line<'static>> {
    let shape = Columns::new(columns);
    let mut head = format!("{:<w$} {:>4} {:>6} {:>5} {:>6}", "", "n", "reward", "right", "FP/FN", w = 2 + shape.title);
    if shape.malformed {
        head += "  malf.";
    }
    if shape.trend > 0 {
        head += "  ";
        head += &cut::fit("trend", shape.trend);
    }
    let mut lines = vec![Line::styled(cut::fit(&head, columns), app.theme.style(Token::Dim))];
    for quadrant in Quadrant::ALL {
        let stats = report.quadrant(quadrant);
        let wrong = wrong(quadrant.holds_error(), stats);
        lines.push(row(app, &shape, (quadrant.code(), quadrant.title()), stats, wrong, |r| *r.quadrant(quadrant)));
    }
    let total = report.total();
    lines.push(row(app, &shape, ("Σ", "all"), &total, (String::new(), Token::Text), StepReport::total));
    lines
}

/// `▼ 12%` misses where there is an error to find, `▲ 25%` false alarms where there is none.
fn wrong(holds_error: bool, stats: &QuadrantStats) -> (String, Token) {
    let (glyph, n, token) = if holds_error {
        ("▼", stats.false_negatives, Token::FalseNegative)
    } else {
        ("▲", stats.false_positives, Token::FalsePositive)
    };
    let token = if n == 0 { Token::Dim } else { token };
    (format!("{glyph}{:>4}", number::percent(share(n, stats.n_rollouts))), token)
}

fn share(n: u32, of: u32) -> Option<f64> {
    (of > 0).then(|| f64::from(n) / f64::from(of))
}

fn row(
    app: &App,
    shape: &Columns,
    (code, title): (&str, &str),
    stats: &QuadrantStats,
    (wrong, wrong_token): (String, Token),
    of: impl Fn(&StepReport) -> QuadrantStats,
) -> Line<'static> {
    let any = stats.n_rollouts > 0;
    let name = if shape.title > 0 { format!("{} {}", cut::pad(code, 2), title) } else { code.to_owned() };
    let mut line = Line::from(vec![
        Span::styled(cut::pad(&name, 2 + shape.title), app.theme.style(Token::Title)),
        Span::styled(format!(" {:>4}", stats.n_rollouts), app.theme.style(Token::Dim)),
        Span::raw(format!(" {:>6}", number::signed(any.then(|| stats.reward_mean())))),
        Span::raw(format!(" {:>5}", number::percent(any.then(|| stats.accuracy())))),
        Span::styled(format!(" {}", cut::pad_left(&wrong, 6)), app.theme.style(wrong_token)),
    ]);
    if shape.malformed {
        let token = if stats.malformed == 0 { Token::Dim } else { Token::Malformed };
        let text = format!("✗{:>4}", number::percent(share(stats.malformed, stats.n_rollouts)));
        line.push_span(Span::styled(cut::pad_left(&text, 7), app.theme.style(token)));
    }
    if shape.trend > 0 {
        let reports = app.live.reports.iter();
        let known = |s: QuadrantStats| (s.n_rollouts > 0).then(|| s.reward_mean());
        let recent: Vec<Option<f64>> = reports.rev().take(shape.trend).map(|r| known(of(r))).collect();
        let recent: Vec<Option<f64>> = recent.into_iter().rev().collect();
        line.push_span(Span::styled(format!("  {}", spark::row(&recent, shape.trend)), app.theme.style(Token::Spark)));
    }
    line
}

/// One line for screens with no room for the table: `AE +0.71 ▼12%  AS +0.84 ▲6% …`.
pub fn strip(app: &App, columns: usize) -> Line<'static> {
    let (Some(report), _) = shown(app) else { return Line::default() };
    let part = |quadrant: Quadrant| {
        let stats = report.quadrant(quadrant);
        let (wrong, token) = wrong(quadrant.holds_error(), stats);
        let reward = number::signed((stats.n_rollouts > 0).then(|| stats.reward_mean()));
        vec![
            Span::styled(format!("{} ", quadrant.code()), app.theme.style(Token::Title)),
            Span::raw(format!("{reward} ")),
            Span::styled(wrong.replace(' ', ""), app.theme.style(token)),
        ]
    };
    let scored = Quadrant::ALL.into_iter().filter(|q| report.quadrant(*q).n_rollouts > 0);
    cut::segments(scored.map(part).collect(), "   ", columns)
}
