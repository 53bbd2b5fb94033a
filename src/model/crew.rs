//! Several workers side by side, each with threads of its own: parts of a batch that do not need each other are computed without a
//! barrier after every product, and what a part works on stays with one thread.

use std::{
    collections::BTreeMap,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use anyhow::Result;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::tape::Buffers;

/// At most so many parts are at work at a time; on a machine with more threads each has several. Their memory adds up.
pub const WORKERS: usize = 4;

/// Rows of a part where so many may be at work at a time. The same on every machine, so that sums are.
pub fn part_rows(rows: usize) -> usize {
    rows.div_ceil(WORKERS)
}

/// The workers of this process, which share out the threads of rayon's own pool. They are kept, with their buffers, since asking
/// for threads and for cleared pages in every step costs several percent of it.
static CREW: LazyLock<Crew> = LazyLock::new(|| Crew::new(rayon::current_num_threads()));

struct Worker {
    pool: ThreadPool,
    buffers: Mutex<Buffers>,
}

struct Crew {
    workers: Vec<Worker>,
}

/// How many parts of a batch are at work at a time.
pub fn n_workers() -> usize {
    CREW.workers.len().max(1)
}

/// Computes every part of `parts`, as many as there are workers at most, each on its own worker; results in their order.
pub fn side_by_side<T: Send, R: Send>(parts: Vec<T>, f: impl Fn(T, &mut Buffers) -> R + Sync) -> Vec<R> {
    assert!(parts.len() <= n_workers(), "more parts than workers");
    let found: Mutex<Vec<Option<R>>> = Mutex::new(parts.iter().map(|_| None).collect());
    let jobs = parts.into_iter().enumerate().map(|(i, part)| {
        let (f, found) = (&f, &found);
        move |buffers: &mut Buffers| {
            let result = f(part, buffers);
            found.lock().unwrap_or_else(|e| e.into_inner())[i] = Some(result);
        }
    });
    CREW.run(jobs.collect(), || ());
    found.into_inner().unwrap_or_else(|e| e.into_inner()).into_iter().flatten().collect()
}

/// Computes part 0 to `n`, each on whichever worker is free, and hands the results to `take` on this thread in the order of the
/// parts, so that what is summed is summed in the same order however fast each worker is. The first error ends it.
pub fn in_order<R: Send>(
    n: usize,
    f: impl Fn(usize, &mut Buffers) -> Result<R> + Sync,
    mut take: impl FnMut(usize, R) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    let jobs = (0..n_workers().min(n)).map(|_| {
        let (f, next, sender) = (&f, &next, sender.clone());
        move |buffers: &mut Buffers| loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= n || sender.send((part, f(part, buffers))).is_err() {
                return;
            }
        }
    });
    let jobs = jobs.collect();
    drop(sender);
    let mut outcome = Ok(());
    CREW.run(jobs, || {
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (part, result) in results {
            early.insert(part, result);
            while let Some(result) = early.remove(&due) {
                outcome = result.and_then(|result| take(due, result));
                if outcome.is_err() {
                    next.store(n, Ordering::Relaxed);
                    return;
                }
                due += 1;
            }
        }
    });
    outcome
}

impl Crew {
    fn new(n_threads: usize) -> Crew {
        let n = WORKERS.min(n_threads);
        let worker = |i: usize| {
            let n_threads = n_threads / n + usize::from(i < n_threads % n);
            let pool = ThreadPoolBuilder::new().num_threads(n_threads).thread_name(move |_| format!("compute-{i}")).build();
            pool.map(|pool| Worker { pool, buffers: Mutex::default() }).ok()
        };
        // A system that gives no more threads leaves fewer workers, and in the end none but the caller.
        Crew { workers: (0..n).filter_map(worker).collect() }
    }

    /// Runs each job on a worker of its own and `meanwhile` on this thread; returns when all are done.
    fn run<'a, J: FnOnce(&mut Buffers) + Send + 'a>(&'a self, jobs: Vec<J>, meanwhile: impl FnOnce()) {
        if self.workers.is_empty() {
            jobs.into_iter().for_each(|job| job(&mut Buffers::default()));
            return meanwhile();
        }
        nest(&self.workers, &mut jobs.into_iter(), meanwhile);
    }
}

/// A worker's scope inside the scope of the worker before it.
fn nest<'a, J: FnOnce(&mut Buffers) + Send + 'a>(
    workers: &'a [Worker],
    jobs: &mut dyn Iterator<Item = J>,
    meanwhile: impl FnOnce(),
) {
    let Some((worker, others)) = workers.split_first() else { return meanwhile() };
    let Some(job) = jobs.next() else { return meanwhile() };
    worker.pool.in_place_scope(|scope| {
        scope.spawn(move |_| match worker.buffers.try_lock() {
            Ok(mut buffers) => {
                job(&mut buffers);
                buffers.trim();
            }
            // Another batch has them.
            Err(_) => job(&mut Buffers::default()),
        });
        nest(others, jobs, meanwhile);
    });
}
