//! One line of text being typed. Knows nothing of what it is for.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The text and the place in it, in characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    letters: Vec<char>,
    at: usize,
}

/// What a key did to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    Changed,
    Done,
    Cancelled,
    Nothing,
}

/// More is no filter a person wrote.
const LONGEST: usize = 2000;

impl Prompt {
    /// Starts with a text, the place at its end.
    pub fn new(text: &str) -> Prompt {
        let letters: Vec<char> = text.chars().take(LONGEST).collect();
        Prompt { at: letters.len(), letters }
    }

    pub fn text(&self) -> String {
        self.letters.iter().collect()
    }

    /// The place, in characters.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Puts text in at the place; control characters never get in.
    pub fn insert(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.letters.len() < LONGEST {
                self.letters.insert(self.at, c);
                self.at += 1;
            }
        }
    }

    /// Takes a key. Control characters never get in.
    pub fn key(&mut self, key: KeyEvent) -> Typed {
        if key.kind == KeyEventKind::Release {
            return Typed::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Typed::Done,
            KeyCode::Esc => return Typed::Cancelled,
            KeyCode::Char('c') if control => return Typed::Cancelled,
            KeyCode::Char('u') if control => drop(self.letters.drain(..std::mem::take(&mut self.at))),
            KeyCode::Char('k') if control => self.letters.truncate(self.at),
            KeyCode::Char('a') if control => self.at = 0,
            KeyCode::Char('e') if control => self.at = self.letters.len(),
            KeyCode::Char('w') if control => self.delete_word(),
            KeyCode::Char(c) if !control && !c.is_control() && self.letters.len() < LONGEST => {
                self.letters.insert(self.at, c);
                self.at += 1;
            }
            KeyCode::Backspace if self.at > 0 => {
                self.at -= 1;
                self.letters.remove(self.at);
            }
            KeyCode::Delete if self.at < self.letters.len() => drop(self.letters.remove(self.at)),
            KeyCode::Left => self.at = self.at.saturating_sub(1),
            KeyCode::Right => self.at = (self.at + 1).min(self.letters.len()),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = self.letters.len(),
            _ => return Typed::Nothing,
        }
        Typed::Changed
    }

    fn delete_word(&mut self) {
        let is_space = |c: &char| c.is_whitespace();
        let end = self.letters[..self.at].iter().rposition(|c| !is_space(c)).map_or(0, |i| i + 1);
        let start = self.letters[..end].iter().rposition(is_space).map_or(0, |i| i + 1);
        self.letters.drain(start..self.at);
        self.at = start;
    }
}
