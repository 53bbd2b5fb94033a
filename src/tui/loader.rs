//! The thread that reads the run's store, and the only writer of exports. It sends answers as events and draws nothing.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

use super::{
    app::Event,
    away::Away,
    history::History,
    logs::Entry,
    query::{Loaded, Query},
};
use crate::{
    store::{RolloutKey, RunSummary, Store, list_runs},
    task::Rollout,
};

/// Of the trainer's log at most this much is read at once.
const MOST_LOG_BYTES: u64 = 4 << 20;

/// Takes questions as long as it lives; its thread ends with it.
pub struct Loader {
    questions: Sender<Query>,
}

impl Loader {
    /// Starts the thread for the run in `dir`.
    pub fn start(dir: PathBuf, events: Sender<Event>) -> std::io::Result<Loader> {
        let (questions, asked) = mpsc::channel();
        thread::Builder::new().name("store".to_owned()).spawn(move || serve(&dir, &asked, &events))?;
        Ok(Loader { questions })
    }

    /// Never blocks.
    pub fn ask(&self, query: Query) {
        // A thread that is gone cannot be told; its screens keep saying that they read.
        let _ = self.questions.send(query);
    }
}

fn serve(dir: &Path, asked: &Receiver<Query>, events: &Sender<Event>) {
    let mut store = None;
    while let Ok(first) = asked.recv() {
        let mut waiting = vec![first];
        while let Ok(query) = asked.try_recv() {
            waiting.push(query);
        }
        for query in newest(&waiting) {
            let loaded = load(dir, &mut store, &query).unwrap_or_else(|e| {
                // The store may have been moved or replaced: the next question opens it afresh.
                store = None;
                Loaded::Failed { query, why: format!("{e:#}") }
            });
            if events.send(Event::Loaded(Box::new(loaded))).is_err() {
                return;
            }
        }
    }
}

/// What is still worth an answer.
fn newest(waiting: &[Query]) -> Vec<Query> {
    let outdated = |i: usize, query: &Query| waiting[i + 1..].iter().any(|later| query.is_replaced_by(later));
    waiting.iter().enumerate().filter(|(i, query)| !outdated(*i, query)).map(|(_, query)| query.clone()).collect()
}

/// Answers one question; `store` is opened on first use.
///
/// # Errors
/// No store, one that cannot be read, a rollout that is gone, or an export that cannot be written.
pub fn load(dir: &Path, store: &mut Option<Store>, query: &Query) -> Result<Loaded> {
    // What needs no store is answered without one.
    match query {
        Query::Log { from } => return log(&dir.join("trainer.log"), *from),
        Query::Peers => return Ok(Loaded::Peers(peers(dir))),
        _ => {}
    }
    let store = match store {
        Some(store) => store,
        None => store.insert(Store::open_read_only(dir)?),
    };
    Ok(match query {
        Query::Rollouts { filter, sort } => {
            let rows = store.browse(filter, *sort)?;
            Loaded::Rollouts { filter: filter.clone(), sort: *sort, rows, n_all: store.n_rollouts()? }
        }
        Query::Group { sample_id } => {
            let mut rollouts = store.group(sample_id)?;
            store.add_traces(&mut rollouts)?;
            let spellings = store.spellings(&rollouts)?;
            let step = rollouts.first().map_or(0, |rollout| rollout.sample.step);
            let scaling = store.metric("advantage_shift", step)?.zip(store.metric("advantage_scale", step)?);
            Loaded::Group { sample_id: sample_id.clone(), rollouts, spellings, scaling }
        }
        Query::History { run: None } => Loaded::History { run: None, history: Box::new(History::gather(dir, store)?) },
        Query::History { run: Some(other) } => {
            let history = History::gather(other, &Store::open_read_only(other)?)?;
            Loaded::History { run: Some(other.clone()), history: Box::new(history) }
        }
        Query::Log { .. } | Query::Peers => Loaded::Nothing,
        Query::Pair(keys) => Loaded::Pair(Box::new([one(store, &keys[0])?, one(store, &keys[1])?])),
        Query::Away => Away::gather(dir, store, unix_now())?.map_or(Loaded::Nothing, |away| Loaded::Away(Box::new(away))),
        Query::Export(keys) => Loaded::Exported { path: export(dir, store, keys)?, n_rollouts: keys.len() },
    })
}

/// Whole lines of the log behind `from`; of a long one only the end. A run that never logged has an empty one.
fn log(path: &Path, from: u64) -> Result<Loaded> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Loaded::Log { from, to: from, lines: Vec::new() }),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let length = file.metadata()?.len();
    let start = from.max(length.saturating_sub(MOST_LOG_BYTES));
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MOST_LOG_BYTES).read_to_end(&mut bytes)?;
    // A line that is still being written comes with the next answer.
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let first = if start > from { bytes.iter().position(|b| *b == b'\n').map_or(end, |at| at + 1) } else { 0 };
    let text = String::from_utf8_lossy(&bytes[first.min(end)..end]);
    Ok(Loaded::Log { from, to: start + end as u64, lines: text.lines().map(Entry::parse).collect() })
}

/// The other runs beside this one.
fn peers(dir: &Path) -> Vec<RunSummary> {
    let own = dir.canonicalize().ok();
    let beside = dir.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new("."));
    list_runs(beside).into_iter().filter(|run| run.dir.canonicalize().ok() != own).collect()
}

fn one(store: &Store, key: &RolloutKey) -> Result<Rollout> {
    let found = store.rollout(&key.sample_id, key.sibling)?;
    let mut found = [found.with_context(|| format!("rollout {}/{} is no longer in the store", key.sample_id, key.sibling + 1))?];
    store.add_traces(&mut found)?;
    let [found] = found;
    Ok(found)
}

/// Writes one JSON object a line (sample, completion, log-probs, verdict, reward) to the first free `marked-N.jsonl`.
fn export(dir: &Path, store: &Store, keys: &[RolloutKey]) -> Result<PathBuf> {
    let rollouts = keys.iter().map(|key| one(store, key)).collect::<Result<Vec<Rollout>>>()?;
    for n in 1..10_000 {
        let path = dir.join(format!("marked-{n}.jsonl"));
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
            other => other.with_context(|| format!("cannot write {}", path.display()))?,
        };
        let mut file = BufWriter::new(file);
        for rollout in &rollouts {
            serde_json::to_writer(&mut file, rollout)?;
            file.write_all(b"\n")?;
        }
        file.flush().with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(path);
    }
    bail!("{} holds 9999 exports already; put some away", dir.display())
}

/// Seconds since 1970 by the wall clock; 0 on a clock set before that.
pub fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
