//! The keys of a screen with a loop of its own, as a list that typing searches and Enter presses. Knows no screen.

use ratatui::{crossterm::event::KeyEvent, text::Span};

use super::sheet::{Menu, Sheet, finds, is_any, row, typed};
use crate::tui::{
    keymap::Chord,
    prompt::Typed,
    theme::{Theme, Token},
    widget::{cut, wrap},
};

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As they are printed.
    pub keys: String,
    pub doc: String,
    /// Pressed by Enter; spelled as [`Chord::parse`] reads it.
    pub press: &'static str,
    /// Why it does nothing now.
    pub why_not: Option<String>,
}

/// What a key on the list led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Stay,
    Close,
    Press(KeyEvent),
}

/// What the typed words leave: every word must occur in the keys or the meaning.
fn found<'a>(menu: &Menu, entries: &'a [Entry]) -> Vec<&'a Entry> {
    let typed = menu.typed();
    entries.iter().filter(|entry| finds(&typed, &format!("{} {}", entry.keys, entry.doc))).collect()
}

/// Takes a key.
pub fn key(menu: &mut Menu, entries: &[Entry], key: KeyEvent) -> Reply {
    let Some(chord) = Chord::of(key) else { return Reply::Stay };
    let found = found(menu, entries);
    if menu.walk(chord, found.len()) {
        return Reply::Stay;
    }
    if menu.typed().is_empty() && is_any(chord, &["?", ":"]) {
        return Reply::Close;
    }
    match menu.prompt.get_or_insert_default().key(key) {
        Typed::Cancelled => Reply::Close,
        Typed::Nothing => Reply::Stay,
        Typed::Changed => {
            (menu.chosen, menu.problem) = (0, None);
            Reply::Stay
        }
        Typed::Done => match found.get(menu.chosen.min(found.len().saturating_sub(1))) {
            Some(Entry { why_not: Some(why), .. }) => {
                menu.problem = Some(why.clone());
                Reply::Stay
            }
            Some(entry) => Chord::parse(entry.press).map_or(Reply::Stay, |chord| Reply::Press(chord.press())),
            None => Reply::Stay,
        },
    }
}

pub fn sheet(theme: &Theme, menu: &Menu, title: &str, entries: &[Entry], columns: usize) -> Sheet {
    let found = found(menu, entries);
    let chosen = menu.chosen.min(found.len().saturating_sub(1));
    let key_columns = entries.iter().map(|entry| cut::width(&entry.keys)).max().unwrap_or(0) + 2;
    let line = |(i, entry): (usize, &&Entry)| {
        let token = if entry.why_not.is_none() { Token::Text } else { Token::Dim };
        let doc = cut::fit(&entry.doc, columns.saturating_sub(key_columns + 2));
        let keys = Span::styled(cut::pad(&entry.keys, key_columns), theme.style(Token::Key));
        row(theme, i == chosen, vec![keys, Span::styled(doc, theme.style(token))], columns)
    };
    let rows = found.iter().enumerate().map(line).collect();
    let why = found.get(chosen).and_then(|entry| entry.why_not.clone());
    let note = menu.problem.clone().or(why).or_else(|| found.is_empty().then(|| "nothing here is called that".to_owned()));
    let tail = wrap::plain(&cut::clean(&note.unwrap_or_default()), theme.style(Token::Warn), columns);
    let head = vec![typed(theme, "> ", &menu.prompt.clone().unwrap_or_default(), columns)];
    let keys = vec![("Enter", "press"), ("type", "search"), ("↑↓", "choose"), ("Esc", "close")];
    Sheet { title: title.to_owned(), keys, columns, head, rows, tail }
}
