//! The few things a vault asks of a file system, and the real one. What is not in this trait, a checkpoint does not rely on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::Path,
};

use rustix::fs::{Advice, fadvise, statvfs};

/// A file system as a vault uses it. The tests bring one that crashes, fills up and fails at any chosen call.
pub trait Disk {
    /// A file being written.
    type File;

    /// Makes a directory and what is missing above it; one that is there is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a new, empty file; one that is there is an error.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    fn append(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes durable. Takes the file: after a failure the kernel may have dropped the bytes and would report success
    /// the second time, so there is no second time.
    fn sync(&self, file: Self::File) -> io::Result<()>;
    /// Makes a directory's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames within one file system, in one atomic act.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Bytes of a file.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// The names in a directory, in no order.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Bytes that may still be written where `dir` lies.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Disk for Local {
    type File = File;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: File) -> io::Result<()> {
        file.sync_all()?;
        // What is read back afterwards comes from the device and not from memory, where the kernel heeds this; if not, no harm.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match File::open(dir)?.sync_all() {
            // Some network and user-space file systems know no such call; their renames are durable or they are not.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        // A name that is not text is none of ours.
        names.filter_map(Result::transpose).collect()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = statvfs(dir)?;
        // A file system that gives no size cannot be asked for room.
        Ok(if stat.f_blocks == 0 { u64::MAX } else { stat.f_bavail.saturating_mul(stat.f_frsize) })
    }
}
