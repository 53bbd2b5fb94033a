//! Writing in the reader's own editor: text goes out to a private file and comes back. The caller has given the terminal back first.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::task::Text;

/// More than this is no comment.
const MOST_BYTES: usize = 16 << 10;

/// Opens `$VISUAL` or `$EDITOR` (else `vi`) on `text` and returns what was saved. The variable may hold arguments, parted by blanks;
/// no shell reads it.
///
/// # Errors
/// No editor, one that fails, a file that is not text or too long.
pub fn edit(dir: &Path, text: &str) -> Result<String> {
    let command = ["VISUAL", "EDITOR"].iter().find_map(|name| env::var(name).ok().filter(|v| !v.trim().is_empty()));
    let command = command.unwrap_or_else(|| "vi".to_owned());
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let path = dir.join(format!(".comment-{}.txt", std::process::id()));
    let written = write(&path, text).and_then(|()| Command::new(program).args(words).arg(&path).status());
    let read = written.with_context(|| format!("cannot run {program}; set EDITOR")).and_then(|status| {
        ensure!(status.success(), "{program} ended with {status}; the comment is left as it was");
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    });
    // The file can hold clinical text: it must not stay, whatever happened.
    let _ = fs::remove_file(&path);
    let bytes = read?;
    ensure!(bytes.len() <= MOST_BYTES, "a comment may have {MOST_BYTES} bytes, this one has {}", bytes.len());
    let text = String::from_utf8(bytes).context("the comment is not UTF-8 text")?;
    Ok(Text::new(text.trim()).as_str().replace('\n', " "))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    // The folder is everybody's: a file that lies there already is not written into.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")
}
