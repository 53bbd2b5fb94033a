//! A warm-up that is cut off goes on where it was, to the same bits.

use rustix::process::{Pid, Signal, kill_process};

use super::program::{Home, tiny, words};
use crate::figure::figure;

#[test]
fn a_warm_up_that_began_from_an_adapter_goes_on_from_its_own() {
    let teacher = Home::new();
    teacher.run(&words(&tiny("1", &["sft.thinking=template", "sft.notes=20"]))).done();
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    teacher.run(&["export", "adapter", "--out", adapter.to_str().unwrap()]).done();

    let from = format!("lora.from={}", adapter.display());
    let args = tiny("1", &["sft.thinking=template", "sft.notes=60", "sft.batch=1", "sft.epochs=20", &from]);
    let whole = Home::new();
    assert!(whole.run(&words(&args)).done().out.contains("starting from the adapter in"));
    let home = Home::new();
    let mut running = home.start(&words(&args));
    running.wait_for("warmup");
    kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
    assert_eq!(running.end(), Some(143));
    let done = home.run(&words(&args)).done();
    assert!(done.out.contains("continuing the warm-up after"), "{}", done.out);
    assert_eq!(home.learnt(), whole.learnt());
}

#[test]
fn a_warm_up_that_is_cut_off_goes_on_to_the_same_bits() {
    // Long enough that no start comes to its end before the signal does.
    let args = tiny("2", &["sft.thinking=template", "sft.notes=60", "sft.batch=1", "sft.epochs=20"]);
    let whole = Home::new();
    whole.run(&words(&args)).done();
    let home = Home::new();
    for (signal, code) in [(Signal::TERM, Some(143)), (Signal::KILL, None), (Signal::USR1, Some(75))] {
        let mut running = home.start(&words(&args));
        let first = running.wait_for("warmup")["done"].as_u64().unwrap();
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        assert_eq!(running.end(), code);
        if signal == Signal::USR1 {
            assert!(first > 1, "the third start goes on from the first one's checkpoint, but begins at {first}");
        }
    }
    let refused = home.run(&["export", "adapter", "--out", "half"]);
    assert!(refused.code == Some(1) && refused.err.contains("middle of its warm-up"), "{}", refused.err);
    let done = home.run(&words(&args)).done();
    assert!(done.out.contains("continuing the warm-up after"), "{}", done.out);
    assert_eq!(home.learnt(), whole.learnt());
    figure(
        "R1",
        "a warm-up cut off by SIGTERM, kill -9 and SIGUSR1",
        "goes on from its last optimizer step; the finished run equals an undisturbed one bit for bit",
    );
}
