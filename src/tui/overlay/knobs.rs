//! Knobs: the values that can be changed while the run goes on. A change holds from the next step.

use ratatui::{crossterm::event::KeyEvent, text::Span};

use super::{
    Sheet, is_any,
    list::{self, Words},
};
use crate::{
    attach::Control,
    task::{Knob, knob::FORMS},
    tui::{
        app::{App, Effect},
        keymap::Chord,
        theme::Token,
        widget::cut,
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
    let name = Knob::NAMES.get(app.menu.chosen).copied().unwrap_or_default();
    if app.menu.prompt.is_some() {
        return list::write(app, key, |text| format!("{name}={text}").parse().map(|knob| Control::Set { knob }));
    }
    if list::walks(app, chord, Knob::NAMES.len(), "P") || !is_any(chord, &["enter"]) {
        return None;
    }
    let now = app.live.steering.knobs?.all().get(app.menu.chosen).copied()?;
    list::begin(app, &value(now));
    None
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let steering = &app.live.steering;
    let known = steering.knobs.zip(steering.experiment);
    let pairs = known.map(|(now, experiment)| now.all().into_iter().zip(experiment.all()));
    let rows = pairs.into_iter().flatten().map(|(now, experiment)| spans(app, now, experiment, columns)).collect();
    let words = Words {
        title: "Knobs",
        nothing: "No trainer has said which values are in force.",
        lead: format!("{} = ", Knob::NAMES.get(app.menu.chosen).copied().unwrap_or_default()),
        hint: format!("{FORMS}; a change holds from the next step on"),
        keys: Vec::new(),
        row_keys: vec![("Enter", "change")],
    };
    list::sheet(app, words, rows, columns)
}

/// Name, value, and where it was or goes.
fn spans(app: &App, now: Knob, experiment: Knob, columns: usize) -> Vec<Span<'static>> {
    let coming = app.live.steering.coming.iter().filter(|(_, change)| change.name() == now.name());
    let mut notes: Vec<String> = coming.map(|(step, change)| format!("{} from step {step}", value(*change))).collect();
    if now != experiment {
        notes.push(format!("the experiment says {}", value(experiment)));
    }
    let notes = cut::fit(&notes.join("; "), columns.saturating_sub(2 + NAME_COLUMNS + VALUE_COLUMNS));
    vec![
        Span::raw(cut::pad(now.name(), NAME_COLUMNS)),
        Span::styled(cut::pad(&value(now), VALUE_COLUMNS), app.theme.style(Token::Title)),
        Span::styled(notes, app.theme.style(Token::Dim)),
    ]
}
