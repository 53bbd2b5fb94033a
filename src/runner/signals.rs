//! Signals become flags that the training thread reads between tokens. The second SIGINT or SIGTERM ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Which signal asked the run to end, if any.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    asked: Arc<AtomicUsize>,
}

impl Signals {
    /// Installs the handlers. SIGHUP is noted and ignored: a closed terminal does not end training.
    pub fn install() -> Result<Signals> {
        let signals = Signals::default();
        for signal in [SIGINT, SIGTERM] {
            let again = Arc::new(AtomicBool::new(false));
            // In this order the first signal only sets the flag, and the second, finding it set, ends the process.
            flag::register_conditional_shutdown(signal, 128 + signal, again.clone())
                .context("cannot install a signal handler")?;
            flag::register(signal, again).context("cannot install a signal handler")?;
            flag::register_usize(signal, signals.asked.clone(), signal as usize).context("cannot install a signal handler")?;
        }
        flag::register(SIGHUP, Arc::new(AtomicBool::new(false))).context("cannot install a signal handler")?;
        Ok(signals)
    }

    pub fn asked(&self) -> Option<i32> {
        match self.asked.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}
