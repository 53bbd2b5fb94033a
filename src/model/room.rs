//! Memory for a micro-batch: asked for before it is used, since a CPU that runs out of memory kills the process without a word. How
//! much a device has left is for [`super::place::free_memory`] to say.

use std::{
    fs,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use rustix::process::{Resource, getrlimit};

/// There is no room for a forward and backward over so many token rows. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {rows} token rows at once need about {needed} bytes and {available} can be had")]
pub struct OutOfMemory {
    pub rows: usize,
    pub needed: u64,
    pub available: u64,
}

/// Remembers how much has fitted, since what the workers' buffers hold of it is no longer free and yet ours to use again.
#[derive(Debug, Default)]
pub struct Room {
    /// Bytes.
    fitted: AtomicU64,
    /// For showing that a run survives it: this many requests from now, one is refused; 0 never.
    refuse_in: AtomicUsize,
}

impl Room {
    /// Begins a batch: of what fitted before, `held` bytes at most are still ours without asking.
    pub fn begin(&self, held: u64) {
        self.fitted.fetch_min(held, Ordering::Relaxed);
    }

    /// How many of the `wanted` bytes `rows` token rows can have, but not fewer than `least`, by what `available` says can be had; where
    /// it does not know, all are granted, and whoever hands the memory out refuses it.
    pub fn reserve(
        &self,
        rows: usize,
        wanted: u64,
        least: u64,
        available: impl FnOnce() -> Option<u64>,
    ) -> Result<u64, OutOfMemory> {
        let refused = self.refuse_in.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if refused == Ok(1) {
            return Err(OutOfMemory { rows, needed: least, available: 0 });
        }
        let fitted = self.fitted.load(Ordering::Relaxed);
        if wanted <= fitted {
            return Ok(wanted);
        }
        let available = available().unwrap_or(u64::MAX).max(fitted);
        if available < least {
            return Err(OutOfMemory { rows, needed: least, available });
        }
        let granted = wanted.min(available);
        self.fitted.fetch_max(granted, Ordering::Relaxed);
        Ok(granted)
    }

    /// Refuses the `n`-th request from now, once, as a full memory would; 0 takes that back.
    pub fn refuse_in(&self, n: usize) {
        self.refuse_in.store(n, Ordering::Relaxed);
    }
}

/// Bytes of main memory this process can still get: what the machine has left, its control group and its own limit allow. `None` where the
/// system does not say.
pub fn available() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| kibibytes(&text, "MemAvailable:"));
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .zip(number("/sys/fs/cgroup/memory.current"))
        .map(|(most, used)| most.saturating_sub(used));
    let own = getrlimit(Resource::As).current.and_then(|most| {
        let used = kibibytes(&read("/proc/self/status")?, "VmSize:")?;
        Some(most.saturating_sub(used))
    });
    [machine, group, own].into_iter().flatten().min()
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Whether an error says that memory ran out, here or on a device whose driver says so.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    error.is::<OutOfMemory>()
        || error.chain().any(|cause| {
            let text = cause.to_string();
            cause.is::<OutOfMemory>() || text.contains("CUDA_ERROR_OUT_OF_MEMORY") || text.contains("out of memory")
        })
}
