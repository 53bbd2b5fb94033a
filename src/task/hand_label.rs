//! One decision on record, and when a run asks for one. Plain data; writing it down is the store's part.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{decision::Decision, label::Label, note::Note, quadrant::Quadrant, sample::Sample};

/// The program that took a decision down.
pub const TOOL: &str = concat!("medserl ", env!("CARGO_PKG_VERSION"));

/// How the sample came before the annotator. A fair draw is needed to say how often labels are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picked {
    /// In the order of the run, newest first.
    #[default]
    Newest,
    /// A seeded draw, every quadrant in turn.
    Stratified,
    /// Those first on which the Doctor contradicts the claim: no fair draw.
    Disagreement,
    /// Those first that somebody else has decided on.
    Second,
    /// Read from a file.
    Imported,
}

impl Picked {
    pub fn is_fair(self) -> bool {
        self != Picked::Disagreement
    }
}

/// One decision by one annotator about one sample of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandLabel {
    /// Given when it is written down; the same line in two files is one label.
    #[serde(default)]
    pub id: String,
    pub run: String,
    pub sample: String,
    /// [`fingerprint`] of the note decided on: ids are per run, texts are not.
    pub note: String,
    pub quadrant: Quadrant,
    /// Vignette group of the source note.
    pub group: String,
    pub claim: Label,
    pub decision: Decision,
    /// The claim was hidden.
    #[serde(default)]
    pub blind: bool,
    /// Asked a second time, to see whether the annotator agrees with themself.
    #[serde(default)]
    pub repeat: bool,
    /// The Doctor's verdicts were on show.
    #[serde(default)]
    pub saw_doctor: bool,
    #[serde(default)]
    pub picked: Picked,
    pub annotator: String,
    /// Unix seconds.
    pub at: i64,
    /// From first sight to decision.
    #[serde(default)]
    pub seconds: f32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
    #[serde(default)]
    pub tool: String,
}

impl HandLabel {
    /// A label about `sample` with everything still empty that the sample does not know.
    pub fn of(sample: &Sample, decision: Decision) -> HandLabel {
        HandLabel {
            id: String::new(),
            run: String::new(),
            sample: sample.id.clone(),
            note: fingerprint(&sample.note),
            quadrant: sample.quadrant,
            group: sample.source.group.clone(),
            claim: sample.label.clone(),
            blind: matches!(decision, Decision::Judge(_)),
            decision,
            repeat: false,
            saw_doctor: false,
            picked: Picked::default(),
            annotator: String::new(),
            at: 0,
            seconds: 0.0,
            remark: String::new(),
            tool: TOOL.to_owned(),
        }
    }
}

/// Takes an earlier label back; the label stays on record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retraction {
    #[serde(default)]
    pub id: String,
    /// The id of the label.
    pub of: String,
    pub annotator: String,
    /// Unix seconds.
    pub at: i64,
}

/// One line of a label file. Lines are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Label(Box<HandLabel>),
    Undo(Retraction),
}

impl Entry {
    pub fn id(&self) -> &str {
        match self {
            Entry::Label(label) => &label.id,
            Entry::Undo(undo) => &undo.id,
        }
    }

    pub fn with_id(mut self, id: String) -> Entry {
        match &mut self {
            Entry::Label(label) => label.id = id,
            Entry::Undo(undo) => undo.id = id,
        }
        self
    }

    pub fn at(&self) -> i64 {
        match self {
            Entry::Label(label) => label.at,
            Entry::Undo(undo) => undo.at,
        }
    }
}

/// 16 hexadecimal digits of a note's sentences, numbers included (BLAKE3).
pub fn fingerprint(note: &Note) -> String {
    let mut hasher = blake3::Hasher::new();
    for sentence in &note.sentences {
        hasher.update(&sentence.id.to_le_bytes());
        hasher.update(&(sentence.text.len() as u64).to_le_bytes());
        hasher.update(sentence.text.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Whether a run waits for hand labels before the Doctor reads the samples of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LabelGate {
    /// Never; labels that are there count all the same.
    #[default]
    Off,
    /// For every sample.
    Ask,
    /// For a seeded share of the samples, above 0 and at most 1.
    Sample(f64),
}

impl FromStr for LabelGate {
    type Err = String;

    fn from_str(word: &str) -> Result<LabelGate, String> {
        let share = word.strip_prefix("sample:").and_then(|p| p.trim().parse::<f64>().ok());
        match (word, share) {
            ("off", _) => Ok(LabelGate::Off),
            ("ask", _) => Ok(LabelGate::Ask),
            (_, Some(p)) if p > 0.0 && p <= 1.0 => Ok(LabelGate::Sample(p)),
            _ => Err(format!("'{word}' is no label gate; write \"off\", \"ask\" or \"sample:p\" with p above 0 and at most 1")),
        }
    }
}

impl TryFrom<String> for LabelGate {
    type Error = String;

    fn try_from(word: String) -> Result<LabelGate, String> {
        word.parse()
    }
}

impl fmt::Display for LabelGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelGate::Off => f.write_str("off"),
            LabelGate::Ask => f.write_str("ask"),
            LabelGate::Sample(p) => write!(f, "sample:{p}"),
        }
    }
}

impl From<LabelGate> for String {
    fn from(gate: LabelGate) -> String {
        gate.to_string()
    }
}
