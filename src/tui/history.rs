//! What a store tells of a whole run: its metrics step by step, and what happened when. Read on the loader's thread.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    config::MANIFEST,
    store::{Store, StoreError},
};

/// Why a step is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    Alarm,
    /// One that is still on the disk: the run can go on from there.
    Checkpoint,
    /// Anything else that was written down.
    Event,
}

/// Something that happened at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub step: u32,
    pub kind: MarkKind,
    pub text: String,
}

/// Everything charts need of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub id: String,
    pub dir: PathBuf,
    /// Metric by metric, rising steps; a value may be NaN or infinite.
    pub series: Vec<(String, Vec<(u32, f64)>)>,
    /// By step.
    pub marks: Vec<Mark>,
    /// When each step was committed, Unix seconds.
    pub times: Vec<(u32, i64)>,
}

impl History {
    /// Reads the run in `dir`.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn gather(dir: &Path, store: &Store) -> Result<History, StoreError> {
        let keys = store.metric_keys()?;
        let series = keys.into_iter().map(|key| Ok((key.clone(), store.metric_series(&key)?)));
        let events = store.events()?.into_iter().map(|event| Mark {
            step: event.step,
            kind: if event.kind == "alarm" { MarkKind::Alarm } else { MarkKind::Event },
            text: format!("{}: {}", event.kind, event.message),
        });
        let mut marks: Vec<Mark> = events.chain(checkpoints(dir)).collect();
        marks.sort_by_key(|mark| mark.step);
        let id = store.run()?.map_or_else(String::new, |run| run.id);
        Ok(History {
            id,
            dir: dir.to_owned(),
            series: series.collect::<Result<_, StoreError>>()?,
            marks,
            times: store.step_times()?,
        })
    }
}

/// The checkpoints on the disk, by the names of their directories; a directory that cannot be listed has none to go on from.
fn checkpoints(dir: &Path) -> impl Iterator<Item = Mark> {
    let entries = fs::read_dir(dir.join("checkpoints")).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| {
        let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
        let kept = entry.path().join(MANIFEST).exists();
        kept.then(|| Mark { step, kind: MarkKind::Checkpoint, text: "checkpoint".to_owned() })
    })
}
