//! What is true of a note: clean, or one error of a kind, in a sentence, with its correction.

use serde::{Deserialize, Serialize};

use super::note::Note;

/// MEDEC's five error types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    Diagnosis,
    Management,
    Treatment,
    Pharmacotherapy,
    CausalOrganism,
}

impl ErrorKind {
    pub const ALL: [ErrorKind; 5] = [
        ErrorKind::Diagnosis,
        ErrorKind::Management,
        ErrorKind::Treatment,
        ErrorKind::Pharmacotherapy,
        ErrorKind::CausalOrganism,
    ];

    /// The words the Doctor is asked to write.
    pub fn title(self) -> &'static str {
        match self {
            ErrorKind::Diagnosis => "Diagnosis",
            ErrorKind::Management => "Management",
            ErrorKind::Treatment => "Treatment",
            ErrorKind::Pharmacotherapy => "Pharmacotherapy",
            ErrorKind::CausalOrganism => "Causal Organism",
        }
    }

    /// The spelling on disk in MEDEC's `Error Type` column.
    pub fn medec_name(self) -> &'static str {
        match self {
            ErrorKind::Diagnosis => "diagnosis",
            ErrorKind::Management => "management",
            ErrorKind::Treatment => "treatment",
            ErrorKind::Pharmacotherapy => "pharmacotherapy",
            ErrorKind::CausalOrganism => "causalOrganism",
        }
    }

    /// Compares by letters only, in lower case: `causalOrganism`, `Causal Organism` and `causal-organism` are one type.
    pub fn parse(name: &str) -> Option<ErrorKind> {
        let letters =
            |s: &str| -> String { s.chars().filter(|c| c.is_ascii_alphabetic()).map(|c| c.to_ascii_lowercase()).collect() };
        // A look-alike letter or a hidden character is not dropped: it makes the name unknown.
        if name.chars().any(|c| !c.is_whitespace() && (!c.is_ascii() || c.is_control())) {
            return None;
        }
        let wanted = letters(name);
        ErrorKind::ALL.into_iter().find(|kind| letters(kind.title()) == wanted)
    }
}

/// The truth about a note, known by construction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Label {
    Clean,
    /// `sentence` is a MEDEC sentence id; `correction` is the whole corrected sentence.
    Error {
        kind: ErrorKind,
        sentence: u32,
        correction: String,
    },
}

impl Label {
    pub fn is_error(&self) -> bool {
        matches!(self, Label::Error { .. })
    }

    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Label::Clean => None,
            Label::Error { kind, .. } => Some(*kind),
        }
    }
}

/// A note with its label: one row of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledNote {
    pub note: Note,
    pub label: Label,
}

impl LabelledNote {
    /// The note with its error sentence replaced by the correction; the note itself where it is clean.
    pub fn corrected(&self) -> Option<Note> {
        match &self.label {
            Label::Clean => Some(self.note.clone()),
            Label::Error { sentence, correction, .. } => self.note.with_sentence(*sentence, correction),
        }
    }
}
