//! The Scribe's four moves and their equal shares.

use serde::{Deserialize, Serialize};

/// Which of the Scribe's four moves made a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quadrant {
    /// A note with an error, reworded around the error sentence.
    #[serde(rename = "AE")]
    AugmentedError,
    /// A clean note, reworded.
    #[serde(rename = "AS")]
    AugmentedSafe,
    /// A clean note with cosmetic noise: messy but right.
    #[serde(rename = "SD")]
    SyntheticDecoy,
    /// A clean note with a new error put in.
    #[serde(rename = "SI")]
    SyntheticInjection,
}

impl Quadrant {
    pub const ALL: [Quadrant; 4] =
        [Quadrant::AugmentedError, Quadrant::AugmentedSafe, Quadrant::SyntheticDecoy, Quadrant::SyntheticInjection];

    pub fn code(self) -> &'static str {
        match self {
            Quadrant::AugmentedError => "AE",
            Quadrant::AugmentedSafe => "AS",
            Quadrant::SyntheticDecoy => "SD",
            Quadrant::SyntheticInjection => "SI",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Quadrant::AugmentedError => "augmented error",
            Quadrant::AugmentedSafe => "augmented safe",
            Quadrant::SyntheticDecoy => "synthetic decoy",
            Quadrant::SyntheticInjection => "synthetic injection",
        }
    }

    pub fn parse(code: &str) -> Option<Quadrant> {
        Quadrant::ALL.into_iter().find(|q| q.code().eq_ignore_ascii_case(code.trim()))
    }

    /// Position in [`Quadrant::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether the Doctor should find an error in samples of this quadrant.
    pub fn holds_error(self) -> bool {
        matches!(self, Quadrant::AugmentedError | Quadrant::SyntheticInjection)
    }

    /// Whether the Scribe starts from a note that already has an error.
    pub fn starts_from_error(self) -> bool {
        self == Quadrant::AugmentedError
    }
}
