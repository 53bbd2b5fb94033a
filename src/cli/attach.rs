//! `medserl attach`: a screen on a run.

mod line;

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::channel,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use line::{Line, name};

use super::{control, label, look::Look, run};
use crate::{
    attach::{Control, Notice, RunState},
    runner::RunDir,
    store::{delete_run, is_locked, list_runs, resolve_run, runs_root},
    task::Text,
    tui::{
        self, Elsewhere, Event, Leave, Options, Screen,
        runs::{Choice, Order},
        terminal::{deferred_panics, surviving},
    },
};

#[derive(clap::Args)]
pub struct Args {
    /// The run's id or the start of it, or the path of a run directory; the newest run where left out
    run: Option<String>,
    /// Look, but do not steer
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    look: Look,
}

pub fn run(args: &Args) -> Result<()> {
    let dir = RunDir(resolve_run(&runs_root()?, args.run.as_deref())?);
    watch(&dir, &Options { read_only: args.read_only, ..args.look.options()? })
}

/// Shows a run until the reader leaves for good, then says how it stands.
pub fn watch(dir: &RunDir, options: &Options) -> Result<()> {
    go(Place::Run(dir.clone()), options.clone())
}

/// The Runs screen, and the runs that are chosen there.
pub fn choose(options: &Options) -> Result<()> {
    ensure!(std::io::stdout().is_terminal(), "there is no terminal to draw on; see `medserl runs` or --help");
    go(Place::Runs(None), options.clone())
}

/// Where the reader is.
enum Place {
    Run(RunDir),
    /// And the run to go back to.
    Label(RunDir),
    Runs(Option<RunDir>),
}

/// From place to place, until the reader leaves. `options` say on which screen of a run the next place begins, and with which message.
fn go(mut place: Place, mut options: Options) -> Result<()> {
    loop {
        let next = match place {
            Place::Run(dir) => visit_run(dir, &mut options)?,
            Place::Label(dir) => {
                let judged = label::judge_run(&dir.0, &options);
                // What keeps samples from being judged is no reason to lose the screen one came from.
                options.say = judged.as_ref().err().map(|error| format!("{error:#}"));
                if judged.is_ok_and(|left| left.hung_up) { None } else { Some(Place::Run(dir)) }
            }
            Place::Runs(back) => visit_runs(back, &mut options)?,
        };
        match next {
            Some(next) => place = next,
            None => return Ok(()),
        }
    }
}

fn visit_run(dir: RunDir, options: &mut Options) -> Result<Option<Place>> {
    let shown = surviving(&dir.0, || show(&dir, options));
    // Told by other threads while the screen was taken.
    for said in deferred_panics() {
        let _ = writeln!(std::io::stderr(), "{}", Text::new(&said));
    }
    (options.say, options.screen) = (None, Screen::Live);
    match shown? {
        Leave::Visit(elsewhere, from) => {
            options.screen = from;
            Ok(Some(match elsewhere {
                Elsewhere::Label => Place::Label(dir),
                Elsewhere::Runs => Place::Runs(Some(dir)),
            }))
        }
        Leave::Restart => {
            if !is_locked(&dir.0) {
                run::restart(&dir)?;
            }
            Ok(Some(Place::Run(dir)))
        }
        leave => {
            // The terminal may be what is gone.
            let _ = writeln!(std::io::stdout(), "{}", farewell(leave, &dir));
            Ok(None)
        }
    }
}

fn show(dir: &RunDir, options: &Options) -> Result<Leave> {
    let me = name();
    let options = Options { run_dir: Some(dir.0.clone()), me: Some(me.clone()), ..options.clone() };
    let (sender, events) = channel();
    if is_locked(&dir.0) {
        let (controls, orders) = channel();
        let line = Line { dir: dir.clone(), me, steers: !options.read_only };
        let client = line.connect().with_context(|| format!("the trainer of {} does not answer", dir.id()))?;
        let notices = sender.clone();
        thread::Builder::new().name("notices".into()).spawn(move || line.carry(client, &notices, orders))?;
        // Where the trainer is gone, Closed comes on the other channel.
        tui::run(&options, (&sender, &events), &mut |control| drop(controls.send(control)))
    } else {
        let live = Box::new(tui::replay::picture(&dir.0)?);
        sender.send(Event::Notice(Box::new(Notice::Snapshot { live })))?;
        tui::run(&options, (&sender, &events), &mut |_| {})
    }
}

fn visit_runs(back: Option<RunDir>, options: &mut Options) -> Result<Option<Place>> {
    let root = runs_root()?;
    let mut list = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        (list_runs(&root), now)
    };
    let mut obey = |order| obey(order).unwrap_or_else(|error| format!("{error:#}"));
    let choice = tui::choose_run(options, back.as_ref().map(RunDir::id), &mut list, &mut obey)?;
    options.say = None;
    Ok(match choice {
        Choice::Open(dir, screen) => {
            options.screen = screen;
            Some(Place::Run(RunDir(dir)))
        }
        Choice::Label(dir) => Some(Place::Label(RunDir(dir))),
        Choice::Back => back.map(Place::Run),
        Choice::Quit => None,
    })
}

/// Does to a run what was decided on the Runs screen.
fn obey(order: Order) -> Result<String> {
    match order {
        Order::Resume(dir) => {
            let dir = RunDir(dir);
            run::restart(&dir)?;
            Ok(format!("{} goes on; Enter attaches", dir.id()))
        }
        Order::Stop { dir, now } => {
            let dir = RunDir(dir);
            control::order(&dir, &Control::Stop { now }, &[RunState::Stopping, RunState::Finished])?;
            Ok(format!("{} is being {}", dir.id(), if now { "stopped" } else { "saved and stopped" }))
        }
        Order::Delete(dir) => {
            delete_run(&dir)?;
            Ok(format!("{} is gone", RunDir(dir).id()))
        }
    }
}

fn farewell(leave: Leave, dir: &RunDir) -> String {
    let id = dir.id();
    match leave {
        Leave::Visit(..) | Leave::Restart => String::new(),
        Leave::Detached if !is_locked(&dir.0) => format!("{id} is not being trained; medserl resume {id} goes on with it"),
        Leave::Detached => format!("detached; {id} goes on. Watch it again: medserl attach {id}"),
        Leave::Stopped => format!("{id} is saved and stopped; medserl resume {id} goes on with it"),
        Leave::RunEnded => {
            format!("{id} has ended. What it did: medserl status {id}. Where it stopped short: medserl resume {id}")
        }
        Leave::ConnectionLost => {
            format!("the trainer of {id} does not answer; see its trainer.log. If it is gone: medserl resume {id}")
        }
    }
}
