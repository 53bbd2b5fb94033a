//! The thread that reads the run's store, and the only writer of exports. It sends answers as events and draws nothing.

use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    mem::discriminant,
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
    query::{Loaded, Query},
};
use crate::{
    store::{RolloutKey, Store},
    task::Rollout,
};

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

/// Of each kind the last; exports are orders and are all carried out.
fn newest(waiting: &[Query]) -> Vec<Query> {
    let outdated = |i: usize, query: &Query| {
        !matches!(query, Query::Export(_)) && waiting[i + 1..].iter().any(|later| discriminant(later) == discriminant(query))
    };
    waiting.iter().enumerate().filter(|(i, query)| !outdated(*i, query)).map(|(_, query)| query.clone()).collect()
}

/// Answers one question; `store` is opened on first use.
///
/// # Errors
/// No store, one that cannot be read, a rollout that is gone, or an export that cannot be written.
pub fn load(dir: &Path, store: &mut Option<Store>, query: &Query) -> Result<Loaded> {
    let store = match store {
        Some(store) => store,
        None => store.insert(Store::open_read_only(dir)?),
    };
    Ok(match query {
        Query::Rollouts { filter, sort } => {
            let rows = store.browse(filter, *sort)?;
            Loaded::Rollouts { filter: filter.clone(), sort: *sort, rows, n_all: store.n_rollouts()? }
        }
        Query::Group { sample_id } => Loaded::Group { sample_id: sample_id.clone(), rollouts: store.group(sample_id)? },
        Query::Pair(keys) => Loaded::Pair(Box::new([one(store, &keys[0])?, one(store, &keys[1])?])),
        Query::Away => Away::gather(dir, store, unix_now())?.map_or(Loaded::Nothing, |away| Loaded::Away(Box::new(away))),
        Query::Export(keys) => Loaded::Exported { path: export(dir, store, keys)?, n_rollouts: keys.len() },
    })
}

fn one(store: &Store, key: &RolloutKey) -> Result<Rollout> {
    let found = store.rollout(&key.sample_id, key.sibling)?;
    found.with_context(|| format!("rollout {}/{} is no longer in the store", key.sample_id, key.sibling + 1))
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
