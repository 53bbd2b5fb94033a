//! What signals mean to a run. A thread of their own turns them into a flag that the training thread reads between tokens.
//!
//! SIGINT, SIGTERM: save and end, exit code 130 or 143; SIGINT again within two seconds: end now. SIGUSR1: save and end with exit
//! code [`UNFINISHED`], for schedulers that start the job again. SIGHUP: its terminal is gone, training goes on.
//! SIGPIPE, SIGXFSZ: the write fails with an error, and nothing else happens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1, SIGXFSZ},
    flag,
    iterator::Signals as Stream,
    low_level,
};

/// Exit code of a run that was saved, is not finished and should be started again: EX_TEMPFAIL of sysexits.h.
pub const UNFINISHED: u8 = 75;
/// A second SIGINT within this time ends the process at once.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Which signal asked the run to end, if any.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    asked: Arc<AtomicI32>,
}

impl Signals {
    /// Installs the handlers and the thread that heeds them.
    pub fn install() -> Result<Signals> {
        ignore_write_signals()?;
        let signals = Signals::default();
        let asked = signals.asked.clone();
        let mut stream = Stream::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP]).context("cannot install the signal handlers")?;
        let heed = move || {
            let mut interrupts = Interrupts::default();
            for signal in stream.forever() {
                if signal == SIGINT && interrupts.is_impatient(Instant::now()) {
                    low_level::exit(128 + SIGINT);
                }
                if signal != SIGHUP {
                    // The first one says how the run ends: a scheduler that warns by SIGUSR1 sends SIGTERM later.
                    let _ = asked.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(heed).context("cannot start the signal thread")?;
        Ok(signals)
    }

    pub fn asked(&self) -> Option<i32> {
        match self.asked.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }
}

/// Lets a write into a closed pipe or beyond the file size limit fail with an error; by default they end the process.
pub fn ignore_write_signals() -> Result<()> {
    for signal in [SIGPIPE, SIGXFSZ] {
        flag::register(signal, Arc::new(AtomicBool::new(false))).context("cannot install the signal handlers")?;
    }
    Ok(())
}

/// The exit code of a run that a signal ended after a checkpoint.
pub fn exit_code(signal: i32) -> u8 {
    if signal == SIGUSR1 { UNFINISHED } else { 128u8.saturating_add(u8::try_from(signal).unwrap_or(127)) }
}

/// When the last SIGINT came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interrupts {
    last: Option<Instant>,
}

impl Interrupts {
    /// Takes in a SIGINT; whether it is the second within two seconds.
    pub fn is_impatient(&mut self, now: Instant) -> bool {
        self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) < IMPATIENCE)
    }
}
