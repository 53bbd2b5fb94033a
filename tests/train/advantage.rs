//! The five estimators and the clipped loss against vectors computed with OpenRLHF's own functions.
//!
//! Two prompts with four completions each, k1 KL with coefficient 0.1, rewards clipped at 10.

use medserl::{
    config::{AlgoConfig, Estimator, Preset},
    train::{
        advantage::{Episode, Shaping, advantages, k1, returns, scores},
        algo::Algo,
        loss::{Clip, token_loss},
    },
};

const LENGTHS: [usize; 8] = [3, 2, 4, 1, 2, 3, 1, 4];
const REWARDS: [f32; 8] = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0];

type Rows = [&'static [f32]; 8];

const RAW: Rows = [
    &[0.988, 0.990, 0.994],
    &[0.006, 0.004],
    &[-0.020, -0.018, -0.014, -0.008],
    &[1.002],
    &[0.994, 0.996],
    &[1.012, 1.010, 1.006],
    &[0.998],
    &[0.020, 0.018, 0.014, 0.008],
];
const REINFORCE: Rows = [
    &[0.97770, 0.98171, 0.98972],
    &[-0.98972, -0.99373],
    &[-1.04181, -1.03780, -1.02979, -1.01777],
    &[1.00575],
    &[0.98972, 0.99373],
    &[1.02578, 1.02178, 1.01376],
    &[0.99773],
    &[-0.96167, -0.96568, -0.97369, -0.98571],
];
const REINFORCE_BASELINE: Rows = [
    &[1.25691, 1.26101, 1.26921],
    &[-0.75660, -0.76070],
    &[-0.80991, -0.80581, -0.79761, -0.78531],
    &[1.28561],
    &[0.75660, 0.76070],
    &[0.79351, 0.78941, 0.78121],
    &[0.76481],
    &[-1.24050, -1.24460, -1.25280, -1.26511],
];
const RLOO: Rows = [
    &[0.65467, 0.65667, 0.66067],
    &[-0.66067, -0.66267],
    &[-0.68667, -0.68467, -0.68067, -0.67467],
    &[0.66867],
    &[0.32733, 0.32933],
    &[0.34533, 0.34333, 0.33933],
    &[0.33133],
    &[-0.98000, -0.98200, -0.98600, -0.99200],
];
const GROUP_NORM: Rows = [
    &[0.85403, 0.85603, 0.86003],
    &[-0.86003, -0.86203],
    &[-0.88603, -0.88403, -0.88003, -0.87403],
    &[0.86803],
    &[0.494, 0.496],
    &[0.512, 0.510, 0.506],
    &[0.498],
    &[-1.480, -1.482, -1.486, -1.492],
];
const DR_GRPO: Rows = [
    &[0.488, 0.490, 0.494],
    &[-0.494, -0.496],
    &[-0.520, -0.518, -0.514, -0.508],
    &[0.502],
    &[0.244, 0.246],
    &[0.262, 0.260, 0.256],
    &[0.248],
    &[-0.730, -0.732, -0.736, -0.742],
];

fn shaping(estimator: Estimator) -> Shaping {
    Shaping { estimator, kl_coef: 0.1, kl_clamp: Some(10.0), reward_clip: 10.0 }
}

fn old(i: usize, t: usize) -> f32 {
    -0.5 - 0.1 * i as f32 - 0.05 * t as f32
}

/// Old and reference log-probs of every completion.
fn logprobs() -> Vec<(Vec<f32>, Vec<f32>)> {
    let reference = |i: usize, t: usize| old(i, t) - 0.02 * (t as f32 + 1.0) * if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let row = |(i, n): (usize, &usize)| ((0..*n).map(|t| old(i, t)).collect(), (0..*n).map(|t| reference(i, t)).collect());
    LENGTHS.iter().enumerate().map(row).collect()
}

fn episodes(logprobs: &[(Vec<f32>, Vec<f32>)]) -> Vec<Episode<'_>> {
    (0..8)
        .map(|i| Episode { reward: REWARDS[i], group: i / 4, old_logprobs: &logprobs[i].0, reference_logprobs: &logprobs[i].1 })
        .collect()
}

#[track_caller]
fn assert_rows(found: &[Vec<f32>], expected: Rows) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "completion {i}");
        for (t, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 1.1e-5, "completion {i}, token {t}: {found}, expected {expected}");
        }
    }
}

#[test]
fn the_five_estimators_agree_with_the_reference() {
    let logprobs = logprobs();
    let episodes = episodes(&logprobs);
    let cases = [
        (Estimator::Reinforce, REINFORCE),
        (Estimator::ReinforceBaseline, REINFORCE_BASELINE),
        (Estimator::Rloo, RLOO),
        (Estimator::GroupNorm, GROUP_NORM),
        (Estimator::DrGrpo, DR_GRPO),
    ];
    for (estimator, expected) in cases {
        assert_rows(&advantages(&episodes, &shaping(estimator)), expected);
    }
}

#[test]
fn returns_carry_the_penalty_of_every_later_token() {
    let found: Vec<Vec<f32>> = logprobs()
        .iter()
        .zip(REWARDS)
        .map(|((old, reference), reward)| returns(reward, &k1(old, reference, None), 0.1))
        .collect();
    assert_rows(&found, RAW);
    assert_eq!(k1(&[0.0, 0.0], &[-30.0, 30.0], Some(10.0)), [10.0, -10.0]);
    assert_eq!(k1(&[0.0], &[-30.0], None), [30.0]);
}

#[test]
fn equal_rewards_and_single_completions_teach_nothing_infinite() {
    let none: [f32; 2] = [-1.0, -1.0];
    let episode = |reward, group| Episode { reward, group, old_logprobs: &none, reference_logprobs: &none };
    for estimator in
        [Estimator::Reinforce, Estimator::ReinforceBaseline, Estimator::Rloo, Estimator::GroupNorm, Estimator::DrGrpo]
    {
        let equal = advantages(&[episode(1.0, 0), episode(1.0, 0)], &shaping(estimator));
        let none_better = equal[0] == equal[1] && equal.iter().flatten().all(|a| a.is_finite());
        assert!(none_better && (estimator == Estimator::Reinforce || equal[0] == [0.0, 0.0]), "{estimator:?}: {equal:?}");
        let single = advantages(&[episode(1.0, 0)], &shaping(estimator));
        assert!(single.iter().flatten().all(|a| a.is_finite()), "{estimator:?}: {single:?}");
        assert!(advantages(&[], &shaping(estimator)).is_empty());
    }
    let clipped = scores(&[episode(50.0, 0), episode(-50.0, 0)], &shaping(Estimator::Reinforce));
    assert_eq!(clipped, [10.0, -10.0]);
}

/// Loss and clip fraction over all twenty tokens with the `reinforce` advantages.
fn whole_loss(clip: Clip, preset: Preset) -> (f64, f64) {
    let algo = Algo::resolve(&AlgoConfig { preset, ..AlgoConfig::default() });
    let weights = algo.token_weights(&LENGTHS);
    let (mut loss, mut clipped) = (0f64, 0f64);
    for (i, advantages) in REINFORCE.iter().enumerate() {
        for (t, advantage) in advantages.iter().enumerate() {
            let new = old(i, t) + 0.05 * (i as f32 + 1.0) * if t.is_multiple_of(2) { 1.0 } else { -1.0 };
            let token = token_loss(new, old(i, t), *advantage, clip);
            loss += f64::from(token.loss * weights[i]);
            clipped += f64::from(u8::from(token.clipped)) / 20.0;
        }
    }
    (loss, clipped)
}

#[test]
fn the_loss_of_a_batch_agrees_with_the_reference() {
    let clip = |high| Clip { low: 0.2, high, log_ratio: Some(20.0) };
    let cases = [
        (clip(0.2), Preset::Openrlhf, 0.002257, 0.35),
        (clip(0.28), Preset::Openrlhf, -0.014928, 0.30),
        (clip(0.2), Preset::PaperV9, -0.287651, 0.35),
    ];
    for (clip, preset, loss, fraction) in cases {
        let found = whole_loss(clip, preset);
        assert!((found.0 - loss).abs() < 1e-5 && (found.1 - fraction).abs() < 1e-9, "{clip:?}, {preset:?}: {found:?}");
    }
}
