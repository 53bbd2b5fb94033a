//! The run store: an SQLite file (`run.db`, WAL) in each run directory, and beside it one that can be deleted (`rollouts.db`: values
//! of single tokens). One trainer writes them, any number of processes read them meanwhile. The only place that knows SQL; it must not know how a step is made or how a client is told.

pub mod browse;
mod cell;
pub mod filter;
mod heads;
mod journal;
pub mod labels;
pub mod lock;
mod open;
mod rows;
mod run;
pub mod runs;
mod steps;
mod traces;
pub mod volume;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

pub use browse::{RolloutKey, RolloutRow, Sort, SortKey};
pub use cell::Cell;
pub use filter::{FilterError, RolloutFilter};
pub use heads::SampleHead;
pub use journal::{Eval, Event};
pub use labels::{Fault, LABELS, LabelError, LabelFile, LabelLog, merge_labels, read_labels, write_labels};
pub use lock::{LockError, RunLock, is_locked};
pub use open::RUN_DB;
pub use run::{RunMeta, RunStatus};
pub use runs::{RunSummary, delete_run, list_runs, resolve_run, runs_root};
pub use traces::{ROLLOUTS_DB, tokens_of};
pub use volume::Volume;

/// An open run store. Readers and the writer are the same type; a read-only one refuses every write.
#[derive(Debug)]
pub struct Store {
    conn: rusqlite::Connection,
    path: PathBuf,
    /// rollouts.db of a writer; a reader opens it when it is asked for tokens.
    traces: Option<open::Database>,
    volume: Volume,
}

/// What can go wrong with a run store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path} already exists: this directory holds a run; resume it, or choose another directory")]
    Exists { path: PathBuf },
    #[error("{path} does not exist: there is no run in this directory")]
    Missing { path: PathBuf },
    #[error("{path} was never finished being created; delete the directory and start the run again")]
    Uninitialised { path: PathBuf },
    #[error("{path} is an SQLite file of another program, not a run store")]
    Foreign { path: PathBuf },
    #[error("{path} was written by a newer medserl (schema {found}; this one knows up to {known}); update medserl to open it")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error(
        "SQLite {found} is linked, 3.51.3 or later is needed: older ones can corrupt a WAL file; rebuild with the bundled SQLite"
    )]
    OldSqlite { found: &'static str },
    #[error("{path} cannot use a write-ahead log (journal mode is {mode}): put the run directory on a local disk")]
    NoWal { path: PathBuf, mode: String },
    #[error("{path} holds no run yet: begin_run comes first")]
    NoRun { path: PathBuf },
    #[error("{path} already holds the run {id}")]
    RunExists { path: PathBuf, id: String },
    #[error("step {step} cannot be committed: {path} already holds step {last}; discard the steps after the checkpoint first")]
    StepCommitted { path: PathBuf, step: u32, last: u32 },
    #[error("step {step} cannot be committed: {what}")]
    Stray { step: u32, what: String },
    #[error("{path} cannot be used ({source}); delete it: only the values of single tokens are lost")]
    Traces { path: PathBuf, source: Box<StoreError> },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: the disk is full or a quota used up ({source})")]
    NoRoom { path: PathBuf, source: rusqlite::Error },
    #[error("{path}: {source}")]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

/// Whether the system refused for want of room.
pub fn says_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl StoreError {
    /// Whether there was no room; nothing of what was to be committed is there, and the same call succeeds once there is.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Sqlite { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            StoreError::Io { source, .. } => says_full(source.kind()),
            StoreError::NoRoom { .. } => true,
            StoreError::Traces { source, .. } => source.is_full(),
            _ => false,
        }
    }

    /// An error of this connection to `path`. SQLite says of a full disk under its shared memory, and of a quota that is used up, no
    /// more than that the input or output failed; the system said why.
    fn of(path: &Path, conn: &rusqlite::Connection, source: rusqlite::Error) -> StoreError {
        use rusqlite::{ErrorCode, ffi};
        let path = path.to_owned();
        let failed = matches!(source.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen));
        // SAFETY: the connection is open, and its handle is only read.
        let errno = unsafe { ffi::sqlite3_system_errno(conn.handle()) };
        let why = std::io::Error::from_raw_os_error(errno).kind();
        if failed && says_full(why) {
            return StoreError::NoRoom { path, source };
        }
        StoreError::Sqlite { path, source }
    }
}

impl Store {
    /// The path of the database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the owner of the run should know about where its store lies.
    pub fn remark(&self) -> Option<String> {
        let Volume::Network(name) = self.volume else { return None };
        Some(format!(
            "{} lies on {name}, a network file system: the store works without its write-ahead log, so that readers may have to \
             wait, and locks are only as good as the server's; --run-dir or MEDSERL_HOME can name a local disk",
            self.path.display()
        ))
    }

    /// Changes whenever another connection has committed; a reader that sees the same value may skip its refresh.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.at(self.conn.query_row("PRAGMA data_version", (), |row| row.get(0)))
    }

    /// Names the file in an SQLite error.
    fn at<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|source| StoreError::of(&self.path, &self.conn, source))
    }
}

/// Seconds since 1970 by the wall clock; 0 on a clock set before that. For people to read, never for ordering.
pub fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
