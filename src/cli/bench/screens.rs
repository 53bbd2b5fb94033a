//! `medserl bench --screens`: what drawing costs over a large run. The run is made here and measured in a process of its own,
//! so that its memory is a client's.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::tui::measure;

const ROLLOUTS: u32 = 100_000;

/// Makes the run, then measures.
pub(super) fn run(json: bool) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("medserl-screens-{}", std::process::id()));
    let result = measure::fill(&dir, ROLLOUTS).and_then(|()| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--screens-of"]).arg(&dir).args(json.then_some("--json"));
        let status = command.status().context("cannot start the measured process")?;
        ensure!(status.success(), "the measured process failed");
        Ok(())
    });
    // Made by this call, and of no use after it.
    let _ = std::fs::remove_dir_all(&dir);
    result
}

pub(super) fn of(dir: &Path, json: bool) -> Result<()> {
    let measured = measure::measure(dir)?;
    if json {
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    println!("screens at 200x60 over {} rollouts", measured.n_rollouts);
    println!("{:48} {:>8} {:>8} {:>10} {:>8}", "", "draw p50", "draw p99", "event p99", "bytes");
    for scene in &measured.scenes {
        println!(
            "{:48} {:>5.2} ms {:>5.2} ms {:>7.2} ms {:>8}",
            scene.name, scene.draw_p50_ms, scene.draw_p99_ms, scene.event_p99_ms, scene.bytes
        );
    }
    println!("from nothing to the first whole frame: {:.0} ms", measured.first_frame_ms);
    if let Some(bytes) = measured.resident {
        println!("resident memory with the whole list read: {} MiB", bytes >> 20);
    }
    Ok(())
}
