//! Numbers that are not finite and memory that runs out in the middle of training. The faults are made on purpose, by an option
//! that only a command line can carry.

use std::time::Duration;

use medserl::{
    attach::{Client, Control, Live, RunState, protocol::Alert},
    store::{Event, Store},
};
use rustix::process::{Pid, Signal, kill_process};

use super::program::{Home, Outcome, tiny, words};
use crate::figure::figure;

/// Longer than anything here takes; reaching it is a failure.
const LIMIT: Duration = Duration::from_secs(60);

fn run(home: &Home, steps: &str, faults: Option<&str>) -> Outcome {
    let mut args = tiny(steps, &[]);
    args.extend(faults.map(|plan| format!("--inject-faults={plan}")));
    home.run(&words(&args))
}

fn events(home: &Home, kind: &str) -> Vec<Event> {
    let all = Store::open_read_only(&home.run_dir()).unwrap().events().unwrap();
    all.into_iter().filter(|event| event.kind == kind).collect()
}

/// What an undisturbed run of so many steps teaches.
fn undisturbed(steps: &str) -> (Vec<medserl::task::StepReport>, Vec<u8>) {
    let home = Home::new();
    run(&home, steps, None).done();
    home.learnt()
}

#[test]
fn one_bad_step_is_left_out_and_counted() {
    let home = Home::new();
    let done = run(&home, "4", Some("nan@2x1")).done();
    assert!(done.out.contains("faults are made on purpose"), "{}", done.out);
    let (reports, _) = home.learnt();
    let skipped: Vec<f64> = reports.iter().map(|r| r.metrics["skipped_updates"]).collect();
    assert!(skipped[1] > 0.0 && skipped[0] + skipped[2] + skipped[3] == 0.0, "{skipped:?}");
    assert!(reports[1].metrics["loss"].is_nan() && reports[2].metrics["loss"].is_finite());
    assert_eq!(events(&home, "rollback"), []);
}

#[test]
fn three_bad_steps_in_a_row_are_undone_and_leave_no_trace() {
    let home = Home::new();
    // The checkpoints are of even steps: that of step 4 would hold nothing but what the bad steps left.
    let done = run(&home, "8", Some("nan@4-6x3")).done();
    assert!(done.out.contains("steps 4 to 6 left out updates") && done.out.contains("back to the checkpoint of step 2"));
    assert_eq!(events(&home, "rollback").len(), 1);
    // What was undone stands in the history: raised over the last bad step, over where the run went back to.
    let alarms = events(&home, "alarm").into_iter().filter(|e| e.message.contains("non_finite"));
    assert_eq!(alarms.map(|e| (e.step, e.message.contains("is over"))).collect::<Vec<_>>(), [(6, false), (2, true)]);
    let status = home.run(&["status"]).done().out;
    assert!(status.contains("alarm non_finite") && status.contains("rollback: steps 4 to 6"), "{status}");
    let (reports, adapter) = home.learnt();
    let (expected, expected_adapter) = undisturbed("8");
    assert_eq!(reports, expected);
    assert!(adapter == expected_adapter, "the adapter differs");
    figure(
        "R7",
        "numbers that are not finite in three steps in a row, once",
        "undone from the last good checkpoint; the finished run equals an undisturbed one bit for bit",
    );
}

#[test]
fn a_run_that_went_back_waits_where_its_owner_wants_it_to_and_clients_still_see_it() {
    let home = Home::new();
    let mut args = tiny("8", &["alarms.pause=[\"non_finite\"]"]);
    args.push("--inject-faults=nan@4-6x3".into());
    let mut run = home.start(&words(&args));
    while !run.wait_for("log")["message"].as_str().unwrap().contains("back to the checkpoint of step 2") {}
    let client = Client::connect(&home.run_dir().join("control.sock")).unwrap();
    let mut live = Live::default();
    // The reason comes after the state.
    while live.state != RunState::Paused || live.steering.paused_by.is_none() {
        live.apply(client.next_timeout(LIMIT).unwrap().expect("a notice in time"));
    }
    assert_eq!((live.step, live.reports.back().map(|r| r.step)), (2, Some(2)), "the steps that were undone are gone");
    let about = |alert: &&Alert| alert.kind.as_str() == "rollback" || alert.message.as_str().contains("non_finite");
    let told: Vec<(u32, &str)> = live.alerts.iter().filter(about).map(|alert| (alert.step, alert.kind.as_str())).collect();
    assert_eq!(told, [(6, "alarm"), (4, "rollback"), (2, "alarm")], "and what undid them is told");
    assert!(live.steering.paused_by.as_ref().is_some_and(|why| why.as_str().contains("non_finite")), "{:?}", live.steering);
    client.send(&Control::Resume).unwrap();
    assert_eq!(run.end(), Some(0));
}

#[test]
fn bad_steps_that_come_again_end_the_run_and_the_last_good_state_stands() {
    let home = Home::new();
    let failed = run(&home, "8", Some("nan@4-6"));
    assert_eq!(failed.code, Some(1));
    assert!(failed.err.contains("again after going back") && failed.err.contains("step-2 stands"), "{}", failed.err);
    let status = home.run(&["status"]).done().out;
    assert!(status.contains("failed") && status.contains("rollback") && status.contains("alarm non_finite"), "{status}");
    // Without the fault the same command goes on, to the same end.
    run(&home, "8", None).done();
    let (reports, adapter) = home.learnt();
    let (expected, expected_adapter) = undisturbed("8");
    assert!(reports == expected && adapter == expected_adapter);
    figure(
        "R7",
        "the same steps fail after going back",
        "the run ends with exit code 1, names the steps and the checkpoint that stands; without the fault the same command goes on to the undisturbed bits",
    );
}

/// A whole run in which memory ran out in step 3, after one optimizer step of it.
fn without_room(home: &Home) -> Outcome {
    let mut args = tiny("6", &["checkpoint.every=6"]);
    args.push("--inject-faults=oom-later@3x1".into());
    home.run(&words(&args)).done()
}

#[test]
fn where_memory_runs_out_the_step_is_made_again_in_smaller_parts_and_a_resumed_run_cuts_it_the_same() {
    let whole = Home::new();
    let done = without_room(&whole);
    assert!(done.out.contains("rows a micro-batch from here on, since memory ran out"), "{}", done.out);
    assert_eq!(events(&whole, "fewer_rows").iter().map(|e| e.step).collect::<Vec<_>>(), [3]);

    let killed = Home::new();
    let mut args = tiny("6", &["checkpoint.every=6"]);
    args.push("--inject-faults=oom-later@3x1".into());
    let mut running = killed.start(&words(&args));
    while running.wait_for("step")["step"] != 4 {}
    kill_process(Pid::from_child(&running.child), Signal::KILL).unwrap();
    assert_eq!(running.end(), None);
    // No fault now: the smaller micro-batches of steps 3 and 4 come from the run's history.
    let again = killed.run(&words(&tiny("6", &["checkpoint.every=6"]))).done();
    assert_eq!(again.events("step").len(), 6, "made again from the start");
    let ((reports, adapter), (expected, expected_adapter)) = (killed.learnt(), whole.learnt());
    assert_eq!(reports, expected);
    assert!(adapter == expected_adapter, "the adapter differs");
    figure(
        "R8",
        "memory runs out in an update after its first micro-batch (refused by the program's own reservation)",
        "undone, made again with half the rows, recorded; a run killed later replays it to the same bits",
    );
}

#[test]
fn where_no_part_is_small_enough_the_run_ends_with_what_to_do() {
    let home = Home::new();
    let failed = run(&home, "4", Some("oom@2"));
    assert!(failed.code == Some(1) && failed.err.contains("lower doctor.max_tokens"), "{:?} {}", failed.code, failed.err);
    // Nothing of the step remains, and with memory the run goes on.
    run(&home, "4", None).done();
}

#[test]
fn a_plan_of_faults_is_read_or_refused_and_only_the_command_line_has_one() {
    let home = Home::new();
    let help = home.run(&["demo", "--help"]).done().out;
    assert!(!help.contains("inject"), "the option is hidden");
    for bad in ["nan", "nan@x", "fire@3", "nan@3x", "oom@-2"] {
        let refused = home.run(&["demo", "--headless", "--inject-faults", bad]);
        assert!(refused.code == Some(2) && refused.err.contains("is no fault"), "{bad}: {}", refused.err);
    }
    let refused = home.run(&["demo", "--headless", "--set", "faults=nan@3"]);
    assert_eq!(refused.code, Some(1), "an experiment cannot carry one");
}
