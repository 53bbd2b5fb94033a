//! Memory, disk and graphics card of this machine, and whether a run finds enough of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nvml_wrapper::Nvml;
use serde::Serialize;

use crate::{
    config::RunConfig,
    model::{Policy, place},
    train::budget::{GPU_CONTEXT, Lengths, Load, Target, disk, memory as budget, weight_bytes},
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
        Room { memory_free: free, memory_total: total, disk_free: disk_free(&disk_at), disk_at, gpu: card() }
    }
}

/// Bytes that this user can still write where a folder lies.
pub fn disk_free(dir: &Path) -> Option<u64> {
    rustix::fs::statvfs(dir).ok().map(|stat| stat.f_bavail * stat.f_frsize)
}

/// What a run that is about to start will find too little of, at prompts of the longest length allowed, a line each.
pub fn shortages(config: &RunConfig, policy: &Policy, dir: &Path) -> Vec<String> {
    let room = Room::here(dir);
    let spec = &policy.model.spec;
    // A card is asked itself: what the machine around it has free says nothing about it.
    let device = policy.model.device();
    let (target, of, free) = if device.is_cpu() {
        (Target::Cpu, "memory", room.memory_free)
    } else {
        (Target::Gpu, "the GPU's memory", place::free_memory(device))
    };
    let load = Load::of(config, Lengths::all(config.data.max_note_tokens), target);
    let (more, phase) = still_to_come(config, policy, &load, target);
    let needed = disk(spec, config, &load, false).total();
    let mut short = Vec::new();
    if let Some(free) = free.filter(|free| more > *free) {
        short.push(format!(
            "{phase} may take {} of {of} beside the weights, {} are free; medserl plan shows where it goes",
            gib(more),
            gib(free)
        ));
    }
    if target == Target::Gpu && free.is_none() {
        short.push("the GPU does not say how much of its memory is free: only its driver's refusal will be heeded".to_owned());
    }
    if let Some(free) = room.disk_free.filter(|free| needed > *free) {
        short.push(format!("the run may write {}, {} are free at {}", gib(needed), gib(free), room.disk_at.display()));
    }
    short
}

/// Bytes that a run takes beside what lies there already, and the phase that does.
fn still_to_come(config: &RunConfig, policy: &Policy, load: &Load, target: Target) -> (u64, &'static str) {
    let (phase, peak) = budget(&policy.model.spec, load, target, false).peak();
    let planned = weight_bytes(&policy.model.spec, config.precision, target, false);
    let weights = planned.max(policy.model.weight_bytes() as u64);
    let context = if target == Target::Gpu { GPU_CONTEXT } else { 0 };
    (peak.saturating_sub(weights + context), phase)
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
