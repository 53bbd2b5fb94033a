//! `runs`, `status`, `pause`, `resume`, `step`, `stop`: runs from the shell.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    attach::{Client, Control, Live, RunState},
    runner::RunDir,
    store::{Event, RunSummary, Store, is_locked, list_runs, resolve_run, runs_root},
    task::Text,
};

#[derive(clap::Args)]
pub struct Args {
    /// The run's id or the start of it; the newest where left out
    pub run: Option<String>,
}

#[derive(clap::Args)]
pub struct StepArgs {
    #[command(flatten)]
    which: Args,
    /// Only to the next phase boundary
    #[arg(long)]
    phase: bool,
}

#[derive(clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    which: Args,
    /// Give up the step in progress
    #[arg(long)]
    now: bool,
}

#[derive(clap::Args)]
pub struct RunsArgs {
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    which: Args,
    #[arg(long)]
    json: bool,
}

/// What a night can bring; the rest is told by number.
const EVENTS_SHOWN: usize = 20;
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn pause(args: &Args) -> Result<()> {
    steer(args, &Control::Pause, &[RunState::Pausing, RunState::Paused], "pauses at the next phase boundary")
}

/// Lets a paused run go on; one that nobody trains is started again from its last checkpoint.
pub fn resume(args: &Args) -> Result<()> {
    let dir = find(args)?;
    if !is_locked(&dir.0) {
        super::run::restart(&dir)?;
        println!("{} is being trained again; watch it: medserl attach {}", dir.id(), dir.id());
        return Ok(());
    }
    steer(args, &Control::Resume, &[RunState::Running], "goes on")
}

pub fn step(args: &StepArgs) -> Result<()> {
    let (control, says) =
        if args.phase { (Control::StepPhase, "goes on to the next phase") } else { (Control::StepOnce, "goes on for one step") };
    steer(&args.which, &control, &[RunState::Running, RunState::Paused], says)
}

pub fn stop(args: &StopArgs) -> Result<()> {
    let control = Control::Stop { now: args.now };
    steer(&args.which, &control, &[RunState::Stopping, RunState::Finished], "is being saved and stopped")
}

/// Sends a Control and waits until the trainer shows that it was heard.
fn steer(args: &Args, control: &Control, expected: &[RunState], says: &str) -> Result<()> {
    let dir = find(args)?;
    let heard = order(&dir, control, expected)?;
    println!("{} {}", dir.id(), if heard { says } else { "is paused already" });
    Ok(())
}

/// The same for a run that is known; false where it was paused already.
pub(super) fn order(dir: &RunDir, control: &Control, expected: &[RunState]) -> Result<bool> {
    let client = Client::connect(&dir.socket()).with_context(|| format!("run {} is not being trained right now", dir.id()))?;
    let until = Instant::now() + PATIENCE;
    let mut live = snapshot(&client, until)?;
    if matches!(control, Control::Pause) && live.state == RunState::Paused {
        return Ok(false);
    }
    client.send(control)?;
    while Instant::now() < until {
        let Ok(Some(notice)) = client.next_timeout(until.saturating_duration_since(Instant::now())) else { break };
        let is_state = matches!(notice, crate::attach::Notice::State { .. } | crate::attach::Notice::Ended { .. });
        live.apply(notice);
        if is_state && expected.contains(&live.state) {
            return Ok(true);
        }
    }
    bail!("the trainer of {} did not answer within {} s; it may be inside a long forward", dir.id(), PATIENCE.as_secs())
}

pub fn snapshot(client: &Client, until: Instant) -> Result<Live> {
    let first = client.next_timeout(until.saturating_duration_since(Instant::now()))?;
    let mut live = Live::default();
    live.apply(first.context("the trainer did not answer")?);
    Ok(live)
}

pub fn find(args: &Args) -> Result<RunDir> {
    Ok(RunDir(resolve_run(&runs_root()?, args.run.as_deref())?))
}

pub fn runs(args: &RunsArgs) -> Result<()> {
    let root = runs_root()?;
    let all = list_runs(&root);
    if args.json {
        let rows: Vec<_> = all.iter().map(summary_json).collect();
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    if all.is_empty() {
        println!("no runs in {}; start one: medserl demo", root.display());
    }
    for run in &all {
        println!("{}", summary_line(run));
    }
    Ok(())
}

fn summary_line(run: &RunSummary) -> String {
    if let Some(why) = &run.broken {
        return format!("{:24} broken: {why}", run.id);
    }
    let state = if run.alive || run.state == "finished" || run.state == "stopped" {
        run.state.clone()
    } else {
        format!("{} (trainer gone)", run.state)
    };
    let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:+.3}"));
    let accuracy = run.accuracy.map_or("-".into(), |v| format!("{:.0}%", 100.0 * v));
    format!("{:24} {state:12} step {}/{}  reward {}  accuracy {accuracy}", run.id, run.step, run.steps_total, number(run.reward))
}

fn summary_json(run: &RunSummary) -> serde_json::Value {
    json!({
        "id": run.id, "dir": run.dir, "state": run.state, "alive": run.alive, "step": run.step, "steps_total": run.steps_total,
        "reward": run.reward, "accuracy": run.accuracy, "started": run.started, "updated": run.updated, "broken": run.broken,
    })
}

pub fn status(args: &StatusArgs) -> Result<()> {
    let dir = find(&args.which)?;
    let store = Store::open_read_only(&dir.0)?;
    let status = store.state()?;
    let (evals, events, last) = (store.evals()?, store.events()?, store.last_step()?.unwrap_or(0));
    let meta = store.run()?.with_context(|| format!("{} holds no run", dir.0.display()))?;
    if args.json {
        let rows: Vec<_> = evals.iter().map(|e| json!({ "step": e.step, "name": e.name, "scores": e.value })).collect();
        let value = json!({
            "id": meta.id, "state": status.state, "message": status.message, "alive": is_locked(&dir.0), "step": last,
            "steps_total": meta.steps_total, "evals": rows, "events": events.iter().map(event_json).collect::<Vec<_>>(),
        });
        println!("{value}");
        return Ok(());
    }
    let alive = if is_locked(&dir.0) { "being trained" } else { "not being trained" };
    println!("{}: {} ({alive}), step {last} of {}", meta.id, status.state, meta.steps_total);
    if !status.message.is_empty() {
        println!("{}", status.message);
    }
    if !is_locked(&dir.0) && !["finished", "stopped", "failed"].contains(&status.state.as_str()) {
        println!("its trainer is gone; medserl resume {} goes on from the last checkpoint", meta.id);
    }
    for eval in &evals {
        let rate = |key: &str| {
            eval.value.get(key).and_then(serde_json::Value::as_f64).map_or("-".into(), |v| format!("{:.1}%", 100.0 * v))
        };
        println!(
            "held-out, {} (step {}): accuracy {}, false positives {}, pairs right {}, malformed {}",
            eval.name,
            eval.step,
            rate("flag_accuracy"),
            rate("false_positive_rate"),
            rate("pair_accuracy"),
            rate("malformed_rate")
        );
    }
    let hidden = events.len().saturating_sub(EVENTS_SHOWN);
    if hidden > 0 {
        println!("{hidden} earlier events: --json lists them");
    }
    for event in events.iter().skip(hidden) {
        println!("step {}, {}: {}", event.step, event.kind, Text::new(&event.message));
    }
    println!("{}", dir.0.display());
    Ok(())
}

fn event_json(event: &Event) -> serde_json::Value {
    json!({ "step": event.step, "unix_s": event.unix_s, "kind": event.kind, "message": event.message })
}
