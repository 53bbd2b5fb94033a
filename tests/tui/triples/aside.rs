//! The same for the screens with a loop of their own: Runs and Label.

use medserl::{
    task::{Entry, Quadrant, hand_label::Picked},
    tui::{
        keymap::label,
        label::{
            Task,
            card::reason_key,
            keys::{KEYS, When},
            session::describe,
        },
        runs::{KEYS as RUN_KEYS, Outcome, RunsApp, Wish},
        screen,
    },
};
use ratatui::{Terminal, backend::TestBackend};

use super::{Kept, spelled};
use crate::{
    tui::{key, runs::some_runs},
    tui_label::bench::{Bench, setup},
};

// ---------------------------------------------------------------------------------------------------------------- Runs

fn runs_shown(app: &RunsApp) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| screen::runs::draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    buffer.content.chunks(80).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

/// Where the keys of the table have something to do: the second of four runs is chosen, which died; the first is being trained.
fn runs_ready(wish: Wish) -> RunsApp {
    let mut app = some_runs();
    app.back = Some("0142".to_owned());
    app.chosen = 1;
    let before: &[&str] = match wish {
        Wish::Stop => &["up"],
        Wish::Close => &["v"],
        Wish::Compare => &["v", "up", "v"],
        _ => &[],
    };
    before.iter().for_each(|name| drop(app.key(key(name))));
    app
}

fn runs_pressed(app: &mut RunsApp, keys: &[String]) -> ([String; 2], Vec<String>) {
    let before = runs_shown(app);
    let led: Vec<Outcome> = keys.iter().map(|name| app.key(key(name))).collect();
    let told = |outcome: &Outcome| match outcome {
        Outcome::Nothing => None,
        Outcome::Choice(choice) => Some(format!("leaves: {choice:?}")),
        Outcome::Order(order) => Some(format!("orders {order:?}")),
    };
    ([before, runs_shown(app)], led.iter().filter_map(told).collect())
}

/// As in `over`: a state, the keys that lead there, the keys tried, `!` before one that must do nothing.
const RUNS: &[(&str, &[&str], &[&str])] = &[
    ("nothing is marked", &[], &["esc", "c"]),
    ("a run that is being trained", &["up"], &["enter", "r", "D"]),
    ("a run that nobody trains", &[], &["X"]),
    ("a run that failed", &["down"], &["r"]),
    ("a folder that is no run", &["end"], &["enter", "3", "v", "r", "X", "D"]),
    ("how to stop", &["up", "X"], &["c", "s", "esc", "!enter", "!X"]),
    ("a run to delete", &["D"], &["'0142", "enter", "esc", "ctrl-c"]),
    ("its id typed", &["D", "'0142"], &["enter", "backspace"]),
    ("another id typed", &["D", "'0143"], &["enter"]),
    ("two runs compared", &["v", "up", "v", "c"], &["esc", "q", "c", "!enter"]),
    ("help", &["?"], &["down", "enter", "'delete", "esc", "?"]),
    ("a filter being written", &["/", "'died"], &["enter", "backspace", "ctrl-u", "esc"]),
    ("a filter that no run passes", &["/", "'nowhere", "enter"], &["esc", "enter", "v", "r", "3", "/"]),
];

#[test]
fn every_key_of_the_runs_screen_shows_what_it_did() {
    let mut kept = Kept::default();
    for row in RUN_KEYS {
        let did = |name: &&str| runs_pressed(&mut runs_ready(row.wish), &[(*name).to_owned()]);
        let all: Vec<_> = row.keys.iter().map(did).collect();
        assert!(all.iter().all(|one| *one == all[0]), "{}: every key of a row does the same", row.doc);
        let labels: Vec<String> = row.keys.iter().map(|name| label(name)).collect();
        let ([before, after], sent) = &all[0];
        kept.key(&labels.join(" "), row.doc, [before, after], sent);
    }
    for (name, before, keys) in RUNS {
        kept.state(name);
        let mut there = runs_ready(Wish::Open);
        runs_pressed(&mut there, &spelled(before));
        for key in *keys {
            let (key, dead) = key.strip_prefix('!').map_or((*key, false), |key| (key, true));
            let ([before, after], sent) = runs_pressed(&mut there.clone(), &spelled(&[key]));
            let shown = [before.as_str(), after.as_str()];
            if dead { kept.dead(key, "(nothing, on purpose)", shown, &sent) } else { kept.key(key, "", shown, &sent) }
        }
    }
    kept.check("keys-runs");
}

// --------------------------------------------------------------------------------------------------------------- Label

/// The keys of a row as [`Bench::press`] spells them.
fn label_keys(shown: &'static str) -> Vec<&'static str> {
    let name = |key| match key {
        "Space" => "space",
        "→" => "right",
        "←" => "left",
        "↓" => "down",
        "↑" => "up",
        key => key,
    };
    match shown {
        "1-5" => vec!["1", "2", "3", "4", "5"],
        "↓ ↑ j k" => vec!["down", "up", "j", "k", "pagedown", "pageup", "ctrl-d", "ctrl-u"],
        shown => shown.split(' ').map(name).collect(),
    }
}

/// Where a key has something to do.
fn label_ready(task: Task, key: &str) -> Bench {
    // The original note has a place on tall screens only.
    let size = if key == "o" { (120, 40) } else { (80, 24) };
    let mut bench = Bench::new(size, setup(task, Picked::Newest));
    let before: &[&str] = match key {
        "u" => &["space"],
        "U" => &["space", "u"],
        "up" | "k" | "pageup" | "ctrl-u" => &["pagedown"],
        _ => &[],
    };
    if matches!(key, "down" | "j" | "pagedown" | "ctrl-d" | "up" | "k" | "pageup" | "ctrl-u") {
        let id = bench.app.card.as_ref().unwrap().id.clone();
        bench.lengthen(&id, 60);
    }
    bench.press(before);
    bench
}

fn label_pressed(bench: &mut Bench, keys: &[String]) -> ([String; 2], Vec<String>) {
    let (before, n) = (bench.screen(), bench.desk.entries.len());
    let left = keys.iter().fold(false, |_, key| bench.leaves(key));
    let mut sent: Vec<String> = bench.desk.entries[n..].iter().map(written).collect();
    sent.extend(left.then(|| "leaves".to_owned()));
    sent.extend(bench.app.editing.take().map(|text| format!("opens the editor on {text:?}")));
    ([before, bench.screen()], sent)
}

fn written(entry: &Entry) -> String {
    match entry {
        Entry::Label(label) => {
            let blind = if label.blind { ", blind" } else { "" };
            let remark = if label.remark.is_empty() { String::new() } else { format!(" {:?}", label.remark) };
            format!("writes down {}: {}{blind}{remark}", label.sample, describe(&label.decision))
        }
        Entry::Undo(undo) => format!("writes down that {} is taken back", undo.of),
    }
}

const LABEL: &[(Task, &str, &[&str], &[&str])] = &[
    (Task::Review, "why a claim is rejected", &["x"], &["esc", "x", "q", "z"]),
    (Task::Review, "why a clean claim is rejected", &["n", "x"], &["h", "g"]),
    (
        Task::Review,
        "a comment being written",
        &["c", "'ok so"],
        &["enter", "'!", "backspace", "ctrl-w", "ctrl-u", "ctrl-e", "esc"],
    ),
    (Task::Review, "a comment that waits", &["c", "'ok so", "enter"], &["a", "c"]),
    (Task::Review, "a correction being written", &["e"], &["enter", "'!", "ctrl-u", "ctrl-e", "esc"]),
    (Task::Review, "another correction", &["e", "ctrl-u", "'He takes insulin."], &["enter"]),
    (Task::Review, "a clean claim", &["n"], &["a", "2", "e"]),
    (Task::Review, "nothing to take back", &[], &["u", "U"]),
    (Task::Review, "help", &["?"], &["down", "enter", "'undo", "esc", "?"]),
    (Task::Blind, "a claim that differs from what was judged", &["1"], &["a", "x", "space", "u"]),
    (Task::Blind, "keys that would show the claim", &[], &["a", "x", "e", "R", "d", "o"]),
    (Task::Review, "the digit that judges blind", &[], &["0"]),
];

/// A line of help that is cut does not help.
#[test]
fn no_line_of_the_help_of_runs_and_label_is_cut_on_a_small_screen() {
    let (mut runs, mut label) = (runs_ready(Wish::Open), label_ready(Task::Review, ""));
    runs.key(key("?"));
    label.press(&["?"]);
    for _ in 0..30 {
        for screen in [runs_shown(&runs), label.screen()] {
            assert!(
                screen.contains("┏ Help") && !screen.lines().any(|line| line.starts_with('┃') && line.contains('…')),
                "{screen}"
            );
        }
        runs.key(key("down"));
        label.press(&["down"]);
    }
}

#[test]
fn every_key_of_the_label_screen_shows_what_it_did() {
    let mut kept = Kept::default();
    for (task, works) in [(Task::Review, When::Open), (Task::Blind, When::Hidden)] {
        kept.state(task.name());
        for row in KEYS.iter().filter(|row| row.when == When::Always || row.when == works) {
            for key in label_keys(row.shown) {
                let ([before, after], sent) = label_pressed(&mut label_ready(task, key), &spelled(&[key]));
                kept.key(key, row.doc, [&before, &after], &sent);
            }
        }
    }
    for (task, name, before, keys) in LABEL {
        kept.state(name);
        for key in *keys {
            let mut bench = label_ready(*task, "");
            label_pressed(&mut bench, &spelled(before));
            let ([before, after], sent) = label_pressed(&mut bench, &spelled(&[key]));
            kept.key(key, "", [&before, &after], &sent);
        }
    }
    kept.state("each reason");
    for quadrant in [Quadrant::AugmentedError, Quadrant::AugmentedSafe] {
        let start = || {
            let mut bench = label_ready(Task::Review, "");
            let id = bench.desk.samples.values().find(|sample| sample.quadrant == quadrant).unwrap().id.clone();
            bench.open(&id);
            bench.press(&["x"]);
            bench
        };
        for reason in start().app.card.as_ref().unwrap().reasons() {
            let ([before, after], sent) = label_pressed(&mut start(), &[reason_key(reason).to_string()]);
            kept.key(&reason_key(reason).to_string(), reason.describe(), [&before, &after], &sent);
        }
    }
    kept.check("keys-label");
}
