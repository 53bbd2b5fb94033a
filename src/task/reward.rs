//! What a completion earns against a label: the whole table on one screen (design §6).

use serde::{Deserialize, Serialize};

use super::{
    label::{ErrorKind, Label},
    verdict::Verdict,
};

/// Which table is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// The origin's formula to the letter, substring tests and all; kept for comparison only.
    Spec,
    /// The same values on the parsed verdict.
    #[default]
    Strict,
}

/// A reward as its named parts; the scalar is their sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// +0.1 for the demanded form.
    pub format: f32,
    /// Right, missed, false alarm or unreadable.
    pub outcome: f32,
}

impl Reward {
    pub fn total(&self) -> f32 {
        self.format + self.outcome
    }
}

/// Scores one completion. `verdict` must be [`super::verdict::parse`] of `completion`.
pub fn score(scheme: Scheme, completion: &str, verdict: &Verdict, label: &Label) -> Reward {
    match scheme {
        Scheme::Spec => spec(completion, label),
        Scheme::Strict => strict(verdict, label),
    }
}

fn strict(verdict: &Verdict, label: &Label) -> Reward {
    let (format, outcome) = match (label, verdict) {
        (Label::Error { .. }, Verdict::Malformed { .. }) => (0.0, -1.0),
        (Label::Error { .. }, Verdict::Clean) => (0.1, -1.0),
        (Label::Error { kind: truth, .. }, Verdict::Error { kind, .. }) if kind == truth => (0.1, 1.0),
        (Label::Error { .. }, Verdict::Error { .. }) => (0.1, 0.0),
        (Label::Clean, Verdict::Malformed { .. }) => (0.0, -1.5),
        (Label::Clean, Verdict::Clean) => (0.1, 1.0),
        (Label::Clean, Verdict::Error { .. }) => (0.1, -1.5),
    };
    Reward { format, outcome }
}

/// The flaws are the point: see `medserl audit`.
fn spec(completion: &str, label: &Label) -> Reward {
    let format = if completion.contains("<thinking>") { 0.1 } else { 0.0 };
    let outcome = match label {
        Label::Error { kind, .. } if completion.contains(spec_name(*kind)) => 1.0,
        Label::Error { .. } if completion.contains("No Error") => -1.0,
        Label::Error { .. } => 0.0,
        Label::Clean if completion.contains("No Clinical Error") => 1.0,
        Label::Clean if completion.contains("Error") => -1.5,
        Label::Clean => 0.0,
    };
    Reward { format, outcome }
}

/// The type string the origin's formula searches for: the words the Doctor is asked to write.
fn spec_name(kind: ErrorKind) -> &'static str {
    kind.title()
}
