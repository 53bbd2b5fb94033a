//! What happens beside the steps: evaluations and dated events.

use super::{Store, StoreError, rows, unix_now};

/// One evaluation; `value` is whatever the evaluator reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Eval {
    pub step: u32,
    pub name: String,
    pub value: serde_json::Value,
}

/// One line of the run's history, kept even where its step was discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub step: u32,
    pub unix_s: i64,
    pub kind: String,
    pub message: String,
}

impl Event {
    /// Whether the run's owner wants to hear of it: alarms, returns to an earlier checkpoint, breakpoints, steps given up.
    pub fn is_alert(&self) -> bool {
        ["alarm", "rollback", "break", "abort"].contains(&self.kind.as_str())
    }
}

impl Store {
    /// Keeps an evaluation; one of the same step and name is replaced, since a resumed run makes it again.
    pub fn add_eval(&mut self, step: u32, name: &str, value: &serde_json::Value) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO eval (step, name, value_json) VALUES (?1, ?2, ?3)";
        self.at(self.conn.execute(sql, (step, name, value.to_string())))?;
        Ok(())
    }

    /// All evaluations, by step and name.
    pub fn evals(&self) -> Result<Vec<Eval>, StoreError> {
        self.at(rows::collect(&self.conn, "SELECT step, name, value_json FROM eval ORDER BY step, name", (), |row| {
            Ok(Eval { step: row.get(0)?, name: row.get(1)?, value: rows::from_json(row, 2)? })
        }))
    }

    /// Held-out accuracy of the last evaluation, where there was one.
    pub fn newest_eval(&self) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT json_extract(value_json, '$.flag_accuracy') FROM eval ORDER BY step DESC, rowid DESC LIMIT 1";
        Ok(self.optional(self.conn.query_row(sql, (), |row| row.get::<_, Option<f64>>(0)))?.flatten())
    }

    /// Appends one line to the run's history.
    pub fn add_event(&mut self, step: u32, kind: &str, message: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO event (step, unix_s, kind, message) VALUES (?1, ?2, ?3, ?4)";
        self.at(self.conn.execute(sql, (step, unix_now(), kind, message)))?;
        Ok(())
    }

    /// The run's history, oldest first.
    pub fn events(&self) -> Result<Vec<Event>, StoreError> {
        self.at(rows::collect(&self.conn, "SELECT step, unix_s, kind, message FROM event ORDER BY id", (), |row| {
            Ok(Event { step: row.get(0)?, unix_s: row.get(1)?, kind: row.get(2)?, message: row.get(3)? })
        }))
    }
}
