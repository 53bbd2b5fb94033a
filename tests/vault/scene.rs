//! Folders of checkpoints to save into, and what must be true of them whatever happens.

use std::path::{Path, PathBuf};

use medserl::train::vault::{Files, KEPT, Keep, Vault, VaultError};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::disk::{Faults, FaultyDisk};

pub const ROOT: &str = "/runs/demo/checkpoints";

pub fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A checkpoint of made-up bytes: two files of several chunks, two small ones.
pub fn files(seed: u64) -> Files {
    let mut random = random(seed);
    let mut bytes = |n: usize| {
        let mut bytes = vec![0; n];
        random.fill_bytes(&mut bytes);
        bytes
    };
    Files::from([
        ("adapter_model.safetensors".to_owned(), bytes(70_000)),
        ("adapter_config.json".to_owned(), bytes(300)),
        ("optimizer.safetensors".to_owned(), bytes(130_001)),
        ("cursor.json".to_owned(), bytes(257)),
    ])
}

/// A disk before a save, the save, and what it may not lose.
pub struct Scene {
    pub name: &'static str,
    pub disk: FaultyDisk,
    /// Every content a checkpoint of a step was ever given.
    pub written: Vec<(u32, Files)>,
    /// The save that goes wrong.
    pub step: u32,
    pub new: Files,
    pub keep: Keep,
    /// The newest valid step before the save.
    pub newest: Option<u32>,
    /// Steps that no save may lose.
    pub protected: Vec<u32>,
}

pub fn vault(disk: &FaultyDisk) -> Vault<FaultyDisk> {
    Vault::new(disk.clone(), Path::new(ROOT))
}

impl Scene {
    fn new(name: &'static str, older: &[u32], step: u32, keep: Keep) -> Scene {
        let disk = FaultyDisk::new();
        let all = Keep { newest: 99, ..Keep::default() };
        let mut written = Vec::new();
        for &old in older {
            let content = files(u64::from(old));
            vault(&disk).save(old, &content, &all).unwrap();
            written.push((old, content));
        }
        let new = files(1_000 + u64::from(step));
        written.push((step, new.clone()));
        Scene { name, disk, written, step, new, keep, newest: older.iter().max().copied(), protected: Vec::new() }
    }

    pub fn all() -> Vec<Scene> {
        let keep = |newest| Keep { newest, ..Keep::default() };
        let dir = |step: u32| Path::new(ROOT).join(format!("step-{step}"));
        let mut protected = Scene::new("old ones protected", &[1, 2, 3, 4], 5, Keep { best: Some(2), ..keep(1) });
        vault(&protected.disk).mark_kept(&dir(1)).unwrap();
        protected.protected = vec![1, 2];
        let small = Scene::new("a quota", &[1, 2, 3], 4, Keep { max_bytes: Some(450_000), ..keep(9) });
        let mut damaged = Scene::new("the same step, damaged", &[2, 4], 4, keep(3));
        damaged.disk.overwrite(&dir(4).join("cursor.json"), |bytes| bytes[7] ^= 1);
        damaged.newest = Some(2);
        let same = Scene::new("the same step, valid and kept", &[2, 4], 4, keep(2));
        vault(&same.disk).mark_kept(&dir(4)).unwrap();
        let beyond = Scene::new("a damaged one beyond", &[2, 6], 4, keep(1));
        beyond.disk.overwrite(&dir(6).join("MANIFEST.json"), |bytes| bytes.truncate(40));
        let beyond = Scene { newest: Some(2), ..beyond };
        vec![
            Scene::new("the first", &[], 1, keep(2)),
            Scene::new("one before", &[2], 4, keep(2)),
            Scene::new("one before, which goes", &[2], 4, keep(1)),
            protected,
            small,
            same,
            damaged,
            beyond,
        ]
    }

    pub fn save(&self, disk: &FaultyDisk) -> Result<(), VaultError> {
        vault(disk).save(self.step, &self.new, &self.keep).map(drop)
    }

    /// Calls that change something in one undisturbed save.
    pub fn n_calls(&self) -> u64 {
        let disk = self.disk.copy(Faults::default());
        self.save(&disk).unwrap();
        disk.n_calls()
    }

    /// What must hold at the next start, however the save ended. Returns the step a run would go on from.
    #[track_caller]
    pub fn check(&self, disk: &FaultyDisk, was_saved: bool, how: &str) -> Option<u32> {
        let vault = vault(disk);
        vault.sweep().unwrap();
        let choice = vault.choose(|_, files| Ok(files)).unwrap();
        let at = format!("{}, {how}", self.name);
        if let Some(chosen) = &choice.chosen {
            let known = self.written.iter().any(|(step, files)| *step == chosen.step && *files == chosen.value);
            assert!(known, "{at}: step {} was read and never written so", chosen.step);
        }
        let step = choice.chosen.as_ref().map(|c| c.step);
        // An older course of the run may lie beyond; it is damaged and must not be chosen.
        assert!(step >= self.newest, "{at}: went back from {:?} to {step:?}: {:?}", self.newest, choice.refused);
        if was_saved {
            let chosen = choice.chosen.unwrap_or_else(|| panic!("{at}: saved and lost: {:?}", choice.refused));
            assert!(chosen.step == self.step && chosen.value == self.new, "{at}: saved, but step {} is read", chosen.step);
        }
        for step in &self.protected {
            assert!(vault.check(&path(*step)).is_ok(), "{at}: step {step} is protected and gone");
        }
        step
    }

    /// Nothing half removed or half written stands among the checkpoints.
    #[track_caller]
    pub fn check_no_ruins(&self, disk: &FaultyDisk, how: &str) {
        let vault = vault(disk);
        for (step, dir) in vault.list().unwrap() {
            let damage = vault.check(&dir).err();
            assert!(self.name.contains("damaged") || damage.is_none(), "{}, {how}: step {step}: {damage:?}", self.name);
        }
    }

    /// After a save that failed and was not cut off, the same checkpoints are listed as before it.
    #[track_caller]
    pub fn check_void(&self, disk: &FaultyDisk, how: &str) {
        let (before, after) = (vault(&self.disk).list().unwrap(), vault(disk).list().unwrap());
        assert_eq!(after, before, "{}, {how}: the failed save left or took something", self.name);
    }

    /// The run goes on: the same save succeeds now, and leaves no trace of the failed one.
    #[track_caller]
    pub fn check_life_goes_on(&self, disk: &FaultyDisk, how: &str) {
        disk.set_faults(Faults::default());
        self.save(disk).unwrap_or_else(|e| panic!("{}, {how}: {e}", self.name));
        self.check(disk, true, how);
        let names = medserl::train::vault::Disk::names(disk, Path::new(ROOT)).unwrap();
        assert!(names.iter().all(|n| !n.starts_with('.') && !n.ends_with(".old")), "{}, {how}: {names:?} left", self.name);
    }
}

pub fn path(step: u32) -> PathBuf {
    Path::new(ROOT).join(format!("step-{step}"))
}

pub fn kept_mark(step: u32) -> PathBuf {
    path(step).join(KEPT)
}
