//! The official MEDIQA-CORR submission: one `id flag sentence-id "correction"` line a note, read as the official script reads
//! it, except that backslashes in a correction mean nothing (there, `\g` raises). Knows no reference.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::task::{ErrorKind, Label, LabelledNote, Text, Verdict, verdict::Malformation};

use super::{
    graded::Graded,
    rouge::{is_space, split_space},
};

/// The word for "no correction".
pub const NA: &str = "NA";

/// One note's line. Flag and sentence id stay as written, because the official comparison is of text: `01` is not `1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    pub flag: String,
    pub sentence: String,
    /// Space collapsed and outer quotes removed; always [`NA`] where the flag is 0.
    pub correction: String,
}

/// A line that is not of the official form; the official script drops it, and so do we, saying so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    pub text: Text,
    /// What is not as it must be.
    #[serde(default)]
    pub why: String,
}

/// A whole submission file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// By note id; of several lines the last counts.
    pub predictions: BTreeMap<String, Prediction>,
    /// Ids with more than one line.
    pub duplicates: BTreeSet<String>,
    pub bad_lines: Vec<BadLine>,
    /// Ids whose correction holds a backslash. The official script takes the whole line for the template of a replacement: it
    /// stops at `\g` or `\c` and reads `\n` as a line break.
    pub backslashes: BTreeSet<String>,
}

/// Why a submission could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    #[error(
        "cannot read {path}: {source}; a submission is UTF-8 text, one line a note: ID FLAG SENTENCE-ID \"CORRECTION or NA\""
    )]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "note id {id:?} cannot stand in a submission: the official form knows lower-case letters, digits and '-' only; rename the note"
    )]
    BadId { id: String },
}

impl Submission {
    pub fn read(path: &Path) -> Result<Submission, SubmissionError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| SubmissionError::Unreadable { path: path.to_owned(), source })?;
        Ok(Submission::parse(&text))
    }

    pub fn parse(text: &str) -> Submission {
        let mut submission = Submission::default();
        let text = text.replace("\r\n", "\n");
        for (at, line) in text.split(['\n', '\r']).enumerate() {
            let line = line.trim_matches(is_space);
            if line.is_empty() {
                continue;
            }
            let (id, prediction) = match parse_line(line) {
                Ok(read) => read,
                Err(why) => {
                    submission.bad_lines.push(BadLine { line: at + 1, text: Text::new(line), why: why.to_owned() });
                    continue;
                }
            };
            if line.contains('\\') {
                submission.backslashes.insert(id.to_owned());
            }
            if submission.predictions.insert(id.to_owned(), prediction).is_some() {
                submission.duplicates.insert(id.to_owned());
            }
        }
        submission
    }

    /// The verdicts of a submission on these notes; one without a readable line is malformed. Types are not named.
    pub fn grade(&self, notes: &[LabelledNote]) -> Vec<Graded> {
        let grade = |note: &LabelledNote| {
            let prediction = self.predictions.get(&note.note.id);
            let verdict = prediction.map(|p| p.verdict(note.label.kind().unwrap_or(ErrorKind::Diagnosis)));
            let truth = match &note.label {
                Label::Clean => "-1".to_owned(),
                Label::Error { sentence, .. } => sentence.to_string(),
            };
            let written_sentence_right = Some(prediction.is_some_and(|p| p.sentence == truth));
            let claimed = Graded::claimed(note, verdict.unwrap_or(Verdict::Malformed { why: Malformation::MissingVerdict }));
            Graded { untyped: true, written_sentence_right, ..claimed }
        };
        notes.iter().map(grade).collect()
    }
}

impl Prediction {
    /// What the line claims; `kind` fills the place of the type, which a submission does not name.
    fn verdict(&self, kind: ErrorKind) -> Verdict {
        match self.flag.as_str() {
            "0" => Verdict::Clean,
            "1" => {
                let correction = (self.correction != NA).then(|| self.correction.clone());
                Verdict::Error { kind, sentence: self.sentence.parse().ok(), correction }
            }
            _ => Verdict::Malformed { why: Malformation::UnknownVerdict },
        }
    }
}

/// `[a-z0-9-]+ [0-9]+ -?[0-9]+ .+` with exactly one space character between the first three fields; else what is wrong.
fn parse_line(line: &str) -> Result<(&str, Prediction), &'static str> {
    let mut fields = line.splitn(4, is_space);
    let (Some(id), Some(flag), Some(sentence), Some(rest)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
        return Err("fewer than four fields");
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !is_official_id(id) {
        return Err("the id may hold lower-case letters, digits and '-' only");
    }
    if !digits(flag) {
        return Err(if flag.ends_with(".0") { "the flag is a float: write 0 or 1" } else { "the flag is not 0 or 1" });
    }
    if !digits(sentence.strip_prefix('-').unwrap_or(sentence)) {
        return Err("the sentence id is not a whole number");
    }
    let correction = if flag == "0" { NA.to_owned() } else { unquote(&collapse(rest)).to_owned() };
    Ok((id, Prediction { flag: flag.to_owned(), sentence: sentence.to_owned(), correction }))
}

fn is_official_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Every run of white space becomes one space; none at the ends.
pub(crate) fn collapse(text: &str) -> String {
    split_space(text).collect::<Vec<_>>().join(" ")
}

/// Removes all leading and all trailing double quotes, but never the last character.
fn unquote(text: &str) -> &str {
    let mut inner = text;
    while inner.len() > 1 && inner.starts_with('"') {
        inner = &inner[1..];
    }
    while inner.len() > 1 && inner.ends_with('"') {
        inner = &inner[..inner.len() - 1];
    }
    inner
}

/// A submission file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// Notes without a line: their verdict could not be read, and a missing line counts as wrong.
    pub omitted: usize,
}

/// Writes graded notes in the official form, in the given order.
pub fn write(graded: &[Graded]) -> Result<Written, SubmissionError> {
    let mut written = Written { text: String::new(), omitted: 0 };
    for one in graded {
        if !is_official_id(&one.id) {
            return Err(SubmissionError::BadId { id: one.id.clone() });
        }
        match claim(&one.verdict) {
            Some(claim) => written.text.push_str(&format!("{} {claim}\n", one.id)),
            None => written.omitted += 1,
        }
    }
    Ok(written)
}

/// The line's part after the id; a claimed error without sentence or correction says -1 or NA there.
fn claim(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Malformed { .. } => None,
        Verdict::Clean => Some(format!("0 -1 {NA}")),
        Verdict::Error { sentence, correction, .. } => {
            let sentence = sentence.map_or("-1".to_owned(), |id| id.to_string());
            let correction = correction.as_deref().map(collapse).filter(|c| !c.is_empty());
            Some(format!("1 {sentence} {}", correction.map_or(NA.to_owned(), |c| format!("\"{c}\""))))
        }
    }
}
