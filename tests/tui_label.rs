//! The Label screen as its reader meets it: keys in, decisions on disk and text on the screen out. No terminal is needed.

pub mod bench;

use bench::{Bench, SIZES, setup};
use medserl::{
    task::{
        Decision, Entry, ErrorKind, Judged, Quadrant, RejectReason,
        decision::Opinion,
        hand_label::{Picked, fingerprint},
    },
    tui::{
        Theme,
        label::{
            Task,
            keys::{KEYS, When},
        },
        theme::Depth,
    },
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

fn amend(kind: Option<ErrorKind>, sentence: Option<u32>, correction: Option<&str>) -> Decision {
    Decision::Amend { kind, sentence, correction: correction.map(str::to_owned) }
}

#[test]
fn a_claim_is_shown_with_everything_it_rests_on() {
    let bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    bench.shows(&["night-s1", "[Label]", "8 left", "review claim (T)", "newest (Q)"]);
    bench.shows(&["Rewritten  AE-0002-00", "augmented error", "▸2 ⟦He takes [-metformin.-] +warfarin.+⟧", "1 He has diabetes."]);
    bench.shows(&["claims  ERROR Pharmacotherapy, sentence 2", "\"metformin\" → \"warfarin\"", "right   He takes metformin."]);
    bench.shows(&[
        "a accept: the note has this error",
        "x reject, asks why",
        "4 pharmacotherapy",
        "Space cannot tell",
        "q leave",
        "? help",
    ]);
    assert!(!bench.screen().contains("Doctor "), "what the Doctor says waits until it is asked for");
    let wide = Bench::new((120, 40), setup(Task::Review, Picked::Newest));
    wide.shows(&["Original  ms-1", "2 He takes metformin.", "Queue", "Session", "History", "▸ AE-0002-00", "AS-0002-01"]);
}

#[test]
fn a_static_note_says_how_often_the_scribe_was_refused() {
    for (attempts, told) in [(1, "1 attempt was rejected"), (3, "3 attempts were rejected")] {
        let mut desk = bench::Memory::default();
        desk.add_step(2, 1);
        let from = &mut desk.samples.get_mut("AE-0002-00").unwrap().provenance;
        (from.fallback, from.attempts) = (true, attempts);
        Bench::over((80, 24), setup(Task::Review, Picked::Newest), desk).shows(&[told]);
    }
}

#[test]
fn one_key_decides_and_brings_the_next_sample() {
    let check = |keys: &[&str], expected: Decision| {
        let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
        bench.press(keys);
        let labels = bench.labels();
        assert_eq!(labels.iter().map(|l| &l.decision).collect::<Vec<_>>(), [&expected], "{keys:?}\n{}", bench.screen());
        assert_eq!(labels[0].sample, "AE-0002-00");
        assert_eq!(bench.app.card.as_ref().unwrap().id, "AS-0002-01", "{keys:?}");
        assert_eq!((bench.app.remaining(), bench.app.session.counts().total()), (7, 1));
    };
    check(&["a"], Decision::Accept);
    check(&["space"], Decision::Unsure);
    check(&["4"], Decision::Accept);
    check(&["3"], amend(Some(ErrorKind::Treatment), None, None));
    check(&["x", "n"], Decision::Reject(RejectReason::NoError));
    check(&["x", "z", "g"], Decision::Reject(RejectReason::Giveaway));
    check(&["x", "esc", "a"], Decision::Accept);
    check(&["]", "a"], amend(None, Some(3), None));
    check(&["]", "[", "a"], Decision::Accept);
    check(&["]", "1"], amend(Some(ErrorKind::Diagnosis), Some(3), None));
    check(&["e", "ctrl-w", "i", "n", "s", "u", "l", "i", "n", ".", "enter"], amend(None, None, Some("He takes insulin.")));
    check(&["e", "esc", "e", "enter", "a"], Decision::Accept);
}

#[test]
fn a_clean_claim_becomes_an_error_only_when_all_is_said() {
    let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    bench.press(&["n"]);
    bench.shows(&["AS-0002-01", "claims  CLEAN", "accept: the note is clean"]);
    bench.press(&["2"]);
    bench.shows(&["calling it an error takes a type, a sentence"]);
    bench.press(&["e"]);
    bench.shows(&["point at the sentence first"]);
    bench.press(&["[", "e", "!", "enter"]);
    bench.shows(&["now the error's type"]);
    assert_eq!(bench.labels(), []);
    bench.press(&["2"]);
    let labels = bench.labels();
    assert_eq!(labels[0].decision, amend(Some(ErrorKind::Management), Some(3), Some("Return in 3 months.!")));
    bench.press(&["n", "x"]);
    bench.shows(&["SI-0002-03", "no error: the meaning is still right", "another error than claimed"]);
    assert!(!bench.screen().contains("not clean"), "only reasons that fit the claim");
}

#[test]
fn what_is_decided_is_recorded_with_how_it_was_decided() {
    let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Second));
    bench.now += 4_500;
    bench.press(&["c", "o", "k", " ", "?", "enter", "R"]);
    bench.shows(&["Doctor  1 of 4 agree with the claim, 1 unreadable", "\"ok ?\""]);
    bench.now += 1_500;
    bench.press(&["a"]);
    let label = &bench.labels()[0];
    assert_eq!((label.run.as_str(), label.annotator.as_str(), label.remark.as_str()), ("night-s1", "ann", "ok ?"));
    assert_eq!((label.seconds, label.at, label.blind, label.saw_doctor), (6.0, bench.now / 1000, false, true));
    assert_eq!((label.picked, label.group.as_str(), label.tool.starts_with("medserl ")), (Picked::Second, "g1", true));
    assert_eq!(label.note, fingerprint(&bench.desk.sample(&label.sample).note));
    bench.shows(&["last  AE-0002-00", "you: accept", "claim: ERROR Pharmacotherapy, sentence 2"]);
    bench.press(&["a"]);
    let label = &bench.labels()[1];
    assert!(label.remark.is_empty() && !label.saw_doctor, "the next sample starts afresh");
}

#[test]
fn a_blind_judgement_sees_nothing_but_the_note() {
    for size in [(60, 15), (80, 24), (120, 40), (200, 60)] {
        let mut bench = Bench::new(size, setup(Task::Blind, Picked::Stratified));
        for _ in 0..8 {
            let card = bench.app.card.clone().unwrap();
            let screen = bench.screen();
            let sample = card.sample.unwrap();
            for secret in [card.id.as_str(), sample.quadrant.title(), "claims  ", "metformin\" →", "[-", "⟦", "Original"] {
                assert!(!screen.contains(secret), "{secret:?} is on the screen\n{screen}");
            }
            bench.shows(&["clinical error?", "0 no error"]);
            for hidden in ["a", "x", "e", "R", "o", "d"] {
                bench.press(&[hidden]);
                bench.shows(&["judge first"]);
            }
            bench.press(&["]"]);
            assert_eq!(bench.app.card.as_ref().unwrap().cursor, Some(0), "the cursor does not start at the claim");
            bench.press(&["space"]);
        }
        assert!(bench.labels().iter().all(|l| l.blind && l.decision == Decision::Unsure));
        bench.shows(&["0 left"]);
    }
}

#[test]
fn a_blind_judgement_that_differs_opens_the_claim_and_asks_again() {
    let mut bench = Bench::new((80, 24), setup(Task::Blind, Picked::Newest));
    bench.open("SI-0002-03");
    bench.press(&["4"]);
    assert_eq!(bench.labels()[0].decision.opinion(&bench.labels()[0].claim), Opinion::Right);
    bench.shows(&["last  SI-0002-03", "you: error: Pharmacotherapy"]);
    bench.open("SI-0002-07");
    bench.press(&["0"]);
    bench.shows(&["the claim differs", "SI-0002-07", "you saw  no error", "claims  ERROR Pharmacotherapy", "a accept"]);
    assert_eq!(bench.app.remaining(), 7, "it is not done yet");
    bench.press(&["a"]);
    let labels = bench.labels();
    assert_eq!((&labels[1].decision, labels[1].blind), (&Decision::Judge(Judged::Clean), true));
    assert_eq!((&labels[2].decision, labels[2].blind, &labels[2].sample), (&Decision::Accept, false, &"SI-0002-07".to_owned()));
    assert_eq!(bench.app.remaining(), 6);
    // Taken back, the claim stays open: it was seen. So was the first sample's, which cannot be judged blind again.
    bench.press(&["u"]);
    bench.shows(&["SI-0002-07", "you saw  no error", "claims  ERROR"]);
    bench.press(&["u", "u"]);
    bench.shows(&["clinical error?"]);
    bench.press(&["0"]);
    let again = bench.labels().pop().unwrap();
    assert_eq!((again.sample.as_str(), again.blind), ("SI-0002-03", false));
}

#[test]
fn undo_has_no_end_and_survives_the_end_of_the_program() {
    let mut bench = Bench::new((120, 40), setup(Task::Review, Picked::Newest));
    bench.press(&["a", "space", "a", "x", "u"]);
    assert_eq!(bench.app.remaining(), 4);
    let before: Vec<String> = bench.labels().iter().map(|l| l.sample.clone()).collect();
    let mut bench = bench.restarted();
    assert_eq!((bench.app.remaining(), bench.app.session.counts().total()), (4, 0));
    for sample in before.iter().rev() {
        bench.press(&["u"]);
        assert_eq!(&bench.app.card.as_ref().unwrap().id, sample);
        bench.shows(&["taken back"]);
    }
    bench.press(&["u"]);
    bench.shows(&["nothing to take back"]);
    assert_eq!((bench.labels().len(), bench.app.remaining()), (0, 8));
    bench.press(&["U", "U", "U", "U"]);
    let after: Vec<String> = bench.labels().iter().map(|l| l.sample.clone()).collect();
    assert_eq!(after, before, "redo gives them again in their order");
    assert_eq!(bench.app.remaining(), 4);
    bench.press(&["U"]);
    bench.shows(&["nothing to give again"]);
    bench.press(&["u", "space", "U"]);
    bench.shows(&["nothing to give again"]);
    assert_eq!(bench.desk.entries.iter().filter(|e| matches!(e, Entry::Undo(_))).count(), 5, "nothing on record is ever removed");
}

#[test]
fn what_is_not_on_disk_does_not_count() {
    let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    bench.desk.is_full = true;
    bench.press(&["a"]);
    bench.shows(&["NOT KEPT: the disk is full", "AE-0002-00", "8 left", "0 decided"]);
    bench.desk.is_full = false;
    bench.press(&["a"]);
    bench.shows(&["AS-0002-01", "7 left", "1 decided"]);
    bench.desk.is_full = true;
    bench.press(&["u"]);
    bench.shows(&["NOT KEPT", "AS-0002-01", "1 decided"]);
}

#[test]
fn orders_do_what_they_are_called() {
    let ids = |bench: &Bench| bench.app.upcoming().map(|head| head.id.clone()).collect::<Vec<_>>();
    let newest = Bench::of(setup(Task::Review, Picked::Newest), 3, 4);
    assert_eq!(ids(&newest)[..5], ["AE-0003-00", "AS-0003-01", "SD-0003-02", "SI-0003-03", "AE-0002-00"]);
    let fair = ids(&Bench::of(setup(Task::Review, Picked::Stratified), 10, 8));
    for round in fair.chunks(4) {
        let mut codes: Vec<&str> = round.iter().map(|id| &id[..2]).collect();
        codes.sort_unstable();
        assert_eq!(codes, ["AE", "AS", "SD", "SI"], "every quadrant once a round");
    }
    let firsts: std::collections::BTreeSet<&str> = fair.chunks(4).map(|round| &round[0][..2]).collect();
    assert_eq!(firsts.len(), 4, "the place within a round must not tell the quadrant");
    assert_eq!(fair, ids(&Bench::of(setup(Task::Review, Picked::Stratified), 10, 8)), "the seed decides");
    let mut other = setup(Task::Review, Picked::Stratified);
    other.seed += 1;
    assert_ne!(fair, ids(&Bench::of(other, 10, 8)));
    // A run that has gone on keeps the order of what was there relative to itself.
    let more = ids(&Bench::of(setup(Task::Review, Picked::Newest), 4, 4));
    assert_eq!(more.iter().filter(|id| !id.contains("-0004-")).collect::<Vec<_>>(), ids(&newest).iter().collect::<Vec<_>>());

    // The Doctor is against the claim of odd samples in three of four completions, of even ones in two.
    let mut bench = Bench::of(setup(Task::Review, Picked::Disagreement), 2, 4);
    assert_eq!(
        ids(&bench),
        ["AS-0002-01", "SI-0002-03", "AS-0001-01", "SI-0001-03", "AE-0002-00", "SD-0002-02", "AE-0001-00", "SD-0001-02"]
    );
    bench.press(&["a"]);
    assert_eq!(bench.labels()[0].picked, Picked::Disagreement);
    bench.press(&["T"]);
    assert_eq!(bench.app.setup.order, Picked::Stratified, "a blind judge must not know that the Doctor disagrees");
    bench.press(&["Q", "Q", "Q"]);
    assert_eq!(bench.app.setup.order, Picked::Stratified, "nor come back to it");

    let mut ann = Bench::of(setup(Task::Review, Picked::Newest), 2, 4);
    ann.press(&["n", "n", "n", "n", "n", "a", "a"]);
    let mut bob = setup(Task::Review, Picked::Second);
    bob.annotator = "bob".to_owned();
    let bob = ann.continued_by(bob);
    assert_eq!(ids(&bob)[..3], ["AS-0001-01", "SD-0001-02", "AE-0002-00"]);
}

#[test]
fn decided_samples_come_back_now_and_then() {
    let mut with_repeats = setup(Task::Review, Picked::Stratified);
    with_repeats.repeats = 0.3;
    let mut bench = Bench::of(with_repeats, 20, 8);
    for _ in 0..120 {
        bench.press(&["space"]);
    }
    let labels = bench.labels();
    let again: Vec<usize> = (0..120).filter(|i| labels[*i].repeat).collect();
    assert!((15..=60).contains(&again.len()), "{} of 120", again.len());
    for at in &again {
        let before = labels[..*at].iter().rposition(|l| l.sample == labels[*at].sample).expect("a repeat of nothing");
        assert!(at - before > 10, "asked again after {} decisions", at - before);
    }
    let mut asked: Vec<&str> = again.iter().map(|at| labels[*at].sample.as_str()).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), again.len(), "nobody is asked three times");
    assert_eq!(bench.app.remaining(), 160 - (120 - again.len()));
    assert_eq!(bench.app.session.self_agreement(), (again.len(), again.len()));
    let mut none = Bench::of(setup(Task::Review, Picked::Stratified), 20, 8);
    (0..60).for_each(|_| none.press(&["space"]));
    assert!(none.labels().iter().all(|l| !l.repeat));
}

#[test]
fn a_run_that_goes_on_never_moves_the_sample_on_show() {
    let mut bench = Bench::new((120, 40), setup(Task::Review, Picked::Newest));
    bench.press(&["a"]);
    let shown = bench.app.card.clone().unwrap().id;
    bench.desk.add_step(3, 4);
    let heads = bench.desk.heads();
    bench.app.offer(heads.clone());
    bench.app.offer(heads);
    assert_eq!((bench.app.card.as_ref().unwrap().id.clone(), bench.app.remaining()), (shown.clone(), 11));
    bench.shows(&["11 left", &format!("▸ {shown}")]);
    bench.press(&["n", "b"]);
    assert_eq!(bench.app.card.as_ref().unwrap().id, shown);
    // A sample that is gone by the time it is wanted is named and passed over.
    bench.desk.samples.remove("SD-0002-02");
    bench.press(&["a"]);
    bench.shows(&["SD-0002-02 cannot be shown: gone", "SI-0002-03"]);
    assert_eq!(bench.app.remaining(), 9);
    let mut empty = Bench::of(setup(Task::Review, Picked::Newest), 0, 0);
    empty.shows(&["There is no sample yet", "0 left"]);
    empty.press(&["a", "x", "0", "space", "u", "n", "]"]);
    let mut done = Bench::of(setup(Task::Review, Picked::Newest), 1, 4);
    done.press(&["a", "a", "a", "a"]);
    done.shows(&["All 4 samples are decided"]);
    done.press(&["u"]);
    done.shows(&["SI-0001-03"]);
}

#[test]
fn a_long_note_scrolls_to_both_ends_and_opens_at_its_error() {
    let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    bench.lengthen("AE-0002-00", 60);
    bench.shows(&["⟦He takes", "more above and below"]);
    bench.press(&["k"; 100]);
    bench.shows(&["0 A 54-year-old man.", "more below ↓"]);
    bench.press(&["down"]);
    assert!(!bench.screen().contains("0 A 54-year-old man."), "one press goes one line, however often the end was passed");
    bench.press(&["pagedown"; 60]);
    bench.shows(&["Filler 59.", "more above ↑"]);
    // A sentence of a mebibyte is cut, and says so.
    let mut swollen = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    swollen.swell("AE-0002-00");
    swollen.shows(&["[1040000 more bytes]", "⟦He takes"]);
    // Blind, the place on show must not point at the error.
    let mut blind = Bench::new((80, 24), setup(Task::Blind, Picked::Newest));
    blind.open("AE-0002-00");
    blind.lengthen("AE-0002-00", 60);
    blind.shows(&["0 A 54-year-old man.", "more below ↓"]);
}

/// The palette of the Label screen: found by its meaning, pressed by Enter.
#[test]
fn the_help_finds_a_key_by_its_meaning_and_presses_it() {
    for (i, row) in KEYS.iter().enumerate() {
        let task = if row.when == When::Hidden { Task::Blind } else { Task::Review };
        let [mut by_key, mut by_help] = [(); 2].map(|()| Bench::new((80, 24), setup(task, Picked::Newest)));
        by_help.press(&[if i % 2 == 0 { "?" } else { ":" }]);
        let words: Vec<String> = row.doc.chars().map(|c| if c == ' ' { "space".to_owned() } else { c.to_string() }).collect();
        by_help.press(&words.iter().map(String::as_str).collect::<Vec<_>>());
        by_help.shows(&["Help  Label", row.doc]);
        if row.press.is_empty() {
            by_help.press(&["enter"]);
            by_help.shows(&["press the digit: 1 diagnosis"]);
            continue;
        }
        assert_eq!(by_help.leaves("enter"), by_key.leaves(row.press), "{}", row.doc);
        assert_eq!(by_help.screen(), by_key.screen(), "{}", row.doc);
    }
    // What does nothing now says why.
    let mut blind = Bench::new((80, 24), setup(Task::Blind, Picked::Newest));
    blind.press(&["?", "o", "r", "i", "g", "i", "n", "a", "l", "enter"]);
    blind.shows(&["Help  Label", "judge first"]);
}

/// The line at the foot is of the moment: keys that do nothing now are not on it.
#[test]
fn hints_are_those_of_the_question_that_is_open() {
    let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    bench.press(&["x"]);
    bench.shows(&["a letter the reason  Esc back"]);
    bench.press(&["esc", "c"]);
    bench.shows(&["Enter done  Esc give up  Ctrl-U clear  Ctrl-E editor"]);
    assert!(!bench.screen().contains("one key, then the next sample"), "{}", bench.screen());
}

#[test]
fn every_key_of_the_table_is_explained_and_does_something() {
    let mut bench = Bench::new((120, 40), setup(Task::Review, Picked::Newest));
    bench.press(&["?"]);
    for row in KEYS {
        bench.shows(&[row.shown, row.doc]);
    }
    bench.press(&["esc"]);
    let keys = ["a", "x", "3", "space", "?", "T", "Q", "]", "[", "e", "c", "R", "d", "o", "n", "right", "b", "left"];
    for key in keys {
        let mut bench = Bench::new((120, 40), setup(Task::Review, Picked::Newest));
        let before = bench.screen();
        bench.press(&[key]);
        assert_ne!(bench.screen(), before, "{key} changes nothing");
    }
    for key in ["u", "U"] {
        let mut bench = Bench::new((120, 40), setup(Task::Review, Picked::Newest));
        bench.press(if key == "u" { &["a"] } else { &["a", "u"] });
        let before = bench.app.remaining();
        bench.press(&[key]);
        assert_ne!(bench.app.remaining(), before, "{key}");
    }
    for key in ["q", "ctrl-c"] {
        let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
        assert!(bench.leaves(key), "{key}");
    }
    let mut bench = Bench::new((80, 24), setup(Task::Review, Picked::Newest));
    assert!(!bench.leaves("esc"), "what closes menus must not close the screen");
    bench.press(&["c"]);
    assert!(!bench.leaves("q"), "a letter in a comment is a letter");
}

#[test]
fn small_screens_keep_the_note_and_the_keys() {
    for size in [(60, 15), (44, 10), (40, 12), (59, 14), (20, 9)] {
        let mut bench = Bench::new(size, setup(Task::Review, Picked::Newest));
        bench.shows(&["warfarin", "a accept"]);
        bench.press(&["x"]);
        bench.shows(&["n no error", "o another", "g its", "u unreadable", "s something"]);
        bench.press(&["n"]);
        assert_eq!(bench.labels().len(), 1);
    }
}

/// Any keys at any size, in every theme: no panic, no control character, and the record always says what the screen says.
#[test]
fn nothing_breaks_it() {
    let keys = [
        "a",
        "x",
        "n",
        "o",
        "g",
        "u",
        "U",
        "space",
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "T",
        "Q",
        "R",
        "[",
        "]",
        "e",
        "c",
        "d",
        "b",
        "s",
        "h",
        "j",
        "k",
        "?",
        "enter",
        "esc",
        "backspace",
        "left",
        "right",
        "up",
        "down",
        "pageup",
        "pagedown",
        "ctrl-u",
        "ctrl-w",
        "ctrl-d",
        "tab",
        "医",
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (round, size) in SIZES.iter().cycle().take(48).enumerate() {
        let task = if round % 2 == 0 { Task::Review } else { Task::Blind };
        let mut start = setup(task, [Picked::Newest, Picked::Stratified, Picked::Second][round % 3]);
        start.repeats = 0.4;
        let mut bench = Bench::new(*size, start);
        bench.app.theme = Theme::built_in(["dark", "light", "mono"][round % 3], Depth::Indexed).unwrap();
        bench.make_hostile("SI-0002-03");
        for _ in 0..150 {
            bench.desk.is_full = rng.next_u32() % 16 == 0;
            bench.press(&[keys[rng.next_u32() as usize % keys.len()]]);
            bench.screen();
            bench.now += i64::from(rng.next_u32() % 5000);
        }
        let on_record: Vec<String> = bench.labels().iter().map(|l| l.id.clone()).collect();
        let on_screen: Vec<String> = bench.app.session.done.iter().map(|d| d.id.clone()).collect();
        assert_eq!(on_screen, on_record);
        assert!(bench.labels().iter().all(|l| l.decision.check(bench.desk.sample(&l.sample)).is_ok()));
        assert!(bench.labels().iter().all(|l| l.quadrant == Quadrant::parse(&l.sample[..2]).unwrap()));
    }
}
