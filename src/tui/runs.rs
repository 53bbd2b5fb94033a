//! The state of the Runs screen: the runs of this machine and which one is chosen. Pure, like `app`.

use std::path::PathBuf;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{keymap::Chord, theme::Theme};
use crate::store::RunSummary;

/// What the reader decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Show the run in this directory.
    Open(PathBuf),
    Quit,
}

/// The Runs screen.
#[derive(Clone, Debug)]
pub struct RunsApp {
    pub runs: Vec<RunSummary>,
    pub chosen: usize,
    /// Unix seconds of the last look, for "5 m ago".
    pub now: i64,
    pub theme: Theme,
    pub dirty: bool,
}

impl RunsApp {
    pub fn new(theme: Theme) -> RunsApp {
        RunsApp { runs: Vec::new(), chosen: 0, now: 0, theme, dirty: true }
    }

    /// Takes a fresh list; the same run stays chosen.
    pub fn refresh(&mut self, runs: Vec<RunSummary>, now: i64) {
        if runs == self.runs && now / 60 == self.now / 60 {
            return;
        }
        let id = self.runs.get(self.chosen).map(|run| run.id.clone());
        self.chosen = id.and_then(|id| runs.iter().position(|run| run.id == id)).unwrap_or(0);
        (self.runs, self.now, self.dirty) = (runs, now, true);
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Choice> {
        Chord::of(key)?;
        let last = self.runs.len().saturating_sub(1);
        let before = self.chosen;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Choice::Quit),
            KeyCode::Char('q') | KeyCode::Esc => return Some(Choice::Quit),
            KeyCode::Enter => {
                let run = self.runs.get(self.chosen).filter(|run| run.broken.is_none());
                return run.map(|run| Choice::Open(run.dir.clone()));
            }
            KeyCode::Down | KeyCode::Char('j') => self.chosen = (self.chosen + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Home | KeyCode::Char('g') => self.chosen = 0,
            KeyCode::End | KeyCode::Char('G') => self.chosen = last,
            _ => {}
        }
        self.dirty |= self.chosen != before;
        None
    }
}
