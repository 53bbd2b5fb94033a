//! kill -9 again and again: a run that is killed as often as one likes and started again by the same command ends as one that nobody
//! killed, byte for byte. `MEDSERL_KILLS=200` makes the full count; a few are made otherwise.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use medserl::{
    attach::{Client, Notice},
    store::Store,
    task::Phase,
    train::vault::MANIFEST,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde_json::Value;

use super::program::{Home, Running, tiny, words};
use crate::figure::figure;

const STEPS: u32 = 12;
/// Longer than any wait here takes; reaching it is a failure.
const LIMIT: Duration = Duration::from_secs(120);

/// Where a kill is aimed. `Start` is before the run can be watched, `Save` while a checkpoint is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Start,
    In(Phase),
    Save,
}

const AIMS: [Place; 9] = [
    Place::Start,
    Place::In(Phase::Warmup),
    Place::In(Phase::Scribe),
    Place::In(Phase::Doctor),
    Place::In(Phase::Reward),
    Place::In(Phase::Update),
    Place::In(Phase::Commit),
    Place::Save,
    Place::In(Phase::Eval),
];

fn below(random: &mut ChaCha8Rng, n: u64) -> u64 {
    random.next_u64() % n
}

fn command(seed: u32) -> Vec<String> {
    let seed = format!("seed={seed}");
    let mut args = tiny(
        &STEPS.to_string(),
        // Thoughts of its own that can be learnt from are beyond a random model; with the others there is a warm-up to be killed in.
        &[
            "doctor.samples=8",
            "eval.every=3",
            "checkpoint.every=1",
            "doctor.max_tokens=24",
            "lora.rank=16",
            "sft.thinking=template",
            "sft.batch=1",
        ],
    );
    args.extend(["--set".to_owned(), seed]);
    args
}

/// Kills the run somewhere near `aim` and says where it really was; `None` where it ended before.
fn kill_at(home: &Home, args: &[String], aim: Place, random: &mut ChaCha8Rng) -> Option<Place> {
    let mut run = home.start(&words(args));
    run.stop_reading();
    if aim == Place::Start {
        // Some thousand looks at a file that may come are a random while, without a clock.
        let looks = below(random, 20_000);
        let _ = (0..looks).any(|_| run_dir(home).join("control.sock").exists());
        assert!(end(&mut run), "a run that has just started has not ended");
        return Some(Place::Start);
    }
    let client = connect(&mut run, home)?;
    let dir = run_dir(home);
    let mut phase = if aim == Place::Save { wait_for_save(&client, &dir) } else { wait_for(&client, aim, random) };
    if !end(&mut run) {
        return None;
    }
    // What the trainer still said tells how far it really came.
    while let Ok(Some(notice)) = client.next_timeout(LIMIT) {
        if let Notice::Phase { phase: now, .. } = notice {
            phase = Some(now);
        }
    }
    // Before its first phase a start has not yet swept away what an earlier kill left.
    let Some(phase) = phase else { return Some(Place::Start) };
    Some(if is_saving(&dir) { Place::Save } else { Place::In(phase) })
}

/// Reads notices until some way into the phase; the phase it came to, which is another where the run ended.
fn wait_for(client: &Client, aim: Place, random: &mut ChaCha8Rng) -> Option<Phase> {
    let (mut phase, mut seen) = (None, 0);
    let wanted = below(random, notices_of(aim));
    while let Ok(notice) = client.next_timeout(LIMIT) {
        if let Notice::Phase { phase: now, .. } = notice.expect("a notice in time") {
            (phase, seen) = (Some(now), 0);
        } else {
            seen += 1;
        }
        if phase.map(Place::In) == Some(aim) && seen >= wanted {
            break;
        }
    }
    phase
}

/// Reads notices until a checkpoint is being written.
fn wait_for_save(client: &Client, dir: &Path) -> Option<Phase> {
    let mut phase = None;
    loop {
        if phase == Some(Phase::Commit) {
            if is_saving(dir) {
                return phase;
            }
            match client.next_timeout(Duration::ZERO) {
                Ok(Some(Notice::Phase { phase: now, .. })) => phase = Some(now),
                Ok(_) => {}
                Err(_) => return phase,
            }
            continue;
        }
        match client.next_timeout(LIMIT) {
            Ok(notice) => {
                if let Notice::Phase { phase: now, .. } = notice.expect("a notice in time") {
                    phase = Some(now);
                }
            }
            Err(_) => return phase,
        }
    }
}

/// About how many notices a phase brings here.
fn notices_of(aim: Place) -> u64 {
    match aim {
        Place::In(Phase::Doctor) => 200,
        Place::In(Phase::Warmup | Phase::Scribe | Phase::Update) => 6,
        Place::In(Phase::Eval) => 20,
        _ => 1,
    }
}

/// The one run of this home; it may not have come to be yet.
fn run_dir(home: &Home) -> std::path::PathBuf {
    let runs = fs::read_dir(home.path("runs")).ok().and_then(|mut all| all.next());
    runs.map_or_else(|| home.path("runs/none-yet"), |entry| entry.unwrap().path())
}

fn connect(run: &mut Running, home: &Home) -> Option<Client> {
    let patience = Instant::now() + LIMIT;
    loop {
        let socket = run_dir(home).join("control.sock");
        if let Ok(client) = Client::connect(&socket) {
            return Some(client);
        }
        if run.child.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(Instant::now() < patience, "nothing listens on {}", socket.display());
        thread::yield_now();
    }
}

/// Kills the process; false where it had ended by itself, which must have been a good end.
fn end(run: &mut Running) -> bool {
    if let Some(status) = run.child.try_wait().unwrap() {
        assert_eq!(status.code(), Some(0), "the run ended badly");
        return false;
    }
    run.child.kill().unwrap();
    // It may have come to its end in this very moment.
    run.child.wait().unwrap().code().is_none()
}

/// Whether a checkpoint is half written or half removed.
fn is_saving(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir.join("checkpoints")) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with('.') || name.ends_with(".old") || !entry.path().join(MANIFEST).exists()
    })
}

/// Everything a run learnt and wrote, but for times.
#[derive(PartialEq)]
struct Learnt {
    adapter: Vec<u8>,
    moments: Vec<u8>,
    cursor: Value,
    rows: String,
}

fn learnt(home: &Home) -> Learnt {
    let dir = run_dir(home);
    let file = |name: &str| fs::read(dir.join(format!("checkpoints/step-{STEPS}/{name}"))).unwrap();
    let mut cursor: Value = serde_json::from_slice(&file("cursor.json")).unwrap();
    cursor["wall_seconds"].take();
    let store = Store::open_read_only(&dir).unwrap();
    let mut reports = store.reports(0).unwrap();
    reports.iter_mut().for_each(|r| r.timings.clear());
    let steps: Vec<_> = (1..=STEPS).map(|step| (store.samples(step).unwrap(), store.rollouts(step).unwrap())).collect();
    let rows = format!("{reports:?}{steps:?}{:?}", store.evals().unwrap());
    Learnt { adapter: file("adapter_model.safetensors"), moments: file("optimizer.safetensors"), cursor, rows }
}

#[track_caller]
fn assert_same(killed: &Learnt, twin: &Learnt, seed: u32) {
    assert!(killed.adapter == twin.adapter, "seed {seed}: the adapter differs");
    assert!(killed.moments == twin.moments, "seed {seed}: the moments differ");
    assert_eq!(killed.cursor, twin.cursor, "seed {seed}");
    assert!(killed.rows == twin.rows, "seed {seed}: the rows of the store differ");
}

#[test]
fn a_run_killed_anywhere_and_as_often_as_one_likes_ends_as_one_that_nobody_killed() {
    let kills: u32 = std::env::var("MEDSERL_KILLS").map_or(9, |n| n.parse().unwrap());
    // About two dozen kills a run, then another seed: the warm-up comes once a run.
    let (mut left, mut seed, mut tries, mut hit) = (kills, 0, 0, BTreeMap::<Place, u32>::new());
    while left > 0 {
        seed += 1;
        let args = command(seed);
        let (twin, home) = (Home::new(), Home::new());
        twin.run(&words(&args)).done();
        let random = &mut ChaCha8Rng::seed_from_u64(u64::from(seed));
        for kill in 0..left.min(25) {
            // A run that ended before it came to the place (again) is one try, not one kill. The warm-up is over once it is over.
            let aim = if kills >= 200 && kill < 2 { Place::In(Phase::Warmup) } else { AIMS[tries % AIMS.len()] };
            tries += 1;
            let Some(place) = kill_at(&home, &args, aim, random) else { break };
            *hit.entry(place).or_default() += 1;
            left -= 1;
        }
        home.run(&words(&args)).done();
        assert_same(&learnt(&home), &learnt(&twin), seed);
    }
    let name = |place: &Place| match place {
        Place::Start => "start",
        Place::In(phase) => phase.name(),
        Place::Save => "save",
    };
    let counts: Vec<String> = hit.iter().map(|(place, n)| format!("{} {n}", name(place))).collect();
    if kills >= 200 {
        let missed: Vec<&str> = AIMS.iter().filter(|aim| !hit.contains_key(aim)).map(name).collect();
        assert!(missed.is_empty(), "no kill hit {missed:?}: {counts:?}");
    }
    figure(
        "R1",
        "kill -9 all over a run",
        &format!(
            "{kills} kills in {seed} runs of {STEPS} steps ({}): 0 mismatches in adapter, moments, cursor and every row of the store",
            counts.join(", ")
        ),
    );
}
