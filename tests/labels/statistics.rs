//! What labels say: precision with its interval, agreement of two and of one, against figures worked out by hand.

use medserl::{
    config::LabelsConfig,
    eval::{LabelStats, kappa, wilson},
    task::{Decision, Entry, ErrorKind, HandLabel, Judged, Quadrant, RejectReason, Standing, hand_label::Picked},
};

use super::fixture::{label_by, sample};

#[track_caller]
fn check_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 5e-4, "{found} is not {expected}");
}

#[test]
fn kappa_is_cohens() {
    let table = |cells: &[(usize, usize, usize)]| -> Vec<(usize, usize)> {
        cells.iter().flat_map(|(a, b, n)| vec![(*a, *b); *n]).collect()
    };
    // Observed 35/50, expected 0.5 * 0.6 + 0.5 * 0.4.
    check_close(kappa(&table(&[(0, 0, 20), (0, 1, 5), (1, 0, 10), (1, 1, 15)])).unwrap(), 0.4);
    // Three answers: observed 0.7, expected 0.3 * 0.4 + 0.4 * 0.4 + 0.3 * 0.2 = 0.34.
    let three = table(&[(0, 0, 3), (1, 1, 3), (1, 0, 1), (2, 2, 1), (2, 1, 1), (2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 1, 0)]);
    let observed: f64 = 7.0 / 9.0;
    let expected: f64 = (3.0 * 4.0 + 4.0 * 4.0 + 2.0 * 1.0) / 81.0;
    check_close(kappa(&three).unwrap(), (observed - expected) / (1.0 - expected));
    check_close(kappa(&table(&[(0, 1, 10), (1, 0, 10)])).unwrap(), -1.0);
    check_close(kappa(&table(&[(0, 0, 4), (1, 1, 1)])).unwrap(), 1.0);
    assert_eq!(kappa(&table(&[(2, 2, 8)])), None, "one answer only: chance explains it all");
    assert_eq!(kappa(&[]), None);
}

#[test]
fn flawless_labels_still_leave_doubt() {
    // research/medserl-peers.md §5.3.
    check_close(wilson(50, 50).unwrap().low, 0.929);
    check_close(wilson(100, 100).unwrap().low, 0.963);
}

fn standing(entries: impl IntoIterator<Item = Entry>) -> Standing {
    entries.into_iter().enumerate().map(|(i, entry)| entry.with_id(format!("id {i}"))).collect()
}

#[test]
fn precision_counts_samples_and_every_rejection_has_its_reason() {
    let si = |i| sample(Quadrant::SyntheticInjection, 1, i);
    let decide = |i, decision| label_by("ann", "", &si(i), decision);
    let retype = Decision::Amend { kind: Some(ErrorKind::Treatment), sentence: None, correction: None };
    let mut entries: Vec<Entry> = (0..6).map(|i| decide(i, Decision::Accept)).collect();
    entries.extend([
        decide(6, Decision::Reject(RejectReason::NoError)),
        decide(7, Decision::Reject(RejectReason::NoError)),
        decide(8, Decision::Reject(RejectReason::Giveaway)),
        decide(9, retype),
        decide(10, Decision::Unsure),
        decide(11, Decision::Judge(Judged::Clean)),
        decide(12, Decision::Judge(Judged::Error { kind: ErrorKind::Pharmacotherapy, sentence: Some(2) })),
        // Two people about one sample are one sample.
        label_by("bob", "", &si(0), Decision::Accept),
        label_by("bob", "", &si(1), Decision::Reject(RejectReason::OtherError)),
        label_by("bob", "", &sample(Quadrant::AugmentedSafe, 1, 0), Decision::Accept),
    ]);
    let Entry::Label(picked) = decide(13, Decision::Reject(RejectReason::NoError)) else { panic!() };
    entries.push(Entry::Label(Box::new(HandLabel { picked: Picked::Disagreement, ..*picked })));
    let config = LabelsConfig { quarantine_below: 0.8, quarantine_min: 10, ..LabelsConfig::default() };
    let stats = LabelStats::of(&standing(entries), &config);
    let si = &stats.quadrants[3];
    assert_eq!((si.right, si.mended, si.rejected, si.unsure, si.disputed, si.picked), (6, 1, 3, 1, 2, 1));
    check_close(si.precision.unwrap(), 0.6);
    assert_eq!(si.interval, wilson(6, 10));
    let reasons: Vec<(&str, usize)> = si.reasons.iter().map(|(k, v)| (*k, *v)).collect();
    assert_eq!(reasons, [("giveaway", 1), ("no_error", 3), ("other_error", 1)]);
    assert!(si.quarantined && !stats.quadrants[1].quarantined);
    assert_eq!((stats.n_samples, stats.n_labels), (15, 17));
    let lines = stats.lines().join("\n");
    for part in ["60.0%", "QUARANTINED", "no fair draw", "17 labels of 15 samples", "ann: 14 labels, 2 blind of which 1 agree"] {
        assert!(lines.contains(part), "{part:?} is not in\n{lines}");
    }
    assert!(LabelStats::of(&Standing::default(), &config).lines().join("").contains("0 labels"));
}

#[test]
fn agreement_is_between_two_and_with_oneself() {
    let about = |i| sample(Quadrant::SyntheticInjection, 1, i);
    let wrong = || Decision::Reject(RejectReason::NoError);
    let mut entries = Vec::new();
    // ann / bob: accept-accept 20, accept-reject 5, reject-accept 10, reject-reject 15: kappa 0.4, agreement 70 %.
    for i in 0..50 {
        let (ann, bob) = match i {
            0..20 => (Decision::Accept, Decision::Accept),
            20..25 => (Decision::Accept, wrong()),
            25..35 => (wrong(), Decision::Accept),
            _ => (wrong(), wrong()),
        };
        entries.push(label_by("ann", "", &about(i), ann));
        entries.push(label_by("bob", "", &about(i), bob));
    }
    entries.push(label_by("ann", "", &about(60), Decision::Accept));
    entries.push(label_by("bob", "", &about(61), Decision::Unsure));
    // Blind: one note judged alike, one not.
    entries.push(label_by("ann", "", &about(70), Decision::Judge(Judged::Clean)));
    entries.push(label_by("bob", "", &about(70), Decision::Judge(Judged::Clean)));
    entries.push(label_by("ann", "", &about(71), Decision::Judge(Judged::Clean)));
    entries.push(label_by("bob", "", &about(71), Decision::Judge(Judged::Error { kind: ErrorKind::Diagnosis, sentence: None })));
    // Asked again: once the same, once not.
    for (i, decision) in [(0, Decision::Accept), (1, wrong())] {
        let Entry::Label(again) = label_by("ann", "", &about(i), decision) else { panic!() };
        entries.push(Entry::Label(Box::new(HandLabel { repeat: true, ..*again })));
    }
    let stats = LabelStats::of(&standing(entries), &LabelsConfig::default());
    let [reviews, blind] = &stats.agreements[..] else { panic!("{:?}", stats.agreements) };
    assert_eq!((reviews.first.as_str(), reviews.second.as_str(), reviews.n, reviews.blind), ("ann", "bob", 50, false));
    check_close(reviews.percent, 70.0);
    check_close(reviews.kappa.unwrap(), 0.4);
    assert_eq!((blind.n, blind.blind), (2, true));
    check_close(blind.percent, 50.0);
    let [own] = &stats.self_agreements[..] else { panic!("{:?}", stats.self_agreements) };
    assert_eq!((own.annotator.as_str(), own.n, own.n_same), ("ann", 2, 1));
    assert_eq!(stats.annotators["ann"].median_seconds, Some(2.0));
    let lines = stats.lines().join("\n");
    for part in ["50 reviews in common: agree 70.0%, kappa 0.400", "2 blind judgements", "asked again: 1 of 2 the same"] {
        assert!(lines.contains(part), "{part:?} is not in\n{lines}");
    }
}
