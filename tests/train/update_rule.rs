//! What one token, one weight and one schedule do, against numbers worked out by hand.

use candle_core::{Device, Tensor, Var};
use medserl::{
    config::{AlgoConfig, Estimator, Preset},
    train::{
        algo::{Algo, Reduction},
        loss::{Clip, token_loss},
        optimizer::{AdamW, Gradients, Moments, Schedule},
    },
};

const CLIP: Clip = Clip { low: 0.2, high: 0.3, log_ratio: Some(20.0) };

#[test]
fn the_clip_holds_back_only_what_would_gain() {
    // (ratio, advantage, loss, slope, clipped)
    let cases = [
        (1.0, 2.0, -2.0, -2.0, false),
        (1.1, 2.0, -2.2, -2.2, false),
        (1.5, 2.0, -2.6, 0.0, true),
        (0.5, 2.0, -1.0, -1.0, false),
        (1.0, -2.0, 2.0, 2.0, false),
        (0.9, -2.0, 1.8, 1.8, false),
        (0.5, -2.0, 1.6, 0.0, true),
        (1.5, -2.0, 3.0, 3.0, false),
        (1.5, 0.0, 0.0, 0.0, false),
    ];
    for (ratio, advantage, loss, slope, clipped) in cases {
        let found = token_loss(f32::ln(ratio) - 1.0, -1.0, advantage, CLIP);
        let close = (found.loss - loss).abs() < 1e-5 && (found.slope - slope).abs() < 1e-5;
        assert!(close && found.clipped == clipped, "ratio {ratio}, advantage {advantage}: {found:?}");
    }
}

#[test]
fn the_slope_is_that_of_the_loss() {
    for advantage in [-1.5f32, -0.3, 0.4, 2.0] {
        for step in -20..=20 {
            let x = step as f32 * 0.05 + 0.037;
            let at = |x: f32| f64::from(token_loss(x - 2.0, -2.0, advantage, CLIP).loss);
            let difference = (at(x + 1e-3) - at(x - 1e-3)) / 2e-3;
            let slope = f64::from(token_loss(x - 2.0, -2.0, advantage, CLIP).slope);
            assert!(
                (difference - slope).abs() < 2e-3 * slope.abs().max(1.0),
                "log-ratio {x}, advantage {advantage}: {slope}, {difference}"
            );
        }
    }
}

#[test]
fn an_absurd_ratio_neither_overflows_nor_teaches() {
    let far = token_loss(0.0, -200.0, -1.0, CLIP);
    assert!(far.loss.is_finite() && far.slope == 0.0, "{far:?}");
    assert_eq!(token_loss(-200.0, 0.0, 1.0, CLIP).slope, 0.0);
}

fn var(values: &[f32]) -> (String, Var) {
    ("w".into(), Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap())
}

#[test]
fn adamw_takes_three_steps_as_worked_out_by_hand() {
    let adamw = AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1 };
    let vars = [var(&[1.0])];
    let mut moments = Moments::zeros(&vars);
    let expected = [(0.1, 0.89, 0.01, 0.0005), (-0.2, 0.9174374, -0.011, 0.002475), (0.3, 0.8744223, 0.0201, 0.00685125)];
    for (n, (gradient, weight, first, second)) in expected.into_iter().enumerate() {
        adamw.step(&vars, &Gradients(vec![vec![gradient]]), &mut moments, 0.1, |_| true).unwrap();
        let found = (vars[0].1.as_tensor().to_vec1::<f32>().unwrap()[0], moments.first[0][0], moments.second[0][0]);
        let close = (found.0 - weight).abs() < 1e-6 && (found.1 - first).abs() < 1e-8 && (found.2 - second).abs() < 1e-8;
        assert!(close, "step {}: {found:?}", n + 1);
        assert_eq!(moments.steps, n as u64 + 1);
    }
}

#[test]
fn weight_decay_spares_what_it_is_told_to() {
    let adamw = AdamW { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.5 };
    for (decays, expected) in [(true, 1.9), (false, 2.0)] {
        let vars = [var(&[2.0])];
        let mut moments = Moments::zeros(&vars);
        adamw.step(&vars, &Gradients(vec![vec![0.0]]), &mut moments, 0.1, |_| decays).unwrap();
        assert!((vars[0].1.as_tensor().to_vec1::<f32>().unwrap()[0] - expected).abs() < 1e-6);
    }
}

#[test]
fn clipping_bounds_the_norm_and_keeps_the_direction() {
    let mut grads = Gradients(vec![vec![3.0, 0.0], vec![-4.0]]);
    assert_eq!(grads.clip(10.0), 5.0);
    assert_eq!(grads.0, [vec![3.0, 0.0], vec![-4.0]]);
    assert_eq!(grads.clip(1.0), 5.0);
    let expected = [0.6f32, 0.0, -0.8];
    assert!(grads.0.iter().flatten().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6), "{grads:?}");
    let mut broken = Gradients(vec![vec![f32::NAN, 1.0]]);
    assert!(!broken.clip(1.0).is_finite(), "a gradient that is not finite is reported, so that the step is left out");
}

#[test]
fn the_schedule_warms_up_from_zero_and_never_climbs_again() {
    let schedule = Schedule { peak: 2.0, min_ratio: 0.1, warmup_steps: 4, total_steps: 20 };
    assert_eq!([0, 1, 2, 3, 4].map(|s| schedule.at(s)), [0.0, 0.5, 1.0, 1.5, 2.0]);
    assert!((schedule.at(12) - 1.1).abs() < 1e-12, "half way down the cosine");
    for end in [20, 21, 50, u64::MAX] {
        assert!((schedule.at(end) - 0.2).abs() < 1e-9, "step {end}: {}", schedule.at(end));
    }
    assert!((4..60).all(|s| schedule.at(s + 1) <= schedule.at(s)));
    let flat = Schedule { peak: 1.0, min_ratio: 1.0, warmup_steps: 0, total_steps: 0 };
    assert_eq!((flat.at(0), flat.at(9)), (1.0, 1.0));
}

fn algo(preset: Preset) -> Algo {
    Algo::resolve(&AlgoConfig { preset, ..AlgoConfig::default() })
}

#[test]
fn token_weights_follow_the_reduction_and_sum_to_one() {
    let lengths = [3, 1, 4, 2, 2, 5, 1, 2, 10, 30];
    let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-7);
    let cases = [
        (Preset::Openrlhf, Reduction::TokenMean, vec![1.0 / 60.0; 10]),
        (Preset::PaperV9, Reduction::CompletionMean, lengths.iter().map(|n| 0.1 / *n as f32).collect()),
        (Preset::Serl, Reduction::MeanOfEights, [vec![0.5 / 20.0; 8], vec![0.5 / 40.0; 2]].concat()),
    ];
    for (preset, reduction, expected) in cases {
        let algo = algo(preset);
        assert_eq!(algo.reduction, reduction);
        let weights = algo.token_weights(&lengths);
        assert!(close(&weights, &expected), "{reduction:?}: {weights:?}");
        let sum: f32 = weights.iter().zip(lengths).map(|(w, n)| w * n as f32).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{reduction:?} sums to {sum}");
    }
}

#[test]
fn an_override_changes_its_knob_and_no_other() {
    let set = AlgoConfig {
        estimator: Some(Estimator::Rloo),
        kl_coef: Some(0.5),
        batch: Some(6),
        epochs: Some(2),
        ..AlgoConfig::default()
    };
    let changed = Algo::resolve(&set);
    assert_eq!(changed, Algo { estimator: Estimator::Rloo, kl_coef: 0.5, batch: 6, epochs: 2, ..algo(Preset::Openrlhf) });
    assert_eq!(changed.optimizer_steps(13), 6, "two full batches and a smaller one, twice");
    assert_eq!(Algo { kl_coef: -1.0, ..changed }.shaping().kl_coef, 0.0);
}
