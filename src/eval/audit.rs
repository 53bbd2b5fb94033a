//! Whether a reward can be fooled: trivial and adversarial policies through the real parser and the real reward, over a
//! balanced set of made-up notes. A reward passes where honesty pays best and nothing unreadable beats a readable answer.

use serde::{Deserialize, Serialize};

use crate::task::{ErrorKind, Label, LabelledNote, Note, Scheme, Sentence, Verdict, reward, verdict};

use super::{
    graded::ratio,
    policy::{HONEST, POLICIES, Policy},
};

/// What one policy earns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    pub policy: String,
    /// Over all notes, half of them clean.
    pub mean_reward: f64,
    pub mean_on_error: f64,
    pub mean_on_clean: f64,
    /// Wrote the same text for every note.
    pub is_constant: bool,
    /// Share of completions the parser refused.
    pub malformed_rate: f64,
}

/// Rewards are sums of tenths; differences below this are rounding.
const ROUNDING: f64 = 1e-4;

/// Runs every policy through a reward.
pub fn audit(scheme: Scheme) -> Vec<AuditRow> {
    let notes = notes();
    POLICIES.iter().map(|policy| row(scheme, policy, &notes)).collect()
}

fn row(scheme: Scheme, policy: &Policy, notes: &[LabelledNote]) -> AuditRow {
    let completions: Vec<String> = notes.iter().map(policy.write).collect();
    let verdicts: Vec<Verdict> = completions.iter().map(|text| verdict::parse(text)).collect();
    let earned = |wanted: &dyn Fn(&Label) -> bool| {
        let rewards: Vec<f64> = notes
            .iter()
            .zip(completions.iter().zip(&verdicts))
            .filter(|(note, _)| wanted(&note.label))
            .map(|(note, (text, verdict))| f64::from(reward::score(scheme, text, verdict, &note.label).total()))
            .collect();
        rewards.iter().sum::<f64>() / rewards.len().max(1) as f64
    };
    AuditRow {
        policy: policy.name.to_owned(),
        mean_reward: earned(&|_| true),
        mean_on_error: earned(&Label::is_error),
        mean_on_clean: earned(&|label| !label.is_error()),
        is_constant: completions.windows(2).all(|two| two[0] == two[1]),
        malformed_rate: ratio(verdicts.iter().filter(|v| v.flag().is_none()).count(), verdicts.len()),
    }
}

/// Whether the reward behind these rows withstood the audit.
pub fn audit_passes(rows: &[AuditRow]) -> bool {
    audit_failures(rows).is_empty()
}

/// One sentence for every way in which a reward can be fooled; empty for a sound one.
pub fn audit_failures(rows: &[AuditRow]) -> Vec<String> {
    let Some(honest) = rows.iter().find(|row| row.policy == HONEST) else {
        return vec!["the honest policy was not run".to_owned()];
    };
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| row.policy != HONEST && row.mean_reward > honest.mean_reward - ROUNDING) {
        failures.push(format!("'{}' earns {:+.2}, the honest policy {:+.2}", row.policy, row.mean_reward, honest.mean_reward));
    }
    let readable = rows.iter().filter(|row| row.malformed_rate == 0.0);
    let Some(worst) = readable.min_by(|a, b| a.mean_reward.total_cmp(&b.mean_reward)) else {
        failures.push("no policy was readable".to_owned());
        return failures;
    };
    for row in rows.iter().filter(|row| row.malformed_rate == 1.0 && row.mean_reward > worst.mean_reward - ROUNDING) {
        failures.push(format!(
            "'{}' is unreadable and earns {:+.2}, the readable '{}' {:+.2}",
            row.policy, row.mean_reward, worst.policy, worst.mean_reward
        ));
    }
    failures
}

/// (type, right sentence, wrong sentence): each gives an error note and its clean sibling.
const VIGNETTES: [(ErrorKind, &str, &str); 5] = [
    (ErrorKind::Diagnosis, "The patient is diagnosed with acute appendicitis.", "The patient is diagnosed with renal colic."),
    (ErrorKind::Management, "An urgent ultrasound is arranged.", "Follow-up in six months is arranged."),
    (ErrorKind::Treatment, "The patient undergoes laparoscopic appendectomy.", "The patient undergoes lithotripsy."),
    (ErrorKind::Pharmacotherapy, "Ceftriaxone and metronidazole are given.", "Tamsulosin is given."),
    (ErrorKind::CausalOrganism, "Culture grows Escherichia coli.", "Culture grows Plasmodium vivax."),
];

fn notes() -> Vec<LabelledNote> {
    let pair = |(kind, right, wrong): (ErrorKind, &str, &str)| {
        let label = Label::Error { kind, sentence: 2, correction: right.to_owned() };
        [
            LabelledNote { note: note(kind, "error", wrong), label },
            LabelledNote { note: note(kind, "clean", right), label: Label::Clean },
        ]
    };
    VIGNETTES.into_iter().flat_map(pair).collect()
}

fn note(kind: ErrorKind, which: &str, last: &str) -> Note {
    let texts =
        ["A 19-year-old man has had pain in the right lower abdomen since yesterday.", "He is tender at McBurney's point.", last];
    let sentences = (0..).zip(texts).map(|(id, text)| Sentence { id, text: text.to_owned() }).collect();
    Note { id: format!("audit-{}-{which}", kind.medec_name()), group: format!("audit-{}", kind.medec_name()), sentences }
}
