//! Labels on disk: synced line by line, cut lines told, several writers, merging, and undo over crashes.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
};

use medserl::{
    store::{LabelError, LabelFile, LabelLog, merge_labels, read_labels, write_labels},
    task::{Decision, Entry, Quadrant, RejectReason, Standing, hand_label::Retraction},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::fixture::{label_by, sample};

fn entry(by: &str, index: u32) -> Entry {
    label_by(by, "", &sample(Quadrant::SyntheticInjection, 1, index), Decision::Accept)
}

fn add_raw(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn what_was_written_is_read_back_by_anyone_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.jsonl");
    let (mut one, mut two) = (LabelLog::open(&path).unwrap(), LabelLog::open(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(one.news().unwrap(), LabelFile::default());
    let first = one.append(entry("ann", 0)).unwrap();
    assert_eq!(first.id().len(), 16);
    let twice = one.append(entry("ann", 0)).unwrap();
    assert_ne!(first.id(), twice.id(), "the same decision twice is two labels");
    assert_eq!(two.news().unwrap().entries, [first.clone(), twice.clone()]);
    let third = two.append(entry("bob", 1)).unwrap();
    assert_eq!(two.news().unwrap().entries, std::slice::from_ref(&third));
    assert_eq!(one.news().unwrap().entries, [first.clone(), twice.clone(), third.clone()]);
    assert_eq!(read_labels(&path).unwrap().entries, [first, twice, third]);
    assert!(matches!(read_labels(&dir.path().join("none")), Err(LabelError::Missing { .. })));
    fs::write(&path, "").unwrap();
    assert!(matches!(one.news(), Err(LabelError::Shrunk { .. })));
}

#[test]
fn a_line_cut_off_by_a_crash_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.jsonl");
    let mut log = LabelLog::open(&path).unwrap();
    let first = log.append(entry("ann", 0)).unwrap();
    let whole = fs::read(&path).unwrap();
    // The second line cut in many places, first only its line feed.
    let second = log.append(entry("ann", 1)).unwrap();
    let both = fs::read(&path).unwrap();
    for length in (whole.len() + 1..both.len()).rev().step_by(23) {
        fs::write(&path, &both[..length]).unwrap();
        let file = read_labels(&path).unwrap();
        let complete = length == both.len() - 1;
        assert_eq!(file.entries.len(), 1 + usize::from(complete), "cut at {length}");
        assert_eq!(file.faults.len(), usize::from(!complete));
        let mut log = LabelLog::open(&path).unwrap();
        assert_eq!(log.news().unwrap().entries, std::slice::from_ref(&first), "a line still being written waits");
        let third = log.append(entry("bob", 2)).unwrap();
        let news = log.news().unwrap();
        assert_eq!(news.entries.last(), Some(&third), "cut at {length}");
        assert_eq!(news.entries.first() == Some(&second), complete);
        let file = read_labels(&path).unwrap();
        assert_eq!((file.entries.len(), file.faults.len()), (2 + usize::from(complete), usize::from(!complete)));
    }
    fs::write(&path, &both[..both.len() - 9]).unwrap();
    let message = read_labels(&path).unwrap().faults[0].to_string();
    assert!(message.contains("labels.jsonl:2: left out") && message.contains("cut off"), "{message}");
}

#[test]
fn lines_that_are_no_entries_are_named_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.jsonl");
    let mut log = LabelLog::open(&path).unwrap();
    log.append(entry("ann", 0)).unwrap();
    add_raw(&path, b"\n  \nhello\n\xff\xfe\n{\"label\":{}}\n{\"label\":");
    log.append(entry("ann", 1)).unwrap();
    let file = read_labels(&path).unwrap();
    assert_eq!(file.entries.len(), 2);
    let lines: Vec<usize> = file.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [4, 5, 6, 7]);
    assert_eq!(LabelLog::open(&path).unwrap().news().unwrap(), file, "read at once or line by line");
    // A line without an id, as another program may write it, gets one from its text.
    let bare = serde_json::to_string(&entry("eve", 3)).unwrap();
    fs::write(&path, format!("{bare}\n{bare}\n")).unwrap();
    let ids: Vec<String> = read_labels(&path).unwrap().entries.iter().map(|e| e.id().to_owned()).collect();
    assert!(ids[0] == ids[1] && ids[0].len() == 16, "{ids:?}");
}

#[test]
fn many_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.jsonl");
    thread::scope(|scope| {
        for who in ["ann", "bob", "cyd"] {
            let path = &path;
            scope.spawn(move || {
                let mut log = LabelLog::open(path).unwrap();
                (0..20).for_each(|i| drop(log.append(entry(who, i)).unwrap()));
            });
        }
    });
    let file = read_labels(&path).unwrap();
    assert_eq!((file.entries.len(), file.faults.len()), (60, 0));
    let standing: Standing = file.entries.into_iter().collect();
    assert_eq!(standing.labels().count(), 60, "every label has an id of its own");
}

#[test]
fn a_label_that_cannot_be_written_is_an_error() {
    let mut log = LabelLog::open(Path::new("/dev/full")).unwrap();
    let message = log.append(entry("ann", 0)).expect_err("kept").to_string();
    assert!(message.contains("/dev/full") && message.contains("not kept"), "{message}");
    assert!(LabelLog::open(Path::new("/no/such/folder/labels.jsonl")).is_err());
}

#[test]
fn files_merge_by_id_in_order_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut ann = LabelLog::open(&at("a")).unwrap();
    let dated = |by: &str, index: u32, at: i64| {
        let Entry::Label(mut label) = entry(by, index) else { panic!() };
        label.at = at;
        Entry::Label(label)
    };
    let a = ann.append(dated("ann", 0, 10)).unwrap();
    fs::copy(at("a"), at("b")).unwrap();
    let mut bob = LabelLog::open(&at("b")).unwrap();
    let b = bob.append(dated("bob", 0, 5)).unwrap();
    let undo = Retraction { id: String::new(), of: a.id().to_owned(), annotator: "ann".into(), at: 20 };
    let c = ann.append(Entry::Undo(undo)).unwrap();
    let merged = merge_labels([read_labels(&at("a")).unwrap(), read_labels(&at("b")).unwrap()]);
    assert_eq!(merged, [b.clone(), a, c]);
    write_labels(&at("all"), &merged).unwrap();
    assert_eq!(read_labels(&at("all")).unwrap().entries, merged);
    assert_eq!(merge_labels([read_labels(&at("all")).unwrap(), read_labels(&at("b")).unwrap()]), merged, "merging again");
    assert!(matches!(write_labels(&at("all"), &merged), Err(LabelError::Unwritable { .. })), "an existing file is not replaced");
    let standing: Standing = merged.into_iter().collect();
    assert_eq!(standing.labels().map(|l| l.id.as_str()).collect::<Vec<_>>(), [b.id()]);
}

/// Random decisions and undos with crashes between them: what stands is what a plain stack would say.
#[test]
fn undo_is_exact_over_any_number_of_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.jsonl");
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut stack: Vec<(String, String)> = Vec::new();
    let mut log = LabelLog::open(&path).unwrap();
    for _ in 0..150 {
        let n = rng.next_u32();
        match n % 8 {
            0 => {
                add_raw(&path, &serde_json::to_vec(&entry("ann", n)).unwrap()[..usize::try_from(n >> 8).unwrap() % 90 + 1]);
                log = LabelLog::open(&path).unwrap();
            }
            1..=3 if !stack.is_empty() => {
                let (of, _) = stack.pop().unwrap();
                log.append(Entry::Undo(Retraction { id: String::new(), of, annotator: "ann".into(), at: 1 })).unwrap();
            }
            _ => {
                let decision = match n >> 8 & 3 {
                    0 => Decision::Accept,
                    1 => Decision::Unsure,
                    _ => Decision::Reject(RejectReason::Giveaway),
                };
                let about = sample(Quadrant::ALL[n as usize >> 12 & 3], 1, n >> 16 & 3);
                let kept = log.append(label_by("ann", "", &about, decision)).unwrap();
                stack.push((kept.id().to_owned(), about.id));
            }
        }
        let file = read_labels(&path).unwrap();
        let standing: Standing = file.entries.into_iter().collect();
        let left: Vec<(String, String)> = standing.labels().map(|l| (l.id.clone(), l.sample.clone())).collect();
        assert_eq!(left, stack);
    }
    assert!(read_labels(&path).unwrap().faults.len() > 5, "no crash was tried");
}
