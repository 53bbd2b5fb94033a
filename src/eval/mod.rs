//! Whether training worked: scores on labelled notes, their uncertainty, what trivial policies get, the official MEDEC
//! metrics, and the reward audit. Pure functions over labels and verdicts; knows no model, no store and no run.

pub mod audit;
pub mod baseline;
pub mod flags;
pub mod graded;
pub mod interval;
pub mod mcnemar;
pub mod medec_score;
pub mod policy;
pub mod reference;
pub mod rouge;
pub mod submission;

pub use audit::{AuditRow, audit, audit_failures, audit_passes};
pub use baseline::{Baseline, baselines};
pub use flags::Scores;
pub use graded::{Graded, Pairs, Rate, Tally, TypeRecall, tallies};
pub use interval::{Interval, bootstrap, wilson};
pub use mcnemar::{McNemar, Unmatched, mcnemar};
pub use medec_score::{OfficialScores, score};
pub use reference::{Reference, ReferenceError};
pub use submission::{Submission, SubmissionError};
