//! Values of single tokens, in `rollouts.db`: the bulk of a run, kept apart so that it can be deleted or left behind.
//! It is written before the step it belongs to; rows without a step are overwritten when the step is made again.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params, types::Type};

use super::{
    Store, StoreError,
    open::{Database, TRACES},
    rows::{pack, unpack},
    volume::Volume,
};
use crate::task::{
    Rollout, Trace,
    trace::{Alternative, Fate},
};

/// The file's name in a run directory.
pub const ROLLOUTS_DB: &str = "rollouts.db";

impl Store {
    /// A fresh file; what an earlier run left there is not this run's.
    pub(super) fn blank_traces(dir: &Path, volume: Volume) -> Result<Database, StoreError> {
        for name in ["", "-wal", "-shm"].map(|end| format!("{ROLLOUTS_DB}{end}")) {
            match fs::remove_file(dir.join(&name)) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(StoreError::Io { path: dir.join(name), source });
                }
                _ => {}
            }
        }
        Store::writable_traces(dir, volume)
    }

    /// The trainer's; a file that was deleted is begun again.
    pub(super) fn writable_traces(dir: &Path, volume: Volume) -> Result<Database, StoreError> {
        let path = dir.join(ROLLOUTS_DB);
        let blame = |source| StoreError::Traces { path: path.clone(), source: Box::new(source) };
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        made.map_err(|source| blame(StoreError::Io { path: path.clone(), source }))?;
        Database::writable(&path, &TRACES, volume).map_err(blame)
    }

    /// Keeps the traces of one step's rollouts.
    pub(super) fn keep_traces(&mut self, rollouts: &[Rollout]) -> Result<(), StoreError> {
        let Some(database) = &mut self.traces else { return Ok(()) };
        let result = (|| {
            let tx = database.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert(&tx, rollouts)?;
            tx.commit()
        })();
        database.at(result)
    }

    /// Drops the traces whose step stands in this relation to `step`.
    pub(super) fn drop_traces(&mut self, condition: &'static str, step: u32) -> Result<(), StoreError> {
        let Some(database) = &self.traces else { return Ok(()) };
        database.at(database.conn.execute(&format!("DELETE FROM trace WHERE {condition} ?1"), (step,)))?;
        Ok(())
    }

    /// Drops the traces of all steps before `step`; the room is used again.
    pub fn forget_traces_before(&mut self, step: u32) -> Result<(), StoreError> {
        self.drop_traces("step <", step)
    }

    /// Notes how tokens read; those that are known stay.
    pub fn keep_spellings(&mut self, spellings: &[(u32, String)]) -> Result<(), StoreError> {
        let Some(database) = self.traces.as_mut().filter(|_| !spellings.is_empty()) else { return Ok(()) };
        let result = (|| {
            let tx = database.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut statement = tx.prepare("INSERT OR IGNORE INTO spelling (token, text) VALUES (?1, ?2)")?;
            spellings.iter().try_for_each(|spelling| statement.execute(params![spelling.0, spelling.1]).map(drop))?;
            drop(statement);
            tx.commit()
        })();
        database.at(result)
    }

    /// Puts the traces that are still there into rollouts.
    pub fn add_traces(&self, rollouts: &mut [Rollout]) -> Result<(), StoreError> {
        self.read_traces(|conn| {
            let mut statement = conn.prepare(
                "SELECT policy, reference, entropy, advantage, fate, alternative_tokens, alternative_logprobs
                 FROM trace WHERE sample_id = ?1 AND sibling = ?2",
            )?;
            for rollout in rollouts {
                let found = statement.query_row(params![rollout.sample.id, rollout.sibling], trace).optional()?;
                rollout.trace = found.map(Box::new);
            }
            Ok(())
        })
    }

    /// How the tokens of these rollouts and their alternatives read, where it was noted.
    pub fn spellings(&self, rollouts: &[Rollout]) -> Result<BTreeMap<u32, String>, StoreError> {
        self.read_traces(|conn| {
            let mut known = BTreeMap::new();
            let mut statement = conn.prepare("SELECT text FROM spelling WHERE token = ?1")?;
            for token in rollouts.iter().flat_map(tokens_of) {
                if !known.contains_key(&token)
                    && let Some(text) = statement.query_row((token,), |row| row.get::<_, String>(0)).optional()?
                {
                    known.insert(token, text);
                }
            }
            Ok(known)
        })
    }

    /// Reads rollouts.db; one that is not there holds nothing.
    fn read_traces<T: Default>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        if let Some(database) = &self.traces {
            return database.at(read(&database.conn));
        }
        let path = self.path.with_file_name(ROLLOUTS_DB);
        if !path.exists() {
            return Ok(T::default());
        }
        let blame = |source| StoreError::Traces { path: path.clone(), source: Box::new(source) };
        let database = match Database::read_only(&path, &TRACES) {
            // The trainer is just making it.
            Err(StoreError::Uninitialised { .. }) => return Ok(T::default()),
            other => other.map_err(blame)?,
        };
        database.at(read(&database.conn)).map_err(blame)
    }
}

/// Every token that was or could have been drawn.
pub fn tokens_of(rollout: &Rollout) -> impl Iterator<Item = u32> + '_ {
    let others = rollout.trace.iter().flat_map(|trace| trace.alternatives.iter().map(|a| a.token));
    rollout.completion.tokens.iter().copied().chain(others)
}

fn insert(conn: &Connection, rollouts: &[Rollout]) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "INSERT OR REPLACE INTO trace (sample_id, sibling, step, policy, reference, entropy, advantage, fate,
                                       alternative_tokens, alternative_logprobs)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (rollout, trace) in rollouts.iter().filter_map(|r| Some((r, r.trace.as_ref()?))) {
        let (tokens, logprobs): (Vec<u32>, Vec<f32>) = trace.alternatives.iter().map(|a| (a.token, a.logprob)).unzip();
        statement.execute(params![
            rollout.sample.id,
            rollout.sibling,
            rollout.sample.step,
            pack(&trace.policy_logprobs, f32::to_le_bytes),
            pack(&trace.reference_logprobs, f32::to_le_bytes),
            pack(&trace.entropies, f32::to_le_bytes),
            pack(&trace.advantages, f32::to_le_bytes),
            trace.fates.iter().map(|fate| *fate as u8).collect::<Vec<u8>>(),
            pack(&tokens, u32::to_le_bytes),
            pack(&logprobs, f32::to_le_bytes),
        ])?;
    }
    Ok(())
}

fn trace(row: &Row<'_>) -> rusqlite::Result<Trace> {
    let fates = row.get::<_, Vec<u8>>(4)?.into_iter().map(|byte| {
        let unknown = || {
            let message = format!("{byte} is the fate of no token");
            rusqlite::Error::FromSqlConversionFailure(4, Type::Blob, message.into())
        };
        Fate::ALL.get(usize::from(byte)).copied().ok_or_else(unknown)
    });
    let fates = fates.collect::<rusqlite::Result<Vec<Fate>>>()?;
    let (tokens, logprobs) = (unpack(row, 5, u32::from_le_bytes)?, unpack(row, 6, f32::from_le_bytes)?);
    Ok(Trace {
        policy_logprobs: unpack(row, 0, f32::from_le_bytes)?,
        reference_logprobs: unpack(row, 1, f32::from_le_bytes)?,
        entropies: unpack(row, 2, f32::from_le_bytes)?,
        advantages: unpack(row, 3, f32::from_le_bytes)?,
        fates,
        alternatives: tokens.into_iter().zip(logprobs).map(|(token, logprob)| Alternative { token, logprob }).collect(),
    })
}
