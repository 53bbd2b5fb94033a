//! Creating and opening the two databases of a run: version checks, pragmas, migrations. Knows no table.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::ErrorKind,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{
    Store, StoreError,
    volume::{self, Volume},
};

/// The database's name in a run directory.
pub const RUN_DB: &str = "run.db";
/// 3.51.3 fixed a race that could corrupt a WAL database since 3.7.0.
const MIN_SQLITE: i32 = 3_051_003;
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What tells one kind of database from another.
pub(super) struct Kind {
    /// In the SQLite header: says whose file it is.
    application_id: i32,
    /// Schema n is reached by running the first n scripts.
    scripts: &'static [&'static str],
    /// How commits are made durable.
    synchronous: &'static str,
}

/// `MSRL`. Nothing that is committed is ever lost.
const RUN: Kind = Kind {
    application_id: 0x4D53_524C,
    scripts: &[include_str!("../../assets/schema/001_run.sql"), include_str!("../../assets/schema/002_reward_parts.sql")],
    synchronous: "FULL",
};

/// `MSRT`. Can be deleted at any time, so a power cut may cost the newest rows: no flush a commit.
pub(super) const TRACES: Kind = Kind {
    application_id: 0x4D53_5254,
    scripts: &[include_str!("../../assets/schema/rollouts/001_trace.sql")],
    synchronous: "NORMAL",
};

impl Kind {
    fn latest(&self) -> u32 {
        u32::try_from(self.scripts.len()).expect("a handful of scripts")
    }
}

impl Store {
    /// Makes the directory (0700) where needed and new, empty databases (0600) in it; refuses a run.db that exists.
    pub fn create(dir: &Path) -> Result<Store, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| StoreError::Io { path: dir.to_owned(), source })?;
        Store::create_on(dir, volume::of(dir))
    }

    /// [`Store::create`] in a directory that exists, on a file system of this kind.
    pub fn create_on(dir: &Path, volume: Volume) -> Result<Store, StoreError> {
        check_sqlite()?;
        let path = dir.join(RUN_DB);
        let io = |source| StoreError::Io { path: path.clone(), source };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(StoreError::Exists { path }),
            Err(e) => return Err(io(e)),
        }
        let run = Database::writable(&path, &RUN, volume)?;
        let traces = Store::blank_traces(dir, volume)?;
        // The directory entry must outlive a power cut as well.
        File::open(dir).and_then(|d| d.sync_all()).map_err(io)?;
        Ok(Store { conn: run.conn, path, traces: Some(traces), volume })
    }

    /// Opens a run directory for the trainer, bringing an older schema up to date.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        check_sqlite()?;
        let path = existing(dir)?;
        // Nothing is brought up to date in a file that is not ours.
        Database::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, "")?.check_header(&RUN)?;
        let volume = volume::of(dir);
        let run = Database::writable(&path, &RUN, volume)?;
        let traces = Some(Store::writable_traces(dir, volume)?);
        Ok(Store { conn: run.conn, path, traces, volume })
    }

    /// Opens run.db for looking only; safe while a trainer writes, and writes nothing itself.
    pub fn open_read_only(dir: &Path) -> Result<Store, StoreError> {
        check_sqlite()?;
        let path = existing(dir)?;
        let run = Database::read_only(&path, &RUN)?;
        Ok(Store { conn: run.conn, path, traces: None, volume: Volume::Local })
    }
}

/// One open file.
#[derive(Debug)]
pub(super) struct Database {
    pub conn: Connection,
    pub path: PathBuf,
}

impl Database {
    /// An existing file, brought up to the newest schema; an empty one becomes a database of this kind.
    pub(super) fn writable(path: &Path, kind: &Kind, volume: Volume) -> Result<Database, StoreError> {
        let mut database = Database::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, "")?;
        database.use_log(kind, volume)?;
        database.migrate(kind)?;
        Ok(database)
    }

    pub(super) fn read_only(path: &Path, kind: &Kind) -> Result<Database, StoreError> {
        let database = Database::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, "?mode=ro")?.check_header(kind);
        let database = match database {
            // In a directory we may not write, SQLite cannot make its shared-memory file. Without a log beside it the
            // main file is the whole database, and nobody writes it.
            Err(e) if cannot_open(&e) && !path.with_extension("db-wal").exists() => {
                Database::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, "?mode=ro&immutable=1")?.check_header(kind)?
            }
            other => other?,
        };
        database.at(database.conn.pragma_update(None, "query_only", true))?;
        Ok(database)
    }

    fn connect(path: &Path, flags: OpenFlags, query: &str) -> Result<Database, StoreError> {
        let sqlite = |source| StoreError::Sqlite { path: path.to_owned(), source };
        let flags = flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path_absolute = std::path::absolute(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        let conn = Connection::open_with_flags(uri(&path_absolute) + query, flags).map_err(sqlite)?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
        conn.execute_batch("PRAGMA foreign_keys = ON; PRAGMA mmap_size = 0;").map_err(sqlite)?;
        Ok(Database { conn, path: path.to_owned() })
    }

    /// Names the file in an SQLite error.
    pub(super) fn at<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|source| StoreError::of(&self.path, &self.conn, source))
    }

    /// Chooses how commits become durable. A write-ahead log needs memory shared by all who read, which a network file system does
    /// not have: there the older rollback journal is used, and readers and the writer wait for each other.
    fn use_log(&self, kind: &Kind, volume: Volume) -> Result<(), StoreError> {
        let wanted = if volume == Volume::Local { "wal" } else { "delete" };
        let mode: String = self.at(self.conn.query_row(&format!("PRAGMA journal_mode = {wanted}"), (), |row| row.get(0)))?;
        if mode != wanted {
            return Err(StoreError::NoWal { path: self.path.clone(), mode });
        }
        let pragmas = format!("PRAGMA synchronous = {}; PRAGMA journal_size_limit = 67108864;", kind.synchronous);
        self.at(self.conn.execute_batch(&pragmas))
    }

    /// Passes one of our files of this kind whose schema this program knows.
    fn check_header(self, kind: &Kind) -> Result<Database, StoreError> {
        let application_id: i32 = self.header("application_id")?;
        let found: u32 = self.header("user_version")?;
        let (path, known, ours) = (self.path.clone(), kind.latest(), application_id == kind.application_id);
        match (application_id, found) {
            (0, 0) if self.is_empty()? => Err(StoreError::Uninitialised { path }),
            (_, 1..) if ours && found <= known => Ok(self),
            (_, 1..) if ours => Err(StoreError::Newer { path, found, known }),
            _ => Err(StoreError::Foreign { path }),
        }
    }

    fn header<T: rusqlite::types::FromSql>(&self, name: &str) -> Result<T, StoreError> {
        self.at(self.conn.pragma_query_value(None, name, |row| row.get(0)))
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        self.at(self.conn.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| row.get(0)))
    }

    /// Runs the missing scripts in one transaction: a crash leaves the old schema or the new one, nothing between.
    fn migrate(&mut self, kind: &Kind) -> Result<(), StoreError> {
        let result = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done: usize = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map(|v: u32| v as usize)?;
            for script in kind.scripts.iter().skip(done) {
                tx.execute_batch(script)?;
            }
            if done < kind.scripts.len() {
                tx.pragma_update(None, "application_id", kind.application_id)?;
                tx.pragma_update(None, "user_version", kind.latest())?;
            }
            tx.commit()
        })();
        self.at(result)
    }
}

fn check_sqlite() -> Result<(), StoreError> {
    if rusqlite::version_number() < MIN_SQLITE { Err(StoreError::OldSqlite { found: rusqlite::version() }) } else { Ok(()) }
}

fn existing(dir: &Path) -> Result<std::path::PathBuf, StoreError> {
    let path = dir.join(RUN_DB);
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(StoreError::Missing { path }),
        Err(source) => Err(StoreError::Io { path, source }),
    }
}

fn cannot_open(error: &StoreError) -> bool {
    let StoreError::Sqlite { source, .. } = error else { return false };
    matches!(source.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// `file:` address of an absolute path, every unusual byte escaped.
fn uri(path: &Path) -> String {
    let mut address = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => address.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(address, "%{byte:02X}"),
        }
    }
    address
}
