//! Saved state of a run: adapter (PEFT layout), optimizer moments and cursor, as files of a [`super::vault`]. Here tensors become
//! bytes and bytes become tensors; how the bytes survive is the vault's business.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

pub use super::cursor::{Cursor, Origin, config_hash};
use super::{
    cursor::{notes_hash, prompt_hash},
    optimizer::Moments,
    sft::Warmup,
    step::Trainer,
    tensors::{Array, NotFinite, decode, encode, first_not_finite},
    vault::{Choice, Files, Keep, Local, Saved, Vault, VaultError},
};
use crate::model::{Policy, lora::Adapter};

const ADAPTER: &str = "adapter_model.safetensors";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const MOMENTS: &str = "optimizer.safetensors";
const CURSOR: &str = "cursor.json";
/// There only while the warm-up is not finished.
const WARMUP: &str = "warmup.json";
/// Where the adapter's own writer puts its files on their way into the vault; a crash leaves it to the next sweep.
const SCRATCH: &str = ".stage-adapter";

/// What only the runner knows about a save.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    pub origin: Origin,
    /// Seconds the run has used, over all its starts.
    pub wall_seconds: Option<f64>,
    /// The step that did best on held-out notes; its checkpoint is never pruned.
    pub best: Option<u32>,
    /// Where the warm-up stands, while it is not finished; the step is 0 then, and the trainer holds the warm-up's own moments.
    pub warmup: Option<Warmup>,
}

/// How a batch is cut, which is part of the bits.
pub fn micro_batch_plan(policy: &Policy) -> String {
    format!("{} rows", policy.micro_rows)
}

/// What can be told of a run's origin from the trainer alone; the hashes of model and tokenizer are the caller's to add.
pub fn origin(trainer: &Trainer) -> Result<Origin> {
    Ok(Origin {
        model_commit: trainer.policy.commit.clone(),
        prompt_hash: Some(prompt_hash(trainer.config.prompt_style())),
        data_hash: Some(notes_hash(trainer.pools.errors.iter().chain(&trainer.pools.cleans))?),
        threads: Some(rayon::current_num_threads()),
        micro_batch_plan: Some(micro_batch_plan(&trainer.policy)),
        ..Origin::default()
    })
}

/// The vault of a run.
pub fn vault(root: &Path) -> Vault<Local> {
    Vault::new(Local, root)
}

/// Writes `root/step-N` beside the others, safely; then removes what the experiment does not keep.
pub fn save(root: &Path, trainer: &Trainer, step: u32) -> Result<PathBuf> {
    let circumstances = Circumstances { origin: origin(trainer)?, ..Circumstances::default() };
    Ok(save_with(root, trainer, step, &circumstances)?.dir)
}

/// [`save`] with what the runner knows. Errors that a caller can act on: [`VaultError`], [`super::tensors::NotFinite`].
pub fn save_with(root: &Path, trainer: &Trainer, step: u32, circumstances: &Circumstances) -> Result<Saved> {
    let cursor = Cursor {
        step,
        optimizer_steps: trainer.moments.steps,
        config_hash: config_hash(&trainer.config)?,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        origin: circumstances.origin.clone(),
        wall_seconds: circumstances.wall_seconds,
    };
    let checkpoint = &trainer.config.checkpoint;
    let keep =
        Keep { newest: checkpoint.keep, max_bytes: checkpoint.max_gb.map(|gb| (gb * 1e9) as u64), best: circumstances.best };
    let vault = vault(root);
    let mut files = adapter_files(root, &vault, trainer)?;
    files.insert(MOMENTS.to_owned(), moments_bytes(trainer)?);
    files.insert(CURSOR.to_owned(), serde_json::to_vec_pretty(&cursor)?);
    if let Some(warmup) = &circumstances.warmup {
        files.insert(WARMUP.to_owned(), serde_json::to_vec(warmup)?);
    }
    Ok(vault.save(step, &files, &keep)?)
}

/// PEFT's two files as the adapter itself writes them: their layout is its business.
fn adapter_files(root: &Path, vault: &Vault<Local>, trainer: &Trainer) -> Result<Files> {
    let adapter = &trainer.policy.adapter;
    let mut n_values = 0;
    for (name, var) in adapter.vars() {
        let values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        if let Some(at) = first_not_finite(&values) {
            return Err(NotFinite { name: name.clone(), at, value: values[at] }.into());
        }
        n_values += values.len() as u64;
    }
    // Adapter, both moments, and the adapter once more on its way.
    vault.require_room(4 * 4 * n_values)?;
    let scratch = root.join(SCRATCH);
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let read = |name: &str| -> Result<(String, Vec<u8>)> { Ok((name.to_owned(), fs::read(scratch.join(name))?)) };
    let files =
        adapter.save(&scratch, &trainer.config.model).and_then(|()| Ok(Files::from([read(ADAPTER)?, read(ADAPTER_CONFIG)?])));
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    files
}

fn moments_bytes(trainer: &Trainer) -> Result<Vec<u8>> {
    let (mut arrays, vars) = (BTreeMap::new(), trainer.policy.adapter.vars());
    let [first, second] = trainer.moments.by_variable(vars)?;
    for (i, (key, var)) in vars.iter().enumerate() {
        for (tag, values) in [("first", &first[i]), ("second", &second[i])] {
            arrays.insert(format!("{tag}.{key}"), Array { shape: var.dims().to_vec(), values: values.clone() });
        }
    }
    encode(&arrays)
}

/// Checkpoints under `root`, newest first, valid or not.
pub fn list(root: &Path) -> Vec<(u32, PathBuf)> {
    vault(root).list().unwrap_or_default()
}

/// The newest checkpoint that can be used, its cursor, and those passed over with the reasons.
pub fn choose(root: &Path) -> Result<Choice<Cursor>, VaultError> {
    vault(root).choose(|dir, files| read_cursor(dir, &files).map_err(|e| format!("{e:#}")))
}

/// Checks every file against the manifest and returns the cursor.
pub fn verify(dir: &Path) -> Result<Cursor> {
    read_cursor(dir, &vault(dir).read(dir)?)
}

fn read_cursor(dir: &Path, files: &Files) -> Result<Cursor> {
    for needed in [ADAPTER, ADAPTER_CONFIG, MOMENTS, CURSOR] {
        ensure!(files.contains_key(needed), "{} has no {needed}", dir.display());
    }
    serde_json::from_slice(&files[CURSOR]).with_context(|| format!("{} is damaged", dir.join(CURSOR).display()))
}

/// Where the warm-up stood when this checkpoint was made; `None` where it was finished.
pub fn unfinished_warmup(dir: &Path) -> Result<Option<Warmup>> {
    let files = vault(dir).read(dir)?;
    read_cursor(dir, &files)?;
    let Some(bytes) = files.get(WARMUP) else { return Ok(None) };
    Ok(Some(serde_json::from_slice(bytes).with_context(|| format!("{} is damaged", dir.join(WARMUP).display()))?))
}

/// The newest valid checkpoint of a step before `step`.
pub fn newest_before(root: &Path, step: u32) -> Option<PathBuf> {
    list(root).into_iter().find(|(at, dir)| *at < step && verify(dir).is_ok()).map(|(_, dir)| dir)
}

/// Puts a verified checkpoint's state into the trainer, which stays as it was where anything is wrong.
pub fn restore(dir: &Path, trainer: &mut Trainer) -> Result<Cursor> {
    let files = vault(dir).read(dir)?;
    let cursor = read_cursor(dir, &files)?;
    if cursor.config_hash != config_hash(&trainer.config)? {
        bail!("{} was made by another experiment; give this one another name or run directory", dir.display());
    }
    let adapter = Adapter::load(&trainer.policy.model.spec, dir, trainer.policy.model.device())?;
    ensure!(adapter.rank == trainer.policy.adapter.rank, "{} has an adapter of another rank", dir.display());
    let moments = read_moments(dir, &files[MOMENTS], &adapter)?;
    let moments = Moments::take(&trainer.policy, cursor.optimizer_steps, moments)?;
    trainer.policy.adapter = adapter;
    trainer.moments = moments;
    Ok(cursor)
}

/// First and second moments by variable.
fn read_moments(dir: &Path, bytes: &[u8], adapter: &Adapter) -> Result<[Vec<Vec<f32>>; 2]> {
    let path = dir.join(MOMENTS);
    let mut saved = decode(bytes).with_context(|| format!("in {}", path.display()))?;
    let mut moments = [Vec::new(), Vec::new()];
    for (key, var) in adapter.vars() {
        for (tag, values) in ["first", "second"].into_iter().zip(&mut moments) {
            let name = format!("{tag}.{key}");
            let array = saved.remove(&name).with_context(|| format!("{} has no {name}", path.display()))?;
            ensure!(array.shape == var.dims(), "{}: {name} is {:?}, expected {:?}", path.display(), array.shape, var.dims());
            values.push(array.values);
        }
    }
    Ok(moments)
}
