//! Every part of a reward in the store: there and back, and files of the schema that knew only two.

use std::{path::Path, sync::Arc};

use medserl::{
    store::{RUN_DB, Store},
    task::{Completion, Label, Note, Provenance, Quadrant, Reward, Rollout, Sample, Sentence, StepReport, StopReason, Verdict},
};
use rusqlite::Connection;

const SCHEMA_1: &str = include_str!("../assets/schema/001_run.sql");

fn sample() -> Sample {
    let sentences = vec![Sentence { id: 0, text: "He takes metformin.".into() }];
    let note = Note { id: "n".into(), group: "g".into(), sentences };
    Sample {
        id: Sample::make_id(Quadrant::SyntheticDecoy, 1, 0),
        step: 1,
        index: 0,
        quadrant: Quadrant::SyntheticDecoy,
        source: note.clone(),
        note,
        label: Label::Clean,
        provenance: Provenance::default(),
        gates: Vec::new(),
    }
}

fn rollout(sample: &Arc<Sample>, sibling: u32, reward: Reward) -> Rollout {
    let completion = Completion {
        tokens: vec![3, 1],
        rollout_logprobs: vec![-0.5, -0.25],
        text: "?".into(),
        stop: StopReason::EndOfTurn,
        alternatives: Vec::new(),
    };
    Rollout { sample: Arc::clone(sample), sibling, completion, verdict: Verdict::Clean, reward, advantage: None, trace: None }
}

fn reward(scale: f32) -> Reward {
    let [format, outcome, location, correction, pair, wrong_type, overlong] =
        [0.1, -1.5, 0.3, 0.7, 0.9, 0.11, -0.13].map(|v| v * scale);
    Reward { format, outcome, location, correction, pair, wrong_type, overlong }
}

fn commit(dir: &Path, rewards: &[Reward]) -> Vec<Rollout> {
    let sample = Arc::new(sample());
    let rollouts: Vec<Rollout> = (0..).zip(rewards).map(|(sibling, r)| rollout(&sample, sibling, r.clone())).collect();
    let mut store = Store::open(dir).unwrap();
    store.commit_step(&StepReport { step: 1, ..StepReport::default() }, &[(*sample).clone()], &rollouts).unwrap();
    rollouts
}

#[test]
fn every_part_comes_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path()).unwrap());
    let odd = Reward { location: f32::NEG_INFINITY, overlong: -0.0, ..Reward::default() };
    let rollouts = commit(dir.path(), &[reward(1.0), reward(0.37), odd]);
    for store in [Store::open(dir.path()).unwrap(), Store::open_read_only(dir.path()).unwrap()] {
        assert_eq!(store.rollouts(1).unwrap(), rollouts);
    }
    // And by name, for those who read the file with their own tools.
    let conn = Connection::open(dir.path().join(RUN_DB)).unwrap();
    let sql = "SELECT reward - (reward_format + reward_outcome + reward_location + reward_correction + reward_pair
                                + reward_wrong_type + reward_overlong) FROM v_rollouts WHERE sibling < 2";
    let rests: Vec<f64> = conn.prepare(sql).unwrap().query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(rests.len() == 2 && rests.iter().all(|rest| rest.abs() < 1e-6), "{rests:?}");
}

#[test]
fn a_part_that_is_not_a_number_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create(dir.path()).unwrap());
    commit(dir.path(), &[Reward { pair: f32::NAN, ..reward(1.0) }]);
    let back = Store::open(dir.path()).unwrap().rollouts(1).unwrap().remove(0).reward;
    assert!(back.pair.is_nan() && back.location == 0.3 && back.total().is_nan());
}

/// A run.db as the first release wrote it, with one rollout in it.
fn write_schema_1(dir: &Path) {
    let conn = Connection::open(dir.join(RUN_DB)).unwrap();
    conn.execute_batch(SCHEMA_1).unwrap();
    conn.execute_batch("PRAGMA application_id = 0x4D53524C; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;").unwrap();
    let sample = sample();
    conn.execute(
        "INSERT INTO step VALUES (1, ?1, 0)",
        (serde_json::to_string(&StepReport { step: 1, ..StepReport::default() }).unwrap(),),
    )
    .unwrap();
    let sql = "INSERT INTO sample VALUES (?1, 1, 0, 'SD', 'clean', '0 He takes metformin.', 1, 0, ?2)";
    conn.execute(sql, (&sample.id, serde_json::to_string(&sample).unwrap())).unwrap();
    let sql = "INSERT INTO rollout VALUES (?1, 0, 1, 'SD', 'true_negative', 1.1, 0.1, 1.0, 0, NULL, 'end_of_turn', '?', x'', x'',
                                           '{\"is\":\"clean\"}')";
    conn.execute(sql, (&sample.id,)).unwrap();
}

#[test]
fn files_of_schema_1_read_as_they_are_and_are_brought_up_to_date_by_a_trainer() {
    let dir = tempfile::tempdir().unwrap();
    write_schema_1(dir.path());
    let two = |store: &Store| {
        let rollouts = store.rollouts(1).unwrap();
        assert_eq!(rollouts.len(), 1);
        rollouts[0].reward.clone()
    };
    let version = || -> u32 {
        let conn = Connection::open(dir.path().join(RUN_DB)).unwrap();
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let stored = Reward { format: 0.1, outcome: 1.0, ..Reward::default() };
    assert_eq!(two(&Store::open_read_only(dir.path()).unwrap()), stored);
    assert_eq!(version(), 1, "looking changes nothing");
    assert_eq!(two(&Store::open(dir.path()).unwrap()), stored);
    assert!(version() >= 2);
    assert_eq!(two(&Store::open_read_only(dir.path()).unwrap()), stored);
    // A new step goes in beside the old one, all parts told apart.
    let mut store = Store::open(dir.path()).unwrap();
    let sample = Arc::new(Sample { id: "SD-0002-00".into(), step: 2, ..sample() });
    let rollouts = [rollout(&sample, 0, reward(1.0))];
    store.commit_step(&StepReport { step: 2, ..StepReport::default() }, &[(*sample).clone()], &rollouts).unwrap();
    assert_eq!(store.rollouts(2).unwrap(), rollouts);
    let conn = Connection::open(dir.path().join(RUN_DB)).unwrap();
    let n: u32 = conn.query_row("SELECT count(*) FROM v_rollouts WHERE reward_pair IS NOT NULL", (), |row| row.get(0)).unwrap();
    assert_eq!(n, 2);
}
