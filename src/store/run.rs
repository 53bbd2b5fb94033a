//! The one row that says which run this is and how it stands.

use super::{Store, StoreError, unix_now};

/// What a run is, written once when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMeta {
    pub id: String,
    pub name: String,
    pub model: String,
    pub seed: u64,
    pub steps_total: u32,
    /// The resolved experiment.
    pub config_toml: String,
    pub program_version: String,
    pub started_unix_s: i64,
}

/// How a run stands; the writer of `state` chooses the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStatus {
    pub state: String,
    /// Why, where there is something to say.
    pub message: String,
    /// When anything of the run last changed.
    pub updated_unix_s: i64,
}

impl Store {
    /// Writes what the run is, in state `starting`; refuses a second time.
    pub fn begin_run(&mut self, meta: &RunMeta) -> Result<(), StoreError> {
        if let Some(there) = self.run()? {
            return Err(StoreError::RunExists { path: self.path.clone(), id: there.id });
        }
        let seed = meta.seed.to_string();
        self.at(self.conn.execute(
            "INSERT INTO run (one, id, name, model, seed, steps_total, config_toml, program_version, started_unix_s,
                              state, message, updated_unix_s)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'starting', '', ?9)",
            (
                &meta.id,
                &meta.name,
                &meta.model,
                seed,
                meta.steps_total,
                &meta.config_toml,
                &meta.program_version,
                meta.started_unix_s,
                unix_now(),
            ),
        ))?;
        Ok(())
    }

    /// What the run is; `None` before [`Store::begin_run`].
    pub fn run(&self) -> Result<Option<RunMeta>, StoreError> {
        let sql = "SELECT id, name, model, seed, steps_total, config_toml, program_version, started_unix_s FROM run";
        let result = self.conn.query_row(sql, (), |row| {
            let seed: String = row.get(3)?;
            let bad_seed = |e| rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(e));
            Ok(RunMeta {
                id: row.get(0)?,
                name: row.get(1)?,
                model: row.get(2)?,
                seed: seed.parse().map_err(bad_seed)?,
                steps_total: row.get(4)?,
                config_toml: row.get(5)?,
                program_version: row.get(6)?,
                started_unix_s: row.get(7)?,
            })
        });
        self.optional(result)
    }

    /// Notes how many steps the run is to make, which may change between its starts; never fewer than it has made.
    pub fn set_steps_total(&mut self, steps: u32) -> Result<(), StoreError> {
        let sql = "UPDATE run SET steps_total = max(?1, coalesce((SELECT max(step) FROM step), 0))";
        self.at(self.conn.execute(sql, (steps,)))?;
        Ok(())
    }

    /// Notes how the run stands.
    pub fn set_state(&mut self, state: &str, message: &str) -> Result<(), StoreError> {
        let sql = "UPDATE run SET state = ?1, message = ?2, updated_unix_s = ?3";
        let n_rows = self.at(self.conn.execute(sql, (state, message, unix_now())))?;
        if n_rows == 0 { Err(self.no_run()) } else { Ok(()) }
    }

    /// How the run stood when it was last noted; a killed trainer leaves `running` behind (see [`super::is_locked`]).
    pub fn state(&self) -> Result<RunStatus, StoreError> {
        let sql = "SELECT state, message, updated_unix_s FROM run";
        let result = self
            .conn
            .query_row(sql, (), |row| Ok(RunStatus { state: row.get(0)?, message: row.get(1)?, updated_unix_s: row.get(2)? }));
        self.optional(result)?.ok_or_else(|| self.no_run())
    }

    fn no_run(&self) -> StoreError {
        StoreError::NoRun { path: self.path.clone() }
    }

    /// `None` for no row.
    pub(super) fn optional<T>(&self, result: rusqlite::Result<T>) -> Result<Option<T>, StoreError> {
        match result {
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            other => self.at(other).map(Some),
        }
    }
}
