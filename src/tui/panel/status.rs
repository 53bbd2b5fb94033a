//! The lines around the panels: header, status and key hints.

use ratatui::text::{Line, Span};

use crate::{
    attach::RunState,
    task::{LabelGate, Phase},
    tui::{
        action::{Action, ActionRow, rows_of},
        app::App,
        inspect::Part,
        keymap,
        panel::Panel,
        phases,
        screen::{Screen, TABS},
        theme::{Theme, Token},
        widget::{cut, number},
    },
};

/// Fewer columns of a run's name say nothing.
const LEAST_ID: usize = 6;
/// Columns in which a reason can be read.
const BESIDE: usize = 30;

/// `1·Live  2 Inspect  6 Log`: every screen there is, the one of key `here` bright.
pub fn tabs(theme: &Theme, here: char, gap: &'static str) -> Vec<Span<'static>> {
    let tab = |(i, (key, title, _)): (usize, (char, &'static str, Option<Screen>))| {
        let (mark, token) = if key == here { ('·', Token::Key) } else { (' ', Token::Dim) };
        let gap = if i == 0 { "" } else { gap };
        [Span::raw(gap), Span::styled(format!("{key}{mark}{title}"), theme.style(token))]
    };
    TABS.into_iter().enumerate().flat_map(tab).collect()
}

/// What the header has room for.
struct Head {
    right: Line<'static>,
    tabs: Vec<Span<'static>>,
    /// Columns left of `right`, and those of them that are the run's name's.
    room: usize,
    for_id: usize,
}

fn width(spans: &[Span]) -> usize {
    spans.iter().map(|span| cut::width(&span.content)).sum()
}

/// With the first `n_right` of role, alerts and help key, and with this gap between the screens.
fn head(app: &App, columns: usize, n_right: usize, gap: &'static str) -> Head {
    let mut right = vec![role(app), alerts(app), cut::part("? help", app.theme.style(Token::Dim))];
    right.truncate(n_right);
    let right = cut::segments(right, "  ", columns * 2 / 5);
    let tabs = tabs(&app.theme, app.screen.number(), gap);
    let room = columns.saturating_sub(right.width() + if right.width() == 0 { 2 } else { 3 });
    let for_id = room.saturating_sub(width(&tabs) + 4);
    Head { right, tabs, room, for_id }
}

/// Run, screens, model; alerts, role and the help key at the right. What has no room leaves whole, the screens last. Where the run's
/// name would be cut, the help key, which is on the hint line too, and then the gaps between the screens make way for it.
pub fn header(app: &App, columns: usize) -> Line<'static> {
    let theme = &app.theme;
    let dim = theme.style(Token::Dim);
    let (run_id, model) = (cut::clean(&app.live.run_id), cut::clean(&app.live.model));
    let wanted = cut::width(&run_id).min(columns / 4);
    let heads = [(3, "  "), (2, "  "), (2, " "), (1, " "), (0, " ")].map(|(n_right, gap)| head(app, columns, n_right, gap));
    // The whole name; else a piece of it; else at least every screen.
    let best = heads[..3].iter().position(|head| head.for_id >= wanted);
    let best = best.or_else(|| heads[..3].iter().rposition(|head| head.for_id >= LEAST_ID));
    let best = best.or_else(|| heads.iter().position(|head| width(&head.tabs) < head.room));
    let Head { right, tabs, room, for_id } = Vec::from(heads).swap_remove(best.unwrap_or(4));
    let mut parts = Vec::new();
    if !run_id.is_empty() && for_id >= LEAST_ID.min(cut::width(&run_id)) {
        parts.push(cut::part(cut::fit(&run_id, for_id.min(columns / 4)), theme.style(Token::Title)));
    }
    let program = cut::part("medserl", theme.style(Token::Title));
    if width(&tabs) + 4 + parts.iter().map(|part| width(part)).sum::<usize>() + 11 <= room {
        parts.insert(0, program);
    }
    parts.push(tabs);
    parts[0].insert(0, Span::raw(" "));
    if !model.is_empty() {
        parts.push(cut::part(cut::fit(&model, columns / 3), dim));
    }
    let mut line = cut::segments(parts, " · ", room);
    let gap = columns.saturating_sub(line.width() + right.width() + 1);
    line.push_span(Span::raw(" ".repeat(gap)));
    line.spans.extend(right.spans);
    line
}

/// What this client may do, and who else is there.
fn role(app: &App) -> Vec<Span<'static>> {
    let others = app.live.clients.len().saturating_sub(1);
    if app.read_only {
        return cut::part(if app.replayed { "replay" } else { "read-only" }, app.theme.style(Token::Chosen));
    }
    if !app.leads() {
        return cut::part("watching", app.theme.style(Token::Chosen));
    }
    if others == 0 { Vec::new() } else { cut::part(format!("steering, +{others}"), app.theme.style(Token::Dim)) }
}

fn alerts(app: &App) -> Vec<Span<'static>> {
    let unread = app.unread_alerts();
    if unread == 0 { Vec::new() } else { cut::part(format!("! {unread}"), app.theme.style(Token::Warn)) }
}

/// The key of the tab in this column of the header.
pub fn tab_at(app: &App, column: u16) -> Option<char> {
    tab_in(&header(app, usize::from(app.size.0)), column)
}

/// The key of the tab in this column of a line with [`tabs`].
pub fn tab_in(line: &Line, column: u16) -> Option<char> {
    let mut x = 0;
    for span in &line.spans {
        let width = cut::width(&span.content);
        if (x..x + width).contains(&usize::from(column)) {
            let mut letters = span.content.chars();
            let (key, title) = (letters.next()?, letters.as_str().trim_start_matches(['·', ' ']));
            return TABS.into_iter().find(|(tab, name, _)| *tab == key && *name == title).map(|(tab, ..)| tab);
        }
        x += width;
    }
    None
}

/// The run's state as glyph and word.
pub fn state(app: &App) -> (String, Token) {
    if app.lost {
        return ("? LOST".to_owned(), Token::Fail);
    }
    if !app.connected {
        return ("… CONNECTING".to_owned(), Token::Dim);
    }
    let (text, token) = match app.live.state {
        RunState::Starting => ("… STARTING", Token::Run),
        RunState::Running => ("● RUN", Token::Run),
        RunState::Pausing => ("~ PAUSING", Token::Warn),
        RunState::Paused => ("‖ PAUSED", Token::Warn),
        RunState::Stopping if app.ended() => ("■ STOPPED", Token::Warn),
        RunState::Stopping => ("~ STOPPING", Token::Warn),
        RunState::Finished if app.falls_short() => ("■ STOPPED", Token::Warn),
        RunState::Finished => ("■ DONE", Token::Correct),
        RunState::Failed => ("✗ FAILED", Token::Fail),
    };
    (text.to_owned(), token)
}

/// State, step, phase, scores, rate, time left: in order of importance, for lines that drop from the right.
pub fn facts(app: &App) -> Vec<Vec<Span<'static>>> {
    let live = &app.live;
    let (word, token) = state(app);
    let text = app.theme.style(Token::Text);
    let mut facts = vec![cut::part(word, app.theme.style(token)), cut::part(step(app), text), cut::part(phase(app), text)];
    facts.extend(turned(app));
    facts.extend(coming(app));
    if let Some(rate) = rate(app) {
        facts.push(cut::part(format!("{} tok/s", number::count(rate)), text));
    }
    if let Some(seconds) = seconds_left(app) {
        facts.push(cut::part(format!("eta {}", number::seconds(seconds)), text));
    }
    if let Some(report) = live.reports.back() {
        let named = [("reward", "reward"), ("kl", "KL"), ("loss", "loss")];
        for (key, label) in named {
            if let Some(value) = report.metrics.get(key) {
                let value = if key == "reward" { number::signed(Some(*value)) } else { number::plain(Some(*value)) };
                facts.push(cut::part(format!("{label} {value}"), app.theme.style(Token::Dim)));
            }
        }
    }
    if let Some(gpu) = live.machine.gpu.as_ref().and_then(|gpu| gpu.used) {
        facts.push(cut::part(format!("GPU {}", number::percent(Some(f64::from(gpu)))), app.theme.style(Token::Dim)));
    } else if let Some(cpu) = live.machine.cpu_used {
        facts.push(cut::part(format!("cores {}", number::percent(Some(f64::from(cpu)))), app.theme.style(Token::Dim)));
    }
    facts.retain(|part| part.iter().any(|span| !span.content.is_empty()));
    facts
}

/// Knobs that are not where the experiment has them.
fn turned(app: &App) -> Vec<Vec<Span<'static>>> {
    let (Some(now), Some(experiment)) = (app.live.steering.knobs, app.live.steering.experiment) else { return Vec::new() };
    let turned = now.all().into_iter().zip(experiment.all()).filter(|(now, experiment)| now != experiment);
    turned.map(|(knob, _)| cut::part(knob.to_string(), app.theme.style(Token::Warn))).collect()
}

/// Knobs that will be another from some step on.
fn coming(app: &App) -> Vec<Vec<Span<'static>>> {
    let coming = app.live.steering.coming.iter();
    coming.map(|(step, knob)| cut::part(format!("{knob} from {step}"), app.theme.style(Token::Warn))).collect()
}

pub fn status(app: &App, columns: usize) -> Line<'static> {
    let mut parts = facts(app);
    // A reason is worth more than figures, and a piece of it more than nothing.
    if let Some((why, token, at)) = reason(app) {
        let at = parts.len().min(at);
        let width = |parts: &[Vec<Span>]| {
            parts.iter().map(|p| p.iter().map(|s| cut::width(&s.content)).sum::<usize>() + 2).sum::<usize>()
        };
        let all = columns.saturating_sub(width(&parts[..at]) + 2);
        // What is coming stays where the reason has room beside it.
        let beside = all.saturating_sub(width(&coming(app)));
        let room = if beside >= BESIDE { beside } else { all };
        if room >= 12 {
            parts.insert(at, cut::part(cut::fit(&why, room), app.theme.style(token)));
        }
    }
    let mut line = cut::segments(parts, "  ", columns.saturating_sub(1));
    line.spans.insert(0, Span::raw(" "));
    line
}

/// Why the run stands still, where there is more to say than its state, and its place among the facts.
fn reason(app: &App) -> Option<(String, Token, usize)> {
    if app.lost || app.ended() {
        return Some((farewell(app), Token::Title, 2));
    }
    let why = app.live.steering.paused_by.as_ref().filter(|_| app.live.state == RunState::Paused)?;
    Some((cut::clean(why.as_str()), Token::Warn, 3 + turned(app).len()))
}

fn step(app: &App) -> String {
    match (app.live.phase, app.live.steps_total) {
        (Some(Phase::Warmup), _) | (None, 0) => String::new(),
        (_, 0) => format!("step {}", app.live.step),
        (_, total) => format!("step {}/{total}", app.live.step),
    }
}

fn phase(app: &App) -> String {
    let (done, total) = (app.live.phase_done, app.live.phase_total);
    match app.live.phase {
        None => String::new(),
        Some(_) if app.ended() => String::new(),
        Some(phase) if total > 0 => format!("{} {done}/{total}", phase.name()),
        Some(phase) => phase.name().to_owned(),
    }
}

/// Tokens per second of the phase in progress.
#[expect(clippy::cast_precision_loss)]
fn rate(app: &App) -> Option<f64> {
    let live = &app.live;
    let moving = live.phase_seconds > 0.0 && live.phase_tokens > 0 && !app.ended() && live.state != RunState::Paused;
    moving.then(|| live.phase_tokens as f64 / live.phase_seconds)
}

fn seconds_left(app: &App) -> Option<f64> {
    let committed = app.live.reports.back().map(|r| r.step)?;
    let steps_left = app.live.steps_total.saturating_sub(committed);
    let moves = app.live.state == RunState::Running && steps_left > 0 && !app.ended() && !app.lost;
    phases::mean_step_seconds(&app.live, 8).filter(|_| moves).map(|mean| mean * f64::from(steps_left))
}

/// A message while there is one, else the keys that do something here.
pub fn hints(app: &App, columns: usize) -> Line<'static> {
    if let Some((message, _)) = &app.flash {
        return Line::styled(cut::fit(&format!(" {message}"), columns), app.theme.style(Token::Title));
    }
    if app.screen == Screen::Inspect && app.inspect.prompt.is_some() {
        return key_words(app, &[("Enter", "apply"), ("Esc", "cancel"), ("Ctrl-U", "clear")], columns);
    }
    if app.screen == Screen::Charts && app.charts.prompt.is_some() {
        return key_words(app, &[("Enter", "apply"), ("Esc", "cancel"), ("Ctrl-U", "clear")], columns);
    }
    if app.screen == Screen::Log && app.logs.takes_keys() {
        return key_words(app, &[("Enter", "search"), ("Esc", "cancel"), ("Ctrl-U", "clear")], columns);
    }
    let mut parts: Vec<Vec<Span>> = Vec::new();
    // What one can do with what is before one's eyes comes before what is always there.
    let first: &[(&str, &str)] = match app.screen {
        Screen::Inspect if app.inspect.compared.is_some() => &[("Esc", "back"), ("↑↓", "scroll"), ("←→", "choose")],
        Screen::Inspect if reads(app) => &[("Esc", "back"), ("↑↓", "scroll"), ("←→", "sibling")],
        Screen::Charts => &[("↑↓", "chart"), ("←→", "crosshair")],
        Screen::Log => &[("↑↓", "line")],
        _ => &[],
    };
    parts.extend(first.iter().map(|words| key_word(app, *words)));
    if waits_for_labels(app) && !app.read_only {
        parts.push(key_word(app, ("3", "label")));
    }
    if !app.leads() && !app.read_only {
        parts.push(key_word(app, ("W", "take over")));
    }
    if (app.lost || app.ended()) && !app.read_only && app.falls_short() {
        parts.push(key_word(app, ("Ctrl-R", "resume")));
    }
    let always = [Action::Palette, Action::Help];
    parts.extend(rows_of(app.screen).filter(|row| !always.contains(&row.action)).filter_map(|row| hint(app, row)));
    // The way to everything else never leaves.
    let ways = always.iter().filter_map(|action| hint(app, rows_of(app.screen).find(|row| row.action == *action)?));
    cut::with_tail(parts, ways.collect(), columns)
}

/// Whether the run stands still until somebody has judged samples, or goes on without.
fn waits_for_labels(app: &App) -> bool {
    let steering = &app.live.steering;
    let gate = steering.knobs.is_some_and(|knobs| knobs.label_gate != LabelGate::Off);
    gate && app.live.state == RunState::Paused && app.live.phase == Some(Phase::Gate) && steering.paused_by.is_some()
}

/// Why there is nothing to steer any more.
fn farewell(app: &App) -> String {
    match &app.live.ended {
        Some(message) if !message.as_str().is_empty() => cut::clean(message.as_str()),
        _ if app.lost => "the trainer does not answer; trying again".to_owned(),
        _ => "the run is over".to_owned(),
    }
}

/// A hint line of keys that are not in the table of actions.
fn key_words(app: &App, words: &[(&'static str, &'static str)], columns: usize) -> Line<'static> {
    cut::with_tail(words.iter().map(|words| key_word(app, *words)).collect(), Vec::new(), columns)
}

/// Whether the keys belong to one rollout, not to the list.
fn reads(app: &App) -> bool {
    app.screen == Screen::Inspect && (app.inspect.part == Part::Detail || app.inspect.compared.is_some())
}

fn key_word(app: &App, (key, word): (&'static str, &str)) -> Vec<Span<'static>> {
    vec![Span::styled(key, app.theme.style(Token::Key)), Span::raw(format!(" {word}"))]
}

fn hint(app: &App, row: &ActionRow) -> Option<Vec<Span<'static>>> {
    let of_the_list = matches!(row.action, Action::Open | Action::Down | Action::NextSibling | Action::Filter | Action::Sort);
    let said =
        matches!((app.screen, row.action), (Screen::Charts, Action::Down | Action::CursorRight) | (Screen::Log, Action::Down));
    let nothing_sought = row.action == Action::NextMatch && app.logs.search.is_empty();
    if said || nothing_sought || reads(app) && of_the_list {
        return None;
    }
    let no_steering = app.why_not(row.action).is_some() || app.lost || app.ended();
    if row.hint.is_empty() || (no_steering && row.steers) {
        return None;
    }
    let paused = matches!(app.live.state, RunState::Paused | RunState::Pausing);
    let word = match row.action {
        Action::PauseResume if paused => "resume",
        Action::Follow if app.follow.frozen => "follow",
        Action::Zoom if app.zoomed => "unzoom",
        Action::Down if app.screen == Screen::Inspect && app.inspect.part == Part::List => "choose",
        Action::Down if app.screen == Screen::Live && app.focus == Panel::Scribe => "sample",
        Action::Mark if app.inspect.shown.as_ref().is_some_and(|key| app.inspect.marks.contains(key)) => "unmark",
        _ => row.hint,
    };
    let keys = match row.action {
        Action::NextSibling => "←→".to_owned(),
        Action::Down => "↑↓".to_owned(),
        _ => keymap::label(row.keys.first()?),
    };
    Some(vec![Span::styled(keys, app.theme.style(Token::Key)), Span::raw(format!(" {word}"))])
}
