//! The same for what lies over the screens of a run and for the lines that are written there: dialogs, lists, cards, prompts.

use medserl::{
    attach::{Notice, RunState},
    store::Store,
    task::Text,
    tui::{
        Event,
        away::{Away, Seen},
        query::Loaded,
    },
};

use super::{Kept, beside, pressed, spelled};
use crate::tui::fixture::{Reader, alert, history, steering};

/// A state, the keys that lead there, and the keys that are tried in it; after `!` one that must do nothing there: what harms a run
/// answers neither to Enter nor to the key that asked, and what was not there cannot be chosen.
type State = (&'static str, &'static [&'static str], &'static [&'static str]);

const OVERLAYS: &[State] = &[
    ("help", &["?"], &["down", "pagedown", "tab", "'graph", "enter", "esc", "?"]),
    ("help, further down", &["?", "pagedown"], &["up", "pageup"]),
    ("a search that finds nothing", &["?", "'nothing like this"], &["backspace", "ctrl-u", "!enter", "esc"]),
    ("commands", &[":"], &["down", "tab", "enter", "'thr", "esc", ":"]),
    ("a command with a word that it does not take", &[":", "'set temperature=0"], &["enter", "'.5", "left", "ctrl-w", "esc"]),
    ("a command that is whole", &[":", "'set temperature=0.5"], &["enter", "home", "ctrl-u"]),
    ("alerts", &["a"], &["down", "enter", "esc", "q", "a"]),
    ("alerts, the second", &["a", "down"], &["up", "enter"]),
    ("breakpoints", &["B"], &["down", "a", "x", "esc", "q", "B", "!enter"]),
    ("breakpoints, the second", &["B", "down"], &["up", "x"]),
    ("a breakpoint being written", &["B", "a", "'fp >"], &["enter", "' 0.3", "backspace", "esc"]),
    ("a breakpoint that is whole", &["B", "a", "'fp > 0.3 for 2"], &["enter"]),
    ("knobs", &["P"], &["down", "enter", "esc", "q", "P"]),
    ("a knob being written", &["P", "down", "enter"], &["backspace", "enter", "ctrl-u", "esc"]),
    ("a knob that cannot be so", &["P", "enter", "ctrl-u", "'-1"], &["enter"]),
    ("giving a step up", &["X"], &["g", "esc", "!enter", "!X"]),
    ("leaving", &["q"], &["enter", "d", "c", "s", "esc", "ctrl-c", "!q"]),
];

const AWAY: &[State] =
    &[("while you were away", &[], &["esc", "enter", "q", "space", "ctrl-c", "2", "3", "4", "5", "6", "1", "!x", "!down"])];

const FAILED: &[State] = &[("a run that failed", &[], &["ctrl-r", "esc", "enter", "2", "3", "5", "q", "ctrl-c", "!x"])];

const PROMPTS: &[State] = &[
    ("Inspect, a filter being written", &["2", "/", "'cell:FP"], &["enter", "' r<0", "backspace", "ctrl-u", "esc"]),
    ("Inspect, a filter that means nothing", &["2", "/", "'colour:red"], &["!enter", "backspace", "esc"]),
    ("Inspect, the list alone on a small screen", &["2"], &["t", "T", "d", "b", "J", "K", "]", "[", "}", "{", "enter"]),
    ("Inspect, a rollout on a small screen", &["2", "enter", "t"], &["d", "J", "]", "}", "b", "esc"]),
    ("Charts, metrics being filtered", &["4", "/", "'rate"], &["enter", "'x", "ctrl-u", "esc"]),
    ("Charts, what each metric means", &["4", "m"], &["down", "end", "enter", "esc", "q", "m"]),
    ("Charts, the second metric", &["4", "m", "down"], &["up", "home"]),
    ("Charts, runs to compare with", &["4", "c"], &["enter", "space", "esc", "q", "c", "!down"]),
    ("Charts, a run beside this one", &["4", "c", "enter"], &["enter", "esc"]),
    ("Log, a search being written", &["6", "/", "'alarm"], &["enter", "'x", "ctrl-u", "esc"]),
    ("Log, a search that finds nothing", &["6", "/", "'nowhere"], &["enter"]),
];

fn keep(kept: &mut Kept, start: &Reader, states: &[State]) {
    for (name, before, keys) in states {
        kept.state(name);
        let mut there = start.again();
        spelled(before).iter().for_each(|key| there.press(key));
        for key in *keys {
            let (key, dead) = key.strip_prefix('!').map_or((*key, false), |key| (key, true));
            let ([before, after], sent) = pressed(&mut there.again(), &spelled(&[key]));
            let shown = [before.as_str(), after.as_str()];
            if dead { kept.dead(key, "(nothing, on purpose)", shown, &sent) } else { kept.key(key, "", shown, &sent) }
        }
    }
}

fn told(reader: &mut Reader, notice: Notice) {
    reader.event(Event::Notice(Box::new(notice)));
}

/// A paused run with two alerts, two breakpoints and knobs that were turned.
fn steered() -> Reader {
    let mut reader = Reader::new(2, (80, 24));
    told(&mut reader, Notice::State { state: RunState::Paused });
    told(&mut reader, Notice::Steering { steering: Box::new(steering()) });
    for (step, why) in [(1, "alarm kl: the policy has moved far from the reference"), (2, "breakpoint kl > 0.05: kl = 0.0610")] {
        told(&mut reader, Notice::Alert { alert: Box::new(alert(step, why)) });
    }
    reader
}

#[test]
fn every_key_of_what_lies_over_a_screen_shows_what_it_did() {
    let mut kept = Kept::default();
    keep(&mut kept, &steered(), OVERLAYS);

    let mut away = Reader::new(40, (80, 24));
    let dir = away.dir.path().to_owned();
    Seen { step: 30, unix_s: 1_000_000 }.write(&dir);
    let card = Away::gather(&dir, &Store::open_read_only(&dir).unwrap(), 1_024_000).unwrap().unwrap();
    away.event(Event::Loaded(Box::new(Loaded::Away(Box::new(card)))));
    keep(&mut kept, &away, AWAY);

    let mut failed = Reader::new(2, (80, 24));
    told(&mut failed, Notice::Ended { state: RunState::Failed, message: Text::new("loss is NaN at step 318") });
    failed.event(Event::Closed);
    keep(&mut kept, &failed, FAILED);
    kept.check("keys-overlays");
}

#[test]
fn every_key_of_what_is_written_on_a_screen_shows_what_it_did() {
    let root = beside();
    let mut reader = Reader::new(2, (80, 24));
    reader.answer_from(root.path().join("own"));
    let log =
        "1790000000 INFO  run demo-s1\n1790000065 WARN  [commit] alarm KL: 0.31\n1790000099 INFO  [commit] checkpoint saved\n";
    std::fs::write(root.path().join("own/trainer.log"), log).unwrap();
    reader.press("4");
    reader.app.charts.loaded(None, history());
    let mut kept = Kept::default();
    keep(&mut kept, &reader, PROMPTS);
    kept.check("keys-prompts");
}
