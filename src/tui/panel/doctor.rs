//! The Doctor's completion as it is written: thinking, then the verdict set apart, the truth, and what it earned.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{Extent, Frame, Panel, outcome, scribe::shorten, siblings};
use crate::{
    attach::{RunState, live::Stream},
    store::Cell,
    task::{Phase, Rollout, Verdict, verdict::split_for_display},
    tui::{
        app::App,
        panel,
        theme::Token,
        widget::{
            cut, number,
            wrap::{self, Run},
        },
    },
};

/// Rows of the verdict's own text at most.
const VERDICT_ROWS: usize = 3;
const LABEL_COLUMNS: usize = 10;
/// Rows from which truth and reward have a line each.
const ROOMY: u16 = 13;

pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let (lines, extent) = body(app, panel::inner(area));
    let room = panel::frame(app, Panel::Doctor, texts(app, extent), area, buf);
    let shown: Vec<Line> = lines.into_iter().skip(extent.top).take(extent.visible).collect();
    panel::put(&shown, room, buf);
    let footer = footer(app, room);
    let at = room.height.saturating_sub(u16::try_from(footer.len()).unwrap_or(u16::MAX));
    panel::put(&footer, Rect { y: room.y + at, height: room.height - at, ..room }, buf);
}

fn texts(app: &App, extent: Extent) -> Frame {
    let below = extent.total.saturating_sub(extent.top + extent.visible);
    let state = if app.follow.frozen { "frozen · f follow" } else { "following · f freeze" };
    let foot = if below > 0 { format!("+{} · End", number::many(below, "line")) } else { format!("{state} · ←→ sibling") };
    let Some(key) = app.follow.watched() else {
        return Frame { left: "Doctor".to_owned(), foot, ..Frame::default() };
    };
    let n_siblings = app.follow.siblings(&app.live).len();
    let id = cut::clean(&key.sample_id);
    let held_out = is_held_out(app);
    let left = if held_out {
        format!("Doctor  held-out note {id}")
    } else {
        format!("Doctor  {id}  completion {}/{n_siblings}", key.sibling + 1)
    };
    let foot = if held_out && below == 0 { state.to_owned() } else { foot };
    let stream = app.follow.stream(&app.live);
    let right = match stream.and_then(|s| s.rollout.as_ref()) {
        Some(rollout) => format!("{} tokens", rollout.completion.tokens.len()),
        None if stream.is_some() && writing(app) => "writing".to_owned(),
        None => String::new(),
    };
    Frame { left, right, foot }
}

/// Whether the text on show answers a note that nobody trains on: it has no sample, no siblings and no reward.
fn is_held_out(app: &App) -> bool {
    let of = |id: &str| app.follow.sample(&app.live).is_some_and(|sample| sample.id == id);
    app.follow.stream(&app.live).is_some_and(|stream| stream.rollout.is_none() && !of(&stream.sample_id))
}

/// Whether completions are being written now.
pub fn writing(app: &App) -> bool {
    matches!(app.live.phase, Some(Phase::Doctor | Phase::Eval)) && !app.ended() && app.live.state != RunState::Paused
}

/// The text above the footer, and which part of it shows. Untouched, the view stays at the end.
pub fn body(app: &App, room: Rect) -> (Vec<Line<'static>>, Extent) {
    let lines = text_lines(app, room.width.into());
    let visible = usize::from(room.height).saturating_sub(footer(app, room).len()).max(1);
    let last = lines.len().saturating_sub(visible);
    let top = app.scroll[Panel::Doctor.index()].map_or(last, |top| top.min(last));
    let extent = Extent { total: lines.len(), visible, top };
    (lines, extent)
}

/// The thinking of the completion on show; of a malformed one everything, as it was written.
pub fn text_lines(app: &App, columns: usize) -> Vec<Line<'static>> {
    let Some(stream) = app.follow.stream(&app.live) else {
        return wrap::plain(waiting(app), app.theme.style(Token::Dim), columns);
    };
    let text = stream.text.as_str();
    let thinking = app.theme.style(Token::Thinking);
    if is_malformed(stream) {
        // The tags are what went wrong: show the text as it was written.
        return wrap::plain(text.trim_end(), thinking, columns);
    }
    let (thought, verdict) = split_for_display(text);
    let mut runs: Vec<Run> = vec![(thought.to_owned(), thinking)];
    if stream.rollout.is_none() && verdict.is_none() && writing(app) {
        runs.push(("▌".to_owned(), app.theme.style(Token::Run)));
    }
    wrap::wrap(&runs, columns, 0)
}

fn is_malformed(stream: &Stream) -> bool {
    stream.rollout.as_ref().is_some_and(|r| matches!(r.verdict, Verdict::Malformed { .. }))
}

fn waiting(app: &App) -> &'static str {
    match app.live.phase {
        _ if !app.connected => "Waiting for the trainer's first picture.",
        Some(Phase::Warmup) => "Supervised warm-up: the Doctor copies good answers before it plays.",
        Some(Phase::Eval) => "Held-out notes are being read.",
        _ if app.follow.watched().is_some() => "This completion has not begun.",
        _ => "The Doctor has not begun this step.",
    }
}

/// The fixed lines below the text. They shrink with the room, the verdict last.
fn footer(app: &App, room: Rect) -> Vec<Line<'static>> {
    let Some(stream) = app.follow.stream(&app.live) else { return Vec::new() };
    let columns = usize::from(room.width);
    let rule = Line::styled("─".repeat(columns), app.theme.style(Token::Border));
    let verdict = verdict_lines(app, stream, columns);
    let mut lines = vec![rule];
    lines.extend(verdict);
    if is_held_out(app) {
        let text = cut::fit("evaluation: graded with the others, once all are read; nothing is learnt from it", columns);
        lines.push(Line::styled(text, app.theme.style(Token::Dim)));
        return lines.into_iter().skip(usize::from(room.height < 7)).take(usize::from(room.height).saturating_sub(1)).collect();
    }
    lines.extend(truth_lines(app, stream, columns, room.height >= ROOMY));
    lines.push(siblings::line(app, columns));
    let keep = usize::from(room.height).saturating_sub(1).min(lines.len());
    match keep {
        0 | 1 => lines.into_iter().skip(1).take(keep).collect(),
        _ if room.height < 7 => lines.into_iter().skip(1).take(2.min(keep)).collect(),
        _ => lines,
    }
}

fn label(app: &App, text: &str) -> Span<'static> {
    Span::styled(cut::pad(text, LABEL_COLUMNS), app.theme.style(Token::Dim))
}

/// What it concludes, as far as it has.
pub fn verdict_lines(app: &App, stream: &Stream, columns: usize) -> Vec<Line<'static>> {
    let dim = app.theme.style(Token::Dim);
    let strong = app.theme.style(Token::Verdict);
    let mut runs: Vec<Run> = vec![(cut::pad("verdict", LABEL_COLUMNS), dim)];
    if let Some(rollout) = &stream.rollout {
        let cell = Cell::of(rollout);
        let style = app.theme.style(cell.token());
        runs.push((format!("{} {}", cell.glyph(), cell.word()), style));
        runs.push(("  ".to_owned(), dim));
        runs.push((outcome::claim(&rollout.verdict), strong));
    } else if let (_, Some(verdict)) = split_for_display(stream.text.as_str()) {
        runs.push((verdict.replace('\n', " "), strong));
    } else {
        runs.push(("… pending".to_owned(), dim));
    }
    let mut lines = wrap::wrap(&runs, columns, LABEL_COLUMNS);
    shorten(&mut lines, VERDICT_ROWS, columns);
    lines
}

fn truth_lines(app: &App, stream: &Stream, columns: usize, roomy: bool) -> Vec<Line<'static>> {
    // The samples of a step are gone when the next one begins; a completion that was scored brings its own along.
    let sample = stream.rollout.as_ref().map(|rollout| rollout.sample.clone());
    let sample = sample.or_else(|| app.follow.sample(&app.live).filter(|s| s.id == stream.sample_id));
    let truth = sample.map_or_else(|| "unknown".to_owned(), |s| outcome::truth(&s.label));
    let truth = vec![label(app, "truth"), Span::styled(truth, app.theme.style(Token::Verdict))];
    let reward = reward_parts(app, stream.rollout.as_ref(), roomy);
    if roomy {
        return vec![Line::from(truth), cut::segments(reward, "   ", columns)];
    }
    vec![cut::segments([vec![truth], reward].concat(), "   ", columns)]
}

/// Reward, advantage, and the reward's named parts; `labelled` starts a line of their own.
fn reward_parts(app: &App, rollout: Option<&Rollout>, labelled: bool) -> Vec<Vec<Span<'static>>> {
    let dim = app.theme.style(Token::Dim);
    let name = if labelled { label(app, "reward") } else { Span::styled("reward ", dim) };
    let Some(rollout) = rollout else { return vec![vec![name, Span::styled("…", dim)]] };
    let signed = |value: f32| number::signed(Some(f64::from(value)));
    let style = app.theme.style(Cell::of(rollout).token());
    let mut parts = vec![vec![name, Span::styled(signed(rollout.reward.total()), style)]];
    if let Some(advantage) = rollout.advantage {
        parts.push(vec![Span::styled("advantage ", dim), Span::raw(signed(advantage))]);
    }
    parts.push(cut::part(outcome::reward_parts(&rollout.reward).join("  "), dim));
    parts
}
