//! What one client still has to be told: a bounded queue that degrades to "here is everything again" and never blocks.
//! Knows no socket.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use tokio::sync::Notify;

use super::{live::Live, protocol::Notice, wire};

/// Notices a client may lag behind.
const CAPACITY: usize = 1024;
/// Notices written with one system call.
const BATCH: usize = 64;

/// A notice shared by all clients and encoded at most once, by the first that writes it.
pub(super) struct Parcel {
    notice: Notice,
    line: OnceLock<Vec<u8>>,
}

impl Parcel {
    pub(super) fn new(notice: Notice) -> Parcel {
        Parcel { notice, line: OnceLock::new() }
    }

    pub(super) fn line(&self) -> &[u8] {
        self.line.get_or_init(|| wire::encode(&self.notice))
    }

    fn is_token(&self) -> bool {
        matches!(self.notice, Notice::Token { .. })
    }

    /// Whether it may wait a moment: what the run writes and reckons comes by the hundred a second. The rest answers somebody, or is news.
    fn can_wait(&self) -> bool {
        use Notice::{Machine, Progress, Rollout, Sample, Token};
        matches!(self.notice, Token { .. } | Progress { .. } | Rollout { .. } | Sample { .. } | Machine { .. })
    }
}

/// Wakes the writer of one client.
#[derive(Default)]
pub(super) struct Bell {
    /// Something is to be written.
    pub(super) any: Notify,
    /// Something is to be written now.
    pub(super) pressing: Notify,
}

/// How a client's picture relates to the trainer's.
#[derive(PartialEq, Eq)]
enum Standing {
    /// It has seen nothing; its first line will be a Snapshot.
    New,
    /// Snapshot plus queue is the whole truth, but for lost tokens.
    Current,
    /// The queue was given up; a Snapshot will replace it.
    Behind,
}

/// What to write next.
pub(super) enum Next {
    Parcels(Vec<Arc<Parcel>>),
    /// First `Skipped` where `n_skipped` is not 0, then the Snapshot.
    Snapshot {
        n_skipped: u64,
        live: Box<Live>,
    },
    /// Nothing now; wait for the wake-up.
    Wait,
    /// Nothing any more.
    End,
}

/// One client's queue.
pub(super) struct Outbox {
    queue: VecDeque<Arc<Parcel>>,
    standing: Standing,
    n_lost: u64,
    ending: bool,
    bell: Arc<Bell>,
}

impl Outbox {
    pub(super) fn new(bell: Arc<Bell>) -> Outbox {
        Outbox { queue: VecDeque::new(), standing: Standing::New, n_lost: 0, ending: false, bell }
    }

    /// Queues a notice. On a full queue tokens go first, then the whole queue.
    pub(super) fn push(&mut self, parcel: &Arc<Parcel>) {
        match self.standing {
            // The Snapshot to come will hold it.
            Standing::New => {}
            Standing::Behind => self.n_lost += 1,
            Standing::Current => self.push_current(parcel),
        }
        self.bell.any.notify_one();
        if !parcel.can_wait() || self.queue.len() >= CAPACITY / 2 {
            self.bell.pressing.notify_one();
        }
    }

    fn push_current(&mut self, parcel: &Arc<Parcel>) {
        if self.queue.len() >= CAPACITY && parcel.is_token() {
            self.n_lost += 1;
            return;
        }
        if self.queue.len() >= CAPACITY {
            self.queue.retain(|queued| !queued.is_token());
            self.n_lost += (CAPACITY - self.queue.len()) as u64;
        }
        if self.queue.len() >= CAPACITY {
            self.n_lost += self.queue.len() as u64 + 1;
            self.queue = VecDeque::new();
            self.standing = Standing::Behind;
            return;
        }
        self.queue.push_back(Arc::clone(parcel));
    }

    /// Takes what is to be written next; `live` must hold exactly the notices pushed so far.
    pub(super) fn next(&mut self, live: &Live) -> Next {
        if !self.queue.is_empty() {
            let n_parcels = self.queue.len().min(BATCH);
            return Next::Parcels(self.queue.drain(..n_parcels).collect());
        }
        if self.standing != Standing::Current || self.n_lost > 0 {
            self.standing = Standing::Current;
            return Next::Snapshot { n_skipped: std::mem::take(&mut self.n_lost), live: Box::new(live.clone()) };
        }
        if self.ending { Next::End } else { Next::Wait }
    }

    /// Lets the writer finish the queue, then end.
    pub(super) fn end(&mut self) {
        self.ending = true;
        self.bell.any.notify_one();
        self.bell.pressing.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::protocol::{Level, RunState};

    fn token(n: usize) -> Arc<Parcel> {
        let notice = Notice::Token { sample_id: "s".into(), sibling: 0, delta: format!("{n} ").as_str().into() };
        Arc::new(Parcel::new(notice))
    }

    fn log(n: usize) -> Arc<Parcel> {
        Arc::new(Parcel::new(Notice::Log { level: Level::Info, message: n.to_string().as_str().into() }))
    }

    fn current() -> Outbox {
        let mut outbox = Outbox::new(Arc::new(Bell::default()));
        assert!(matches!(outbox.next(&Live::default()), Next::Snapshot { n_skipped: 0, .. }));
        outbox
    }

    fn drain(outbox: &mut Outbox, live: &Live) -> (Vec<Arc<Parcel>>, Option<u64>) {
        let mut parcels = Vec::new();
        loop {
            match outbox.next(live) {
                Next::Parcels(more) => parcels.extend(more),
                Next::Snapshot { n_skipped, .. } => return (parcels, Some(n_skipped)),
                Next::Wait | Next::End => return (parcels, None),
            }
        }
    }

    #[test]
    fn a_new_client_gets_one_snapshot_without_skipped() {
        let mut outbox = Outbox::new(Arc::new(Bell::default()));
        (0..3000).for_each(|n| outbox.push(&log(n)));
        let (parcels, skipped) = drain(&mut outbox, &Live::default());
        assert_eq!((parcels.len(), skipped), (0, Some(0)));
        assert!(matches!(outbox.next(&Live::default()), Next::Wait));
    }

    #[test]
    fn tokens_do_not_ring_until_they_are_many_and_everything_else_rings() {
        let bell = Arc::new(Bell::default());
        let rung = || std::pin::pin!(bell.pressing.notified()).enable();
        let mut outbox = Outbox::new(Arc::clone(&bell));
        assert!(matches!(outbox.next(&Live::default()), Next::Snapshot { .. }));
        (1..CAPACITY / 2).for_each(|n| outbox.push(&token(n)));
        assert!(!rung());
        outbox.push(&token(0));
        assert!(rung());
        drain(&mut outbox, &Live::default());
        outbox.push(&log(0));
        assert!(rung());
        outbox.end();
        assert!(rung());
    }

    #[test]
    fn tokens_are_dropped_before_anything_else() {
        let mut outbox = current();
        (0..CAPACITY).for_each(|n| outbox.push(&if n % 2 == 0 { token(n) } else { log(n) }));
        outbox.push(&token(0));
        outbox.push(&log(0));
        let (parcels, skipped) = drain(&mut outbox, &Live::default());
        assert_eq!(parcels.len(), CAPACITY / 2 + 1);
        assert!(parcels.iter().all(|p| !p.is_token()));
        assert_eq!(skipped, Some(CAPACITY as u64 / 2 + 1));
    }

    #[test]
    fn a_queue_full_of_weighty_notices_gives_way_to_a_snapshot() {
        let mut outbox = current();
        (0..CAPACITY + 10).for_each(|n| outbox.push(&log(n)));
        let live = Live { state: RunState::Paused, ..Live::default() };
        match outbox.next(&live) {
            Next::Snapshot { n_skipped, live: sent } => {
                assert_eq!(n_skipped, CAPACITY as u64 + 10);
                assert_eq!(*sent, live);
            }
            _ => panic!("expected a Snapshot"),
        }
        outbox.push(&log(1));
        outbox.end();
        assert_eq!(drain(&mut outbox, &live).0.len(), 1);
        assert!(matches!(outbox.next(&live), Next::End));
    }
}
