//! MEDEC files: every quirk of the format on small fixtures, then the published counts on the real files where they are at hand.

mod robust;
mod split;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use medserl::data::guard::{OverlapReason, SAME_VIGNETTE, refuse_test, separate};
use medserl::data::repair::{Cell, is_broken, repair};
use medserl::data::{
    DataError, LoadOptions, LoadReport, Pools, Relation, groups, load, load_medec, load_medec_with, load_pairs, near_duplicates,
    sentences,
};
use medserl::task::{ErrorKind, Label, LabelledNote, Note, Sentence};

const HEADER: &str =
    "Text ID,Text,Sentences,Error Flag,Error Type,Error Sentence ID,Error Sentence,Corrected Sentence,Corrected Text";
const CLEAN: [&str; 6] = ["0", "NA", "-1", "NA", "NA", "NA"];

fn write(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn csv(header: &str, rows: &[Vec<&str>]) -> String {
    let quote = |field: &&str| format!("\"{}\"", field.replace('"', "\"\""));
    let lines = rows.iter().map(|row| row.iter().map(quote).collect::<Vec<_>>().join(","));
    std::iter::once(header.to_owned()).chain(lines).map(|line| line + "\r\n").collect()
}

fn row<'a>(id: &'a str, text: &'a str, sentences: &'a str, rest: [&'a str; 6]) -> Vec<&'a str> {
    [vec![id, text, sentences], rest.to_vec()].concat()
}

fn medec_dir() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/medec");
    let dir = std::env::var_os("MEDSERL_MEDEC").map_or(beside, PathBuf::from);
    dir.is_dir().then_some(dir)
}

fn note(id: &str, group: &str, texts: &[&str], label: Label) -> LabelledNote {
    let sentences = (0u32..).zip(texts).map(|(id, text)| Sentence { id, text: (*text).to_owned() }).collect();
    LabelledNote { note: Note { id: id.into(), group: group.into(), sentences }, label }
}

/// `n` groups, each an error note and its clean sibling.
fn paired(n: usize) -> Vec<LabelledNote> {
    let pair = |at: usize| {
        let (group, first) = (format!("g{at}"), format!("Patient {at} has sign s{at}."));
        let (wrong, right) = (format!("Drug w{at} is given at once."), format!("Drug r{at} is given at once."));
        let label = Label::Error { kind: ErrorKind::Treatment, sentence: 1, correction: right.clone() };
        [
            note(&format!("e{at}"), &group, &[&first, &wrong], label),
            note(&format!("c{at}"), &group, &[&first, &right], Label::Clean),
        ]
    };
    (0..n).flat_map(pair).collect()
}

#[test]
fn reads_every_quirk_of_the_csv() {
    let columns = "0 A man is seen.\n\n1 The pressure is\n120/70 mm\r\n2 Hg, with \"dry\" cough.\n3 Giardia is found.\n";
    let text = "A man is seen. The pressure is 120/70 mm Hg, with \"dry\" cough. Giardia is found. \n";
    let right = "A man is seen. The pressure is 120/70 mm Hg, with \"dry\" cough. Pinworm is found. \n";
    let rows = vec![
        row("ms-val-0", text, columns, ["1.0", "Causal organism", "3.0", "Giardia is found.", " Pinworm is\nfound. ", right]),
        vec![""; 9],
        row(
            "ms-val-1",
            right,
            "0 A man is seen.\n1 The pressure is 120/70 mm Hg, with \"dry\" cough.\n2 Pinworm is found.",
            CLEAN,
        ),
        row("ms-val-2", "Fine.", "0 Fine.", ["False", "nan", "-1.0", "", "NaN", "na"]),
        row("ms-val-3", "Bad.", "0 Bad.", ["TRUE", "DIAGNOSIS", "0", "Bad.", "Good.", "Good."]),
        vec![" "; 9],
    ];
    // A blank line, records ending in LF among CRLF, and an empty record with fewer fields are all in the wild.
    let file = format!("\u{FEFF}{}\n,,,\n", csv(HEADER, &rows));
    let (_dir, path) = write("val.csv", &file);
    let (rows, report) = load_medec(&path).unwrap();

    let ids: Vec<&str> = rows.iter().map(|r| r.labelled.note.id.as_str()).collect();
    assert_eq!(ids, ["ms-val-0", "ms-val-1", "ms-val-2", "ms-val-3"]);
    assert_eq!((report.records, report.skipped_empty, report.notes, report.errors, report.cleans), (7, 3, 4, 2, 2));
    assert_eq!(report.kinds, BTreeMap::from([(ErrorKind::CausalOrganism, 1), (ErrorKind::Diagnosis, 1)]));
    assert_eq!(report.violations, []);
    assert_eq!(report.blake3, blake3::hash(file.as_bytes()).to_hex().to_string());
    assert_eq!((report.sentences.total, report.sentences.fewest, report.sentences.most, report.sentences.folded), (9, 1, 4, 1));

    let first = &rows[0];
    assert_eq!(first.raw.text, text, "raw text is kept byte for byte");
    assert_eq!(first.raw.sentences, columns);
    assert_eq!(first.raw.error_flag, "1.0");
    let expected = Label::Error { kind: ErrorKind::CausalOrganism, sentence: 3, correction: "Pinworm is found.".into() };
    assert_eq!(first.labelled.label, expected);
    assert_eq!(first.labelled.note.sentence(1).unwrap().text, "The pressure is 120/70 mm");
    assert_eq!(rows[2].labelled.label, Label::Clean);
    assert_eq!(first.labelled.note.group, rows[1].labelled.note.group);
    assert_eq!((report.groups.groups, report.groups.pairs, report.groups.errors_alone, report.groups.cleans_alone), (3, 1, 1, 1));
    let lines = report.lines().join("\n");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<LoadReport>(&json).unwrap(), report);
    assert!(lines.contains("4: 2 error, 2 clean") && lines.contains("3 empty rows") && lines.contains("1 pairs"), "{lines}");
}

#[test]
fn reads_underscored_columns_in_any_order_and_pipes() {
    let header =
        "text,extra,text_id,sentences,error_flag,error_type,error_sentence_id,error_sentence,corrected_sentence,corrected_text";
    let sentences = "0 | He waits.\n1| 7 days pass.\n9 more follow.\n2|He dies.";
    let row = vec!["He waits. 7 days pass. 9 more follow. He dies.", "x", "a-1", sentences, "0", "NA", "-1", "NA", "NA", "NA"];
    let (_dir, path) = write("v.csv", csv(header, &[row]));
    let (rows, report) = load_medec(&path).unwrap();
    assert_eq!(rows[0].labelled.note.numbered(), "0 He waits.\n1 7 days pass. 9 more follow.\n2 He dies.");
    assert_eq!(report.violations, []);
}

#[test]
fn looks_sentence_ids_up_and_never_renumbers() {
    let ids = |column: &str| sentences::parse(column).unwrap().sentences.iter().map(|s| s.id).collect::<Vec<_>>();
    // 2 is swallowed by the line of 1.
    let gap = sentences::parse("0 First.\n1 Second. 2 Third.\n3 Fourth.").unwrap();
    assert_eq!((gap.missing, gap.sentences[2].id, gap.sentences[2].text.as_str()), (vec![2], 3, "Fourth."));
    // A number that is none of a note's leaves no thousand million ids to list.
    let far = sentences::parse("0 First.\n2147483648 Second.\n1 Third.").unwrap();
    assert_eq!((far.missing.len(), far.sentences.len(), far.sentences[0].text.as_str()), (0, 2, "First. 2147483648 Second."));
    assert_eq!(ids("4294967295 | Last.\n0 | Beyond."), [4_294_967_295]);
    // A number that is larger than expected opens nothing while the expected one is still to come.
    assert_eq!(ids("0 Seen for\n18 months now.\n1 He is well."), [0, 1]);
    assert_eq!(ids("0 Dose is\n4.5 mg.\n1 Next."), [0, 1]);
    // The expected number as a continuation: the capitalised line is the sentence.
    let twice = sentences::parse("6 Given for\n7 days in all.\n7 He is well.").unwrap();
    assert_eq!(twice.sentences[0].text, "Given for 7 days in all.");
    assert_eq!(twice.sentences[1].text, "He is well.");
    // A real sentence that begins in lower case, as breaks inside units make them.
    assert_eq!(ids("0 It is 120/70 mm\n1 hg today.\n2 Well."), [0, 1, 2]);
    assert_eq!(ids("3 Starts late.\n4 Goes on."), [3, 4]);
    assert_eq!(sentences::parse("no id here\n0 First."), None);
    assert_eq!(sentences::parse(" \n"), None);
    assert_eq!(sentences::parse("99999999999 too large for an id"), None);
}

#[test]
fn repairs_mojibake_and_nothing_else() {
    // U+201D ends in byte 9D, which Windows-1252 leaves undefined.
    let read_wrongly = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                0xE2 => 'â',
                0x80 => '€',
                0x9C => 'œ',
                0x9D => '\u{9D}',
                0x89 => '‰',
                0xA5 => '¥',
                b => char::from(b),
            })
            .collect()
    };
    for right in ["plain", "“shock”", "≥ 500 µg, 3 × 2 cm², β-hCG, 37 °C", "e\u{a0}f"] {
        let repaired = repair(&read_wrongly(right));
        assert_eq!((repaired.text.as_str(), repaired.residue), (right, false));
        assert_eq!(repaired.characters, right.chars().filter(|c| !c.is_ascii()).count());
        assert_eq!(repair(right).text, right, "right text stays");
    }
    assert!(repair("36.9Â\n7 °C â‰¥ 3").residue);
    assert_eq!(repair("36.9Â\n7 °C â‰¥ 3").text, "36.9Â\n7 °C ≥ 3");
    assert!(!is_broken("Guillain-Barré, château, 5 µm²") && is_broken("lost \u{FFFD}"));
}

#[test]
fn counts_repaired_cells_and_names_the_others() {
    let rows = vec![
        row("v-0", "Pain â‰¥ 3.", "0 Pain â‰¥ 3.", CLEAN),
        row("v-1", "At 36.9 C.", "0 At 36.9Â\n1 C.", CLEAN),
        row("v-2", "A Barré sign.", "0 A Barré sign.", CLEAN),
    ];
    let (_dir, path) = write("v.csv", csv(HEADER, &rows));
    let (rows, report) = load_medec(&path).unwrap();
    assert_eq!(rows[0].labelled.note.text(), "Pain ≥ 3.");
    assert_eq!(rows[0].raw.text, "Pain â‰¥ 3.");
    assert_eq!((report.repair.broken, report.repair.repaired), (3, 2));
    assert_eq!(report.repair.unrepairable, [Cell { id: "v-1".into(), column: "Sentences".into() }]);
    assert!(report.lines().iter().any(|l| l.contains("3 cells with mojibake: 2 repaired, 1 unrepairable: v-1 Sentences")));

    let (rows, report) = load_medec_with(&path, LoadOptions { repair: false }).unwrap();
    assert_eq!(rows[0].labelled.note.text(), "Pain â‰¥ 3.");
    assert_eq!((report.repair.applied, report.repair.broken, report.repair.repaired), (false, 3, 0));
}

#[test]
fn lists_every_broken_relation() {
    let error = |id, sentence, wrong, right, corrected| {
        row(id, "One. Two. Two.", "0 One.\n1 Two.\n2 Two.", ["1", "treatment", sentence, wrong, right, corrected])
    };
    let rows = vec![
        error("ok", "0", "One.", "Uno.", "Uno. Two. Two."),
        error("unresolved", "9", "One.", "Uno.", "Uno. Two. Two."),
        error("other", "1", "One.", "Uno.", "Uno. Two. Two."),
        error("twice", "1", "Two.", "Dos.", "One. Dos. Two."),
        error("absent", "0", "One.", "Uno.", "One. Two. Two."),
        error("space", "0", "One.", "Uno.", "Uno.  Two. Two."),
        row("join", "One and a half.", "0 One.", CLEAN),
        row("filled", "One.", "0 One.", ["0", "treatment", "0", "NA", "NA", "NA"]),
        row("filled", "One.", "0 One.", CLEAN),
    ];
    let (_dir, path) = write("v.csv", csv(HEADER, &rows));
    let (rows, report) = load_medec(&path).unwrap();
    assert_eq!(rows.len(), 9, "rows that break a relation are kept");
    let found: Vec<(&str, Relation)> = report.violations.iter().map(|v| (v.id.as_str(), v.relation)).collect();
    assert_eq!(
        found,
        [
            ("unresolved", Relation::SentenceIdResolves),
            ("other", Relation::SentenceIsErrorSentence),
            ("twice", Relation::ErrorSentenceOnceInText),
            ("absent", Relation::CorrectionInCorrectedText),
            ("absent", Relation::ReplacementGivesCorrectedText),
            ("join", Relation::SentencesJoinToText),
            ("filled", Relation::CleanColumnsAreEmpty),
            ("filled", Relation::UniqueId),
        ]
    );
    assert!(report.lines().iter().any(|l| l.contains("unresolved: broken")));
    let pools = Pools::new(rows.into_iter().map(|r| r.labelled)).unwrap();
    assert!(!pools.errors.iter().any(|n| n.note.id == "unresolved"), "an error that points nowhere trains nobody");
}

#[test]
fn names_file_line_and_remedy() {
    let message = |name: &str, content: &[u8]| {
        let (_dir, path) = write(name, content);
        let text = load(&path).unwrap_err().to_string();
        assert!(text.contains(name), "{text} names the file");
        text
    };
    let text = message("cols.csv", HEADER.replace("Error Type", "Kind").as_bytes());
    assert!(
        text.contains("missing columns: Error Type") && text.contains("found: Text ID, Text") && text.contains("Kind"),
        "{text}"
    );
    assert!(text.contains("expected: Text ID") && text.contains("rename"), "{text}");

    // The bad record starts on line 5: one header line, a record of three lines, CRLF between.
    let good = row("v-0", "One.\nTwo.", "0 One.\n1 Two.", CLEAN);
    let bad = |rest: [&'static str; 6]| csv(HEADER, &[good.clone(), row("v-1", "Three.", "0 Three.", rest)]);
    for (rest, expected) in [
        (["2", "NA", "-1", "NA", "NA", "NA"], "Error Flag is \"2\"; expected 0 or 1"),
        (["1", "dosage", "0", "a", "b", "c"], "Error Type is \"dosage\""),
        (["1", "treatment", "-1", "a", "b", "c"], "Error Sentence ID is \"-1\""),
        (["1", "treatment", "0", "a", "NA", "c"], "Corrected Sentence is empty"),
    ] {
        let text = message("row.csv", bad(rest).as_bytes());
        assert!(text.contains("row.csv:5: ") && text.contains(expected), "{text}");
    }
    let text = message("quote.csv", format!("{}\"v-9,never closed\r\n", csv(HEADER, std::slice::from_ref(&good))).as_bytes());
    assert!(text.contains("quote.csv:5: a quote is not closed") && text.contains("double the quotes"), "{text}");
    let text = message("ids.csv", csv(HEADER, &[row("v-0", "One.", "One.", CLEAN)]).as_bytes());
    assert!(text.contains("ids.csv:2: v-0: Sentences must be lines of"), "{text}");
    assert!(message("latin.csv", b"Text ID\nx\n\xB5g").contains("latin.csv:3: not UTF-8"));
    assert!(message("none.csv", HEADER.as_bytes()).contains("no notes"));
    assert!(message("notes.txt", b"x").contains(".csv or"));
    assert!(message("p.jsonl", b"\n{\"note_id\": \"a\"}\n").contains("p.jsonl:2: missing field"));
    assert!(matches!(load(Path::new("/nowhere/x.csv")), Err(DataError::Unreadable { .. })));
}

pub fn pair_line(id: &str, wrong_note: &str, right_note: &str, wrong: &str, right: &str) -> String {
    let json = serde_json::json!({ "split": null, "note_id": id, "incorrect_note": wrong_note, "correct_note": right_note,
        "error_type": "causalorganism", "error_sentence": wrong, "corrected_sentence": right });
    format!("{json}\r\n")
}

#[test]
fn cuts_pairs_so_that_the_error_is_one_sentence() {
    let lines = [
        pair_line(
            "a",
            "Dr. Hall saw E. coli. He has pain of 3.5 cm\n(mild). Labs show:\nNa 140 It is Giardia today. He is well! ",
            "Dr. Hall saw E. coli. He has pain of 3.5 cm (mild). Labs show: Na 140 It is pinworm today. He is well!",
            "It is  Giardia today. ",
            "It is pinworm today.",
        ),
        pair_line("moved", "One is. Bad is. Two is.", "One is. Two is. Good is.", "Bad is.", "Good is."),
        pair_line("more", "One is. Bad is.", "Two is. Good is.", "Bad is.", "Good is."),
        pair_line("lost", "One is.", "Good is.", "Bad is.", "Good is."),
        pair_line("twice", "Bad is. Bad is.", "Bad is. Good is.", "Bad is.", "Good is."),
        pair_line("same", "Bad is.", "Bad is.", "Bad is.", "Bad  is."),
        "\n".into(),
    ];
    let (_dir, path) = write("pairs.jsonl", lines.concat());
    let (notes, report) = load(&path).unwrap();
    let ids: Vec<&str> = notes.iter().map(|n| n.note.id.as_str()).collect();
    assert_eq!(ids, ["a", "a-corrected", "moved", "moved-corrected"]);
    assert_eq!(
        notes[0].note.numbered(),
        "0 Dr. Hall saw E. coli.\n1 He has pain of 3.5 cm (mild).\n2 Labs show: Na 140\n3 It is Giardia today.\n4 He is well!"
    );
    assert_eq!(
        notes[0].label,
        Label::Error { kind: ErrorKind::CausalOrganism, sentence: 3, correction: "It is pinworm today.".into() }
    );
    assert_eq!(notes[1].label, Label::Clean);
    assert_eq!(notes[1].note.sentences, notes[0].corrected().unwrap().sentences);
    assert_eq!(notes[1].note.group, notes[0].note.group);
    assert_eq!(notes[3].note.text(), "One is. Two is. Good is.");
    let skipped: Vec<(&str, usize)> = report.skipped.iter().map(|s| (s.id.as_str(), s.line)).collect();
    assert_eq!(skipped, [("more", 3), ("lost", 4), ("twice", 5), ("same", 6)]);
    assert!(report.skipped[0].reason.contains("differs in more") && report.skipped[2].reason.contains("2 times"));
    assert_eq!((report.records, report.notes, report.groups.pairs, report.kinds[&ErrorKind::CausalOrganism]), (6, 4, 2, 2));
    // "a" is given with other white space, which is no matter; "moved" in another order, which is said.
    let relations: Vec<(&str, Relation)> = report.violations.iter().map(|v| (v.id.as_str(), v.relation)).collect();
    assert_eq!(relations, [("moved", Relation::ReplacementGivesCorrectedText)]);
}

#[test]
fn groups_only_neighbours_that_are_alike() {
    let story = |n: u32| format!("Patient {n} came on day {n} with sign {n} and pain {n} since week {n}.");
    let error = Label::Error { kind: ErrorKind::Treatment, sentence: 0, correction: "x".into() };
    let make = |id: &str, n: u32, label: &Label| note(id, "", &[&story(n), "The plan is made."], label.clone());
    let mut notes = vec![
        make("e1", 1, &error),
        make("c1", 1, &Label::Clean),
        make("e2", 2, &error),
        make("c3", 3, &Label::Clean),
        make("c3b", 3, &Label::Clean),
        make("e4", 4, &error),
        make("e4b", 4, &error),
    ];
    groups::assign(&mut notes, groups::SIBLING_SIMILARITY);
    let names: Vec<&str> = notes.iter().map(|n| n.note.group.as_str()).collect();
    assert_eq!(names, ["e1", "e1", "e2", "c3", "c3", "e4", "e4"], "the same text again is the same vignette");
    let counts = groups::count(&notes);
    assert_eq!((counts.groups, counts.pairs, counts.errors_alone, counts.cleans_alone), (4, 1, 3, 2));
}

#[test]
fn guards_the_splits() {
    let train = paired(6);
    for (name, id) in
        [("a.csv", "ms-test-3"), ("a.csv", "UW-test-1"), ("MEDEC-MS-TestSet-with-GroundTruth.csv", "x"), ("my_test.jsonl", "x")]
    {
        let notes = vec![note(id, "g", &["One."], Label::Clean)];
        let refusal = refuse_test(Path::new(name), &notes).unwrap_err().to_string();
        assert!(refusal.contains(name) && refusal.contains("refused as training data"), "{refusal}");
    }
    refuse_test(Path::new("latest-attested.csv"), &train).unwrap();

    let validation = vec![
        note("v-shared", "g0", &["Entirely different words stand in this one."], Label::Clean),
        note("v-copy", "v", &["Patient 3 has sign s3. Drug r3 is given at once."], Label::Clean),
    ];
    let separated = separate(train.clone(), &validation, SAME_VIGNETTE);
    let removed: Vec<(&str, &str, OverlapReason)> =
        separated.removed.iter().map(|o| (o.train.as_str(), o.validation.as_str(), o.reason)).collect();
    assert_eq!(
        removed,
        [
            ("e0", "v-shared", OverlapReason::SharedGroup),
            ("c0", "v-shared", OverlapReason::SharedGroup),
            ("e3", "v-copy", OverlapReason::Sibling),
            ("c3", "v-copy", OverlapReason::NearDuplicate),
        ]
    );
    assert_eq!(separated.train.len(), 8);
    assert_eq!(near_duplicates(&train, &validation, 0.99), [("c3".to_owned(), "v-copy".to_owned(), 1.0)]);
}

#[test]
fn the_real_validation_file_has_its_published_counts() {
    let Some(dir) = medec_dir() else { return };
    let path = dir.join("MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv");
    let (rows, report) = load_medec(&path).unwrap();
    assert_eq!((report.notes, report.errors, report.cleans, report.bytes), (574, 319, 255, 1_221_588));
    let kinds = ErrorKind::ALL.map(|kind| report.kinds[&kind]);
    assert_eq!(kinds, [86, 168, 25, 27, 13]);
    assert_eq!((report.repair.broken, report.repair.repaired), (325, 324));
    assert_eq!(report.repair.unrepairable, [Cell { id: "ms-val-465".into(), column: "Sentences".into() }]);
    assert_eq!(
        (report.groups.groups, report.groups.pairs, report.groups.errors_alone, report.groups.cleans_alone),
        (319, 255, 64, 0)
    );
    let s = &report.sentences;
    assert_eq!((s.total, s.fewest, s.most, s.folded, s.missing.len()), (7162, 3, 43, 252, 0));
    let broken: Vec<(&str, Relation)> = report.violations.iter().map(|v| (v.id.as_str(), v.relation)).collect();
    assert_eq!(broken, [("ms-val-465", Relation::SentencesJoinToText)]);
    assert_eq!((s.blank_lines, report.spacing.len(), report.spacing[&Relation::SentencesJoinToText].len()), (333, 1, 95));
    let cuts = &report.shortcuts;
    assert_eq!((cuts.trailing_space_errors, cuts.trailing_space_cleans, cuts.broken_texts), (191, 115, 87));
    assert_eq!((cuts.last_sentence_errors, report.unreadable.len()), (197, 0));
    let lines = report.lines().join("\n");
    for part in [
        "574: 319 error, 255 clean",
        "management 168 (52.7%), diagnosis 86 (27.0%)",
        "causalOrganism 13 (4.1%)",
        "324 repaired",
        "255 pairs",
    ] {
        assert!(lines.contains(part), "{part} in\n{lines}");
    }
    assert_eq!(rows.len(), 574);
}

#[test]
fn the_real_pairs_align_and_share_one_vignette_with_validation() {
    let Some(dir) = medec_dir() else { return };
    let (train, report) = load_pairs(&dir.join("train-pairs.jsonl")).unwrap();
    assert_eq!((report.records, report.notes, report.groups.pairs, report.skipped.len()), (1219, 2438, 1219, 0));
    assert_eq!(ErrorKind::ALL.map(|kind| report.kinds[&kind]), [331, 589, 116, 120, 63]);
    for pair in train.chunks(2) {
        assert!(pair[0].corrected().is_some() && pair[0].note.group == pair[1].note.group);
    }
    let moved: Vec<&str> = report.violations.iter().map(|v| v.id.as_str()).collect();
    assert_eq!(moved, ["ms-train-115", "ms-train-994", "ms-train-1386", "ms-train-1635"]);
    let (validation, _) = load(&dir.join("MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv")).unwrap();
    refuse_test(&dir.join("train-pairs.jsonl"), &train).unwrap();
    let began = Instant::now();
    let separated = separate(train, &validation, SAME_VIGNETTE);
    assert!(began.elapsed() < Duration::from_secs(20), "took {:?}", began.elapsed());
    let removed: Vec<(&str, &str)> = separated.removed.iter().map(|o| (o.train.as_str(), o.validation.as_str())).collect();
    assert_eq!(removed, [("ms-train-1980", "ms-val-548"), ("ms-train-1980-corrected", "ms-val-548")]);
}
