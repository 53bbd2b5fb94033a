//! The run store: what goes in comes out, a step is there whole or not at all, one trainer a run, broken runs are named.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Barrier, mpsc},
    thread,
};

use medserl::{
    store::{Eval, LockError, RunLock, RunMeta, Store, StoreError, is_locked, list_runs},
    task::{
        Again, Completion, ErrorKind, GateResult, Injection, Label, Malformation, Note, Phase, Provenance, Quadrant, Reward,
        Rollout, Sample, Sentence, StepReport, StopReason, Verdict, report::PhaseTiming,
    },
};

pub(crate) fn meta(id: &str, started_unix_s: i64) -> RunMeta {
    RunMeta {
        id: id.into(),
        name: "first try".into(),
        model: "nano".into(),
        seed: u64::MAX,
        steps_total: 100,
        config_toml: "seed = 1\n".into(),
        program_version: "0.1.0".into(),
        started_unix_s,
    }
}

pub(crate) fn begun(dir: &Path) -> Store {
    let mut store = Store::create(dir).unwrap();
    store.begin_run(&meta("r", 1)).unwrap();
    store
}

fn note(text: &str) -> Note {
    let sentences = vec![Sentence { id: 0, text: "A 54-year-old man.".into() }, Sentence { id: 2, text: text.into() }];
    Note { id: "ms-train-1".into(), group: "g1".into(), sentences }
}

fn sample(step: u32, index: u32) -> Sample {
    let quadrant = Quadrant::ALL[index as usize % 4];
    let injection = Injection {
        sentence: 2,
        old: "metformin".into(),
        new: "insulin\u{202e}".into(),
        kind: ErrorKind::Pharmacotherapy,
        why: "because".into(),
    };
    let holds_error = quadrant.holds_error();
    Sample {
        id: Sample::make_id(quadrant, step, index),
        step,
        index,
        quadrant,
        note: note("He takes insulin."),
        label: if holds_error {
            Label::Error { kind: ErrorKind::CausalOrganism, sentence: 2, correction: "He takes metformin.".into() }
        } else {
            Label::Clean
        },
        source: note("He takes metformin."),
        provenance: Provenance {
            scribe_text: "{\"sentence\": 2}\u{1b}[31m".into(),
            attempts: 2,
            fallback: index == 3,
            injection: holds_error.then_some(injection),
            rejections: vec!["length".into()],
            again: (index == 2).then(|| Again { first: "SD-0001-02".into(), written: 1, uses: 1 }),
        },
        gates: vec![GateResult { gate: "once".into(), passed: true, detail: String::new() }],
    }
}

pub fn rollout(sample: &Arc<Sample>, sibling: u32) -> Rollout {
    let verdict = match sibling {
        0 => Verdict::Clean,
        1 => Verdict::Error { kind: ErrorKind::CausalOrganism, sentence: Some(2), correction: Some("x".into()) },
        _ => Verdict::Malformed { why: Malformation::RepeatedTag },
    };
    Rollout {
        sample: Arc::clone(sample),
        sibling,
        completion: Completion {
            tokens: vec![0, 1, u32::MAX, 262_143],
            rollout_logprobs: vec![-0.1, f32::MIN_POSITIVE, f32::NEG_INFINITY, -1.0e-30],
            text: "<thinking>é\0</thinking>".into(),
            stop: StopReason::EndOfTurn,
            alternatives: Vec::new(),
        },
        verdict,
        reward: Reward { format: 0.1, outcome: -1.5, ..Reward::default() },
        advantage: (sibling > 0).then_some(0.3),
        trace: None,
    }
}

pub(crate) fn step(step: u32) -> (StepReport, Vec<Sample>, Vec<Rollout>) {
    let samples: Vec<Sample> = (0..4).map(|index| sample(step, index)).collect();
    let shared: Vec<Arc<Sample>> = samples.iter().cloned().map(Arc::new).collect();
    let rollouts: Vec<Rollout> = shared.iter().flat_map(|s| (0..3).map(|sibling| rollout(s, sibling))).collect();
    let mut report = StepReport {
        step,
        metrics: BTreeMap::from([("reward".to_owned(), f64::from(step) + 0.1), ("accuracy".to_owned(), 0.5)]),
        timings: vec![PhaseTiming { phase: Phase::Doctor, seconds: 1.25, tokens: 480 }],
        rejections: BTreeMap::from([("SI/once".to_owned(), 3)]),
        ..StepReport::default()
    };
    report.count(&rollouts);
    (report, samples, rollouts)
}

fn commit(store: &mut Store, number: u32) {
    let (report, samples, rollouts) = step(number);
    store.commit_step(&report, &samples, &rollouts).unwrap();
}

#[test]
fn everything_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("odd name ?#%20 é");
    let mut store = begun(&at);
    let (report, samples, rollouts) = step(1);
    store.commit_step(&report, &samples, &rollouts).unwrap();
    store.add_eval(1, "validation", &serde_json::json!({"accuracy": 0.5, "n": 200})).unwrap();
    store.add_event(1, "alert", "reward is constant").unwrap();
    store.set_state("paused", "asked to").unwrap();
    drop(store);

    for store in [Store::open(&at).unwrap(), Store::open_read_only(&at).unwrap()] {
        assert_eq!(store.run().unwrap(), Some(meta("r", 1)));
        assert_eq!(store.last_step().unwrap(), Some(1));
        assert_eq!(store.reports(0).unwrap(), vec![report.clone()]);
        assert_eq!(store.samples(1).unwrap(), samples);
        let back = store.rollouts(1).unwrap();
        assert_eq!(back, rollouts);
        assert!(Arc::ptr_eq(&back[0].sample, &back[2].sample), "siblings share their sample");
        assert_eq!(store.rollout(&samples[2].id, 1).unwrap().as_ref(), Some(&rollouts[7]));
        assert_eq!(store.rollout(&samples[2].id, 9).unwrap(), None);
        let value = serde_json::json!({"accuracy": 0.5, "n": 200});
        assert_eq!(store.evals().unwrap(), vec![Eval { step: 1, name: "validation".into(), value }]);
        let events = store.events().unwrap();
        assert_eq!((events.len(), events[0].step, events[0].message.as_str()), (1, 1, "reward is constant"));
        let status = store.state().unwrap();
        assert_eq!((status.state.as_str(), status.message.as_str()), ("paused", "asked to"));
        assert!(status.updated_unix_s > 1_600_000_000);
    }
}

#[test]
fn non_finite_numbers_survive() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    let (mut report, samples, mut rollouts) = step(1);
    let odd = [("loss", f64::NAN), ("kl", f64::INFINITY), ("entropy", f64::NEG_INFINITY), ("grad_norm", -0.0)];
    report.metrics.extend(odd.map(|(key, value)| (key.to_owned(), value)));
    rollouts[0].completion.rollout_logprobs = vec![f32::NAN, f32::INFINITY];
    (rollouts[0].advantage, rollouts[1].advantage) = (Some(f32::NAN), None);
    rollouts[0].reward.outcome = f32::NAN;
    store.commit_step(&report, &samples, &rollouts).unwrap();

    let back = store.reports(1).unwrap().remove(0);
    for (key, value) in odd {
        assert_eq!(back.metrics[key].is_nan(), value.is_nan(), "{key}");
        assert!(value.is_nan() || back.metrics[key] == value, "{key}");
        let series = store.metric_series(key).unwrap();
        assert_eq!((series.len(), series[0].0, series[0].1.is_nan()), (1, 1, value.is_nan()));
    }
    assert_eq!(back.metrics.len(), report.metrics.len());
    let back = store.rollouts(1).unwrap();
    let logprobs = &back[0].completion.rollout_logprobs;
    assert!(logprobs[0].is_nan() && logprobs[1] == f32::INFINITY && logprobs.len() == 2);
    assert!(back[0].advantage.unwrap().is_nan() && back[0].reward.outcome.is_nan());
    assert_eq!(back[1].advantage, None);
}

#[test]
fn a_step_is_committed_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    commit(&mut store, 5);
    for again in [5, 4] {
        let (report, samples, rollouts) = step(again);
        let error = store.commit_step(&report, &samples, &rollouts).unwrap_err();
        assert!(matches!(error, StoreError::StepCommitted { step, last: 5, .. } if step == again), "{error}");
    }
    // A row that cannot be written takes the whole step with it.
    let (report, mut samples, rollouts) = step(6);
    let twin = samples[0].id.clone();
    samples[1].id = twin;
    let mine: Vec<Rollout> = rollouts.into_iter().filter(|r| r.sample.id == samples[0].id).collect();
    assert!(store.commit_step(&report, &samples, &mine).is_err());
    assert_eq!(store.last_step().unwrap(), Some(5));
    assert!(store.samples(6).unwrap().is_empty() && store.metric_series("reward").unwrap().len() == 1);
    commit(&mut store, 6);
    assert_eq!(store.rollouts(6).unwrap().len(), 12);
}

#[test]
fn strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    let (report, samples, mut rollouts) = step(1);
    let error = store.commit_step(&report, &[sample(2, 0)], &[]).unwrap_err();
    assert!(error.to_string().contains("is of step 2"), "{error}");
    rollouts[0].sample = Arc::new(sample(1, 9));
    let error = store.commit_step(&report, &samples, &rollouts).unwrap_err();
    assert!(error.to_string().contains("no sample"), "{error}");
    assert_eq!(store.last_step().unwrap(), None);
    assert!(matches!(store.begin_run(&meta("again", 2)), Err(StoreError::RunExists { id, .. }) if id == "r"));
}

#[test]
fn discard_drops_everything_after_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    (1..=6).for_each(|n| commit(&mut store, n));
    for n in [2, 4, 6] {
        store.add_eval(n, "validation", &serde_json::json!(n)).unwrap();
    }
    assert_eq!(store.discard_after(4).unwrap(), 2);
    assert_eq!(store.last_step().unwrap(), Some(4));
    assert_eq!(store.metric_series("reward").unwrap().iter().map(|p| p.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(store.samples(5).unwrap().is_empty() && store.rollouts(5).unwrap().is_empty());
    assert_eq!(store.evals().unwrap().iter().map(|e| e.step).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(store.reports(3).unwrap().iter().map(|r| r.step).collect::<Vec<_>>(), [3, 4]);
    commit(&mut store, 5);
    store.add_eval(4, "validation", &serde_json::json!("again")).unwrap();
    assert_eq!(store.evals().unwrap()[1].value, serde_json::json!("again"));
}

#[test]
fn readers_see_whole_steps_while_a_writer_writes() {
    const STEPS: u32 = 40;
    let dir = tempfile::tempdir().unwrap();
    let mut writer = begun(dir.path());
    let (seen_first, first_seen) = mpsc::channel();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (at, seen_first) = (dir.path().to_owned(), seen_first.clone());
            thread::spawn(move || {
                let reader = Store::open_read_only(&at).unwrap();
                seen_first.send(()).unwrap();
                let mut last = 0;
                while last < STEPS {
                    let now = reader.last_step().unwrap().unwrap_or(0);
                    assert!(now >= last, "a committed step went away");
                    last = now;
                    if last > 0 {
                        assert_eq!(reader.rollouts(last).unwrap().len(), 12);
                        let reports = reader.reports(1).unwrap();
                        assert!(reports.iter().all(|r| r.metrics.len() == 2));
                        assert!(reports.len() >= last as usize);
                    }
                }
            })
        })
        .collect();
    (0..3).for_each(|_| first_seen.recv().unwrap());
    (1..=STEPS).for_each(|n| commit(&mut writer, n));
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn a_reader_notices_commits_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = begun(dir.path());
    let mut reader = Store::open_read_only(dir.path()).unwrap();
    let before = reader.data_version().unwrap();
    assert_eq!(reader.data_version().unwrap(), before);
    commit(&mut writer, 1);
    assert_ne!(reader.data_version().unwrap(), before);
    assert!(reader.set_state("stopped", "").is_err());
    assert!(reader.add_event(1, "x", "y").is_err());
    assert!(reader.discard_after(0).is_err());
    let (report, samples, rollouts) = step(2);
    assert!(reader.commit_step(&report, &samples, &rollouts).is_err());
    assert_eq!(writer.state().unwrap().state, "starting");
}

#[test]
fn a_finished_run_can_be_read_where_nothing_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    commit(&mut begun(dir.path()), 1);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let store = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(store.rollouts(1).unwrap().len(), 12);
    drop(store);
    let n_files = fs::read_dir(dir.path()).unwrap().count();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    // For root the directory is writable all the same, and SQLite may leave its shared-memory file.
    assert!(n_files == 1 || rustix::process::geteuid().is_root(), "{n_files} files");
}

#[test]
fn wrong_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    assert!(matches!(Store::open(at), Err(StoreError::Missing { .. })));
    assert!(matches!(Store::open_read_only(at), Err(StoreError::Missing { .. })));
    drop(begun(at));
    assert!(matches!(Store::create(at), Err(StoreError::Exists { .. })));
    assert_eq!(fs::metadata(at.join("run.db")).unwrap().permissions().mode() & 0o777, 0o600);

    // The SQLite header: user_version at byte 60, application_id at byte 68, big-endian.
    let good = fs::read(at.join("run.db")).unwrap();
    let write_header = |offset: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        fs::write(at.join("run.db"), bytes).unwrap();
    };
    write_header(60, 7);
    for result in [Store::open(at), Store::open_read_only(at)] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 7, .. }), "{error}");
        assert!(error.to_string().contains("update medserl"), "{error}");
    }
    write_header(68, 1);
    assert!(matches!(Store::open(at), Err(StoreError::Foreign { .. })));
    fs::write(at.join("run.db"), "").unwrap();
    assert!(matches!(Store::open(at), Err(StoreError::Uninitialised { .. })));
    fs::write(at.join("run.db"), "this is not a database, it is a sentence of some length".repeat(100)).unwrap();
    let error = Store::open_read_only(at).unwrap_err().to_string();
    assert!(error.contains("run.db") && error.contains("not a database"), "{error}");
    fs::write(at.join("run.db"), &good[..good.len() / 2]).unwrap();
    assert!(Store::open_read_only(at).and_then(|s| s.state()).is_err());
}

#[test]
fn exactly_one_trainer_gets_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!is_locked(dir.path()));
    for _ in 0..5 {
        let start = Arc::new(Barrier::new(6));
        let contenders: Vec<_> = (0..6)
            .map(|_| {
                let (at, start) = (dir.path().to_owned(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    RunLock::acquire(&at)
                })
            })
            .collect();
        let results: Vec<_> = contenders.into_iter().map(|c| c.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        assert!(is_locked(dir.path()));
        for error in results.iter().filter_map(|r| r.as_ref().err()) {
            assert!(matches!(error, LockError::Held { pid, .. } if *pid == std::process::id()), "{error}");
        }
        drop(results);
        assert!(!is_locked(dir.path()));
    }
}

#[test]
fn looking_at_a_lock_does_not_take_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(RunLock::acquire(dir.path()).unwrap());
    let (stop, stopped) = mpsc::channel::<()>();
    let at = dir.path().to_owned();
    let watcher = thread::spawn(move || {
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            is_locked(&at);
        }
    });
    for _ in 0..100 {
        RunLock::acquire(dir.path()).unwrap();
    }
    drop(stop);
    watcher.join().unwrap();
}

/// Runs one of the child tests below as a process of its own and waits for its first line.
fn spawn_child(test: &str, dir: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::{test}"), "--nocapture"])
        .env("MEDSERL_TEST_DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (child, lines.filter_map(|line| line.split_once("child: ").map(|(_, said)| said.to_owned())))
}

/// Runs as a child of the tests that kill it; alone it has nothing to do.
#[test]
fn child_holds_the_lock() {
    let Some(dir) = std::env::var_os("MEDSERL_TEST_DIR") else { return };
    let _lock = RunLock::acquire(Path::new(&dir)).unwrap();
    println!("child: held");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Runs as a child of the tests that kill it; alone it has nothing to do.
#[test]
fn child_commits_steps() {
    let Some(dir) = std::env::var_os("MEDSERL_TEST_DIR") else { return };
    let mut store = begun(Path::new(&dir));
    for n in 1.. {
        commit(&mut store, n);
        println!("child: {n}");
    }
}

#[test]
fn a_killed_trainer_lets_go_of_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut said) = spawn_child("child_holds_the_lock", dir.path());
    assert_eq!(said.next().as_deref(), Some("held"));
    assert!(is_locked(dir.path()));
    let error = RunLock::acquire(dir.path()).unwrap_err();
    assert!(
        matches!(&error, LockError::Held { pid, host, since } if *pid == child.id() && !host.is_empty() && *since > 0),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_locked(dir.path()));
    RunLock::acquire(dir.path()).unwrap();
}

#[test]
fn a_killed_trainer_loses_no_committed_step() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("run");
    let (mut child, mut said) = spawn_child("child_commits_steps", &at);
    let acknowledged: u32 = said.nth(9).unwrap().parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let reader = Store::open_read_only(&at).unwrap();
    let last = reader.last_step().unwrap().unwrap();
    assert!(last >= acknowledged, "step {acknowledged} was acknowledged, the store ends at {last}");
    drop(reader);
    let mut store = Store::open(&at).unwrap();
    for n in 1..=last {
        assert_eq!(store.rollouts(n).unwrap(), step(n).2);
    }
    commit(&mut store, last + 1);
}

#[test]
fn the_list_of_runs_survives_garbage() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    assert!(list_runs(&at.join("nowhere")).is_empty());
    for (id, started) in [("20260101-old", 100), ("20260202-new", 200)] {
        let mut store = Store::create(&at.join(id)).unwrap();
        store.begin_run(&meta(id, started)).unwrap();
        store.set_state("running", "").unwrap();
        commit(&mut store, 3);
    }
    fs::create_dir(at.join("empty")).unwrap();
    fs::create_dir(at.join("garbage")).unwrap();
    fs::write(at.join("garbage/run.db"), [7; 5000]).unwrap();
    fs::create_dir_all(at.join("folder/run.db")).unwrap();
    drop(Store::create(&at.join("unborn")).unwrap());
    fs::write(at.join("a file"), "").unwrap();
    fs::create_dir(at.join(".trash")).unwrap();
    let lock = RunLock::acquire(&at.join("20260101-old")).unwrap();

    let runs = list_runs(at);
    let (good, broken): (Vec<_>, Vec<_>) = runs.iter().partition(|r| r.broken.is_none());
    assert_eq!(good.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["20260202-new", "20260101-old"]);
    assert_eq!(good.iter().map(|r| r.alive).collect::<Vec<_>>(), [false, true]);
    let new = good[0];
    assert_eq!((new.name.as_str(), new.state.as_str(), new.step, new.steps_total), ("first try", "running", 3, 100));
    assert_eq!((new.reward, new.accuracy), (Some(3.1), Some(0.5)));
    let mut ids: Vec<_> = broken.iter().map(|r| r.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["empty", "folder", "garbage", "unborn"]);
    assert!(runs[..2].iter().all(|r| r.broken.is_none()), "broken ones come last");
    drop(lock);
    assert!(list_runs(at).iter().all(|r| !r.alive));
}
