//! The split guard: test notes never train, and no training vignette is one of the notes that will be evaluated.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use super::groups::SAME_VIGNETTE;
use super::{error::DataError, shingles::near_duplicates};
use crate::task::LabelledNote;

/// 5-gram Jaccard from which a pair of notes of two files is listed. Below [`SAME_VIGNETTE`], so that what nearly counts as the
/// same vignette is seen; the research note's list for MEDEC's own splits ends at 0.42.
pub const WORTH_LISTING: f64 = 0.4;

const TEST_IDS: [&str; 2] = ["ms-test-", "uw-test-"];

/// Why a training note was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapReason {
    /// Its vignette group also stands in validation.
    SharedGroup,
    /// Its text is nearly that of a validation note.
    NearDuplicate,
    /// Another note of its group is a near duplicate.
    Sibling,
}

/// One training note taken out, and the validation note it collides with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    pub train: String,
    pub validation: String,
    pub reason: OverlapReason,
    /// 5-gram Jaccard of the colliding pair; 1 for a shared group.
    pub similarity: f64,
}

/// The training notes that may be used, and those taken out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Separated {
    pub train: Vec<LabelledNote>,
    pub removed: Vec<Overlap>,
}

/// Refuses a training file whose name or ids say that it is a MEDEC test file.
pub fn refuse_test(path: &Path, notes: &[LabelledNote]) -> Result<(), DataError> {
    let refuse = |evidence: String| Err(DataError::TestSplit { path: path.to_owned(), evidence });
    let is_test_id = |id: &str| TEST_IDS.iter().any(|prefix| id.trim().to_ascii_lowercase().starts_with(prefix));
    let test_ids: Vec<&str> = notes.iter().map(|n| n.note.id.as_str()).filter(|id| is_test_id(id)).collect();
    if let Some(first) = test_ids.first() {
        return refuse(format!("{} of its {} notes have test ids, such as {first}", test_ids.len(), notes.len()));
    }
    let stem = path.file_stem().map(|s| s.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match stem.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| *word == "test" || word.starts_with("testset")) {
        Some(word) => refuse(format!("its name holds \"{word}\"")),
        None => Ok(()),
    }
}

/// What two files share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    pub first: String,
    pub second: String,
    /// Group names that occur in both.
    pub groups: Vec<String>,
    /// Near duplicates: (note of the first, note of the second, similarity), most similar first.
    pub notes: Vec<(String, String, f64)>,
}

impl Shared {
    /// Whether the two files may not stand on two sides of a split.
    pub fn leaks(&self) -> bool {
        !self.groups.is_empty() || self.notes.iter().any(|(_, _, similarity)| *similarity >= SAME_VIGNETTE)
    }
}

/// What every two of several named files share: group names, and notes at or above `threshold` similar.
pub fn shared(files: &[(String, &[LabelledNote])], threshold: f64) -> Vec<Shared> {
    let groups = |notes: &[LabelledNote]| -> BTreeSet<String> { notes.iter().map(|n| n.note.group.clone()).collect() };
    let mut found = Vec::new();
    for (at, (first, a)) in files.iter().enumerate() {
        for (second, b) in &files[at + 1..] {
            let common = groups(a).intersection(&groups(b)).cloned().collect();
            let notes = near_duplicates(a, b, threshold);
            found.push(Shared { first: first.clone(), second: second.clone(), groups: common, notes });
        }
    }
    found
}

/// Takes every training group out that shares a group with validation or has a note at or above `threshold` similar to one there.
pub fn separate(train: Vec<LabelledNote>, validation: &[LabelledNote], threshold: f64) -> Separated {
    let collisions = collisions(&train, validation, threshold);
    let mut separated = Separated::default();
    for note in train {
        match collisions.get(&note.note.group) {
            Some(hit) => separated.removed.push(hit.overlap_of(&note)),
            None => separated.train.push(note),
        }
    }
    separated
}

/// What a training group collides with.
struct Collision {
    train: Option<String>,
    validation: String,
    similarity: f64,
}

impl Collision {
    fn overlap_of(&self, note: &LabelledNote) -> Overlap {
        let reason = match &self.train {
            None => OverlapReason::SharedGroup,
            Some(id) if *id == note.note.id => OverlapReason::NearDuplicate,
            Some(_) => OverlapReason::Sibling,
        };
        Overlap { train: note.note.id.clone(), validation: self.validation.clone(), reason, similarity: self.similarity }
    }
}

/// Training group → its worst collision.
fn collisions(train: &[LabelledNote], validation: &[LabelledNote], threshold: f64) -> BTreeMap<String, Collision> {
    let groups: HashSet<&str> = train.iter().map(|n| n.note.group.as_str()).collect();
    let group_of: BTreeMap<&str, &str> = train.iter().map(|n| (n.note.id.as_str(), n.note.group.as_str())).collect();
    let mut hits = BTreeMap::new();
    for note in validation.iter().filter(|n| groups.contains(n.note.group.as_str())) {
        let hit = Collision { train: None, validation: note.note.id.clone(), similarity: 1.0 };
        hits.entry(note.note.group.clone()).or_insert(hit);
    }
    // Most similar first, so the first entry of a group is its worst.
    for (train_id, validation_id, similarity) in near_duplicates(train, validation, threshold) {
        let hit = Collision { train: Some(train_id.clone()), validation: validation_id, similarity };
        hits.entry(group_of[train_id.as_str()].to_owned()).or_insert(hit);
    }
    hits
}
