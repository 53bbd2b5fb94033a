//! Checkpoints: what was saved comes back bit by bit, and what was damaged or is another run's does not come back at all.

use std::{fs, path::Path};

use medserl::{
    clinic::{Split, pairs},
    config::{CheckpointConfig, LoraConfig, RunConfig},
    data::Pools,
    model::{Policy, random::uniform},
    train::{checkpoint, step::Trainer},
};

fn config() -> RunConfig {
    RunConfig {
        lora: LoraConfig { rank: 1, alpha: 2.0, from: None },
        checkpoint: CheckpointConfig { every: 1, keep: 2, ..CheckpointConfig::default() },
        ..RunConfig::default()
    }
}

fn trainer_of(config: RunConfig, rank: usize) -> Trainer {
    let policy =
        Policy::open("nano", config.precision, &LoraConfig { rank, ..config.lora.clone() }, config.seed, &mut |_| ()).unwrap();
    let notes = pairs(Split::Train, 1, 2).into_iter().flat_map(|v| [v.error, v.clean]);
    Trainer::new(config, policy, Pools::new(notes).unwrap())
}

/// A trainer that has been somewhere: no zero in its adapter or moments.
fn travelled(seed: u64) -> Trainer {
    let mut trainer = trainer_of(config(), 1);
    trainer.moments.steps = 17 + seed;
    for (i, (_, var)) in trainer.policy.adapter.vars().iter().enumerate() {
        let fill = |key: u64| uniform(seed, key, var.elem_count(), 0.1);
        let values = candle_core::Tensor::from_vec(fill(3 * i as u64), var.shape(), var.device()).unwrap();
        var.set(&values).unwrap();
        (trainer.moments.first[i], trainer.moments.second[i]) = (fill(3 * i as u64 + 1), fill(3 * i as u64 + 2));
    }
    trainer
}

fn state(trainer: &Trainer) -> Vec<u32> {
    let adapter = trainer.policy.adapter.vars().iter().flat_map(|(_, v)| v.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let moments = trainer.moments.first.iter().chain(&trainer.moments.second).flatten().copied();
    adapter.chain(moments).map(f32::to_bits).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_brings_back_adapter_and_moments_bit_by_bit() {
    let root = tempfile::tempdir().unwrap();
    let trainer = travelled(1);
    let dir = checkpoint::save(root.path(), &trainer, 4).unwrap();
    let mut fresh = trainer_of(config(), 1);
    assert_ne!(state(&fresh), state(&trainer));
    let cursor = checkpoint::restore(&dir, &mut fresh).unwrap();
    assert_eq!(state(&fresh), state(&trainer));
    assert_eq!((cursor.step, cursor.optimizer_steps, fresh.moments.steps), (4, 18, 18));
    assert_eq!(checkpoint::verify(&dir).unwrap(), cursor);
    // The same step saved again replaces the first.
    let again = checkpoint::save(root.path(), &travelled(2), 4).unwrap();
    assert_eq!((again, checkpoint::verify(&dir).unwrap().optimizer_steps), (dir, 19));
}

#[test]
fn a_flipped_byte_anywhere_is_found() {
    let root = tempfile::tempdir().unwrap();
    let dir = checkpoint::save(root.path(), &travelled(1), 1).unwrap();
    let mut names: Vec<String> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        ["MANIFEST.json", "adapter_config.json", "adapter_model.safetensors", "cursor.json", "optimizer.safetensors"]
    );
    for name in &names {
        let path = dir.join(name);
        let n = fs::metadata(&path).unwrap().len() as usize;
        let stride = if name == "MANIFEST.json" { 11 } else { n / 3 };
        for at in (0..n).step_by(stride).chain([n - 1]) {
            flip(&path, at);
            assert!(checkpoint::verify(&dir).is_err(), "byte {at} of {name} may be anything");
            flip(&path, at);
        }
        checkpoint::verify(&dir).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..n - 1]).unwrap();
        assert!(checkpoint::verify(&dir).is_err(), "{name} cut short");
        fs::remove_file(&path).unwrap();
        let error = format!("{:#}", checkpoint::verify(&dir).unwrap_err());
        assert!(error.contains(name.as_str()), "{error}");
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_damaged_checkpoint_leaves_the_trainer_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let dir = checkpoint::save(root.path(), &travelled(1), 1).unwrap();
    flip(&dir.join("optimizer.safetensors"), 5_000);
    let mut trainer = travelled(2);
    let before = state(&trainer);
    let error = format!("{:#}", checkpoint::restore(&dir, &mut trainer).unwrap_err());
    assert!(error.contains("optimizer.safetensors does not match"), "{error}");
    assert_eq!(state(&trainer), before);
}

#[test]
fn another_experiment_or_rank_is_refused_and_more_steps_are_not() {
    let root = tempfile::tempdir().unwrap();
    let dir = checkpoint::save(root.path(), &travelled(1), 1).unwrap();
    let refusal = |mut trainer: Trainer| checkpoint::restore(&dir, &mut trainer).unwrap_err().to_string();
    assert!(refusal(trainer_of(RunConfig { seed: 9, ..config() }, 1)).contains("another experiment"));
    assert!(refusal(trainer_of(config(), 2)).contains("another rank"));
    let mut longer = trainer_of(RunConfig { steps: 4_000, threads: 1, ..config() }, 1);
    checkpoint::restore(&dir, &mut longer).unwrap();
}

#[test]
fn only_the_newest_checkpoints_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let trainer = travelled(1);
    for step in [1, 2, 9, 10] {
        checkpoint::save(root.path(), &trainer, step).unwrap();
    }
    let steps: Vec<u32> = checkpoint::list(root.path()).into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [10, 9], "by number, not by name");
    let left = fs::read_dir(root.path()).unwrap().count();
    assert_eq!(left, 2, "no staging folder is left behind");
}
