//! The loaders on files gone wrong: thousands of mutated CSV and JSONL files. Nothing may panic, and no row may get lost unsaid:
//! every record becomes notes, or is counted as empty, or is listed with its line and reason.

use std::path::Path;

use medserl::data::{
    DataError, LoadOptions, LoadReport, Row, medec, pairs,
    stream::{below, stream},
    text_file,
};
use medserl::eval::{Reference, Submission, score};
use rand_chacha::ChaCha8Rng;

use super::HEADER;

const FIELD_CASES: u64 = 10_000;
const BYTE_CASES: u64 = 9_000;
const LINE_CASES: u64 = 4_000;

/// What people and programs put into cells.
const ODD: [&str; 27] = [
    "",
    "NA",
    "nan",
    "-1",
    "0",
    "1.0",
    "True",
    "2",
    "99999999999999999999",
    "4294967296",
    "0 ",
    "0 x\n7 y\n3 z",
    "1 | piped\nno id",
    "\n\n",
    "a\r\nb",
    "\r",
    "\"",
    "\"\"",
    "\"quoted\", and more",
    ",,,,,,,,",
    "=1+1",
    "\u{0}",
    "\u{FEFF}",
    "â€\u{9d} Ã",
    "½\u{202e}",
    "treatment",
    "Take it.",
];

fn pick<T: Copy>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    items[below(rng, items.len())]
}

/// Rows as MEDEC writes them: an error note, its clean sibling, an error note alone and so on.
fn rows(n: usize) -> Vec<Vec<String>> {
    let row = |at: usize| {
        let (first, wrong, right) = (
            format!("Patient mk{at}, aged {at}, is \"seen\"."),
            format!("Drug w{at} is given."),
            format!("Drug r{at} is given."),
        );
        let note = |last: &str| (format!("{first} {last} \n"), format!("0 {first}\n\n1 {last}\n"));
        let fields = if at.is_multiple_of(2) {
            let ((text, sentences), (corrected, _)) = (note(&wrong), note(&right));
            [format!("v-{at}"), text, sentences, "1".into(), "treatment".into(), "1".into(), wrong, right, corrected]
        } else {
            let (text, sentences) = note(&right);
            let [na, none] = ["NA", "-1"].map(str::to_owned);
            [format!("v-{at}"), text, sentences, "0".into(), na.clone(), none, na.clone(), na.clone(), na]
        };
        fields.to_vec()
    };
    (0..n).map(row).collect()
}

fn serialise(rows: &[Vec<String>], always_quote: bool, end: &str) -> String {
    let quote = |field: &String| {
        let needed = always_quote || field.contains(['"', ',', '\r', '\n']) || (field.is_empty() && rows.len() == 1);
        if needed { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
    };
    let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + end;
    format!("{HEADER}{end}{}", rows.iter().map(line).collect::<String>())
}

fn read(bytes: Vec<u8>) -> Result<(Vec<Row>, LoadReport), DataError> {
    let path = Path::new("mutated.csv");
    medec::read(path, &text_file::decode(path, bytes)?, LoadOptions::default())
}

fn is_empty(row: &[String]) -> bool {
    row.iter().all(|field| field.trim().is_empty())
}

/// One to three rows changed as a careless hand or program changes them, every field still well quoted.
fn mangle(rng: &mut ChaCha8Rng, rows: &mut Vec<Vec<String>>) {
    for _ in 0..=below(rng, 3) {
        let at = below(rng, rows.len());
        let field = below(rng, rows[at].len());
        match below(rng, 10) {
            0 => drop(rows[at].pop().filter(|_| rows[at].len() > 1)),
            1 => rows[at].push(pick(rng, &ODD).to_owned()),
            2 => rows[at] = vec![String::new(); 9],
            3 => rows.insert(at, rows[at].clone()),
            4 => {
                let other = below(rng, rows[at].len());
                rows[at].swap(field, other);
            }
            5 => rows[at][field].push_str(pick(rng, &ODD)),
            6 => rows[at][field] = pick(rng, &ODD).repeat(1 + below(rng, 40)),
            _ => rows[at][field] = pick(rng, &ODD).to_owned(),
        }
        if rows[at].is_empty() {
            rows[at].push("x".to_owned());
        }
    }
}

/// Field by field we know what was written, so we know what must come back.
#[test]
fn no_row_of_a_mangled_csv_is_lost() {
    let (mut kept, mut listed, mut refused) = (0, 0, 0);
    for case in 0..FIELD_CASES {
        let rng = &mut stream(41, "mangle", case, 0);
        let mut written = rows(2 + below(rng, 4));
        mangle(rng, &mut written);
        let file = serialise(&written, below(rng, 2) == 0, pick(rng, &["\n", "\r\n"]));
        let context = || format!("case {case}: {file:?}");
        match read(file.clone().into_bytes()) {
            Ok((rows, report)) => {
                assert_eq!(report.records, written.len(), "{}", context());
                assert_eq!(report.records, rows.len() + report.skipped_empty + report.unreadable.len(), "{}", context());
                assert_eq!(report.skipped_empty, written.iter().filter(|row| is_empty(row)).count(), "{}", context());
                // In the order of the file, each written row is the next note, byte for byte, or the next listed row.
                let (mut notes, mut lost) = (rows.iter().peekable(), report.unreadable.iter());
                for row in written.iter().filter(|row| !is_empty(row)) {
                    let raw = |r: &&Row| [&r.raw.id, &r.raw.text, &r.raw.sentences].into_iter().eq(&row[..3.min(row.len())]);
                    if row.len() == 9 && notes.peek().is_some_and(|r| raw(r) && r.raw.corrected_text == row[8]) {
                        notes.next();
                    } else {
                        let listed = lost.next().unwrap_or_else(|| panic!("{row:?} is lost; {}", context()));
                        assert_eq!(listed.id, row[0].trim(), "{}", context());
                        assert!(listed.line > 1 && !listed.reason.is_empty(), "{}", context());
                    }
                }
                assert!(notes.next().is_none() && lost.next().is_none(), "{}", context());
                kept += rows.len();
                listed += report.unreadable.len();
                assert_eq!(report.refuse_unreadable(Path::new("x")).is_err(), !report.unreadable.is_empty());
            }
            Err(DataError::NoNotes { .. }) if written.iter().all(|row| is_empty(row)) => refused += 1,
            Err(error) => panic!("{error}; {}", context()),
        }
    }
    assert!(kept > 20_000 && listed > 5_000 && refused > 0, "the cases are one-sided: {kept} {listed} {refused}");
}

/// Up to four bytes lost, added or changed anywhere, quotes and line ends above all.
fn corrupt(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    const BYTES: [u8; 12] = *b"\"\"\"\",,\r\n\n0\x00\x9d";
    for _ in 0..=below(rng, 4) {
        // Half the time at a byte that matters.
        let mut at = below(rng, bytes.len());
        if below(rng, 2) == 0 {
            at = bytes[at..].iter().position(|b| b"\",\r\n".contains(b)).map_or(at, |more| at + more);
        }
        match below(rng, 8) {
            0..=2 => drop(bytes.remove(at)),
            3 | 4 => bytes.insert(at, pick(rng, &BYTES)),
            5 | 6 => bytes[at] = pick(rng, &BYTES),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
}

/// Lines on which a row of ours begins, from 1.
fn row_starts(text: &str) -> Vec<usize> {
    let starts = |line: &str| line.trim_start_matches('"').starts_with("v-");
    text.split('\n').enumerate().filter(|(_, line)| starts(line)).map(|(at, _)| at + 1).collect()
}

/// With quotes gone nobody knows what a row was meant to be; but a row that begins inside a note that is kept was swallowed.
#[test]
fn no_row_of_a_corrupted_csv_is_swallowed() {
    let (mut kept, mut listed, mut refused) = (0, 0, 0);
    for case in 0..BYTE_CASES {
        let rng = &mut stream(43, "corrupt", case, 0);
        let file = serialise(&rows(2 + below(rng, 4)), below(rng, 2) == 0, pick(rng, &["\n", "\r\n"]));
        let mut bytes = file.into_bytes();
        corrupt(rng, &mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if case % 8 == 0 {
            official_score_survives(&bytes);
        }
        let (rows, report) = match read(bytes) {
            Ok(read) => read,
            Err(error) => {
                assert!(error.to_string().contains("mutated.csv"), "case {case}: {error}");
                refused += 1;
                continue;
            }
        };
        assert_eq!(report.records, rows.len() + report.skipped_empty + report.unreadable.len(), "case {case}: {text:?}");
        let mut records: Vec<(usize, bool)> = rows.iter().map(|row| (row.line, true)).collect();
        records.extend(report.unreadable.iter().map(|row| (row.line, false)));
        records.sort_unstable();
        for start in row_starts(&text).into_iter().filter(|start| *start > 1) {
            let holder = records.iter().rev().find(|(line, _)| *line <= start);
            let fate = holder.unwrap_or_else(|| panic!("case {case}: the row on line {start} is in no record: {text:?}"));
            assert!(!fate.1 || fate.0 == start, "case {case}: the row on line {start} is part of a note: {text:?}");
        }
        for row in &rows {
            assert!(text.get(row.bytes.clone()).is_some_and(|bytes| row.raw.id.is_empty() || bytes.contains(&row.raw.id)));
        }
        kept += rows.len();
        listed += report.unreadable.len();
    }
    assert!(kept > 10_000 && listed > 4_000 && refused > 100, "the cases are one-sided: {kept} {listed} {refused}");
}

/// The scorer reads the same files on its own.
fn official_score_survives(bytes: &[u8]) {
    if let Ok(reference) = Reference::parse(Path::new("mutated.csv"), bytes) {
        let scores = score(&reference, &Submission::parse(&String::from_utf8_lossy(bytes)));
        assert!((0.0..=1.0).contains(&scores.flag_accuracy) && scores.rouge_l.composite.is_finite());
    }
}

#[test]
fn no_line_of_a_corrupted_pairs_file_is_lost() {
    let (mut kept, mut listed, mut skipped) = (0, 0, 0);
    for case in 0..LINE_CASES {
        let rng = &mut stream(47, "lines", case, 0);
        let line = |at: usize| {
            let (wrong, right) = (format!("Drug w{at} is given."), format!("Drug r{at} is given."));
            super::pair_line(&format!("p-{at}"), &format!("Sign {at}. {wrong}"), &format!("Sign {at}. {right}"), &wrong, &right)
        };
        let mut bytes: Vec<u8> = (0..1 + below(rng, 4)).map(line).collect::<String>().into_bytes();
        corrupt(rng, &mut bytes);
        let Ok(file) = text_file::decode(Path::new("p.jsonl"), bytes) else { continue };
        let expected = file.text.split('\n').filter(|line| !line.trim().is_empty()).count();
        match pairs::read(Path::new("p.jsonl"), &file) {
            Ok((pairs, report)) => {
                assert_eq!(report.records, expected, "case {case}: {:?}", file.text);
                assert_eq!(expected, pairs.len() + report.skipped.len() + report.unreadable.len(), "case {case}");
                assert!(
                    pairs.iter().all(|pair| pair.notes[0].corrected().is_some() && file.text.get(pair.bytes.clone()).is_some())
                );
                kept += pairs.len();
                listed += report.unreadable.len();
                skipped += report.skipped.len();
            }
            Err(error) => assert!(error.to_string().contains("no notes"), "case {case}: {error}"),
        }
    }
    assert!(kept > 3_000 && listed > 1_000 && skipped > 100, "the cases are one-sided: {kept} {listed} {skipped}");
}

#[test]
fn a_lost_quote_is_told_with_the_lines_it_takes_along() {
    let rows = rows(4);
    let file = serialise(&rows, false, "\r\n");
    // The quote that closes the first row's last field.
    let at = file.find("\"\r\nv-1").unwrap();
    let (kept, report) = read(format!("{}{}", &file[..at], &file[at + 1..]).into_bytes()).unwrap();
    let ids: Vec<&str> = kept.iter().map(|row| row.raw.id.as_str()).collect();
    assert_eq!((ids, report.unreadable.len()), (vec!["v-1", "v-2", "v-3"], 1), "reading goes on at the next whole row");
    let lost = &report.unreadable[0];
    assert!(lost.id == "v-0" && lost.line == 2 && lost.reason.contains("lines 2 to 6 are left out"), "{lost:?}");
    let lines = report.lines().join("\n");
    assert!(lines.contains("unreadable  1 rows") && lines.contains("line 2: v-0"), "{lines}");

    // A quote that is never closed would take the rest of the file along and still have nine fields.
    let open = format!("{HEADER}\nv-0,a,0 a,0,NA,-1,NA,NA,\"NA\nv-1,b,0 b,0,NA,-1,NA,NA,NA\n");
    let (kept, report) = read(open.into_bytes()).unwrap();
    assert_eq!((kept.len(), report.unreadable.len(), report.records), (1, 1, 2));
    assert!(kept[0].raw.id == "v-1" && report.unreadable[0].reason.contains("not closed"), "{report:?}");
}
