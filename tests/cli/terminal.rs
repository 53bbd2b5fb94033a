//! Terminals that close and screens that are killed: training goes on, and nobody is left behind. `script` of util-linux makes the
//! terminals; where it is missing this says so. `MEDSERL_CLOSED=100` makes the full count.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use medserl::{
    attach::{Live, Notice, RunState},
    store::Store,
    tui::{self, Event, Options, terminal::surviving},
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::program::{Home, tiny, words};
use crate::figure::figure;

/// Longer than anything here takes; reaching it is a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// A terminal with `medserl` in it.
pub struct Terminal {
    script: Child,
    screen: Pid,
}

impl Terminal {
    /// Opens one and waits until the screen is drawn.
    fn open(home: &Home, args: &[&str]) -> Terminal {
        Terminal::open_under(home, "", args)
    }

    /// The same with `medserl` started by another program, given with its arguments as a shell reads them.
    pub fn open_under(home: &Home, program: &str, args: &[&str]) -> Terminal {
        let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        // Of a size, so that there is something to draw on.
        let line = format!("stty rows 24 cols 80; exec {program} '{}' {}", env!("CARGO_BIN_EXE_medserl"), quoted.join(" "));
        let mut script = Command::new("script")
            .args(["-q", "-f", "-c", &line, "/dev/null"])
            .envs([
                ("MEDSERL_HOME", home.0.path().to_str().unwrap()),
                ("HF_HUB_OFFLINE", "1"),
                ("TERM", "xterm"),
                ("SHELL", "/bin/sh"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = Vec::new();
        let mut out = script.stdout.take().unwrap();
        let mut buffer = [0; 4096];
        // The switch to the screen of its own, and then something drawn on it.
        while !seen.windows(8).any(|w| w == b"\x1b[?1049h") || seen.len() < 600 {
            let n = out.read(&mut buffer).unwrap();
            assert!(n > 0, "the screen ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..n]);
        }
        // Whoever draws must not wait for a reader.
        thread::spawn(move || while out.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
        let children = format!("/proc/{0}/task/{0}/children", script.id());
        let screen = fs::read_to_string(children).unwrap().trim().parse().ok().and_then(Pid::from_raw).expect("one child");
        Terminal { script, screen }
    }

    /// Presses a key again and again until the screen is left.
    pub fn press_until_left(mut self, keys: &str) {
        let patience = Instant::now() + LIMIT;
        let mut typed = self.script.stdin.take().unwrap();
        while self.script.try_wait().unwrap().is_none() {
            assert!(Instant::now() < patience, "the screen does not heed {keys:?}");
            // Whoever has left reads no more.
            let _ = typed.write_all(keys.as_bytes()).and_then(|()| typed.flush());
            (0..1_000).for_each(|_| thread::yield_now());
        }
    }

    pub fn press(&mut self, keys: &str) {
        let typed = self.script.stdin.as_mut().unwrap();
        typed.write_all(keys.as_bytes()).and_then(|()| typed.flush()).unwrap();
    }

    /// Ends it in one of four ways and waits until nothing of it is left.
    fn close(mut self, how: u32) {
        match how % 4 {
            0 => kill_process(self.screen, Signal::KILL).unwrap(),
            // The terminal itself goes away, as with a closed window or a lost connection: a hang-up, then errors.
            1 => self.script.kill().unwrap(),
            2 => kill_process(self.screen, Signal::HUP).unwrap(),
            _ => kill_process(self.screen, Signal::TERM).unwrap(),
        }
        let patience = Instant::now() + LIMIT;
        while is_running(self.screen) {
            assert!(Instant::now() < patience, "the screen lives on after end {how}");
            thread::yield_now();
        }
        let _ = self.script.kill();
        self.script.wait().unwrap();
    }
}

/// Whether a process is there and no mere name of a dead one.
fn is_running(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn trainer_pid(dir: &Path) -> Option<Pid> {
    let lock = fs::read_to_string(dir.join("lock")).ok()?;
    let holder: serde_json::Value = serde_json::from_str(&lock).ok()?;
    Pid::from_raw(i32::try_from(holder["pid"].as_u64()?).unwrap())
}

fn steps(dir: &Path) -> u32 {
    Store::open_read_only(dir).unwrap().last_step().unwrap().unwrap_or(0)
}

/// Whether terminals can be made here; says so where not.
pub fn can_make_terminals() -> bool {
    let there = Command::new("script").arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: there is no `script` (util-linux) here to make a terminal with");
    }
    there
}

#[test]
fn training_goes_on_when_terminals_close_and_screens_are_killed() {
    if !can_make_terminals() {
        return;
    }
    let n: u32 = std::env::var("MEDSERL_CLOSED").map_or(4, |n| n.parse().unwrap());
    let home = Home::new();
    let args: Vec<String> = tiny("100000", &[]).into_iter().filter(|arg| arg != "--headless" && arg != "--json").collect();
    // The first terminal starts the trainer, which must be no child of it.
    let first = Terminal::open(&home, &words(&args));
    let dir = home.run_dir();
    let trainer = trainer_pid(&dir).expect("the trainer holds its lock");
    first.close(1);
    let mut before = steps(&dir);
    for how in 1..n {
        Terminal::open(&home, &["attach"]).close(how);
        assert!(is_running(trainer) && trainer_pid(&dir) == Some(trainer), "the trainer is gone after end {how}");
    }
    // It still makes steps.
    for _ in 0..2 {
        let patience = Instant::now() + LIMIT;
        while steps(&dir) <= before {
            assert!(Instant::now() < patience, "no step after {before}");
            thread::yield_now();
        }
        before = steps(&dir);
    }
    home.run(&["stop", "--now"]).done();
    figure(
        "R10, R11",
        "terminal closed, screen killed, hung up or terminated, in turn",
        &format!("{n} of {n}: the trainer goes on, the screen is gone, nothing is left running"),
    );
}

const PANICS: &str = "cli::terminal::child_whose_screen_panics";

/// The screen of a run whose loop panics at a key, for the test below; nothing by itself.
#[test]
fn child_whose_screen_panics() {
    let Ok(dir) = std::env::var("MEDSERL_TEST_PANIC") else { return };
    let (sender, events) = channel();
    let live = Box::new(tui::replay::picture(Path::new(&dir)).unwrap());
    let live = Box::new(Live { state: RunState::Running, ended: None, ..*live });
    sender.send(Event::Notice(Box::new(Notice::Snapshot { live }))).unwrap();
    sender.send(Event::Key(KeyEvent::new(KeyCode::Char(' '), KeyModifiers::NONE))).unwrap();
    let options = Options { run_dir: Some(dir.clone().into()), ..Options::default() };
    let mut panics = |_| panic!("a defect of the screen");
    let shown = surviving(Path::new(&dir), || tui::run(&options, (&sender, &events), &mut panics));
    println!("{:#}", shown.unwrap_err());
}

#[test]
fn a_screen_that_panics_gives_the_terminal_back_and_says_how_to_return() {
    if !can_make_terminals() {
        return;
    }
    let home = Home::new();
    let args = tiny("100000", &[]);
    let mut running = home.start(&words(&args));
    running.wait_for("step");
    let dir = home.run_dir();
    let exe = std::env::current_exe().unwrap();
    let line = format!("stty -g; '{}' --exact {PANICS} --nocapture --test-threads=1; stty -g", exe.display());
    let out = Command::new("script")
        .args(["-q", "-f", "-c", &line, "/dev/null"])
        .envs([("MEDSERL_TEST_PANIC", dir.to_str().unwrap()), ("TERM", "xterm"), ("SHELL", "/bin/sh")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text:?}"));
    let (taken, returned, said) = (at("\x1b[?1049h"), at("\x1b[?1049l"), at("a defect of the screen"));
    assert!(taken < returned && returned < said, "the panic is told on the reader's own screen: {text:?}");
    assert!(at("\x1b[?1006l") < said && at("\x1b[?25h") < said, "mouse and cursor are the reader's again");
    assert!(at("goes on. Look at it again: medserl attach") > said, "{text:?}");
    let modes: Vec<&str> = text.lines().map(str::trim).filter(|line| line.matches(':').count() > 20).collect();
    assert_eq!(modes.len(), 2, "{text:?}");
    assert_eq!(modes[0], modes[1], "the line discipline is as it was");
    let before = steps(&dir);
    let patience = Instant::now() + LIMIT;
    while steps(&dir) <= before {
        assert!(Instant::now() < patience, "training stands still after the panic");
        thread::yield_now();
    }
    home.run(&["stop", "--now"]).done();
    running.end();
}
