//! The truth a submission is scored against, read raw from a MEDEC CSV. ROUGE here sees trailing blanks and mojibake, so
//! nothing is repaired or trimmed; only rows without any content (UW placeholders) are left out and counted.

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use crate::task::{Label, LabelledNote};

use super::submission::NA;

/// What pandas reads as a missing value; the official script turns it into `NA`.
const PANDAS_NA: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
];

/// One note's truth, in the words of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// `0` or `1`.
    pub flag: String,
    /// `-1` where clean.
    pub sentence: String,
    /// [`NA`] where clean.
    pub correction: String,
    /// The sentence with the error, where the file has it: what a correction that changes nothing repeats.
    pub error_sentence: Option<String>,
}

/// The whole reference file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// By note id; of several rows the last counts, as in the official script.
    pub truths: BTreeMap<String, Truth>,
    pub duplicates: Vec<String>,
    /// Rows with nothing in any field.
    pub n_empty_rows: usize,
    /// Rows whose flag is not spelt `0` or `1`. The official script compares text: a file read together with empty rows has all
    /// flags as floats, and every prediction counts as wrong.
    pub n_odd_flags: usize,
}

/// Why a reference could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}; expected a MEDEC CSV in UTF-8")]
    NotCsv { path: PathBuf, source: csv::Error },
    #[error("{path}: column {column:?} is missing; expected a MEDEC CSV with its ground truth")]
    NoColumn { path: PathBuf, column: &'static str },
    #[error("{path}:{line}: {column} is {found:?}, expected {expected}")]
    BadField { path: PathBuf, line: u64, column: &'static str, found: String, expected: &'static str },
    #[error("{path}: no row has any content; give a file with its ground truth")]
    Empty { path: PathBuf },
}

struct Columns {
    id: usize,
    flag: usize,
    sentence: usize,
    correction: usize,
    error_sentence: Option<usize>,
}

impl Reference {
    pub fn read(path: &Path) -> Result<Reference, ReferenceError> {
        let bytes = std::fs::read(path).map_err(|source| ReferenceError::Unreadable { path: path.to_owned(), source })?;
        Reference::parse(path, &bytes)
    }

    /// The truth of notes that come from no MEDEC CSV; texts are as the notes have them.
    pub fn of_notes(notes: &[LabelledNote]) -> Reference {
        let mut reference = Reference::default();
        for LabelledNote { note, label } in notes {
            let truth = match label {
                Label::Clean => Truth { flag: "0".into(), sentence: "-1".into(), correction: NA.into(), error_sentence: None },
                Label::Error { sentence, correction, .. } => Truth {
                    flag: "1".into(),
                    sentence: sentence.to_string(),
                    correction: correction.clone(),
                    error_sentence: note.sentence(*sentence).map(|s| s.text.clone()),
                },
            };
            if reference.truths.insert(note.id.clone(), truth).is_some() {
                reference.duplicates.push(note.id.clone());
            }
        }
        reference
    }

    /// Parses the bytes of a CSV; `path` is only named in messages.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Reference, ReferenceError> {
        let not_csv = |source| ReferenceError::NotCsv { path: path.to_owned(), source };
        let mut reader = csv::Reader::from_reader(bytes);
        let columns = columns(path, reader.headers().map_err(not_csv)?)?;
        let mut reference = Reference::default();
        for row in reader.records() {
            let row = row.map_err(not_csv)?;
            if row.iter().all(|field| field.trim().is_empty()) {
                reference.n_empty_rows += 1;
                continue;
            }
            let (id, truth) = truth(path, &columns, &row)?;
            reference.n_odd_flags += usize::from(row.get(columns.flag) != Some(&truth.flag));
            if reference.truths.insert(id.clone(), truth).is_some() {
                reference.duplicates.push(id);
            }
        }
        if reference.truths.is_empty() { Err(ReferenceError::Empty { path: path.to_owned() }) } else { Ok(reference) }
    }
}

/// Finds the columns by name; both published spellings (spaces, underscores) are known.
fn columns(path: &Path, header: &csv::StringRecord) -> Result<Columns, ReferenceError> {
    let plain = |name: &str| name.trim_start_matches('\u{feff}').trim().to_ascii_lowercase().replace('_', " ");
    let find = |wanted: &str| header.iter().position(|name| plain(name) == plain(wanted));
    let need = |column| find(column).ok_or_else(|| ReferenceError::NoColumn { path: path.to_owned(), column });
    Ok(Columns {
        id: need("Text ID")?,
        flag: need("Error Flag")?,
        sentence: need("Error Sentence ID")?,
        correction: need("Corrected Sentence")?,
        error_sentence: find("Error Sentence"),
    })
}

fn truth(path: &Path, columns: &Columns, row: &csv::StringRecord) -> Result<(String, Truth), ReferenceError> {
    let line = row.position().map_or(0, csv::Position::line);
    let field = |at: usize| row.get(at).unwrap_or_default();
    let bad = |column, at, expected| ReferenceError::BadField {
        path: path.to_owned(),
        line,
        column,
        found: field(at).to_owned(),
        expected,
    };
    if field(columns.id).trim().is_empty() {
        return Err(bad("Text ID", columns.id, "a note id"));
    }
    let flag = flag(field(columns.flag)).ok_or_else(|| bad("Error Flag", columns.flag, "0 or 1"))?;
    let sentence =
        whole(field(columns.sentence)).ok_or_else(|| bad("Error Sentence ID", columns.sentence, "a sentence id, or -1"))?;
    let raw = |at: usize| if PANDAS_NA.contains(&field(at)) { NA.to_owned() } else { field(at).to_owned() };
    let error_sentence = columns.error_sentence.map(raw).filter(|s| s != NA);
    let truth =
        Truth { flag: flag.to_owned(), sentence: sentence.to_string(), correction: raw(columns.correction), error_sentence };
    Ok((field(columns.id).to_owned(), truth))
}

/// Tables that went through pandas spell flags `1.0` or `True`.
fn flag(field: &str) -> Option<&'static str> {
    match field.trim().to_ascii_lowercase().as_str() {
        "0" | "0.0" | "false" => Some("0"),
        "1" | "1.0" | "true" => Some("1"),
        _ => None,
    }
}

fn whole(field: &str) -> Option<i64> {
    let field = field.trim();
    if PANDAS_NA.contains(&field) {
        return Some(-1);
    }
    field.strip_suffix(".0").unwrap_or(field).parse().ok().filter(|id| *id >= -1)
}
