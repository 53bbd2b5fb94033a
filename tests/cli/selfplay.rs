//! SeRL's own mechanisms in real runs: the difficulty window, samples read again, the label-free baseline, rounds, pairs.

use std::collections::{BTreeMap, BTreeSet};

use medserl::{
    store::Store,
    task::{Quadrant, Rollout},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::program::{Home, with};

/// Long enough for nano to come to a verdict.
const READABLE: [&str; 2] = ["doctor.max_tokens=112", "sft.notes=0"];

fn store(home: &Home) -> Store {
    Store::open_read_only(&home.run_dir()).unwrap()
}

fn adapter(home: &Home, step: u32) -> Vec<u8> {
    std::fs::read(home.run_dir().join(format!("checkpoints/step-{step}/adapter_model.safetensors"))).unwrap()
}

#[test]
fn a_step_that_the_window_leaves_empty_says_so_and_teaches_nothing() {
    let home = Home::new();
    // 24 tokens are never a verdict: no group passes at all, and what is put in instead does not either.
    let done = home.run(&with("2", &["sft.notes=0", "select.filter=true", "select.refill=2"])).done();
    let steps = done.events("step");
    for step in &steps {
        let metric = |key: &str| step["metrics"][key].as_f64().unwrap();
        assert_eq!((metric("groups_dropped"), metric("groups_missing"), metric("empty_steps")), (12.0, 4.0, 1.0), "{step}");
        for quadrant in ["AE", "AS", "SD", "SI"] {
            assert_eq!(step["dropped"][format!("{quadrant}/too-hard")], 3, "{step}");
            assert_eq!(step["quadrants"][quadrant]["n"], 6, "{step}");
        }
    }
    let told = |level: &str| {
        done.events("log").iter().filter(|l| l["level"] == level).map(|l| l["message"].to_string()).collect::<Vec<_>>()
    };
    let warned = told("warn");
    assert!(warned.iter().filter(|m| m.contains("no group is left to train on (AE/too-hard 3")).count() == 2, "{warned:?}");
    assert!(told("info").iter().any(|m| m.contains("pass rates strictly between 0 and 1") && m.contains("up to 2 times")));
    assert!(adapter(&home, 0) == adapter(&home, 2), "nothing was trained on, yet the adapter changed");
    let samples = store(&home).samples(1).unwrap();
    assert_eq!(samples.len(), 12);
    assert_eq!(samples.iter().map(|s| &s.id).collect::<BTreeSet<_>>().len(), 12);
    assert_eq!(samples.iter().map(|s| &s.source.id).collect::<BTreeSet<_>>().len(), 12, "new sources, not the same again");
    assert!(store(&home).rollouts(1).unwrap().iter().all(|r| r.advantage.is_none()));
    // The plain output has the reasons too.
    let mut plain = with("3", &["sft.notes=0", "select.filter=true", "select.refill=2"]);
    plain.retain(|arg| *arg != "--json");
    let plain = home.run(&plain).done();
    assert!(
        plain.out.contains("left out AE/too-hard 3, AS/too-hard 3") && plain.err.contains("no group is left"),
        "{}",
        plain.out
    );
}

/// Rollouts of a step by group, with whether the group trained.
fn groups(rollouts: &[Rollout]) -> Vec<(&[Rollout], bool)> {
    rollouts
        .chunk_by(|a, b| a.sample.id == b.sample.id)
        .map(|group| {
            let n = group.iter().filter(|r| r.advantage.is_some()).count();
            assert!(n == 0 || n == group.len(), "a group trains as a whole");
            (group, n > 0)
        })
        .collect()
}

#[test]
fn the_window_keeps_what_it_holds_whether_before_or_after_normalisation() {
    let run = |when: &str| {
        let home = Home::new();
        let when = format!("select.when={when}");
        let sets = ["select.filter=true", "select.refill=0", &when, "doctor.samples=16"];
        home.run(&with("1", &[&READABLE[..], &sets].concat())).done();
        let rollouts = store(&home).rollouts(1).unwrap();
        let report = store(&home).reports(0).unwrap().remove(0);
        (rollouts, report)
    };
    let (before, report) = run("before");
    let kept: Vec<bool> = groups(&before)
        .into_iter()
        .map(|(group, trained)| {
            let right = |r: &Rollout| match (r.sample.label.kind(), r.verdict.flag()) {
                (None, flag) => flag == Some(false),
                (Some(kind), _) => matches!(&r.verdict, medserl::task::Verdict::Error { kind: said, .. } if *said == kind),
            };
            let rate = group.iter().filter(|r| right(r)).count() as f64 / group.len() as f64;
            assert_eq!(trained, rate > 0.0 && rate < 1.0, "{}", group[0].sample.id);
            trained
        })
        .collect();
    assert!(kept.contains(&true) && kept.contains(&false), "this seed has both: {kept:?}");
    let n_dropped: u32 = report.dropped.values().sum();
    assert_eq!(n_dropped as usize, kept.iter().filter(|k| !**k).count());
    // The same groups were drawn and dropped, but what remains is measured against another mean.
    let (after, _) = run("after");
    let texts = |rollouts: &[Rollout]| rollouts.iter().map(|r| r.completion.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&before), texts(&after));
    assert_eq!(groups(&after).iter().map(|(_, trained)| *trained).collect::<Vec<_>>(), kept);
    let sum = |rollouts: &[Rollout]| rollouts.iter().filter_map(|r| r.advantage).sum::<f32>();
    assert!((sum(&before) - sum(&after)).abs() > 1e-3, "{} {}", sum(&before), sum(&after));
}

#[test]
fn samples_are_read_again_and_a_killed_run_remembers_which() {
    let sets = ["sft.notes=0", "select.uses=2", "select.max_age=3"];
    let undisturbed = Home::new();
    let done = undisturbed.run(&with("4", &sets)).done();
    let again: Vec<Value> = done.events("step").iter().map(|s| s["metrics"]["samples_again"].clone()).collect();
    assert_eq!(again, [0.0, 4.0, 0.0, 4.0], "written, read again, used up");
    let (first, second) = (store(&undisturbed).samples(1).unwrap(), store(&undisturbed).samples(2).unwrap());
    for (old, new) in first.iter().zip(&second) {
        let again = new.provenance.again.as_ref().unwrap();
        assert_eq!((&again.first, again.uses, &old.note, &old.label), (&old.id, 1, &new.note, &new.label));
    }
    let home = Home::new();
    let mut run = home.start(&with("4", &sets));
    while run.wait_for("step")["step"] != 3 {}
    kill_process(Pid::from_child(&run.child), Signal::KILL).unwrap();
    run.end();
    home.run(&with("4", &sets)).done();
    assert_eq!(home.learnt().0, undisturbed.learnt().0);
    assert!(home.learnt().1 == undisturbed.learnt().1, "the adapter differs");
}

#[test]
fn the_label_free_baseline_is_paid_by_agreement_and_measured_by_labels() {
    let home = Home::new();
    let sets = [&READABLE[..], &["reward.scheme=majority", "doctor.completions=4", "doctor.samples=8"]].concat();
    let done = home.run(&with("1", &sets)).done();
    let rollouts = store(&home).rollouts(1).unwrap();
    let mut disagrees_with_label = 0;
    for (group, _) in groups(&rollouts) {
        assert!(group.iter().all(|r| [0.0, 1.0].contains(&r.reward.total())), "{group:?}");
        let paid: Vec<&Rollout> = group.iter().filter(|r| r.reward.total() == 1.0).collect();
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        for rollout in group.iter().filter(|r| r.verdict.flag().is_some()) {
            let kind = match &rollout.verdict {
                medserl::task::Verdict::Error { kind, .. } => format!("{kind:?}"),
                _ => "clean".to_owned(),
            };
            *votes.entry(kind).or_default() += 1;
        }
        assert_eq!(paid.len(), votes.values().copied().max().unwrap_or(0), "{votes:?}");
        disagrees_with_label += paid.iter().filter(|r| r.verdict.flag() != Some(r.sample.label.is_error())).count();
    }
    assert!(disagrees_with_label > 0, "this seed's consensus is wrong somewhere, and is paid all the same");
    // Held-out notes are scored by their labels, whatever pays in training.
    assert!(done.events("eval").iter().all(|e| e["scores"]["flag_accuracy"].is_f64()));
}

#[test]
fn the_stop_rule_ends_a_run_after_a_round_without_gain() {
    let home = Home::new();
    let sets = ["sft.notes=0", "rounds.steps=2", "rounds.min_gain=0.9"];
    let done = home.run(&with("6", &sets)).done();
    assert_eq!(done.events("step").len(), 2, "{}", done.out);
    let names: Vec<Value> = done.events("eval").iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, ["before", "round", "after"]);
    assert!(done.out.contains("1 in a row gained less than 0.9: the run ends"), "{}", done.out);
    assert!(done.out.contains("the stop rule ended the run after round 1 at step 2 of 6"), "{}", done.out);
    let status = home.run(&["status"]).done().out;
    assert!(status.contains("finished") && status.contains("stop rule"), "{status}");
    // The rule has spoken: the same command trains no further.
    let again = home.run(&with("6", &sets)).done();
    assert!(again.events("step").is_empty() && again.events("eval").is_empty(), "{}", again.out);
    // A run that was moved is found by its folder, with or without a slash.
    std::fs::rename(home.run_dir(), home.path("moved")).unwrap();
    for name in ["moved", "./moved"] {
        assert!(home.run(&["status", name]).done().out.contains("stop rule"), "{name}");
    }
    // Patience is a number of rounds.
    let patient = Home::new();
    let done = patient.run(&with("6", &[&sets[..], &["rounds.steps=1", "rounds.patience=2"]].concat())).done();
    assert_eq!(done.events("step").len(), 2, "{}", done.out);
}

#[test]
fn a_scheme_that_pays_for_pairs_gets_both_notes_of_each() {
    let home = Home::new();
    let sets = [&READABLE[..], &["reward.scheme=full", "doctor.completions=4", "doctor.samples=8"]].concat();
    home.run(&with("2", &sets)).done();
    let mut paid = BTreeSet::new();
    for step in [1, 2] {
        let samples = store(&home).samples(step).unwrap();
        let count = |quadrant| samples.iter().filter(|s| s.quadrant == quadrant).count();
        assert_eq!(Quadrant::ALL.map(count), [2; 4], "four equal shares");
        for sample in &samples {
            let opposite = |other: &&medserl::task::Sample| {
                other.source.group == sample.source.group && other.label.is_error() != sample.label.is_error()
            };
            assert!(samples.iter().any(|s| opposite(&s)), "{} has no counterpart in its step", sample.id);
        }
        let rollouts = store(&home).rollouts(step).unwrap();
        paid.extend(rollouts.iter().filter(|r| r.reward.pair > 0.0).map(|r| r.sample.quadrant.code()));
    }
    assert!(paid.len() >= 2, "the pair part was paid in {paid:?} only");
}

#[test]
fn what_the_window_leaves_out_is_made_up_for_in_whole_pairs() {
    let home = Home::new();
    let full = ["reward.scheme=full", "doctor.completions=4", "doctor.samples=8", "select.filter=true", "select.refill=2"];
    let done = home.run(&with("2", &[&READABLE[..], &full].concat())).done();
    let mut n_later = 0;
    for (step, told) in [1, 2].into_iter().zip(done.events("step")) {
        let rollouts = store(&home).rollouts(step).unwrap();
        let groups = groups(&rollouts);
        for (group, _) in &groups {
            let sample = &group[0].sample;
            n_later += usize::from(sample.index >= 8);
            let has_counterpart = groups.iter().any(|(other, _)| {
                let other = &other[0].sample;
                other.source.group == sample.source.group && other.label.is_error() != sample.label.is_error()
            });
            assert!(has_counterpart, "{} has no counterpart in its step", sample.id);
        }
        for quadrant in Quadrant::ALL {
            let of = |trained: bool| groups.iter().filter(|(g, t)| g[0].sample.quadrant == quadrant && *t == trained).count();
            assert!(of(true) <= 2, "no quadrant trains more than its share");
            let why = |reason: &str| told["dropped"][format!("{}/{reason}", quadrant.code())].as_u64().unwrap_or(0) as usize;
            let all = ["too-hard", "too-easy", "sibling"].map(why).into_iter().sum::<usize>();
            assert_eq!(of(false), all, "every group that did not train is told: {told}");
        }
    }
    assert!(n_later > 0, "this seed has groups to make up for");
}

#[test]
fn the_presets_are_explained_before_anything_starts() {
    let home = Home::new();
    let args = ["demo", "--explain", "--set", "algo.preset=serl", "--set", "select.refill=0"];
    let out = home.run(&args).done().out;
    for part in [
        "preset serl",
        "where presets differ",
        "algo.reduction",
        "mean_of_eights",
        "select.bounds",
        "inclusive",
        "* 0",
        "no preset does",
    ] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
    let json: Value = serde_json::from_str(&home.run(&[&args[..], &["--json"]].concat()).done().out).unwrap();
    let knobs = json["knobs"].as_array().unwrap();
    assert!(knobs.iter().any(|k| k["name"] == "select.refill" && k["is_override"] == true && k["presets"][2] == 3), "{json}");
    assert!(!home.path("runs").exists(), "nothing was started");
}
