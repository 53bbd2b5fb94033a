//! Memory, disk and graphics card of this machine, and whether a run finds enough of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nvml_wrapper::Nvml;
use serde::Serialize;

use crate::{
    config::RunConfig,
    model::Policy,
    train::budget::{Lengths, Load, Target, disk, memory as budget},
};

/// Room for a run.
#[derive(Clone, Debug, Serialize)]
pub struct Room {
    /// Bytes that can still be taken, the limits of a container included; `None` where the system does not tell.
    pub memory_free: Option<u64>,
    pub memory_total: Option<u64>,
    pub disk_free: Option<u64>,
    /// The folder asked about, or the nearest one above it that exists.
    pub disk_at: PathBuf,
    /// Name and bytes of the first graphics card.
    pub gpu: Option<(String, u64)>,
}

impl Room {
    pub fn here(dir: &Path) -> Room {
        let (total, free) = memory();
        let disk_at = dir.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("/")).to_owned();
        let stat = rustix::fs::statvfs(&disk_at).ok();
        Room { memory_free: free, memory_total: total, disk_free: stat.map(|s| s.f_bavail * s.f_frsize), disk_at, gpu: card() }
    }
}

/// What a run that is about to start will find too little of, at prompts of the longest length allowed, a line each.
pub fn shortages(config: &RunConfig, policy: &Policy, dir: &Path) -> Vec<String> {
    let room = Room::here(dir);
    let spec = &policy.model.spec;
    let load = Load::of(config, Lengths::all(config.data.max_note_tokens), Target::Cpu);
    // The weights are there already; what is still to come counts.
    let there = policy.model.weight_bytes() as u64;
    let (phase, peak) = budget(spec, &load, Target::Cpu, false).peak();
    let weights = crate::train::budget::weight_bytes(spec, config.precision, Target::Cpu, false);
    let (more, needed) = (peak.saturating_sub(weights.max(there)), disk(spec, config, &load, false).total());
    let mut short = Vec::new();
    if let Some(free) = room.memory_free.filter(|free| more > *free) {
        short.push(format!(
            "{phase} may take {} of memory beside the weights, {} are free; medserl plan shows where it goes",
            gib(more),
            gib(free)
        ));
    }
    if let Some(free) = room.disk_free.filter(|free| needed > *free) {
        short.push(format!("the run may write {}, {} are free at {}", gib(needed), gib(free), room.disk_at.display()));
    }
    short
}

fn card() -> Option<(String, u64)> {
    let nvml = Nvml::init().ok()?;
    let device = nvml.device_by_index(0).ok()?;
    Some((device.name().ok()?, device.memory_info().ok()?.total))
}

/// Total and free bytes: the kernel's figures, or what the container's limit leaves where that is less.
fn memory() -> (Option<u64>, Option<u64>) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |key: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    let (mut total, mut free) = (bytes("MemTotal:"), bytes("MemAvailable:"));
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // Version 2 first, then version 1 of control groups; "max" is no number and no limit.
    let groups = [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")];
    for (limit, used) in groups {
        let path = |name: &str| format!("/sys/fs/cgroup/{name}");
        if let (Some(limit), Some(used)) = (read(&path(limit)), read(&path(used))) {
            total = total.map(|t| t.min(limit));
            free = free.map(|f| f.min(limit.saturating_sub(used)));
        }
    }
    (total, free)
}

/// `1.5 GiB`, `12 MiB`.
pub fn gib(bytes: u64) -> String {
    let mib = bytes as f64 / (1 << 20) as f64;
    if mib >= 1024.0 { format!("{:.2} GiB", mib / 1024.0) } else { format!("{mib:.1} MiB") }
}
