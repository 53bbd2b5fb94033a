//! The Scribe's product: a note with its label, its quadrant and where it came from.

use serde::{Deserialize, Serialize};

use super::{label::Label, note::Note, quadrant::Quadrant};
use crate::task::ErrorKind;

/// An edit the Scribe proposed and the program applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    pub sentence: u32,
    pub old: String,
    pub new: String,
    pub kind: ErrorKind,
    pub why: String,
}

/// One gate's answer about one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    pub gate: String,
    pub passed: bool,
    pub detail: String,
}

/// Where a sample came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The Scribe's last completion, raw; empty for decoys, which code makes.
    pub scribe_text: String,
    /// Attempts used (1 = accepted at once).
    pub attempts: u32,
    /// All attempts were rejected: the note is the static source, unchanged.
    pub fallback: bool,
    pub injection: Option<Injection>,
    /// Names of the gates that rejected earlier attempts, one entry an attempt.
    pub rejections: Vec<String>,
    /// Where this sample was read before: the id it had the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
}

/// A sample that is read another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// Its id the first time; steps and quadrant stand in it.
    pub first: String,
    /// The step it was written in.
    pub written: u32,
    /// In how many steps it was read before.
    pub uses: u32,
}

/// One training note with its known truth, ready to be posed to the Doctor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// `SI-0318-07`: quadrant, step, index within the step.
    pub id: String,
    pub step: u32,
    pub index: u32,
    pub quadrant: Quadrant,
    pub note: Note,
    pub label: Label,
    /// The note the Scribe started from.
    pub source: Note,
    pub provenance: Provenance,
    pub gates: Vec<GateResult>,
}

impl Sample {
    pub fn make_id(quadrant: Quadrant, step: u32, index: u32) -> String {
        format!("{}-{step:04}-{index:02}", quadrant.code())
    }
}
