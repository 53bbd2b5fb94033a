//! Steering from the screen: the palette, breakpoints, knobs, alerts, who leads, what is said of a run that died.

use medserl::{
    attach::{
        Control, Notice, RunState,
        protocol::{Attached, Steering},
    },
    task::{Knob, Knobs, LabelGate, Phase, Text},
    tui::{
        App, Effect, Event,
        notify::{self, Channel},
        overlay::{self, Overlay},
        panel::Panel,
        screen::Screen,
    },
};
use ratatui::crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::{
    app, assert_shows,
    fixture::{Reader, alert, report, steering},
    press, shown,
};

fn say(app: &mut App, notice: Notice) -> Option<Effect> {
    app.update(Event::Notice(Box::new(notice)))
}

fn write(app: &mut App, text: &str) {
    text.chars().for_each(|c| drop(press(app, &if c == ' ' { "space".to_owned() } else { c.to_string() })));
}

/// A paused run with knobs and breakpoints, at the size of a small terminal.
fn steered() -> App {
    let mut app = app((80, 24));
    say(&mut app, Notice::State { state: RunState::Paused });
    say(&mut app, Notice::Steering { steering: Box::new(steering()) });
    say(&mut app, Notice::Alert { alert: Box::new(alert(317, "breakpoint kl > 0.05: kl = 0.0610 at step 317")) });
    app
}

fn click(app: &mut App, what: &str) -> Option<Effect> {
    let screen = shown(app);
    let (row, line) = screen.lines().enumerate().find(|(_, line)| line.contains(what)).unwrap();
    let column = line[..line.find(what).unwrap()].chars().count() as u16;
    let event =
        MouseEvent { kind: MouseEventKind::Down(MouseButton::Left), column, row: row as u16, modifiers: KeyModifiers::NONE };
    app.update(Event::Mouse(event))
}

#[test]
fn the_palette_finds_by_word_and_runs_what_is_chosen() {
    let mut app = app((80, 24));
    press(&mut app, ":");
    write(&mut app, "end phase");
    assert_shows(&shown(&app), &["> end phase", "▸ .", "Run to the end of this phase, then pause"]);
    assert_eq!(press(&mut app, "enter"), Some(Effect::Send(Control::StepPhase)));
    assert_eq!(app.overlay, None);
    press(&mut app, "?");
    write(&mut app, "nothing like this");
    assert_shows(&shown(&app), &["nothing here is called that"]);
    assert_eq!(press(&mut app, "enter"), None);
    assert_eq!(press(&mut app, "esc"), None);
    assert_eq!(app.overlay, None);
}

#[test]
fn a_command_takes_words_and_says_what_is_wrong_with_them() {
    let mut app = steered();
    press(&mut app, ":");
    write(&mut app, "set temperature=0");
    assert_eq!(press(&mut app, "enter"), None);
    assert_shows(&shown(&app), &["temperature = 0: must be above 0"]);
    press(&mut app, "backspace");
    write(&mut app, "0.75");
    assert_eq!(press(&mut app, "enter"), Some(Effect::Send(Control::Set { knob: Knob::Temperature(0.75) })));
    press(&mut app, ":");
    // Half a name is completed, then waits for its words.
    write(&mut app, "unbr");
    press(&mut app, "enter");
    assert_shows(&shown(&app), &["> unbreak ▏", "write unbreak kl > 0.05"]);
    write(&mut app, "nan");
    assert_eq!(press(&mut app, "enter"), Some(Effect::Send(Control::Unbreak { condition: "nan".parse().unwrap() })));
    press(&mut app, ":");
    write(&mut app, "theme mono");
    press(&mut app, "enter");
    assert_eq!(app.theme.name, "mono");
    for (words, effect) in [("mouse off", Some(Effect::Mouse(false))), ("notify osc9", None), ("ascii on", None)] {
        press(&mut app, ":");
        write(&mut app, words);
        assert_eq!(press(&mut app, "enter"), effect, "{words}");
    }
    assert_eq!((app.notify, app.ascii), (Channel::Osc9, true));
}

#[test]
fn what_is_not_possible_stays_in_the_list_and_says_why() {
    let mut app = app((80, 24));
    app.read_only = true;
    press(&mut app, "?");
    write(&mut app, "pause");
    assert_shows(&shown(&app), &["Pause at the next phase boundary", "read-only: attach without --read-only"]);
    assert_eq!(press(&mut app, "enter"), None);
    assert_eq!(app.overlay, Some(Overlay::Help), "the list stays, with the reason");
}

#[test]
fn no_line_of_the_help_is_cut_on_a_small_screen_and_every_one_is_reached() {
    for screen in Screen::ALL {
        let mut reader = Reader::inspecting(1, (80, 24));
        reader.press(&screen.number().to_string());
        reader.press("?");
        let mut seen = String::new();
        for _ in 0..80 {
            let text = reader.shown();
            let body = text.lines().filter(|line| line.contains('┃')).collect::<Vec<_>>().join("\n");
            assert!(!body.contains('…'), "{body}");
            seen += &body;
            reader.press("down");
        }
        for row in medserl::tui::action::rows_of(screen) {
            assert!(seen.contains(row.doc), "{screen:?}: {}", row.doc);
        }
        for row in medserl::tui::command::COMMANDS {
            assert!(seen.contains(row.doc), "{screen:?}: {}", row.doc);
        }
    }
}

#[test]
fn the_way_to_everything_is_on_every_hint_line() {
    for screen in Screen::ALL {
        for columns in 60..=200 {
            let mut reader = Reader::inspecting(1, (columns, 24));
            reader.press(&screen.number().to_string());
            reader.app.flash = None;
            let text = reader.shown();
            let hints = text.lines().last().unwrap();
            assert!(hints.contains(": commands") && hints.trim_end().ends_with("? help"), "{columns}: '{hints}'");
        }
    }
}

#[test]
fn breakpoints_are_listed_set_and_taken_away() {
    let mut app = steered();
    press(&mut app, "B");
    assert_shows(&shown(&app), &["Breakpoints", "▸ kl > 0.05", "hit: kl = 0.0610 at step 317", "nan", "a add", "x remove"]);
    press(&mut app, "a");
    write(&mut app, "fp >");
    assert_eq!(press(&mut app, "enter"), None);
    assert_shows(&shown(&app), &["pause where fp >▏", "must be a finite number"]);
    write(&mut app, " 0.3 for 2");
    let set = Control::Break { condition: "false_positive_rate > 0.3 for 2".parse().unwrap() };
    assert_eq!(press(&mut app, "enter"), Some(Effect::Send(set)));
    press(&mut app, "down");
    assert_eq!(press(&mut app, "x"), Some(Effect::Send(Control::Unbreak { condition: "nan".parse().unwrap() })));
    press(&mut app, "esc");
    app.size = (120, 40);
    assert_shows(&shown(&app), &["breaks at kl > 0.05 · nan", "breakpoint kl > 0.05: kl = 0.0610 at step"]);
}

#[test]
fn knobs_show_what_holds_what_comes_and_what_the_experiment_says() {
    let mut app = steered();
    assert_shows(&shown(&app), &["‖ PAUSED", "temperature=0.8"]);
    press(&mut app, "P");
    assert_shows(
        &shown(&app),
        &["temperature     0.8", "the experiment says 1", "learning_rate   4e-4", "1e-4 from step 319", "label_gate"],
    );
    press(&mut app, "down");
    press(&mut app, "enter");
    assert_shows(&shown(&app), &["learning_rate = 4e-4▏"]);
    (0..4).for_each(|_| drop(press(&mut app, "backspace")));
    write(&mut app, "2e-4");
    assert_eq!(press(&mut app, "enter"), Some(Effect::Send(Control::Set { knob: Knob::LearningRate(2e-4) })));
}

#[test]
fn a_run_that_waits_for_labels_says_which_key_leads_to_them() {
    let mut app = app((80, 24));
    say(&mut app, Notice::Phase { step: 319, phase: Phase::Gate, total: 8 });
    say(&mut app, Notice::State { state: RunState::Paused });
    assert!(!shown(&app).contains("3 label"), "{}", shown(&app));
    let knobs = Some(Knobs { label_gate: LabelGate::Ask, ..steering().experiment.unwrap() });
    let paused_by = Some(Text::new("samples wait for hand labels"));
    let waits = Steering { knobs, paused_by, coming: Vec::new(), ..steering() };
    say(&mut app, Notice::Steering { steering: Box::new(waits) });
    for key in ["1", "2", "6"] {
        press(&mut app, key);
        assert_shows(&shown(&app), &["samples wait for", "3 label"]);
    }
    app.read_only = true;
    assert!(!shown(&app).contains("3 label"), "{}", shown(&app));
}

#[test]
fn the_step_panel_tells_what_was_refused_and_left_out_the_most_frequent_first() {
    let mut app = app((120, 40));
    let counts = |all: &[(&str, u32)]| all.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect();
    let mut told = report(317);
    told.rejections = counts(&[("AE/fallback", 1), ("AE/lexicon", 5), ("SI/parse-fields", 14)]);
    told.dropped = counts(&[("AS/sibling", 2), ("SI/\u{1b}x", 3)]);
    say(&mut app, Notice::Step { report: Box::new(told) });
    // The window's reasons have the one row that is left; the counts of both are at the foot.
    let screen = shown(&app);
    assert_shows(&screen, &["left out 5: SI/", "x 3, AS/sibling 2", "left out 5 · rejected 20"]);
    assert!(!screen.contains('\u{1b}'), "{screen}");
    let mut gates_only = report(318);
    gates_only.rejections = counts(&[("AE/fallback", 1), ("AE/lexicon", 5), ("SI/parse-fields", 14)]);
    say(&mut app, Notice::Step { report: Box::new(gates_only) });
    assert_shows(&shown(&app), &["rejected 20: SI/parse-fields 14,…"]);
    assert!(!shown(&app).contains("left out"), "{}", shown(&app));
    // A step that refused nothing says nothing.
    say(&mut app, Notice::Step { report: Box::new(report(319)) });
    assert!(!shown(&app).contains("rejected") && !shown(&app).contains("left out"), "{}", shown(&app));
}

#[test]
fn giving_a_step_up_asks_first_and_neither_enter_nor_the_same_key_does_it() {
    let mut app = app((80, 24));
    press(&mut app, "X");
    assert_shows(&shown(&app), &["Give up step 318?", "give it up", "stay here"]);
    assert_eq!((press(&mut app, "enter"), press(&mut app, "X")), (None, None));
    assert_eq!(press(&mut app, "g"), Some(Effect::Send(Control::Abort)));
}

#[test]
fn alerts_are_counted_until_they_are_opened_and_lead_to_their_step() {
    let mut reader = Reader::new(2, (80, 24));
    for step in [1, 2] {
        let notice = Notice::Alert { alert: Box::new(alert(step, "alarm kl: the policy has moved far from the reference")) };
        reader.event(Event::Notice(Box::new(notice)));
    }
    assert_shows(&reader.shown(), &["! 2"]);
    reader.press("a");
    assert_shows(&reader.shown(), &["Alerts", "▸ step 2", "step 1"]);
    assert!(!reader.shown().contains("! 2"));
    reader.press("down");
    reader.press("enter");
    assert_eq!((reader.app.screen, reader.app.inspect.filter_text.as_str()), (Screen::Inspect, "step:1"));
    assert_shows(&reader.shown(), &["16 of 32"]);
}

#[test]
fn one_client_steers_and_another_may_take_over() {
    let mut app = app((80, 24));
    app.me = Some(Text::new("ann (process 1)"));
    let clients = |ann: bool| Notice::Clients {
        clients: vec![
            Attached { who: Text::new("ann (process 1)"), steers: ann },
            Attached { who: Text::new("bob (process 2)"), steers: !ann },
        ],
    };
    say(&mut app, clients(true));
    assert_eq!(press(&mut app, "space"), Some(Effect::Send(Control::Pause)));
    assert_shows(&shown(&app), &["steering, +1"]);
    say(&mut app, clients(false));
    assert_shows(&shown(&app), &["bob (process 2) steers this run; you watch", "watching"]);
    for key in ["space", ".", ">", "X"] {
        assert_eq!(press(&mut app, key), None);
        assert_shows(&shown(&app), &["bob (process 2) steers this run; W takes over"]);
    }
    press(&mut app, "q");
    assert!(!shown(&app).contains("stop"), "whoever watches can only detach");
    press(&mut app, "esc");
    app.flash = None;
    assert_shows(&shown(&app), &["W take over"]);
    assert_eq!(press(&mut app, "W"), Some(Effect::Send(Control::Take)));
    say(&mut app, clients(true));
    assert_shows(&shown(&app), &["you steer this run now"]);
}

/// The name tells one run from another: it is whole beside whatever else the header of a small screen has to say.
#[test]
fn the_name_of_the_run_is_whole_on_a_small_screen_whoever_watches() {
    let clients = |me: bool| {
        let attached = |who: &str, steers| Attached { who: Text::new(who), steers };
        Notice::Clients { clients: vec![attached("ann", me), attached("bob", !me)] }
    };
    for (id, read_only, steers, n_alerts) in [
        ("demo-s1", true, true, 12),
        ("demo-s1", false, false, 12),
        ("demo-s1", false, true, 12),
        ("0142-lora-r16", true, true, 1),
        ("0142-lora-r16", false, false, 0),
    ] {
        let mut app = app((80, 24));
        (app.read_only, app.me) = (read_only, Some(Text::new("ann")));
        app.live.run_id = id.to_owned();
        say(&mut app, clients(steers));
        (0..n_alerts).for_each(|n| drop(say(&mut app, Notice::Alert { alert: Box::new(alert(n, "kl")) })));
        app.flash = None;
        let screen = shown(&app);
        let role = if read_only { "read-only" } else { ["watching", "steering, +1"][usize::from(steers)] };
        let head = screen.lines().next().unwrap();
        assert_shows(head, &[&format!(" {id} · 1·Live "), "6 Log", role]);
        assert!(n_alerts == 0 || head.contains(&format!("! {n_alerts}")), "{head}");
        assert!(screen.trim_end().ends_with("? help"), "what left the header is on the hint line: {screen}");
        for columns in 60..=200 {
            app.size = (columns, 24);
            assert_shows(shown(&app).lines().next().unwrap(), &["1·Live ", "6 Log"]);
        }
    }
}

#[test]
fn a_trainer_that_died_is_a_card_with_the_way_to_go_on() {
    let mut app = app((80, 24));
    let message = "the trainer died without a word (killed, or out of memory). Ctrl-R goes on from the last checkpoint";
    // The socket closes first; what became of the trainer is found out afterwards.
    app.update(Event::Closed);
    assert_shows(&shown(&app), &["? LOST", "the trainer does not answer; trying again"]);
    say(&mut app, Notice::Ended { state: RunState::Failed, message: Text::new(message) });
    assert!(!shown(&app).contains("LOST"), "{}", shown(&app));
    assert_shows(
        &shown(&app),
        &[
            "✗ FAILED",
            "the trainer died without a word",
            "last committed step 317 of 1000",
            "Ctrl-R resume",
            "checkpoint step-300 saved",
        ],
    );
    press(&mut app, "esc");
    for key in ["1", "2", "4", "6"] {
        press(&mut app, key);
        let screen = shown(&app);
        assert_shows(
            &screen,
            &["✗ FAILED  step 318/1000  the trainer died without a word", "Ctrl-R resume", ": commands  ? help"],
        );
    }
    assert_eq!(press(&mut app, "ctrl-r"), Some(Effect::Restart));
    app.read_only = true;
    assert_eq!(press(&mut app, "ctrl-r"), None);
}

#[test]
fn a_reader_who_looks_elsewhere_is_called_with_names_and_numbers_only() {
    let mut app = app((80, 24));
    let alarm = |app: &mut App| {
        app.asides.clear();
        say(app, Notice::Alert { alert: Box::new(alert(318, "quotes the note: 5000 mg")) });
        std::mem::take(&mut app.asides)
    };
    assert_eq!(alarm(&mut app), [], "off by default");
    app.notify = Channel::Bell;
    let call = Effect::Call(Channel::Bell, Text::new("0142-lora-r16: break at step 318"));
    assert_eq!(alarm(&mut app), vec![call.clone()]);
    app.update(Event::Focus(true));
    assert_eq!(alarm(&mut app), [], "whoever looks is not called");
    app.update(Event::Focus(false));
    assert_eq!(alarm(&mut app), [call]);
}

#[test]
fn only_sanitised_text_leaves_in_escape_sequences() {
    let hostile = Text::new("a;b\u{1b}]52;c;x\u{7}\u{9d}\u{202e}\nc");
    let sent = |channel, tmux| {
        let mut out = Vec::new();
        notify::call(&mut out, channel, &hostile, tmux).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(sent(Channel::Off, false), "");
    assert_eq!(sent(Channel::Bell, true), "\u{7}");
    let middle = |text: String, lead: &str, end: &str| text.strip_prefix(lead).unwrap().strip_suffix(end).unwrap().to_owned();
    for text in [
        middle(sent(Channel::Osc9, false), "\u{1b}]9;", "\u{1b}\\\u{7}"),
        middle(sent(Channel::Osc777, false), "\u{1b}]777;notify;medserl;", "\u{1b}\\\u{7}"),
        middle(sent(Channel::Osc9, true), "\u{1b}Ptmux;\u{1b}\u{1b}]9;", "\u{1b}\u{1b}\\\u{1b}\\\u{7}"),
    ] {
        assert!(!text.chars().any(char::is_control) && text.starts_with('a') && text.ends_with('c'), "{text:?}");
    }
    assert!(!middle(sent(Channel::Osc777, false), "\u{1b}]777;notify;medserl;", "\u{1b}\\\u{7}").contains(';'));
    let mut out = Vec::new();
    notify::title(&mut out, &hostile).unwrap();
    let title = middle(String::from_utf8(out).unwrap(), "\u{1b}]2;", "\u{1b}\\");
    assert!(!title.chars().any(char::is_control), "{title:?}");
}

#[test]
fn a_click_chooses_and_the_wheel_scrolls() {
    let mut app = app((120, 40));
    click(&mut app, "Quadrants");
    assert_eq!(app.focus, Panel::Quadrants);
    let doctor = shown(&app).lines().position(|line| line.contains("Doctor")).unwrap() as u16 + 2;
    let wheel = MouseEvent { kind: MouseEventKind::ScrollUp, column: 90, row: doctor, modifiers: KeyModifiers::NONE };
    app.update(Event::Resize(120, 24));
    app.update(Event::Mouse(MouseEvent { row: 12, ..wheel }));
    assert_eq!(app.focus, Panel::Quadrants, "the wheel takes no focus");
    click(&mut app, "6 Log");
    assert_eq!(app.screen, Screen::Log);
    let mut reader = Reader::inspecting(2, (120, 40));
    let screen = reader.shown();
    let row = screen.lines().position(|line| line.contains("▸")).unwrap() as u16 + 3;
    let at = MouseEvent { kind: MouseEventKind::Down(MouseButton::Left), column: 5, row, modifiers: KeyModifiers::NONE };
    reader.event(Event::Mouse(at));
    assert_eq!(reader.app.inspect.chosen, 3);
    reader.event(Event::Mouse(MouseEvent { kind: MouseEventKind::ScrollDown, ..at }));
    assert_eq!(reader.app.inspect.chosen, 6);
    // In a list a click chooses and a second one carries out.
    reader.press("1");
    reader.press("?");
    click(&mut reader.app, "Run to the end of this step");
    assert_eq!(reader.app.overlay, Some(Overlay::Help));
    assert_eq!(click(&mut reader.app, "Run to the end of this step"), Some(Effect::Send(Control::StepOnce)));
}

#[test]
fn ascii_draws_no_other_glyph_and_says_the_same() {
    let mut app = steered();
    for size in [(80, 24), (120, 40), (200, 60), (44, 10)] {
        app.update(Event::Resize(size.0, size.1));
        for overlay in [None].into_iter().chain(Overlay::ALL.map(Some)) {
            app.ascii = true;
            match overlay {
                Some(overlay) => overlay::open(&mut app, overlay),
                None => overlay::close(&mut app),
            }
            let text = shown(&app);
            assert!(text.is_ascii(), "{size:?} {overlay:?}: {:?}", text.chars().filter(|c| !c.is_ascii()).collect::<String>());
        }
        overlay::close(&mut app);
    }
    assert_shows(&shown(&app), &["= PAUSED"]);
}

#[test]
fn pasted_text_is_text_and_never_keys() {
    let mut app = app((80, 24));
    assert_eq!(app.update(Event::Paste("q\r c".to_owned())), None);
    assert_eq!(app.overlay, None);
    assert_shows(&shown(&app), &["pasted text is left alone"]);
    press(&mut app, ":");
    app.update(Event::Paste("set temp\u{1b}erature=0.5\n".to_owned()));
    assert_shows(&shown(&app), &["> set temp erature=0.5"]);
}
