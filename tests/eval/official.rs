//! What the official script hides or stumbles over: raw test files, odd flags, backslashes, and the scores beside its own.

use std::path::Path;

use medserl::{
    data::{self, LoadOptions},
    eval::{PUBLISHED, Rate, Reference, Scores, Submission, published, score},
    task::{ErrorKind::Treatment, Label, LabelledNote, Verdict},
};

use super::{close, note, reference, shared};

const HEADER: &str =
    "Text ID,Text,Sentences,Error Flag,Error Type,Error Sentence ID,Error Sentence,Corrected Sentence,Corrected Text\n";

/// As MEDEC's test file is shipped: 597 notes and 328 rows without anything, which turn every flag into a float.
fn raw_test_file() -> (String, String) {
    let (mut csv, mut perfect) = (HEADER.to_owned(), String::new());
    for at in 0..597 {
        if at % 2 == 0 {
            csv += &format!("ms-test-{at},a b{at}.,\"0 a\n1 b{at}.\",1.0,treatment,1.0,b{at}.,Take c{at} twice.,a c{at}.\n");
            perfect += &format!("ms-test-{at} 1 1 \"Take c{at} twice.\"\n");
        } else {
            csv += &format!("ms-test-{at},a b{at}.,\"0 a\n1 b{at}.\",0.0,NA,-1.0,NA,NA,NA\n");
            perfect += &format!("ms-test-{at} 0 -1 NA\n");
        }
    }
    (csv + &",,,,,,,,\n".repeat(328), perfect)
}

#[test]
fn a_perfect_submission_to_the_raw_test_file_is_perfect() {
    let (csv, perfect) = raw_test_file();
    assert_eq!(csv.matches('\n').count(), 1 + 2 * 597 + 328);
    let scores = score(&reference(&csv), &Submission::parse(&perfect));
    assert!(close(scores.flag_accuracy, 1.0) && close(scores.sentence_accuracy, 1.0) && scores.rouge_1.composite > 0.999);
    assert_eq!((scores.counters.total_texts, scores.counters.scored_pairs, scores.counters.spans_right), (597, 299, 299));
    assert_eq!((scores.reference_empty_rows, scores.reference_odd_flags), (328, 597));
    let warnings = scores.warnings().join("\n");
    assert!(warnings.contains("spelt 1.0 or True, read as 0 and 1: 597") && warnings.contains("left out: 328"), "{warnings}");
    // The loader reads the same file to the same notes.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("MEDEC-MS-TestSet.csv");
    std::fs::write(&path, &csv).unwrap();
    let (notes, report) = data::load(&path).unwrap();
    assert_eq!((notes.len(), report.records, report.skipped_empty), (597, 925, 328));
    let beside = Scores::of(&Submission::parse(&perfect).grade(&notes));
    assert!(close(beside.flag_accuracy, 1.0) && close(beside.sentence_accuracy, 1.0) && beside.malformed_rate == 0.0);
    assert!(data::guard::refuse_test(&path, &notes).is_err());
}

#[test]
fn what_stops_or_misleads_the_official_script_is_reported() {
    let csv = HEADER.to_owned()
        + "n-0,x,0 x,1,treatment,0,Give a,Give b,x\nn-1,x,0 x,0,NA,-1,NA,NA,NA\nn-2,x,0 x,1,treatment,0,Give c,Give d,x\n";
    let text = "n-0 1 0 \"Give \\g<1> b\"\nn-1 0.0 -1 NA\nn-2 1.0 0 \"Give d\"\nn-2 yes 0 x\nn-2 1 zero x\nN-2 1 0 x\nn-2 1\n";
    let scores = score(&reference(&csv), &Submission::parse(text));
    assert_eq!((scores.backslashes.as_slice(), scores.bad_lines.len()), (&["n-0".to_owned()][..], 6));
    assert!(close(scores.flag_accuracy, 1.0 / 3.0) && scores.missing == ["n-1", "n-2"]);
    let f = scores.rouge_1.subset.unwrap();
    assert!(f > 0.7 && f < 1.0, "the backslash is a word like any other: {f}");
    let reasons: Vec<&str> = scores.bad_lines.iter().map(|bad| bad.why.as_str()).collect();
    let parts = ["float", "float", "not 0 or 1", "whole number", "lower-case", "four fields"];
    assert!(reasons.iter().zip(parts).all(|(reason, part)| reason.contains(part)), "{reasons:?}");
    let warnings = scores.warnings().join("\n");
    for part in ["n-0", "backslash", "line 2: the flag is a float", "counted as wrong: 2"] {
        assert!(warnings.contains(part), "{part} in {warnings}");
    }
    let lines = scores.lines().join("\n");
    let missing = scores.not_computed();
    assert!(missing.len() == 3 && missing.iter().all(|n| lines.contains(&format!("{:<18} not computed", n.metric))), "{lines}");
    assert!(lines.contains("BLEURT"));
}

fn treatment() -> Label {
    Label::Error { kind: Treatment, sentence: 1, correction: "Sentence two now.".to_owned() }
}

#[test]
fn a_submission_is_graded_by_the_rules_of_the_official_script() {
    let notes: Vec<LabelledNote> = [
        ("a", "g", treatment()),
        ("b", "g", Label::Clean),
        ("c", "h", treatment()),
        ("d", "h", Label::Clean),
        ("e", "i", treatment()),
        ("f", "j", treatment()),
    ]
    .map(|(id, group, label)| note(id, group, label))
    .into();
    let text = "a 1 1 \"Sentence 1.\"\nb 0 5 NA\nc 0 1 NA\nd 1 -1 NA\ne 1 2 \"Sentence two now.\"\n";
    let graded = Submission::parse(text).grade(&notes);
    let scores = Scores::of(&graded);
    let official = score(&Reference::of_notes(&notes), &Submission::parse(text));
    assert!(close(scores.flag_accuracy, official.flag_accuracy) && close(scores.flag_accuracy, 3.0 / 6.0));
    assert!(close(scores.sentence_accuracy, official.sentence_accuracy) && close(scores.sentence_accuracy, 3.0 / 6.0));
    assert_eq!((scores.pairs.right, scores.pairs.inverted, scores.n_pairs), (1, 1, 2));
    assert!(close(scores.malformed_rate, 1.0 / 6.0) && close(scores.false_negative_rate, 1.0 / 4.0));
    // No type is named, so none is right and none is counted.
    assert_eq!((scores.rate(Rate::TypeAccuracy).1, scores.type_accuracy, scores.untyped), (0, 0.0, true));
    let recall = scores.per_type_recall[&Treatment];
    assert_eq!((recall.flagged, recall.n_notes, recall.right_type), (2, 4, 0));
    assert!(scores.lines().iter().any(|line| line.starts_with("recall Treatment") && line.ends_with("2 of 4")));
    // One of the two corrections repeats the error sentence and gains nothing.
    let c = scores.corrections;
    assert_eq!((c.n_scored, c.no_op_rate, c.span_accuracy), (2, 0.5, 0.5));
    let no_op = official.rouge_1.no_op.unwrap();
    assert!(
        close(c.rouge_1, official.rouge_1.subset.unwrap())
            && close(c.gain_over_no_op, c.rouge_1 - no_op)
            && c.gain_over_no_op > 0.2
    );
    assert_eq!((official.counters.no_ops, official.counters.spans_right), (1, 1));
    assert!(graded.iter().all(|one| one.untyped) && graded[5].verdict.flag().is_none());
}

/// Corrections of a completion count wherever they point; edits are compared without case or punctuation at the ends.
#[test]
fn corrections_are_compared_by_their_edit() {
    use medserl::eval::corrections::score as of;
    let (wrong, truth) = ("Drug A is given at once.", "Drug B is given at once.");
    let spans = |correction: &str| of(correction, truth, Some(wrong)).unwrap().span_right;
    assert!(spans("Drug B is given at once.") && spans("drug b is given at once"));
    assert!(!spans("Drug C is given at once.") && !spans("Drug B is given twice.") && !spans(wrong));
    assert!(!spans("B is given."), "the rest of the sentence must stand");
    assert!(
        of(wrong, truth, Some(wrong)).unwrap().unchanged
            && of(wrong, truth, Some("Drug A  is given at once. ")).unwrap().unchanged
    );
    let unknown = of(wrong, truth, None).unwrap();
    assert!(!unknown.unchanged && unknown.no_op.is_none() && unknown.rouge_1 > 0.5);
    assert!(of("...", truth, Some(wrong)).is_none());
}

#[test]
fn scores_kept_before_new_fields_existed_still_read() {
    let old = r#"{"n_notes":2,"n_error":1,"n_clean":1,"n_pairs":1,"flag_accuracy":0.5,"false_positive_rate":0.0,
        "false_negative_rate":1.0,"malformed_rate":0.0,"sentence_accuracy":0.5,"type_accuracy":0.0,"pair_accuracy":0.0,
        "pairs":{"right":0,"inverted":0,"both_clean":1,"both_error":0,"unread":0},
        "per_type_recall":{"treatment":{"n_notes":1,"flagged":0,"right_type":0}},"mean_words":10.0,
        "intervals":{"flag_accuracy":{"low":0.1,"high":0.9}}}"#;
    let scores: Scores = serde_json::from_str(old).unwrap();
    assert_eq!((scores.n_notes, scores.corrections.n_scored, scores.untyped), (2, 0, false));
    assert!(scores.lines().iter().any(|line| line.starts_with("corrections") && line.ends_with("n/a")));
    let graded = r#"{"id":"a","group":"g","label":{"is":"clean"},"verdict":{"is":"clean"},"n_words":3}"#;
    let graded: medserl::eval::Graded = serde_json::from_str(graded).unwrap();
    assert!(graded.verdict == Verdict::Clean && !graded.untyped && graded.sentence_right());
}

#[test]
fn published_results_have_a_scope_and_a_source() {
    assert!(PUBLISHED.len() >= 12);
    for row in PUBLISHED {
        assert!(
            !row.scope.is_empty() && !row.source.is_empty() && (row.flag_accuracy.is_some() || !row.other.is_empty()),
            "{row:?}"
        );
        assert!(row.flag_accuracy.is_none_or(|percent| (30.0..90.0).contains(&percent)), "{row:?}");
    }
    let lines = published::lines();
    assert_eq!(lines.len(), 1 + PUBLISHED.len() + published::NOTES.len());
    assert!(lines.iter().any(|line| line.contains("medgemma-4b-it") && line.contains("50.90")), "{lines:?}");
}

/// The scores beside the official ones agree with them where they overlap, on every shared submission.
#[test]
fn scores_beside_the_official_ones_agree_with_them() {
    let Some(root) = shared() else { return };
    let csv = root.join("medec/MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv");
    let raw = Reference::read(&csv).unwrap();
    let (rows, _) = data::load_medec_with(&csv, LoadOptions { repair: false }).unwrap();
    let notes: Vec<LabelledNote> = rows.into_iter().map(|row| row.labelled).collect();
    for name in ["all-zero", "baseline-run-1", "noisy", "oracle"] {
        let submission = Submission::read(&root.join(format!("peers/medec-metrics/{name}.txt"))).unwrap();
        let (official, scores) = (score(&raw, &submission), Scores::of(&submission.grade(&notes)));
        assert!(close(official.flag_accuracy, scores.flag_accuracy), "{name}");
        assert!(close(official.sentence_accuracy, scores.sentence_accuracy), "{name}");
        let (counters, c) = (official.counters, scores.corrections);
        assert_eq!(counters.scored_pairs, c.n_scored, "{name}");
        assert!((counters.no_ops as f64 - c.no_op_rate * c.n_scored as f64).abs() < 1e-9, "{name}: {} {c:?}", counters.no_ops);
        // Trimmed texts lose the empty word that a trailing blank is to the official ROUGE.
        assert!((official.rouge_1.subset.unwrap_or(0.0) - c.rouge_1).abs() < 0.005, "{name}");
    }
    let missing = Reference::read(Path::new("/nowhere.csv")).unwrap_err().to_string();
    assert!(missing.contains("/nowhere.csv"));
}
