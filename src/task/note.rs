//! A clinical note as numbered sentences, numbered exactly as MEDEC numbers them.

use serde::{Deserialize, Serialize};

/// One numbered line of a note. MEDEC's ids start at 0, may skip, and are never renumbered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    pub id: u32,
    pub text: String,
}

/// One clinical note: the only thing the Doctor ever sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub id: String,
    /// Vignette group: notes about the same patient (contrastive siblings) share it, and never part between splits.
    pub group: String,
    pub sentences: Vec<Sentence>,
}

impl Note {
    /// Joins the sentences with single spaces.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.sentences.iter().map(|s| s.text.trim()).collect();
        texts.join(" ")
    }

    /// Renders one `id text` line a sentence, the form both personas read.
    pub fn numbered(&self) -> String {
        let lines: Vec<String> = self.sentences.iter().map(|s| format!("{} {}", s.id, s.text.trim())).collect();
        lines.join("\n")
    }

    /// Looks a sentence up by its MEDEC id (not by position).
    pub fn sentence(&self, id: u32) -> Option<&Sentence> {
        self.sentences.iter().find(|s| s.id == id)
    }

    /// Returns the note with one sentence's text replaced; `None` where the id does not exist.
    pub fn with_sentence(&self, id: u32, text: &str) -> Option<Note> {
        let mut note = self.clone();
        let sentence = note.sentences.iter_mut().find(|s| s.id == id)?;
        sentence.text = text.to_owned();
        Some(note)
    }
}
