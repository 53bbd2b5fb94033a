//! What a person can decide about a sample, and what follows for the sample. Pure: knows neither files nor who decided.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    label::{ErrorKind, Label},
    sample::{GateResult, Sample},
};

/// Why a claim was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// An error is claimed, and the note is still right.
    NoError,
    /// One error is claimed, and the note has another one, or more than one.
    OtherError,
    /// The note is claimed clean and has an error.
    HasError,
    /// Its wording gives the answer away.
    Giveaway,
    /// It cannot be read as a note.
    Unreadable,
    Other,
}

impl RejectReason {
    pub const ALL: [RejectReason; 6] = [
        RejectReason::NoError,
        RejectReason::OtherError,
        RejectReason::HasError,
        RejectReason::Giveaway,
        RejectReason::Unreadable,
        RejectReason::Other,
    ];

    /// The spelling on disk and in counts.
    pub fn name(self) -> &'static str {
        match self {
            RejectReason::NoError => "no_error",
            RejectReason::OtherError => "other_error",
            RejectReason::HasError => "has_error",
            RejectReason::Giveaway => "giveaway",
            RejectReason::Unreadable => "unreadable",
            RejectReason::Other => "other",
        }
    }

    pub fn describe(self) -> &'static str {
        match self {
            RejectReason::NoError => "no error: the meaning is still right",
            RejectReason::OtherError => "another error than claimed, or more than one",
            RejectReason::HasError => "not clean: it has an error",
            RejectReason::Giveaway => "its wording gives the answer away",
            RejectReason::Unreadable => "unreadable",
            RejectReason::Other => "something else (comment with c first)",
        }
    }

    /// Whether the reason makes sense against this claim.
    pub fn fits(self, claim: &Label) -> bool {
        match self {
            RejectReason::NoError | RejectReason::OtherError => claim.is_error(),
            RejectReason::HasError => !claim.is_error(),
            RejectReason::Giveaway | RejectReason::Unreadable | RejectReason::Other => true,
        }
    }
}

/// What an annotator saw in a note whose claim was hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    Clean,
    Error {
        kind: ErrorKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sentence: Option<u32>,
    },
}

impl Judged {
    /// Same flag and type, and the same sentence where one was named.
    pub fn agrees(&self, claim: &Label) -> bool {
        match (self, claim) {
            (Judged::Clean, Label::Clean) => true,
            (Judged::Error { kind, sentence }, Label::Error { kind: claimed, sentence: at, .. }) => {
                kind == claimed && sentence.is_none_or(|s| s == *at)
            }
            _ => false,
        }
    }
}

/// One decision about one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The claim is right.
    Accept,
    /// The sample is not to be trained on.
    Reject(RejectReason),
    /// The note has an error, but not as claimed. What is `None` stays as claimed; a sentence that moved takes its correction
    /// from the source note unless one is given. A clean claim needs all three.
    Amend {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<ErrorKind>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sentence: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correction: Option<String>,
    },
    /// The annotator cannot tell.
    Unsure,
    /// Made without seeing the claim.
    Judge(Judged),
}

/// What one decision says about one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Opinion {
    Right,
    /// Wrong as claimed, and put right.
    Mended,
    Wrong,
    Unsure,
    /// Judged otherwise without seeing the claim: a question, not an answer.
    Doubt,
}

impl Decision {
    pub fn opinion(&self, claim: &Label) -> Opinion {
        match self {
            Decision::Accept => Opinion::Right,
            Decision::Reject(_) => Opinion::Wrong,
            Decision::Amend { .. } => Opinion::Mended,
            Decision::Unsure => Opinion::Unsure,
            Decision::Judge(judged) if judged.agrees(claim) => Opinion::Right,
            Decision::Judge(_) => Opinion::Doubt,
        }
    }

    /// Whether it can be made about this sample; where not, why.
    pub fn check(&self, sample: &Sample) -> Result<(), &'static str> {
        match self {
            Decision::Reject(reason) if !reason.fits(&sample.label) => Err("the reason does not fit the claim"),
            Decision::Judge(Judged::Error { sentence: Some(id), .. }) if sample.note.sentence(*id).is_none() => {
                Err("the note has no sentence of this number")
            }
            Decision::Amend { .. } if !sample.label.is_error() && self.mended(sample).is_none() => {
                Err("calling it an error takes a type, a sentence and another wording for it")
            }
            Decision::Amend { .. } if self.mended(sample).is_none() => {
                Err("this would leave no error: the sentence must be in the note and differ from its correction")
            }
            _ => Ok(()),
        }
    }

    /// The label an amendment leaves, where it leaves one that is true of the text.
    fn mended(&self, sample: &Sample) -> Option<Label> {
        let Decision::Amend { kind, sentence, correction } = self else { return None };
        let (claimed_kind, claimed_at, claimed_correction) = match &sample.label {
            Label::Clean => (None, None, None),
            Label::Error { kind, sentence, correction } => (Some(*kind), Some(*sentence), Some(correction.as_str())),
        };
        let at = sentence.or(claimed_at)?;
        let text = &sample.note.sentence(at)?.text;
        let correction = match correction {
            Some(given) => given.as_str(),
            None if Some(at) == claimed_at => claimed_correction?,
            None => sample.source.sentence(at).filter(|_| sample.label.is_error())?.text.as_str(),
        };
        let correction = correction.trim();
        let label = Label::Error { kind: kind.or(claimed_kind)?, sentence: at, correction: correction.to_owned() };
        (!correction.is_empty() && correction != text.trim()).then_some(label)
    }
}

/// Why a sample leaves the batch before the Doctor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exclusion {
    Rejected(RejectReason),
    /// The amendment fits no sentence of this text.
    Unmendable,
    /// Two annotators decided differently.
    Disagreement,
    /// Its quadrant's labels are right too rarely.
    Quarantine,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exclusion::Rejected(reason) => reason.name(),
            Exclusion::Unmendable => "unmendable",
            Exclusion::Disagreement => "annotators_disagree",
            Exclusion::Quarantine => "quarantine",
        })
    }
}

/// What hand labels make of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Trained on as claimed. `vouched` where someone said that the claim is right.
    Kept {
        vouched: bool,
    },
    /// Trained on with another label.
    Corrected(Box<Sample>),
    Excluded(Exclusion),
}

/// The name under which a correction by hand stands among a sample's gates.
pub const HAND_GATE: &str = "hand label";

/// What the decisions of all annotators, one each, make of a sample. A rejection by anyone excludes; so do two that differ.
pub fn apply<'a>(decisions: impl IntoIterator<Item = &'a Decision>, sample: &Sample) -> Outcome {
    let mut labels: Vec<Label> = Vec::new();
    for decision in decisions {
        match decision.opinion(&sample.label) {
            Opinion::Right => labels.push(sample.label.clone()),
            Opinion::Mended => match decision.mended(sample) {
                Some(label) => labels.push(label),
                None => return Outcome::Excluded(Exclusion::Unmendable),
            },
            Opinion::Wrong => {
                let reason = if let Decision::Reject(reason) = decision { *reason } else { RejectReason::Other };
                return Outcome::Excluded(Exclusion::Rejected(reason));
            }
            Opinion::Unsure | Opinion::Doubt => {}
        }
    }
    match labels.pop() {
        None => Outcome::Kept { vouched: false },
        Some(label) if labels.iter().any(|other| *other != label) => Outcome::Excluded(Exclusion::Disagreement),
        Some(label) if label == sample.label => Outcome::Kept { vouched: true },
        Some(label) => Outcome::Corrected(Box::new(corrected(sample, label))),
    }
}

fn corrected(sample: &Sample, label: Label) -> Sample {
    let before = match &sample.label {
        Label::Clean => "clean".to_owned(),
        Label::Error { kind, sentence, .. } => format!("{}, sentence {sentence}", kind.title()),
    };
    let mut sample = sample.clone();
    sample.gates.push(GateResult { gate: HAND_GATE.to_owned(), passed: true, detail: format!("the claim was: {before}") });
    sample.label = label;
    sample
}
