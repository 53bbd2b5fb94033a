//! Readers beside a writer: nobody waits, nobody sees half a step. `MEDSERL_READER_SECONDS=240` measures eight readers at 10 Hz beside a
//! real run as well, and what they cost it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use medserl::{
    store::{RunMeta, Store},
    task::{Quadrant, Rollout, Sample, StepReport},
};

use crate::{figure::figure, labels::fixture::told_apart};

const READERS: usize = 8;
const SAMPLES: usize = 8;
const SIBLINGS: usize = 2;

/// A step as a run commits it.
pub fn step(step: u32) -> (StepReport, Vec<Sample>, Vec<Rollout>) {
    let mut report = StepReport { step, ..StepReport::default() };
    report.metrics.extend((0..20).map(|i| (format!("m{i}"), f64::from(step))));
    let samples: Vec<Sample> = (0..SAMPLES as u32).map(|i| told_apart(Quadrant::ALL[i as usize % 4], step, i)).collect();
    let rollouts =
        samples.iter().flat_map(|s| (0..SIBLINGS as u32).map(|k| crate::store::rollout(&Arc::new(s.clone()), k))).collect();
    (report, samples, rollouts)
}

/// What readers found.
#[derive(Default)]
struct Found {
    looks: AtomicU64,
    news: AtomicU64,
    torn: AtomicU64,
    errors: AtomicU64,
}

/// One look, as a screen takes it: skipped where nothing changed. The last step must be there as a whole.
fn look(store: &Store, seen: &mut i64, expected: (usize, usize), found: &Found) {
    found.looks.fetch_add(1, Ordering::Relaxed);
    let read = || -> Result<Option<bool>, medserl::store::StoreError> {
        let version = store.data_version()?;
        if std::mem::replace(seen, version) == version {
            return Ok(None);
        }
        let Some(last) = store.last_step()? else { return Ok(None) };
        let (reports, samples, rollouts) = (store.reports(last)?, store.samples(last)?, store.rollouts(last)?);
        let report = reports.iter().find(|r| r.step == last);
        let whole = report.is_some_and(|r| r.metrics.len() >= 15) && samples.len() == expected.0 && rollouts.len() == expected.1;
        Ok(Some(whole))
    };
    match { read }() {
        Ok(None) => {}
        Ok(Some(whole)) => {
            found.news.fetch_add(1, Ordering::Relaxed);
            found.torn.fetch_add(u64::from(!whole), Ordering::Relaxed);
        }
        Err(_) => _ = found.errors.fetch_add(1, Ordering::Relaxed),
    }
}

#[test]
fn eight_readers_see_whole_steps_and_no_errors() {
    let home = tempfile::tempdir().unwrap();
    let mut store = Store::create(home.path()).unwrap();
    store.begin_run(&RunMeta { id: "r".into(), steps_total: 60, ..meta() }).unwrap();
    let (done, found) = (AtomicBool::new(false), Found::default());
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| {
                    let (reader, mut seen) = (Store::open_read_only(home.path()).unwrap(), -1);
                    while !done.load(Ordering::Relaxed) {
                        look(&reader, &mut seen, (SAMPLES, SAMPLES * SIBLINGS), &found);
                    }
                })
            })
            .collect();
        for n in 1..=60 {
            let (report, samples, rollouts) = step(n);
            store.commit_step(&report, &samples, &rollouts).unwrap();
            // Going back, as a resumed run does, must not show as half a step either.
            if n == 30 {
                store.discard_after(20).unwrap();
                for again in 21..=30 {
                    let (report, samples, rollouts) = step(again);
                    store.commit_step(&report, &samples, &rollouts).unwrap();
                }
            }
        }
        // Each reader sees the end before it is let go.
        while found.news.load(Ordering::Relaxed) < READERS as u64 {
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    assert_eq!((count(&found.torn), count(&found.errors)), (0, 0));
    figure(
        "R14",
        "eight readers without a pause beside 70 commits and a return to an earlier step",
        &format!("{} looks, {} of them news: 0 errors, 0 torn", count(&found.looks), count(&found.news)),
    );
}

pub fn meta() -> RunMeta {
    RunMeta {
        id: "r".into(),
        name: "r".into(),
        model: "nano".into(),
        seed: 1,
        steps_total: 1,
        config_toml: String::new(),
        program_version: "0".into(),
        started_unix_s: 0,
    }
}

/// A real run with readers on and off in turn, block by block, so that whatever else the machine does falls on both.
#[test]
fn what_eight_readers_cost_a_run_at_ten_looks_a_second() {
    let Some(seconds) = std::env::var("MEDSERL_READER_SECONDS").ok().map(|n| n.parse::<u64>().unwrap()) else { return };
    let home = tempfile::tempdir().unwrap();
    let (on, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let found = Arc::new(Found::default());
    let small = [
        "doctor.max_tokens=48",
        "scribe.max_tokens=48",
        "scribe.max_attempts=1",
        "doctor.samples=8",
        "doctor.completions=2",
        "sft.notes=0",
        "eval.notes=4",
    ];
    let mut trainer = Command::new(env!("CARGO_BIN_EXE_medserl"))
        .args(["demo", "--headless", "--json", "--steps", "100000"])
        .args(small.iter().flat_map(|set| ["--set", set]))
        .env("MEDSERL_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(trainer.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(r#""event":"step""#)), "the run starts");
    let dir = home.path().join("runs/demo-s1");
    let readers: Vec<_> = (0..READERS).map(|_| at_ten_a_second(&dir, &on, &done, &found)).collect();
    let (started, mut times) = (Instant::now(), BTreeMap::<bool, Vec<f64>>::new());
    let (mut last, mut n) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(seconds) {
        assert!(lines.any(|line| line.contains(r#""event":"step""#)), "the run goes on");
        let took = last.elapsed().as_secs_f64();
        last = Instant::now();
        let with = on.load(Ordering::Relaxed);
        // The first step of a block has a part of both.
        if n % 8 != 0 {
            times.entry(with).or_default().push(took);
        }
        n += 1;
        on.store(n / 8 % 2 == 1, Ordering::Relaxed);
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    trainer.kill().unwrap();
    trainer.wait().unwrap();
    let log = std::fs::metadata(dir.join("run.db-wal")).map_or(0, |m| m.len() >> 20);
    let mean = |with: bool| {
        let all = &times[&with];
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (all.len() - 1) as f64;
        (mean, (variance / all.len() as f64).sqrt(), all.len())
    };
    let ((without, error_without, n_without), (with, error_with, n_with)) = (mean(false), mean(true));
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    assert_eq!((count(&found.torn), count(&found.errors)), (0, 0));
    let error = 100.0 * error_without.hypot(error_with) / without;
    figure(
        "R14",
        &format!("eight readers at 10 Hz for {seconds} s beside a real run, on and off in turn"),
        &format!(
            "{} looks, {} news: 0 errors, 0 torn; step {:.3} s without ({n_without}), {:.3} s with ({n_with}): {:+.1} % ± {error:.1} %; log {log} MiB",
            count(&found.looks),
            count(&found.news),
            without,
            with,
            100.0 * (with / without - 1.0)
        ),
    );
}

fn at_ten_a_second(dir: &Path, on: &Arc<AtomicBool>, done: &Arc<AtomicBool>, found: &Arc<Found>) -> thread::JoinHandle<()> {
    let (dir, on, done, found) = (dir.to_owned(), on.clone(), done.clone(), found.clone());
    thread::spawn(move || {
        let (reader, mut seen) = (Store::open_read_only(&dir).unwrap(), -1);
        while !done.load(Ordering::Relaxed) {
            if on.load(Ordering::Relaxed) {
                look(&reader, &mut seen, (8, 16), &found);
            }
            thread::sleep(Duration::from_millis(100));
        }
    })
}
