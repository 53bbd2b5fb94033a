//! The line between a screen and a trainer: over as many connections as it takes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    attach::{Client, Control, Notice, RunState, client},
    cli::look,
    runner::RunDir,
    store::is_locked,
    task::Text,
    train::checkpoint,
    tui::Event,
};

/// How long a trainer that closed its socket may take to end.
const ENDING: Duration = Duration::from_millis(100);
const ENDING_LOOKS: u32 = 30;
/// Longest time between two tries to reach a trainer that lives and does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Waits of 1, 2, 4, 8, 16, 30, 30 … seconds: about ten minutes.
const TRIES: u32 = 24;

/// What other clients are shown of this one: who sits there, which process it is, and which connection of that.
pub(super) fn name() -> Text {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    let nth = match CONNECTIONS.fetch_add(1, Ordering::Relaxed) {
        0 => String::new(),
        before => format!(".{}", before + 1),
    };
    let user = look::user().unwrap_or_else(|| "someone".to_owned());
    let user: String = user.chars().take(30).collect();
    Text::new(&format!("{user} (process {}{nth})", std::process::id()))
}

/// The line between a screen and a trainer, over as many connections as it takes.
pub(super) struct Line {
    pub dir: RunDir,
    pub me: Text,
    pub steers: bool,
}

impl Line {
    pub fn connect(&self) -> Result<Client> {
        let client = Client::connect(&self.dir.socket())?;
        client.send(&Control::Attach { who: self.me.clone(), steer: self.steers })?;
        Ok(client)
    }

    /// Carries notices to the screen and controls to the trainer until either is gone for good.
    pub fn carry(&self, mut client: Client, screen: &Sender<Event>, orders: Receiver<Control>) {
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
