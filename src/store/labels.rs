//! Hand labels on disk: one JSON entry a line, only ever added to, each line synced before anybody is told. Any number of
//! annotators may write one file at a time; a line cut off by a crash costs that line and nothing else.

use std::{
    collections::HashSet,
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use crate::task::Entry;

/// The label file's name in a run directory.
pub const LABELS: &str = "labels.jsonl";

/// A line that is no entry; the rest of the file is good without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: PathBuf,
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: left out: {}", self.path.display(), self.line, self.problem)
    }
}

/// What a label file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFile {
    pub entries: Vec<Entry>,
    pub faults: Vec<Fault>,
}

/// Why a label file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("{path} does not exist: nothing was labelled there yet")]
    Missing { path: PathBuf },
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: the label could not be written and is not kept: {source}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{path} was cut or replaced while it was open; open it again")]
    Shrunk { path: PathBuf },
}

/// Reads a whole label file. A last line without its line feed counts where it is complete.
pub fn read_labels(path: &Path) -> Result<LabelFile, LabelError> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => LabelError::Missing { path: path.to_owned() },
        _ => LabelError::Unreadable { path: path.to_owned(), source },
    })?;
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let n = lines.len();
    let mut file = LabelFile::default();
    let read: Vec<Line> = lines.par_iter().enumerate().map(|(i, line)| parse(path, i + 1, line, i + 1 == n)).collect();
    read.into_iter().for_each(|line| file.take(line));
    Ok(file)
}

/// The entries of several files in order of time, each once; an entry that two files hold is the same entry.
pub fn merge_labels(files: impl IntoIterator<Item = LabelFile>) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut entries: Vec<Entry> = files.into_iter().flat_map(|file| file.entries).collect();
    entries.retain(|entry| seen.insert(entry.id().to_owned()));
    entries.sort_by_key(Entry::at);
    entries
}

/// Writes a new label file; refuses one that exists.
pub fn write_labels(path: &Path, entries: &[Entry]) -> Result<(), LabelError> {
    let unwritable = |source| LabelError::Unwritable { path: path.to_owned(), source };
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).map_err(|e| unwritable(e.into()))?;
        text.push(b'\n');
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(unwritable)
}

/// A label file open for adding to.
#[derive(Debug)]
pub struct LabelLog {
    path: PathBuf,
    file: File,
    /// Bytes and lines handed out by [`LabelLog::news`].
    read: u64,
    lines: usize,
}

impl LabelLog {
    /// Opens a label file, or makes an empty one (0600).
    pub fn open(path: &Path) -> Result<LabelLog, LabelError> {
        let unreadable = |source| LabelError::Unreadable { path: path.to_owned(), source };
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(unreadable)?;
        if is_new && let Some(dir) = path.parent() {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            // The directory entry must outlive a power cut as well.
            File::open(dir).and_then(|d| d.sync_all()).map_err(unreadable)?;
        }
        Ok(LabelLog { path: path.to_owned(), file, read: 0, lines: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was added since the last call, by anyone; everything at the first. A line still being written waits.
    pub fn news(&mut self) -> Result<LabelFile, LabelError> {
        let unreadable = |source| LabelError::Unreadable { path: self.path.clone(), source };
        let length = self.file.metadata().map_err(unreadable)?.len();
        if length < self.read {
            return Err(LabelError::Shrunk { path: self.path.clone() });
        }
        let mut news = LabelFile::default();
        if length == self.read {
            return Ok(news);
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read)).map_err(unreadable)?;
        (&self.file).take(length - self.read).read_to_end(&mut bytes).map_err(unreadable)?;
        let complete = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..complete].split_inclusive(|b| *b == b'\n') {
            self.lines += 1;
            news.take(parse(&self.path, self.lines, line, false));
        }
        self.read += complete as u64;
        Ok(news)
    }

    /// Adds one entry and returns it, with its id, once it is on disk. Where that fails nothing is kept of it.
    pub fn append(&mut self, entry: Entry) -> Result<Entry, LabelError> {
        self.file
            .lock()
            .and_then(|()| {
                let written = self.write(entry);
                self.file.unlock()?;
                written
            })
            .map_err(|source| LabelError::Unwritable { path: self.path.clone(), source })
    }

    /// Under the lock.
    fn write(&self, entry: Entry) -> io::Result<Entry> {
        let mut file = &self.file;
        let length = file.metadata()?.len();
        let entry = if entry.id().is_empty() {
            // The place makes it one of its kind in this file, time and content in all others.
            let mut content = serde_json::to_vec(&entry)?;
            content.extend(length.to_le_bytes());
            entry.with_id(digest(&content))
        } else {
            entry
        };
        // A crash may have left half a line; what follows must not be glued to it.
        let mut line = if ends_with_line_feed(file, length)? { Vec::new() } else { vec![b'\n'] };
        serde_json::to_writer(&mut line, &entry)?;
        line.push(b'\n');
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a line helps nobody; should cutting it off fail too, the next writer steps over it.
            let _ = file.set_len(length);
            return Err(error);
        }
        Ok(entry)
    }
}

fn ends_with_line_feed(mut file: &File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(true);
    }
    let mut last = [0u8];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// What one line says.
enum Line {
    Blank,
    Entry(Entry),
    Fault(Fault),
}

/// Reads one line; `is_cut` marks a last one without its line feed.
fn parse(path: &Path, line: usize, bytes: &[u8], is_cut: bool) -> Line {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        return Line::Blank;
    }
    // Checked as text once, since the parser would do it string by string.
    let parsed = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str::<Entry>(text),
        Err(_) => serde_json::from_slice::<Entry>(bytes),
    };
    match parsed {
        // A line written by hand or another program need not carry an id.
        Ok(entry) if entry.id().is_empty() => Line::Entry(entry.with_id(digest(bytes))),
        Ok(entry) => Line::Entry(entry),
        Err(error) => {
            let why = if is_cut { "the last line is cut off, as a crash leaves it" } else { "this is no label entry" };
            Line::Fault(Fault { path: path.to_owned(), line, problem: format!("{why} ({error})") })
        }
    }
}

impl LabelFile {
    fn take(&mut self, line: Line) {
        match line {
            Line::Blank => {}
            Line::Entry(entry) => self.entries.push(entry),
            Line::Fault(fault) => self.faults.push(fault),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}
