//! `medserl run` and `medserl demo`: start or continue a run, headless here or detached and attached to.

use std::{
    fs::{self, File},
    io::IsTerminal,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{attach, headless, look::Look};
use crate::{
    attach::Client,
    config::{Place, RunConfig},
    model::place,
    runner::{Options, RunDir, deadline::parse_duration, load_absolute},
    store::{is_locked, runs_root},
    task::Breakpoint,
    train::{explain, faults::Faults},
};

const DEMO: &str = include_str!("../../experiments/demo.toml");

#[derive(clap::Args)]
pub struct Common {
    /// Train in this process without a screen
    #[arg(long, group = "plain")]
    headless: bool,
    /// Print every value in which the algorithm presets differ and what this experiment makes of it; trains nothing
    #[arg(long, group = "plain")]
    explain: bool,
    /// Headless: print one JSON object a line; with --explain one object
    #[arg(long, requires = "plain")]
    json: bool,
    /// Policy updates in all
    #[arg(long)]
    steps: Option<u32>,
    #[arg(long)]
    seed: Option<u64>,
    /// Where the model computes: cpu, cuda or cuda:N
    #[arg(long)]
    device: Option<Place>,
    /// Override any key of the experiment, such as --set algo.learning_rate=1e-4
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Pause where this comes true, such as --break "kl > 0.05" --break nan
    #[arg(long = "break", value_name = "CONDITION")]
    breakpoints: Vec<Breakpoint>,
    /// The run directory; by default the experiment's name and seed under the data folder
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Save and end within this time of the start, such as 7h50m; exit code 75, and the same command continues
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Start over: an earlier run of this name and seed is put aside, not deleted
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    look: Look,
    /// Make faults on purpose, such as nan@3-5x3 or oom@2x1, to see that the run survives them
    #[arg(long, hide = true, value_name = "PLAN", requires = "headless", value_parser = Faults::parse)]
    inject_faults: Option<Faults>,
    /// Set by the program itself when it starts a trainer for a screen
    #[arg(long, hide = true, requires = "headless")]
    own_session: bool,
}

#[derive(clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
pub struct RunArgs {
    /// The experiment, such as experiments/nano-medec.toml
    experiment: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let mut config = RunConfig::parse(Path::new("the demo experiment"), DEMO, &args.common.overrides())?;
    config.breakpoints.extend(args.common.breakpoints.clone());
    go(&args.common, config)
}

pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut config = RunConfig::load(&args.experiment, &args.common.overrides())?;
    load_absolute(&mut config, &std::env::current_dir()?);
    config.breakpoints.extend(args.common.breakpoints.clone());
    go(&args.common, config)
}

impl Common {
    fn overrides(&self) -> Vec<String> {
        let mut all = self.set.clone();
        all.extend(self.steps.map(|n| format!("steps={n}")));
        all.extend(self.seed.map(|n| format!("seed={n}")));
        all.extend(self.device.map(|place| format!("device={place}")));
        all
    }
}

fn go(args: &Common, config: RunConfig) -> Result<ExitCode> {
    if args.explain {
        return print_explanation(&config, args.json);
    }
    // Before a run directory is touched or a trainer started.
    place::open(config.device)?;
    let dir = match &args.run_dir {
        Some(dir) => RunDir(std::path::absolute(dir)?),
        None => RunDir::of(&runs_root()?, &config)?,
    };
    if args.fresh {
        put_aside(&dir.0)?;
    }
    if args.headless {
        if args.own_session {
            rustix::process::setsid().context("cannot start a session of its own")?;
        }
        let faults = args.inject_faults.clone().unwrap_or_default();
        return headless::run(Options { config, dir: dir.0, deadline: args.deadline, faults }, args.json);
    }
    if !std::io::stdout().is_terminal() {
        bail!("there is no terminal to draw on; use --headless");
    }
    if !is_locked(&dir.0) {
        start_trainer(&config, &dir, args.deadline)?;
    }
    attach::watch(&dir, &args.look.options()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the trainer of a run again, with the experiment it was begun with; it goes on from its last checkpoint.
pub fn restart(dir: &RunDir) -> Result<()> {
    let config = RunConfig::load(&dir.experiment(), &[])?;
    start_trainer(&config, &RunDir(std::path::absolute(&dir.0)?), None)
}

fn print_explanation(config: &RunConfig, as_json: bool) -> Result<ExitCode> {
    if as_json {
        let presets = explain::PRESETS.map(|(_, name)| name);
        println!("{}", json!({ "presets": presets, "knobs": explain::knobs(config)?, "elsewhere": explain::ELSEWHERE }));
    } else {
        explain::lines(config)?.iter().for_each(|line| println!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Renames an earlier run to `<name>.<n>`.
fn put_aside(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    if is_locked(dir) {
        bail!("{} is being trained right now; stop it first", dir.display());
    }
    let name = dir.file_name().and_then(|n| n.to_str()).context("the run directory has no name")?;
    let aside = (1..).map(|n| dir.with_file_name(format!("{name}.{n}"))).find(|p| !p.exists()).context("no free name")?;
    fs::rename(dir, &aside).with_context(|| format!("cannot rename {} to {}", dir.display(), aside.display()))
}

/// Starts this program again as a headless trainer in a session of its own, and waits until it can be attached to.
fn start_trainer(config: &RunConfig, dir: &RunDir, deadline: Option<Duration>) -> Result<()> {
    dir.create()?;
    let experiment = dir.0.join("start.toml");
    fs::write(&experiment, config.to_toml()?).with_context(|| format!("cannot write {}", experiment.display()))?;
    let log = File::options().create(true).append(true).open(dir.0.join("trainer.out"))?;
    let mut trainer = Command::new(std::env::current_exe()?)
        .arg("run")
        .arg(&experiment)
        .args(["--headless", "--own-session", "--run-dir"])
        .arg(&dir.0)
        .args(deadline.map(|time| format!("--deadline={}s", time.as_secs())))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the trainer")?;
    let patience = Instant::now() + Duration::from_secs(60);
    while Client::connect(&dir.socket()).is_err() {
        if let Some(status) = trainer.try_wait()? {
            bail!("the trainer ended before it could be watched ({}):\n{}", how(status), tail(&dir.0.join("trainer.out")));
        }
        if Instant::now() > patience {
            bail!("the trainer does not answer; see {}", dir.log().display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Dropping the handle leaves the trainer running: it outlives this process.
    Ok(())
}

fn how(status: std::process::ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
