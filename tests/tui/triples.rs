//! State, key, screen: what every key does on every screen it works on, kept under `snapshots/keys-*.txt`. Kept are the rows of the
//! screen that look different afterwards, and what is sent. The tables of keys themselves say what is tried, so that no action is
//! without its triple. `MEDSERL_SNAPSHOTS=write` makes them anew.

mod aside;
mod over;

use std::fmt::Write as _;

use medserl::tui::{
    Effect, Event,
    action::{Action, rows_of},
    keymap::label,
    panel::Panel,
    screen::Screen,
};

use super::{
    actions,
    fixture::{Reader, fill},
    snapshots::check,
};

/// What keys did, state by state.
#[derive(Default)]
struct Kept {
    text: String,
    /// Keys after which nothing showed and nothing was sent.
    idle: Vec<String>,
}

impl Kept {
    fn state(&mut self, name: &str) {
        writeln!(self.text, "======== {name}").unwrap();
    }

    /// A key that must do something.
    fn key(&mut self, key: &str, what: &str, [before, after]: [&str; 2], sent: &[String]) {
        let rows = changed(before, after);
        if rows.is_empty() && sent.is_empty() {
            self.idle.push(format!("{key} {what}"));
        }
        self.write(key, what, &rows, sent);
    }

    /// A key that must do nothing.
    fn dead(&mut self, key: &str, why: &str, [before, after]: [&str; 2], sent: &[String]) {
        assert_eq!((changed(before, after).as_str(), sent), ("", &[][..]), "{key} must do nothing: {why}");
        self.write(key, why, "", sent);
    }

    fn write(&mut self, key: &str, what: &str, rows: &str, sent: &[String]) {
        writeln!(self.text, "{}", format!("== {key}  {what}").trim_end()).unwrap();
        sent.iter().for_each(|what| writeln!(self.text, "  > {what}").unwrap());
        self.text.push_str(rows);
    }

    fn check(&self, name: &str) {
        assert!(self.idle.is_empty(), "{name}: these show and send nothing: {:?}\n{}", self.idle, self.text);
        check(name, &self.text);
    }
}

/// The rows of `after` that `before` does not show in the same place.
fn changed(before: &str, after: &str) -> String {
    let pairs = before.lines().zip(after.lines()).enumerate().filter(|(_, (was, is))| was != is);
    pairs.map(|(y, (_, is))| format!("{y:>3} {}\n", is.trim_end())).collect()
}

/// Names of keys; `'some words` are the keys that write them.
fn spelled(keys: &[&str]) -> Vec<String> {
    let written =
        |text: &str| -> Vec<String> { text.chars().map(|c| if c == ' ' { "space".to_owned() } else { c.to_string() }).collect() };
    keys.iter().flat_map(|key| key.strip_prefix('\'').map_or_else(|| vec![(*key).to_owned()], written)).collect()
}

/// Without what differs from run to run, such as the folder a store is in.
fn named(effect: &Effect) -> String {
    match effect {
        Effect::Send(control) => format!("sends {control:?}"),
        Effect::Load(_) => "asks the store".to_owned(),
        Effect::Copy(text) => format!("copies {} bytes", text.as_str().len()),
        other => format!("{other:?}"),
    }
}

/// The screen, without the folder that only this run of the test has.
fn shown(reader: &Reader) -> String {
    let lines = reader.shown();
    lines.lines().map(|line| line.split_once(".jsonl in ").map_or(line, |(told, _)| told).trim_end().to_owned() + "\n").collect()
}

/// Presses keys; what the screen showed before and after, and what was sent.
fn pressed(reader: &mut Reader, keys: &[String]) -> ([String; 2], Vec<String>) {
    let (before, n) = (shown(reader), reader.effects.len());
    keys.iter().for_each(|key| reader.press(key));
    ([before, shown(reader)], reader.effects[n..].iter().map(named).collect())
}

/// Two runs of one step each in a folder of their own, so that no other run of this machine can be compared with.
fn beside() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    ["own", "other"].iter().for_each(|name| drop(fill(&root.path().join(name), 1)));
    root
}

/// The client in which an action has something to do.
fn ready(start: &Reader, screen: Screen, action: Action) -> Reader {
    let mut reader = actions::before(start, screen, action);
    match (screen, action) {
        // At the beginning of the text, so that there is somewhere to go.
        (Screen::Live, Action::Down | Action::PageDown | Action::Bottom) => {
            reader.app.scroll[Panel::Doctor.index()] = Some(0);
        }
        // Larger than the one panel that a small screen is.
        (Screen::Live, Action::Zoom) => reader.event(Event::Resize(80, 24)),
        // Laid out anew after what was set by hand, and with somewhere to go.
        (Screen::Inspect, _) => {
            reader.event(Event::Resize(120, 20));
            if action == Action::DetailDown {
                reader.app.inspect.top = 0;
            }
        }
        _ => {}
    }
    reader
}

#[test]
fn every_action_shows_what_it_did() {
    let root = beside();
    for screen in Screen::ALL {
        let mut start = actions::ready(screen);
        start.answer_from(root.path().join("own"));
        let mut kept = Kept::default();
        for row in rows_of(screen) {
            let mut reader = ready(&start, screen, row.action);
            let key = row.keys[0];
            let ([before, after], sent) = pressed(&mut reader, &[key.to_owned()]);
            if row.action == Action::Go(screen) {
                kept.dead(&label(key), "(this is it)", [&before, &after], &sent);
            } else {
                kept.key(&label(key), row.name, [&before, &after], &sent);
            }
        }
        kept.check(&format!("keys-{}", screen.title().to_lowercase()));
    }
}
