//! Where a trainer listens: a private Unix socket whose stale predecessor is cleared away. Knows nothing of what is said there.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use anyhow::{Context, bail};

/// What the address of a Unix socket can hold beside its closing NUL.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Binds `path`, taking the place of a socket nobody listens on any more.
pub(super) fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    let n_bytes = path.as_os_str().as_bytes().len();
    if n_bytes > MAX_PATH_BYTES {
        let at = path.display();
        bail!(
            "{at}: a socket path may have {MAX_PATH_BYTES} bytes, this one has {n_bytes}; use a shorter --run-dir or MEDSERL_HOME"
        );
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // Until this line the umask decides; the check of the peer's user holds all along.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let at = path.display();
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot look at {at}")),
        Ok(meta) if !meta.file_type().is_socket() => bail!("{at} is in the way and is not a socket; move it away"),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("another trainer already listens on {at}; attach to it, or stop it first"),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove the stale socket {at}"))
        }
        Err(e) => Err(e).with_context(|| format!("cannot tell whether a trainer listens on {at}")),
    }
}
