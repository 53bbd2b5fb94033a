//! What hand labels do to a batch, and decisions read from a file. Knows samples and labels; must not know where either is kept.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use serde::Deserialize;

use super::{DataError, stream};
use crate::{
    config::LabelsConfig,
    task::{Decision, Entry, Exclusion, HandLabel, LabelGate, Quadrant, Sample, Standing, decision::Outcome, hand_label::Picked},
};

/// The samples of a step after hand labels.
#[derive(Clone, Debug, Default)]
pub struct Sifted {
    /// What the Doctor is to read, in order; corrected ones carry their corrected label.
    pub kept: Vec<Arc<Sample>>,
    pub excluded: Vec<(Arc<Sample>, Exclusion)>,
    pub n_corrected: usize,
    /// Quadrants whose labels are right too rarely; of them only samples that someone vouched for are kept.
    pub quarantined: Vec<Quadrant>,
}

impl Sifted {
    /// Every sample in the order of the step, corrected ones as corrected: what the store is to remember.
    pub fn all(&self) -> Vec<Arc<Sample>> {
        let mut all: Vec<Arc<Sample>> = self.kept.iter().chain(self.excluded.iter().map(|(sample, _)| sample)).cloned().collect();
        all.sort_by_key(|sample| sample.index);
        all
    }

    /// How many samples left and why, by `QUADRANT/label:reason`, as a step report counts rejections.
    pub fn reasons(&self) -> BTreeMap<String, u32> {
        let mut reasons = BTreeMap::new();
        for (sample, why) in &self.excluded {
            *reasons.entry(format!("{}/label:{why}", sample.quadrant.code())).or_default() += 1;
        }
        reasons
    }
}

/// Applies the labels that stand to the samples of a step. An excluded sample must never reach the Doctor.
pub fn sift(samples: &[Arc<Sample>], standing: &Standing, config: &LabelsConfig) -> Sifted {
    let quarantined = standing.quarantined(config.quarantine_below, config.quarantine_min);
    let mut sifted = Sifted { quarantined, ..Sifted::default() };
    for sample in samples {
        let in_quarantine = sifted.quarantined.contains(&sample.quadrant);
        match standing.outcome(sample) {
            Outcome::Excluded(why) => sifted.excluded.push((Arc::clone(sample), why)),
            Outcome::Corrected(corrected) => {
                sifted.n_corrected += 1;
                sifted.kept.push(Arc::from(corrected));
            }
            Outcome::Kept { vouched: false } if in_quarantine => {
                sifted.excluded.push((Arc::clone(sample), Exclusion::Quarantine));
            }
            Outcome::Kept { .. } => sifted.kept.push(Arc::clone(sample)),
        }
    }
    sifted
}

/// The samples of a step that the gate wants a hand label for: the same ones however often the step is made.
pub fn asked(samples: &[Arc<Sample>], gate: LabelGate, seed: u64) -> Vec<&Arc<Sample>> {
    let wanted = |sample: &Sample| match gate {
        LabelGate::Off => false,
        LabelGate::Ask => true,
        LabelGate::Sample(p) => {
            stream::unit(&mut stream::stream(seed, "labels", u64::from(sample.step), u64::from(sample.index))) < p
        }
    };
    samples.iter().filter(|sample| wanted(sample)).collect()
}

/// One line of a file of decisions: a whole entry of a label file, or just what was decided about which sample.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {
    sample: String,
    decision: Decision,
    #[serde(default)]
    annotator: Option<String>,
    #[serde(default)]
    seconds: f32,
    #[serde(default)]
    remark: String,
}

/// Who decides, when, and about which run.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    pub run: &'a str,
    /// For lines that name nobody.
    pub annotator: &'a str,
    /// Unix seconds.
    pub at: i64,
}

/// Reads decisions, one JSON object a line: `{"sample": "SI-0318-07", "decision": {"reject": "no_error"}}`, or whole entries of
/// a label file. Every line is checked against its sample before any is returned; `path` is only named in messages.
pub fn import(
    path: &Path,
    text: &str,
    signature: &Signature,
    find: &mut dyn FnMut(&str) -> anyhow::Result<Option<Sample>>,
) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refuse = |problem: String| DataError::Record { path: path.to_owned(), line: i + 1, problem };
        if let Ok(entry) = serde_json::from_str::<Entry>(line) {
            let id = if entry.id().is_empty() { decision_id(line) } else { entry.id().to_owned() };
            entries.push(entry.with_id(id));
            continue;
        }
        let bare: Bare = serde_json::from_str(line).map_err(|e| {
            refuse(format!(
                "no decision: {e}; expected {{\"sample\": ID, \"decision\": D}} with D one of \"accept\", \"unsure\", \
                 {{\"reject\": REASON}}, {{\"amend\": {{\"kind\", \"sentence\", \"correction\"}}}}, {{\"judge\": \"clean\"}}, \
                 {{\"judge\": {{\"error\": {{\"kind\", \"sentence\"}}}}}}, or an entry of a label file"
            ))
        })?;
        let Some(sample) = find(&bare.sample)? else {
            return Err(refuse(format!("there is no sample {} in {}", bare.sample, signature.run)).into());
        };
        bare.decision.check(&sample).map_err(|why| refuse(format!("this cannot be decided about {}: {why}", bare.sample)))?;
        entries.push(Entry::Label(Box::new(HandLabel {
            run: signature.run.to_owned(),
            annotator: bare.annotator.unwrap_or_else(|| signature.annotator.to_owned()),
            at: signature.at,
            seconds: bare.seconds,
            remark: bare.remark,
            picked: Picked::Imported,
            ..HandLabel::of(&sample, bare.decision)
        })));
    }
    Ok(entries)
}

/// Leaves out what is on record already: entries by id, decisions that the same annotator's last word repeats.
pub fn unheard(entries: Vec<Entry>, standing: &Standing) -> Vec<Entry> {
    let key = |l: &HandLabel| (l.run.clone(), l.sample.clone(), l.annotator.clone(), l.blind);
    let last: HashMap<_, &HandLabel> = standing.labels().map(|label| (key(label), label)).collect();
    let same = |a: &HandLabel, b: &HandLabel| (&a.decision, &a.claim, &a.note) == (&b.decision, &b.claim, &b.note);
    let stands = |label: &HandLabel| last.get(&key(label)).is_some_and(|l| same(l, label));
    let is_new = |entry: &Entry| match entry {
        Entry::Label(label) if label.id.is_empty() => !stands(label),
        entry => !standing.knows(entry.id()),
    };
    entries.into_iter().filter(is_new).collect()
}

fn decision_id(line: &str) -> String {
    blake3::hash(line.trim().as_bytes()).to_hex()[..16].to_owned()
}
