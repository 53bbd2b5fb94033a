//! The Runs screen: what stands there, and what it takes to change a run.

use std::path::PathBuf;

use medserl::{
    store::RunSummary,
    tui::{
        keymap::Chord,
        mouse,
        runs::{Choice, KEYS, Order, Outcome, RunsApp, differences},
        screen::{self, Screen},
    },
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind},
    layout::Rect,
};

use super::{SIZES, assert_shows, key, theme};

pub(crate) fn run(id: &str, state: &str, alive: bool) -> RunSummary {
    RunSummary {
        id: id.to_owned(),
        dir: PathBuf::from("/runs").join(id),
        name: "lora".to_owned(),
        model: "nano".to_owned(),
        state: state.to_owned(),
        alive,
        step: 318,
        steps_total: 1000,
        reward: Some(0.54),
        accuracy: Some(0.81),
        eval_accuracy: Some(0.9),
        kl: Some(0.034),
        updated: 1_000_000 - 300,
        started: 900_000,
        config_toml: format!("name = \"{id}\"\n[algo]\nbatch = 32\n"),
        ..RunSummary::default()
    }
}

pub(crate) fn some_runs() -> RunsApp {
    let broken = RunSummary { broken: Some("not a run store".to_owned()), started: 0, ..run("bad", "", false) };
    let failed = RunSummary {
        message: "loss is NaN at step 318".to_owned(),
        reward: Some(0.9),
        started: 700_000,
        ..run("0141", "failed", false)
    };
    let died = RunSummary { started: 800_000, reward: None, ..run("0142", "running", false) };
    let mut app = RunsApp::new(theme());
    app.refresh(vec![run("0143", "running", true), died, failed, broken], 1_000_000);
    app
}

pub(crate) fn shown(app: &RunsApp, size: (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| screen::runs::draw(app, frame)).unwrap();
    terminal.backend().to_string()
}

fn press(app: &mut RunsApp, name: &str) -> Outcome {
    app.key(key(name))
}

fn write(app: &mut RunsApp, text: &str) -> Outcome {
    text.chars().for_each(|c| drop(press(app, &c.to_string())));
    press(app, "enter")
}

fn open(id: &str) -> Outcome {
    Outcome::Choice(Choice::Open(PathBuf::from("/runs").join(id), Screen::Live))
}

#[test]
fn it_opens_what_is_chosen_and_says_what_died() {
    let mut app = some_runs();
    for size in SIZES {
        let screen = shown(&app, size);
        if size.0 >= 80 {
            assert_shows(
                &screen,
                &["▸  0143", "● running", "✗ died", "318/1000", "+0.54", "5 m ago", "unreadable: not a run store"],
            );
            assert_shows(&screen, &["Enter open", "1 in training", "2 failed or died", "held-out 90%"]);
        }
    }
    app.dirty = false;
    app.refresh(app.runs.clone(), 1_000_001);
    assert!(!app.dirty, "the same list is not drawn again");
    press(&mut app, "down");
    assert_eq!(press(&mut app, "enter"), open("0142"));
    let turned: Vec<RunSummary> = app.runs.iter().rev().cloned().collect();
    app.refresh(turned, 1_000_002);
    assert_eq!(press(&mut app, "enter"), open("0142"), "the choice follows the run");
    press(&mut app, "end");
    press(&mut app, "enter");
    assert_shows(&shown(&app, (80, 24)), &["cannot be read as a run"]);
    assert_eq!(press(&mut app, "q"), Outcome::Choice(Choice::Quit));
}

#[test]
fn deleting_takes_the_whole_name_and_never_a_run_in_training() {
    let mut app = some_runs();
    press(&mut app, "D");
    assert_shows(&shown(&app, (80, 24)), &["it is being trained; stop it first"]);
    press(&mut app, "down");
    press(&mut app, "D");
    assert_shows(&shown(&app, (80, 24)), &["Delete 0142?", "Type 0142 and Enter"]);
    assert_eq!(press(&mut app, "enter"), Outcome::Nothing, "an empty line deletes nothing");
    assert_shows(&shown(&app, (80, 24)), &["nothing was deleted"]);
    press(&mut app, "D");
    assert_eq!(write(&mut app, "014"), Outcome::Nothing);
    press(&mut app, "D");
    press(&mut app, "esc");
    assert_eq!(app.over, None);
    press(&mut app, "D");
    assert_eq!(write(&mut app, "0142"), Outcome::Order(Order::Delete(PathBuf::from("/runs/0142"))));
}

#[test]
fn stopping_asks_how_and_resuming_starts_only_what_stands_still() {
    let mut app = some_runs();
    press(&mut app, "r");
    assert_shows(&shown(&app, (80, 24)), &["it is being trained; Enter attaches"]);
    press(&mut app, "X");
    assert_shows(&shown(&app, (80, 24)), &["Stop 0143?", "save a checkpoint", "this step is lost"]);
    for name in ["enter", "X"] {
        assert_eq!(press(&mut app, name), Outcome::Nothing);
        assert!(app.over.is_some());
    }
    assert_eq!(press(&mut app, "c"), Outcome::Order(Order::Stop { dir: PathBuf::from("/runs/0143"), now: false }));
    press(&mut app, "X");
    assert_eq!(press(&mut app, "s"), Outcome::Order(Order::Stop { dir: PathBuf::from("/runs/0143"), now: true }));
    press(&mut app, "down");
    press(&mut app, "X");
    assert_shows(&shown(&app, (80, 24)), &["nobody trains it"]);
    assert_eq!(press(&mut app, "r"), Outcome::Order(Order::Resume(PathBuf::from("/runs/0142"))));
    app.refresh(vec![run("0142", "stopped", true)], 1_000_000);
    assert_shows(&shown(&app, (80, 24)), &["● starting", "1 in training"]);
    app.read_only = true;
    for name in ["r", "X", "D"] {
        assert_eq!(press(&mut app, name), Outcome::Nothing);
        assert_shows(&shown(&app, (80, 24)), &["read-only"]);
    }
    press(&mut app, "j");
    assert!(!shown(&app, (120, 40)).contains("X stop"));
}

#[test]
fn marked_runs_are_compared_by_figures_and_experiment() {
    let mut app = some_runs();
    press(&mut app, "c");
    assert_shows(&shown(&app, (80, 24)), &["mark two to four runs with v"]);
    press(&mut app, "v");
    press(&mut app, "down");
    press(&mut app, "v");
    press(&mut app, "c");
    assert_shows(
        &shown(&app, (80, 24)),
        &["Compare", "0143", "0142", "held-out", "the experiments differ in 1 of 2 keys", "\"0142\""],
    );
    press(&mut app, "esc");
    press(&mut app, "esc");
    assert!(app.marks.is_empty());
    let (a, b) =
        (run("a", "", false), RunSummary { config_toml: "[algo]\nbatch = 64\nkl = 1.0".to_owned(), ..run("b", "", false) });
    let (different, n_same) = differences(&[&a, &b]);
    let keys: Vec<&str> = different.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!((keys, n_same), (vec!["algo.batch", "algo.kl", "name"], 0));
}

#[test]
fn the_list_is_filtered_and_sorted() {
    let mut app = some_runs();
    press(&mut app, "s");
    press(&mut app, "s");
    assert_eq!(app.shown()[0].id, "0141", "the best reward first");
    assert_eq!(app.shown().last().unwrap().id, "bad", "unreadable ones last");
    press(&mut app, "/");
    write(&mut app, "died nano");
    assert_eq!(app.shown().iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["0142"]);
    assert_shows(&shown(&app, (80, 24)), &["1 of 4 runs", "/died nano"]);
    press(&mut app, "esc");
    assert_eq!(app.shown().len(), 4);
    assert_eq!(press(&mut app, "esc"), Outcome::Choice(Choice::Quit), "nothing is left to close");
}

/// A hint for what does nothing with the chosen run would be a dead end.
#[test]
fn hints_are_for_the_run_that_is_chosen() {
    let hints = |app: &RunsApp| shown(app, (200, 24)).lines().last().unwrap().to_owned();
    let mut app = some_runs();
    let offered = |app: &RunsApp, some: &[&str], none: &[&str]| {
        let line = hints(app);
        assert_shows(&line, some);
        assert!(none.iter().all(|hint| !line.contains(hint)), "{line}");
    };
    offered(&app, &["Enter open", "X stop", "c compare", "↑↓ choose"], &["r resume", "D delete", "Esc back"]);
    press(&mut app, "down");
    offered(&app, &["Enter open", "r resume", "D delete"], &["X stop"]);
    press(&mut app, "end");
    offered(&app, &["D delete", "↑↓ choose"], &["Enter open", "r resume", "X stop", "v mark"]);
    offered(&RunsApp::new(theme()), &["q quit", "? help"], &["Enter", "resume", "stop", "mark", "filter", "sort", "choose"]);
    let mut done = RunsApp::new(theme());
    done.refresh(vec![run("0143", "finished", false)], 1_000_000);
    offered(&done, &["Enter open", "D delete", "/ filter"], &["r resume", "compare", "mark", "choose"]);
}

/// Whoever comes from a run is one key away from every screen of it, and from where he was.
#[test]
fn every_screen_of_the_chosen_run_is_one_key_away_and_so_is_the_way_back() {
    let mut app = RunsApp::new(theme());
    app.back = Some("0142".to_owned());
    app.refresh(some_runs().runs, 1_000_000);
    assert_shows(&shown(&app, (80, 24)), &["0142 · 1 Live  2 Inspect  3 Label  4 Charts  5·Runs  6 Log", "▸  0142", "Esc back"]);
    let dir = PathBuf::from("/runs/0142");
    for screen in Screen::ALL {
        let open = Outcome::Choice(Choice::Open(dir.clone(), screen));
        assert_eq!(press(&mut app, &screen.number().to_string()), open);
    }
    assert_eq!(press(&mut app, "3"), Outcome::Choice(Choice::Label(dir)));
    press(&mut app, "v");
    assert_eq!(press(&mut app, "esc"), Outcome::Nothing, "the marks go first");
    assert_eq!(press(&mut app, "esc"), Outcome::Choice(Choice::Back));
    app.read_only = true;
    press(&mut app, "3");
    assert_shows(&shown(&app, (80, 24)), &["read-only"]);
    press(&mut app, "end");
    press(&mut app, "4");
    assert_shows(&shown(&app, (80, 24)), &["cannot be read as a run"]);
}

#[test]
fn the_help_finds_a_key_by_its_meaning_and_presses_it() {
    for (i, row) in KEYS.iter().enumerate() {
        let [mut by_key, mut by_help] = [some_runs(), some_runs()];
        press(&mut by_help, if i % 2 == 0 { "?" } else { ":" });
        assert_shows(&shown(&by_help, (80, 24)), &["Help  Runs", "Enter press"]);
        row.doc
            .chars()
            .take(40)
            .for_each(|c| drop(press(&mut by_help, &if c == ' ' { "space".to_owned() } else { c.to_string() })));
        assert_shows(&shown(&by_help, (120, 40)), &[row.doc]);
        assert_eq!(press(&mut by_help, "enter"), press(&mut by_key, row.keys[0]), "{}", row.doc);
        assert_eq!(shown(&by_help, (80, 24)), shown(&by_key, (80, 24)), "{}", row.doc);
    }
    let mut app = some_runs();
    app.read_only = true;
    press(&mut app, "?");
    "delete a run".chars().for_each(|c| drop(press(&mut app, &if c == ' ' { "space".to_owned() } else { c.to_string() })));
    assert_eq!(press(&mut app, "enter"), Outcome::Nothing);
    assert_shows(&shown(&app, (80, 24)), &["read-only"]);
    press(&mut app, "esc");
    assert_eq!(app.over, None);
}

#[test]
fn a_click_goes_to_a_screen_chooses_a_run_and_opens_the_chosen_one() {
    let mut app = some_runs();
    let area = Rect::new(0, 0, 80, 24);
    let click = |app: &mut RunsApp, what: &str| {
        let screen = shown(app, (80, 24));
        let (row, line) = screen.lines().enumerate().find(|(_, line)| line.contains(what)).unwrap();
        // A quotation mark stands before each line.
        let column = line[..line.find(what).unwrap()].chars().count() as u16 - 1;
        let kind = MouseEventKind::Down(MouseButton::Left);
        let event = MouseEvent { kind, column, row: row as u16, modifiers: KeyModifiers::NONE };
        mouse::on_runs(app, event, area).map(|key| app.key(key))
    };
    assert_eq!(click(&mut app, "0142"), None);
    assert_eq!(app.run().unwrap().id, "0142");
    assert_eq!(click(&mut app, "✗ died"), Some(open("0142")));
    let charts = Choice::Open(PathBuf::from("/runs/0142"), Screen::Charts);
    assert_eq!(click(&mut app, "4 Charts"), Some(Outcome::Choice(charts)));
    assert_eq!(click(&mut app, "newest first"), None);
    press(&mut app, "X");
    press(&mut app, "D");
    assert_eq!((click(&mut app, "4 Charts"), app.over.is_some()), (None, true), "what asks is answered first");
}

#[test]
fn every_key_means_one_thing() {
    let mut seen = std::collections::BTreeSet::new();
    for name in KEYS.iter().flat_map(|row| row.keys) {
        assert!(Chord::parse(name).is_some() && seen.insert(*name), "{name}");
    }
}
