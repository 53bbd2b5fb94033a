//! A run looked at after a while, and a run that nobody trains any more.

use medserl::{
    attach::{Notice, RunState},
    store::Store,
    tui::{
        App, Event,
        away::{Away, Seen},
        overlay::Overlay,
        query::{Loaded, Query},
        replay,
    },
};

use super::{
    assert_shows,
    fixture::{Reader, fill, step},
    press, shown, theme,
};

#[test]
fn the_card_tells_what_happened_since_the_reader_left() {
    let mut reader = Reader::new(40, (80, 24));
    let dir = reader.dir.path().to_owned();
    let store = Store::open_read_only(&dir).unwrap();
    assert_eq!(Away::gather(&dir, &store, 1_000_000).unwrap(), None, "nobody has been here");
    Seen { step: 30, unix_s: 1_000_000 }.write(&dir);
    assert_eq!(Away::gather(&dir, &store, 1_000_060).unwrap(), None, "a minute needs no card");
    let away = Away::gather(&dir, &store, 1_000_000 + 24_000).unwrap().expect("steps were made meanwhile");
    assert_eq!(away.reports.len(), 11);
    reader.event(Event::Loaded(Box::new(Loaded::Away(Box::new(away)))));
    let screen = reader.shown();
    assert_shows(&screen, &["While you were away  6 h 40 m  step 30 → 40", "then", "now", "reward", "held-out", "FP rate"]);
    for key in ["up", "x"] {
        reader.press(key);
        assert_eq!(reader.app.overlay, Some(Overlay::Away));
    }
    reader.press("esc");
    assert_eq!(reader.app.overlay, None);
}

#[test]
fn something_reported_is_told_however_short_the_absence() {
    let mut reader = Reader::new(2, (80, 24));
    Seen { step: 2, unix_s: 1000 }.write(reader.dir.path());
    let mut store = Store::open(reader.dir.path()).unwrap();
    for i in 0..9 {
        store.add_event(2, "kl", &format!("KL spike {i}\u{1b}[31m")).unwrap();
    }
    reader.event(Event::Loaded(Box::new(medserl::tui::loader::load(reader.dir.path(), &mut None, &Query::Away).unwrap())));
    let screen = reader.shown();
    assert_shows(&screen, &["step 2  kl: KL spike 8", "3 earlier events are in the Log"]);
    assert!(!screen.contains("KL spike 2"), "{screen}");
}

#[test]
fn a_run_without_a_trainer_is_shown_from_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = fill(dir.path(), 3);
    store.add_event(2, "alarm", "KL above 0.05").unwrap();
    let states = [
        ("running", RunState::Failed, "the trainer died"),
        ("failed", RunState::Failed, "loss is NaN"),
        ("finished", RunState::Finished, "the run is over"),
        ("stopped", RunState::Finished, "continues it"),
    ];
    for (word, state, says) in states {
        store.set_state(word, if word == "failed" { "loss is NaN" } else { "" }).unwrap();
        let live = replay::picture(dir.path()).unwrap();
        assert_eq!((live.state, live.step, live.reports.len(), live.streams.len()), (state, 3, 3, 16));
        let mut app = App::new(theme(), (160, 40));
        app.update(Event::Notice(Box::new(Notice::Snapshot { live: Box::new(live) })));
        assert_shows(&shown(&app), &[says, "step 3/1000", "step 3 ", "SI-0003-03", "Error: Pharmacotherapy"]);
        assert_eq!(app.live.log.len(), 1, "the journal is the log");
        assert_eq!(press(&mut app, "space"), None, "there is nobody to steer");
    }
    let (.., mut rollouts) = step(3);
    // Values of single tokens are read where they are looked at.
    rollouts[0].trace = None;
    assert_eq!(replay::picture(dir.path()).unwrap().streams[0].rollout.as_ref(), Some(&rollouts[0]));
}
