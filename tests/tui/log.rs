//! The Log screen: the trainer's file, filtered and searched.

use std::{fs, io::Write};

use medserl::tui::{Event, logs::Entry};
use medserl::{
    attach::{Notice, protocol::Level},
    task::Text,
};

use super::{assert_shows, fixture::Reader};

const LINES: &str = "1790000000 INFO  run demo-s1 in /runs/demo-s1\n\
    1790000001 INFO  [scribe] eight samples\n\
    1790000065 WARN  [commit] alarm KL: 0.31 above 0.20\n\
    1790000066 ERROR [eval] no held-out notes\n\
    a line of another program\n\
    1790000067 INFO  [commit] checkpoint saved";

/// A reader on the Log screen of a run that logged the lines above, the last of them still being written.
fn reading(size: (u16, u16)) -> Reader {
    let mut reader = Reader::new(1, size);
    fs::write(reader.dir.path().join("trainer.log"), LINES).unwrap();
    reader.press("6");
    reader
}

#[test]
fn the_file_is_shown_with_time_level_and_source() {
    let reader = reading((120, 40));
    let screen = reader.shown();
    assert_shows(
        &screen,
        &["Log  all levels  all sources", "follows", "5 lines", "09-21 14:13:21", "! WARN", "✗ ERROR", "commit"],
    );
    assert_shows(&screen, &["alarm KL: 0.31 above 0.20", "a line of another program"]);
    assert!(!screen.contains("checkpoint saved"), "a line that is still being written waits: {screen}");
    let entry = Entry::parse("1790000065 WARN  [commit] alarm");
    assert_eq!(
        (entry.unix_s, entry.level, entry.source, entry.text.as_str()),
        (Some(1_790_000_065), Level::Warn, "commit", "alarm")
    );
    assert_eq!(Entry::parse("1790000065 WARN  [else] x").text.as_str(), "[else] x");
}

#[test]
fn new_lines_come_in_as_the_trainer_speaks() {
    let mut reader = reading((120, 40));
    let mut file = fs::OpenOptions::new().append(true).open(reader.dir.path().join("trainer.log")).unwrap();
    file.write_all(b"\n1790000070 INFO  [update] more\n").unwrap();
    reader.event(Event::Notice(Box::new(Notice::Log { level: Level::Info, message: Text::new("more") })));
    assert_shows(&reader.shown(), &["7 lines", "checkpoint saved", "update", "more"]);
}

#[test]
fn levels_sources_and_words_narrow_it_down() {
    let mut reader = reading((120, 40));
    reader.press("L");
    let screen = reader.shown();
    assert_shows(&screen, &["! WARN and worse", "2 lines", "alarm KL", "no held-out notes"]);
    assert!(!screen.contains("eight samples"));
    reader.press("L");
    assert_shows(&reader.shown(), &["✗ ERROR only", "1 line "]);
    reader.press("L");
    reader.press("s");
    assert_shows(&reader.shown(), &["Log  all levels  scribe", "eight samples", "1 line "]);
    reader.press("s");
    assert_shows(&reader.shown(), &["Log  all levels  commit", "alarm KL"]);
    reader.press("esc");
    assert_shows(&reader.shown(), &["all sources", "5 lines"]);
}

#[test]
fn a_search_goes_from_match_to_match() {
    let mut reader = reading((80, 24));
    assert!(!reader.shown().contains("next match"), "nothing is sought: {}", reader.shown());
    reader.press("/");
    "DEMO".chars().for_each(|c| reader.press(&c.to_string()));
    assert_shows(&reader.shown(), &["/DEMO", "Enter search"]);
    reader.press("enter");
    assert_shows(&reader.shown(), &["1 of 5", "/demo", "n next match", "↑↓ line"]);
    reader.press("n");
    assert_shows(&reader.shown(), &["no match after this line"]);
    reader.press("/");
    reader.press("ctrl-u");
    "nowhere".chars().for_each(|c| reader.press(&c.to_string()));
    reader.press("enter");
    assert_shows(&reader.shown(), &["'nowhere' is in no line on show"]);
    for _ in 0..2 {
        reader.press("esc");
    }
    assert_eq!((reader.app.logs.search.as_str(), reader.app.logs.chosen), ("", Some(0)));
    reader.press("end");
    assert_eq!(reader.app.logs.chosen, None, "at its end the log follows");
}

#[test]
fn a_long_line_is_whole_below_and_a_run_without_a_file_shows_what_it_said() {
    let mut reader = Reader::new(1, (80, 24));
    let long = "word ".repeat(40) + "END";
    fs::write(reader.dir.path().join("trainer.log"), format!("1790000000 WARN  [eval] {long}\n")).unwrap();
    reader.press("6");
    assert_shows(&reader.shown(), &["…", "word END"]);
    let mut bare = Reader::new(1, (80, 24));
    bare.press("6");
    assert_shows(&bare.shown(), &["SD false positives 0.25", "checkpoint step-300 saved"]);
}
