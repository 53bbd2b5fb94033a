//! `medserl attach`: a screen on a run.

use std::{
    io::IsTerminal,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use super::label;
use crate::{
    attach::{Client, Control, Notice},
    runner::RunDir,
    store::{is_locked, list_runs, resolve_run, runs_root},
    tui::{self, Elsewhere, Event, Leave, Options, runs::Choice},
};

#[derive(clap::Args)]
pub struct Args {
    /// The run's id or the start of it; the newest where left out
    run: Option<String>,
    /// Look, but do not steer
    #[arg(long)]
    read_only: bool,
}

/// How long a key press may wait before it is carried to the trainer.
const LOOK: Duration = Duration::from_millis(50);

pub fn run(args: &Args) -> Result<()> {
    let dir = resolve_run(&runs_root()?, args.run.as_deref())?;
    watch(&RunDir(dir), args.read_only)
}

/// Shows a run until the reader leaves, then says how it stands.
pub fn watch(dir: &RunDir, read_only: bool) -> Result<()> {
    if !is_locked(&dir.0) {
        return look_back(dir, read_only);
    }
    let client = Client::connect(&dir.socket())
        .with_context(|| format!("run {} is not being trained right now; the command that started it continues it", dir.id()))?;
    let (sender, events) = channel();
    let (controls, orders) = channel();
    let notices = sender.clone();
    std::thread::Builder::new().name("notices".into()).spawn(move || forward(&client, &notices, &orders))?;
    let options = Options { theme: None, read_only, run_dir: Some(dir.0.clone()) };
    // Where the trainer is gone, Closed comes on the other channel.
    let mut steer = |control| drop(controls.send(control));
    let leave = tui::run(&options, (&sender, &events), &mut steer)?;
    after(leave, dir, read_only)
}

/// Goes where the reader wants to go next, or says farewell.
fn after(leave: Leave, dir: &RunDir, read_only: bool) -> Result<()> {
    match leave {
        Leave::Visit(Elsewhere::Label) => {
            label::judge_run(&dir.0)?;
            watch(dir, read_only)
        }
        Leave::Visit(Elsewhere::Runs) => choose(read_only),
        leave => {
            println!("{}", farewell(leave, &dir.id()));
            Ok(())
        }
    }
}

/// The Runs screen, and the run that is chosen there.
pub fn choose(read_only: bool) -> Result<()> {
    ensure!(std::io::stdout().is_terminal(), "there is no terminal to draw on; see `medserl runs` or --help");
    let root = runs_root()?;
    let mut list = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        (list_runs(&root), now)
    };
    match tui::choose_run(&Options { read_only, ..Options::default() }, &mut list)? {
        Choice::Open(dir) => watch(&RunDir(dir), read_only),
        Choice::Quit => Ok(()),
    }
}

/// Shows a run that nobody trains, from its store alone.
fn look_back(dir: &RunDir, read_only: bool) -> Result<()> {
    let (sender, events) = channel();
    let live = Box::new(tui::replay::picture(&dir.0)?);
    sender.send(Event::Notice(Box::new(Notice::Snapshot { live })))?;
    let options = Options { theme: None, read_only, run_dir: Some(dir.0.clone()) };
    match tui::run(&options, (&sender, &events), &mut |_| {})? {
        leave @ Leave::Visit(_) => after(leave, dir, read_only),
        _ => {
            println!("{} is not being trained; the command that started it continues it", dir.id());
            Ok(())
        }
    }
}

/// Carries notices to the screen and controls to the trainer until either is gone.
fn forward(client: &Client, screen: &Sender<Event>, orders: &Receiver<Control>) {
    loop {
        let event = match client.next_timeout(LOOK) {
            Ok(Some(notice)) => Some(Event::Notice(Box::new(notice))),
            Ok(None) => None,
            Err(_) => Some(Event::Closed),
        };
        let closed = matches!(event, Some(Event::Closed));
        if event.is_some_and(|event| screen.send(event).is_err()) || closed {
            return;
        }
        while let Ok(control) = orders.try_recv() {
            // A trainer that is gone shows as Closed in the next turn.
            let _ = client.send(&control);
        }
    }
}

fn farewell(leave: Leave, id: &str) -> String {
    match leave {
        Leave::Visit(_) => String::new(),
        Leave::Detached => format!("detached; {id} goes on. Watch it again: medserl attach {id}"),
        Leave::Stopped => format!("{id} is saved and stopped; the same command continues it"),
        Leave::RunEnded => format!("{id} has ended. What it did: medserl status {id}"),
        Leave::ConnectionLost => {
            format!("the trainer of {id} is gone; see its trainer.log, and start it again with the same command")
        }
    }
}
