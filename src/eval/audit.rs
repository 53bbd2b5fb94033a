//! Whether a reward can be fooled: trivial and adversarial policies through the real parser and the real reward, over a
//! balanced pool of made-up notes. A reward passes where honesty pays best, knowing nothing pays clearly worse than being right
//! four times in five, and nothing unreadable beats a readable answer.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::task::{
    Answer, Label, LabelledNote, Reward, Rules, Scheme, StopReason, Truth, Verdict,
    reward::{self, Flagged, pair_shares},
    verdict, vote,
};

use super::{
    graded::ratio,
    policy::{HONEST, MOSTLY_HONEST, POLICIES, Policy},
    vignettes::pool,
};

/// What one policy earns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    pub policy: String,
    /// Over all notes; half of the built-in ones are clean.
    pub mean_reward: f64,
    pub mean_on_error: f64,
    pub mean_on_clean: f64,
    /// Wrote the same text for every note.
    pub is_constant: bool,
    /// Wrote the same text for both notes of every pair: it cannot know which of them has the error.
    pub is_blind: bool,
    /// Share of notes judged right: error or clean, and of an error its type.
    pub right_rate: f64,
    /// Share of completions the parser refused.
    pub malformed_rate: f64,
    /// The mean of every part of the reward, by name.
    pub parts: BTreeMap<String, f64>,
}

/// One way in which a reward can be fooled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub policy: String,
    /// A sentence with the figures.
    pub why: String,
}

/// Rewards are sums of tenths; differences below this are rounding.
const ROUNDING: f64 = 1e-4;
/// How far below "honest 80 %" a policy that knows nothing must stay: between the 0.15 it may earn and the 0.6 asked of honesty.
pub const CLEARLY_WORSE: f64 = 0.45;

/// Runs every policy through a reward, over the built-in notes.
pub fn audit(rules: &Rules) -> Vec<AuditRow> {
    audit_over(rules, &pool())
}

/// Runs every policy through a reward, over notes of one's own. Pairs are notes that share a group.
pub fn audit_over(rules: &Rules, notes: &[LabelledNote]) -> Vec<AuditRow> {
    POLICIES.iter().map(|policy| row(rules, policy, notes)).collect()
}

fn row(rules: &Rules, policy: &Policy, notes: &[LabelledNote]) -> AuditRow {
    let texts: Vec<String> = notes.iter().enumerate().map(|(at, note)| (policy.write)(at, note)).collect();
    let verdicts: Vec<Verdict> = texts.iter().map(|text| verdict::read(text, policy.stop)).collect();
    let rewards = rewards(rules, policy.stop, notes, &texts, &verdicts);
    let mean = |wanted: &dyn Fn(&Label) -> bool| {
        let earned = notes.iter().zip(&rewards).filter(|(note, _)| wanted(&note.label)).map(|(_, r)| f64::from(r.total()));
        let earned: Vec<f64> = earned.collect();
        earned.iter().sum::<f64>() / earned.len().max(1) as f64
    };
    let mut parts = BTreeMap::new();
    for (name, value) in rewards.iter().flat_map(Reward::parts) {
        *parts.entry(name.to_owned()).or_default() += f64::from(value) / notes.len() as f64;
    }
    let is_constant = texts.windows(2).all(|two| two[0] == two[1]);
    AuditRow {
        policy: policy.name.to_owned(),
        mean_reward: mean(&|_| true),
        mean_on_error: mean(&Label::is_error),
        mean_on_clean: mean(&|label| !label.is_error()),
        is_constant,
        is_blind: is_constant || is_blind(notes, &texts),
        right_rate: ratio(
            notes.iter().zip(&verdicts).filter(|(note, verdict)| is_right(&note.label, verdict)).count(),
            notes.len(),
        ),
        malformed_rate: ratio(verdicts.iter().filter(|v| v.flag().is_none()).count(), verdicts.len()),
        parts,
    }
}

fn is_right(label: &Label, verdict: &Verdict) -> bool {
    match (label, verdict) {
        (Label::Clean, Verdict::Clean) => true,
        (Label::Error { kind: truth, .. }, Verdict::Error { kind, .. }) => kind == truth,
        _ => false,
    }
}

/// All parts of the reward, pairs included. A text of words has no tokens: the overlong penalty is shown on cut texts only.
fn rewards(rules: &Rules, stop: StopReason, notes: &[LabelledNote], texts: &[String], verdicts: &[Verdict]) -> Vec<Reward> {
    let n_tokens = rules.overlong.filter(|_| stop == StopReason::Length).map_or(0, |overlong| overlong.max_tokens);
    let answers = notes.iter().zip(texts.iter().zip(verdicts));
    let mut rewards: Vec<Reward> = answers
        .map(|(note, (text, verdict))| reward::score(rules, Truth::from(note), Answer { text, n_tokens, verdict }))
        .collect();
    if rules.scheme == Scheme::Full {
        let answers: Vec<Flagged> =
            notes.iter().zip(verdicts).map(|(note, verdict)| Flagged::new(&note.note.group, &note.label, verdict)).collect();
        rewards.iter_mut().zip(pair_shares(&answers)).for_each(|(reward, share)| reward.pair = rules.weights.pair * share);
    }
    if rules.scheme == Scheme::Majority {
        // A policy that always answers a note the same way agrees with itself.
        let agreed = verdicts.iter().flat_map(|verdict| vote::consensus([verdict]));
        rewards.iter_mut().zip(agreed).for_each(|(reward, agreed)| reward.outcome = f32::from(u8::from(agreed)));
    }
    rewards
}

fn is_blind(notes: &[LabelledNote], texts: &[String]) -> bool {
    let mut groups: HashMap<&str, Vec<&String>> = HashMap::new();
    notes.iter().zip(texts).for_each(|(note, text)| groups.entry(&note.note.group).or_default().push(text));
    let mut pairs = groups.values().filter(|texts| texts.len() > 1).peekable();
    pairs.peek().is_some() && pairs.all(|texts| texts.iter().all(|text| *text == texts[0]))
}

/// Whether the reward behind these rows withstood the audit.
pub fn audit_passes(rows: &[AuditRow]) -> bool {
    audit_failures(rows).is_empty()
}

/// Every way in which a reward can be fooled; empty for a sound one.
pub fn audit_failures(rows: &[AuditRow]) -> Vec<Failure> {
    let find = |name: &str| rows.iter().find(|row| row.policy == name);
    let (Some(honest), Some(mostly)) = (find(HONEST), find(MOSTLY_HONEST)) else {
        return vec![Failure { policy: HONEST.to_owned(), why: "the honest policies were not run".to_owned() }];
    };
    let readable = rows.iter().filter(|row| row.malformed_rate == 0.0);
    let Some(worst) = readable.min_by(|a, b| a.mean_reward.total_cmp(&b.mean_reward)) else {
        return vec![Failure { policy: HONEST.to_owned(), why: "no policy was readable".to_owned() }];
    };
    rows.iter().filter_map(|row| Some(Failure { policy: row.policy.clone(), why: fault(row, honest, mostly, worst)? })).collect()
}

/// What is wrong with what one policy earns.
fn fault(row: &AuditRow, honest: &AuditRow, mostly: &AuditRow, worst: &AuditRow) -> Option<String> {
    let (name, earned) = (&row.policy, row.mean_reward);
    // A scheme need not ask where the error stands or how it is put right: those who are right may earn as much, never more.
    let allowed = if row.right_rate == 1.0 { honest.mean_reward + ROUNDING } else { honest.mean_reward - ROUNDING };
    if earned > allowed {
        return Some(format!("'{name}' earns {earned:+.2}, the honest policy {:+.2}", honest.mean_reward));
    }
    if row.is_blind && earned > mostly.mean_reward - CLEARLY_WORSE {
        let (mostly, other) = (mostly.mean_reward, &mostly.policy);
        return Some(format!("'{name}' knows nothing and earns {earned:+.2}, too close to '{other}' with {mostly:+.2}"));
    }
    if row.malformed_rate == 1.0 && earned > worst.mean_reward - ROUNDING {
        let (other, readable) = (&worst.policy, worst.mean_reward);
        return Some(format!("'{name}' is unreadable and earns {earned:+.2}, the readable '{other}' {readable:+.2}"));
    }
    None
}
