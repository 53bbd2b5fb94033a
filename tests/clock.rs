//! A suspended machine and a clock that is set: told, counted against a deadline, and never a negative time.

use std::time::{Duration, Instant};

use medserl::{
    runner::{
        clock::Times,
        deadline::Deadline,
        rows::{IN_STEP, IN_WARMUP, RowPlan},
    },
    store::Event,
};

use crate::figure::figure;

const S: fn(u64) -> Duration = Duration::from_secs;

fn reading(start: Instant, running: u64, up: Option<u64>, wall_s: i64) -> Times {
    Times { running: start + S(running), up: up.map(S), wall_ms: wall_s * 1000 }
}

#[test]
fn a_suspended_machine_and_a_clock_that_is_set_are_told_apart() {
    let start = Instant::now();
    let before = reading(start, 0, Some(1000), 50_000);
    // (running, up, wall) → (slept, what is said)
    type Case = (u64, Option<u64>, i64, u64, &'static [&'static str]);
    let cases: [Case; 8] = [
        (60, Some(1060), 50_060, 0, &[]),
        (60, Some(1064), 50_064, 0, &[]),
        (60, Some(8260), 57_260, 7200, &["suspended for 7200 s"]),
        (60, Some(1060), 136_460, 0, &["set forward by 86400 s"]),
        (60, Some(1060), 46_460, 0, &["set back by 3600 s"]),
        (60, Some(8260), 53_660, 7200, &["suspended for 7200 s", "set back by 3600 s"]),
        (60, None, 50_060, 0, &[]),
        (60, Some(3), -50_000, 0, &["set back by"]),
    ];
    for (running, up, wall, slept, said) in cases {
        let odd = reading(start, running, up, wall).since(&before);
        assert_eq!(odd.slept, S(slept), "{odd:?}");
        assert!(odd.remarks.len() == said.len() && odd.remarks.iter().zip(said).all(|(r, s)| r.contains(s)), "{odd:?}");
    }
    // Readings in the wrong order, and clocks beyond all bounds: nothing negative, nothing that overflows.
    let far = Times { running: start, up: Some(Duration::MAX), wall_ms: i64::MIN };
    assert_eq!(before.since(&reading(start, 60, Some(1060), 50_060)).slept, Duration::ZERO);
    let _ = (far.since(&before), before.since(&far));
    assert_eq!(Times::now().since(&Times::now()).remarks, Vec::<String>::new(), "this machine, just now");
    figure(
        "R12",
        "machine suspended, wall clock set by -1 h and +1 day, readings out of order",
        "told apart in 8 of 8 cases, no negative time",
    );
}

#[test]
fn a_deadline_counts_the_time_the_machine_was_suspended() {
    let start = Instant::now();
    let mut deadline = Deadline::after(start, S(3600)).unwrap();
    assert!(!deadline.is_due(start + S(60)) && !deadline.forbids_a_step(start + S(60)));
    deadline.note_sleep(S(3600));
    assert!(deadline.is_due(start + S(60)));
    // More than the clock can go back leaves it as it is instead of ending in a panic.
    deadline.note_sleep(Duration::MAX);
    assert!(deadline.is_due(start + S(60)));
}

#[test]
fn the_history_says_how_each_step_was_cut() {
    let event = |step, kind: &str, message: String| Event { step, unix_s: 0, kind: kind.into(), message };
    let history = [
        event(0, "alarm", "9 lives".into()),
        event(4, IN_WARMUP, RowPlan::message(900)),
        event(3, IN_STEP, RowPlan::message(512)),
        event(7, IN_STEP, RowPlan::message(256)),
        event(8, IN_STEP, "no number".into()),
    ];
    let plan = RowPlan::recall(2048, &history);
    assert_eq!([0, 3, 4, 99].map(|at| plan.at_warmup(at)), [2048, 2048, 900, 900]);
    assert_eq!([1, 2, 3, 6, 7, 8, 99].map(|step| plan.at(step)), [900, 900, 512, 512, 256, 256, 256]);
    let mut same = RowPlan::new(2048);
    same.note_warmup(4, 900);
    same.note(3, 512);
    same.note(7, 256);
    assert_eq!(plan, same);
}
