//! Help that is also the palette: every action and command of this screen, found by typing, run by Enter. What is not possible
//! now stays in the list and says why, so that hands need not learn two lists.

use ratatui::{crossterm::event::KeyEvent, text::Span};

use super::{
    Overlay, Sheet, close, is_any,
    sheet::{finds, row, typed},
};
use crate::tui::{
    action::{ActionRow, rows_of},
    app::{App, Effect},
    command::{self, COMMANDS, CommandRow},
    keymap::{self, Chord},
    prompt::{Prompt, Typed},
    theme::Token,
    widget::cut,
};

const KEY_COLUMNS: usize = 12;

/// A line of the list.
#[derive(Clone, Copy)]
enum Entry {
    Action(&'static ActionRow),
    Command(&'static CommandRow),
}

impl Entry {
    fn keys(self) -> String {
        match self {
            Entry::Action(row) => row.keys.iter().map(|key| keymap::label(key)).collect::<Vec<_>>().join(" "),
            Entry::Command(row) => format!(":{}", row.name),
        }
    }

    fn doc(self) -> &'static str {
        match self {
            Entry::Action(row) => row.doc,
            Entry::Command(row) => row.doc,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Entry::Action(row) => row.name,
            Entry::Command(row) => row.name,
        }
    }

    fn why_not(self, app: &App) -> Option<String> {
        match self {
            Entry::Action(row) => app.why_not(row.action),
            Entry::Command(row) => app.why_not_steer().filter(|_| row.steers),
        }
    }
}

/// What the typed words leave: every word must occur in the name, the keys or the meaning.
fn found(app: &App) -> Vec<Entry> {
    let typed = app.menu.typed();
    // With arguments typed, the command alone is meant.
    let command = typed.trim_start().split_once(' ').and_then(|(name, _)| COMMANDS.iter().find(|row| row.name == name));
    if let Some(row) = command {
        return vec![Entry::Command(row)];
    }
    let (actions, commands) = (rows_of(app.screen).map(Entry::Action), COMMANDS.iter().map(Entry::Command));
    let all: Vec<Entry> = match app.overlay {
        Some(Overlay::Commands) => commands.chain(actions).collect(),
        _ => actions.chain(commands).collect(),
    };
    all.into_iter().filter(|entry| finds(&typed, &format!("{} {} {}", entry.name(), entry.keys(), entry.doc()))).collect()
}

pub(super) fn key(app: &mut App, key: KeyEvent, chord: Chord) -> Option<Effect> {
    let entries = found(app);
    if app.menu.walk(chord, entries.len()) {
        return None;
    }
    if app.menu.typed().is_empty() && is_any(chord, &["?", ":"]) {
        close(app);
        return None;
    }
    let chosen = entries.get(app.menu.chosen.min(entries.len().saturating_sub(1))).copied();
    if is_any(chord, &["tab"]) {
        if let Some(entry) = chosen {
            complete(app, entry);
        }
        return None;
    }
    match app.menu.prompt.get_or_insert_default().key(key) {
        Typed::Cancelled => close(app),
        Typed::Done => return enter(app, chosen),
        Typed::Changed => (app.menu.chosen, app.menu.problem) = (0, None),
        Typed::Nothing => {}
    }
    None
}

fn complete(app: &mut App, entry: Entry) {
    let text = match entry {
        Entry::Action(row) => row.name.to_owned(),
        Entry::Command(row) => format!("{} ", row.name),
    };
    (app.menu.prompt, app.menu.chosen, app.menu.problem) = (Some(Prompt::new(&text)), 0, None);
}

fn enter(app: &mut App, chosen: Option<Entry>) -> Option<Effect> {
    let Some(entry) = chosen else {
        app.menu.problem = Some("nothing here is called that".to_owned());
        return None;
    };
    if let Some(why) = entry.why_not(app) {
        app.menu.problem = Some(why);
        return None;
    }
    let text = app.menu.prompt.as_ref().map(Prompt::text).unwrap_or_default();
    match entry {
        Entry::Action(row) => {
            close(app);
            app.act(row.action)
        }
        Entry::Command(row) => {
            let words = text.trim().strip_prefix(row.name).map(str::trim).filter(|rest| !rest.is_empty());
            let Some(words) = words else {
                complete(app, entry);
                return None;
            };
            match command::parse(row.name, words) {
                Ok(command) => {
                    close(app);
                    app.obey(command)
                }
                Err(problem) => {
                    app.menu.problem = Some(problem);
                    None
                }
            }
        }
    }
}

pub(super) fn sheet(app: &App, columns: usize) -> Sheet {
    let entries = found(app);
    let chosen = app.menu.chosen.min(entries.len().saturating_sub(1));
    let rows = entries.iter().enumerate().map(|(i, entry)| {
        let possible = entry.why_not(app).is_none();
        let style = app.theme.style(if possible { Token::Text } else { Token::Dim });
        let keys = cut::pad(&entry.keys(), KEY_COLUMNS);
        let doc = cut::fit(entry.doc(), columns.saturating_sub(KEY_COLUMNS + 2));
        row(&app.theme, i == chosen, vec![Span::styled(keys, app.theme.style(Token::Key)), Span::styled(doc, style)], columns)
    });
    let rows = rows.collect();
    let prompt = app.menu.prompt.clone().unwrap_or_default();
    let (note, token) = match (&app.menu.problem, entries.get(chosen)) {
        (Some(problem), _) => (problem.clone(), Token::Warn),
        (None, None) => ("nothing here is called that".to_owned(), Token::Warn),
        (None, Some(entry)) => match (entry.why_not(app), entry) {
            (Some(why), _) => (why, Token::Warn),
            (None, Entry::Command(row)) => (format!("write {}", row.form), Token::Dim),
            (None, Entry::Action(_)) => (String::new(), Token::Dim),
        },
    };
    let mut tail = crate::tui::widget::wrap::plain(&cut::clean(&note), app.theme.style(token), columns);
    tail.truncate(3);
    let word = if app.overlay == Some(Overlay::Commands) { "Commands" } else { "Help" };
    let title = format!("{word}  {}", app.screen.title());
    let keys = vec![("Enter", "run"), ("type", "search"), ("↑↓", "choose"), ("Esc", "close"), ("Tab", "complete")];
    Sheet { title, keys, columns, head: vec![typed(&app.theme, "> ", &prompt, columns)], rows, tail }
}
