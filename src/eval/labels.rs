//! What hand labels say: how often the Scribe's claims are right, and whether annotators agree, with each other and themselves.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::interval::{Interval, wilson};
use crate::{
    config::LabelsConfig,
    task::{Decision, ErrorKind, HandLabel, Judged, Quadrant, Standing, decision::Opinion, standing::Tally},
};

/// Claims of one quadrant, by sample.
#[derive(Clone, Debug, Serialize)]
pub struct QuadrantLabels {
    pub quadrant: &'static str,
    pub right: usize,
    pub mended: usize,
    pub rejected: usize,
    pub unsure: usize,
    pub disputed: usize,
    /// Samples picked because the Doctor disagreed; in no other count.
    pub picked: usize,
    /// Share of claims that are right over those judged, with its Wilson interval at 95%.
    pub precision: Option<f64>,
    pub interval: Option<Interval>,
    /// Why claims were rejected, by label.
    pub reasons: BTreeMap<&'static str, usize>,
    pub quarantined: bool,
}

/// Two annotators over the samples both decided on.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    pub first: String,
    pub second: String,
    /// Blind judgements (clean or a type); else reviews of the claim (accept, amend, reject).
    pub blind: bool,
    pub n: usize,
    pub percent: f64,
    /// Cohen's; `None` where chance alone would always agree.
    pub kappa: Option<f64>,
}

/// One annotator, asked twice.
#[derive(Clone, Debug, Serialize)]
pub struct SelfAgreement {
    pub annotator: String,
    pub n: usize,
    pub n_same: usize,
    pub percent: f64,
}

/// One annotator's work.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Work {
    pub labels: usize,
    /// Blind judgements, and how many of them agree with the claim.
    pub blind: usize,
    pub blind_agrees: usize,
    pub median_seconds: Option<f32>,
}

/// Everything `medserl label stats` reports.
#[derive(Clone, Debug, Serialize)]
pub struct LabelStats {
    pub n_labels: usize,
    pub n_undone: usize,
    pub n_samples: usize,
    pub quadrants: Vec<QuadrantLabels>,
    pub annotators: BTreeMap<String, Work>,
    pub agreements: Vec<Agreement>,
    pub self_agreements: Vec<SelfAgreement>,
}

impl LabelStats {
    /// Counts the labels that stand; the configuration says when a quadrant is in quarantine.
    pub fn of(standing: &Standing, config: &LabelsConfig) -> LabelStats {
        let by_sample = standing.by_sample();
        let quarantined = standing.quarantined(config.quarantine_below, config.quarantine_min);
        let tallies = standing.tallies();
        let quadrants = Quadrant::ALL.into_iter().map(|quadrant| {
            let last_words = by_sample.values().flatten().filter(|label| label.quadrant == quadrant);
            quadrant_labels(quadrant, tallies[quadrant.index()], last_words.copied(), quarantined.contains(&quadrant))
        });
        LabelStats {
            n_labels: standing.labels().count(),
            n_undone: standing.n_undone(),
            n_samples: by_sample.len(),
            quadrants: quadrants.collect(),
            annotators: work(standing),
            agreements: [false, true].into_iter().flat_map(|blind| agreements(standing, blind)).collect(),
            self_agreements: self_agreements(standing),
        }
    }

    /// The report as plain lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} labels of {} samples, {} undone", self.n_labels, self.n_samples, self.n_undone)];
        if self.n_labels == 0 {
            return lines;
        }
        lines.push(format!(
            "{:4} {:>5} {:>6} {:>8} {:>6} {:>8} {:>6}  {:>9}  95% interval",
            "", "right", "mended", "rejected", "unsure", "disputed", "picked", "precision"
        ));
        lines.extend(self.quadrants.iter().map(quadrant_line));
        if self.quadrants.iter().any(|q| q.picked > 0) {
            lines.push("picked: chosen because the Doctor disagreed; no fair draw, so in no share".to_owned());
        }
        for (name, work) in &self.annotators {
            let pace = work.median_seconds.map_or_else(String::new, |s| format!(", median {s:.1} s"));
            let blind = if work.blind == 0 {
                String::new()
            } else {
                format!(", {} blind of which {} agree with the claim", work.blind, work.blind_agrees)
            };
            lines.push(format!("{name}: {} labels{blind}{pace}", work.labels));
        }
        for a in &self.agreements {
            let what = if a.blind { "blind judgements" } else { "reviews" };
            let kappa = a.kappa.map_or_else(|| "undefined (only one answer was ever given)".to_owned(), |k| format!("{k:.3}"));
            let (first, second, n) = (&a.first, &a.second, a.n);
            lines.push(format!("{first} and {second}, {n} {what} in common: agree {:.1}%, kappa {kappa}", a.percent));
        }
        for own in &self.self_agreements {
            let (name, same, n) = (&own.annotator, own.n_same, own.n);
            lines.push(format!("{name} asked again: {same} of {n} the same ({:.1}%)", own.percent));
        }
        lines
    }
}

fn quadrant_line(q: &QuadrantLabels) -> String {
    let precision = q.precision.map_or_else(|| "-".to_owned(), |p| format!("{:.1}%", 100.0 * p));
    let interval = q.interval.map_or_else(|| "-".to_owned(), |i| i.to_string());
    let reasons: Vec<String> = q.reasons.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    let mut line = format!(
        "{:4} {:>5} {:>6} {:>8} {:>6} {:>8} {:>6}  {precision:>9}  {interval}",
        q.quadrant, q.right, q.mended, q.rejected, q.unsure, q.disputed, q.picked
    );
    if !reasons.is_empty() {
        line = format!("{line}  ({})", reasons.join(", "));
    }
    if q.quarantined {
        line.push_str("  QUARANTINED");
    }
    line
}

fn quadrant_labels<'a>(
    quadrant: Quadrant,
    tally: Tally,
    last_words: impl Iterator<Item = &'a HandLabel>,
    quarantined: bool,
) -> QuadrantLabels {
    let mut reasons = BTreeMap::new();
    for label in last_words {
        if let Decision::Reject(reason) = &label.decision {
            *reasons.entry(reason.name()).or_default() += 1;
        }
    }
    QuadrantLabels {
        quadrant: quadrant.code(),
        right: tally.right,
        mended: tally.mended,
        rejected: tally.rejected,
        unsure: tally.unsure,
        disputed: tally.disputed,
        picked: tally.picked,
        precision: tally.precision(),
        interval: wilson(tally.right, tally.n_judged()),
        reasons,
        quarantined,
    }
}

fn work(standing: &Standing) -> BTreeMap<String, Work> {
    let mut work: BTreeMap<String, (Work, Vec<f32>)> = BTreeMap::new();
    for label in standing.labels() {
        let (own, seconds) = work.entry(label.annotator.clone()).or_default();
        own.labels += 1;
        if let Decision::Judge(judged) = &label.decision {
            own.blind += 1;
            own.blind_agrees += usize::from(judged.agrees(&label.claim));
        }
        if label.seconds > 0.0 {
            seconds.push(label.seconds);
        }
    }
    let done = |(own, mut seconds): (Work, Vec<f32>)| {
        seconds.sort_by(f32::total_cmp);
        Work { median_seconds: seconds.get(seconds.len() / 2).copied(), ..own }
    };
    work.into_iter().map(|(name, of)| (name, done(of))).collect()
}

/// The answer as a category: blind judgements by flag and type, reviews by what became of the claim. Unsure is no answer.
fn category(label: &HandLabel) -> Option<usize> {
    match &label.decision {
        Decision::Judge(Judged::Clean) => Some(0),
        Decision::Judge(Judged::Error { kind, .. }) => Some(1 + ErrorKind::ALL.iter().position(|k| k == kind)?),
        decision => match decision.opinion(&label.claim) {
            Opinion::Right => Some(0),
            Opinion::Mended => Some(1),
            Opinion::Wrong => Some(2),
            Opinion::Unsure | Opinion::Doubt => None,
        },
    }
}

/// Samples are the same where note and claim are: two annotators may have met them in different runs.
type SameSample<'a> = (&'a str, String);

fn agreements(standing: &Standing, blind: bool) -> Vec<Agreement> {
    let mut answers: BTreeMap<&str, HashMap<SameSample<'_>, usize>> = BTreeMap::new();
    // Whoever is asked twice is taken by their first answer: the second is there to test them.
    let asked = |l: &&HandLabel| !l.repeat && if blind { l.blind } else { !matches!(l.decision, Decision::Judge(_)) };
    for label in standing.labels().filter(asked) {
        if let Some(answer) = category(label) {
            let sample = (label.note.as_str(), format!("{:?}", label.claim));
            answers.entry(&label.annotator).or_default().insert(sample, answer);
        }
    }
    let annotators: Vec<_> = answers.iter().collect();
    let mut found = Vec::new();
    for (i, (first, ours)) in annotators.iter().enumerate() {
        for (second, theirs) in &annotators[i + 1..] {
            let pairs: Vec<(usize, usize)> = ours.iter().filter_map(|(sample, a)| Some((*a, *theirs.get(sample)?))).collect();
            if pairs.is_empty() {
                continue;
            }
            let n_same = pairs.iter().filter(|(a, b)| a == b).count();
            found.push(Agreement {
                first: (**first).to_owned(),
                second: (**second).to_owned(),
                blind,
                n: pairs.len(),
                percent: 100.0 * share(n_same, pairs.len()),
                kappa: kappa(&pairs),
            });
        }
    }
    found
}

/// Cohen's kappa of paired answers: (observed - expected) / (1 - expected) agreement. `None` for no pairs, or where both always
/// give the same one answer, so that chance explains everything.
pub fn kappa(pairs: &[(usize, usize)]) -> Option<f64> {
    if pairs.is_empty() {
        return None;
    }
    let mut margins: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (a, b) in pairs {
        margins.entry(*a).or_default().0 += 1;
        margins.entry(*b).or_default().1 += 1;
    }
    let n = pairs.len();
    let observed = share(pairs.iter().filter(|(a, b)| a == b).count(), n);
    let expected: f64 = margins.values().map(|(a, b)| share(*a, n) * share(*b, n)).sum();
    (margins.len() > 1).then(|| (observed - expected) / (1.0 - expected))
}

/// Every repeat against the answer the same annotator gave to the same sample before.
fn self_agreements(standing: &Standing) -> Vec<SelfAgreement> {
    let mut last: HashMap<(&str, &str, &str, bool), &Decision> = HashMap::new();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for label in standing.labels() {
        let key = (label.annotator.as_str(), label.run.as_str(), label.sample.as_str(), label.blind);
        let before = last.insert(key, &label.decision);
        if let (true, Some(before)) = (label.repeat, before) {
            let (n, n_same) = counts.entry(&label.annotator).or_default();
            *n += 1;
            *n_same += usize::from(*before == label.decision);
        }
    }
    let own = |(annotator, (n, n_same)): (&str, (usize, usize))| SelfAgreement {
        annotator: annotator.to_owned(),
        n,
        n_same,
        percent: 100.0 * share(n_same, n),
    };
    counts.into_iter().map(own).collect()
}

#[allow(clippy::cast_precision_loss)]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
