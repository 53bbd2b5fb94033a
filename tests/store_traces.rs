//! Values of single tokens in rollouts.db: kept beside the run, never needed by it.

use std::fs;

use medserl::{
    store::{ROLLOUTS_DB, Store},
    task::{
        Rollout, Trace,
        trace::{Alternative, Fate},
    },
};

use super::store::{begun, step};

fn trace(n: usize, seed: f32) -> Trace {
    Trace {
        policy_logprobs: (0..n).map(|i| seed - i as f32).collect(),
        reference_logprobs: vec![f32::NEG_INFINITY; n],
        entropies: vec![f32::MIN_POSITIVE; n],
        advantages: vec![-1.25; n],
        fates: Fate::ALL.into_iter().cycle().take(n).collect(),
        alternatives: (0..5 * n as u32).map(|i| Alternative { token: 262_143 - i, logprob: -0.1 * i as f32 }).collect(),
    }
}

/// Steps 1 to `n` with traces for every rollout but the last of a sample.
fn commit(store: &mut Store, n: u32) -> Vec<Rollout> {
    let (report, samples, mut rollouts) = step(n);
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.sibling < 2) {
        rollout.trace = Some(Box::new(trace(rollout.completion.tokens.len(), n as f32)));
    }
    store.commit_step(&report, &samples, &rollouts).unwrap();
    rollouts
}

fn group(store: &Store, id: &str) -> Vec<Rollout> {
    let mut rollouts = store.group(id).unwrap();
    store.add_traces(&mut rollouts).unwrap();
    rollouts
}

#[test]
fn traces_come_back_bit_for_bit_to_writer_and_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    let wanted = commit(&mut store, 1);
    let id = wanted[0].sample.id.clone();
    let wanted: Vec<&Rollout> = wanted.iter().filter(|r| r.sample.id == id).collect();
    assert_eq!(group(&store, &id).iter().collect::<Vec<_>>(), wanted);
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(group(&reader, &id).iter().collect::<Vec<_>>(), wanted);
    assert_eq!(wanted[0].trace.as_ref().unwrap().alternatives_at(3)[0].token, 262_143 - 15);
    assert!(reader.rollouts(1).unwrap().iter().all(|r| r.trace.is_none()), "whole steps are read without");
    store.keep_spellings(&[(0, "a".into()), (1, " b\n".into())]).unwrap();
    store.keep_spellings(&[(1, "never".into()), (262_143, "top".into())]).unwrap();
    let spelt = reader.spellings(&group(&reader, &id)).unwrap();
    assert_eq!(spelt.into_iter().collect::<Vec<_>>(), [(0, "a".into()), (1, " b\n".into()), (262_143, "top".into())]);
}

#[test]
fn old_and_discarded_steps_lose_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    let ids: Vec<String> = (1..=4).map(|n| commit(&mut store, n)[0].sample.id.clone()).collect();
    store.forget_traces_before(2).unwrap();
    store.discard_after(3).unwrap();
    let has =
        |store: &Store| ids.iter().map(|id| group(store, id).iter().filter(|r| r.trace.is_some()).count()).collect::<Vec<_>>();
    assert_eq!(has(&store), [0, 2, 2, 0]);
    // The step is made again, with other numbers.
    let again = commit(&mut store, 4);
    assert_eq!(group(&store, &ids[3])[0], again[0]);
}

#[test]
fn the_file_can_be_deleted_and_a_damaged_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    let id = commit(&mut store, 1)[0].sample.id.clone();
    drop(store);
    fs::remove_file(dir.path().join(ROLLOUTS_DB)).unwrap();
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert!(group(&reader, &id).iter().all(|r| r.trace.is_none()));
    assert!(!dir.path().join(ROLLOUTS_DB).exists(), "a reader makes nothing");
    let mut store = Store::open(dir.path()).unwrap();
    let second = commit(&mut store, 2);
    assert_eq!(group(&store, &second[0].sample.id)[0].trace, second[0].trace);
    drop(store);
    fs::write(dir.path().join(ROLLOUTS_DB), "not a database, and long enough to be looked at as one: ".repeat(20)).unwrap();
    let error = Store::open_read_only(dir.path()).unwrap().add_traces(&mut [second[0].clone()]).unwrap_err().to_string();
    assert!(error.contains("rollouts.db") && error.contains("delete it"), "{error}");
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("delete it: only the values of single tokens are lost"), "{error}");
}

#[test]
fn a_new_run_never_shows_what_an_earlier_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    commit(&mut store, 1);
    drop(store);
    fs::remove_file(dir.path().join("run.db")).unwrap();
    let mut store = begun(dir.path());
    let (report, samples, rollouts) = step(1);
    store.commit_step(&report, &samples, &rollouts).unwrap();
    assert!(group(&store, &samples[0].id).iter().all(|r| r.trace.is_none()));
}
