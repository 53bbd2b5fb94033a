//! Commands of the experiment that tell its owner what happens. Each runs on a thread of its own, for a bounded time and without
//! a shell; what fails is said in the log and changes nothing. Their own output goes to `hooks.log` of the run.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};

use crate::config::HooksConfig;

const LOG: &str = "hooks.log";
const LOOK: Duration = Duration::from_millis(20);
/// A hook that cannot keep up is left out rather than piling up processes.
const MOST_AT_ONCE: usize = 8;

/// What a hook is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    Alert,
    Pause,
    Finish,
    Failure,
}

/// The hooks of a run, and those under way.
pub struct Hooks {
    config: HooksConfig,
    run: String,
    dir: PathBuf,
    under_way: Vec<JoinHandle<()>>,
    failed: Sender<String>,
    failures: Receiver<String>,
}

impl Hooks {
    pub fn new(config: &HooksConfig, run: &str, dir: &Path) -> Hooks {
        let (failed, failures) = channel();
        let (config, run, dir) = (config.clone(), run.to_owned(), dir.to_owned());
        Hooks { config, run, dir, under_way: Vec::new(), failed, failures }
    }

    /// Starts the command for this occasion, where there is one; never waits. `facts` are names and numbers, `message` goes along
    /// only where the experiment says so.
    pub fn fire(&mut self, occasion: Occasion, step: u32, facts: &[(&str, Value)], message: &str) {
        let command = self.command(occasion).to_vec();
        if command.is_empty() {
            return;
        }
        self.under_way.retain(|hook| !hook.is_finished());
        if self.under_way.len() >= MOST_AT_ONCE {
            let _ = self.failed.send(format!("{} was left out: {MOST_AT_ONCE} hooks still run", occasion.name()));
            return;
        }
        let mut line = Map::new();
        line.insert("event".into(), json!(occasion.word()));
        line.insert("run".into(), json!(self.run));
        line.insert("dir".into(), json!(self.dir));
        line.insert("step".into(), json!(step));
        line.extend(facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        if self.config.messages {
            line.insert("message".into(), json!(message));
        }
        let (line, dir) = (Value::Object(line).to_string() + "\n", self.dir.clone());
        let (limit, failed) = (Duration::from_secs(self.config.timeout_s), self.failed.clone());
        let run = move || {
            if let Err(why) = carry_out(&command, &line, &dir, limit) {
                let _ = failed.send(format!("hook {}: {why:#}", occasion.name()));
            }
        };
        match thread::Builder::new().name("hook".into()).spawn(run) {
            Ok(handle) => self.under_way.push(handle),
            Err(error) => drop(self.failed.send(format!("hook {}: {error}", occasion.name()))),
        }
    }

    /// What went wrong since the last look.
    pub fn failures(&self) -> Vec<String> {
        self.failures.try_iter().collect()
    }

    /// Waits for the hooks under way, each of which has its time.
    pub fn finish(&mut self) {
        for hook in self.under_way.drain(..) {
            // A panic of a hook's thread is no reason to fail a run.
            let _ = hook.join();
        }
    }

    fn command(&self, occasion: Occasion) -> &[String] {
        match occasion {
            Occasion::Alert => &self.config.on_alert,
            Occasion::Pause => &self.config.on_pause,
            Occasion::Finish => &self.config.on_finish,
            Occasion::Failure => &self.config.on_failure,
        }
    }
}

impl Occasion {
    fn word(self) -> &'static str {
        match self {
            Occasion::Alert => "alert",
            Occasion::Pause => "pause",
            Occasion::Finish => "finish",
            Occasion::Failure => "failure",
        }
    }

    fn name(self) -> String {
        format!("on_{}", self.word())
    }
}

/// Runs a command with `line` on its standard input, and kills it and what it started after `limit`.
fn carry_out(command: &[String], line: &str, dir: &Path, limit: Duration) -> Result<()> {
    let until = Instant::now() + limit;
    let (program, arguments) = command.split_first().context("the command is empty")?;
    let log = open_log(dir)?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    // A line is shorter than a pipe: this does not wait. A hook that does not read it is no failure.
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(line.as_bytes());
    }
    while Instant::now() < until {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{program} ended with {status}; see {LOG}"),
            None => thread::sleep(LOOK),
        }
    }
    end(&mut child)?;
    bail!("{program} took longer than {} s and was killed", limit.as_secs())
}

fn end(child: &mut Child) -> Result<()> {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait()?;
    Ok(())
}

fn open_log(dir: &Path) -> Result<File> {
    let path = dir.join(LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(&path).with_context(|| format!("cannot write {}", path.display()))
}
