//! What must hold between the columns of a row; a row that breaks a relation is kept and listed.
//! Knows cells, not files: both loaders ask here.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::sentences::one_line;
use crate::task::{LabelledNote, Sentence};

/// The relations checked. The first five are MEDEC's own for error rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    SentenceIdResolves,
    SentenceIsErrorSentence,
    ErrorSentenceOnceInText,
    CorrectionInCorrectedText,
    ReplacementGivesCorrectedText,
    /// All rows: the numbered sentences are the text.
    SentencesJoinToText,
    /// Clean rows: error columns hold NA and -1.
    CleanColumnsAreEmpty,
    UniqueId,
}

impl Relation {
    pub fn describe(self) -> &'static str {
        match self {
            Relation::SentenceIdResolves => "the error sentence id is one of the sentences",
            Relation::SentenceIsErrorSentence => "that sentence is the error sentence",
            Relation::ErrorSentenceOnceInText => "the error sentence occurs once in the text",
            Relation::CorrectionInCorrectedText => "the corrected sentence occurs in the corrected text",
            Relation::ReplacementGivesCorrectedText => "the text with the sentence corrected is the corrected text",
            Relation::SentencesJoinToText => "the sentences joined are the text",
            Relation::CleanColumnsAreEmpty => "a clean row names no error",
            Relation::UniqueId => "no other row has this id",
        }
    }
}

/// One broken relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    pub id: String,
    pub relation: Relation,
    pub detail: String,
}

/// An error row's columns.
pub struct ErrorRow<'a> {
    pub id: &'a str,
    pub text: &'a str,
    pub sentences: &'a [Sentence],
    pub sentence: u32,
    pub error_sentence: &'a str,
    pub corrected_sentence: &'a str,
    pub corrected_text: &'a str,
}

/// Checks the five relations of an error row.
pub fn check_error(row: &ErrorRow) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broken = |relation, detail: String| found.push(Violation { id: row.id.to_owned(), relation, detail });
    let (error, correction) = (one_line(row.error_sentence), one_line(row.corrected_sentence));
    match row.sentences.iter().find(|s| s.id == row.sentence) {
        None => broken(Relation::SentenceIdResolves, format!("id {} is not among the note's sentences", row.sentence)),
        Some(s) if one_line(&s.text) != error => {
            broken(Relation::SentenceIsErrorSentence, format!("sentence {} reads \"{}\"", s.id, s.text));
        }
        Some(_) => {}
    }
    let occurrences = if error.is_empty() { 0 } else { one_line(row.text).matches(&error).count() };
    if occurrences != 1 {
        broken(Relation::ErrorSentenceOnceInText, format!("it occurs {occurrences} times"));
    }
    if !one_line(row.corrected_text).contains(&correction) {
        broken(Relation::CorrectionInCorrectedText, format!("\"{correction}\" is not in it"));
    }
    if !replacement_holds(row, &error, &correction) {
        broken(Relation::ReplacementGivesCorrectedText, "they differ in words or order".to_owned());
    }
    found
}

/// Whether the text with its error sentence replaced is the corrected text, white space aside.
fn replacement_holds(row: &ErrorRow, error: &str, correction: &str) -> bool {
    without_spaces(&replaced(row, error, correction)) == without_spaces(row.corrected_text)
}

fn replaced(row: &ErrorRow, error: &str, correction: &str) -> String {
    one_line(row.text).replacen(error, correction, 1)
}

/// Whether the replacement gives the corrected text only if white space between words is left out of account altogether.
pub fn replacement_differs_in_spacing(row: &ErrorRow) -> bool {
    let (error, correction) = (one_line(row.error_sentence), one_line(row.corrected_sentence));
    let exact = one_line(&replaced(row, &error, &correction)) == one_line(row.corrected_text);
    !exact && replacement_holds(row, &error, &correction)
}

/// Whether the sentences joined are the text only if white space between words is left out of account altogether.
pub fn join_differs_in_spacing(text: &str, sentences: &[Sentence]) -> bool {
    let joined: Vec<&str> = sentences.iter().map(|s| s.text.as_str()).collect();
    let joined = joined.join(" ");
    one_line(&joined) != one_line(text) && without_spaces(&joined) == without_spaces(text)
}

/// Checks that the sentences joined are the text, white space aside.
pub fn check_join(id: &str, text: &str, sentences: &[Sentence]) -> Option<Violation> {
    let joined: String = sentences.iter().map(|s| without_spaces(&s.text)).collect();
    (joined != without_spaces(text)).then(|| Violation {
        id: id.to_owned(),
        relation: Relation::SentencesJoinToText,
        detail: "some words stand in only one of the two columns".to_owned(),
    })
}

/// Lists every note whose id an earlier note has.
pub fn check_ids<'a>(notes: impl Iterator<Item = &'a LabelledNote>) -> Vec<Violation> {
    let mut seen = HashSet::new();
    let again = notes.map(|n| n.note.id.as_str()).filter(|id| !seen.insert(*id));
    let violation =
        |id: &str| Violation { id: id.to_owned(), relation: Relation::UniqueId, detail: "it stands twice".to_owned() };
    again.map(violation).collect()
}

/// The text with every white space taken out.
pub fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}
