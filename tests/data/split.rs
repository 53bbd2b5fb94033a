//! Dividing a file, and what files share: a vignette never stands on two sides, no record changes or disappears.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use medserl::data::{
    DataError, Format, SplitOptions, groups, guard, load, shingles,
    split::{Split, split},
    stream::{shuffle, stream},
};
use medserl::task::{ErrorKind, Label, LabelledNote};

use super::{CLEAN, HEADER, csv, medec_dir, note, pair_line, row, write};

/// `n` vignettes sorted by error type as MEDEC sorts them; every fourth has no clean sibling.
fn vignettes(n: usize) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for at in 0..n {
        let kind = ErrorKind::ALL[at * 5 / n].medec_name();
        let first = format!("Patient {at} came {at} days ago with sign s{at} and pain p{at}, \"seen\" in week w{at}.");
        let (wrong, right) = (format!("Drug x{at} is given."), format!("Drug y{at} is given."));
        let sentences = |last: &str| format!("0 {first}\n1 {last}");
        let (text, fixed) = (format!("{first} {wrong}"), format!("{first} {right}"));
        let error =
            [&format!("t-{}", 2 * at), &text, &sentences(&wrong), "1", kind, "1", &wrong, &right, &fixed].map(str::to_owned);
        rows.push(error.to_vec());
        if at % 4 != 3 {
            let id = format!("t-{}", 2 * at + 1);
            rows.push(row(&id, &fixed, &sentences(&right), CLEAN).into_iter().map(str::to_owned).collect());
        }
    }
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
    csv(HEADER, &rows)
}

fn options(fraction: f64, seed: u64) -> SplitOptions {
    SplitOptions { fraction, seed }
}

fn notes_of(name: &str, text: &str) -> Vec<LabelledNote> {
    let (_dir, path) = write(name, text);
    load(&path).unwrap().0
}

/// The records of a CSV as the csv crate reads them, header first.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn a_split_keeps_vignettes_whole_and_loses_nothing() {
    let source = vignettes(60);
    let (_dir, path) = write("all.csv", &source);
    for seed in 0..25 {
        let fraction = 0.1 + 0.03 * seed as f64;
        let Split { train, validation, report } = split(&path, options(fraction, seed), &[]).unwrap();
        let (mut ours, mut theirs) = (records(&train), records(&source));
        assert_eq!((ours.remove(0), records(&validation)[0].clone()), (theirs[0].clone(), theirs.remove(0)));
        ours.extend(records(&validation).into_iter().skip(1));
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "seed {seed}");
        assert_eq!(train.len() + validation.len(), source.len() + HEADER.len() + 2, "byte for byte, one header more");

        let (train, validation) = (notes_of("train.csv", &train), notes_of("validation.csv", &validation));
        let named = [("train".to_owned(), train.as_slice()), ("validation".to_owned(), validation.as_slice())];
        let shared = guard::shared(&named, guard::WORTH_LISTING);
        assert!(shared.len() == 1 && !shared[0].leaks() && shared[0].notes.is_empty(), "{shared:?}");
        assert_eq!((report.train.notes, report.validation.notes), (train.len(), validation.len()));
        let wanted = fraction * 105.0;
        assert!((validation.len() as f64 - wanted).abs() <= 2.5, "seed {seed}: {} for {wanted}", validation.len());
        // The file is sorted by type; both sides have all of them in about the share asked for.
        for kind in ErrorKind::ALL {
            let n = report.validation.kinds.get(&kind).copied().unwrap_or(0);
            assert!((n as f64 - 12.0 * fraction).abs() <= 2.5, "seed {seed}: {n} of 12 {kind:?} at {fraction:.2}");
            assert_eq!(n + report.train.kinds.get(&kind).copied().unwrap_or(0), 12);
        }
        let groups = report.validation.groups;
        assert!((groups.errors_alone as f64 / groups.groups as f64 - 0.25).abs() < 0.2, "{groups:?}");
    }
    let ids = |seed| notes_of("v.csv", &split(&path, options(0.3, seed), &[]).unwrap().validation);
    assert_eq!(ids(1), ids(1), "the seed decides");
    assert_ne!(ids(1), ids(2));
}

#[test]
fn a_split_copies_lines_columns_and_marks_it_does_not_know() {
    let odd = format!("\u{FEFF}{HEADER},Extra\n\nv-0,\"a, b\",0 a,0,NA,-1,NA,NA,NA,\"x\ny\"\n\nv-1,c,0 c,0,NA,-1,NA,NA,NA,z");
    let (_dir, path) = write("odd.csv", &odd);
    let Split { train, validation, .. } = split(&path, options(0.5, 1), &[]).unwrap();
    let mut both = [train, validation];
    both.sort_by_key(|text| std::cmp::Reverse(text.len()));
    assert_eq!(both[0], format!("{HEADER},Extra\nv-0,\"a, b\",0 a,0,NA,-1,NA,NA,NA,\"x\ny\"\n"));
    assert_eq!(both[1], format!("{HEADER},Extra\nv-1,c,0 c,0,NA,-1,NA,NA,NA,z\n"));
}

#[test]
fn pairs_files_are_divided_by_lines() {
    let line = |at: usize| {
        let (wrong, right) = (format!("Drug w{at} is given."), format!("Drug r{at} is given."));
        pair_line(&format!("p-{at}"), &format!("Sign {at} seen. {wrong}"), &format!("Sign {at} seen. {right}"), &wrong, &right)
    };
    let unfit = pair_line("unfit", "One is.", "Good is.", "Bad is.", "Good is.");
    let source: String = (0..20).map(line).chain([unfit]).collect();
    let (_dir, path) = write("pairs.jsonl", &source);
    let Split { train, validation, report } = split(&path, options(0.25, 3), &[]).unwrap();
    let lines: BTreeSet<&str> = train.lines().chain(validation.lines()).collect();
    assert_eq!((lines.len(), validation.lines().count()), (20, 5));
    assert!(lines.iter().all(|line| source.contains(line)));
    assert_eq!((report.skipped.len(), report.skipped[0].id.as_str()), (1, "unfit"));
    assert!(report.lines().iter().any(|line| line.contains("line 21: unfit")), "{:?}", report.lines());
}

#[test]
fn a_split_refuses_what_it_must_not_divide() {
    let refused = |name: &str, text: &str, options: SplitOptions| {
        let (_dir, path) = write(name, text);
        split(&path, options, &[]).expect_err("accepted")
    };
    let source = vignettes(8);
    let test = refused("mine.csv", &source.replace("t-", "ms-test-"), options(0.5, 1));
    assert!(matches!(test, DataError::TestSplit { .. }), "{test}");
    let test = refused("MEDEC-MS-TestSet.csv", &source, options(0.5, 1));
    assert!(matches!(test, DataError::TestSplit { .. }), "{test}");
    let broken = refused("mine.csv", &vignettes(20).replacen("\"treatment\"", "\"astrology\"", 2), options(0.5, 1));
    assert!(broken.to_string().contains("1 more rows"), "{broken}");
    let small = refused("mine.csv", &vignettes(1), options(0.5, 1));
    assert!(matches!(small, DataError::TooFewGroups { groups: 1, .. }), "{small}");
    assert!(matches!(Format::of(Path::new("x.tsv")), Err(DataError::UnknownFormat { .. })));
}

#[test]
fn vignettes_of_another_file_stay_out_of_both_sides() {
    let (_dir, path) = write("all.csv", vignettes(12));
    let all = load(&path).unwrap().0;
    let apart: Vec<LabelledNote> = all.iter().filter(|n| n.note.id == "t-5").cloned().collect();
    let renamed: Vec<LabelledNote> = apart
        .iter()
        .map(|n| LabelledNote {
            note: medserl::task::Note { id: "other".into(), group: "other".into(), ..n.note.clone() },
            ..n.clone()
        })
        .collect();
    for apart in [apart, renamed] {
        let Split { train, validation, report } = split(&path, options(0.5, 1), &apart).unwrap();
        let removed: Vec<&str> = report.removed.iter().map(|o| o.train.as_str()).collect();
        assert_eq!(removed, ["t-4", "t-5"], "the sibling goes too");
        assert!(!train.contains("t-5") && !validation.contains("t-5") && !train.contains("t-4") && !validation.contains("t-4"));
        assert_eq!(report.train.notes + report.validation.notes, all.len() - 2);
    }
}

#[test]
fn groups_survive_a_shuffle_of_the_rows() {
    let (_dir, path) = write("all.csv", vignettes(40));
    let (sorted, report) = load(&path).unwrap();
    assert_eq!((report.groups.pairs, report.groups.errors_alone), (30, 10));
    let by_group = |notes: &[LabelledNote]| {
        let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for n in notes {
            groups.entry(n.note.group.clone()).or_default().insert(n.note.id.clone());
        }
        groups.into_values().collect::<BTreeSet<_>>()
    };
    for seed in 0..10 {
        let mut notes = sorted.clone();
        shuffle(&mut stream(seed, "test", 0, 0), &mut notes);
        groups::assign(&mut notes, groups::SIBLING_SIMILARITY);
        assert_eq!(by_group(&notes), by_group(&sorted), "seed {seed}");
    }
}

#[test]
fn shared_notes_of_any_two_files_are_listed() {
    let texts = |n: u32| format!("Patient {n} came on day {n} with sign {n} and pain {n} since week {n} began.");
    let make = |id: &str, n: u32| note(id, id, &[&texts(n), "The plan is made and followed."], Label::Clean);
    let (a, b, c) = (vec![make("a1", 1), make("a2", 2)], vec![make("b2", 2), make("b3", 3)], vec![make("a1", 9)]);
    let files = [("a".to_owned(), a.as_slice()), ("b".to_owned(), b.as_slice()), ("c".to_owned(), c.as_slice())];
    let shared = guard::shared(&files, 0.4);
    let named: Vec<(&str, &str, bool)> = shared.iter().map(|s| (s.first.as_str(), s.second.as_str(), s.leaks())).collect();
    assert_eq!(named, [("a", "b", true), ("a", "c", true), ("b", "c", false)]);
    assert_eq!(shared[0].notes, [("a2".to_owned(), "b2".to_owned(), 1.0)]);
    assert_eq!((shared[1].groups.as_slice(), shared[1].notes.len()), (&["a1".to_owned()][..], 0));
}

#[test]
fn nearest_and_neighbouring_notes() {
    let make = |id: &str, words: &str| note(id, id, &[words], Label::Clean);
    let train = [make("t0", "a b c d e f g"), make("t1", "a b c d e x y"), make("t2", "p q r s t u v")];
    let notes = [make("n0", "a b c d e x z"), make("n1", "a b c d e"), make("n2", "no word of these is there"), make("n3", "")];
    let found: Vec<Option<usize>> = shingles::nearest(&notes, &train).into_iter().map(|f| f.map(|(at, _)| at)).collect();
    assert_eq!(found, [Some(1), Some(0), None, None], "of equals the first");
    assert_eq!(shingles::like_next(&[train[0].clone(), train[0].clone(), train[2].clone()], 0.5), [true, false, false]);
    assert_eq!(shingles::like_next(&[], 0.5), Vec::<bool>::new());
}

#[test]
fn the_real_files_divide_without_a_leak() {
    let Some(dir) = medec_dir() else { return };
    let validation = dir.join("MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv");
    let held_out = load(&validation).unwrap().0;
    let Split { train, validation, report } = split(&validation, options(0.2, 1), &[]).unwrap();
    assert_eq!((report.train.groups.pairs + report.validation.groups.pairs, report.removed.len()), (255, 0));
    let (a, b) = (notes_of("a.csv", &train), notes_of("b.csv", &validation));
    assert_eq!(a.len() + b.len(), 574);
    assert!(!guard::shared(&[("a".into(), &a), ("b".into(), &b)], 0.4)[0].leaks());
    let report = split(&dir.join("train-pairs.jsonl"), options(0.1, 1), &held_out).unwrap().report;
    let removed: Vec<&str> = report.removed.iter().map(|o| o.train.as_str()).collect();
    assert_eq!(removed, ["ms-train-1980", "ms-train-1980-corrected"]);
    assert_eq!(report.train.notes + report.validation.notes, 2436);
}
