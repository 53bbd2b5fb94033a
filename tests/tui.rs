//! The terminal client as its reader meets it: keys in, text on the screen out. No terminal is needed.

mod actions;
mod away;
mod charts;
mod control;
mod filter;
mod fixture;
mod inspect;
mod log;
mod random;
mod replay;
mod runs;
mod snapshots;
mod theme;
mod tokens;
mod triples;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fixture::{CLEAN, RIGHT, notices, rollout, sample, token};
use medserl::{
    attach::{Control, Machine, Notice, RunState, protocol::Steering},
    task::{Knob, Phase, Quadrant, Text},
    tui::{
        App, Effect, Event, Leave, Theme,
        action::{ACTIONS, Action, rows_of},
        command::COMMANDS,
        drive,
        keymap::{Chord, Keymap},
        panel::Panel,
        screen::{self, Screen},
        theme::Depth,
        widget::{
            cut,
            diff::{self, Change},
            gauge, spark, wrap,
        },
    },
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

pub(crate) const SIZES: [(u16, u16); 8] = [(1, 1), (20, 5), (44, 10), (60, 15), (80, 24), (100, 30), (120, 40), (200, 60)];

pub(crate) fn theme() -> Theme {
    Theme::built_in("dark", Depth::True).unwrap()
}

/// An application that took in the notices above, at a size.
pub(crate) fn app(size: (u16, u16)) -> App {
    let mut app = App::new(theme(), size);
    for notice in notices() {
        assert_eq!(app.update(Event::Notice(Box::new(notice))), None);
    }
    app
}

pub(crate) fn press(app: &mut App, name: &str) -> Option<Effect> {
    app.update(Event::Key(key(name)))
}

/// The press of a named key.
pub(crate) fn key(key: &str) -> KeyEvent {
    let (name, modifiers) = match key.strip_prefix("ctrl-") {
        Some(rest) => (rest, KeyModifiers::CONTROL),
        None => (key, KeyModifiers::NONE),
    };
    let code = match name {
        "enter" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "left" => KeyCode::Left,
        "right" => KeyCode::Right,
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "tab" => KeyCode::Tab,
        "backtab" => KeyCode::BackTab,
        "home" => KeyCode::Home,
        "end" => KeyCode::End,
        "backspace" => KeyCode::Backspace,
        "shift-tab" => KeyCode::BackTab,
        "pageup" => KeyCode::PageUp,
        "pagedown" => KeyCode::PageDown,
        "space" => KeyCode::Char(' '),
        one => KeyCode::Char(one.chars().next().unwrap()),
    };
    KeyEvent::new(code, modifiers)
}

/// The screen as text, one line a row.
pub(crate) fn shown(app: &App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| screen::draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    assert!(
        buffer.content.iter().all(|cell| !cell.symbol().chars().any(char::is_control)),
        "a control character reached the screen"
    );
    let rows = buffer.content.chunks(usize::from(app.size.0).max(1));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
}

pub(crate) fn assert_shows(screen: &str, facts: &[&str]) {
    for fact in facts {
        assert!(screen.contains(fact), "'{fact}' is not on the screen:\n{screen}");
    }
}

#[test]
fn the_key_facts_are_on_a_small_screen() {
    let screen = shown(&app((80, 24)));
    assert_shows(&screen, &["0142-lora-r16", "● RUN", "step 318/1000", "doctor 4/64", "143 tok/s", "eta 6 h 08 m"]);
    // Quadrants count what is scored so far: three completions of SI (a miss, a hit, an unreadable one) and one of AS.
    assert_shows(&screen, &["SI    3", "AS    1", "▼ 33%", "▲100%", "step 318 so far"]);
    assert_shows(&screen, &["reward", "KL", "entropy", "FP rate", "FN rate", "length", "last 317 steps"]);
    assert_shows(
        &screen,
        &["SI-0318-03", "completion 4/8", "… pending", "ERROR Pharmacotherapy, sentence 3", "[4▌]", "1▼", "2●", "3✗", "5…"],
    );
    assert_shows(&screen, &["Space pause", "q leave", "? help", ". phase", "> step", "f freeze"]);
}

#[test]
fn the_scribe_panel_shows_the_edit_and_its_provenance() {
    let mut app = app((120, 40));
    let screen = shown(&app);
    assert_shows(
        &screen,
        &[
            "⟦Metformin [-1000-] +5000+ mg twice daily is started.⟧",
            "\"1000\" → \"5000\"",
            "✗ novelty: 0.12 below 0.20",
            "✓ splice",
        ],
    );
    assert_shows(
        &screen,
        &["synthetic injection", "4 of 8", "NVIDIA H200", "61.0/139.0 GiB", "612 W", "71 °C", "SD false positives"],
    );
    app.focus = Panel::Scribe;
    press(&mut app, "up");
    assert_shows(&shown(&app), &["SD-0318-02", "! FALLBACK", "CLEAN", "[-twice daily-] +BID+"]);
}

#[test]
fn a_scored_verdict_stands_apart_with_truth_and_reward() {
    let mut app = app((120, 40));
    press(&mut app, "left");
    let screen = shown(&app);
    assert_shows(&screen, &["completion 3/8", "✗ malformed", "no <thinking>", "-1.00", "I think the dose is too high"]);
    assert!(!screen.contains('\u{202e}') && !screen.contains('\u{1b}'));
    press(&mut app, "left");
    assert_shows(
        &shown(&app),
        &["● true positive", "Error: Pharmacotherapy, sentence 3", "reward    +1.10", "advantage +0.62", "format +0.10"],
    );
}

#[test]
fn a_machine_without_a_gpu_is_not_given_one() {
    let mut app = app((120, 40));
    let machine = Machine { cpu_name: "Xeon".to_owned(), n_cpus: 2, ..Machine::default() };
    app.update(Event::Notice(Box::new(Notice::Machine { machine: Box::new(machine) })));
    let screen = shown(&app);
    assert_shows(&screen, &["CPU only", "unknown"]);
    assert!(!screen.contains("GPU") && !screen.contains("°C"), "{screen}");
}

/// The trainer reads the machine once a second, also while it is paused: a reading is worth a frame only where it is seen.
#[test]
fn readings_of_the_machine_that_nobody_sees_draw_nothing() {
    let reading =
        |cpu_used| Notice::Machine { machine: Box::new(Machine { cpu_used: Some(cpu_used), n_cpus: 2, ..Machine::default() }) };
    for (size, key, drawn) in [((80, 24), "1", false), ((80, 24), "6", false), ((120, 40), "1", true), ((44, 10), "1", true)] {
        let mut app = app(size);
        press(&mut app, key);
        app.update(Event::Notice(Box::new(reading(0.5))));
        let before = shown(&app);
        app.dirty = false;
        for used in [0.11, 0.62, 0.93] {
            app.update(Event::Notice(Box::new(reading(used))));
        }
        assert_eq!(app.dirty, drawn, "{size:?} {key}");
        assert_eq!(shown(&app) != before, drawn, "{size:?} {key}: drawn exactly where it looks different");
    }
}

/// What was asked for and does not hold yet is on every status line, also on a small one.
#[test]
fn a_change_that_is_coming_is_on_the_status_line() {
    let mut app = app((80, 24));
    let coming = vec![(319, Knob::LearningRate(1e-4))];
    let steering = Steering { coming, paused_by: None, ..fixture::steering() };
    app.update(Event::Notice(Box::new(Notice::Steering { steering: Box::new(steering) })));
    assert_shows(&shown(&app), &["temperature=0.8  learning_rate=1e-4 from 319"]);
}

#[test]
fn steering_keys_send_what_they_say() {
    let mut app = app((80, 24));
    assert_eq!(press(&mut app, "space"), Some(Effect::Send(Control::Pause)));
    app.update(Event::Notice(Box::new(Notice::State { state: RunState::Paused })));
    for _ in 0..4 {
        app.update(Event::Tick);
    }
    assert_shows(&shown(&app), &["‖ PAUSED", "Space resume"]);
    assert_eq!(press(&mut app, "space"), Some(Effect::Send(Control::Resume)));
    assert_eq!(press(&mut app, "."), Some(Effect::Send(Control::StepPhase)));
    assert_eq!(press(&mut app, ">"), Some(Effect::Send(Control::StepOnce)));
    app.read_only = true;
    for key in ["space", ".", ">"] {
        assert_eq!(press(&mut app, key), None);
        assert_shows(&shown(&app), &["read-only"]);
    }
}

#[test]
fn leaving_asks_and_enter_only_ever_detaches() {
    for key in ["q", "ctrl-c"] {
        let mut app = app((80, 24));
        assert_eq!(press(&mut app, key), None);
        assert_shows(&shown(&app), &["Leave 0142-lora-r16?", "detach", "checkpoint", "stop now", "stay here"]);
        assert_eq!(press(&mut app, "q"), None, "the key that opened the dialog does nothing in it");
        assert_eq!(press(&mut app, "enter"), Some(Effect::Detach));
    }
    let mut app = app((80, 24));
    press(&mut app, "q");
    press(&mut app, "esc");
    assert_eq!(app.overlay, None);
    press(&mut app, "q");
    assert_eq!(press(&mut app, "c"), Some(Effect::Send(Control::Stop { now: false })));
    let ended = Notice::Ended { state: RunState::Finished, message: Text::new("stopped at step 318") };
    assert_eq!(app.update(Event::Notice(Box::new(ended))), Some(Effect::Quit));
    assert_eq!(app.outcome(), Leave::Stopped);
}

#[test]
fn a_read_only_client_can_only_detach() {
    let mut app = app((80, 24));
    app.read_only = true;
    press(&mut app, "q");
    assert!(!shown(&app).contains("stop"));
    assert_eq!(press(&mut app, "s"), None);
    press(&mut app, "q");
    assert_eq!(press(&mut app, "enter"), Some(Effect::Detach));
}

#[test]
fn an_ended_or_lost_run_stays_on_screen_until_the_reader_leaves() {
    let mut ended = app((80, 24));
    ended.update(Event::Notice(Box::new(Notice::Ended { state: RunState::Failed, message: Text::new("loss is NaN") })));
    assert_shows(&shown(&ended), &["✗ FAILED", "loss is NaN", "q leave"]);
    assert_eq!((press(&mut ended, "q"), ended.outcome()), (Some(Effect::Quit), Leave::RunEnded));
    let mut lost = app((80, 24));
    assert_eq!(lost.update(Event::Closed), None);
    assert_shows(&shown(&lost), &["? LOST"]);
    assert_eq!(press(&mut lost, "space"), None);
    assert_eq!((press(&mut lost, "q"), lost.outcome()), (Some(Effect::Quit), Leave::ConnectionLost));
}

#[test]
fn help_lists_every_action() {
    let mut app = app((100, 60));
    press(&mut app, "?");
    let screen = shown(&app);
    for row in rows_of(Screen::Live) {
        assert_shows(&screen, &[row.doc]);
    }
    press(&mut app, "esc");
    assert_eq!(app.overlay, None);
    app.size = (80, 15);
    press(&mut app, "?");
    for _ in 0..80 {
        press(&mut app, "down");
    }
    assert_shows(&shown(&app), &[COMMANDS.last().unwrap().doc]);
}

#[test]
fn every_default_key_is_spelled_right_and_means_one_thing() {
    let keymap = Keymap::default();
    let spelled: usize = ACTIONS.iter().map(|row| row.keys.len() * row.screens.len()).sum();
    assert_eq!(keymap.bindings().len(), spelled);
    for screen in Screen::ALL {
        for row in rows_of(screen) {
            for key in row.keys {
                assert_eq!(keymap.action(screen, Chord::parse(key).unwrap()), Some(row.action), "{key} on {screen:?}");
            }
        }
    }
}

#[test]
fn following_keeps_a_finished_completion_until_another_one_has_begun_to_speak() {
    let mut app = app((80, 24));
    let shown_now = |app: &App| app.follow.watched().map(|k| k.sibling);
    assert_eq!(shown_now(&app), Some(3));
    let third = app.live.samples[3].clone();
    app.update(Event::Notice(Box::new(rollout(&third, 3, RIGHT))));
    app.update(Event::Notice(Box::new(token(&third, 4, "<thinking>short"))));
    assert_eq!(shown_now(&app), Some(3));
    app.update(Event::Notice(Box::new(token(&third, 4, " but now it is getting longer"))));
    assert_eq!(shown_now(&app), Some(4));
    press(&mut app, "f");
    app.update(Event::Notice(Box::new(rollout(&third, 4, CLEAN))));
    app.update(Event::Notice(Box::new(token(&third, 5, &"on and on ".repeat(20)))));
    assert_eq!(shown_now(&app), Some(4));
    assert_shows(&shown(&app), &["frozen", "f follow"]);
    app.update(Event::Notice(Box::new(Notice::Phase { step: 319, phase: Phase::Scribe, total: 8 })));
    // Its sample is no longer among those of the step; the scored completion brings its own.
    let scored = shown(&app);
    assert_shows(&scored, &["Nothing in this note looks wrong", "step 319/1000", "truth     ERROR Pharmacotherapy, sentence 3"]);
    press(&mut app, "f");
    app.update(Event::Notice(Box::new(token(&sample(Quadrant::AugmentedSafe, 319, 0), 0, "hello"))));
    assert!(shown_now(&app).is_some());
}

#[test]
fn keys_move_focus_zoom_and_scroll_within_bounds() {
    let mut app = app((80, 24));
    press(&mut app, "tab");
    assert_eq!(app.focus, Panel::Scribe);
    assert_shows(&shown(&app), &["┏ Scribe"]);
    press(&mut app, "backtab");
    press(&mut app, "backtab");
    assert_eq!(app.focus, Panel::Finished);
    assert_shows(&shown(&app), &["Rollouts", "false negative"]);
    app.focus = Panel::Doctor;
    press(&mut app, "z");
    assert!(!shown(&app).contains("Quadrants"));
    press(&mut app, "esc");
    assert_shows(&shown(&app), &["Quadrants"]);
    app.update(Event::Resize(60, 15));
    for _ in 0..50 {
        press(&mut app, "up");
    }
    assert_eq!(app.scroll[Panel::Doctor.index()], Some(0));
    assert_shows(&shown(&app), &["The patient is a 58-year-old", "+1 line · End"]);
    for _ in 0..50 {
        press(&mut app, "down");
    }
    assert_eq!(app.scroll[Panel::Doctor.index()], None);
}

#[test]
fn a_burst_is_drawn_a_few_times_and_quiet_is_not_drawn_at_all() {
    let (sender, receiver) = mpsc::channel();
    let mut app = App::new(theme(), (80, 24));
    for notice in notices() {
        sender.send(Event::Notice(Box::new(notice))).unwrap();
    }
    let busy = Arc::new(sample(Quadrant::SyntheticInjection, 318, 3));
    for _ in 0..5000 {
        sender.send(Event::Notice(Box::new(token(&busy, 3, "a ")))).unwrap();
    }
    let drawn = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&drawn);
    let keys = thread::spawn(move || {
        let count = || counter.load(Ordering::SeqCst);
        let settle = || {
            let mut last = u64::MAX;
            while count() != last {
                last = count();
                thread::sleep(Duration::from_millis(150));
            }
            last
        };
        let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        let before = settle();
        // Keys that mean nothing change nothing.
        (0..50).for_each(|_| sender.send(key(KeyCode::F(9))).unwrap());
        let after = settle();
        [KeyCode::Char('q'), KeyCode::Enter].into_iter().for_each(|code| sender.send(key(code)).unwrap());
        (before, after)
    });
    let started = Instant::now();
    let mut draw = |app: &App| {
        assert!(!shown(app).is_empty());
        drawn.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let leave = drive(&mut app, &receiver, Duration::from_millis(33), &mut draw, &mut |_| {}).unwrap();
    let (before, after) = keys.join().unwrap();
    assert_eq!(leave, Leave::Detached);
    assert_eq!(app.draws, drawn.load(Ordering::SeqCst));
    assert!(before >= 1);
    assert_eq!(before, after, "drawn while nothing changed");
    // Each of the 52 keys may bring its frame forward.
    let cap = started.elapsed().as_millis() / 33 + 2 + 52;
    assert!(u128::from(app.draws) <= cap.min(200), "5000 tokens took {} draws", app.draws);
}

#[test]
fn hints_and_facts_leave_whole() {
    for columns in 20..=200 {
        let app = app((columns, 24));
        let screen = shown(&app);
        let last = screen.lines().last().unwrap().trim_end();
        let words = ["pause", "leave", "help", "phase", "step", "freeze", "panel", "sibling", "scroll", "zoom"];
        assert!(words.iter().any(|w| last.ends_with(w)), "cut at {columns} columns: '{last}'");
    }
}

#[test]
fn themes_are_complete_and_mono_has_no_colour() {
    for name in ["dark", "light", "mono"] {
        Theme::built_in(name, Depth::Indexed).unwrap();
    }
    let env = |key: &str| (key == "NO_COLOR").then(|| "1".to_owned());
    let mono = Theme::choose(None, env).unwrap();
    assert_eq!(mono.name, "mono");
    let mut app = app((120, 40));
    app.theme = mono;
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    terminal.draw(|frame| screen::draw(&app, frame)).unwrap();
    let plain = |c: ratatui::style::Color| c == ratatui::style::Color::Reset;
    assert!(terminal.backend().buffer().content.iter().all(|cell| plain(cell.fg) && plain(cell.bg)));
    let error = Theme::parse("[x]\ntext = {}", "x", Depth::True).unwrap_err().to_string();
    assert!(error.contains("'dim'"), "{error}");
    assert!(Theme::built_in("pink", Depth::True).unwrap_err().to_string().contains("dark, light, mono"));
}

#[test]
fn text_is_cut_and_wrapped_by_columns() {
    assert_eq!(cut::fit("one two three", 9), "one two…");
    assert_eq!(cut::fit("医生認為", 5), "医生…");
    let style = ratatui::style::Style::default();
    let lines: Vec<String> = wrap::plain("aa bb  cc\n\ndddddddd", style, 5).iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["aa bb", "cc", "", "ddddd", "ddd"]);
    let pieces = diff::words("give 1000 mg now", "give 5000 mg later on");
    let deleted: Vec<&str> = pieces.iter().filter(|p| p.change == Change::Deleted).map(|p| p.text.as_str()).collect();
    assert_eq!(deleted, ["1000 mg now"]);
    assert_eq!(gauge::bar(0.5, 4), "██░░");
    assert_eq!(gauge::bar(f64::NAN, 3), "░░░");
    assert_eq!(spark::row(&[Some(0.0), None, Some(f64::NAN), Some(1.0)], 5), " ▁ ×█");
    assert_eq!(Keymap::default().action(Screen::Log, Chord::parse("q").unwrap()), Some(Action::Leave));
}
