//! Every row of the action table, on every screen it belongs to: the key does what the table says.

use medserl::{
    attach::Control,
    tui::{
        Effect,
        action::{ACTIONS, Action, rows_of},
        inspect::{Layer, NoteView, Part},
        keymap::label,
        overlay::Overlay,
        panel::Panel,
        screen::Screen,
    },
};

use super::{assert_shows, fixture::Reader};

/// A client on `screen` in which every action has something to do.
fn ready(screen: Screen) -> Reader {
    let mut reader = Reader::inspecting(2, (120, 20));
    reader.press("t");
    reader.press("]");
    for _ in 0..5 {
        reader.press("down");
    }
    reader.press("v");
    reader.press("right");
    reader.press("K");
    reader.app.inspect.token = 1;
    reader.app.inspect.top = 5;
    reader.press(&screen.number().to_string());
    if screen == Screen::Log {
        for i in 0..90 {
            let message = medserl::task::Text::new(&format!("line {i}"));
            let level = medserl::attach::protocol::Level::Info;
            let notice = medserl::attach::Notice::Log { level, message };
            reader.event(medserl::tui::Event::Notice(Box::new(notice)));
        }
        reader.app.scroll[Panel::Log.index()] = Some(40);
    }
    if screen == Screen::Live {
        reader.event(medserl::tui::Event::Resize(60, 15));
        reader.app.scroll[Panel::Doctor.index()] = Some(1);
    }
    reader
}

/// What must be true after the key; `before` is the client as it was.
fn happened(action: Action, screen: Screen, before: &Reader, after: &Reader) -> bool {
    let (was, is) = (&before.app.inspect, &after.app.inspect);
    let top = |reader: &Reader| reader.app.scroll[reader.app.focused().index()];
    let watched = |reader: &Reader| reader.app.follow.watched().map(|key| key.sibling);
    match (action, screen) {
        (Action::Go(to), _) => after.app.screen == to,
        (Action::Visit(place), _) => after.effects == [Effect::Visit(place)],
        (Action::PauseResume, _) => after.effects == [Effect::Send(Control::Pause)],
        (Action::StepPhase, _) => after.effects == [Effect::Send(Control::StepPhase)],
        (Action::StepOnce, _) => after.effects == [Effect::Send(Control::StepOnce)],
        (Action::Leave, _) => after.app.overlay == Some(Overlay::Leave),
        (Action::Help | Action::Palette, _) => after.app.overlay == Some(Overlay::Help),
        (Action::Alerts, _) => after.app.overlay == Some(Overlay::Alerts),
        (Action::Breakpoints, _) => after.app.overlay == Some(Overlay::Breakpoints),
        (Action::Knobs, _) => after.app.overlay == Some(Overlay::Knobs),
        (Action::Abort, _) => after.app.overlay == Some(Overlay::Abort) && after.effects.is_empty(),
        (Action::Take, _) => after.app.flash.as_ref().is_some_and(|(said, _)| said.contains("steer already")),
        (Action::Restart, _) => after.app.flash.as_ref().is_some_and(|(said, _)| said.contains("being trained")),
        (Action::Follow, _) => after.app.follow.frozen,
        (Action::NextPanel, Screen::Live) => after.app.focus == Panel::Scribe,
        (Action::PreviousPanel, Screen::Live) => after.app.focus == Panel::Finished,
        (Action::NextPanel | Action::PreviousPanel | Action::Open, _) => is.part == Part::Detail,
        (Action::NextSibling, Screen::Live) => watched(after) == Some(4),
        (Action::PreviousSibling, Screen::Live) => watched(after) == Some(2),
        (Action::NextSibling, _) => is.shown.as_ref().unwrap().sibling == was.shown.as_ref().unwrap().sibling + 1,
        (Action::PreviousSibling, _) => is.shown.as_ref().unwrap().sibling + 1 == was.shown.as_ref().unwrap().sibling,
        (Action::Down, Screen::Inspect) => is.chosen == was.chosen + 1,
        (Action::Up, Screen::Inspect) => is.chosen + 1 == was.chosen,
        (Action::PageDown | Action::Bottom, Screen::Inspect) => is.chosen > was.chosen + 1,
        (Action::PageUp | Action::Top, Screen::Inspect) => is.chosen + 1 < was.chosen,
        (Action::Bottom, _) => top(after).is_none(),
        (Action::Top | Action::Up | Action::PageUp, Screen::Live) => top(after) == Some(0),
        (Action::Down | Action::PageDown, Screen::Live) => top(after) != Some(1),
        (Action::Up | Action::Top | Action::PageUp, _) => top(after) < top(before),
        (Action::Down | Action::PageDown, _) => top(after) > top(before),
        (Action::Zoom, _) => after.app.zoomed,
        (Action::Close, Screen::Inspect) => !was.filter.terms.is_empty() && is.filter.terms.is_empty(),
        (Action::Close, _) => before.app.flash.is_some() && after.app.flash.is_none(),
        (Action::Filter, _) => is.prompt.is_some(),
        (Action::Sort, _) => is.sort.key != was.sort.key,
        (Action::ReverseSort, _) => is.sort.descending != was.sort.descending,
        (Action::Mark, _) => is.marks.len() == was.marks.len() + 1,
        (Action::ClearMarks, _) => is.marks.is_empty(),
        (Action::DetailDown, _) => is.top == was.top + 1,
        (Action::DetailUp, _) => is.top + 1 == was.top,
        (Action::Tokens, _) => is.layer == Layer::Share,
        (Action::NextToken, _) => is.token == 2,
        (Action::PreviousToken, _) => is.token == 0,
        (Action::NoteView, _) => is.note_view == NoteView::Posed,
        (Action::NextWrong, _) => is.chosen > was.chosen && !is.rows[is.chosen].cell.is_right(),
        (Action::PreviousWrong, _) => is.chosen < was.chosen && !is.rows[is.chosen].cell.is_right(),
        (Action::Compare, _) => is.compared.is_some(),
        (Action::Export, _) => after.dir.path().join("marked-1.jsonl").exists(),
        (Action::CopyCompletion, _) => {
            let text = &is.rollout().unwrap().completion.text;
            matches!(&after.effects[..], [Effect::Copy(copied)] if *copied == medserl::task::Text::new(text))
        }
        (Action::CopyNote, _) => {
            matches!(&after.effects[..], [Effect::Copy(text)] if text.as_str().starts_with("0 A 58-year-old"))
        }
        (Action::Reload, _) => after.app.flash.as_ref().is_some_and(|(said, _)| said.contains("reading")),
    }
}

#[test]
fn every_key_of_every_action_works_on_every_screen_it_belongs_to() {
    for screen in Screen::ALL {
        let start = ready(screen);
        for row in rows_of(screen) {
            for key in row.keys {
                let [before, mut after] = [(); 2].map(|()| {
                    let mut reader = start.again();
                    if row.action == Action::Close {
                        // Something to close: a filter, or a message.
                        if screen == Screen::Inspect { reader.filter("r<100") } else { reader.app.say("hello") }
                    }
                    reader
                });
                after.press(key);
                assert!(happened(row.action, screen, &before, &after), "{key} ({:?}) on {screen:?}", row.action);
            }
        }
    }
}

#[test]
fn what_a_read_only_client_may_not_do_is_not_offered() {
    for screen in Screen::ALL {
        let mut reader = ready(screen);
        reader.app.read_only = true;
        reader.app.size = (200, 40);
        reader.app.flash = None;
        assert!(!reader.shown().contains("Space pause"), "{}", reader.shown());
        for row in ACTIONS.iter().filter(|row| row.steers) {
            reader.press(row.keys[0]);
            assert!(reader.effects.is_empty());
            assert_shows(&reader.shown(), &["read-only"]);
        }
    }
}

/// A hint, or a line of the help, for something that does nothing here would be a dead end.
#[test]
fn hints_and_help_hold_what_works_here_and_nothing_else() {
    for screen in Screen::ALL {
        let mut reader = ready(screen);
        reader.event(medserl::tui::Event::Resize(300, 100));
        reader.app.flash = None;
        let text = reader.shown();
        let hints = text.lines().last().unwrap();
        for row in ACTIONS.iter().filter(|row| !row.hint.is_empty()) {
            let key = label(row.keys[0]);
            let lead = format!("  {key} ");
            let shown = hints.contains(&lead) || hints.starts_with(&lead[1..]);
            let arrows = matches!(row.action, Action::NextSibling | Action::Down);
            assert!(arrows || shown == row.works_on(screen), "{screen:?} {key} {}: '{hints}'", row.name);
        }
        reader.press("?");
        let help = reader.shown();
        for row in ACTIONS {
            assert_eq!(help.contains(row.doc), row.works_on(screen), "{screen:?} {}", row.name);
        }
    }
}
