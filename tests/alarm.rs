//! Alarms: raised after some steps in a row, told once, over with some distance, and never by what is none of theirs.

use medserl::{
    config::{AlarmKind, AlarmsConfig, RunConfig},
    runner::alarm::{Alarm, Alarms},
    task::StepReport,
};

/// A step of a healthy run; a little noise, so that nothing stands still.
fn healthy(step: u32) -> StepReport {
    let noise = f64::from(step * 7 % 5) / 100.0;
    let metrics = [
        ("reward", 0.2 + noise),
        ("loss", -0.01),
        ("grad_norm", 1.0),
        ("kl", 0.02),
        ("entropy", 1.0 + noise),
        ("completion_tokens", 100.0),
        ("truncated_rate", 0.0),
        ("equal_groups", 0.4),
        ("scribe_accepted", 0.8),
        ("skipped_updates", 0.0),
    ];
    StepReport { step, metrics: metrics.map(|(key, value)| (key.to_owned(), value)).into(), ..StepReport::default() }
}

fn with(step: u32, changes: &[(&str, f64)]) -> StepReport {
    let mut report = healthy(step);
    report.metrics.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), *value)));
    report
}

/// Ten healthy steps, then these changes for as long as they last.
fn run(config: &AlarmsConfig, changes: &[&[(&str, f64)]]) -> Vec<Alarm> {
    let mut alarms = Alarms::new(config);
    let healthy: Vec<Alarm> = (1..=10).flat_map(|step| alarms.observe(&healthy(step))).collect();
    assert_eq!(healthy, [], "a healthy run raises nothing");
    (11..).zip(changes).flat_map(|(step, changes)| alarms.observe(&with(step, changes))).collect()
}

#[track_caller]
fn check(kind: AlarmKind, bad: &[(&str, f64)], between: &[(&str, f64)]) {
    let config = AlarmsConfig::default();
    let told = |changes: &[&[(&str, f64)]]| -> Vec<(AlarmKind, u32, bool)> {
        run(&config, changes).into_iter().map(|a| (a.kind, a.step, a.raised)).collect()
    };
    assert_eq!(told(&[bad, bad]), [], "two steps are no alarm");
    assert_eq!(told(&[bad, bad, &[], bad, bad]), [], "not in a row");
    assert_eq!(told(&[bad, bad, bad, bad, bad, bad]), [(kind, 13, true)], "told once");
    let cleared = told(&[bad, bad, bad, &[], &[], bad, &[], &[], &[], &[]]);
    assert_eq!(cleared, [(kind, 13, true), (kind, 19, false)], "over after three good steps in a row");
    let flicker = told(&[bad, bad, bad, between, between, between, between, bad]);
    assert_eq!(flicker, [(kind, 13, true)], "within the margin nothing changes");
}

#[test]
fn each_alarm_is_raised_and_cleared_with_hysteresis() {
    check(AlarmKind::Kl, &[("kl", 0.101)], &[("kl", 0.095)]);
    check(AlarmKind::EntropyCollapse, &[("entropy", 0.24)], &[("entropy", 0.27)]);
    check(AlarmKind::LengthRunaway, &[("completion_tokens", 151.0)], &[("completion_tokens", 140.0)]);
    check(AlarmKind::LengthRunaway, &[("truncated_rate", 0.3)], &[("truncated_rate", 0.19)]);
    check(AlarmKind::EqualGroups, &[("equal_groups", 0.95)], &[("equal_groups", 0.85)]);
    check(AlarmKind::Acceptance, &[("scribe_accepted", 0.1)], &[("scribe_accepted", 0.21)]);
}

/// Steps of three demo runs (KL, entropy, completion tokens, share cut off), as they were: the default thresholds must tell them apart.
/// The first learnt well, here at its worst; the second, with 2.5 times its rate and 0.4 times its KL penalty, as well; the third, at 25
/// times its rate and without penalty, fell apart in its fifth step.
#[test]
fn healthy_runs_raise_nothing_and_one_that_falls_apart_is_told_before_it_has() {
    type Step = (f64, f64, f64, f64);
    const WELL: [Step; 12] = [
        (0.0016, 0.0587, 58.6, 0.0),
        (0.0027, 0.0553, 59.6, 0.0),
        (0.0028, 0.0543, 58.9, 0.0),
        (0.0033, 0.0586, 57.4, 0.0),
        (0.0017, 0.0746, 58.7, 0.0),
        (0.0124, 0.0472, 58.1, 0.0),
        (0.0239, 0.0805, 54.6, 0.0156),
        (0.0176, 0.0688, 53.1, 0.0),
        (0.0166, 0.0698, 52.9, 0.0),
        (0.0158, 0.0276, 57.2, 0.0),
        (0.0146, 0.0382, 58.3, 0.0),
        (0.0121, 0.0324, 61.4, 0.0156),
    ];
    const HOT: [Step; 12] = [
        (0.0020, 0.0587, 56.1, 0.0),
        (0.0004, 0.0640, 58.3, 0.0),
        (0.0013, 0.0935, 59.8, 0.0),
        (0.0031, 0.0709, 58.5, 0.0),
        (0.0012, 0.0721, 57.4, 0.0),
        (0.0090, 0.0596, 57.4, 0.0),
        (0.0055, 0.0557, 55.4, 0.0),
        (0.0092, 0.0488, 56.0, 0.0),
        (0.0218, 0.0768, 59.4, 0.0),
        (0.0179, 0.0598, 59.2, 0.0),
        (0.0093, 0.0461, 56.7, 0.0),
        (0.0185, 0.0559, 56.9, 0.0),
    ];
    const WILD: [Step; 7] = [
        (0.0005, 0.0670, 58.1, 0.0),
        (0.0043, 0.1252, 58.9, 0.0),
        (0.1354, 0.1599, 57.7, 0.0156),
        (0.2492, 0.1126, 56.5, 0.0),
        (1.1718, 0.9327, 70.8, 0.1406),
        (4.2944, 1.5437, 102.1, 0.6250),
        (5.0309, 0.9301, 91.7, 0.4688),
    ];
    let told = |steps: &[Step]| -> Vec<(AlarmKind, u32)> {
        let mut alarms = Alarms::new(&AlarmsConfig::default());
        let report = |(step, (kl, entropy, tokens, cut)): (u32, &Step)| {
            with(step, &[("kl", *kl), ("entropy", *entropy), ("completion_tokens", *tokens), ("truncated_rate", *cut)])
        };
        (1..).zip(steps).map(report).flat_map(|report| alarms.observe(&report)).map(|a| (a.kind, a.step)).collect()
    };
    assert_eq!((told(&WELL), told(&HOT)), (vec![], vec![]));
    assert_eq!(told(&WILD), [(AlarmKind::Kl, 5)]);
}

#[test]
fn numbers_that_are_not_finite_raise_their_own_alarm_and_no_other() {
    for key in ["reward", "loss", "grad_norm", "kl", "entropy"] {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let config = AlarmsConfig { pause: vec![AlarmKind::NonFinite], ..AlarmsConfig::default() };
            let alarms = run(&config, &[[(key, value)].as_slice(); 4]);
            let kinds: Vec<AlarmKind> = alarms.iter().map(|a| a.kind).collect();
            assert_eq!(kinds, [AlarmKind::NonFinite], "{key} = {value}");
            assert!(alarms[0].pause && alarms[0].message.contains("pauses"), "{alarms:?}");
        }
    }
    let skipped = run(&AlarmsConfig::default(), &[[("skipped_updates", 2.0)].as_slice(); 3]);
    assert!(skipped.len() == 1 && skipped[0].kind == AlarmKind::NonFinite, "{skipped:?}");
    // Nobody has to be there for it: the run itself goes back.
    assert!(!skipped[0].pause, "{skipped:?}");
    // A held-out rate over nothing is no number, and no alarm.
    assert_eq!(run(&AlarmsConfig::default(), &[[("eval_pair_accuracy", f64::NAN)].as_slice(); 5]), []);
}

#[test]
fn a_run_that_goes_back_has_raised_the_alarm_whatever_its_patience() {
    let bad = with(11, &[("skipped_updates", 1.0)]);
    for patience in [1, 3, 50] {
        let mut alarms = Alarms::new(&AlarmsConfig { patience, ..AlarmsConfig::default() });
        let told = [alarms.observe(&bad), alarms.raise_not_finite(&bad).into_iter().collect()].concat();
        assert_eq!(told.iter().map(|a| (a.kind, a.step, a.raised)).collect::<Vec<_>>(), [(AlarmKind::NonFinite, 11, true)]);
        assert_eq!(alarms.active(), [AlarmKind::NonFinite]);
        assert_eq!(alarms.raise_not_finite(&bad), None, "told once");
    }
    let mut off = Alarms::new(&AlarmsConfig { off: vec![AlarmKind::NonFinite], ..AlarmsConfig::default() });
    assert_eq!(off.raise_not_finite(&bad), None);
}

#[test]
fn a_constant_reward_is_one_answer_to_everything() {
    let constant: &[(&str, f64)] = &[("reward", -0.2)];
    let alarms = run(&AlarmsConfig::default(), &[constant; 6]);
    // Three equal rewards make one window, three windows an alarm.
    assert_eq!(alarms.iter().map(|a| (a.kind, a.step, a.raised)).collect::<Vec<_>>(), [(AlarmKind::ConstantReward, 15, true)]);
    let nearly: Vec<Vec<(&str, f64)>> = (0..9).map(|i| vec![("reward", -0.2 + f64::from(i) * 1e-5)]).collect();
    let nearly: Vec<&[(&str, f64)]> = nearly.iter().map(Vec::as_slice).collect();
    assert_eq!(run(&AlarmsConfig::default(), &nearly), []);
}

#[test]
fn reward_that_rises_while_the_truth_falls_is_told() {
    let config = AlarmsConfig::default();
    let told = |scores: &[(f64, f64)]| -> Vec<(u32, bool)> {
        let mut alarms = Alarms::new(&config);
        let mut found = Vec::new();
        for (i, (reward, accuracy)) in scores.iter().enumerate() {
            // An evaluation every fourth step.
            for offset in 1..=4 {
                let step = 4 * i as u32 + offset;
                let mut report = healthy(step);
                report.metrics.insert("reward".into(), reward + f64::from(step % 3) / 100.0);
                if offset == 4 {
                    report.metrics.insert("eval_accuracy".into(), *accuracy);
                }
                found.extend(alarms.observe(&report));
            }
        }
        assert!(found.iter().all(|a| a.kind == AlarmKind::RewardWithoutTruth), "{found:?}");
        found.iter().map(|a| (a.step, a.raised)).collect()
    };
    assert_eq!(told(&[(0.0, 0.6), (0.2, 0.7), (0.4, 0.6), (0.5, 0.6), (0.6, 0.55)]), [(16, true)]);
    assert_eq!(told(&[(0.0, 0.6), (0.2, 0.7), (0.4, 0.6), (0.5, 0.6), (0.6, 0.7), (0.6, 0.72)]), [(16, true), (24, false)]);
    assert_eq!(
        told(&[(0.0, 0.6), (0.2, 0.7), (0.1, 0.6), (0.0, 0.5), (0.0, 0.5)]),
        [],
        "both fall: bad luck, not a hollow reward"
    );
    assert_eq!(told(&[(0.0, 0.6), (0.2, 0.65), (0.4, 0.7), (0.5, 0.75)]), []);
    assert_eq!(told(&[(0.0, 0.7), (0.2, 0.6), (0.3, 0.7), (0.4, 0.6)]), [], "one bad evaluation is noise");
}

#[test]
fn what_is_off_is_not_told_and_what_pauses_says_so() {
    let bad: &[(&str, f64)] = &[("kl", 9.0), ("equal_groups", 1.0)];
    let config = AlarmsConfig { off: vec![AlarmKind::Kl], pause: vec![AlarmKind::EqualGroups], ..AlarmsConfig::default() };
    let alarms = run(&config, &[bad, bad, bad, &[], &[], &[]]);
    assert_eq!(
        alarms.iter().map(|a| (a.kind, a.raised, a.pause)).collect::<Vec<_>>(),
        [(AlarmKind::EqualGroups, true, true), (AlarmKind::EqualGroups, false, false)]
    );
    assert!(alarms[0].message.starts_with("alarm equal_groups: ") && alarms[0].message.contains("1.000 at step 13, limit 0.900"));
    let told = run(&AlarmsConfig { patience: 1, ..AlarmsConfig::default() }, &[bad]);
    assert_eq!(
        told.iter().map(|a| (a.kind, a.pause)).collect::<Vec<_>>(),
        [(AlarmKind::Kl, false), (AlarmKind::EqualGroups, false)]
    );
}

#[test]
fn a_resumed_run_knows_what_is_up() {
    let reports: Vec<StepReport> =
        (1..=10).map(healthy).chain((11..=13).map(|step| with(step, &[("kl", 0.9)]))).chain([healthy(14), healthy(15)]).collect();
    let mut once = Alarms::new(&AlarmsConfig::default());
    reports.iter().for_each(|r| drop(once.observe(r)));
    assert_eq!(once.active(), [AlarmKind::Kl]);
    assert_eq!(once.observe(&healthy(16)).iter().map(|a| (a.kind, a.raised)).collect::<Vec<_>>(), [(AlarmKind::Kl, false)]);
    assert_eq!(once.active(), []);
}

#[test]
fn thresholds_are_read_and_refused_by_key() {
    let parse = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        RunConfig::parse(std::path::Path::new("exp.toml"), "", &sets)
    };
    let config = parse(&["alarms.pause=[\"kl\", \"reward_without_truth\"]", "alarms.kl=0.3"]).unwrap();
    assert_eq!((config.alarms.pause, config.alarms.kl), (vec![AlarmKind::Kl, AlarmKind::RewardWithoutTruth], 0.3));
    for bad in [
        "alarms.patience=0",
        "alarms.baseline_steps=0",
        "alarms.margin=1.0",
        "alarms.length_growth=1.0",
        "alarms.kl=0.0",
        "alarms.kl=nan",
        "alarms.entropy_share=1.5",
        "alarms.equal_groups=-0.1",
        "checkpoint.max_gb=0.0",
        "checkpoint.every=0",
    ] {
        let message = parse(&[bad]).unwrap_err().to_string();
        assert!(message.contains(bad.split('=').next().unwrap()) && message.contains("must"), "{message}");
    }
    let unknown = parse(&["alarms.pause=[\"klx\"]"]).unwrap_err().to_string();
    assert!(unknown.contains("klx") && unknown.contains("reward_without_truth"), "{unknown}");
    for kind in AlarmKind::ALL {
        assert_eq!(parse(&[&format!("alarms.off=[\"{}\"]", kind.name())]).unwrap().alarms.off, [kind]);
    }
}
