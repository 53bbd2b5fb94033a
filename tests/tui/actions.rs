//! Every row of the action table, on every screen it belongs to: the key does what the table says.

use medserl::{
    attach::Control,
    tui::{
        Effect,
        action::{ACTIONS, Action, ActionRow, rows_of},
        charts::{Axis, Charts, View},
        inspect::{Layer, NoteView, Part},
        keymap::label,
        overlay::Overlay,
        panel::Panel,
        screen::Screen,
    },
};

use super::{
    assert_shows,
    fixture::{Reader, history},
};

/// A client on `screen` in which every action has something to do.
pub(super) fn ready(screen: Screen) -> Reader {
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
    if screen != Screen::Log {
        reader.press(&screen.number().to_string());
    }
    if screen == Screen::Log {
        let lines: String = (0..90).map(|i| format!("1790000000 WARN  [commit] line {i}\n")).collect();
        std::fs::write(reader.dir.path().join("trainer.log"), lines).unwrap();
        reader.press("6");
        reader.app.logs.search = "line".to_owned();
        reader.app.logs.chosen = Some(40);
    }
    if screen == Screen::Charts {
        reader.app.charts.loaded(None, history());
        (reader.app.charts.cursor, reader.app.charts.chosen) = (Some(150.0), 4);
        reader.app.charts.view = View { span: Some(100.0), end: Some(200.0) };
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
    if let Some(done) = charted(action, screen, before, after).or_else(|| logged(action, screen, before, after)) {
        return done;
    }
    match (action, screen) {
        (Action::Go(to), _) => after.app.screen == to,
        (Action::Visit(place), _) => after.effects == [Effect::Visit(place)],
        (Action::PauseResume, _) => after.effects == [Effect::Send(Control::Pause)],
        (Action::StepPhase, _) => after.effects == [Effect::Send(Control::StepPhase)],
        (Action::StepOnce, _) => after.effects == [Effect::Send(Control::StepOnce)],
        (Action::Leave, _) => after.app.overlay == Some(Overlay::Leave),
        (Action::Help, _) => after.app.overlay == Some(Overlay::Help),
        // Commands come first there.
        (Action::Palette, _) => after.app.overlay == Some(Overlay::Commands) && after.shown().contains("▸ :set"),
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
        (Action::Top | Action::Up | Action::PageUp, _) => top(after) == Some(0),
        (Action::Down | Action::PageDown, _) => top(after) != Some(1),
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
        (Action::Tokens, _) => is.layer == Layer::Entropy,
        (Action::TokensBack, _) => is.layer == Layer::Off,
        (Action::NextPeak, _) => is.token > was.token,
        (Action::PreviousPeak, _) => is.token < was.token,
        (Action::Beside, _) => is.beside && after.shown().contains("raw adv."),
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
        (action, _) => panic!("{action:?} on {screen:?} is not looked at"),
    }
}

/// The same for what only the Charts screen does, or does in its own way.
fn charted(action: Action, screen: Screen, before: &Reader, after: &Reader) -> Option<bool> {
    if screen != Screen::Charts {
        return None;
    }
    let (was, is) = (&before.app.charts, &after.app.charts);
    let (span, end) = (|charts: &Charts| charts.view.span.unwrap(), |charts: &Charts| charts.view.end.unwrap());
    let last = is.shown().len() - 1;
    Some(match action {
        Action::Open => after.app.screen == Screen::Inspect && after.app.inspect.filter_text == "step:150",
        Action::CursorRight => is.cursor > was.cursor,
        Action::CursorLeft => is.cursor < was.cursor,
        Action::ZoomIn => span(is) == 50.0,
        Action::ZoomOut => span(is) == 200.0,
        Action::Fit => is.view == View::default(),
        Action::Follow => is.cursor.is_none() && is.view.end.is_none(),
        Action::PanLeft => end(is) == 175.0,
        Action::PanRight => end(is) == 225.0,
        Action::Smoother => is.weight.value() > was.weight.value(),
        Action::Rougher => is.weight.value() < was.weight.value(),
        Action::LogScale => is.log,
        Action::Axis => is.axis == Axis::Clock,
        Action::Compare => is.picker.as_ref().is_some_and(|picker| picker.runs.is_some()),
        Action::Filter => is.prompt.is_some(),
        Action::Metrics => is.list && after.shown().contains("mean total reward"),
        Action::NextMark => is.cursor == Some(300.0),
        Action::PreviousMark => is.cursor == Some(120.0),
        Action::Close => is.cursor.is_none(),
        Action::NextPanel => is.chosen == 5,
        Action::PreviousPanel => is.chosen == 3,
        Action::Down | Action::PageDown => is.chosen == 7,
        Action::Up | Action::PageUp => is.chosen == 1,
        Action::Top => is.chosen == 0,
        Action::Bottom => is.chosen == last,
        _ => return None,
    })
}

/// The same for the Log screen.
fn logged(action: Action, screen: Screen, before: &Reader, after: &Reader) -> Option<bool> {
    if screen != Screen::Log {
        return None;
    }
    let (was, is) = (&before.app.logs, &after.app.logs);
    Some(match action {
        Action::Search => is.prompt.is_some(),
        Action::Level => is.least == 1,
        Action::Source => is.source == Some("commit"),
        Action::NextMatch | Action::Down => is.chosen == Some(41),
        Action::PreviousMatch | Action::Up => is.chosen == Some(39),
        Action::PageDown => is.chosen > was.chosen,
        Action::PageUp => is.chosen < was.chosen,
        Action::Top => is.chosen == Some(0),
        Action::Bottom => is.chosen.is_none(),
        _ => return None,
    })
}

/// `start`, with something for `action` to do.
pub(super) fn before(start: &Reader, screen: Screen, action: Action) -> Reader {
    let mut reader = start.again();
    if action == Action::Close {
        // Something to close: a filter, or a message.
        if screen == Screen::Inspect { reader.filter("r<100") } else { reader.app.say("hello") }
    }
    if matches!(action, Action::NextPeak | Action::PreviousPeak) {
        // Against the largest bar there are high ones in any text.
        reader.app.inspect.layer = Layer::Share;
        let n = reader.app.inspect.rollout().unwrap().completion.tokens.len();
        reader.app.inspect.token = if action == Action::NextPeak { 0 } else { n - 1 };
    }
    reader
}

#[test]
fn every_key_of_every_action_works_on_every_screen_it_belongs_to() {
    for screen in Screen::ALL {
        let start = ready(screen);
        for row in rows_of(screen) {
            for key in row.keys {
                let [before, mut after] = [(); 2].map(|()| before(&start, screen, row.action));
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
            let lead = format!("  {key} {}", row.hint);
            let shown = hints.contains(&lead) || hints.starts_with(&lead[1..]);
            let arrows = matches!(row.action, Action::NextSibling | Action::Down | Action::CursorRight);
            // Two screens may say the same of one key.
            let same = |other: &&ActionRow| (other.keys[0], other.hint) == (row.keys[0], row.hint);
            let works = ACTIONS.iter().filter(same).any(|other| other.works_on(screen));
            assert!(arrows || shown == works, "{screen:?} {key} {}: '{hints}'", row.name);
        }
        reader.press("?");
        let help = reader.shown();
        for row in ACTIONS {
            assert_eq!(help.contains(row.doc), row.works_on(screen), "{screen:?} {}", row.name);
        }
    }
}
