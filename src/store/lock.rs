//! One trainer per run directory: a `lock` file held through the operating system, so a dead holder lets go by itself.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::unix_now;

const LOCK_FILE: &str = "lock";
/// [`is_locked`] holds the lock for an instant, so one refusal proves nothing.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// The right to write a run directory, for as long as it lives.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

/// Why a run directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// `pid` and `since` (unix seconds) are 0 where the holder has not written them.
    #[error("the run is being trained by process {pid} on {host}{}; attach to it, or stop it first", lasting(*since, unix_now()))]
    Held { pid: u32, host: String, since: i64 },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// What the holder writes into its lock file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    since: i64,
}

impl RunLock {
    /// Takes the run directory, which must exist, or says who holds it.
    pub fn acquire(dir: &Path) -> Result<RunLock, LockError> {
        let path = dir.join(LOCK_FILE);
        let io = |source| LockError::Io { path: path.clone(), source };
        for _ in 0..TRIES {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
            match file.try_lock() {
                // A lock on a file that was deleted or replaced meanwhile protects nothing.
                Ok(()) if is_at(&file, &path) => return RunLock::sign(file).map_err(io),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
        }
        let Holder { pid, host, since } = holder(&path).unwrap_or_default();
        Err(LockError::Held { pid, host: if host.is_empty() { "an unknown host".into() } else { host }, since })
    }

    fn sign(mut file: File) -> io::Result<RunLock> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let text = serde_json::to_string(&Holder { pid: std::process::id(), host, since: unix_now() })?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        Ok(RunLock { file })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The name goes with the lock, so that nobody reads an old one; the lock itself ends when the file closes.
        let _ = self.file.set_len(0);
    }
}

/// Whether a trainer holds this run directory; `false` where that cannot be found out.
pub fn is_locked(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// How long a holder has held the lock, for people; nothing where it is not known or the clocks disagree.
fn lasting(since: i64, now: i64) -> String {
    let seconds = now.saturating_sub(since);
    match seconds {
        _ if since == 0 || seconds < 0 => String::new(),
        0..60 => format!(" (for {seconds} s)"),
        60..3600 => format!(" (for {} min)", seconds / 60),
        3600..172_800 => format!(" (for {} h {} min)", seconds / 3600, seconds / 60 % 60),
        _ => format!(" (for {} days)", seconds / 86_400),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.dev() == there.dev() && ours.ino() == there.ino(),
        _ => false,
    }
}

fn holder(path: &Path) -> io::Result<Holder> {
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
}
