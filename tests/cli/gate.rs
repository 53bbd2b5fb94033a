//! Hand labels in a real run: the trainer waits before the Doctor reads, decisions come from a file, and they have consequences.

use std::{collections::BTreeSet, time::Duration};

use medserl::{
    attach::{Client, Live},
    data::labels::asked,
    store::Store,
    task::{Answer, ErrorKind, Label, LabelGate, Quadrant, Reward, Sample, Scheme, Truth, reward},
};
use serde_json::{Value, json};
use std::sync::Arc;

use super::program::{Home, Running, with};

const PATIENCE: Duration = Duration::from_secs(60);

fn gated(gate: &str) -> Vec<&str> {
    with("1", &["sft.notes=0", "doctor.max_tokens=112", gate])
}

/// Reads on until the run says that it waits; how many samples it asks about.
fn wait_for_gate(run: &mut Running) -> u64 {
    loop {
        let message = run.wait_for("log")["message"].as_str().unwrap().to_owned();
        if let Some((_, asked)) = message.split_once(": ").filter(|_| message.contains(" for hand labels")) {
            return asked.split(' ').next().unwrap().parse().unwrap();
        }
    }
}

/// The samples of the step in progress, from the trainer itself: no store holds them yet.
fn samples_at_the_gate(home: &Home, n: usize) -> Vec<Arc<Sample>> {
    let client = Client::connect(&home.run_dir().join("control.sock")).unwrap();
    let mut live = Live::default();
    while live.samples.len() < n {
        live.apply(client.next_timeout(PATIENCE).unwrap().expect("the trainer says nothing"));
    }
    live.samples
}

fn decide(home: &Home, decisions: &[(&Sample, Value)]) {
    let line = |(sample, decision): &(&Sample, Value)| json!({ "sample": sample.id, "decision": decision }).to_string() + "\n";
    let path = home.write("decisions.jsonl", decisions.iter().map(line).collect::<String>());
    let out = home.run(&["label", "demo-s1", "--from", &path, "--annotator", "ann"]).done().out;
    assert!(out.contains(&format!("{} decisions written", decisions.len())), "{out}");
}

#[test]
fn the_doctor_reads_only_what_was_not_rejected_and_is_paid_by_the_corrected_label() {
    let home = Home::new();
    let mut run = home.start(&gated("labels.gate=ask"));
    assert_eq!(wait_for_gate(&mut run), 4);
    let samples = samples_at_the_gate(&home, 4);
    let of = |quadrant: Quadrant| samples.iter().find(|s| s.quadrant == quadrant).unwrap().as_ref();
    let (ill, safe) = (of(Quadrant::AugmentedError), of(Quadrant::AugmentedSafe));
    let Label::Error { kind, sentence, correction } = &ill.label else { panic!("{ill:?}") };
    let other = ErrorKind::ALL.into_iter().find(|other| other != kind).unwrap();
    let amended = Label::Error { kind: other, sentence: *sentence, correction: correction.clone() };
    assert!(
        Store::open_read_only(&home.run_dir()).unwrap().last_step().unwrap().is_none(),
        "nothing is committed while it waits"
    );
    decide(
        &home,
        &[
            (ill, json!({ "amend": { "kind": other, "sentence": sentence, "correction": correction } })),
            (safe, json!({ "reject": "giveaway" })),
            (of(Quadrant::SyntheticDecoy), json!("accept")),
            (of(Quadrant::SyntheticInjection), json!("unsure")),
        ],
    );
    // The last label ends the wait; nobody has to resume.
    assert_eq!(run.wait_for("step")["rejections"]["AS/label:giveaway"], 1);
    assert_eq!(run.end(), Some(0));

    let store = Store::open_read_only(&home.run_dir()).unwrap();
    let rollouts = store.rollouts(1).unwrap();
    let read: BTreeSet<&str> = rollouts.iter().map(|r| r.sample.quadrant.code()).collect();
    assert_eq!(read, BTreeSet::from(["AE", "SD", "SI"]), "the rejected sample was posed to the Doctor");
    assert_eq!(store.samples(1).unwrap().len(), 4, "the rejected sample is kept on record");
    let rules = medserl::config::RewardConfig { scheme: Scheme::Strict, ..Default::default() }.rules(112);
    for rollout in rollouts.iter().filter(|r| r.sample.quadrant == Quadrant::AugmentedError) {
        assert_eq!(rollout.sample.label, amended);
        let (note, n_tokens) = (&rollout.sample.note, rollout.completion.tokens.len());
        let answer = Answer { text: &rollout.completion.text, n_tokens, verdict: &rollout.verdict };
        let due: Reward = reward::score(&rules, Truth { note, label: &amended }, answer);
        assert_eq!(rollout.reward, due);
        assert!(rollout.advantage.is_some(), "a corrected sample trains");
    }
}

#[test]
fn a_gate_for_a_share_waits_for_that_share_only() {
    let home = Home::new();
    let gate = "labels.gate=sample:0.5";
    let mut run = home.start(&gated(gate));
    let n = wait_for_gate(&mut run);
    let samples = samples_at_the_gate(&home, 4);
    let wanted = asked(&samples, LabelGate::Sample(0.5), 1);
    assert!(n as usize == wanted.len() && n > 0 && n < 4, "{n}");
    decide(&home, &wanted.iter().map(|s| (s.as_ref(), json!({ "reject": "giveaway" }))).collect::<Vec<(&Sample, Value)>>());
    run.wait_for("step");
    assert_eq!(run.end(), Some(0));
    let rollouts = Store::open_read_only(&home.run_dir()).unwrap().rollouts(1).unwrap();
    let read: BTreeSet<String> = rollouts.iter().map(|r| r.sample.id.clone()).collect();
    let left: BTreeSet<String> = samples.iter().filter(|s| !wanted.contains(s)).map(|s| s.id.clone()).collect();
    assert_eq!(read, left);
}
