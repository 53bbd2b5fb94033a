//! What the machine is doing, about once a second: NVML where there is a GPU, /proc for the rest. What cannot be read is `None`.

use std::{
    fs,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use nvml_wrapper::{
    Nvml,
    enum_wrappers::device::{Clock, TemperatureSensor},
    enums::device::UsedGpuMemory,
};

use crate::attach::{Machine, Notice, Server, protocol::Gpu};

const EVERY: Duration = Duration::from_secs(1);

/// Sends a Machine notice every second until dropped: this machine, and the card at `card` on the PCI bus where the trainer has one.
/// No machine with a card has run this yet; of a card that is divided (MIG), NVML tells of the whole.
pub struct Watch {
    /// Dropping it ends the thread.
    _stop: Sender<()>,
}

impl Watch {
    pub fn start(server: Arc<Server>, card: Option<String>) -> anyhow::Result<Watch> {
        let (stop, stopped) = channel();
        thread::Builder::new().name("machine".into()).spawn(move || {
            let nvml = card.as_ref().and_then(|_| Nvml::init().ok());
            let mut cpu = CpuTimes::read();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let now = CpuTimes::read();
                let host = read(cpu.zip(now).and_then(|(before, now)| now.used_since(before)));
                cpu = now;
                let gpu = card.as_deref().map(|card| read_gpu(nvml.as_ref(), card).unwrap_or_else(|| unknown_gpu(card)));
                server.send(Notice::Machine { machine: Box::new(Machine { gpu, ..host }) });
            }
        })?;
        Ok(Watch { _stop: stop })
    }
}

/// All but the card.
fn read(cpu_used: Option<f32>) -> Machine {
    let meminfo = fs::read_to_string("/proc/meminfo").ok();
    let bytes = |key: &str| kibibytes(meminfo.as_deref()?, key).map(|k| k * 1024);
    let memory_total = bytes("MemTotal:");
    let status = fs::read_to_string("/proc/self/status").ok();
    Machine {
        cpu_name: cpu_name().unwrap_or_else(|| "CPU".into()),
        n_cpus: thread::available_parallelism().map_or(1, usize::from),
        cpu_used,
        memory_total,
        memory_used: memory_total.zip(bytes("MemAvailable:")).map(|(total, free)| total.saturating_sub(free)),
        trainer_memory: status.as_deref().and_then(|s| kibibytes(s, "VmRSS:")).map(|k| k * 1024),
        gpu: None,
    }
}

/// A card that computes and of which nothing else is known.
fn unknown_gpu(card: &str) -> Gpu {
    Gpu { name: format!("GPU at {card}, unknown to NVML"), ..Gpu::default() }
}

fn read_gpu(nvml: Option<&Nvml>, card: &str) -> Option<Gpu> {
    let device = nvml?.device_by_pci_bus_id(card).ok()?;
    let memory = device.memory_info().ok();
    let own = std::process::id();
    let processes = device.running_compute_processes().ok();
    let others = processes.as_ref().map(|all| all.iter().filter(|p| p.pid != own).count());
    let ours = processes.as_ref().and_then(|all| all.iter().find(|p| p.pid == own)).and_then(|p| match p.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    });
    Some(Gpu {
        name: device.name().ok()?,
        used: device.utilization_rates().ok().map(|u| u.gpu as f32 / 100.0),
        memory_total: memory.as_ref().map(|m| m.total),
        memory_used: memory.as_ref().map(|m| m.used),
        watts: device.power_usage().ok().map(|milliwatts| milliwatts as f32 / 1000.0),
        celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        megahertz: device.clock_info(Clock::SM).ok(),
        memory_ours: ours,
        n_other_processes: others,
    })
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    text.lines().find(|l| l.starts_with(key))?.split_whitespace().nth(1)?.parse().ok()
}

fn cpu_name() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Jiffies since boot over all cores.
#[derive(Clone, Copy)]
struct CpuTimes {
    busy: u64,
    all: u64,
}

impl CpuTimes {
    fn read() -> Option<CpuTimes> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let times: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        let all = times.iter().take(8).sum();
        // user nice system idle iowait irq softirq steal
        let idle = times.get(3)? + times.get(4)?;
        Some(CpuTimes { busy: u64::saturating_sub(all, idle), all })
    }

    fn used_since(self, before: CpuTimes) -> Option<f32> {
        let all = self.all.checked_sub(before.all).filter(|n| *n > 0)?;
        Some(self.busy.saturating_sub(before.busy) as f32 / all as f32)
    }
}
