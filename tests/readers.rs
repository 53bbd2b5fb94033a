//! Readers beside a writer: nobody waits, nobody sees half a step. `MEDSERL_READER_SECONDS=300` measures eight readers at 10 Hz beside a
//! real run as well, for so many seconds of reading, and what they cost it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
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
    store.begin_run(&RunMeta { steps_total: 60, ..crate::store::meta("r", 0) }).unwrap();
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

/// Steps of a block in which readers are on, or off; the first of them has a part of both and does not count.
const BLOCK: usize = 4;

/// A step of the run beside which readers looked, or did not.
#[derive(Clone, Copy)]
struct Timed {
    wall: f64,
    /// Seconds of processor time that the trainer took.
    cpu: f64,
}

/// User and system time of a process so far, seconds.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..=12].iter().map(|n| n.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

/// The median and its standard error, from the median distance to it.
fn centre(values: &[f64]) -> (f64, f64) {
    let middle = median(values.to_vec());
    let spread = median(values.iter().map(|v| (v - middle).abs()).collect());
    (middle, 1.4826 * 1.2533 * spread / (values.len() as f64).sqrt())
}

/// A real run with readers off, on, on, off, and so on, a few steps each. What they cost is the median over such fours of blocks, each
/// compared with itself: what else the machine does comes and goes more slowly, and a drift within four blocks cancels.
#[test]
fn what_eight_readers_cost_a_run_at_ten_looks_a_second() {
    let Some(seconds) = std::env::var("MEDSERL_READER_SECONDS").ok().map(|n| n.parse::<u64>().unwrap()) else { return };
    let home = tempfile::tempdir().unwrap();
    let (on, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let found = Arc::new(Found::default());
    let mut trainer = small_trainer(home.path());
    let pid = trainer.id().to_string();
    let mut lines = BufReader::new(trainer.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = || assert!(lines.any(|line| line.contains(r#""event":"step""#)), "the run goes on");
    next();
    let dir = home.path().join("runs/demo-s1");
    let readers: Vec<_> = (0..READERS).map(|_| at_ten_a_second(&dir, &on, &done, &found)).collect();
    let (mut read_s, mut read_cpu, mut fours) = (0.0, 0.0, Vec::new());
    let started = Instant::now();
    while read_s < seconds as f64 {
        assert!(started.elapsed() < Duration::from_secs(4 * seconds + 60), "far too slow");
        let mut blocks: [Vec<Timed>; 2] = Default::default();
        for with in [false, true, true, false] {
            on.store(with, Ordering::Relaxed);
            let (began, own) = (Instant::now(), cpu_seconds("self"));
            for n in 0..BLOCK {
                let (clock, cpu) = (Instant::now(), cpu_seconds(&pid));
                next();
                let timed = Timed { wall: clock.elapsed().as_secs_f64(), cpu: cpu_seconds(&pid) - cpu };
                blocks[usize::from(with)].extend((n > 0).then_some(timed));
            }
            if with {
                read_s += began.elapsed().as_secs_f64();
                read_cpu += cpu_seconds("self") - own;
            }
        }
        fours.push(blocks);
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    trainer.kill().unwrap();
    trainer.wait().unwrap();
    let log = std::fs::metadata(dir.join("run.db-wal")).map_or(0, |m| m.len() >> 20);
    let cost = |of: &dyn Fn(&Timed) -> f64| {
        let middle = |block: &Vec<Timed>| median(block.iter().map(of).collect());
        let (change, error) = centre(&fours.iter().map(|[off, on]| middle(on) / middle(off) - 1.0).collect::<Vec<_>>());
        format!("{:+.2} % ± {:.2} %", 100.0 * change, 100.0 * error)
    };
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    assert_eq!((count(&found.torn), count(&found.errors)), (0, 0));
    figure(
        "R14",
        "eight readers at 10 Hz beside a real run, on and off in turn",
        &format!(
            "{read_s:.0} s of reading, {} looks, {} news: 0 errors, 0 torn; a step of {:.2} s takes {} in wall time and {} in the trainer's processor time ({} fours of blocks); \
             all readers together use {:.1} % of one core; log {log} MiB",
            count(&found.looks),
            count(&found.news),
            median(fours.iter().flat_map(|[off, _]| off.iter().map(|t| t.wall)).collect()),
            cost(&|t| t.wall),
            cost(&|t| t.cpu),
            fours.len(),
            100.0 * read_cpu / read_s
        ),
    );
}

fn small_trainer(home: &Path) -> Child {
    let small = [
        "doctor.max_tokens=48",
        "scribe.max_tokens=48",
        "scribe.max_attempts=1",
        "doctor.samples=8",
        "doctor.completions=2",
        "sft.notes=0",
        "eval.notes=4",
    ];
    Command::new(env!("CARGO_BIN_EXE_medserl"))
        .args(["demo", "--headless", "--json", "--steps", "100000"])
        .args(small.iter().flat_map(|set| ["--set", set]))
        .env("MEDSERL_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
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
