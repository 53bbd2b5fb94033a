//! Whether training worked: scores on labelled notes, their uncertainty, what trivial policies get, the official MEDEC
//! metrics, and the reward audit. Pure functions over labels and verdicts; knows no model, no store and no run.

pub mod audit;
pub mod baseline;
pub mod compare;
pub mod corrections;
pub mod flags;
pub mod graded;
pub mod interval;
pub mod labels;
pub mod mcnemar;
pub mod medec_score;
pub mod policy;
pub mod published;
pub mod reference;
pub mod rouge;
pub mod submission;
pub mod vignettes;

pub use audit::{AuditRow, Failure, audit, audit_failures, audit_over, audit_passes};
pub use baseline::{Baseline, baselines, nearest_note, neighbour_rule};
pub use compare::{CompareError, Comparison, compare, read_side};
pub use corrections::Corrections;
pub use flags::Scores;
pub use graded::{Graded, Pairs, Rate, Tally, TypeRecall, tallies};
pub use interval::{Interval, bootstrap, bootstrap_difference, wilson};
pub use labels::{LabelStats, kappa};
pub use mcnemar::{McNemar, Unmatched, mcnemar, mcnemar_by};
pub use medec_score::{BertScores, Counters, OfficialScores, ScoredPair, score, scored_pairs};
pub use published::{PUBLISHED, Published};
pub use reference::{Reference, ReferenceError};
pub use submission::{Submission, SubmissionError};
