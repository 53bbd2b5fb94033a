//! Steps in and out of the store. A step is there as a whole or not at all.

use std::{collections::HashSet, time::Duration};

use rusqlite::{Connection, Result as SqlResult, TransactionBehavior};

use super::{Store, StoreError, rows, unix_now};
use crate::task::{Rollout, Sample, StepReport};

/// Beyond this the log is cut back after a commit, where no reader holds it.
const WAL_LIMIT_BYTES: u64 = 8 << 20;

impl Store {
    /// Commits one step in one durable transaction. Steps only go up: one that is there, or lies before one that is, is refused.
    /// Every sample must be of this step and every rollout of one of these samples. Traces go to rollouts.db just before.
    pub fn commit_step(&mut self, report: &StepReport, samples: &[Sample], rollouts: &[Rollout]) -> Result<(), StoreError> {
        check_step(report.step, samples, rollouts)?;
        if let Some(last) = self.last_step()?.filter(|&last| last >= report.step) {
            return Err(StoreError::StepCommitted { path: self.path.clone(), step: report.step, last });
        }
        self.keep_traces(rollouts)?;
        let result = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert_report(&tx, report)?;
            rows::insert_samples(&tx, samples)?;
            rows::insert_rollouts(&tx, rollouts)?;
            tx.execute("UPDATE run SET updated_unix_s = ?1", (unix_now(),))?;
            tx.commit()
        })();
        self.at(result)?;
        self.trim_log();
        Ok(())
    }

    /// Drops every step and evaluation after `step` (the checkpoint a run resumes from) and returns how many steps went.
    pub fn discard_after(&mut self, step: u32) -> Result<usize, StoreError> {
        let result = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute("DELETE FROM eval WHERE step > ?1", (step,))?;
            let n_steps = tx.execute("DELETE FROM step WHERE step > ?1", (step,))?;
            tx.commit()?;
            Ok(n_steps)
        })();
        let n_steps = self.at(result)?;
        self.drop_traces("step >", step)?;
        Ok(n_steps)
    }

    /// The last committed step.
    pub fn last_step(&self) -> Result<Option<u32>, StoreError> {
        self.at(self.conn.query_row("SELECT max(step) FROM step", (), |row| row.get(0)))
    }

    /// The reports of `from_step` and later, in order.
    pub fn reports(&self, from_step: u32) -> Result<Vec<StepReport>, StoreError> {
        let result = (|| {
            // One snapshot for both queries: a commit between them must not show.
            let tx = self.conn.unchecked_transaction()?;
            let sql = "SELECT report_json FROM step WHERE step >= ?1 ORDER BY step";
            let mut reports: Vec<StepReport> = rows::collect(&tx, sql, (from_step,), |row| rows::from_json(row, 0))?;
            let sql = "SELECT step, key, value FROM metric WHERE step >= ?1";
            let metrics = rows::collect(&tx, sql, (from_step,), |row| Ok((row.get(0)?, row.get(1)?, rows::real(row, 2)?)))?;
            for (step, key, value) in metrics {
                if let Ok(at) = reports.binary_search_by_key(&step, |r: &StepReport| r.step) {
                    reports[at].metrics.insert(key, value);
                }
            }
            Ok(reports)
        })();
        self.at(result)
    }

    /// One metric over the steps that logged it: (step, value).
    pub fn metric_series(&self, key: &str) -> Result<Vec<(u32, f64)>, StoreError> {
        let sql = "SELECT step, value FROM metric WHERE key = ?1 ORDER BY step";
        self.at(rows::collect(&self.conn, sql, (key,), |row| Ok((row.get(0)?, rows::real(row, 1)?))))
    }

    /// Every metric that some step logged, by name.
    pub fn metric_keys(&self) -> Result<Vec<String>, StoreError> {
        // Walks the index key by key instead of through every row.
        let sql = "WITH RECURSIVE k (key) AS (SELECT min(key) FROM metric
                   UNION ALL SELECT (SELECT min(key) FROM metric WHERE key > k.key) FROM k WHERE k.key IS NOT NULL)
                   SELECT key FROM k WHERE key IS NOT NULL";
        self.at(rows::collect(&self.conn, sql, (), |row| row.get(0)))
    }

    /// When each step was committed: (step, Unix seconds).
    pub fn step_times(&self) -> Result<Vec<(u32, i64)>, StoreError> {
        let sql = "SELECT step, committed_unix_s FROM step ORDER BY step";
        self.at(rows::collect(&self.conn, sql, (), |row| Ok((row.get(0)?, row.get(1)?))))
    }

    /// One metric of one step, where it was logged.
    pub fn metric(&self, key: &str, step: u32) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT value FROM metric WHERE key = ?1 AND step = ?2";
        let result = self.conn.query_row(sql, (key, step), |row| rows::real(row, 0));
        self.optional(result)
    }

    /// The samples of a step, in the order of their index.
    pub fn samples(&self, step: u32) -> Result<Vec<Sample>, StoreError> {
        let sql = "SELECT sample_json FROM sample WHERE step = ?1 ORDER BY position, id";
        self.at(rows::collect(&self.conn, sql, (step,), |row| rows::from_json(row, 0)))
    }

    /// Ids of the samples of a step that trained: their rollouts have an advantage.
    pub fn trained(&self, step: u32) -> Result<HashSet<String>, StoreError> {
        let sql = "SELECT DISTINCT sample_id FROM rollout WHERE step = ?1 AND has_advantage";
        Ok(self.at(rows::collect(&self.conn, sql, (step,), |row| row.get(0)))?.into_iter().collect())
    }

    /// The rollouts of a step, by sample and sibling, without traces; siblings share one `Arc` sample.
    pub fn rollouts(&self, step: u32) -> Result<Vec<Rollout>, StoreError> {
        self.at(rows::rollouts(&self.conn, "r.step = ?1", (step,)))
    }

    /// One rollout, where it exists, without its trace.
    pub fn rollout(&self, sample_id: &str, sibling: u32) -> Result<Option<Rollout>, StoreError> {
        let found = self.at(rows::rollouts(&self.conn, "r.sample_id = ?1 AND r.sibling = ?2", (sample_id, sibling)))?;
        Ok(found.into_iter().next())
    }

    /// Readers can keep SQLite from ever restarting its log; cut it back, but never wait for a reader.
    fn trim_log(&self) {
        let log = self.path.with_extension("db-wal");
        if std::fs::metadata(log).is_ok_and(|m| m.len() > WAL_LIMIT_BYTES) {
            // Failing is harmless: the step is committed, and the next one tries again.
            let _ = self.conn.busy_timeout(Duration::ZERO);
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
            let _ = self.conn.busy_timeout(super::open::BUSY_TIMEOUT);
        }
    }
}

fn check_step(step: u32, samples: &[Sample], rollouts: &[Rollout]) -> Result<(), StoreError> {
    let stray = |what| Err(StoreError::Stray { step, what });
    if let Some(s) = samples.iter().find(|s| s.step != step) {
        return stray(format!("sample {} is of step {}", s.id, s.step));
    }
    let ids: HashSet<&str> = samples.iter().map(|s| s.id.as_str()).collect();
    match rollouts.iter().find(|r| !ids.contains(r.sample.id.as_str())) {
        Some(r) => stray(format!("rollout {} of sample {} has no sample in the step", r.sibling, r.sample.id)),
        None => Ok(()),
    }
}

fn insert_report(conn: &Connection, report: &StepReport) -> SqlResult<()> {
    // Metrics may be NaN or infinite, which JSON cannot say: they live in rows only.
    let plain = StepReport { metrics: std::collections::BTreeMap::new(), ..report.clone() };
    let sql = "INSERT INTO step (step, report_json, committed_unix_s) VALUES (?1, ?2, ?3)";
    conn.execute(sql, (report.step, rows::to_json(&plain)?, unix_now()))?;
    let mut statement = conn.prepare("INSERT INTO metric (key, step, value) VALUES (?1, ?2, ?3)")?;
    for (key, value) in &report.metrics {
        statement.execute((key, report.step, value))?;
    }
    Ok(())
}
