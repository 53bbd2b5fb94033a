//! Before against after, and the policies that know no medicine but read the file.

use std::path::PathBuf;

use medserl::{
    data::{self, SIBLING_SIMILARITY, shingles},
    eval::{
        CompareError, Graded, Rate, Scores, Unmatched, baselines, bootstrap, bootstrap_difference, compare, nearest_note,
        neighbour_rule, read_side, tallies,
    },
    task::{
        ErrorKind::{CausalOrganism, Diagnosis, Treatment},
        Label, LabelledNote, Verdict,
    },
};

use super::{UNREAD, claim, close, note, pair, shared, truth};

/// 60 pairs of which `right` are read rightly, the others with both flags wrong.
fn side(right: usize) -> Vec<Graded> {
    let outcome = |at: usize| match at < right {
        true => pair(&format!("g{at:02}"), claim(Treatment, 1), Verdict::Clean),
        false => pair(&format!("g{at:02}"), Verdict::Clean, claim(Treatment, 1)),
    };
    (0..60).flat_map(outcome).collect()
}

#[test]
fn a_comparison_counts_wins_losses_and_differences() {
    let (before, after) = (side(20), side(45));
    let found = compare(&before, &after, 1).unwrap();
    assert_eq!((found.flags.won, found.flags.lost, found.flags.both_right, found.flags.both_wrong), (50, 0, 40, 30));
    assert!((found.flags.p_value - 2.0_f64.powi(-49)).abs() < 1e-18);
    let pairs = found.differences[&Rate::PairAccuracy];
    assert!(close(pairs.before, 20.0 / 60.0) && close(pairs.after, 45.0 / 60.0) && pairs.n == 60);
    let interval = pairs.interval.unwrap();
    // Of 60 pairs 25 change, all for the better: 0.417 with a standard error of 0.064.
    assert!((interval.low - 0.29).abs() < 0.03 && (interval.high - 0.54).abs() < 0.03, "{interval}");
    assert_eq!(found, compare(&before, &after, 1).unwrap());
    assert_eq!(found.before, Scores::with_intervals(&before, 1));
    let lines = found.lines();
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("pair accuracy") && line.contains("33.3    75.0   +41.7")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("flags") && line.contains("won 50, lost 0")), "{lines:?}");
    let back: medserl::eval::Comparison = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!(back.flags, found.flags);
}

/// What both sides share must cancel: nothing changed, so the difference is exactly nothing, however uncertain each side is.
#[test]
fn a_paired_interval_is_narrower_than_the_two_alone() {
    let same = tallies(&side(30));
    let none = bootstrap_difference(&same, &same, Rate::FlagAccuracy, 4, 500).unwrap();
    assert_eq!((none.low, none.high), (0.0, 0.0));
    let alone = bootstrap(&same, Rate::FlagAccuracy, 4, 500).unwrap();
    assert!(alone.high - alone.low > 0.15);
    let one_more = tallies(&side(31));
    let little = bootstrap_difference(&same, &one_more, Rate::FlagAccuracy, 4, 500).unwrap();
    assert!(little.low >= 0.0 && little.high < 0.08, "{little}");
    assert!(bootstrap_difference(&same, &same[1..], Rate::FlagAccuracy, 4, 500).is_none());
}

#[test]
fn sides_that_cannot_be_compared_are_named() {
    let (before, mut after) = (side(3), side(4));
    assert!(matches!(compare(&before, &after[1..], 1), Err(CompareError::Unmatched(Unmatched::OneSided(_)))));
    after[0].label = Label::Clean;
    let error = compare(&before, &after, 1).unwrap_err();
    assert!(matches!(&error, CompareError::Unmatched(Unmatched::Relabelled(id)) if id == "g00-error"), "{error}");
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn sides_are_graded_files_or_submissions() {
    let graded = side(2);
    let lines: String = graded.iter().map(|one| serde_json::to_string(one).unwrap() + "\n\n").collect();
    let (_dir, path) = file("graded.jsonl", &lines);
    assert_eq!(read_side(&path, None).unwrap(), graded);

    let notes: Vec<LabelledNote> = vec![note("a", "g", truth(Treatment)), note("b", "g", Label::Clean)];
    let (_dir, path) = file("run.txt", "a 1 1 \"Right.\"\n");
    let read = read_side(&path, Some(&notes)).unwrap();
    assert_eq!((read.len(), read[0].flag_right(), read[1].verdict.flag()), (2, true, None));
    assert!(read_side(&path, None).unwrap_err().to_string().contains("--reference"));

    let (_dir, path) = file("bad.jsonl", &format!("{}\n{{\"id\": 3}}\n", serde_json::to_string(&graded[0]).unwrap()));
    let error = read_side(&path, None).unwrap_err().to_string();
    assert!(error.contains("bad.jsonl:2") && error.contains("--graded"), "{error}");
    assert!(read_side(&PathBuf::from("/nowhere"), None).unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn the_neighbour_rule_reads_the_order_of_the_file() {
    // MEDEC's order: an error, its clean sibling, an error alone, an error and its sibling.
    let notes: Vec<LabelledNote> = [
        ("a", "g", truth(Diagnosis)),
        ("b", "g", Label::Clean),
        ("c", "h", truth(Diagnosis)),
        ("d", "i", truth(Treatment)),
        ("e", "i", Label::Clean),
    ]
    .map(|(id, group, label)| note(id, group, label))
    .into();
    let row = neighbour_rule(&notes, &[true, false, false, true, false]);
    assert!(close(row.scores.flag_accuracy, 1.0) && close(row.scores.pair_accuracy, 1.0), "{row:?}");
    assert!(close(row.scores.sentence_accuracy, 2.0 / 5.0) && close(row.scores.type_accuracy, 2.0 / 3.0));
    // Without the order it knows nothing, and calls everything an error.
    let blind = neighbour_rule(&notes, &[false; 5]);
    assert!(close(blind.scores.false_positive_rate, 1.0) && close(blind.scores.false_negative_rate, 0.0));
    assert!(row.line().contains("flag 100.0 %") && row.line().contains("pairs 100.0 %"), "{}", row.line());
}

#[test]
fn the_nearest_training_note_gives_its_label() {
    let notes = [note("a", "g", truth(Treatment)), note("b", "g", Label::Clean), note("c", "h", truth(Diagnosis))];
    let train = [note("t", "t", truth(CausalOrganism)), note("u", "u", Label::Clean), note("v", "v", truth(Diagnosis))];
    let row = nearest_note(&notes, &[Some(&train[0].label), Some(&train[1].label), None], &train);
    assert!(close(row.scores.flag_accuracy, 1.0), "what is like nothing is called what most training notes are: {row:?}");
    // Types: causal organism for treatment, then of diagnosis and causal organism, one each, the first.
    assert!(close(row.scores.type_accuracy, 0.5), "{row:?}");
    let clean = nearest_note(&notes, &[None, None, None], &train[1..2]);
    assert!(close(clean.scores.false_positive_rate, 0.0) && close(clean.scores.false_negative_rate, 1.0));
}

/// The figures of the research note on the real file, from the texts alone.
#[test]
fn trivial_policies_on_the_real_validation_notes() {
    let Some(root) = shared() else { return };
    let path = root.join("medec/MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv");
    let (notes, _) = data::load(&path).unwrap();
    let [clean, error]: [_; 2] = baselines(&notes).try_into().unwrap();
    assert!(close(clean.scores.flag_accuracy, 255.0 / 574.0) && close(clean.scores.sentence_accuracy, 255.0 / 574.0));
    assert!(close(error.scores.flag_accuracy, 319.0 / 574.0) && close(error.scores.sentence_accuracy, 197.0 / 574.0));
    let leak = neighbour_rule(&notes, &shingles::like_next(&notes, SIBLING_SIMILARITY));
    assert!(close(leak.scores.flag_accuracy, 1.0) && close(leak.scores.pair_accuracy, 1.0));
    let (train, _) = data::load(&root.join("medec/train-pairs.jsonl")).unwrap();
    let nearest: Vec<Option<&Label>> =
        shingles::nearest(&notes, &train).into_iter().map(|found| found.map(|(at, _)| &train[at].label)).collect();
    let row = nearest_note(&notes, &nearest, &train);
    assert!((0.45..0.60).contains(&row.scores.flag_accuracy), "other vignettes give nothing away: {row:?}");
    assert!(read_side(&path, Some(&notes)).is_ok_and(|side| side.iter().all(|one| one.verdict == UNREAD_LINE)));
    assert_ne!(UNREAD, UNREAD_LINE);
}

const UNREAD_LINE: Verdict = Verdict::Malformed { why: medserl::task::verdict::Malformation::MissingVerdict };
