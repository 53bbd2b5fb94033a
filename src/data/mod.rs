//! MEDEC files and what is made of them: rows, vignette groups, split guard, source draws, warm-up examples.
//! Knows files and labels; must not know tensors, the store or the screen, and prints nothing.

pub mod error;
pub mod groups;
pub mod guard;
pub mod integrity;
pub mod medec;
pub mod pairs;
pub mod punctuation;
pub mod repair;
pub mod report;
pub mod sampler;
pub mod sentences;
pub mod sft;
pub mod shingles;
pub mod stream;
pub mod text_file;

use std::path::Path;

pub use error::DataError;
pub use groups::{GroupCounts, SIBLING_SIMILARITY};
pub use guard::{Overlap, Separated};
pub use integrity::{Relation, Violation};
pub use medec::{LoadOptions, RawFields, Row, load_medec, load_medec_with};
pub use pairs::load_pairs;
pub use report::LoadReport;
pub use sampler::{Pools, draw};
pub use sft::{SftExample, examples};
pub use shingles::near_duplicates;

use crate::task::LabelledNote;

/// Loads the labelled notes of a MEDEC CSV or a pairs JSONL, whichever the extension says.
pub fn load(path: &Path) -> Result<(Vec<LabelledNote>, LoadReport), DataError> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("csv") => load_medec(path).map(|(rows, report)| (rows.into_iter().map(|row| row.labelled).collect(), report)),
        Some("jsonl") => load_pairs(path),
        _ => Err(DataError::UnknownFormat { path: path.to_owned() }),
    }
}
