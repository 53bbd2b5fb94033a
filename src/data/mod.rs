//! MEDEC files and what is made of them: rows, vignette groups, split guard, source draws, warm-up examples.
//! Knows files and labels; must not know tensors, the store or the screen, and prints nothing.

pub mod error;
pub mod groups;
pub mod guard;
pub mod integrity;
pub mod labels;
pub mod medec;
pub mod pairs;
pub mod punctuation;
pub mod records;
pub mod repair;
pub mod report;
pub mod sampler;
pub mod sentences;
pub mod sft;
pub mod shingles;
pub mod split;
pub mod stream;
pub mod text_file;

use std::path::Path;

pub use error::DataError;
pub use groups::{GroupCounts, SIBLING_SIMILARITY};
pub use guard::{Overlap, Separated, Shared};
pub use integrity::{Relation, Violation};
pub use labels::{Sifted, sift};
pub use medec::{LoadOptions, RawFields, Row, load_medec, load_medec_with};
pub use pairs::load_pairs;
pub use report::LoadReport;
pub use sampler::{Pools, draw, draw_more, draw_more_pairs, draw_pairs};
pub use sft::{SftExample, examples};
pub use shingles::near_duplicates;
pub use split::{Split, SplitOptions, SplitReport};

use crate::task::LabelledNote;

/// The formats notes are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    MedecCsv,
    PairsJsonl,
}

impl Format {
    /// The format that a file's extension says.
    pub fn of(path: &Path) -> Result<Format, DataError> {
        match path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).as_deref() {
            Some("csv") => Ok(Format::MedecCsv),
            Some("jsonl") => Ok(Format::PairsJsonl),
            _ => Err(DataError::UnknownFormat { path: path.to_owned() }),
        }
    }
}

/// Loads the labelled notes of a MEDEC CSV or a pairs JSONL, whichever the extension says; a row that cannot be read is an
/// error.
pub fn load(path: &Path) -> Result<(Vec<LabelledNote>, LoadReport), DataError> {
    let (notes, report) = inspect(path)?;
    report.refuse_unreadable(path)?;
    Ok((notes, report))
}

/// As [`load`], but rows that cannot be read are listed in the report: for looking at a file, not for using it.
pub fn inspect(path: &Path) -> Result<(Vec<LabelledNote>, LoadReport), DataError> {
    let format = Format::of(path)?;
    let file = text_file::read(path)?;
    match format {
        Format::MedecCsv => {
            let (rows, report) = medec::read(path, &file, LoadOptions::default())?;
            Ok((rows.into_iter().map(|row| row.labelled).collect(), report))
        }
        Format::PairsJsonl => {
            let (pairs, report) = pairs::read(path, &file)?;
            Ok((pairs.into_iter().flat_map(|pair| pair.notes).collect(), report))
        }
    }
}
