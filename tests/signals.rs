//! What signals do to a run: a child of this test process installs the handlers and says what it was asked.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use medserl::runner::{
    deadline::{Deadline, parse_duration},
    signals::{Interrupts, Signals, UNFINISHED, exit_code},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

use crate::figure::figure;

/// A process with the handlers installed.
struct Trainer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Trainer {
    fn start() -> Trainer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signals::child_heeds_signals", "--nocapture"])
            .env("MEDSERL_TEST_SIGNALS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut trainer = Trainer { child, lines };
        assert_eq!(trainer.said(), "ready");
        trainer
    }

    fn said(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child ended");
            if let Some((_, said)) = line.trim_end().split_once("child: ") {
                return said.to_owned();
            }
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks until the answer is this one: a signal takes a moment to arrive.
    fn wait_until(&mut self, order: &str, answer: &str) {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
            let said = self.said();
            if said == answer {
                return;
            }
            assert!(Instant::now() < patience, "{order}: {said}, expected {answer}");
        }
    }

    fn end(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        let _ = self.lines.read_to_string(&mut String::new());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn child_heeds_signals() {
    if std::env::var_os("MEDSERL_TEST_SIGNALS").is_none() {
        return;
    }
    let signals = Signals::install().unwrap();
    println!("child: ready");
    for order in std::io::stdin().lines().map(Result::unwrap) {
        match order.as_str() {
            "asked" => println!("child: {:?}", signals.asked()),
            "write far" => println!("child: {:?}", beyond_the_limit()),
            "write away" => println!("child: {:?}", into_a_closed_pipe()),
            other => panic!("{other}"),
        }
    }
}

fn beyond_the_limit() -> ErrorKind {
    setrlimit(Resource::Fsize, Rlimit { current: Some(4096), maximum: Some(4096) }).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut file = File::create(home.path().join("x")).unwrap();
    file.write_all(&[1; 4096]).unwrap();
    file.write_all(&[1; 4096]).unwrap_err().kind()
}

fn into_a_closed_pipe() -> ErrorKind {
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.write_all(&[1]).unwrap_err().kind()
}

#[test]
fn each_signal_asks_for_its_own_end() {
    for (signal, asked, code) in [(Signal::INT, 2, 130), (Signal::TERM, 15, 143), (Signal::USR1, 10, i32::from(UNFINISHED))] {
        let mut trainer = Trainer::start();
        trainer.wait_until("asked", "None");
        trainer.send(signal);
        trainer.wait_until("asked", &format!("Some({asked})"));
        assert_eq!(i32::from(exit_code(asked)), code);
        // A scheduler that warned by SIGUSR1 sends SIGTERM later, more than once: the first signal says how the run ends.
        for later in [Signal::TERM, Signal::TERM, Signal::USR1] {
            trainer.send(later);
        }
        trainer.wait_until("asked", &format!("Some({asked})"));
        assert_eq!(trainer.end(), Some(0));
    }
}

#[test]
fn a_lost_terminal_asks_for_nothing() {
    let mut trainer = Trainer::start();
    for _ in 0..100 {
        trainer.send(Signal::HUP);
    }
    // SIGTERM comes after all of them.
    trainer.send(Signal::TERM);
    trainer.wait_until("asked", "Some(15)");
    assert_eq!(trainer.end(), Some(0));
    figure("R10", "SIGHUP sent 100 times to a process with the trainer's handlers", "0 ends, 0 requests to end");
}

#[test]
fn the_second_interrupt_ends_at_once() {
    let mut trainer = Trainer::start();
    trainer.send(Signal::INT);
    trainer.wait_until("asked", "Some(2)");
    trainer.send(Signal::INT);
    // Standard input stays open: nothing else could end it.
    let _ = trainer.lines.read_to_string(&mut String::new());
    assert_eq!(trainer.child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_slow_second_interrupt_is_a_first_one() {
    let (mut interrupts, start) = (Interrupts::default(), Instant::now());
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    assert!(!interrupts.is_impatient(at(0)));
    assert!(!interrupts.is_impatient(at(2_000)));
    assert!(!interrupts.is_impatient(at(4_500)));
    assert!(interrupts.is_impatient(at(6_499)));
}

#[test]
fn a_write_that_cannot_be_made_is_an_error_and_no_death() {
    let mut trainer = Trainer::start();
    trainer.wait_until("write away", "BrokenPipe");
    trainer.wait_until("write far", "FileTooLarge");
    trainer.wait_until("asked", "None");
    assert_eq!(trainer.end(), Some(0));
    figure(
        "R4",
        "the same process writes beyond RLIMIT_FSIZE (SIGXFSZ) and into a closed pipe (SIGPIPE)",
        "both are errors, the process lives",
    );
}

#[test]
fn lengths_of_time_are_read_and_refused_with_the_reason() {
    let seconds = |text: &str| parse_duration(text).map(|d| d.as_secs());
    assert_eq!(seconds("7h50m"), Ok(28_200));
    assert_eq!(seconds("90s"), Ok(90));
    assert_eq!(seconds(" 1d2h3m4s "), Ok(93_784));
    for (text, why) in [
        ("", "empty"),
        ("7", "without a unit"),
        ("h", "no whole number"),
        ("-5m", "no whole number"),
        ("1.5h", "unit other"),
        ("5m7h", "order"),
        ("5m6m", "order"),
        ("7h50", "without a unit"),
        ("5µ", "unit other"),
        ("0s", "no time"),
        ("99999999999999999999s", "no whole number"),
        ("9999999999999999999d", "too long"),
    ] {
        let message = parse_duration(text).unwrap_err();
        assert!(message.contains(why) && message.contains("7h50m"), "{text}: {message}");
    }
}

#[test]
fn a_deadline_leaves_time_for_the_last_save() {
    let start = Instant::now();
    let mut deadline = Deadline::after(start, Duration::from_secs(1_000)).unwrap();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(!deadline.is_due(at(989)) && deadline.is_due(at(990)));
    assert!(!deadline.forbids_a_step(at(990)) && deadline.forbids_a_step(at(991)));
    deadline.note_step(Duration::from_secs(100));
    deadline.note_step(Duration::from_secs(40));
    deadline.note_save(Duration::from_secs(5));
    // 1000 − 10 − 2·5 − 1.25·100.
    assert!(!deadline.forbids_a_step(at(855)) && deadline.forbids_a_step(at(856)));
    assert!(!deadline.is_due(at(979)) && deadline.is_due(at(980)));
    assert!(Deadline::after(start, Duration::MAX).is_none());
}
