//! The trainer's end: a Unix socket served from a thread of its own. Sending folds the notice into the shared picture and
//! queues it for every client; it never waits for one. What a Control means is not known here.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{fs::MetadataExt, net::UnixListener as StdListener},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    lease::Lease,
    live::Live,
    outbox::{Bell, Next, Outbox, Parcel},
    protocol::{Control, Level, Notice},
    socket::bind,
    wire,
};
use crate::task::{Phase, Text};

const MAX_CONTROL_BYTES: usize = 64 << 10;
const MAX_CLIENTS: usize = 64;
/// Controls the trainer has not taken yet.
const MAX_CONTROLS: usize = 256;
/// How long a client that is being sent away may take to read its last lines.
const FAREWELL: Duration = Duration::from_secs(2);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);
/// A client is written to this often at most, but for what is pressing: what came in between goes to it at once, so that neither side is
/// woken for every token of every completion. Screens draw as often.
const PACE: Duration = Duration::from_millis(100);

/// The running server; dropping it closes and unlinks the socket.
pub struct Server {
    shared: Arc<Shared>,
    controls: Mutex<Receiver<Control>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
    /// (device, inode) of our socket: a file that took its place is not ours to unlink.
    socket: (u64, u64),
}

/// What the trainer and the server thread share.
struct Shared {
    state: Mutex<State>,
    controls: SyncSender<Control>,
    closing: Notify,
}

struct State {
    live: Live,
    outboxes: BTreeMap<u64, Outbox>,
    lease: Lease,
    n_clients_ever: u64,
    closing: bool,
}

impl Server {
    /// Binds the socket (0600) and starts serving; `live` is the picture the first clients get.
    pub fn start(socket_path: PathBuf, live: Live) -> anyhow::Result<Server> {
        let listener = bind(&socket_path)?;
        let meta = fs::metadata(&socket_path)?;
        let (sender, receiver) = sync_channel(MAX_CONTROLS);
        let state = State { live, outboxes: BTreeMap::new(), lease: Lease::default(), n_clients_ever: 0, closing: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), controls: sender, closing: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new().name("attach".into()).spawn(move || runtime.block_on(serve(listener, serving)))?;
        let (controls, socket) = (Mutex::new(receiver), (meta.dev(), meta.ino()));
        Ok(Server { shared, controls, thread: Mutex::new(Some(thread)), path: socket_path, socket })
    }

    /// Folds a notice into the picture and queues it for every client. Never blocks on a client.
    pub fn send(&self, notice: Notice) {
        self.shared.publish(notice);
    }

    /// The next Control, where one has come.
    pub fn try_control(&self) -> Option<Control> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    /// Waits for the next Control.
    pub fn wait_control(&self, timeout: Duration) -> Option<Control> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(timeout).ok()
    }

    /// The phase the run is in.
    pub fn phase(&self) -> Option<Phase> {
        self.shared.lock().live.phase
    }

    /// A copy of the picture as of now.
    pub fn live(&self) -> Live {
        self.shared.lock().live.clone()
    }

    /// Unlinks the socket, gives clients two seconds to read what is queued, then closes. What is sent later reaches nobody.
    pub fn shutdown(&self) {
        self.unlink();
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut state = self.shared.lock();
        state.closing = true;
        state.outboxes.values_mut().for_each(Outbox::end);
        drop(state);
        self.shared.closing.notify_one();
        // A panic over there has been reported by the panic hook.
        let _ = thread.join();
    }

    /// Takes the socket out of the run directory: nobody new can attach, and another trainer can listen in its place.
    pub fn unlink(&self) {
        if fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.socket) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, notice: Notice) {
        self.lock().publish(notice);
    }

    /// What a client says about itself is heeded here; the rest is the trainer's, where this client may steer.
    fn hear(&self, client: u64, control: Control) -> Result<(), String> {
        let mut state = self.lock();
        match control {
            Control::Attach { who, steer } => state.lease.attach(client, &who, steer),
            Control::Take => {
                if let Err(why) = state.lease.take(client) {
                    drop(state);
                    self.warn(&format!("a client cannot take over: {why}"));
                    return Ok(());
                }
            }
            control => {
                let lead = state.lease.other_lead(client).cloned();
                drop(state);
                return match lead {
                    Some(who) => {
                        self.warn(&format!("not heeded: {who} steers this run; :take takes over"));
                        Ok(())
                    }
                    None => self.controls.try_send(control).map_err(|_| format!("{MAX_CONTROLS} controls wait already")),
                };
            }
        }
        state.tell_clients();
        Ok(())
    }

    fn warn(&self, message: &str) {
        self.publish(Notice::Log { level: Level::Warn, message: message.into() });
    }

    /// Gives a client its number, where there is room.
    fn admit(&self, bell: &Arc<Bell>) -> Option<u64> {
        let mut state = self.lock();
        if state.outboxes.len() >= MAX_CLIENTS {
            return None;
        }
        state.n_clients_ever += 1;
        let client = state.n_clients_ever;
        let mut outbox = Outbox::new(Arc::clone(bell));
        if state.closing {
            outbox.end();
        }
        state.outboxes.insert(client, outbox);
        Some(client)
    }

    fn next(&self, client: u64) -> Next {
        let mut state = self.lock();
        let State { live, outboxes, .. } = &mut *state;
        outboxes.get_mut(&client).map_or(Next::End, |outbox| outbox.next(live))
    }

    fn end(&self, client: u64) {
        if let Some(outbox) = self.lock().outboxes.get_mut(&client) {
            outbox.end();
        }
    }

    fn remove(&self, client: u64) {
        let mut state = self.lock();
        state.outboxes.remove(&client);
        if state.lease.leave(client) {
            state.tell_clients();
        }
    }
}

impl State {
    /// Folds a notice into the picture and queues it for every client.
    fn publish(&mut self, notice: Notice) {
        let notice = wire::plain(notice);
        if !self.outboxes.is_empty() {
            let parcel = Arc::new(Parcel::new(notice.clone()));
            self.outboxes.values_mut().for_each(|outbox| outbox.push(&parcel));
        }
        self.live.apply(notice);
    }

    /// Says who is attached; whom the lead went to is worth a line of its own.
    fn tell_clients(&mut self) {
        let before = self.live.lead().cloned();
        let clients = self.lease.clients();
        self.publish(Notice::Clients { clients });
        if let (Some(before), Some(now)) = (before, self.live.lead().cloned())
            && before != now
        {
            self.publish(Notice::Log {
                level: Level::Info,
                message: Text::new(&format!("{now} steers now; before, {before} did")),
            });
        }
    }
}

async fn serve(listener: StdListener, shared: Arc<Shared>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return shared.warn(&format!("nobody can attach: {e}")),
    };
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = clients.spawn(serve_client(stream, Arc::clone(&shared))),
                Err(e) => {
                    shared.warn(&format!("a client could not attach: {e}"));
                    sleep(AFTER_ACCEPT_ERROR).await;
                }
            },
            Some(_) = clients.join_next() => {}
            () = shared.closing.notified() => break,
        }
    }
    // Whoever has not read everything by then is cut off.
    let _ = timeout(FAREWELL, async { while clients.join_next().await.is_some() {} }).await;
}

async fn serve_client(stream: UnixStream, shared: Arc<Shared>) {
    let ours = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == ours => {}
        Ok(peer) => return shared.warn(&format!("refused a client of user {}: only user {ours} may attach", peer.uid())),
        Err(e) => return shared.warn(&format!("refused a client whose user cannot be told: {e}")),
    }
    let bell = Arc::new(Bell::default());
    let Some(client) = shared.admit(&bell) else {
        return shared.warn(&format!("refused a client: {MAX_CLIENTS} are attached already"));
    };
    let (read, write) = stream.into_split();
    let mut reader = std::pin::pin!(read_controls(read, &shared, client));
    let mut writer = std::pin::pin!(write_notices(write, &shared, client, &bell));
    let mut writing = true;
    let read = tokio::select! {
        read = &mut reader => read,
        written = &mut writer => {
            writing = false;
            // A client that hung up may have been a one-shot command: what it said before that still counts.
            if written.is_err() { timeout(FAREWELL, reader).await.unwrap_or(Ok(())) } else { Ok(()) }
        }
    };
    if let Err(why) = read {
        shared.warn(&format!("dropped a client: {why}"));
        shared.end(client);
        if writing {
            // It learns why, if it reads at all.
            let _ = timeout(FAREWELL, writer).await;
        }
    }
    shared.remove(client);
}

/// Writes until the client is gone or its outbox has ended.
async fn write_notices(mut write: OwnedWriteHalf, shared: &Shared, client: u64, bell: &Bell) -> io::Result<()> {
    let mut due = Instant::now();
    loop {
        match shared.next(client) {
            Next::Parcels(parcels) => {
                write.write_all(&parcels.iter().map(|p| p.line()).collect::<Vec<_>>().concat()).await?;
                due = Instant::now() + PACE;
            }
            Next::Snapshot { n_skipped, live } => {
                if n_skipped > 0 {
                    write.write_all(&wire::encode(&Notice::Skipped { n_notices: n_skipped })).await?;
                }
                write.write_all(&wire::encode(&Notice::Snapshot { live })).await?;
            }
            Next::Wait => {
                bell.any.notified().await;
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = bell.pressing.notified() => {}
                }
            }
            Next::End => return write.shutdown().await,
        }
    }
}

/// Passes Controls on until the client is gone (`Ok`) or sends something that is none (the reason).
async fn read_controls(read: OwnedReadHalf, shared: &Shared, client: u64) -> Result<(), String> {
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        // An error ends the stream like its end does: a client that hung up may leave its last line without a line feed.
        let _ = (&mut read).take(MAX_CONTROL_BYTES as u64 + 1).read_until(b'\n', &mut line).await;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > MAX_CONTROL_BYTES {
            return Err(format!("its line is longer than {MAX_CONTROL_BYTES} bytes"));
        }
        let control = serde_json::from_slice(&line).map_err(|e| format!("its line is no control ({e})"))?;
        shared.hear(client, control)?;
    }
}
