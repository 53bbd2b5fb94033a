//! The watching end: blocking calls over a reader thread. It hands notices on as they come and draws nothing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;

use super::{
    protocol::{Control, Level, Notice},
    wire,
};

const MAX_LINE_BYTES: u64 = 64 << 20;
/// Notices read ahead. A client that takes none makes the trainer drop some, not hoard them here.
const READ_AHEAD: usize = 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a trainer.
pub struct Client {
    stream: UnixStream,
    notices: Receiver<Notice>,
    why_closed: Arc<OnceLock<String>>,
}

/// The sending half of a connection.
pub struct Sender {
    stream: UnixStream,
}

/// The connection has ended, and every notice before that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the trainer has ended: {why}")]
pub struct Closed {
    pub why: String,
}

impl Client {
    /// Connects to a trainer's socket.
    pub fn connect(path: &Path) -> anyhow::Result<Client> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("no trainer answers on {}; the run is not in progress", path.display()))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let reading = stream.try_clone()?;
        let (sender, notices) = sync_channel(READ_AHEAD);
        let why_closed = Arc::new(OnceLock::new());
        let why = Arc::clone(&why_closed);
        thread::Builder::new().name("attached".into()).spawn(move || {
            // Set before the channel closes, so whoever sees it closed finds the reason.
            let _ = why.set(read_notices(reading, &sender));
        })?;
        Ok(Client { stream, notices, why_closed })
    }

    /// The next notice, where one has come; `None` also after the end, which [`Client::next_timeout`] tells apart.
    pub fn try_next(&self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }

    /// Waits for the next notice; `Ok(None)` when none came in time.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Option<Notice>, Closed> {
        match self.notices.recv_timeout(timeout) {
            Ok(notice) => Ok(Some(notice)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Closed { why: self.why_closed.get().cloned().unwrap_or_else(|| "its reader stopped".to_owned()) })
            }
        }
    }

    /// The sending half alone, for another thread than the one that takes notices.
    pub fn sender(&self) -> io::Result<Sender> {
        Ok(Sender { stream: self.stream.try_clone()? })
    }

    /// Asks something of the trainer.
    pub fn send(&self, control: &Control) -> anyhow::Result<()> {
        send(&self.stream, control)
    }
}

impl Sender {
    /// Ends the connection, for whoever takes notices from it too.
    pub fn hang_up(&self) {
        // One that is gone already is no loss.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Asks something of the trainer.
    pub fn send(&self, control: &Control) -> anyhow::Result<()> {
        send(&self.stream, control)
    }
}

fn send(mut stream: &UnixStream, control: &Control) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(control)?;
    line.push(b'\n');
    stream.write_all(&line).context("the trainer cannot be reached")
}

impl Drop for Client {
    fn drop(&mut self) {
        // Wakes the reader thread; it also ends if it waits on the full channel, which goes with us.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Reads until the end and returns why it ended. A line that is no notice is reported as a warning and passed over.
fn read_notices(stream: UnixStream, sender: &SyncSender<Notice>) -> String {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line) {
            Err(e) => return e.to_string(),
            Ok(0) => return "the trainer closed it".to_owned(),
            Ok(_) if line.len() as u64 > MAX_LINE_BYTES => return format!("a line is longer than {MAX_LINE_BYTES} bytes"),
            Ok(_) if !line.ends_with(b"\n") => return "the trainer went away in the middle of a line".to_owned(),
            Ok(_) => {}
        }
        let notice = wire::decode(&line).unwrap_or_else(|e| Notice::Log {
            level: Level::Warn,
            message: format!("a line from the trainer could not be read: {e}").as_str().into(),
        });
        if sender.send(notice).is_err() {
            return "the client let go".to_owned();
        }
    }
}
