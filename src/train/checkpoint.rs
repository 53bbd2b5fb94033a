//! Saved state of a run: adapter (PEFT layout), optimizer moments, cursor, and a manifest written last.
//! A folder without a manifest that matches its files is not a checkpoint.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{optimizer::Moments, step::Trainer};
use crate::{config::RunConfig, model::lora::Adapter};

const MANIFEST: &str = "MANIFEST.json";

/// Where the run stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Steps completed; 0 is after the warm-up.
    pub step: u32,
    pub optimizer_steps: u64,
    /// BLAKE3 of the resolved experiment, its step count left out: a longer run may continue a shorter one.
    pub config_hash: String,
    pub program_version: String,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// File name → (bytes, BLAKE3).
    files: BTreeMap<String, (u64, String)>,
}

/// Hash of everything that may not change between a run and its continuation.
pub fn config_hash(config: &RunConfig) -> Result<String> {
    let fixed = RunConfig { steps: 0, threads: 0, ..config.clone() };
    Ok(blake3::hash(fixed.to_toml()?.as_bytes()).to_hex().to_string())
}

/// Writes `root/step-N` beside the others: staged, synced, renamed; then removes all but the newest `keep`.
pub fn save(root: &Path, trainer: &Trainer, step: u32) -> Result<PathBuf> {
    let stage = root.join(format!(".stage-{}", std::process::id()));
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(&stage).with_context(|| format!("cannot create {}", stage.display()))?;
    trainer.policy.adapter.save(&stage, &trainer.config.model)?;
    save_moments(&stage, trainer)?;
    let cursor = Cursor {
        step,
        optimizer_steps: trainer.moments.steps,
        config_hash: config_hash(&trainer.config)?,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    fs::write(stage.join("cursor.json"), serde_json::to_vec_pretty(&cursor)?)?;
    write_manifest(&stage)?;
    let target = root.join(format!("step-{step}"));
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::rename(&stage, &target).with_context(|| format!("cannot rename {} to {}", stage.display(), target.display()))?;
    File::open(root)?.sync_all()?;
    prune(root, trainer.config.checkpoint.keep)?;
    Ok(target)
}

fn save_moments(dir: &Path, trainer: &Trainer) -> Result<()> {
    let mut tensors = std::collections::HashMap::new();
    for (i, (key, var)) in trainer.policy.adapter.vars().iter().enumerate() {
        for (tag, values) in [("first", &trainer.moments.first[i]), ("second", &trainer.moments.second[i])] {
            tensors.insert(format!("{tag}.{key}"), Tensor::from_slice(values, var.shape(), &Device::Cpu)?);
        }
    }
    Ok(candle_core::safetensors::save(&tensors, dir.join("optimizer.safetensors"))?)
}

fn write_manifest(dir: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        File::open(&path)?.sync_all()?;
        let name = path.file_name().and_then(|n| n.to_str()).context("a checkpoint file has no name")?.to_owned();
        files.insert(name, (bytes.len() as u64, blake3::hash(&bytes).to_hex().to_string()));
    }
    let path = dir.join(MANIFEST);
    fs::write(&path, serde_json::to_vec_pretty(&Manifest { format: 1, files })?)?;
    File::open(&path)?.sync_all()?;
    Ok(File::open(dir)?.sync_all()?)
}

/// Checkpoints under `root`, newest first, valid or not.
pub fn list(root: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|e| Some((e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?, e.path()))).collect();
    found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    found
}

fn prune(root: &Path, keep: usize) -> Result<()> {
    for (_, path) in list(root).into_iter().skip(keep) {
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove the old checkpoint {}", path.display()))?;
    }
    Ok(())
}

/// Checks every file against the manifest and returns the cursor.
pub fn verify(dir: &Path) -> Result<Cursor> {
    let read = |name: &str| fs::read(dir.join(name)).with_context(|| format!("cannot read {}", dir.join(name).display()));
    let manifest: Manifest =
        serde_json::from_slice(&read(MANIFEST)?).with_context(|| format!("{} is damaged", dir.join(MANIFEST).display()))?;
    ensure!(manifest.format == 1, "{} has format {}, this program reads 1", dir.display(), manifest.format);
    for (name, (size, hash)) in &manifest.files {
        ensure!(!name.contains(['/', '\\']), "{} names a file outside its folder", dir.display());
        let bytes = read(name)?;
        let same = bytes.len() as u64 == *size && blake3::hash(&bytes).to_hex().as_str() == hash;
        ensure!(same, "{} does not match the manifest", dir.join(name).display());
    }
    for needed in ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "cursor.json"] {
        ensure!(manifest.files.contains_key(needed), "{} has no {needed}", dir.display());
    }
    serde_json::from_slice(&read("cursor.json")?).with_context(|| format!("{} is damaged", dir.join("cursor.json").display()))
}

/// Puts a verified checkpoint's state into the trainer.
pub fn restore(dir: &Path, trainer: &mut Trainer) -> Result<Cursor> {
    let cursor = verify(dir)?;
    if cursor.config_hash != config_hash(&trainer.config)? {
        bail!("{} was made by another experiment; give this one another name or run directory", dir.display());
    }
    let adapter = Adapter::load(&trainer.policy.model.spec, dir, trainer.policy.model.device())?;
    ensure!(adapter.rank == trainer.policy.adapter.rank, "{} has an adapter of another rank", dir.display());
    let saved = candle_core::safetensors::load(dir.join("optimizer.safetensors"), &Device::Cpu)?;
    let mut moments = Moments { steps: cursor.optimizer_steps, ..Moments::zeros(adapter.vars()) };
    for (i, (key, _)) in adapter.vars().iter().enumerate() {
        for (tag, slot) in [("first", &mut moments.first[i]), ("second", &mut moments.second[i])] {
            let name = format!("{tag}.{key}");
            *slot = saved.get(&name).with_context(|| format!("{} has no {name}", dir.display()))?.flatten_all()?.to_vec1()?;
        }
    }
    trainer.policy.adapter = adapter;
    trainer.moments = moments;
    Ok(cursor)
}
