//! The learning rule with every number settled: a preset, then the experiment's overrides (research: serl-openrlhf §7).

use serde::Serialize;

use super::{advantage::Shaping, loss::Clip, optimizer::AdamW};
pub use crate::config::Reduction;
use crate::config::{AlgoConfig, Estimator, Preset};

/// Every number of the update.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Algo {
    pub estimator: Estimator,
    pub kl_coef: f64,
    pub kl_clamp: Option<f32>,
    pub reward_clip: f64,
    pub clip_low: f64,
    pub clip_high: f64,
    pub log_ratio_clamp: Option<f32>,
    pub reduction: Reduction,
    /// Rollouts per optimizer step.
    pub batch: usize,
    pub epochs: usize,
    pub learning_rate: f64,
    pub warmup_ratio: f64,
    pub min_lr_ratio: f64,
    pub betas: (f64, f64),
    pub adam_eps: f64,
    pub weight_decay: f64,
    pub max_norm: f64,
}

/// An experiment's bound over a preset's; 0 is none.
fn bound(set: Option<f32>, base: Option<f32>) -> Option<f32> {
    match set {
        Some(bound) => (bound > 0.0).then_some(bound),
        None => base,
    }
}

impl Algo {
    pub fn resolve(config: &AlgoConfig) -> Algo {
        let base = Algo::preset(config.preset);
        Algo {
            estimator: config.estimator.unwrap_or(base.estimator),
            kl_coef: config.kl_coef.unwrap_or(base.kl_coef),
            kl_clamp: bound(config.kl_clamp, base.kl_clamp),
            reward_clip: config.reward_clip.unwrap_or(base.reward_clip),
            clip_low: config.clip_low.unwrap_or(base.clip_low),
            clip_high: config.clip_high.unwrap_or(base.clip_high),
            log_ratio_clamp: bound(config.log_ratio_clamp, base.log_ratio_clamp),
            reduction: config.reduction.unwrap_or(base.reduction),
            batch: config.batch.unwrap_or(base.batch),
            epochs: config.epochs.unwrap_or(base.epochs),
            learning_rate: config.learning_rate.unwrap_or(base.learning_rate),
            warmup_ratio: config.warmup_ratio.unwrap_or(base.warmup_ratio),
            min_lr_ratio: config.min_lr_ratio.unwrap_or(base.min_lr_ratio),
            betas: config.betas.unwrap_or(base.betas),
            adam_eps: config.adam_eps.unwrap_or(base.adam_eps),
            weight_decay: config.weight_decay.unwrap_or(base.weight_decay),
            max_norm: config.max_norm.unwrap_or(base.max_norm),
        }
    }

    pub fn preset(preset: Preset) -> Algo {
        let openrlhf = Algo {
            estimator: Estimator::Reinforce,
            kl_coef: 0.01,
            kl_clamp: Some(10.0),
            reward_clip: 10.0,
            clip_low: 0.2,
            clip_high: 0.2,
            log_ratio_clamp: Some(20.0),
            reduction: Reduction::TokenMean,
            batch: 128,
            epochs: 1,
            learning_rate: 1e-6,
            warmup_ratio: 0.03,
            min_lr_ratio: 0.1,
            betas: (0.9, 0.95),
            adam_eps: 1e-8,
            weight_decay: 0.0,
            max_norm: 1.0,
        };
        match preset {
            Preset::Openrlhf => openrlhf,
            Preset::PaperV9 => Algo { kl_clamp: None, log_ratio_clamp: None, reduction: Reduction::CompletionMean, ..openrlhf },
            Preset::Serl => {
                Algo { kl_coef: 1e-3, kl_clamp: None, log_ratio_clamp: None, reduction: Reduction::MeanOfEights, ..openrlhf }
            }
        }
    }

    pub fn shaping(&self) -> Shaping {
        Shaping {
            estimator: self.estimator,
            kl_coef: self.kl_coef.max(0.0) as f32,
            kl_clamp: self.kl_clamp,
            reward_clip: self.reward_clip as f32,
        }
    }

    pub fn clip(&self) -> Clip {
        Clip { low: self.clip_low as f32, high: self.clip_high as f32, log_ratio: self.log_ratio_clamp }
    }

    pub fn adamw(&self) -> AdamW {
        AdamW { betas: self.betas, eps: self.adam_eps, weight_decay: self.weight_decay }
    }

    /// Optimizer steps that `n_rollouts` make; the last, smaller batch counts.
    pub fn optimizer_steps(&self, n_rollouts: usize) -> usize {
        n_rollouts.div_ceil(self.batch.max(1)) * self.epochs
    }

    /// Weight of each token's loss, one row a completion, for completions of the given lengths.
    pub fn token_weights(&self, lengths: &[usize]) -> Vec<f32> {
        let total: usize = lengths.iter().sum();
        match self.reduction {
            Reduction::TokenMean => lengths.iter().map(|_| 1.0 / total as f32).collect(),
            Reduction::CompletionMean => lengths.iter().map(|len| 1.0 / (lengths.len() * len) as f32).collect(),
            Reduction::MeanOfEights => {
                let n_chunks = lengths.len().div_ceil(8);
                let weights = lengths.chunks(8).map(|chunk| (chunk.len(), 1.0 / (n_chunks * chunk.iter().sum::<usize>()) as f32));
                weights.flat_map(|(n, w)| std::iter::repeat_n(w, n)).collect()
            }
        }
    }
}
