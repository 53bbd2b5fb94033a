//! Runs that are killed, signalled, stopped and steered: what they learnt is what an undisturbed run learns, bit by bit.

use std::sync::OnceLock;

use medserl::task::StepReport;
use rustix::process::{Pid, Signal, kill_process};

use super::program::{Home, Running, demo};

/// What four undisturbed steps teach.
fn undisturbed() -> &'static (Vec<StepReport>, Vec<u8>) {
    static LEARNT: OnceLock<(Vec<StepReport>, Vec<u8>)> = OnceLock::new();
    LEARNT.get_or_init(|| {
        let home = Home::new();
        home.run(&demo("4")).done();
        home.learnt()
    })
}

#[track_caller]
fn assert_same_as_undisturbed(home: &Home) {
    let (reports, adapter) = home.learnt();
    assert_eq!(reports.iter().map(|r| r.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(reports, undisturbed().0);
    assert!(adapter == undisturbed().1, "the adapter differs");
}

fn signal(run: &Running, signal: Signal) {
    kill_process(Pid::from_child(&run.child), signal).unwrap();
}

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let home = Home::new();
    let mut run = home.start(&demo("4"));
    while run.wait_for("step")["step"] != 3 {}
    signal(&run, Signal::KILL);
    assert_eq!(run.end(), None);
    // Step 3 was committed, the newest checkpoint is of step 2.
    let second = home.run(&demo("4")).done();
    let steps: Vec<_> = second.events("step").into_iter().map(|e| e["step"].clone()).collect();
    assert_eq!(steps, [3, 4]);
    assert!(second.out.contains("1 committed steps after that checkpoint are made again"), "{}", second.out);
    assert_same_as_undisturbed(&home);
}

#[test]
fn signals_end_a_run_with_a_checkpoint_and_the_same_command_goes_on() {
    let home = Home::new();
    for (sent, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut run = home.start(&demo("4"));
        let step = run.wait_for("step")["step"].as_u64().unwrap();
        signal(&run, sent);
        assert_eq!(run.end(), Some(code));
        let saved = home.run_dir().join(format!("checkpoints/step-{step}/MANIFEST.json"));
        assert!(saved.exists(), "no checkpoint of step {step}");
        let status = home.run(&["status"]).done().out;
        assert!(status.contains("stopped") && status.contains("not being trained"), "{status}");
    }
    home.run(&demo("4")).done();
    assert_same_as_undisturbed(&home);
}

#[test]
fn a_lost_terminal_and_reader_do_not_end_a_run() {
    let home = Home::new();
    let mut run = home.start(&demo("4"));
    run.wait_for("step");
    signal(&run, Signal::HUP);
    // Nobody reads on: every further line fails to be written.
    run.stop_reading();
    assert_eq!(run.end(), Some(0));
    assert_same_as_undisturbed(&home);
}

#[test]
fn a_scheduler_gets_its_run_saved_and_asks_for_it_again() {
    let home = Home::new();
    let mut run = home.start(&demo("4"));
    let step = run.wait_for("step")["step"].as_u64().unwrap();
    signal(&run, Signal::USR1);
    assert_eq!(run.end(), Some(75));
    assert!(home.run_dir().join(format!("checkpoints/step-{step}/MANIFEST.json")).exists());
    // Less than what saving is allowed to take: nothing is started that could not be ended.
    let mut hurried = demo("4");
    hurried.extend(["--deadline", "9s"]);
    let late = home.run(&hurried);
    assert!(late.code == Some(75) && late.out.contains("out of time"), "{:?} {}{}", late.code, late.out, late.err);
    home.run(&demo("4")).done();
    assert_same_as_undisturbed(&home);
}

#[test]
fn a_run_without_any_usable_checkpoint_is_not_started_over_unasked() {
    let home = Home::new();
    home.run(&demo("2")).done();
    for step in [0, 2] {
        let manifest = home.run_dir().join(format!("checkpoints/step-{step}/MANIFEST.json"));
        std::fs::write(&manifest, "{}").unwrap();
    }
    let refused = home.run(&demo("4"));
    assert!(refused.code == Some(1) && refused.err.contains("--fresh"), "{:?} {}{}", refused.code, refused.out, refused.err);
}

#[test]
fn a_damaged_checkpoint_is_named_and_passed_over() {
    let home = Home::new();
    home.run(&demo("4")).done();
    let file = home.run_dir().join("checkpoints/step-4/optimizer.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let again = home.run(&demo("4")).done();
    assert!(again.out.contains("step-4 cannot be used") && again.out.contains("continuing after step 2"), "{}", again.out);
    assert_same_as_undisturbed(&home);
}

#[test]
fn a_second_trainer_is_refused_by_the_pid_of_the_first() {
    let home = Home::new();
    let mut run = home.start(&demo("4000"));
    run.wait_for("log");
    let second = home.run(&demo("4000"));
    assert_eq!(second.code, Some(1));
    assert!(second.err.starts_with("error: ") && second.err.contains(&format!("process {} ", run.child.id())), "{}", second.err);
    let mut fresh = demo("4000");
    fresh.push("--fresh");
    let third = home.run(&fresh);
    assert!(third.code == Some(1) && third.err.contains("being trained"), "{}", third.err);
}

#[test]
fn a_run_is_paused_stepped_and_stopped_from_the_shell() {
    let home = Home::new();
    let mut run = home.start(&demo("4000"));
    run.wait_for("step");
    assert!(home.run(&["status"]).done().out.contains("being trained"));
    assert!(home.run(&["pause", "demo"]).done().out.contains("demo-s1 pauses"));
    assert!(home.run(&["step"]).done().out.contains("goes on for one step"));
    assert!(home.run(&["resume"]).done().out.contains("goes on"));
    assert!(home.run(&["stop", "--now"]).done().out.contains("saved and stopped"));
    assert_eq!(run.end(), Some(0));
    let status = home.run(&["status"]).done().out;
    assert!(status.contains("stopped") && status.contains("the same command continues"), "{status}");
    let late = home.run(&["pause"]);
    assert!(late.code == Some(1) && late.err.contains("not being trained"), "{}", late.err);
}
