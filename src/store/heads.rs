//! Samples without their text, for queues over a whole run, and one sample with it.

use rusqlite::Row;

use super::{Store, StoreError, rows};
use crate::task::{Quadrant, Sample};

/// What a queue needs to know of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleHead {
    pub id: String,
    pub step: u32,
    /// Place within the step.
    pub index: u32,
    pub quadrant: Quadrant,
}

impl From<&Sample> for SampleHead {
    fn from(sample: &Sample) -> SampleHead {
        SampleHead { id: sample.id.clone(), step: sample.step, index: sample.index, quadrant: sample.quadrant }
    }
}

impl Store {
    /// All samples of `from_step` and later, in order of step and place.
    pub fn sample_heads(&self, from_step: u32) -> Result<Vec<SampleHead>, StoreError> {
        let sql = "SELECT id, step, position, quadrant FROM sample WHERE step >= ?1 ORDER BY step, position, id";
        self.at(rows::collect(&self.conn, sql, (from_step,), head))
    }

    /// One sample, where it exists.
    pub fn sample(&self, id: &str) -> Result<Option<Sample>, StoreError> {
        let sql = "SELECT sample_json FROM sample WHERE id = ?1";
        self.optional(self.conn.query_row(sql, (id,), |row| rows::from_json(row, 0)))
    }
}

fn head(row: &Row<'_>) -> rusqlite::Result<SampleHead> {
    let code: String = row.get(3)?;
    let unknown = || {
        let message = format!("'{code}' is no quadrant");
        rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, message.into())
    };
    Ok(SampleHead {
        id: row.get(0)?,
        step: row.get(1)?,
        index: row.get(2)?,
        quadrant: Quadrant::parse(&code).ok_or_else(unknown)?,
    })
}
