//! The phases of the current step: what is done, what runs, what it took, and what it took last time.

use std::collections::BTreeMap;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    attach::RunState,
    task::Phase,
    tui::{
        app::App,
        panel::{self, Frame, Panel},
        phases::{self, Standing},
        theme::Token,
        widget::{cut, gauge, number, wrap},
    },
};

const NAME_COLUMNS: usize = 7;
const TIME_COLUMNS: usize = 10;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let room = panel::frame(app, Panel::Step, frame(app), area, buf);
    let columns = usize::from(room.width);
    let mut lines: Vec<Line> = shown_phases(app).into_iter().map(|phase| phase_line(app, phase, columns)).collect();
    lines.extend(steering(app, columns));
    lines.extend(refused(app, columns));
    panel::put(&lines, room, buf);
}

/// Why the run pauses, and with which values it goes on.
fn steering(app: &App, columns: usize) -> Vec<Line<'static>> {
    let steering = &app.live.steering;
    let mut lines = Vec::new();
    if let Some(why) = steering.paused_by.as_ref().filter(|_| app.live.state == RunState::Paused) {
        lines.extend(wrap::plain(&cut::clean(why.as_str()), app.theme.style(Token::Warn), columns));
    }
    if let Some(knobs) = steering.knobs {
        let all = format!("temp {}  lr {:e}  labels {}", knobs.temperature, knobs.learning_rate, knobs.label_gate);
        lines.push(Line::styled(cut::fit(&all, columns), app.theme.style(Token::Dim)));
    }
    for (step, knob) in &steering.coming {
        lines.push(Line::styled(cut::fit(&format!("{knob} from step {step}"), columns), app.theme.style(Token::Warn)));
    }
    lines
}

fn frame(app: &App) -> Frame {
    let right = phases::mean_step_seconds(&app.live, 8).map(|mean| format!("a step takes {}", number::seconds(mean)));
    let breaks: Vec<String> = app.live.steering.breakpoints.iter().map(ToString::to_string).collect();
    let counts: Vec<String> = refusals(app).into_iter().map(|(what, n, ..)| format!("{what} {n}")).collect();
    // A foot that does not fit leaves whole, so it never holds both.
    let foot = if breaks.is_empty() { counts.join(" · ") } else { format!("breaks at {}", breaks.join(" · ")) };
    Frame { left: title(app), right: right.unwrap_or_default(), foot }
}

/// What the difficulty window, gates and hand labels refused in the last committed step: how it is called, how many, by which quadrant
/// and reason, most frequent first. The rarer kind comes first: small screens have a row for one, and the foot has the counts of both.
fn refusals(app: &App) -> Vec<(&'static str, u32, String, Token)> {
    let Some(report) = app.live.reports.back() else { return Vec::new() };
    let kinds = [("left out", &report.dropped, Token::Warn), ("rejected", &report.rejections, Token::Dim)];
    let tell = |(what, counts, token): (&'static str, &BTreeMap<String, u32>, Token)| {
        let n: u32 = counts.values().sum();
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let counts: Vec<String> = counts.iter().map(|(why, n)| format!("{} {n}", cut::clean(why))).collect();
        (n > 0).then(|| (what, n, counts.join(", "), token))
    };
    kinds.into_iter().filter_map(tell).collect()
}

fn refused(app: &App, columns: usize) -> Vec<Line<'static>> {
    let line = |(what, n, why, token): (&str, u32, String, Token)| {
        Line::styled(cut::fit(&format!("{what} {n}: {why}"), columns), app.theme.style(token))
    };
    refusals(app).into_iter().map(line).collect()
}

fn title(app: &App) -> String {
    match app.live.phase {
        Some(Phase::Warmup) => "Warm-up".to_owned(),
        Some(Phase::Eval) if app.live.step == 0 => "Before step 1".to_owned(),
        _ if app.live.steps_total > 0 => format!("Step {} / {}", app.live.step, app.live.steps_total),
        _ => format!("Step {}", app.live.step),
    }
}

fn shown_phases(app: &App) -> Vec<Phase> {
    let mut phases = Phase::STEP.to_vec();
    if app.live.phase == Some(Phase::Warmup) {
        phases.insert(0, Phase::Warmup);
    }
    phases.push(Phase::Eval);
    phases
}

fn phase_line(app: &App, phase: Phase, columns: usize) -> Line<'static> {
    let (glyph, token, middle, time) = match app.phases.standing(&app.live, phase) {
        Standing::Done(mark) => {
            let done = mark.filter(|m| m.done > 0).map(|m| format!("{} {}", m.done, unit(phase))).unwrap_or_default();
            ("✓", Token::Text, done, mark.map(|m| number::seconds(m.seconds)).unwrap_or_default())
        }
        Standing::Active => {
            let glyph = if app.live.state == RunState::Paused { "‖" } else { "▶" };
            let seconds = app.live.phase_seconds;
            let time = if seconds > 0.0 { number::seconds(seconds) } else { "…".to_owned() };
            (glyph, Token::Title, progress(app, phase, columns), time)
        }
        Standing::Pending => ("·", Token::Dim, before(app, phase), String::new()),
    };
    let style = app.theme.style(token);
    let middle_columns = columns.saturating_sub(2 + NAME_COLUMNS + 1 + TIME_COLUMNS);
    Line::from(vec![
        Span::styled(format!("{glyph} "), if token == Token::Title { app.theme.style(Token::Run) } else { style }),
        Span::styled(cut::pad(phase.name(), NAME_COLUMNS + 1), style),
        Span::styled(cut::pad(&middle, middle_columns), style),
        Span::styled(cut::pad_left(&time, TIME_COLUMNS), style),
    ])
}

/// `█████▌░░ 328/512`, or the count alone where the total is unknown.
fn progress(app: &App, phase: Phase, columns: usize) -> String {
    let (done, total) = (app.live.phase_done, app.live.phase_total);
    if total == 0 {
        return if done == 0 { String::new() } else { format!("{done} {}", unit(phase)) };
    }
    let counts = format!(" {done}/{total}");
    let room = columns.saturating_sub(2 + NAME_COLUMNS + 2 + TIME_COLUMNS + counts.len());
    let bar = gauge::bar(f64::from(done) / f64::from(total), room.min(24));
    if room < 4 { counts.trim_start().to_owned() } else { bar + &counts }
}

/// What a pending phase took in the last committed step.
fn before(app: &App, phase: Phase) -> String {
    let last = app.live.reports.iter().rev().find_map(|r| phases::timing(r, phase));
    last.map(|t| format!("last {}", number::seconds(t.seconds))).unwrap_or_default()
}

fn unit(phase: Phase) -> &'static str {
    match phase {
        Phase::Scribe | Phase::Gate => "samples",
        Phase::Doctor | Phase::Reward => "completions",
        Phase::Update => "rows",
        Phase::Warmup => "batches",
        Phase::Commit => "rows",
        Phase::Eval => "notes",
    }
}
