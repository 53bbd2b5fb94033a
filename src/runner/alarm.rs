//! Alarms (design §8): what a step's report says about the health of the run, with hysteresis. Pure: reports in, changes out; who
//! is told and who waits is the runner's business.

use std::collections::VecDeque;

use crate::{
    config::{AlarmKind, AlarmsConfig},
    task::StepReport,
};

/// Held-out scores come seldom and with noise; so many in a row decide.
const EVALS_IN_A_ROW: u32 = 2;
/// Numbers that must be finite in every step.
const MUST_BE_FINITE: [&str; 5] = ["reward", "loss", "grad_norm", "kl", "entropy"];

/// An alarm that was raised, or is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub kind: AlarmKind,
    pub step: u32,
    /// False where it is over.
    pub raised: bool,
    /// Whether the run is to wait for its owner.
    pub pause: bool,
    /// The value that decided, and the threshold it crossed.
    pub value: f64,
    pub limit: f64,
    /// One line for people.
    pub message: String,
}

/// The alarms of a run. Feed it every report in order; on resume, those of the store first.
#[derive(Clone, Debug)]
pub struct Alarms {
    config: AlarmsConfig,
    states: [State; AlarmKind::ALL.len()],
    rewards: VecDeque<f64>,
    entropy: Baseline,
    length: Baseline,
    truth: Truth,
}

/// Whether an alarm is up, and for how many readings in a row the contrary has been so.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    raised: bool,
    streak: u32,
}

/// A value beside its threshold.
#[derive(Clone, Copy, Debug)]
struct Reading {
    value: f64,
    limit: f64,
    /// Beyond the threshold.
    bad: bool,
    /// Far enough back within it.
    good: bool,
}

/// The mean of the first values.
#[derive(Clone, Copy, Debug, Default)]
struct Baseline {
    sum: f64,
    n: u32,
}

/// What held-out notes said, beside what the reward said meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    reward_sum: f64,
    n_steps: u32,
    /// Best held-out accuracy and the mean reward of that time.
    best: Option<(f64, f64)>,
}

impl Alarms {
    pub fn new(config: &AlarmsConfig) -> Alarms {
        Alarms {
            config: config.clone(),
            states: [State::default(); AlarmKind::ALL.len()],
            rewards: VecDeque::new(),
            entropy: Baseline::default(),
            length: Baseline::default(),
            truth: Truth::default(),
        }
    }

    /// Takes in one step and returns what changed: an alarm is told when it is raised and when it is over, not in between.
    pub fn observe(&mut self, report: &StepReport) -> Vec<Alarm> {
        let readings = self.read(report);
        let mut changes = Vec::new();
        for (i, kind) in AlarmKind::ALL.into_iter().enumerate() {
            let Some(reading) = readings[i].filter(|_| !self.config.off.contains(&kind)) else { continue };
            let patience = if kind == AlarmKind::RewardWithoutTruth { EVALS_IN_A_ROW } else { self.config.patience };
            if self.states[i].turn(reading, patience) {
                changes.push(self.alarm(kind, report.step, self.states[i].raised, reading));
            }
        }
        changes
    }

    /// Raises the alarm over numbers that are not finite at once, for a run that does not wait for its patience to end; `None` where
    /// it is raised already or not watched.
    pub fn raise_not_finite(&mut self, report: &StepReport) -> Option<Alarm> {
        let kind = AlarmKind::NonFinite;
        let at = AlarmKind::ALL.iter().position(|k| *k == kind)?;
        if self.states[at].raised || self.config.off.contains(&kind) {
            return None;
        }
        self.states[at] = State { raised: true, streak: 0 };
        Some(self.alarm(kind, report.step, true, not_finite(report)))
    }

    /// The alarms that are up.
    pub fn active(&self) -> Vec<AlarmKind> {
        AlarmKind::ALL.into_iter().enumerate().filter(|(i, _)| self.states[*i].raised).map(|(_, kind)| kind).collect()
    }

    /// A reading for every kind, in the order of [`AlarmKind::ALL`]; `None` where the step says nothing about it.
    fn read(&mut self, report: &StepReport) -> [Option<Reading>; AlarmKind::ALL.len()] {
        let config = self.config.clone();
        let metric = |key: &str| report.metrics.get(key).copied().filter(|v| v.is_finite());
        let (above, below) = (
            |value, limit| Reading::above(value, limit, config.margin),
            |value, limit| Reading::below(value, limit, config.margin),
        );
        let entropy = metric("entropy").and_then(|value| {
            let normal = self.entropy.normal(value, config.baseline_steps)?;
            Some(below(value, config.entropy_share * normal))
        });
        let grown = metric("completion_tokens").and_then(|value| {
            let normal = self.length.normal(value, config.baseline_steps)?;
            Some(above(value, config.length_growth * normal))
        });
        let truncated = metric("truncated_rate").map(|value| above(value, config.truncated_rate));
        AlarmKind::ALL.map(|kind| match kind {
            AlarmKind::ConstantReward => self.spread(metric("reward")).map(|value| below(value, config.reward_spread)),
            AlarmKind::Kl => metric("kl").map(|value| above(value, config.kl)),
            AlarmKind::EntropyCollapse => entropy,
            AlarmKind::LengthRunaway => worse(grown, truncated),
            AlarmKind::EqualGroups => metric("equal_groups").map(|value| above(value, config.equal_groups)),
            AlarmKind::Acceptance => metric("scribe_accepted").map(|value| below(value, config.acceptance)),
            AlarmKind::NonFinite => Some(not_finite(report)),
            AlarmKind::RewardWithoutTruth => self.truth.reading(metric("reward"), metric("eval_accuracy"), &config),
        })
    }

    /// Range of the mean reward over the last `patience` steps, at least two.
    fn spread(&mut self, reward: Option<f64>) -> Option<f64> {
        let window = self.config.patience.max(2) as usize;
        self.rewards.push_back(reward?);
        while self.rewards.len() > window {
            self.rewards.pop_front();
        }
        let (low, high) = self.rewards.iter().fold((f64::MAX, f64::MIN), |(low, high), r| (low.min(*r), high.max(*r)));
        (self.rewards.len() == window).then_some(high - low)
    }

    fn alarm(&self, kind: AlarmKind, step: u32, raised: bool, reading: Reading) -> Alarm {
        let Reading { value, limit, .. } = reading;
        let pause = raised && self.config.pause.contains(&kind);
        let figures = format!("{} at step {step}, limit {}", short(value), short(limit));
        let message = if raised {
            let then = if pause { "; the run pauses until it is resumed" } else { "" };
            format!("alarm {}: {} ({figures}){then}", kind.name(), meaning(kind))
        } else {
            format!("alarm {} is over ({figures})", kind.name())
        };
        Alarm { kind, step, raised, pause, value, limit, message }
    }
}

impl State {
    /// Takes in a reading; true where the alarm was raised or is over.
    fn turn(&mut self, reading: Reading, patience: u32) -> bool {
        let contrary = if self.raised { reading.good } else { reading.bad };
        self.streak = if contrary { self.streak + 1 } else { 0 };
        if self.streak < patience {
            return false;
        }
        *self = State { raised: !self.raised, streak: 0 };
        true
    }
}

impl Reading {
    fn above(value: f64, limit: f64, margin: f64) -> Reading {
        Reading { value, limit, bad: value > limit, good: value <= limit * (1.0 - margin) }
    }

    fn below(value: f64, limit: f64, margin: f64) -> Reading {
        Reading { value, limit, bad: value < limit, good: value >= limit * (1.0 + margin) }
    }
}

/// Bad where either is, good where both are; the figures are those of the one that decides.
fn worse(a: Option<Reading>, b: Option<Reading>) -> Option<Reading> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let shown = if b.bad && !a.bad { b } else { a };
    Some(Reading { bad: a.bad || b.bad, good: a.good && b.good, ..shown })
}

impl Baseline {
    /// The normal value, once `n` steps have said what it is.
    fn normal(&mut self, value: f64, n: u32) -> Option<f64> {
        if self.n < n {
            (self.sum, self.n) = (self.sum + value, self.n + 1);
            return None;
        }
        Some(self.sum / f64::from(self.n))
    }
}

impl Truth {
    fn reading(&mut self, reward: Option<f64>, accuracy: Option<f64>, config: &AlarmsConfig) -> Option<Reading> {
        if let Some(reward) = reward {
            (self.reward_sum, self.n_steps) = (self.reward_sum + reward, self.n_steps + 1);
        }
        let accuracy = accuracy.filter(|_| self.n_steps > 0)?;
        let reward = self.reward_sum / f64::from(self.n_steps);
        (self.reward_sum, self.n_steps) = (0.0, 0);
        let (best, reward_then) = self.best.unwrap_or((accuracy, reward));
        if accuracy >= best {
            self.best = Some((accuracy, reward));
        }
        let (drop, limit) = (best - accuracy, config.held_out_drop);
        let bad = drop >= limit && reward - reward_then >= config.reward_rise;
        Some(Reading { value: drop, limit, bad, good: drop <= limit * (1.0 - config.margin) })
    }
}

/// Whether a step left out updates, or one of the numbers that must be finite is not.
pub fn is_broken(report: &StepReport) -> bool {
    not_finite(report).bad
}

/// How many of the step's numbers are not finite, updates left out included.
fn not_finite(report: &StepReport) -> Reading {
    let broken = MUST_BE_FINITE.iter().filter(|key| report.metrics.get(**key).is_some_and(|v| !v.is_finite())).count();
    let skipped = report.metrics.get("skipped_updates").copied().filter(|n| n.is_finite()).unwrap_or(0.0);
    let value = broken as f64 + skipped;
    Reading { value, limit: 0.0, bad: value > 0.0, good: value == 0.0 }
}

fn meaning(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::ConstantReward => "the mean reward stands still, as it does where every note gets the same answer",
        AlarmKind::Kl => "the policy has moved far from the reference, in nats a token",
        AlarmKind::EntropyCollapse => "the policy hardly chooses between words any more, in nats a token",
        AlarmKind::LengthRunaway => "completions grow or run out of tokens",
        AlarmKind::EqualGroups => "siblings earn the same, so there is nothing to learn from their difference",
        AlarmKind::Acceptance => "the Scribe's proposals are hardly ever accepted",
        AlarmKind::NonFinite => "numbers of the step are not finite or updates were left out",
        AlarmKind::RewardWithoutTruth => "held-out accuracy fell from its best while the reward rose",
    }
}

fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:.1e}") } else { format!("{value:.3}") }
}
