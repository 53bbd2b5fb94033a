//! The Inspect screen: every committed rollout, found, read, compared and taken out again.

use medserl::{
    store::{SortKey, Store},
    task::{Rollout, Text},
    tui::{
        Effect, Event,
        inspect::{Layer, NoteView, Part},
        loader::{Loader, load},
        query::{Loaded, Query},
        screen::Screen,
    },
};

use super::{
    assert_shows,
    fixture::{BROKEN, CLEAN, Reader, TEXTS, fill, report, step},
};
use medserl::attach::Notice;

#[test]
fn the_list_and_the_rollout_stand_side_by_side() {
    let reader = Reader::inspecting(3, (120, 40));
    let screen = reader.shown();
    assert_shows(
        &screen,
        &["1 Live  2·Inspect  3 Label  4 Charts  5 Runs  6 Log", "Rollouts  48", "step ↓", "▸ AE-0003-00/1", "●TP", "+1.10"],
    );
    assert_shows(&screen, &["AE-0003-00  completion 1/4", "● TP true positive", "= format +0.10, outcome +1.00"]);
    assert_shows(&screen, &["advantage +0.85", "minus group mean +1.02", "siblings · 2 of 4 right", "✗XX", "▼FN"]);
    assert_shows(&screen, &["⟦Metformin [-1000-] +5000+ mg twice daily is started.⟧", "thinking", "Lisinopril 10 mg daily"]);
    let wide = Reader::inspecting(3, (200, 60)).shown();
    assert_shows(&wide, &["─ verdict ─", "Error: Pharmacotherapy; Sentence: 3", "augmented error"]);
}

#[test]
fn on_a_small_screen_the_list_and_the_rollout_take_turns() {
    let mut reader = Reader::inspecting(2, (80, 24));
    let list = reader.shown();
    assert_shows(&list, &["Rollouts  32", "no filter", "sample/sibling", "quadrant", "/ filter", "Enter open", "s sort"]);
    assert!(!list.contains("siblings"), "{list}");
    reader.press("enter");
    let detail = reader.shown();
    assert_shows(&detail, &["AE-0002-00  completion 1/4", "1 of 32", "siblings · 2 of 4 right", "outcome", "lines · J"]);
    assert!(!detail.contains("no filter"), "{detail}");
    for _ in 0..100 {
        reader.press("down");
    }
    assert_shows(&reader.shown(), &["─ verdict ─", "Error: Pharmacotherapy"]);
    reader.press("esc");
    assert_shows(&reader.shown(), &["Rollouts  32"]);
}

#[test]
fn a_filter_is_written_checked_and_cleared() {
    let mut reader = Reader::inspecting(3, (120, 40));
    reader.press("/");
    "quad:SD cell:FX".chars().for_each(|c| reader.press(&c.to_string()));
    assert_shows(&reader.shown(), &["/ quad:SD cell:FX", "character 14: 'FX' is not TP", "Enter apply", "Esc cancel"]);
    reader.press("enter");
    assert!(reader.app.inspect.prompt.is_some(), "a filter with an error is not applied");
    reader.press("backspace");
    reader.press("P");
    reader.press("enter");
    assert_shows(&reader.shown(), &["Rollouts  6 of 48", "/ quad:SD cell:FP", "▲FP", "SD-0003-02/1"]);
    assert!(reader.app.inspect.rows.iter().all(|row| row.sample_id.starts_with("SD")));
    reader.press("/");
    "xyz".chars().for_each(|c| reader.press(&c.to_string()));
    reader.press("esc");
    assert_shows(&reader.shown(), &["Rollouts  6 of 48", "/ quad:SD cell:FP"]);
    reader.filter("id:nowhere");
    assert_shows(&reader.shown(), &["no rollout passes this filter", "no rollout is chosen"]);
    reader.press("esc");
    assert_shows(&reader.shown(), &["Rollouts  48", "no filter"]);
}

#[test]
fn keys_sort_walk_and_find_what_is_wrong() {
    let mut reader = Reader::inspecting(2, (120, 40));
    reader.press("s");
    assert_eq!((reader.app.inspect.sort.key, reader.app.inspect.sort.descending), (SortKey::Reward, false));
    assert!(reader.app.inspect.rows.windows(2).all(|w| w[0].reward <= w[1].reward));
    reader.press("S");
    assert!(reader.app.inspect.rows.windows(2).all(|w| w[0].reward >= w[1].reward));
    assert_shows(&reader.shown(), &["reward ↓"]);
    for key in ["s", "s", "s"] {
        reader.press(key);
    }
    assert_eq!(reader.app.inspect.sort.key, SortKey::Step);
    reader.press("home");
    assert_eq!(reader.app.inspect.chosen, 0);
    reader.press("n");
    assert_eq!(reader.app.inspect.rows[reader.app.inspect.chosen].sibling, 1);
    assert_shows(&reader.shown(), &["▼ FN false negative"]);
    reader.press("N");
    assert_shows(&reader.shown(), &["nothing wrong before this one"]);
    reader.press("right");
    assert_shows(&reader.shown(), &["completion 3/4", "completion · malformed: no <thinking>", "I think the dose is too high"]);
    assert_eq!(reader.app.inspect.chosen, 2, "the list follows the sibling");
    reader.press("end");
    assert_eq!(reader.app.inspect.chosen, 31);
    reader.press("right");
    assert_shows(&reader.shown(), &["this is the last completion of the sample"]);
}

#[test]
fn marked_rollouts_are_compared_exported_and_copied() {
    let mut reader = Reader::inspecting(2, (120, 40));
    reader.press("c");
    assert_shows(&reader.shown(), &["mark two rollouts with v"]);
    reader.press("v");
    reader.press("right");
    reader.press("c");
    let screen = reader.shown();
    assert_shows(
        &screen,
        &["Compare", "AE-0002-00/1", "AE-0002-00/2", "+<thinking>Nothing in this", "[-<thinking>The patient is a"],
    );
    reader.press("esc");
    assert_shows(&reader.shown(), &["Rollouts  32"]);
    reader.press("v");
    for _ in 0..4 {
        reader.event(Event::Tick);
    }
    assert_shows(&reader.shown(), &["2 marked", "* AE-0002-00", "v unmark"]);
    reader.press("E");
    assert_shows(&reader.shown(), &["wrote 2 rollouts to"]);
    let written = std::fs::read_to_string(reader.dir.path().join("marked-1.jsonl")).unwrap();
    let back: Vec<Rollout> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(back.iter().map(|r| r.completion.text.as_str()).collect::<Vec<_>>(), &TEXTS[..2]);
    reader.press("E");
    assert!(reader.dir.path().join("marked-2.jsonl").exists(), "an export never overwrites another");
    reader.press("V");
    reader.press("right");
    reader.press("y");
    assert_eq!(reader.effects, [Effect::Copy(Text::new(BROKEN))]);
    let Effect::Copy(text) = &reader.effects[0] else { unreachable!() };
    assert!(!text.as_str().chars().any(char::is_control));
    reader.press("Y");
    assert!(matches!(&reader.effects[1], Effect::Copy(text) if text.as_str().contains("\n3 Metformin 5000 mg")));
}

#[test]
fn a_copy_reaches_the_terminal_as_one_safe_sequence() {
    let mut out = Vec::new();
    medserl::tui::clipboard::copy(&mut out, &Text::new("Any carnal pleas")).unwrap();
    assert_eq!(out, b"\x1b]52;c;QW55IGNhcm5hbCBwbGVhcw==\x1b\\");
    out.clear();
    medserl::tui::clipboard::copy(&mut out, &Text::new("a\x1b]0;evil\x07")).unwrap();
    assert_eq!(out.iter().filter(|b| **b == 0x1b).count(), 2, "only the sequence's own escapes");
}

#[test]
fn layers_and_views_of_the_note_come_in_turn() {
    let mut reader = Reader::inspecting(1, (120, 40));
    reader.press("t");
    assert_eq!(reader.app.inspect.layer, Layer::Surprise);
    for _ in 0..6 {
        reader.press("t");
    }
    assert_eq!(reader.app.inspect.layer, Layer::Off);
    reader.press("]");
    assert_shows(&reader.shown(), &["t shows the tokens first"]);
    reader.press("d");
    assert_eq!(reader.app.inspect.note_view, NoteView::Posed);
    assert_shows(&reader.shown(), &["as the Doctor read it", "3 Metformin 5000 mg twice daily is started."]);
    reader.press("d");
    assert_shows(&reader.shown(), &["the source, ms-412", "3 Metformin 1000 mg twice daily is started."]);
}

#[test]
fn new_steps_are_counted_and_never_move_what_is_read() {
    let mut reader = Reader::inspecting(1, (120, 40));
    reader.press("down");
    let before = reader.app.inspect.shown.clone();
    let mut store = Store::open(reader.dir.path()).unwrap();
    let (report, samples, rollouts) = step(2);
    store.commit_step(&report, &samples, &rollouts).unwrap();
    reader.event(Event::Notice(Box::new(Notice::Step { report: Box::new(report) })));
    assert_shows(&reader.shown(), &["Rollouts  16", "+1 step · R"]);
    reader.press("R");
    assert_shows(&reader.shown(), &["Rollouts  32"]);
    assert_eq!(reader.app.inspect.shown, before);
    assert_eq!(reader.app.inspect.chosen, 17);
}

#[test]
fn the_first_step_comes_in_by_itself_and_a_missing_store_is_said() {
    let mut reader = Reader::inspecting(0, (80, 24));
    assert_shows(&reader.shown(), &["no step is committed yet"]);
    let (first, samples, rollouts) = step(1);
    Store::open(reader.dir.path()).unwrap().commit_step(&first, &samples, &rollouts).unwrap();
    reader.event(Event::Notice(Box::new(Notice::Step { report: Box::new(report(1)) })));
    assert_shows(&reader.shown(), &["Rollouts  16"]);
    let mut lost = Reader::new(0, (80, 24));
    std::fs::remove_file(lost.dir.path().join("run.db")).unwrap();
    lost.press("2");
    assert_shows(&lost.shown(), &["cannot be read"]);
}

#[test]
fn an_answer_that_comes_too_late_is_passed_over() {
    let mut reader = Reader::inspecting(2, (120, 40));
    let old = Query::Rollouts { filter: reader.app.inspect.filter.clone(), sort: reader.app.inspect.sort };
    let late = load(reader.dir.path(), &mut None, &old).unwrap();
    reader.filter("cell:FN");
    let n = reader.app.inspect.rows.len();
    reader.event(Event::Loaded(Box::new(late)));
    assert_eq!(reader.app.inspect.rows.len(), n);
    let other = Query::Group { sample_id: "SD-0001-02".to_owned() };
    let shown = reader.app.inspect.group[0].sample.id.clone();
    let late = load(reader.dir.path(), &mut None, &other).unwrap();
    reader.event(Event::Loaded(Box::new(late)));
    assert_eq!(reader.app.inspect.group[0].sample.id, shown);
}

#[test]
fn the_loader_answers_from_its_own_thread() {
    let dir = tempfile::tempdir().unwrap();
    drop(fill(dir.path(), 1));
    let (sender, events) = std::sync::mpsc::channel();
    let loader = Loader::start(dir.path().to_owned(), sender).unwrap();
    loader.ask(Query::Group { sample_id: "SD-0001-02".to_owned() });
    let Ok(Event::Loaded(answer)) = events.recv() else { panic!("no answer") };
    assert!(matches!(*answer, Loaded::Group { rollouts, .. } if rollouts.len() == 4));
    drop(loader);
    assert!(events.recv().is_err(), "its thread ends with it");
}

#[test]
fn a_tiny_terminal_still_lists_filters_and_reads() {
    let mut reader = Reader::inspecting(1, (44, 10));
    assert_shows(&reader.shown(), &["Rollouts  16", "▸ AE-0001-00/1", "/ filter"]);
    reader.press("/");
    "bad:".chars().for_each(|c| reader.press(&c.to_string()));
    assert_shows(&reader.shown(), &["/ bad:"]);
    reader.press("esc");
    reader.press("enter");
    assert_eq!(reader.app.inspect.part, Part::Detail);
    assert_shows(&reader.shown(), &["AE-0001-00", "outcome"]);
}

#[test]
fn screens_have_numbers_and_the_log_has_one() {
    let mut reader = Reader::new(1, (80, 24));
    assert_shows(&reader.shown(), &["1·Live  2 Inspect  3 Label  4 Charts  5 Runs  6 Log"]);
    reader.press("6");
    assert_eq!(reader.app.screen, Screen::Log);
    let screen = reader.shown();
    assert_shows(&screen, &["6·Log", "SD false positives 0.25", "checkpoint step-300 saved"]);
    assert!(!screen.contains("f freeze") && !screen.contains("Quadrants"), "{screen}");
    reader.press("?");
    reader.press("esc");
    assert_eq!(reader.app.overlay, None);
    reader.press("1");
    assert_shows(&reader.shown(), &["Quadrants", "f freeze"]);
    reader.event(Event::Closed);
    reader.press("2");
    let lost = reader.shown();
    assert_shows(&lost, &["? LOST", "/ filter", CLEAN.split("looks").next().map_or("", |_| "TP")]);
    assert!(!lost.contains("Space pause"), "there is nothing to steer: {lost}");
}
