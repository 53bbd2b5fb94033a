//! What may be changed while a run goes on, and the one way in which a change is written: on the command line, on the wire and in
//! the store. A change holds from the beginning of a step, so that a step is made with one set of values.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::LabelGate;

/// One change of one value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Knob {
    /// Of the Doctor's completions.
    Temperature(f32),
    /// Peak of the schedule; warm-up and decay keep their shape.
    LearningRate(f64),
    LabelGate(LabelGate),
}

/// The values in force.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knobs {
    pub temperature: f32,
    pub learning_rate: f64,
    pub label_gate: LabelGate,
}

/// Beyond this every token is about as likely as any other.
const HOTTEST: f32 = 10.0;

/// How changes are written, for messages and help.
pub const FORMS: &str = "temperature=0.8, learning_rate=1e-4 or label_gate=off|ask|sample:0.1";

impl Knob {
    /// The names of all knobs, in the order in which they are shown.
    pub const NAMES: [&str; 3] = ["temperature", "learning_rate", "label_gate"];

    pub fn name(self) -> &'static str {
        match self {
            Knob::Temperature(_) => "temperature",
            Knob::LearningRate(_) => "learning_rate",
            Knob::LabelGate(_) => "label_gate",
        }
    }
}

impl Knobs {
    pub fn set(&mut self, knob: Knob) {
        match knob {
            Knob::Temperature(value) => self.temperature = value,
            Knob::LearningRate(value) => self.learning_rate = value,
            Knob::LabelGate(value) => self.label_gate = value,
        }
    }

    /// Every value as the change that would bring it about.
    pub fn all(&self) -> [Knob; 3] {
        [Knob::Temperature(self.temperature), Knob::LearningRate(self.learning_rate), Knob::LabelGate(self.label_gate)]
    }
}

impl FromStr for Knob {
    type Err = String;

    /// Reads `name=value`; the names of the experiment file are understood too.
    fn from_str(text: &str) -> Result<Knob, String> {
        let Some((name, value)) = text.split_once('=') else { return Err(format!("'{text}' is no change; write {FORMS}")) };
        let (name, value) = (name.trim(), value.trim());
        match name {
            "temperature" | "doctor.temperature" => {
                let read = value.parse::<f32>().ok().filter(|t| *t > 0.0 && *t <= HOTTEST);
                read.map(Knob::Temperature).ok_or_else(|| format!("temperature = {value}: must be above 0 and at most {HOTTEST}"))
            }
            "learning_rate" | "lr" | "algo.learning_rate" => {
                let read = value.parse::<f64>().ok().filter(|rate| *rate >= 0.0 && *rate <= 1.0);
                read.map(Knob::LearningRate)
                    .ok_or_else(|| format!("learning_rate = {value}: must lie between 0 and 1, such as 1e-4"))
            }
            "label_gate" | "labels.gate" => value.trim_matches('"').parse().map(Knob::LabelGate),
            _ => Err(format!("there is no knob '{name}'; write {FORMS}")),
        }
    }
}

impl fmt::Display for Knob {
    /// `name=value`, exact: reading it back gives the same bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Knob::Temperature(value) => write!(f, "temperature={value}"),
            Knob::LearningRate(value) => write!(f, "learning_rate={value:e}"),
            Knob::LabelGate(value) => write!(f, "label_gate={value}"),
        }
    }
}

impl TryFrom<String> for Knob {
    type Error = String;

    fn try_from(text: String) -> Result<Knob, String> {
        text.parse()
    }
}

impl From<Knob> for String {
    fn from(knob: Knob) -> String {
        knob.to_string()
    }
}
