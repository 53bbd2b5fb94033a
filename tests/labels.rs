//! Hand labels: what a decision does to a sample, which decisions stand, how they are kept, what they do to a batch, what they say.

mod command;
pub mod fixture;
mod gate;
mod kept;
mod statistics;

use std::{path::Path, sync::Arc};

use fixture::{clean_sample, error_sample, label, label_by};
use medserl::{
    config::LabelsConfig,
    data::labels::{Signature, asked, import, sift, unheard},
    task::{
        Decision, Entry, ErrorKind, Exclusion, HandLabel, Judged, Label, LabelGate, Quadrant, RejectReason, Sample, Standing,
        decision::{HAND_GATE, Outcome, apply},
        hand_label::{Picked, Retraction, fingerprint},
    },
};

fn amend(kind: Option<ErrorKind>, sentence: Option<u32>, correction: Option<&str>) -> Decision {
    Decision::Amend { kind, sentence, correction: correction.map(str::to_owned) }
}

#[track_caller]
fn check_mended(sample: &Sample, decision: &Decision, expected: &Label) {
    assert_eq!(decision.check(sample), Ok(()));
    match apply([decision], sample) {
        Outcome::Corrected(corrected) => {
            assert_eq!(&corrected.label, expected);
            assert_eq!((&corrected.note, &corrected.id), (&sample.note, &sample.id));
            let gate = corrected.gates.last().unwrap();
            assert!(gate.gate == HAND_GATE && gate.passed && gate.detail.contains("the claim was"), "{gate:?}");
        }
        other => panic!("{decision:?} gave {other:?}"),
    }
}

#[track_caller]
fn check_refused(sample: &Sample, decision: &Decision, mentions: &str) {
    let why = decision.check(sample).expect_err("accepted");
    assert!(why.contains(mentions), "{why:?} does not mention {mentions:?}");
    assert!(!matches!(apply([decision], sample), Outcome::Corrected(_)), "{decision:?} mended a sample it cannot mend");
}

#[test]
fn amendments_change_the_label_and_never_the_text() {
    let error = error_sample(Quadrant::SyntheticInjection, 3, 0);
    let Label::Error { kind, sentence, correction } = error.label.clone() else { panic!("an error sample is clean") };
    assert_eq!((kind, sentence), (ErrorKind::Pharmacotherapy, 2));
    let with = |kind, sentence, correction: &str| Label::Error { kind, sentence, correction: correction.to_owned() };
    check_mended(&error, &amend(Some(ErrorKind::Treatment), None, None), &with(ErrorKind::Treatment, 2, &correction));
    check_mended(&error, &amend(None, None, Some(" He takes insulin. ")), &with(kind, 2, "He takes insulin."));
    // Sentence 3 differs from the source, so what the source says is its correction.
    check_mended(&error, &amend(None, Some(3), None), &with(kind, 3, "Return in 3 months."));
    check_mended(
        &error,
        &amend(Some(ErrorKind::Diagnosis), Some(0), Some("A man of 45.")),
        &with(ErrorKind::Diagnosis, 0, "A man of 45."),
    );
    let clean = clean_sample(Quadrant::AugmentedSafe, 3, 1);
    let whole = amend(Some(ErrorKind::Management), Some(3), Some("Return in 3 weeks."));
    check_mended(&clean, &whole, &with(ErrorKind::Management, 3, "Return in 3 weeks."));

    check_refused(&error, &amend(None, Some(0), None), "differ from its correction");
    check_refused(&error, &amend(None, Some(9), Some("x")), "in the note");
    check_refused(&error, &amend(None, None, Some("  ")), "differ from its correction");
    check_refused(&error, &amend(None, None, Some(&error.note.sentence(2).unwrap().text.clone())), "differ");
    check_refused(&clean, &amend(Some(ErrorKind::Management), Some(3), None), "takes a type, a sentence");
    check_refused(&clean, &amend(None, Some(3), Some("x")), "takes a type, a sentence");
    check_refused(&clean, &Decision::Reject(RejectReason::NoError), "reason");
    check_refused(&error, &Decision::Reject(RejectReason::HasError), "reason");
    check_refused(&clean, &Decision::Judge(Judged::Error { kind: ErrorKind::Diagnosis, sentence: Some(9) }), "no sentence");
    assert_eq!(apply([&amend(None, None, Some(&correction))], &error), Outcome::Kept { vouched: true }, "the claim itself");
}

#[test]
fn annotators_must_agree_for_a_sample_to_stay() {
    let sample = error_sample(Quadrant::AugmentedError, 1, 0);
    let (accept, unsure) = (Decision::Accept, Decision::Unsure);
    let reject = Decision::Reject(RejectReason::NoError);
    let retype = amend(Some(ErrorKind::Treatment), None, None);
    let blind_same = Decision::Judge(Judged::Error { kind: ErrorKind::Pharmacotherapy, sentence: None });
    let blind_other = Decision::Judge(Judged::Clean);
    let excluded = |why| Outcome::Excluded(why);
    assert_eq!(apply([], &sample), Outcome::Kept { vouched: false });
    assert_eq!(apply([&unsure], &sample), Outcome::Kept { vouched: false });
    assert_eq!(apply([&blind_other], &sample), Outcome::Kept { vouched: false }, "a doubt is no answer");
    assert_eq!(apply([&blind_same, &unsure], &sample), Outcome::Kept { vouched: true });
    assert_eq!(apply([&accept, &reject], &sample), excluded(Exclusion::Rejected(RejectReason::NoError)));
    assert_eq!(apply([&accept, &retype], &sample), excluded(Exclusion::Disagreement));
    assert!(matches!(apply([&retype, &retype], &sample), Outcome::Corrected(_)));
    assert_eq!(apply([&amend(None, Some(9), None)], &sample), excluded(Exclusion::Unmendable));
}

#[test]
fn a_blind_judgement_agrees_by_flag_type_and_named_sentence() {
    let sample = error_sample(Quadrant::SyntheticInjection, 1, 0);
    let check = |judged: Judged, claim: &Label, agrees: bool| assert_eq!(judged.agrees(claim), agrees, "{judged:?} {claim:?}");
    let saw = |kind, sentence| Judged::Error { kind, sentence };
    check(Judged::Clean, &Label::Clean, true);
    check(Judged::Clean, &sample.label, false);
    check(saw(ErrorKind::Diagnosis, None), &Label::Clean, false);
    check(saw(ErrorKind::Pharmacotherapy, None), &sample.label, true);
    check(saw(ErrorKind::Pharmacotherapy, Some(2)), &sample.label, true);
    check(saw(ErrorKind::Pharmacotherapy, Some(3)), &sample.label, false);
    check(saw(ErrorKind::Treatment, Some(2)), &sample.label, false);
}

#[test]
fn labels_are_written_as_people_would_write_them() {
    let check = |decision: Decision, json: &str| {
        assert_eq!(serde_json::to_string(&decision).unwrap(), json);
        assert_eq!(serde_json::from_str::<Decision>(json).unwrap(), decision);
    };
    check(Decision::Accept, r#""accept""#);
    check(Decision::Unsure, r#""unsure""#);
    check(Decision::Reject(RejectReason::OtherError), r#"{"reject":"other_error"}"#);
    check(amend(Some(ErrorKind::CausalOrganism), None, None), r#"{"amend":{"kind":"causal_organism"}}"#);
    check(Decision::Judge(Judged::Clean), r#"{"judge":"clean"}"#);
    check(
        Decision::Judge(Judged::Error { kind: ErrorKind::Diagnosis, sentence: Some(4) }),
        r#"{"judge":{"error":{"kind":"diagnosis","sentence":4}}}"#,
    );
    let text = fingerprint(&error_sample(Quadrant::SyntheticInjection, 1, 0).note);
    assert!(text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    assert_ne!(text, fingerprint(&clean_sample(Quadrant::SyntheticDecoy, 1, 0).note));
}

#[test]
fn the_last_word_of_each_annotator_stands() {
    let sample = error_sample(Quadrant::SyntheticInjection, 1, 0);
    let entry = |id: &str, by: &str, decision: Decision| label_by(by, id, &sample, decision);
    let undo = |of: &str| Entry::Undo(Retraction { id: format!("undo {of}"), of: of.to_owned(), annotator: "ann".into(), at: 9 });
    let mut standing: Standing =
        [entry("1", "ann", Decision::Accept), entry("2", "ann", Decision::Reject(RejectReason::NoError))].into_iter().collect();
    assert_eq!(standing.outcome(&sample), Outcome::Excluded(Exclusion::Rejected(RejectReason::NoError)));
    standing.push(undo("2"));
    assert_eq!(standing.outcome(&sample), Outcome::Kept { vouched: true }, "what was said before stands again");
    standing.push(undo("2"));
    standing.push(entry("1", "ann", Decision::Unsure));
    assert_eq!((standing.labels().count(), standing.n_undone()), (1, 1), "an entry counts once");
    standing.push(entry("3", "bob", Decision::Reject(RejectReason::Giveaway)));
    assert_eq!(standing.outcome(&sample), Outcome::Excluded(Exclusion::Rejected(RejectReason::Giveaway)));
    // An undo may be read before its label, as after a merge of clocks that differ.
    let early: Standing = [undo("1"), entry("1", "ann", Decision::Accept)].into_iter().collect();
    assert!(!early.is_decided(&sample) && early.knows("1") && early.get("1").is_none());
    // A blind judgement never overrules what was decided with the claim in view.
    let blind = entry("4", "ann", Decision::Judge(Judged::Clean));
    let both: Standing = [entry("1", "ann", Decision::Accept), blind].into_iter().collect();
    assert_eq!(both.outcome(&sample), Outcome::Kept { vouched: true });
}

#[test]
fn a_label_is_about_a_text_and_a_claim_not_about_a_number() {
    let sample = error_sample(Quadrant::SyntheticInjection, 1, 0);
    let standing: Standing = [label("1", &sample, Decision::Reject(RejectReason::NoError))].into_iter().collect();
    let mut same_text = error_sample(Quadrant::AugmentedError, 9, 3);
    assert_eq!(standing.outcome(&same_text), Outcome::Excluded(Exclusion::Rejected(RejectReason::NoError)));
    same_text.label = Label::Error { kind: ErrorKind::Diagnosis, sentence: 2, correction: "x".into() };
    assert_eq!(standing.outcome(&same_text), Outcome::Kept { vouched: false }, "another claim about the same text");
    let mut same_number = sample.clone();
    same_number.note = same_number.note.with_sentence(2, "He takes heparin.").unwrap();
    assert_eq!(standing.outcome(&same_number), Outcome::Kept { vouched: false }, "another text under the same number");
}

fn step(n: u32) -> Vec<Arc<Sample>> {
    (0..n).map(|i| Arc::new(fixture::sample(Quadrant::ALL[i as usize % 4], 7, i))).collect()
}

#[test]
fn excluded_samples_leave_the_batch_and_corrected_ones_train_corrected() {
    let samples = step(8);
    let decide = |at: usize, decision| label(&format!("{at}"), &samples[at], decision);
    let standing: Standing = [
        decide(0, Decision::Accept),
        decide(3, Decision::Reject(RejectReason::NoError)),
        decide(7, amend(Some(ErrorKind::Treatment), None, None)),
        decide(5, Decision::Reject(RejectReason::HasError)),
    ]
    .into_iter()
    .collect();
    let sifted = sift(&samples, &standing, &LabelsConfig::default());
    let ids: Vec<&str> = sifted.kept.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["AE-0007-00", "AS-0007-01", "SD-0007-02", "AE-0007-04", "SD-0007-06", "SI-0007-07"]);
    assert_eq!(sifted.kept[5].label.kind(), Some(ErrorKind::Treatment));
    assert_eq!((sifted.n_corrected, sifted.excluded.len(), sifted.quarantined.len()), (1, 2, 0));
    assert_eq!(
        sifted.all().iter().map(|s| s.index).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6, 7],
        "the store remembers them all"
    );
    let reasons: Vec<(String, u32)> = sifted.reasons().into_iter().collect();
    assert_eq!(reasons, [("AS/label:has_error".to_owned(), 1), ("SI/label:no_error".to_owned(), 1)]);
    let untouched = sift(&samples, &Standing::default(), &LabelsConfig::default());
    assert!(untouched.kept.iter().zip(&samples).all(|(a, b)| Arc::ptr_eq(a, b)) && untouched.excluded.is_empty());
}

#[test]
fn a_quadrant_whose_claims_are_too_often_wrong_is_quarantined() {
    let config = LabelsConfig { quarantine_below: 0.8, quarantine_min: 10, ..LabelsConfig::default() };
    // 10 judged injections: `wrong` of them rejected. Every tenth label more says nothing.
    let standing = |wrong: u32, picked: Picked| -> Standing {
        let labels = (0..12).map(|i| {
            let sample = fixture::told_apart(Quadrant::SyntheticInjection, 1, i);
            let decision = match i {
                10.. => Decision::Unsure,
                i if i < wrong => Decision::Reject(RejectReason::NoError),
                _ => Decision::Accept,
            };
            let id = format!("l{i}");
            Entry::Label(Box::new(HandLabel { id, picked, annotator: "ann".into(), ..HandLabel::of(&sample, decision) }))
        });
        labels.collect()
    };
    let fair = Picked::Stratified;
    assert_eq!(standing(2, fair).quarantined(0.8, 10), [], "0.8 is not below 0.8");
    assert_eq!(standing(3, fair).quarantined(0.8, 10), [Quadrant::SyntheticInjection]);
    assert_eq!(standing(3, fair).quarantined(0.8, 11), [], "two of the twelve were not judged");
    assert_eq!(standing(3, fair).quarantined(0.0, 1), [], "0 turns it off");
    assert_eq!(standing(10, Picked::Disagreement).quarantined(0.8, 10), [], "samples picked for their trouble prove nothing");
    let mut bad = standing(3, fair);
    let samples = step(8);
    bad.push(label("vouched", &samples[3], Decision::Accept));
    bad.push(label("more", &samples[7], Decision::Unsure));
    let config = LabelsConfig { quarantine_below: 0.75, ..config };
    let sifted = sift(&samples, &bad, &config);
    assert_eq!(sifted.quarantined, [Quadrant::SyntheticInjection]);
    let ids: Vec<&str> = sifted.kept.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids.len(), 7, "one injection of two was vouched for: {ids:?}");
    assert_eq!(sifted.reasons().into_iter().collect::<Vec<_>>(), [("SI/label:quarantine".to_owned(), 1)]);
}

#[test]
fn the_gate_asks_for_the_same_share_every_time() {
    let samples = step(400);
    assert_eq!(asked(&samples, LabelGate::Off, 1).len(), 0);
    assert_eq!(asked(&samples, LabelGate::Ask, 1).len(), 400);
    assert_eq!(asked(&samples, LabelGate::Sample(1.0), 1).len(), 400);
    let ids = |seed| asked(&samples, LabelGate::Sample(0.25), seed).iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
    // Binomial(400, 0.25): six standard deviations are 52.
    assert!((48..=152).contains(&ids(1).len()), "{}", ids(1).len());
    let half: Vec<Arc<Sample>> = samples.iter().skip(200).cloned().collect();
    let fewer: Vec<String> = asked(&half, LabelGate::Sample(0.25), 1).iter().map(|s| s.id.clone()).collect();
    assert_eq!(ids(1).into_iter().filter(|id| fewer.contains(id)).collect::<Vec<_>>(), fewer, "whatever else is in the step");
}

#[test]
fn decisions_are_read_from_a_file_and_checked_line_by_line() {
    let signature = Signature { run: "run-1", annotator: "ann", at: 77 };
    let samples = step(4);
    let mut find = |id: &str| Ok(samples.iter().find(|s| s.id == id).map(|s| s.as_ref().clone()));
    let mut read = |text: &str| import(Path::new("d.jsonl"), text, &signature, &mut find);
    let entries = read(concat!(
        "{\"sample\": \"AE-0007-00\", \"decision\": \"accept\"}\n\n",
        "{\"sample\": \"SI-0007-03\", \"decision\": {\"reject\": \"no_error\"}, \"annotator\": \"bob\", \"remark\": \"same\"}\n",
    ))
    .unwrap();
    let [Entry::Label(first), Entry::Label(second)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((first.annotator.as_str(), first.run.as_str(), first.at, first.picked), ("ann", "run-1", 77, Picked::Imported));
    assert_eq!(
        (second.annotator.as_str(), second.remark.as_str(), second.quadrant),
        ("bob", "same", Quadrant::SyntheticInjection)
    );
    assert_eq!((&second.claim, &second.note), (&samples[3].label, &fingerprint(&samples[3].note)));

    let standing: Standing = entries.iter().enumerate().map(|(i, e)| e.clone().with_id(i.to_string())).collect();
    assert_eq!(unheard(entries.clone(), &standing), [], "the same file a second time changes nothing");
    let changed = read("{\"sample\": \"AE-0007-00\", \"decision\": \"unsure\"}").unwrap();
    assert_eq!(unheard(changed.clone(), &standing), changed);
    let whole = serde_json::to_string(&entries[0].clone().with_id("abc".into())).unwrap();
    assert_eq!(read(&whole).unwrap()[0].id(), "abc", "an entry of a label file keeps its id");

    let mut refused = |text: &str, mentions: &[&str]| {
        let message = read(text).expect_err("accepted").to_string();
        assert!(mentions.iter().all(|part| message.contains(part)), "{message:?} does not mention all of {mentions:?}");
    };
    let good = "{\"sample\": \"AE-0007-00\", \"decision\": \"accept\"}\n";
    refused(&format!("{good}{{\"sample\": \"XX\", \"decision\": \"accept\"}}"), &["d.jsonl:2", "no sample XX", "run-1"]);
    refused("{\"sample\": \"AE-0007-00\", \"decision\": \"maybe\"}", &["d.jsonl:1", "maybe", "\"accept\""]);
    refused("{\"sample\": \"AE-0007-00\"}", &["d.jsonl:1", "decision"]);
    refused("AE-0007-00 accept", &["d.jsonl:1", "expected"]);
    refused("{\"sample\": \"AE-0007-00\", \"decision\": {\"reject\": \"has_error\"}}", &["d.jsonl:1", "AE-0007-00", "reason"]);
}
