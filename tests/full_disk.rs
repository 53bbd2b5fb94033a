//! A disk that is really full: a file system in memory of every size from one page to enough. Making one needs root and `mount`; where
//! that is not allowed the tests say so. `MEDSERL_DISK_STEP=1` tries every size.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use medserl::{
    store::{RunMeta, Store, StoreError},
    task::{Rollout, Sample, StepReport},
    train::vault::{Files, Keep, Local, Vault, VaultError},
};

use crate::{
    cli::program::{Home, tiny, words},
    figure::figure,
    labels::fixture::told_apart,
};

const PAGE: u64 = 4096;
const STEPS: u32 = 6;

/// A mounted file system; unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where none may be mounted, which is said.
    fn of_pages(pages: u64) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={},mode=700", pages * PAGE);
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|out| out.status.success()) {
            return Some(Disk { dir });
        }
        println!("skipped: a small file system cannot be mounted here (it needs root)");
        None
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn grow(&self, pages: u64) {
        let size = format!("remount,size={}", pages * PAGE);
        assert!(Command::new("mount").args(["-o", &size]).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn step(n: u32) -> (StepReport, Vec<Sample>, Vec<Rollout>) {
    let report = StepReport { step: n, metrics: [("reward".to_owned(), f64::from(n))].into(), ..StepReport::default() };
    let samples: Vec<Sample> = (0..4).map(|i| told_apart(medserl::task::Quadrant::ALL[i], n, i as u32)).collect();
    let rollouts = samples.iter().map(|s| crate::store::rollout(&std::sync::Arc::new(s.clone()), 0)).collect();
    (report, samples, rollouts)
}

fn begin(dir: &Path) -> Result<Store, StoreError> {
    let mut store = Store::create(dir)?;
    let text = String::new;
    let (id, name, model) = ("r".to_owned(), "r".to_owned(), "nano".to_owned());
    let meta =
        RunMeta { id, name, model, seed: 1, steps_total: STEPS, config_toml: text(), program_version: text(), started_unix_s: 0 };
    store.begin_run(&meta)?;
    Ok(store)
}

fn checkpoint(n: u32) -> Files {
    Files::from([("adapter.bin".to_owned(), vec![n as u8; 9_000]), ("moments.bin".to_owned(), vec![n as u8 ^ 0xFF; 18_000])])
}

/// What one run on a disk of `pages` came to: steps acknowledged before the first refusal, checkpoints saved, and refusals.
fn run_on(pages: u64) -> Option<(u32, u32, u32)> {
    let disk = Disk::of_pages(pages)?;
    let dir = disk.path().join("run");
    let vault = Vault::new(Local, &dir.join("checkpoints"));
    let keep = Keep { newest: 2, ..Keep::default() };
    let (mut acknowledged, mut saved, mut refused) = (0, 0, 0);
    let mut store = match begin(&dir) {
        Ok(store) => Some(store),
        Err(error) => {
            assert!(error.is_full(), "{pages} pages: {error}");
            refused += 1;
            None
        }
    };
    let mut save = |n: u32, refused: &mut u32, may_fail: bool| match vault.save(n, &checkpoint(n), &keep) {
        Ok(_) => saved = n,
        Err(VaultError::Full { path, needed, .. }) if may_fail => {
            assert!(needed > 0 && path.starts_with(&dir), "{pages} pages");
            *refused += 1;
        }
        Err(error) => panic!("{pages} pages: {error}"),
    };
    while let Some(store) = store.as_mut().filter(|_| acknowledged < STEPS) {
        let (report, samples, rollouts) = step(acknowledged + 1);
        match store.commit_step(&report, &samples, &rollouts) {
            Ok(()) => acknowledged += 1,
            Err(error) => {
                assert!(error.is_full(), "{pages} pages: {error}");
                refused += 1;
                break;
            }
        }
        if acknowledged.is_multiple_of(2) {
            save(acknowledged, &mut refused, true);
        }
    }
    let first_refused_at = acknowledged;
    disk.grow(4096);
    // A store that never came to be is made afresh, as the next start does; one that did goes on as it is.
    let mut store = store.unwrap_or_else(|| {
        let _ = std::fs::remove_file(dir.join("run.db"));
        begin(&dir).unwrap_or_else(|e| panic!("{pages} pages, then room: {e}"))
    });
    for n in acknowledged + 1..=STEPS {
        let (report, samples, rollouts) = step(n);
        store.commit_step(&report, &samples, &rollouts).unwrap_or_else(|e| panic!("{pages} pages, then room: {e}"));
    }
    save(STEPS, &mut refused, false);
    drop(store);
    let store = Store::open_read_only(&dir).unwrap();
    for n in 1..=STEPS {
        let (_, samples, rollouts) = step(n);
        assert_eq!((store.samples(n).unwrap(), store.rollouts(n).unwrap()), (samples, rollouts), "{pages} pages: step {n}");
    }
    let chosen = vault.choose(|_, files| Ok(files)).unwrap().chosen.unwrap();
    assert!(chosen.step == saved && chosen.value == checkpoint(saved), "{pages} pages");
    Some((first_refused_at, saved, refused))
}

#[test]
fn a_disk_of_every_size_loses_no_committed_step_and_the_run_goes_on_once_there_is_room() {
    let stride: u64 = std::env::var("MEDSERL_DISK_STEP").map_or(23, |n| n.parse().unwrap());
    let (mut sizes, mut partly, mut all) = (0, 0, 0);
    for pages in (1..).step_by(stride as usize) {
        let Some((acknowledged, _, refused)) = run_on(pages) else { return };
        sizes += 1;
        all += refused;
        partly += u32::from(acknowledged > 0 && refused > 0);
        if refused == 0 {
            break;
        }
        assert!(pages < 4096, "no size is enough");
    }
    assert!(all > 0 && partly > 0, "{all} {partly}");
    figure(
        "R4",
        "a real file system of every size from 1 page to enough, every so many pages, grown after the first refusal",
        &format!(
            "{sizes} sizes (every {stride}th): {all} refusals, all told as a full disk; 0 panics, 0 lost steps or checkpoints, all went on"
        ),
    );
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn a_run_on_a_full_disk_waits_and_ends_as_one_that_had_room() {
    let home = Home::new();
    let args = |dir: &str| [tiny("8", &["checkpoint.keep=9"]), vec!["--run-dir".to_owned(), dir.to_owned()]].concat();
    let twin = home.path("twin");
    home.run(&words(&args(twin.to_str().unwrap()))).done();
    let Some(disk) = Disk::of_pages(bytes_below(&twin) * 6 / 10 / PAGE) else { return };
    let place: PathBuf = disk.path().join("demo-s1");
    let place = place.to_str().unwrap();
    let mut run = home.start(&words(&args(place)));
    let message = loop {
        let message = run.wait_for("log")["message"].as_str().unwrap().to_owned();
        if message.contains("waits and goes on by itself") {
            break message;
        }
    };
    assert!(message.contains("full") && message.contains(place), "{message}");
    disk.grow(16_384);
    assert_eq!(run.end(), Some(0));
    let learnt = |dir: &Path| {
        let store = Store::open_read_only(dir).unwrap();
        let mut reports = store.reports(0).unwrap();
        reports.iter_mut().for_each(|r| r.timings.clear());
        let rollouts: Vec<_> = (1..=8).map(|n| store.rollouts(n).unwrap()).collect();
        let adapter = std::fs::read(dir.join("checkpoints/step-8/adapter_model.safetensors")).unwrap();
        (reports, rollouts, adapter)
    };
    assert!(learnt(Path::new(place)) == learnt(&twin), "the run that had to wait learnt something else");
    figure(
        "R4",
        "a whole run on a real full disk",
        "waits, names the file, goes on by itself once there is room; equal to an undisturbed run bit for bit",
    );
}
