//! The lines around the panels: header, status and key hints.

use ratatui::text::{Line, Span};

use crate::{
    attach::RunState,
    task::Phase,
    tui::{
        action::{Action, ActionRow, rows_of},
        app::App,
        inspect::Part,
        keymap,
        panel::Panel,
        phases,
        screen::{Screen, TABS},
        theme::Token,
        widget::{cut, number},
    },
};

/// `1·Live 2 Inspect 6 Log`: every screen there is, the present one bright.
fn tabs(app: &App) -> Vec<Span<'static>> {
    let tab = |(i, (key, title, screen)): (usize, (char, &'static str, Option<Screen>))| {
        let (mark, token) = if screen == Some(app.screen) { ('·', Token::Key) } else { (' ', Token::Dim) };
        let gap = if i == 0 { "" } else { "  " };
        [Span::raw(gap), Span::styled(format!("{key}{mark}{title}"), app.theme.style(token))]
    };
    TABS.into_iter().enumerate().flat_map(tab).collect()
}

/// Program, run, screens, model; the help key at the right.
pub fn header(app: &App, columns: usize) -> Line<'static> {
    let theme = &app.theme;
    let dim = theme.style(Token::Dim);
    let right_parts = vec![
        cut::part("? help", dim),
        if app.read_only { cut::part("read-only", theme.style(Token::Chosen)) } else { Vec::new() },
    ];
    let right = cut::segments(right_parts, "  ", columns / 2);
    let mut parts = vec![cut::part(" medserl", theme.style(Token::Title))];
    let (run_id, model) = (cut::clean(&app.live.run_id), cut::clean(&app.live.model));
    if !run_id.is_empty() {
        parts.push(cut::part(cut::fit(&run_id, columns / 4), theme.style(Token::Title)));
    }
    parts.push(tabs(app));
    if !model.is_empty() {
        parts.push(cut::part(cut::fit(&model, columns / 3), dim));
    }
    let mut line = cut::segments(parts, " · ", columns.saturating_sub(right.width() + 3));
    let gap = columns.saturating_sub(line.width() + right.width() + 1);
    line.push_span(Span::raw(" ".repeat(gap)));
    line.spans.extend(right.spans);
    line
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
        RunState::Stopping => ("~ STOPPING", Token::Warn),
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

pub fn status(app: &App, columns: usize) -> Line<'static> {
    let mut line = cut::segments(facts(app), "  ", columns.saturating_sub(1));
    line.spans.insert(0, Span::raw(" "));
    line
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
    let over = app.lost || app.ended();
    if over && app.screen != Screen::Inspect {
        let parts = vec![
            cut::part(" q leave  ? help", app.theme.style(Token::Key)),
            cut::part(farewell(app), app.theme.style(Token::Title)),
        ];
        return cut::segments(parts, "  ", columns);
    }
    let mut parts: Vec<Vec<Span>> = Vec::new();
    if reads(app) {
        parts.extend([("Esc", "back"), ("↑↓", "scroll")].map(|words| key_word(app, words)));
    }
    parts.extend(rows_of(app.screen).filter_map(|row| hint(app, row)));
    let mut line = cut::segments(parts, "  ", columns.saturating_sub(1));
    line.spans.insert(0, Span::raw(" "));
    line
}

/// Why there is nothing to steer any more.
fn farewell(app: &App) -> String {
    match &app.live.ended {
        Some(message) if !message.as_str().is_empty() => format!(" {}", cut::clean(message.as_str())),
        _ if app.lost => " the trainer's socket closed without a word; its store is intact".to_owned(),
        _ => " the run is over".to_owned(),
    }
}

/// A hint line of keys that are not in the table of actions.
fn key_words(app: &App, words: &[(&'static str, &'static str)], columns: usize) -> Line<'static> {
    let parts = words.iter().map(|words| key_word(app, *words)).collect();
    let mut line = cut::segments(parts, "  ", columns.saturating_sub(1));
    line.spans.insert(0, Span::raw(" "));
    line
}

/// Whether the keys belong to one rollout, not to the list.
fn reads(app: &App) -> bool {
    app.screen == Screen::Inspect && (app.inspect.part == Part::Detail || app.inspect.compared.is_some())
}

fn key_word(app: &App, (key, word): (&'static str, &str)) -> Vec<Span<'static>> {
    vec![Span::styled(key, app.theme.style(Token::Key)), Span::raw(format!(" {word}"))]
}

fn hint(app: &App, row: &ActionRow) -> Option<Vec<Span<'static>>> {
    if reads(app) && matches!(row.action, Action::Open | Action::Down) {
        return None;
    }
    let no_steering = app.read_only || app.lost || app.ended();
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
