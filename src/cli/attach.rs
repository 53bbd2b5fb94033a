//! `medserl attach`: a screen on a run.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use super::{control, label, look::Look, run};
use crate::{
    attach::{Client, Control, Notice, RunState, client},
    runner::RunDir,
    store::{delete_run, is_locked, list_runs, resolve_run, runs_root},
    task::Text,
    train::checkpoint,
    tui::{
        self, Elsewhere, Event, Leave, Options,
        runs::{Choice, Order},
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

/// How long a trainer that closed its socket may take to end.
const ENDING: Duration = Duration::from_millis(100);
const ENDING_LOOKS: u32 = 30;
/// Longest time between two tries to reach a trainer that lives and does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Waits of 1, 2, 4, 8, 16, 30, 30 … seconds: about ten minutes.
const TRIES: u32 = 24;

pub fn run(args: &Args) -> Result<()> {
    let dir = RunDir(resolve_run(&runs_root()?, args.run.as_deref())?);
    watch(&dir, &Options { read_only: args.read_only, ..args.look.options()? })
}

/// Shows a run until the reader leaves, then says how it stands.
pub fn watch(dir: &RunDir, options: &Options) -> Result<()> {
    let me = name();
    let options = Options { run_dir: Some(dir.0.clone()), me: Some(me.clone()), ..options.clone() };
    let (sender, events) = channel();
    let leave = if is_locked(&dir.0) {
        let (controls, orders) = channel();
        let line = Line { dir: dir.clone(), me, steers: !options.read_only };
        let client = line.connect().with_context(|| format!("the trainer of {} does not answer", dir.id()))?;
        let notices = sender.clone();
        thread::Builder::new().name("notices".into()).spawn(move || line.carry(client, &notices, orders))?;
        // Where the trainer is gone, Closed comes on the other channel.
        tui::run(&options, (&sender, &events), &mut |control| drop(controls.send(control)))?
    } else {
        let live = Box::new(tui::replay::picture(&dir.0)?);
        sender.send(Event::Notice(Box::new(Notice::Snapshot { live })))?;
        tui::run(&options, (&sender, &events), &mut |_| {})?
    };
    after(leave, dir, &options)
}

/// Goes where the reader wants to go next, or says farewell.
fn after(leave: Leave, dir: &RunDir, options: &Options) -> Result<()> {
    match leave {
        Leave::Visit(Elsewhere::Label) => {
            label::judge_run(&dir.0, options)?;
            watch(dir, options)
        }
        Leave::Visit(Elsewhere::Runs) => choose(options),
        Leave::Restart => {
            if !is_locked(&dir.0) {
                run::restart(dir)?;
            }
            watch(dir, options)
        }
        leave => {
            println!("{}", farewell(leave, dir));
            Ok(())
        }
    }
}

/// The Runs screen, and the run that is chosen there.
pub fn choose(options: &Options) -> Result<()> {
    ensure!(std::io::stdout().is_terminal(), "there is no terminal to draw on; see `medserl runs` or --help");
    let root = runs_root()?;
    let mut list = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        (list_runs(&root), now)
    };
    let mut obey = |order| obey(order).unwrap_or_else(|error| format!("{error:#}"));
    match tui::choose_run(options, &mut list, &mut obey)? {
        Choice::Open(dir) => watch(&RunDir(dir), options),
        Choice::Quit => Ok(()),
    }
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

/// What other clients are shown of this one: who sits there, which process it is, and which connection of that.
fn name() -> Text {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    let nth = match CONNECTIONS.fetch_add(1, Ordering::Relaxed) {
        0 => String::new(),
        before => format!(".{}", before + 1),
    };
    let user = ["USER", "LOGNAME"].iter().find_map(|key| std::env::var(key).ok()).unwrap_or_else(|| "someone".to_owned());
    let user: String = user.chars().take(30).collect();
    Text::new(&format!("{user} (process {}{nth})", std::process::id()))
}

/// The line between a screen and a trainer, over as many connections as it takes.
struct Line {
    dir: RunDir,
    me: Text,
    steers: bool,
}

impl Line {
    fn connect(&self) -> Result<Client> {
        let client = Client::connect(&self.dir.socket())?;
        client.send(&Control::Attach { who: self.me.clone(), steer: self.steers })?;
        Ok(client)
    }

    /// Carries notices to the screen and controls to the trainer until either is gone for good.
    fn carry(&self, mut client: Client, screen: &Sender<Event>, orders: Receiver<Control>) {
        let outgoing: Arc<Mutex<Option<client::Sender>>> = Arc::new(Mutex::new(client.sender().ok()));
        let left = Arc::new(AtomicBool::new(false));
        let (sending, leaving) = (Arc::clone(&outgoing), Arc::clone(&left));
        // Ends with the screen, which holds the other end.
        let sent = thread::Builder::new().name("controls".into()).spawn(move || {
            for control in orders {
                if let Some(sender) = &*sending.lock().unwrap_or_else(PoisonError::into_inner) {
                    // A trainer that is gone shows as Closed.
                    let _ = sender.send(&control);
                }
            }
            // The reader went to another screen or left: the lead must not stay with a connection that nobody uses.
            leaving.store(true, Ordering::SeqCst);
            if let Some(sender) = &*sending.lock().unwrap_or_else(PoisonError::into_inner) {
                sender.hang_up();
            }
        });
        if sent.is_err() {
            return drop(screen.send(Event::Closed));
        }
        loop {
            let Some(ended) = pass_on(&client, screen) else { return };
            if left.load(Ordering::SeqCst) {
                return;
            }
            if ended || screen.send(Event::Closed).is_err() {
                return drop(screen.send(Event::Closed));
            }
            match self.come_back(screen, &left) {
                Some(again) => client = again,
                None => return,
            }
            *outgoing.lock().unwrap_or_else(PoisonError::into_inner) = client.sender().ok();
            // Gone meanwhile: nobody would hang up on this one.
            if left.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// After the socket closed without a word: a dead trainer is told as a failure, a living one is tried again.
    fn come_back(&self, screen: &Sender<Event>, left: &AtomicBool) -> Option<Client> {
        for _ in 0..ENDING_LOOKS {
            if !is_locked(&self.dir.0) {
                let message = Text::new(&died(&self.dir));
                let _ = screen.send(Event::Notice(Box::new(Notice::Ended { state: RunState::Failed, message })));
                return None;
            }
            if let Ok(client) = self.connect() {
                return Some(client);
            }
            thread::sleep(ENDING);
        }
        for n in 0..TRIES {
            thread::sleep(Duration::from_secs(1 << n.min(5)).min(LONGEST_WAIT));
            if left.load(Ordering::SeqCst) {
                return None;
            }
            if let Ok(client) = self.connect() {
                return Some(client);
            }
            if !is_locked(&self.dir.0) {
                return self.come_back(screen, left);
            }
        }
        None
    }
}

/// Passes notices on until the connection closes; whether the run had ended by then, `None` where the screen is gone.
fn pass_on(client: &Client, screen: &Sender<Event>) -> Option<bool> {
    let mut ended = false;
    loop {
        match client.next_timeout(LONGEST_WAIT) {
            Ok(Some(notice)) => {
                ended |= matches!(notice, Notice::Ended { .. });
                screen.send(Event::Notice(Box::new(notice))).ok()?;
            }
            Ok(None) => {}
            Err(_) => return Some(ended),
        }
    }
}

/// What to say of a trainer that ended without a word.
fn died(dir: &RunDir) -> String {
    let id = dir.id();
    let newest = checkpoint::list(&dir.checkpoints()).into_iter().next_back();
    let from = newest.map_or_else(|| "starts over".to_owned(), |_| "goes on from the last checkpoint".to_owned());
    format!("the trainer died without a word (killed, or out of memory). Ctrl-R {from}; so does `medserl resume {id}`")
}

fn farewell(leave: Leave, dir: &RunDir) -> String {
    let id = dir.id();
    match leave {
        Leave::Visit(_) | Leave::Restart => String::new(),
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
