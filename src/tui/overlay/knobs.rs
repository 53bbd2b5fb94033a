//! Knobs: the values that can be changed while the run goes on. A change holds from the next step.

use ratatui::{crossterm::event::KeyEvent, text::Span};

use super::{Sheet, close, is_any, row, typed, walk};
use crate::{
    attach::Control,
    task::{Knob, knob::FORMS},
    tui::{
        app::{App, Effect},
        keymap::Chord,
        prompt::{Prompt, Typed},
        theme::Token,
        widget::{cut, wrap},
    },
};

const NAME_COLUMNS: usize = 16;
const VALUE_COLUMNS: usize = 12;

/// The value of a change, as it is written.
fn value(knob: Knob) -> String {
    let text = knob.to_string();
    text.split_once('=').map(|(_, value)| value.to_owned()).unwrap_or(text)
}

pub(super) fn key(app: &mut App, key: KeyEvent, chord: Chord) -> Option<Effect> {
    if app.menu.prompt.is_some() {
        return write(app, key);
    }
    if walk(app, chord, Knob::NAMES.len()) {
        return None;
    }
    if is_any(chord, &["esc", "q", "P", "ctrl-c"]) {
        close(app);
        return None;
    }
    if is_any(chord, &["enter"]) {
        app.menu.problem = app.why_not_steer();
        let now = app.live.steering.knobs.filter(|_| app.menu.problem.is_none());
        app.menu.prompt = now.and_then(|knobs| knobs.all().get(app.menu.chosen).map(|knob| Prompt::new(&value(*knob))));
    }
    None
}

fn write(app: &mut App, key: KeyEvent) -> Option<Effect> {
    let prompt = app.menu.prompt.as_mut()?;
    match prompt.key(key) {
        Typed::Cancelled => (app.menu.prompt, app.menu.problem) = (None, None),
        Typed::Changed => app.menu.problem = None,
        Typed::Nothing => {}
        Typed::Done => {
            let name = Knob::NAMES.get(app.menu.chosen)?;
            match format!("{name}={}", prompt.text()).parse() {
                Ok(knob) => {
                    (app.menu.prompt, app.menu.problem) = (None, None);
                    return Some(Effect::Send(Control::Set { knob }));
                }
                Err(problem) => app.menu.problem = Some(problem),
            }
        }
    }
    None
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let steering = &app.live.steering;
    let dim = app.theme.style(Token::Dim);
    let mut rows = Vec::new();
    if let (Some(now), Some(experiment)) = (steering.knobs, steering.experiment) {
        for (i, (knob, first)) in now.all().into_iter().zip(experiment.all()).enumerate() {
            let coming: Vec<String> = steering
                .coming
                .iter()
                .filter(|(_, change)| change.name() == knob.name())
                .map(|(step, change)| format!("{} from step {step}", value(*change)))
                .collect();
            let was = if knob == first { String::new() } else { format!("the experiment says {}", value(first)) };
            let notes: Vec<String> = coming.into_iter().chain(Some(was)).filter(|note| !note.is_empty()).collect();
            let notes = cut::fit(&notes.join("; "), columns.saturating_sub(2 + NAME_COLUMNS + VALUE_COLUMNS));
            let spans = vec![
                Span::raw(cut::pad(knob.name(), NAME_COLUMNS)),
                Span::styled(cut::pad(&value(knob), VALUE_COLUMNS), app.theme.style(Token::Title)),
                Span::styled(notes, dim),
            ];
            rows.push(row(app, i == app.menu.chosen, spans, columns));
        }
    }
    let mut tail = Vec::new();
    if let Some(prompt) = &app.menu.prompt {
        let name = Knob::NAMES.get(app.menu.chosen).copied().unwrap_or_default();
        tail.push(typed(app, &format!("{name} = "), prompt, columns));
    }
    let hint = match (&app.menu.problem, rows.is_empty()) {
        (Some(problem), _) => wrap::plain(&cut::clean(problem), app.theme.style(Token::Warn), columns),
        (None, true) => wrap::plain("No trainer has said which values are in force.", dim, columns),
        (None, false) => wrap::plain(&format!("{FORMS}; a change holds from the next step on"), dim, columns),
    };
    tail.extend(hint);
    let keys = if app.menu.prompt.is_some() {
        vec![("Enter", "set"), ("Esc", "give up")]
    } else {
        vec![("Enter", "change"), ("↑↓", "choose"), ("Esc", "close")]
    };
    Sheet { title: "Knobs".to_owned(), keys, columns, rows, tail, ..Sheet::default() }
}
