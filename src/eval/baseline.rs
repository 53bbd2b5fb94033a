//! What policies without any medicine get on the same notes: the floor every score is read against.

use serde::{Deserialize, Serialize};

use crate::task::{ErrorKind, LabelledNote, Verdict};

use super::{flags::Scores, graded::Graded};

/// A trivial policy and its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub policy: String,
    pub scores: Scores,
}

/// Always clean, and always error in the last sentence with the commonest type of these very notes: the strongest of its
/// sort, since it is told the type prior.
pub fn baselines(notes: &[LabelledNote]) -> Vec<Baseline> {
    let kind = majority_kind(notes);
    let scores = |claim: &dyn Fn(&LabelledNote) -> Verdict| {
        let graded: Vec<Graded> = notes.iter().map(|note| Graded::claimed(note, claim(note))).collect();
        Scores::of(&graded)
    };
    let last =
        |note: &LabelledNote| Verdict::Error { kind, sentence: note.note.sentences.last().map(|s| s.id), correction: None };
    vec![
        Baseline { policy: "always clean".to_owned(), scores: scores(&|_| Verdict::Clean) },
        Baseline { policy: format!("always error, last sentence, {}", kind.title()), scores: scores(&last) },
    ]
}

/// The commonest error type; of equals the first in [`ErrorKind::ALL`].
pub fn majority_kind(notes: &[LabelledNote]) -> ErrorKind {
    let count = |kind: ErrorKind| notes.iter().filter(|note| note.label.kind() == Some(kind)).count();
    // max_by_key keeps the last of equals, hence the reversal.
    ErrorKind::ALL.into_iter().rev().max_by_key(|kind| count(*kind)).unwrap_or(ErrorKind::Diagnosis)
}
