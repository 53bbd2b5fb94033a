//! What is made of labelled notes: the sources of a step's four quadrants, and warm-up examples that say exactly their label.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use medserl::config::SftConfig;
use medserl::data::{Pools, draw, draw_more, draw_more_pairs, draw_pairs, examples, load};
use medserl::task::{ErrorKind, Label, LabelledNote, Note, PromptStyle, Quadrant, Sentence, Verdict, verdict};

fn medec_dir() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/medec");
    let dir = std::env::var_os("MEDSERL_MEDEC").map_or(beside, PathBuf::from);
    dir.is_dir().then_some(dir)
}

fn note(id: &str, group: &str, texts: &[&str], label: Label) -> LabelledNote {
    let sentences = (0u32..).zip(texts).map(|(id, text)| Sentence { id, text: (*text).to_owned() }).collect();
    LabelledNote { note: Note { id: id.into(), group: group.into(), sentences }, label }
}

/// A pool of `n` groups, each an error note and its clean sibling; kinds 60/20/10/7/3 percent.
fn paired(n: usize) -> Vec<LabelledNote> {
    let kind_of = |at: usize| match at % 100 {
        0..60 => ErrorKind::Management,
        60..80 => ErrorKind::Diagnosis,
        80..90 => ErrorKind::Treatment,
        90..97 => ErrorKind::Pharmacotherapy,
        _ => ErrorKind::CausalOrganism,
    };
    let pair = |at: usize| {
        let (group, first) = (format!("g{at}"), format!("Patient {at} has sign s{at}."));
        let (wrong, right) = (format!("Drug w{at} is given at once."), format!("Drug r{at} is given at once."));
        let label = Label::Error { kind: kind_of(at), sentence: 1, correction: right.clone() };
        [
            note(&format!("e{at}"), &group, &[&first, &wrong], label),
            note(&format!("c{at}"), &group, &[&first, &right], Label::Clean),
        ]
    };
    (0..n).flat_map(pair).collect()
}

#[test]
fn draws_equal_quadrants_from_different_vignettes() {
    let pools = Pools::new(paired(200)).unwrap();
    for step in 0..40 {
        let drawn = draw(&pools, 7, step, 16);
        assert_eq!(drawn, draw(&pools, 7, step, 16), "the same key draws the same");
        let order: Vec<Quadrant> = drawn.iter().map(|(quadrant, _)| *quadrant).collect();
        assert_eq!(order, Quadrant::ALL.repeat(4));
        assert!(drawn.iter().all(|(quadrant, note)| quadrant.starts_from_error() == note.label.is_error()));
        let groups: HashSet<&str> = drawn.iter().map(|(_, note)| note.note.group.as_str()).collect();
        assert_eq!(groups.len(), 16, "step {step}");
    }
    assert_ne!(draw(&pools, 7, 3, 16), draw(&pools, 8, 3, 16));
    assert_ne!(draw(&pools, 7, 3, 16), draw(&pools, 7, 4, 16));
}

#[test]
fn draws_every_kind_at_about_its_share() {
    let pools = Pools::new(paired(200)).unwrap();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    // 50 steps of 4 errors are one epoch of the 200 error notes; windows of 10 steps hold about the mix.
    for window in 0..5 {
        let mut kinds: BTreeMap<ErrorKind, usize> = BTreeMap::new();
        for step in window * 10..(window + 1) * 10 {
            for (_, note) in draw(&pools, 3, step, 16).into_iter().filter(|(quadrant, _)| quadrant.starts_from_error()) {
                *kinds.entry(note.label.kind().unwrap()).or_default() += 1;
                *times.entry(note.note.id).or_default() += 1;
            }
        }
        for (kind, share) in [
            (ErrorKind::Management, 24),
            (ErrorKind::Diagnosis, 8),
            (ErrorKind::Treatment, 4),
            (ErrorKind::Pharmacotherapy, 3),
            (ErrorKind::CausalOrganism, 1),
        ] {
            assert!(kinds.get(&kind).copied().unwrap_or(0).abs_diff(share) <= 1, "window {window}: {kinds:?}");
        }
    }
    assert_eq!((times.len(), times.values().max()), (200, Some(&1)), "one epoch draws every error note once");
}

#[test]
fn draws_from_small_pools_without_losing_balance() {
    let pools = Pools::new(paired(3)).unwrap();
    let drawn = draw(&pools, 1, 5, 16);
    assert_eq!(drawn.len(), 16);
    let ids: HashSet<&str> = drawn.iter().map(|(_, note)| note.note.id.as_str()).collect();
    assert_eq!(ids.len(), 6, "every note is used before one comes round again");
    let cleans: Vec<LabelledNote> = paired(3).into_iter().filter(|n| !n.label.is_error()).collect();
    assert!(Pools::new(cleans).unwrap_err().to_string().contains("no error notes"));
}

#[test]
fn draws_both_notes_of_every_pair_where_pairs_are_wanted() {
    let mut notes = paired(200);
    // Groups 100 and up have no clean sibling.
    notes.retain(|note| note.label.is_error() || note.note.group[1..].parse::<u32>().unwrap() < 100);
    let pools = Pools::new(notes).unwrap();
    let (mut n_paired, mut n_lone) = (0, 0);
    for step in 0..40 {
        let drawn = draw_pairs(&pools, 7, step, 16);
        assert_eq!(drawn, draw_pairs(&pools, 7, step, 16), "the same key draws the same");
        assert_eq!(drawn.iter().map(|(quadrant, _)| *quadrant).collect::<Vec<_>>(), Quadrant::ALL.repeat(4), "four equal shares");
        assert!(drawn.iter().all(|(quadrant, note)| quadrant.starts_from_error() == note.label.is_error()));
        for four in drawn.chunks(4) {
            let [error, safe, decoy, injection] = four else { panic!("{four:?}") };
            assert_eq!(decoy.1, injection.1, "one clean note, once left right and once made wrong");
            let has_sibling = error.1.note.group[1..].parse::<u32>().unwrap() < 100;
            assert_eq!(error.1.note.group == safe.1.note.group, has_sibling, "{} {}", error.1.note.id, safe.1.note.id);
            *(if has_sibling { &mut n_paired } else { &mut n_lone }) += 1;
        }
        let groups: HashSet<&str> = drawn.iter().map(|(_, note)| note.note.group.as_str()).collect();
        assert!(groups.len() >= 8, "step {step}: {groups:?}");
        // The errors are those of a step that wants no pairs.
        let errors =
            |drawn: &[(Quadrant, LabelledNote)]| drawn.iter().step_by(4).map(|(_, n)| n.note.id.clone()).collect::<Vec<_>>();
        assert_eq!(errors(&drawn), errors(&draw(&pools, 7, step, 16)));
    }
    assert!(n_paired > 50 && n_lone > 50, "{n_paired} {n_lone}");
}

#[test]
fn draws_more_of_the_quadrants_that_are_missing() {
    let pools = Pools::new(paired(40)).unwrap();
    let wanted = [Quadrant::AugmentedError, Quadrant::SyntheticDecoy, Quadrant::SyntheticDecoy];
    let first = draw(&pools, 7, 3, 16);
    let read: HashSet<String> = first.iter().map(|(_, note)| note.note.id.clone()).collect();
    let more = draw_more(&pools, 7, 3, 1, &wanted, &read);
    assert_eq!(more.iter().map(|(quadrant, _)| *quadrant).collect::<Vec<_>>(), wanted);
    assert!(more.iter().all(|(quadrant, note)| quadrant.starts_from_error() == note.label.is_error()));
    assert!(more.iter().all(|(_, note)| !read.contains(&note.note.id)), "a note that was read in the step is not read again");
    assert_eq!(more, draw_more(&pools, 7, 3, 1, &wanted, &read));
    assert_ne!(more, draw_more(&pools, 7, 3, 2, &wanted, &read));
    // Where everything was read, notes come round again.
    let all: HashSet<String> = pools.errors.iter().chain(&pools.cleans).map(|n| n.note.id.clone()).collect();
    assert_eq!(draw_more(&pools, 7, 3, 1, &[Quadrant::AugmentedError; 50], &all).len(), 50);
}

#[test]
fn draws_more_in_whole_pairs_where_pairs_are_wanted() {
    use Quadrant::{AugmentedError, AugmentedSafe, SyntheticDecoy, SyntheticInjection};
    let mut notes = paired(60);
    // Groups 30 and up have no clean sibling.
    notes.retain(|note| note.label.is_error() || note.note.group[1..].parse::<u32>().unwrap() < 30);
    let pools = Pools::new(notes).unwrap();
    for step in 1..20 {
        let first = draw_pairs(&pools, 7, step, 16);
        let read: HashSet<String> = first.iter().map(|(_, note)| note.note.id.clone()).collect();
        let more = |quadrants: &[Quadrant]| draw_more_pairs(&pools, 7, step, 1, quadrants, &read);
        // Two safe notes are missing: their error notes come along. One injection: its clean note comes along as a decoy.
        let drawn = more(&[AugmentedSafe, SyntheticInjection, AugmentedSafe]);
        let order = [AugmentedError, AugmentedSafe, AugmentedError, AugmentedSafe, SyntheticDecoy, SyntheticInjection];
        assert_eq!(drawn.iter().map(|(quadrant, _)| *quadrant).collect::<Vec<_>>(), order);
        for pair in drawn[..4].chunks(2) {
            assert_eq!(pair[0].1.note.group, pair[1].1.note.group, "the error notes chosen have siblings");
            assert!(pair[0].1.label.is_error() && !pair[1].1.label.is_error());
        }
        assert_eq!(drawn[4].1, drawn[5].1);
        let groups: HashSet<&str> = drawn.iter().map(|(_, note)| note.note.group.as_str()).collect();
        assert_eq!(groups.len(), 3, "three different patients");
        assert!(drawn.iter().all(|(_, note)| !read.contains(&note.note.id)), "none of whom was read in the step");
        // Both notes of a pair missing is one more pair.
        assert_eq!(more(&[AugmentedSafe, AugmentedError]).len(), 2);
        assert_eq!(more(&[]), []);
        assert_eq!(drawn, more(&[AugmentedSafe, SyntheticInjection, AugmentedSafe]));
    }
    // Where no error note has a sibling, its safe note is another patient's; where notes run out, they come round again.
    let mut lone = paired(4);
    lone.retain(|note| note.label.is_error() == (note.note.group.as_str() < "g2"));
    let pools = Pools::new(lone).unwrap();
    let drawn = draw_more_pairs(&pools, 7, 1, 1, &[AugmentedError; 5], &HashSet::new());
    assert_eq!(drawn.len(), 10);
    assert!(drawn.iter().all(|(quadrant, note)| quadrant.starts_from_error() == note.label.is_error()));
}

fn sft(notes: usize, clean_fraction: f64) -> SftConfig {
    SftConfig { notes, clean_fraction, ..SftConfig::default() }
}

fn assert_says_labels(notes: &[LabelledNote], style: PromptStyle, seed: u64) -> usize {
    let made = examples(notes, &sft(notes.len(), 0.5), style, seed);
    let mut told: BTreeMap<String, Verdict> = BTreeMap::new();
    for note in notes {
        let truth = match &note.label {
            Label::Clean => Verdict::Clean,
            Label::Error { kind, sentence, correction } => {
                Verdict::Error { kind: *kind, sentence: Some(*sentence), correction: Some(correction.clone()) }
            }
        };
        told.insert(note.note.numbered(), truth);
    }
    for example in &made {
        let content = &example.chat.turns[0].content;
        let verdict = verdict::parse(&example.completion);
        let note = &content[content.find("\n0 ").unwrap() + 1..];
        assert_eq!(told.get(note), Some(&verdict), "{}", example.completion);
    }
    made.len()
}

#[test]
fn warm_up_completions_parse_back_to_their_labels() {
    let mut notes = paired(40);
    let hostile =
        Label::Error { kind: ErrorKind::Treatment, sentence: 0, correction: "x; Correction: {right}; Sentence: 4".into() };
    notes.push(note("h1", "h1", &["It {wrong} <verdict is {n}."], hostile));
    notes.push(note("h2", "h2", &["It quotes <verdict> and <thinking>."], Label::Clean));
    for style in [PromptStyle::Brief, PromptStyle::Full] {
        assert_eq!(assert_says_labels(&notes, style, 5), 80, "all but the note that quotes the grammar");
    }
    let verb = [note(
        "v",
        "v",
        &["Colonoscopy is done."],
        Label::Error { kind: ErrorKind::Management, sentence: 0, correction: "Scans are done.".into() },
    )];
    let made = examples(&verb, &sft(1, 0.0), PromptStyle::Full, 1);
    assert!(made[0].completion.contains("\"Colonoscopy\"") && made[0].completion.contains("\"Scans\""), "{}", made[0].completion);
    let made = examples(&notes[..2], &sft(2, 0.5), PromptStyle::Full, 1);
    let error = made.iter().find(|e| e.completion.contains("Error:")).unwrap();
    assert!(
        error.completion.contains("\"Drug w0 is given at once.\"")
            && error.completion.contains("\"w0\"")
            && error.completion.contains("\"r0\""),
        "{}",
        error.completion
    );
    let clean = made.iter().find(|e| e.completion.contains("No Clinical Error")).unwrap();
    assert!(clean.completion.contains("\"Drug r0 is given at once.\""), "{}", clean.completion);
    let wordings: HashSet<String> =
        (0..60).map(|seed| examples(&notes[..1], &sft(1, 0.0), PromptStyle::Full, seed)[0].completion.clone()).collect();
    assert_eq!(wordings.len(), 9);
}

#[test]
fn warm_up_mixes_the_share_asked_for() {
    let notes = paired(40);
    let cleans = |n, share| {
        let made = examples(&notes, &sft(n, share), PromptStyle::Brief, 2);
        (made.len(), made.iter().filter(|e| e.completion.contains("No Clinical Error")).count())
    };
    assert_eq!(cleans(20, 0.5), (20, 10));
    assert_eq!(cleans(20, 0.0), (20, 0));
    assert_eq!(cleans(20, 1.0), (20, 20));
    assert_eq!(cleans(40, 0.25), (40, 10));
    assert_eq!(cleans(1000, 0.2), (50, 10), "the share is kept where notes run short");
    assert_eq!(cleans(0, 0.5), (0, 0));
    let made = |seed| examples(&notes, &sft(20, 0.5), PromptStyle::Brief, seed);
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
    let patients: HashSet<String> = made(1).iter().map(|e| e.chat.turns[0].content.lines().nth(1).unwrap().to_owned()).collect();
    assert_eq!(patients.len(), 10, "clean notes are the siblings of the error notes chosen");
}

#[test]
fn warm_up_says_the_labels_of_the_real_files() {
    let Some(dir) = medec_dir() else { return };
    let (notes, _) = load(&dir.join("MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv")).unwrap();
    assert_eq!(assert_says_labels(&notes, PromptStyle::Full, 1), 510, "as many error notes as there are clean ones");
    let (notes, _) = load(&dir.join("train-pairs.jsonl")).unwrap();
    assert_eq!(assert_says_labels(&notes, PromptStyle::Brief, 1), 2438);
}
