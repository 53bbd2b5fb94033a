//! A run and its label file: waiting for labels, applying them, and the same labels again after a crash.

use std::{path::Path, sync::Arc};

use medserl::{
    config::RunConfig,
    runner::HandLabels,
    store::{LABELS, LabelLog},
    task::{Decision, Entry, HandLabel, LabelGate, Quadrant, RejectReason, Sample},
};

use crate::labels::fixture::sample;

fn step(number: u32) -> Vec<Arc<Sample>> {
    (0..4).map(|i| Arc::new(sample(Quadrant::ALL[i as usize], number, i))).collect()
}

fn decide(dir: &Path, about: &Sample, decision: Decision) {
    let (run, annotator) = ("r".to_owned(), "ann".to_owned());
    let label = HandLabel { run, annotator, at: 1, ..HandLabel::of(about, decision) };
    LabelLog::open(&dir.join(LABELS)).unwrap().append(Entry::Label(Box::new(label))).unwrap();
}

fn reject() -> Decision {
    Decision::Reject(RejectReason::Giveaway)
}

fn config(gate: LabelGate) -> RunConfig {
    let mut config = RunConfig::default();
    config.labels.gate = gate;
    config
}

fn kept(labels: &mut HandLabels, number: u32) -> (Vec<String>, Vec<String>) {
    let labelled = labels.sift(number, &step(number), &mut |_| panic!("it waits")).unwrap();
    (labelled.sifted.kept.iter().map(|s| s.id.clone()).collect(), labelled.remarks)
}

#[test]
fn the_gate_waits_until_every_asked_sample_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let samples = step(1);
    let mut labels = HandLabels::open(dir.path(), &config(LabelGate::Ask)).unwrap();
    let mut seen = Vec::new();
    let mut wait = |n: usize| {
        seen.push(n);
        decide(dir.path(), &samples[4 - n], if n == 2 { reject() } else { Decision::Unsure });
        Ok(true)
    };
    let labelled = labels.sift(1, &samples, &mut wait).unwrap();
    assert_eq!(seen, [4, 3, 2, 1]);
    assert_eq!(labelled.sifted.kept.len(), 3);
    assert!(labelled.remarks.iter().any(|r| r.contains("left 1 sample out (SD/label:giveaway 1)")), "{:?}", labelled.remarks);
    // Told to go on, it goes on with what there is; told to stop, it stops.
    let labelled = labels.sift(2, &step(2), &mut |_| Ok(false)).unwrap();
    assert_eq!(labelled.sifted.kept.len(), 4);
    let stopped = labels.sift(3, &step(3), &mut |_| anyhow::bail!("stopped"));
    assert!(stopped.is_err());
    let mut off = HandLabels::open(dir.path(), &config(LabelGate::Off)).unwrap();
    assert_eq!(kept(&mut off, 4).0.len(), 4);
}

#[test]
fn a_step_made_again_uses_the_labels_it_used() {
    let dir = tempfile::tempdir().unwrap();
    let off = config(LabelGate::Off);
    let mut labels = HandLabels::open(dir.path(), &off).unwrap();
    let (one, two) = (step(1), step(2));
    assert_eq!(kept(&mut labels, 1).0.len(), 4);
    decide(dir.path(), &two[0], reject());
    let before = kept(&mut labels, 2).0;
    assert_eq!(before, ["AS-0002-01", "SD-0002-02", "SI-0002-03"]);
    // Labels that came later must not change a step that a crash makes again, one that had none included.
    decide(dir.path(), &two[1], reject());
    decide(dir.path(), &one[3], reject());
    let mut again = HandLabels::open(dir.path(), &config(LabelGate::Ask)).unwrap();
    assert_eq!(kept(&mut again, 1).0.len(), 4);
    assert_eq!(kept(&mut again, 2).0, before, "and it does not wait a second time");
    // Half a note about step 3, as a crash leaves it, is no note.
    let notes = dir.path().join("labels.used");
    let text = std::fs::read_to_string(&notes).unwrap();
    std::fs::write(&notes, format!("{text}\n3 9")).unwrap();
    let mut again = HandLabels::open(dir.path(), &off).unwrap();
    let after = kept(&mut again, 3).0;
    let mut again = HandLabels::open(dir.path(), &off).unwrap();
    decide(dir.path(), &step(3)[0], reject());
    assert_eq!((kept(&mut again, 3).0, kept(&mut again, 2).0), (after, before));
    // A label file that was lost is told, not passed over.
    std::fs::write(dir.path().join(LABELS), "").unwrap();
    let mut lost = HandLabels::open(dir.path(), &off).unwrap();
    let (ids, remarks) = kept(&mut lost, 2);
    assert_eq!(ids.len(), 4);
    assert!(remarks.iter().any(|r| r.contains("step 2 used 1 entries") && r.contains("holds 0 now")), "{remarks:?}");
}

#[test]
fn quarantine_is_told_once_and_lifted_when_labels_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut strict = config(LabelGate::Off);
    (strict.labels.quarantine_below, strict.labels.quarantine_min) = (0.7, 2);
    let mut labels = HandLabels::open(dir.path(), &strict).unwrap();
    (0..2).for_each(|i| decide(dir.path(), &sample(Quadrant::SyntheticDecoy, 90, i), reject()));
    let (ids, remarks) = kept(&mut labels, 1);
    assert_eq!(ids, ["AE-0001-00", "AS-0001-01", "SI-0001-03"]);
    assert!(remarks.iter().any(|r| r.contains("in quarantine") && r.ends_with("SD")), "{remarks:?}");
    let (_, remarks) = kept(&mut labels, 2);
    assert!(!remarks.iter().any(|r| r.contains("in quarantine")), "{remarks:?}");
    (2..9).for_each(|i| decide(dir.path(), &sample(Quadrant::SyntheticDecoy, 90, i), Decision::Accept));
    let (ids, remarks) = kept(&mut labels, 3);
    assert!(ids.len() == 4 && remarks.iter().any(|r| r.contains("no quadrant is in quarantine")), "{remarks:?}");
}
