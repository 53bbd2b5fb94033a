//! Where a run's news goes: the caller's channel, attached clients, the log file and, for what must last, the store.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, mpsc::Sender},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

use crate::{
    attach::{Notice, Server, protocol::Level},
    eval::Scores,
    task::{StepReport, Text, without_secrets},
};

/// What a run says to whoever started it.
#[derive(Clone, Debug)]
pub enum Output {
    /// One line for people.
    Remark {
        level: Level,
        message: String,
    },
    /// Warm-up progress.
    Warmup {
        done: usize,
        total: usize,
    },
    Step(Box<StepReport>),
    /// Held-out scores: `name` is before, warm, step or after.
    Eval {
        step: u32,
        name: String,
        scores: Box<Scores>,
    },
    /// Scores an earlier process of this run measured.
    Recalled {
        name: String,
        scores: Box<Scores>,
    },
}

/// The open ends.
pub struct Outlet {
    pub server: Arc<Server>,
    channel: Sender<Output>,
    log: File,
}

impl Outlet {
    pub fn open(server: Arc<Server>, channel: Sender<Output>, log: &Path) -> Result<Outlet> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        Ok(Outlet { server, channel, log })
    }

    /// The same ends once more, for another owner on the same thread.
    pub fn twin(&self) -> Result<Outlet> {
        let log = self.log.try_clone().context("the log cannot be opened a second time")?;
        Ok(Outlet { server: self.server.clone(), channel: self.channel.clone(), log })
    }

    /// Says one line everywhere. A full disk must not end training for the sake of a log line, so its failure is left alone.
    pub fn say(&mut self, level: Level, message: &str) {
        let text = Text::new(&without_secrets(message));
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let word = match level {
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        };
        let phase = self.server.phase().map_or_else(String::new, |phase| format!("[{}] ", phase.name()));
        let _ = writeln!(self.log, "{seconds} {word:5} {phase}{}", text.as_str().replace('\n', " "));
        self.server.send(Notice::Log { level, message: text.clone() });
        self.output(Output::Remark { level, message: text.as_str().to_owned() });
    }

    /// Tells the caller; a caller that stopped listening does not stop the run.
    pub fn output(&self, output: Output) {
        let _ = self.channel.send(output);
    }

    pub fn notice(&self, notice: Notice) {
        self.server.send(notice);
    }
}
