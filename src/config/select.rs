//! The `[select]` section: which groups train, and how long a sample may be used. SeRL's online filter and expiry, OpenRLHF's
//! dynamic filtering (research: serl-openrlhf §1.3, §3.1, §7).

use serde::{Deserialize, Serialize};

use super::{ConfigError, Preset, RunConfig};
use crate::task::{LabelGate, Scheme};

/// Whether a pass rate on the edge of the window is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bounds {
    /// Low < rate < high.
    Strict,
    /// Low <= rate <= high.
    Inclusive,
}

/// Whether groups leave before or after advantages are computed and normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// A group that leaves has no say in the mean and the deviation.
    Before,
    /// It has, as in SeRL's code.
    After,
}

/// `None` takes the value of `algo.preset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// Whether groups outside the window leave.
    pub filter: Option<bool>,
    /// Pass rates of a group that trains. A completion passes where its verdict is right: clean for a clean note, an error of the
    /// right type for an error note; under scheme `majority`, where it is the consensus.
    pub window: Option<(f64, f64)>,
    pub bounds: Option<Bounds>,
    pub when: Option<When>,
    /// How often in a step groups that left are made up for by new samples of their quadrants; what is still missing then is missing.
    pub refill: Option<u32>,
    /// Steps in which a sample that trained may be read in all; 1 is never again.
    pub uses: u32,
    /// Steps after which it expires all the same.
    pub max_age: u32,
}

impl Default for SelectConfig {
    fn default() -> Self {
        SelectConfig { filter: None, window: None, bounds: None, when: None, refill: None, uses: 1, max_age: 1 }
    }
}

/// The section with every value settled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Selection {
    pub filter: bool,
    pub window: (f64, f64),
    pub bounds: Bounds,
    pub when: When,
    pub refill: u32,
    pub uses: u32,
    pub max_age: u32,
}

impl Selection {
    /// What is in force, in a sentence; `None` where every group trains once.
    pub fn describe(&self) -> Option<String> {
        let (low, high) = self.window;
        let (bounds, when) = match (self.bounds, self.when) {
            (Bounds::Strict, When::Before) => ("strictly between", "before"),
            (Bounds::Strict, When::After) => ("strictly between", "after"),
            (Bounds::Inclusive, When::Before) => ("from", "before"),
            (Bounds::Inclusive, When::After) => ("from", "after"),
        };
        let join = if self.bounds == Bounds::Strict { "and" } else { "to" };
        let window = self.filter.then(|| {
            let refill = self.refill;
            format!("groups train at pass rates {bounds} {low} {join} {high}; others leave {when} normalisation and are made up for up to {refill} times a step")
        });
        let again = (self.uses > 1).then(|| {
            format!("samples that trained are read in up to {} steps, within {} of their first", self.uses, self.max_age)
        });
        let parts: Vec<String> = window.into_iter().chain(again).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Why a group with this pass rate does not train; `None` where it does.
    pub fn refuses(&self, rate: f64) -> Option<&'static str> {
        let (low, high) = self.window;
        let (too_low, too_high) = match self.bounds {
            Bounds::Strict => (rate <= low, rate >= high),
            Bounds::Inclusive => (rate < low, rate > high),
        };
        match (self.filter, too_low, too_high) {
            (true, true, _) => Some("too-hard"),
            (true, _, true) => Some("too-easy"),
            _ => None,
        }
    }
}

impl SelectConfig {
    pub fn resolve(&self, preset: Preset) -> Selection {
        let base = Selection::preset(preset);
        Selection {
            filter: self.filter.unwrap_or(base.filter),
            window: self.window.unwrap_or(base.window),
            bounds: self.bounds.unwrap_or(base.bounds),
            when: self.when.unwrap_or(base.when),
            refill: self.refill.unwrap_or(base.refill),
            uses: self.uses,
            max_age: self.max_age,
        }
    }

    pub(super) fn validate(&self, run: &RunConfig) -> Result<(), ConfigError> {
        let refuse =
            |bad: bool, key, value: String, message| if bad { Err(ConfigError::Value { key, value, message }) } else { Ok(()) };
        let selection = self.resolve(run.algo.preset);
        let (low, high) = selection.window;
        let window = format!("[{low}, {high}]");
        let is_range = low >= 0.0 && low < high && high <= 1.0;
        refuse(!is_range, "select.window", window.clone(), "must be two shares between 0 and 1, the lower one first")?;
        refuse(self.uses == 0, "select.uses", "0".into(), "must be at least 1: a sample is read once")?;
        refuse(self.max_age == 0, "select.max_age", "0".into(), "must be at least 1; select.uses = 1 reads no sample again")?;
        if !selection.filter {
            return Ok(());
        }
        let k = run.doctor.completions;
        let refused = (0..=k).filter(|passed| selection.refuses(*passed as f64 / k as f64).is_some()).count();
        refuse(
            refused == k + 1,
            "select.window",
            window.clone(),
            "must hold a pass rate that a group can have: with k = doctor.completions these are 0, 1/k, 2/k, … 1",
        )?;
        refuse(
            refused == 0,
            "select.window",
            window,
            "must leave something out; it keeps every group: narrow it, or filter = false",
        )?;
        refuse(
            selection.refill > 0 && run.labels.gate != LabelGate::Off,
            "select.refill",
            selection.refill.to_string(),
            "must be 0 where labels.gate waits for hand labels: samples made later in a step would be asked for by surprise",
        )
    }
}

impl Selection {
    /// What a preset says where the section says nothing.
    pub fn preset(preset: Preset) -> Selection {
        let openrlhf = Selection {
            filter: false,
            window: (0.0, 1.0),
            bounds: Bounds::Strict,
            when: When::Before,
            refill: 3,
            uses: 1,
            max_age: 1,
        };
        match preset {
            Preset::Openrlhf => openrlhf,
            Preset::PaperV9 => Selection { refill: 0, ..openrlhf },
            Preset::Serl => {
                Selection { filter: true, window: (0.2, 0.8), bounds: Bounds::Inclusive, when: When::After, ..openrlhf }
            }
        }
    }
}

/// A vote needs voters.
pub(super) fn validate_majority(run: &RunConfig) -> Result<(), ConfigError> {
    let k = run.doctor.completions;
    if run.reward.scheme == Scheme::Majority && k < 2 {
        let message = "must be at least 2 with reward.scheme = \"majority\": a vote of one is always right";
        return Err(ConfigError::Value { key: "doctor.completions", value: k.to_string(), message });
    }
    Ok(())
}
