//! The step store after a power cut: SQLite's log cut at every sector, torn and flipped. A step is there as a whole or not at all, and
//! what was acknowledged stays.

use std::{
    fs,
    path::{Path, PathBuf},
};

use medserl::{
    store::{RunMeta, Store},
    task::StepReport,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use tempfile::TempDir;

use crate::figure::figure;

const STEPS: u32 = 8;
const SECTOR: usize = 512;

fn report(step: u32) -> StepReport {
    let metrics = (0..40).map(|i| (format!("metric_{i}"), f64::from(step * 100 + i))).collect();
    StepReport { step, metrics, ..StepReport::default() }
}

/// A store with its steps still in the log, as a power cut finds it.
struct Scene {
    home: TempDir,
    database: Vec<u8>,
    log: Vec<u8>,
    /// Length of the log when each step was acknowledged.
    acknowledged: Vec<usize>,
}

impl Scene {
    fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("run");
        let mut store = Store::create(&dir).unwrap();
        let meta = RunMeta {
            id: "r".into(),
            name: "r".into(),
            model: "nano".into(),
            seed: 1,
            steps_total: STEPS,
            config_toml: String::new(),
            program_version: "0".into(),
            started_unix_s: 0,
        };
        store.begin_run(&meta).unwrap();
        // Closing writes the log into the database; what comes now is in the log alone.
        drop(store);
        let mut store = Store::open(&dir).unwrap();
        let file = |name: &str| dir.join(name);
        let database = fs::read(file("run.db")).unwrap();
        let mut acknowledged = Vec::new();
        for step in 1..=STEPS {
            store.commit_step(&report(step), &[], &[]).unwrap();
            acknowledged.push(fs::metadata(file("run.db-wal")).unwrap().len() as usize);
        }
        let log = fs::read(file("run.db-wal")).unwrap();
        assert_eq!(fs::read(file("run.db")).unwrap(), database, "the steps are in the log alone");
        Scene { home, database, log, acknowledged }
    }

    /// A run directory as the next start finds it.
    fn image(&self, log: &[u8]) -> PathBuf {
        let dir = self.home.path().join("image");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("run.db"), &self.database).unwrap();
        fs::write(dir.join("run.db-wal"), log).unwrap();
        dir
    }

    /// The first `n` steps are there, each as it was; at least `acknowledged` of them, and the next can be committed.
    #[track_caller]
    fn check(&self, dir: &Path, acknowledged: usize, how: &str) -> usize {
        let mut store = Store::open(dir).unwrap_or_else(|e| panic!("{how}: {e}"));
        let found = store.reports(0).unwrap();
        let expected: Vec<StepReport> = (1..=found.len() as u32).map(report).collect();
        assert_eq!(found, expected, "{how}");
        assert!(found.len() >= acknowledged, "{how}: {acknowledged} steps were acknowledged, {} are there", found.len());
        store.commit_step(&report(found.len() as u32 + 1), &[], &[]).unwrap_or_else(|e| panic!("{how}: {e}"));
        found.len()
    }
}

#[test]
fn a_log_cut_anywhere_holds_whole_steps_and_all_acknowledged_ones() {
    let scene = Scene::new();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut n_images, mut seen) = (0, vec![false; STEPS as usize + 1]);
    let mut lengths: Vec<usize> = (0..=scene.log.len()).step_by(SECTOR).collect();
    lengths.extend((0..60).map(|_| random.next_u32() as usize % scene.log.len()));
    lengths.push(scene.log.len());
    for length in lengths {
        let acknowledged = scene.acknowledged.iter().filter(|n| **n <= length).count();
        // What follows the cut: nothing, or what happened to lie on the device.
        let garbage: Vec<u8> = (0..(random.next_u32() % 3) as usize * SECTOR).map(|_| random.next_u32() as u8).collect();
        let log = [&scene.log[..length], &garbage].concat();
        let n = scene.check(&scene.image(&log), acknowledged, &format!("cut at {length}, {} bytes of garbage", garbage.len()));
        assert_eq!(n, acknowledged, "cut at {length}: a step that was not acknowledged is whole all the same");
        seen[n] = true;
        n_images += 1;
    }
    assert!(n_images >= 100 && seen.iter().all(|s| *s), "{n_images} {seen:?}");
    figure(
        "R3",
        "power loss while steps are committed: SQLite's real log cut at every sector, garbage behind",
        &format!("{n_images} images: 0 torn steps, 0 acknowledged steps lost"),
    );
}

#[test]
fn a_flipped_bit_in_the_log_never_shows_as_a_step() {
    let scene = Scene::new();
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let n_flips = 200;
    for _ in 0..n_flips {
        let bit = random.next_u32() as usize % (8 * scene.log.len());
        let mut log = scene.log.clone();
        log[bit / 8] ^= 1 << (bit % 8);
        // Every step that ends before the flipped frame; a log whose header is damaged holds nothing.
        let before = scene.acknowledged.iter().filter(|n| **n <= bit / 8).count();
        scene.check(&scene.image(&log), before, &format!("bit {bit}"));
    }
    figure("R5", "one bit flipped in SQLite's log", &format!("{n_flips} flips: 0 wrong steps read, all steps before it kept"));
}
