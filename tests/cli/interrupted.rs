//! Runs that are killed, signalled, stopped and steered: what they learnt is what an undisturbed run learns, bit by bit.

use std::{sync::OnceLock, time::Duration};

use medserl::{
    attach::{Client, Control, Live, RunState},
    task::{Phase, StepReport},
};
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
    assert!(!home.run_dir().join("control.sock").exists(), "the socket goes with the run");
    let status = home.run(&["status"]).done().out;
    assert!(status.contains("stopped") && status.contains("the same command continues"), "{status}");
    let late = home.run(&["pause"]);
    assert!(late.code == Some(1) && late.err.contains("not being trained"), "{}", late.err);
}

/// Whoever pauses, looks, and then leaves by "save a checkpoint, then stop" must not find the run paused again in the morning.
#[test]
fn a_run_that_is_paused_within_a_step_is_saved_and_stopped_when_told_to() {
    let home = Home::new();
    let mut run = home.start(&demo("4000"));
    run.wait_for("step");
    let client = Client::connect(&home.run_dir().join("control.sock")).unwrap();
    let mut live = Live::default();
    client.send(&Control::StepPhase).unwrap();
    let told = |live: &mut Live| live.apply(client.next_timeout(Duration::from_secs(60)).unwrap().expect("the trainer speaks"));
    loop {
        told(&mut live);
        match (live.state, live.phase) {
            (RunState::Paused, Some(Phase::Commit | Phase::Eval)) => client.send(&Control::StepPhase).unwrap(),
            (RunState::Paused, _) => break,
            _ => {}
        }
    }
    client.send(&Control::Stop { now: false }).unwrap();
    assert_eq!(run.end(), Some(0));
    while live.ended.is_none() {
        told(&mut live);
    }
    assert!(live.ended.unwrap().as_str().contains("the same command continues"));
}

/// Reads on until the log holds these words.
fn wait_for_words(run: &mut Running, words: &str) {
    while !run.wait_for("log")["message"].as_str().unwrap().contains(words) {}
}

#[test]
fn a_run_paused_at_a_breakpoint_is_steered_and_a_killed_one_goes_on_with_the_same_values() {
    let steered = |home: &Home| {
        let mut args = demo("4");
        args.extend(["--break", "step = 1"]);
        let mut run = home.start(&args);
        wait_for_words(&mut run, "breakpoint step = 1");
        let set = home.run(&["set", "temperature=0.7", "learning_rate=2e-3"]).done().out;
        assert!(set.contains("temperature=0.7") && set.contains("learning_rate=2e-3"), "{set}");
        assert!(home.run(&["break", "--remove", "step = 1"]).done().out.contains("no breakpoint"));
        home.run(&["resume"]).done();
        (run, args)
    };
    let (twin, killed) = (Home::new(), Home::new());
    assert_eq!(steered(&twin).0.end(), Some(0));
    let (mut run, args) = steered(&killed);
    while run.wait_for("step")["step"] != 3 {}
    signal(&run, Signal::KILL);
    assert_eq!(run.end(), None);
    // Step 3 is made again, with the values it was made with, and the breakpoint that was taken away stays away.
    killed.run(&args).done();
    assert!(twin.learnt() == killed.learnt(), "a killed and steered run is another one than its twin");
    assert!(twin.learnt().1 != undisturbed().1, "the knobs change what is learnt");
    let store = medserl::store::Store::open_read_only(&killed.run_dir()).unwrap();
    let events: Vec<_> = store.events().unwrap().into_iter().map(|e| (e.step, e.kind, e.message)).collect();
    assert!(events.contains(&(2, "knob".to_owned(), "temperature=0.7".to_owned())), "{events:?}");
}

#[test]
fn a_step_that_was_given_up_is_made_again_as_it_would_have_been() {
    let home = Home::new();
    let mut args = demo("4");
    args.extend(["--break", "step = 2"]);
    let mut run = home.start(&args);
    wait_for_words(&mut run, "breakpoint step = 2");
    let refused = home.run(&["abort"]);
    assert!(refused.code == Some(1) && refused.err.contains("nothing to give up"), "{}", refused.err);
    home.run(&["step", "--phase"]).done();
    // The command has come back, the phase may not have begun yet: until then there is nothing to give up.
    let mut tries = std::iter::repeat_with(|| home.run(&["abort"])).take(100);
    let said = tries.find(|tried| tried.code == Some(0)).expect("the phase never began").out;
    assert!(said.contains("step 3 is being given up"), "{said}");
    wait_for_words(&mut run, "step 3 was given up");
    home.run(&["resume"]).done();
    assert_eq!(run.end(), Some(0));
    assert_same_as_undisturbed(&home);
}
