//! Everything worth remembering of one step, as plain data, and the registry of metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{label::Label, quadrant::Quadrant, rollout::Rollout, verdict::Verdict};

/// The phases of a step, in order. `Warmup` is the SFT stage before step 1; `Eval` runs every n steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Warmup,
    Scribe,
    Gate,
    Doctor,
    Reward,
    Update,
    Commit,
    Eval,
}

impl Phase {
    /// The phases every step passes through.
    pub const STEP: [Phase; 6] = [Phase::Scribe, Phase::Gate, Phase::Doctor, Phase::Reward, Phase::Update, Phase::Commit];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Warmup => "warmup",
            Phase::Scribe => "scribe",
            Phase::Gate => "gate",
            Phase::Doctor => "doctor",
            Phase::Reward => "reward",
            Phase::Update => "update",
            Phase::Commit => "commit",
            Phase::Eval => "eval",
        }
    }
}

/// Counts of one quadrant in one step. Accuracy is of the flag: error or clean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuadrantStats {
    pub n_rollouts: u32,
    pub reward_sum: f64,
    pub true_positives: u32,
    pub true_negatives: u32,
    pub false_positives: u32,
    pub false_negatives: u32,
    pub malformed: u32,
    pub right_type: u32,
}

impl QuadrantStats {
    pub fn add(&mut self, label: &Label, verdict: &Verdict, reward: f32) {
        self.n_rollouts += 1;
        self.reward_sum += f64::from(reward);
        match (label.is_error(), verdict.flag()) {
            (true, Some(true)) => self.true_positives += 1,
            (true, Some(false)) => self.false_negatives += 1,
            (false, Some(true)) => self.false_positives += 1,
            (false, Some(false)) => self.true_negatives += 1,
            (_, None) => self.malformed += 1,
        }
        if let (Some(truth), Verdict::Error { kind, .. }) = (label.kind(), verdict)
            && *kind == truth
        {
            self.right_type += 1;
        }
    }

    pub fn merge(&mut self, other: &QuadrantStats) {
        self.n_rollouts += other.n_rollouts;
        self.reward_sum += other.reward_sum;
        self.true_positives += other.true_positives;
        self.true_negatives += other.true_negatives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.malformed += other.malformed;
        self.right_type += other.right_type;
    }

    /// Mean reward; 0 where there is nothing.
    pub fn reward_mean(&self) -> f64 {
        if self.n_rollouts == 0 { 0.0 } else { self.reward_sum / f64::from(self.n_rollouts) }
    }

    /// Share of rollouts whose flag is right; malformed ones are wrong.
    pub fn accuracy(&self) -> f64 {
        if self.n_rollouts == 0 { 0.0 } else { f64::from(self.true_positives + self.true_negatives) / f64::from(self.n_rollouts) }
    }
}

/// One phase's cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseTiming {
    pub phase: Phase,
    pub seconds: f64,
    /// Tokens generated or trained on in this phase; 0 where it handles none.
    pub tokens: u64,
}

/// Everything worth remembering of one step. `metrics` holds the keys of [`METRICS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    pub step: u32,
    pub quadrants: [QuadrantStats; 4],
    pub metrics: BTreeMap<String, f64>,
    pub timings: Vec<PhaseTiming>,
    /// Scribe attempts rejected this step, by `QUADRANT/gate`.
    pub rejections: BTreeMap<String, u32>,
    /// Samples that the Doctor read and that did not train, and samples that expired unread, by `QUADRANT/reason`.
    #[serde(default)]
    pub dropped: BTreeMap<String, u32>,
}

impl StepReport {
    pub fn quadrant(&self, quadrant: Quadrant) -> &QuadrantStats {
        &self.quadrants[quadrant.index()]
    }

    /// All quadrants together.
    pub fn total(&self) -> QuadrantStats {
        let mut all = QuadrantStats::default();
        self.quadrants.iter().for_each(|q| all.merge(q));
        all
    }

    pub fn count(&mut self, rollouts: &[Rollout]) {
        for r in rollouts {
            self.quadrants[r.sample.quadrant.index()].add(&r.sample.label, &r.verdict, r.reward.total());
        }
    }
}

/// One row of the registry: a metric cannot be logged without a meaning.
pub struct Metric {
    pub key: &'static str,
    pub unit: &'static str,
    pub meaning: &'static str,
}

/// Every metric a step can log.
pub const METRICS: &[Metric] = &[
    Metric { key: "reward", unit: "", meaning: "mean total reward over all rollouts of the step" },
    Metric { key: "accuracy", unit: "", meaning: "share of rollouts whose flag (error or clean) is right; malformed is wrong" },
    Metric { key: "false_positive_rate", unit: "", meaning: "clean notes called an error, over clean rollouts" },
    Metric { key: "false_negative_rate", unit: "", meaning: "error notes called clean, over error rollouts" },
    Metric { key: "malformed_rate", unit: "", meaning: "rollouts whose verdict could not be read" },
    Metric { key: "kl", unit: "nats", meaning: "mean k1 estimate of KL(policy || reference) per completion token" },
    Metric {
        key: "rollout_policy_kl",
        unit: "nats",
        meaning: "mean rollout minus policy log-prob before the update; must be about 0",
    },
    Metric { key: "entropy", unit: "nats", meaning: "mean entropy of the policy per completion token" },
    Metric { key: "completion_tokens", unit: "tokens", meaning: "mean completion length, end-of-turn token included" },
    Metric { key: "truncated_rate", unit: "", meaning: "completions that ran out of tokens" },
    Metric { key: "clip_fraction", unit: "", meaning: "share of tokens where the clipped ratio acts" },
    Metric { key: "loss", unit: "", meaning: "policy loss, token mean over the step" },
    Metric { key: "grad_norm", unit: "", meaning: "L2 norm of all adapter gradients before clipping, mean over optimizer steps" },
    Metric { key: "learning_rate", unit: "", meaning: "learning rate of the last optimizer step" },
    Metric { key: "skipped_updates", unit: "", meaning: "optimizer steps left out because their gradient was not finite" },
    Metric { key: "advantage_shift", unit: "", meaning: "mean return that normalisation takes off; 0 where there is none" },
    Metric {
        key: "advantage_scale",
        unit: "",
        meaning: "spread of returns that normalisation divides by; 1 where there is none",
    },
    Metric { key: "equal_groups", unit: "", meaning: "share of groups whose siblings all earned the same reward" },
    Metric {
        key: "groups_dropped",
        unit: "groups",
        meaning: "groups that were read and left out of the update by the difficulty window",
    },
    Metric { key: "groups_missing", unit: "groups", meaning: "of those, groups for which no other one could be put in" },
    Metric { key: "samples_again", unit: "samples", meaning: "samples that were read in an earlier step already" },
    Metric { key: "empty_steps", unit: "", meaning: "1 where no group was left to train on and the policy stayed as it was" },
    Metric { key: "scribe_accepted", unit: "", meaning: "samples accepted without fallback, over samples" },
    Metric { key: "reward_ae", unit: "", meaning: "mean reward on reworded errors (augmented error)" },
    Metric { key: "reward_as", unit: "", meaning: "mean reward on reworded clean notes (augmented safe)" },
    Metric { key: "reward_sd", unit: "", meaning: "mean reward on clean notes with cosmetic noise (synthetic decoy)" },
    Metric { key: "reward_si", unit: "", meaning: "mean reward on injected errors (synthetic injection)" },
    Metric { key: "eval_accuracy", unit: "", meaning: "held-out flag accuracy, greedy" },
    Metric { key: "eval_false_positive_rate", unit: "", meaning: "held-out clean notes called an error" },
    Metric { key: "eval_pair_accuracy", unit: "", meaning: "held-out pairs with both siblings right" },
    Metric { key: "eval_malformed_rate", unit: "", meaning: "held-out verdicts that could not be read" },
];
