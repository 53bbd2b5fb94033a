//! Samples and rollouts to rows and back. Numbers go into columns and blobs, never through JSON, so they come back bit for bit.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, Error, Params, Result, Row, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use super::Cell;
use crate::task::{Completion, Reward, Rollout, Sample};

const ROLLOUT_COLUMNS: &str =
    "s.sample_json, r.sample_id, r.sibling, r.reward_format, r.reward_outcome, r.has_advantage, r.advantage,
     r.stop, r.text, r.tokens, r.logprobs, r.verdict_json";
/// Since schema 2.
const REWARD_COLUMNS: &str = "r.reward_location, r.reward_correction, r.reward_pair, r.reward_wrong_type, r.reward_overlong";
/// A file of schema 1 that is only looked at is not brought up to date: these parts did not exist then, so none was paid.
const REWARD_COLUMNS_OF_SCHEMA_1: &str = "0.0, 0.0, 0.0, 0.0, 0.0";

/// Runs a query and maps every row.
pub(super) fn collect<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    map: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare(sql)?.query_map(params, map)?.collect()
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::ToSqlConversionFailure(Box::new(e)))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// A unit variant as its bare name.
fn to_word<T: Serialize>(value: &T) -> Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

fn from_word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let word = serde_json::Value::String(row.get(column)?);
    serde_json::from_value(word).map_err(|e| Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// A REAL column; NULL stands for NaN.
pub(super) fn real(row: &Row<'_>, column: usize) -> Result<f64> {
    Ok(row.get::<_, Option<f64>>(column)?.unwrap_or(f64::NAN))
}

/// An f32 that was stored as REAL: widening was exact, so narrowing is too.
#[allow(clippy::cast_possible_truncation)]
fn real_f32(row: &Row<'_>, column: usize) -> Result<f32> {
    Ok(real(row, column)? as f32)
}

pub(super) fn insert_samples(conn: &Connection, samples: &[Sample]) -> Result<()> {
    let mut statement = conn.prepare(
        "INSERT INTO sample (id, step, position, quadrant, label, note, attempts, fallback, sample_json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for s in samples {
        let label = s.label.kind().map_or("clean", |kind| kind.medec_name());
        let (attempts, fallback) = (s.provenance.attempts, s.provenance.fallback);
        statement.execute(params![
            s.id,
            s.step,
            s.index,
            s.quadrant.code(),
            label,
            s.note.numbered(),
            attempts,
            fallback,
            to_json(s)?
        ])?;
    }
    Ok(())
}

pub(super) fn insert_rollouts(conn: &Connection, rollouts: &[Rollout]) -> Result<()> {
    let mut statement = conn.prepare(
        "INSERT INTO rollout (sample_id, sibling, step, quadrant, cell, reward, reward_format, reward_outcome, has_advantage,
                              advantage, stop, text, tokens, logprobs, verdict_json, reward_location, reward_correction,
                              reward_pair, reward_wrong_type, reward_overlong)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
    )?;
    for r in rollouts {
        // SQLite itself turns a bound NaN into NULL.
        statement.execute(params![
            r.sample.id,
            r.sibling,
            r.sample.step,
            r.sample.quadrant.code(),
            Cell::of(r).name(),
            r.reward.total(),
            r.reward.format,
            r.reward.outcome,
            r.advantage.is_some(),
            r.advantage,
            to_word(&r.completion.stop)?,
            r.completion.text,
            pack(&r.completion.tokens, u32::to_le_bytes),
            pack(&r.completion.rollout_logprobs, f32::to_le_bytes),
            to_json(&r.verdict)?,
            r.reward.location,
            r.reward.correction,
            r.reward.pair,
            r.reward.wrong_type,
            r.reward.overlong,
        ])?;
    }
    Ok(())
}

/// Rollouts joined with their samples; siblings share one sample. `condition` follows WHERE.
pub(super) fn rollouts(conn: &Connection, condition: &str, params: impl Params) -> Result<Vec<Rollout>> {
    let old = "SELECT count(*) = 0 FROM pragma_table_info('rollout') WHERE name = 'reward_location'";
    let parts = if conn.query_row(old, (), |row| row.get(0))? { REWARD_COLUMNS_OF_SCHEMA_1 } else { REWARD_COLUMNS };
    let sql = format!(
        "SELECT {ROLLOUT_COLUMNS}, {parts} FROM rollout r JOIN sample s ON s.id = r.sample_id
         WHERE {condition} ORDER BY s.step, s.position, s.id, r.sibling"
    );
    let mut samples: HashMap<String, Arc<Sample>> = HashMap::new();
    collect(conn, &sql, params, |row| {
        let id: String = row.get(1)?;
        let sample = match samples.get(&id) {
            Some(sample) => Arc::clone(sample),
            None => Arc::new(from_json::<Sample>(row, 0)?),
        };
        samples.insert(id, Arc::clone(&sample));
        rollout(row, sample)
    })
}

fn rollout(row: &Row<'_>, sample: Arc<Sample>) -> Result<Rollout> {
    Ok(Rollout {
        sample,
        sibling: row.get(2)?,
        reward: Reward {
            format: real_f32(row, 3)?,
            outcome: real_f32(row, 4)?,
            location: real_f32(row, 12)?,
            correction: real_f32(row, 13)?,
            pair: real_f32(row, 14)?,
            wrong_type: real_f32(row, 15)?,
            overlong: real_f32(row, 16)?,
        },
        advantage: if row.get(5)? { Some(real_f32(row, 6)?) } else { None },
        completion: Completion {
            stop: from_word(row, 7)?,
            text: row.get(8)?,
            tokens: unpack(row, 9, u32::from_le_bytes)?,
            rollout_logprobs: unpack(row, 10, f32::from_le_bytes)?,
            alternatives: Vec::new(),
        },
        verdict: from_json(row, 11)?,
        trace: None,
    })
}

pub(super) fn pack<T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; 4]) -> Vec<u8> {
    values.iter().flat_map(|&v| bytes(v)).collect()
}

pub(super) fn unpack<T>(row: &Row<'_>, column: usize, value: impl Fn([u8; 4]) -> T) -> Result<Vec<T>> {
    let blob: Vec<u8> = row.get(column)?;
    let (words, rest) = blob.as_chunks::<4>();
    if rest.is_empty() {
        return Ok(words.iter().map(|&w| value(w)).collect());
    }
    let message = format!("a blob of {} bytes is not a row of 4-byte numbers", blob.len());
    Err(Error::FromSqlConversionFailure(column, Type::Blob, message.into()))
}
