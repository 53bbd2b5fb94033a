//! What can be wrong with a data file, in words its owner can act on.

use std::path::PathBuf;

/// Every way a data file can be refused; each message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: not UTF-8 text; convert the file first, for example: iconv -f WINDOWS-1252 -t UTF-8")]
    NotUtf8 { path: PathBuf, line: usize },
    #[error(
        "{path}: missing columns: {missing}\n  found: {found}\n  expected: {expected}\n  \
         use a MEDEC file with ground truth and error type, or rename its header (spaces, underscores and case do not matter)"
    )]
    Columns { path: PathBuf, missing: String, found: String, expected: String },
    #[error("{path}:{line}: {problem}")]
    Record { path: PathBuf, line: usize, problem: String },
    #[error("{path}:{line}: {problem}\n  {more} more rows cannot be read; `medserl data check {path}` lists them all")]
    Records { path: PathBuf, line: usize, problem: String, more: usize },
    #[error("{path}: the file holds no notes; download it again or name another file")]
    NoNotes { path: PathBuf },
    #[error(
        "{path}: {groups} vignette groups cannot be divided so that both sides get some; use a larger file or another fraction"
    )]
    TooFewGroups { path: PathBuf, groups: usize },
    #[error("{path}: unknown format; name a MEDEC file ending in .csv or a pairs file ending in .jsonl")]
    UnknownFormat { path: PathBuf },
    #[error(
        "{path} is refused as training data: {evidence}. MEDEC test notes are for evaluation only; \
         name a training file in data.train, or rename the file if it is none of MEDEC's test files"
    )]
    TestSplit { path: PathBuf, evidence: String },
    #[error(
        "no {what} notes to draw from: the Scribe's quadrants need notes with an error and clean notes; add a file that has both"
    )]
    EmptyPool { what: &'static str },
}
