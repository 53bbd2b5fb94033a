//! `set`, `break`, `abort`: what steers a run beside pausing it, from the shell.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::control::{self, Args, PATIENCE};
use crate::{
    attach::{
        Client, Control, Live, Notice,
        protocol::{Level, Steering},
    },
    runner::RunDir,
    task::{Breakpoint, Knob},
};

#[derive(clap::Args)]
pub struct SetArgs {
    /// The run's id or the start of it; the newest where left out
    #[arg(long, short)]
    run: Option<String>,
    /// name=value, such as temperature=0.8
    changes: Vec<Knob>,
}

#[derive(clap::Args)]
pub struct BreakArgs {
    /// The run's id or the start of it; the newest where left out
    #[arg(long, short)]
    run: Option<String>,
    /// Such as "kl > 0.05", "fp > 0.3 for 3", "sd.fp > 0.4", "step = 50", nan, constant
    conditions: Vec<Breakpoint>,
    /// Take these conditions away instead
    #[arg(long)]
    remove: bool,
}

pub fn set(args: &SetArgs) -> Result<()> {
    let mut told = Told::to(&args.run)?;
    for knob in &args.changes {
        told.ask(&Control::Set { knob: *knob })?;
    }
    let steering = &told.live.steering;
    let (Some(now), Some(experiment)) = (steering.knobs, steering.experiment) else { bail!("the trainer is still starting") };
    for (knob, first) in now.all().iter().zip(experiment.all()) {
        let coming: Vec<String> = steering
            .coming
            .iter()
            .filter(|(_, change)| change.name() == knob.name())
            .map(|(step, change)| format!("; {change} from step {step}"))
            .collect();
        let was = if *knob == first { String::new() } else { format!("; the experiment says {first}") };
        println!("{knob}{}{was}", coming.concat());
    }
    Ok(())
}

pub fn set_breakpoints(args: &BreakArgs) -> Result<()> {
    let mut told = Told::to(&args.run)?;
    for condition in args.conditions.iter().cloned() {
        told.ask(&if args.remove { Control::Unbreak { condition } } else { Control::Break { condition } })?;
    }
    for breakpoint in &told.live.steering.breakpoints {
        println!("pauses where {breakpoint}");
    }
    if told.live.steering.breakpoints.is_empty() {
        println!("no breakpoint; medserl break \"kl > 0.05\" sets one");
    }
    Ok(())
}

pub fn abort(args: &Args) -> Result<()> {
    let dir = control::find(args)?;
    let mut told = Told::connect(&dir)?;
    let said = told.ask(&Control::Abort)?;
    println!("{}: {said}; it pauses before that step", dir.id());
    Ok(())
}

/// A conversation with a trainer.
struct Told {
    client: Client,
    live: Live,
}

impl Told {
    fn to(run: &Option<String>) -> Result<Told> {
        Told::connect(&control::find(&Args { run: run.clone() })?)
    }

    fn connect(dir: &RunDir) -> Result<Told> {
        let client =
            Client::connect(&dir.socket()).with_context(|| format!("run {} is not being trained right now", dir.id()))?;
        let live = control::snapshot(&client, Instant::now() + PATIENCE)?;
        Ok(Told { client, live })
    }

    /// Asks, and waits for the answer: the line about it, or the refusal as an error.
    fn ask(&mut self, control: &Control) -> Result<String> {
        self.client.send(control)?;
        let until = Instant::now() + PATIENCE;
        let mut said = None;
        while let Ok(Some(notice)) = self.client.next_timeout(until.saturating_duration_since(Instant::now())) {
            if let Notice::Log { level, message } = &notice
                && is_about(control, message.as_str())
            {
                if *level != Level::Info {
                    bail!("{message}");
                }
                said = Some(message.to_string());
            }
            self.live.apply(notice);
            if said.is_some() && is_shown(control, &self.live.steering) {
                return Ok(said.unwrap_or_default());
            }
        }
        bail!("the trainer did not answer within {} s; it may be inside a long forward", PATIENCE.as_secs())
    }
}

/// Whether a line of the log answers this; others go on being written meanwhile.
fn is_about(control: &Control, line: &str) -> bool {
    match control {
        Control::Set { knob } => line.contains(&knob.to_string()),
        Control::Break { condition } | Control::Unbreak { condition } => line.contains(&condition.to_string()),
        _ => line.contains("given up") || line.contains("to give up"),
    }
}

/// Whether what clients are shown holds the change.
fn is_shown(control: &Control, steering: &Steering) -> bool {
    match control {
        Control::Set { knob } => {
            let now = steering.knobs.is_some_and(|knobs| knobs.all().contains(knob));
            now || steering.coming.iter().any(|(_, change)| change == knob)
        }
        Control::Break { condition } => steering.breakpoints.contains(condition),
        Control::Unbreak { condition } => !steering.breakpoints.contains(condition),
        _ => true,
    }
}
