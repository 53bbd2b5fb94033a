//! Where a verdict falls against the truth: the word of the `cell` column, of filters and of every list of rollouts.

use crate::task::Rollout;

/// The five ways a verdict can meet the truth; positive means an error was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    TruePositive,
    TrueNegative,
    FalsePositive,
    FalseNegative,
    Malformed,
}

impl Cell {
    pub const ALL: [Cell; 5] =
        [Cell::TruePositive, Cell::TrueNegative, Cell::FalsePositive, Cell::FalseNegative, Cell::Malformed];

    pub fn of(rollout: &Rollout) -> Cell {
        match (rollout.sample.label.is_error(), rollout.verdict.flag()) {
            (true, Some(true)) => Cell::TruePositive,
            (true, Some(false)) => Cell::FalseNegative,
            (false, Some(true)) => Cell::FalsePositive,
            (false, Some(false)) => Cell::TrueNegative,
            (_, None) => Cell::Malformed,
        }
    }

    /// The spelling in the store.
    pub fn name(self) -> &'static str {
        match self {
            Cell::TruePositive => "true_positive",
            Cell::TrueNegative => "true_negative",
            Cell::FalsePositive => "false_positive",
            Cell::FalseNegative => "false_negative",
            Cell::Malformed => "malformed",
        }
    }

    /// Two letters; `XX` for what could not be read.
    pub fn code(self) -> &'static str {
        match self {
            Cell::TruePositive => "TP",
            Cell::TrueNegative => "TN",
            Cell::FalsePositive => "FP",
            Cell::FalseNegative => "FN",
            Cell::Malformed => "XX",
        }
    }

    /// Reads a code or a name, in any case.
    pub fn parse(word: &str) -> Option<Cell> {
        Cell::ALL.into_iter().find(|cell| word.eq_ignore_ascii_case(cell.code()) || word.eq_ignore_ascii_case(cell.name()))
    }

    /// Whether the flag is right.
    pub fn is_right(self) -> bool {
        matches!(self, Cell::TruePositive | Cell::TrueNegative)
    }
}
