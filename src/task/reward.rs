//! What a completion earns against a label: the whole table on one screen (design §6), then what scheme `full` adds to it.
//! Every part is kept under its own name. Knows no configuration and no run: rules and facts come in, numbers go out.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    gain::correction_gain,
    label::{ErrorKind, Label, LabelledNote},
    note::Note,
    rollout::Rollout,
    sample::Sample,
    verdict::Verdict,
    vote::pay_consensus,
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
    /// Strict, and more for the right sentence, a correction that improves, and both siblings of a pair right.
    Full,
    /// Label-free: 1 for the verdict that most of a note's completions share, see [`super::vote`]. For comparison only.
    Majority,
}

/// A reward as its named parts; the scalar is their sum. A part that the scheme does not pay is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// +0.1 for the demanded form.
    pub format: f32,
    /// Right, missed, false alarm or unreadable.
    pub outcome: f32,
    /// The error's own sentence was named.
    #[serde(default)]
    pub location: f32,
    /// The correction is better than the error sentence left as it is.
    #[serde(default)]
    pub correction: f32,
    /// This note and its sibling with the opposite label were both judged right.
    #[serde(default)]
    pub pair: f32,
    /// An error was found but given another type.
    #[serde(default)]
    pub wrong_type: f32,
    /// The penalty for coming close to the token budget; never positive.
    #[serde(default)]
    pub overlong: f32,
}

impl Reward {
    pub fn total(&self) -> f32 {
        self.parts().iter().map(|(_, value)| value).sum()
    }

    /// Every part by its name.
    pub fn parts(&self) -> [(&'static str, f32); 7] {
        [
            ("format", self.format),
            ("outcome", self.outcome),
            ("location", self.location),
            ("correction", self.correction),
            ("pair", self.pair),
            ("wrong_type", self.wrong_type),
            ("overlong", self.overlong),
        ]
    }
}

/// What is paid for what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    pub scheme: Scheme,
    /// Used by scheme `full` only.
    pub weights: Weights,
    /// Applies to every scheme where it is set.
    pub overlong: Option<Overlong>,
}

/// What each addition of scheme `full` is worth at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    pub location: f32,
    pub correction: f32,
    pub pair: f32,
    pub wrong_type: f32,
}

/// The soft overlong penalty of DAPO, as OpenRLHF computes it (research: serl-openrlhf §1.3.5): nothing up to
/// `max_tokens - buffer` tokens, then growing evenly to `factor` at `max_tokens`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlong {
    pub max_tokens: usize,
    pub buffer: usize,
    pub factor: f32,
}

impl Overlong {
    /// The penalty for a completion of `n_tokens` tokens; 0 or negative.
    pub fn penalty(&self, n_tokens: usize) -> f32 {
        let excess = (n_tokens + self.buffer).saturating_sub(self.max_tokens).min(self.buffer);
        if excess == 0 { 0.0 } else { -(excess as f32 / self.buffer as f32) * self.factor }
    }
}

/// What is true of the note that was read.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    pub note: &'a Note,
    pub label: &'a Label,
}

impl<'a> From<&'a Sample> for Truth<'a> {
    fn from(sample: &'a Sample) -> Truth<'a> {
        Truth { note: &sample.note, label: &sample.label }
    }
}

impl<'a> From<&'a LabelledNote> for Truth<'a> {
    fn from(labelled: &'a LabelledNote) -> Truth<'a> {
        Truth { note: &labelled.note, label: &labelled.label }
    }
}

/// What was answered. `verdict` must be [`super::verdict::read`] of `text`.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub text: &'a str,
    /// Length of the completion, its end-of-turn token included.
    pub n_tokens: usize,
    pub verdict: &'a Verdict,
}

/// Scores one completion. Part `pair` and scheme `majority` need the other completions of the step: see [`settle`].
pub fn score(rules: &Rules, truth: Truth, answer: Answer) -> Reward {
    let reward = match rules.scheme {
        Scheme::Spec => spec(answer.text, truth.label),
        Scheme::Strict => strict(answer.verdict, truth.label),
        Scheme::Full => full(&rules.weights, answer.verdict, truth),
        Scheme::Majority => Reward::default(),
    };
    Reward { overlong: rules.overlong.map_or(0.0, |overlong| overlong.penalty(answer.n_tokens)), ..reward }
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
    Reward { format, outcome, ..Reward::default() }
}

/// The additions are for errors found: a wrong flag earns none of them.
#[allow(clippy::cast_possible_truncation)]
fn full(weights: &Weights, verdict: &Verdict, truth: Truth) -> Reward {
    let reward = strict(verdict, truth.label);
    let (Label::Error { kind: of, sentence: at, correction: right }, Verdict::Error { kind, sentence, correction }) =
        (truth.label, verdict)
    else {
        return reward;
    };
    let gain = match (correction, truth.note.sentence(*at)) {
        (Some(proposed), Some(wrong)) => correction_gain(proposed, &wrong.text, right) as f32,
        _ => 0.0,
    };
    Reward {
        location: if *sentence == Some(*at) { weights.location } else { 0.0 },
        correction: weights.correction * gain,
        wrong_type: if kind == of { 0.0 } else { weights.wrong_type },
        ..reward
    }
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
    Reward { format, outcome, ..Reward::default() }
}

/// The type string the origin's formula searches for: the words the Doctor is asked to write.
fn spec_name(kind: ErrorKind) -> &'static str {
    kind.title()
}

/// One answer as a pair sees it: flags only, as pair accuracy counts them.
#[derive(Clone, Copy, Debug)]
pub struct Flagged<'a> {
    pub group: &'a str,
    pub is_error: bool,
    pub is_right: bool,
}

impl<'a> Flagged<'a> {
    pub fn new(group: &'a str, label: &Label, verdict: &Verdict) -> Flagged<'a> {
        let is_error = label.is_error();
        Flagged { group, is_error, is_right: verdict.flag() == Some(is_error) }
    }
}

/// For every answer the share of pairs it wins: 0 where it is wrong or its group has no answer about a note of the opposite
/// label, else the share of those answers that are right. This is the mean of "both right" over every way to pair them up.
pub fn pair_shares(answers: &[Flagged]) -> Vec<f32> {
    let mut counts: HashMap<(&str, bool), (u32, u32)> = HashMap::new();
    for answer in answers {
        let (n_right, n) = counts.entry((answer.group, answer.is_error)).or_default();
        *n_right += u32::from(answer.is_right);
        *n += 1;
    }
    let share = |answer: &Flagged| match counts.get(&(answer.group, !answer.is_error)) {
        Some((n_right, n)) if answer.is_right && !answer.group.is_empty() => *n_right as f32 / *n as f32,
        _ => 0.0,
    };
    answers.iter().map(share).collect()
}

/// Pays what depends on the other completions of a step. Doing it again, with more rollouts, pays anew.
pub fn settle(rules: &Rules, rollouts: &mut [Rollout]) {
    if rules.scheme == Scheme::Majority {
        pay_consensus(rollouts);
    }
    pay_pairs(rules, rollouts);
}

/// Sets part `pair` of all rollouts of a step: siblings are samples made from one vignette group with opposite labels.
/// Does nothing under a scheme without it.
pub fn pay_pairs(rules: &Rules, rollouts: &mut [Rollout]) {
    if rules.scheme != Scheme::Full {
        return;
    }
    let answers: Vec<Flagged> =
        rollouts.iter().map(|r| Flagged::new(&r.sample.source.group, &r.sample.label, &r.verdict)).collect();
    let shares = pair_shares(&answers);
    rollouts.iter_mut().zip(shares).for_each(|(rollout, share)| rollout.reward.pair = rules.weights.pair * share);
}
