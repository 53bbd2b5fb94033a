//! Real errors through the injection gates: what is counted, on a handful of error notes written here.

use medserl::clinic::{self, Split};
use medserl::config::ScribeConfig;
use medserl::scribe::Lexicon;
use medserl::scribe::calibrate::{Calibration, calibrate};
use medserl::task::{ErrorKind, Label, LabelledNote};

use super::note;

fn error(id: &str, kind: ErrorKind, wrong: &str, right: &str) -> LabelledNote {
    let mut note =
        note(&[(0, "A 40-year-old woman comes to the clinic because of fever and chills for three days now."), (3, wrong)]);
    (note.id, note.group) = (id.into(), id.into());
    LabelledNote { note, label: Label::Error { kind, sentence: 3, correction: right.into() } }
}

fn of(errors: &[LabelledNote]) -> Calibration {
    calibrate(errors, &ScribeConfig::default(), Lexicon::standard())
}

#[test]
fn real_errors_are_counted_by_gate_kind_and_rarity() {
    use ErrorKind::*;
    let errors = [
        error("a", Pharmacotherapy, "Ceftriaxone was prescribed.", "Vancomycin was prescribed."),
        error("b", Pharmacotherapy, "Ceftriaxone was started.", "Vancomycin was started."),
        error("c", Diagnosis, "She has HTN.", "She has hypertension."),
        error("d", Diagnosis, "She denies pain in the right arm.", "She reports pain in the left arm."),
        error(
            "e",
            Management,
            "Biopsy is done.",
            "Cefotaxime and fluids, then rest, were chosen after a long talk with her and the whole family.",
        ),
    ];
    let found = of(&errors);
    assert_eq!((found.all.pairs, found.all.passed), (5, 3));
    assert_eq!(found.kinds["Pharmacotherapy"].passed, 2);
    assert_eq!((found.kinds["Diagnosis"].pairs, found.kinds["Diagnosis"].passed), (2, 1));
    let refused: Vec<(&str, Vec<&str>)> =
        found.refused.iter().map(|r| (r.id.as_str(), r.gates.keys().map(String::as_str).collect())).collect();
    assert_eq!(refused, [("c", vec!["synonym"]), ("e", vec!["edit-budget", "length-ratio"])]);
    assert_eq!((found.gates["synonym"].tried, found.gates["synonym"].refused, found.gates["synonym"].alone), (5, 1, 1));
    assert_eq!((found.rare.get("negation"), found.rare.get("laterality"), found.rare.get("number")), (Some(&1), Some(&1), None));
    // a and b exchange the same drugs.
    assert_eq!((found.same_elsewhere, found.alike_elsewhere), (2, 2));
    assert!(found.length_ratio.least < 0.7 && found.word_edits.most > 12.0 && found.word_edits.p50 >= 1.0);
    assert!(found.lines()[0].contains("3 of 5 (60.00 %)"), "{:?}", found.lines());
}

#[test]
fn what_cannot_be_a_pair_is_left_out() {
    let clean = LabelledNote { note: note(&[(0, "She is well.")]), label: Label::Clean };
    let mut lost = error("x", ErrorKind::Diagnosis, "She has gout.", "She has malaria.");
    lost.label = Label::Error { kind: ErrorKind::Diagnosis, sentence: 9, correction: "She has malaria.".into() };
    let same = error("y", ErrorKind::Diagnosis, "She has  gout.", "She has  gout.");
    assert_eq!(of(&[clean, lost, same]), Calibration::default());
    assert!((Calibration::default().all.value() - 1.0).abs() < 1e-12);
    // A word that stands elsewhere too is told apart by its neighbours; a sentence of one word is taken whole.
    let found = of(&[
        error("z", ErrorKind::Diagnosis, "Chills, not fever.", "Fever, not chills."),
        error("w", ErrorKind::Diagnosis, "Gout.", "Malaria."),
    ]);
    assert_eq!(found.all.pairs, 2);
    assert!(found.refused.iter().all(|r| !r.gates.contains_key("old-repeated")), "{:?}", found.refused);
}

#[test]
fn most_errors_of_the_demo_clinic_pass() {
    let errors: Vec<LabelledNote> = clinic::pairs(Split::Train, 1, 400).into_iter().map(|v| v.error).collect();
    let found = of(&errors);
    assert_eq!(found.all.pairs, 400);
    assert!(found.all.value() >= 0.95, "{:#?}", found.lines());
}
