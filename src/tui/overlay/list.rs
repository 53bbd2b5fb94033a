//! What breakpoints and knobs share: rows of which one is chosen, and one line that is written below them.

use ratatui::{
    crossterm::event::KeyEvent,
    text::{Line, Span},
};

use super::{
    Sheet, close, is_any,
    sheet::{row, typed},
};
use crate::{
    attach::Control,
    tui::{
        app::{App, Effect},
        keymap::Chord,
        prompt::{Prompt, Typed},
        theme::Token,
        widget::{cut, wrap},
    },
};

/// Takes the keys that walk the list of `n` rows and close it; `letter` is the key that opened it. Whether this was one.
pub(super) fn walks(app: &mut App, chord: Chord, n: usize, letter: &str) -> bool {
    if app.menu.walk(chord, n) {
        return true;
    }
    let closes = is_any(chord, &["esc", "q", "ctrl-c", letter]);
    if closes {
        close(app);
    }
    closes
}

/// Begins the line, where this client may steer; else says why not.
pub(super) fn begin(app: &mut App, text: &str) {
    app.menu.problem = app.why_not_steer();
    app.menu.prompt = app.menu.problem.is_none().then(|| Prompt::new(text));
}

/// Takes a key of the line; when it is done, what `read` makes of it is sent, or its complaint shown.
pub(super) fn write(app: &mut App, key: KeyEvent, read: impl FnOnce(&str) -> Result<Control, String>) -> Option<Effect> {
    let prompt = app.menu.prompt.as_mut()?;
    match prompt.key(key) {
        Typed::Cancelled => (app.menu.prompt, app.menu.problem) = (None, None),
        Typed::Changed => app.menu.problem = None,
        Typed::Nothing => {}
        Typed::Done => match read(&prompt.text()) {
            Ok(control) => {
                (app.menu.prompt, app.menu.problem) = (None, None);
                return Some(Effect::Send(control));
            }
            Err(problem) => app.menu.problem = Some(problem),
        },
    }
    None
}

/// The words of such a list.
pub(super) struct Words {
    pub title: &'static str,
    /// In place of rows, where there are none.
    pub nothing: &'static str,
    /// Before the line that is written.
    pub lead: String,
    /// Below it all, while nothing is wrong.
    pub hint: String,
    /// While nothing is written, and what is done to the chosen row where there is one.
    pub keys: Vec<(&'static str, &'static str)>,
    pub row_keys: Vec<(&'static str, &'static str)>,
}

pub(super) fn sheet(app: &App, words: Words, rows: Vec<Vec<Span<'static>>>, columns: usize) -> Sheet {
    let chosen = app.menu.chosen.min(rows.len().saturating_sub(1));
    let dim = app.theme.style(Token::Dim);
    let rows: Vec<Line> = rows.into_iter().enumerate().map(|(i, spans)| row(&app.theme, i == chosen, spans, columns)).collect();
    let mut tail = Vec::new();
    if rows.is_empty() && app.menu.prompt.is_none() {
        tail.extend(wrap::plain(words.nothing, dim, columns));
    }
    if let Some(prompt) = &app.menu.prompt {
        tail.push(typed(&app.theme, &words.lead, prompt, columns));
    }
    match &app.menu.problem {
        Some(problem) => tail.extend(wrap::plain(&cut::clean(problem), app.theme.style(Token::Warn), columns)),
        None => tail.extend(wrap::plain(&words.hint, dim, columns)),
    }
    let keys = match (&app.menu.prompt, rows.is_empty()) {
        (Some(_), _) => vec![("Enter", "set"), ("Esc", "give up")],
        (None, true) => [words.keys, vec![("Esc", "close")]].concat(),
        (None, false) => [words.keys, words.row_keys, vec![("↑↓", "choose"), ("Esc", "close")]].concat(),
    };
    Sheet { title: words.title.to_owned(), keys, columns, rows, tail, ..Sheet::default() }
}
