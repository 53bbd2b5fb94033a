//! The runs of this machine: one directory each under one root. Broken directories are listed with their reason, never hidden.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use super::{RunLock, Store, is_locked};

/// One line of the Runs screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// The directory's name.
    pub id: String,
    pub dir: PathBuf,
    pub name: String,
    /// The state last written; where it is not an ending and `alive` is false, the trainer died.
    pub state: String,
    /// Last committed step; 0 before the first.
    pub step: u32,
    pub steps_total: u32,
    /// What the trainer said last about the state.
    pub message: String,
    pub model: String,
    /// The resolved experiment.
    pub config_toml: String,
    /// Of the last step, where it logged them.
    pub reward: Option<f64>,
    pub accuracy: Option<f64>,
    pub false_positive_rate: Option<f64>,
    pub false_negative_rate: Option<f64>,
    pub kl: Option<f64>,
    /// Of the last step that was evaluated.
    pub eval_accuracy: Option<f64>,
    /// A trainer holds the run.
    pub alive: bool,
    /// Unix seconds.
    pub started: i64,
    pub updated: i64,
    /// Why the directory cannot be read as a run; everything but `id` and `dir` is empty then.
    pub broken: Option<String>,
}

/// Where runs live: `$MEDSERL_HOME/runs`, else `runs` in the user's data directory.
pub fn runs_root() -> anyhow::Result<PathBuf> {
    if let Some(home) = env::var_os("MEDSERL_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home).join("runs"));
    }
    let dirs = directories::ProjectDirs::from("", "", "medserl").context("no home directory is known; set MEDSERL_HOME")?;
    Ok(dirs.data_dir().join("runs"))
}

/// All runs under `root`, newest first, broken ones last. A root that does not exist holds none.
pub fn list_runs(root: &Path) -> Vec<RunSummary> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![broken(root, e.to_string())],
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut runs: Vec<RunSummary> = paths.filter(|path| is_candidate(path)).map(|path| summary(&path)).collect();
    runs.sort_by(|a, b| (a.broken.is_some(), b.started, &b.id).cmp(&(b.broken.is_some(), a.started, &a.id)));
    runs
}

/// Finds the directory of one run: the newest, or the one named by its id, the start of its id, or a path.
pub fn resolve_run(root: &Path, wanted: Option<&str>) -> anyhow::Result<PathBuf> {
    if let Some(path) = wanted.map(Path::new).filter(|path| path.components().count() > 1) {
        if path.join(super::RUN_DB).is_file() {
            return Ok(path.to_owned());
        }
        bail!("{} holds no {}", path.display(), super::RUN_DB);
    }
    let runs = list_runs(root);
    let Some(wanted) = wanted else {
        let newest = runs.into_iter().find(|run| run.broken.is_none());
        return newest
            .map(|run| run.dir)
            .with_context(|| format!("there is no run in {}; start one with `medserl run`", root.display()));
    };
    if let Some(run) = runs.iter().find(|run| run.id == wanted) {
        return Ok(run.dir.clone());
    }
    let matches: Vec<&RunSummary> = runs.iter().filter(|run| run.id.starts_with(wanted)).collect();
    match matches[..] {
        [run] => Ok(run.dir.clone()),
        // A folder of the working directory, named without a slash.
        [] if Path::new(wanted).join(super::RUN_DB).is_file() => Ok(PathBuf::from(wanted)),
        [] => bail!("no run in {} begins with '{wanted}'; `medserl runs` lists them", root.display()),
        _ => bail!("'{wanted}' could be any of {}; give more of the id", ids(&matches)),
    }
}

/// Removes a run with everything in it. Its directory is taken out of sight first, so that what cannot be removed is never
/// taken for a run.
///
/// # Errors
/// No run there, a trainer that holds it, or a directory that cannot be removed.
pub fn delete_run(dir: &Path) -> anyhow::Result<()> {
    let is_run = fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()) && dir.join(super::RUN_DB).is_file();
    ensure!(is_run, "{} is not the directory of a run; nothing was deleted", dir.display());
    let lock = RunLock::acquire(dir)?;
    let name = dir.file_name().context("the run directory has no name")?.to_string_lossy();
    let aside = dir.with_file_name(format!(".{name}.deleted"));
    fs::rename(dir, &aside).with_context(|| format!("cannot move {} aside", dir.display()))?;
    drop(lock);
    fs::remove_dir_all(&aside).with_context(|| format!("cannot remove all of {}", aside.display()))
}

fn ids(runs: &[&RunSummary]) -> String {
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    ids.join(", ")
}

fn is_candidate(path: &Path) -> bool {
    path.is_dir() && path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
}

fn summary(dir: &Path) -> RunSummary {
    read(dir).unwrap_or_else(|e| broken(dir, format!("{e:#}")))
}

fn broken(dir: &Path, reason: String) -> RunSummary {
    RunSummary { id: id(dir), dir: dir.to_owned(), broken: Some(reason), ..RunSummary::default() }
}

fn id(dir: &Path) -> String {
    dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned()
}

fn read(dir: &Path) -> anyhow::Result<RunSummary> {
    let store = Store::open_read_only(dir)?;
    let status = store.state()?;
    let meta = store.run()?.context("the run was never begun")?;
    let last = store.last_step()?;
    let metric = |key| match last {
        Some(step) => store.metric(key, step),
        None => Ok(None),
    };
    Ok(RunSummary {
        id: id(dir),
        dir: dir.to_owned(),
        name: meta.name,
        state: status.state,
        step: last.unwrap_or(0),
        steps_total: meta.steps_total,
        reward: metric("reward")?,
        accuracy: metric("accuracy")?,
        false_positive_rate: metric("false_positive_rate")?,
        false_negative_rate: metric("false_negative_rate")?,
        kl: metric("kl")?,
        eval_accuracy: store.newest_eval()?,
        message: status.message,
        model: meta.model,
        config_toml: meta.config_toml,
        alive: is_locked(dir),
        started: meta.started_unix_s,
        updated: status.updated_unix_s,
        broken: None,
    })
}
