//! Running one parser over many cases, and saying what came of it.

use std::{
    fs,
    time::{Duration, Instant},
};

use medserl::train::bench::peak_memory;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::mutate::mutate;
use crate::figure::figure;

/// A case that takes more of the processor's time than this counts as a hang in a full run, and one that takes ten times as long on the
/// clock: on a busy machine a process may wait for long.
const HANG: Duration = Duration::from_secs(20);

/// Says which input it was when a parser panics.
struct Witness<'a> {
    name: &'a str,
    case: u64,
    bytes: &'a [u8],
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let head = &self.bytes[..self.bytes.len().min(400)];
            eprintln!("{} case {} of {} bytes: {}", self.name, self.case, self.bytes.len(), head.escape_ascii());
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap())
}

/// What this thread has taken of the processor's time, where the system says so.
fn processor_time() -> Duration {
    let said = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(said.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// Feeds `parse` with mutations; it says whether the input was accepted. Every entry of the corpus must be.
pub fn fuzz(name: &str, corpus: &[Vec<u8>], words: &[&str], quick: u64, parse: &mut dyn FnMut(&[u8]) -> bool) {
    let full = setting("MEDSERL_FUZZ_CASES").is_some() || setting("MEDSERL_FUZZ_SECONDS").is_some();
    let most = setting("MEDSERL_FUZZ_CASES").unwrap_or(if full { u64::MAX } else { quick });
    let seconds = setting("MEDSERL_FUZZ_SECONDS").map(Duration::from_secs);
    for (at, entry) in corpus.iter().enumerate() {
        assert!(parse(entry), "entry {at} of the corpus is refused: {}", entry.escape_ascii());
    }
    let memory = peak_memory();
    let seed = setting("MEDSERL_FUZZ_SEED").unwrap_or(1);
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let (started, mut slowest, mut cases, mut accepted) = (Instant::now(), Duration::ZERO, 0, 0);
    while cases < most && seconds.is_none_or(|limit| started.elapsed() < limit) {
        let bytes = mutate(random, corpus, words);
        let witness = Witness { name, case: cases, bytes: &bytes };
        let (clock, before) = (Instant::now(), processor_time());
        accepted += u64::from(parse(&bytes));
        let took = processor_time() - before;
        assert!(
            !full || took < HANG && clock.elapsed() < 10 * HANG,
            "case {cases} took {took:?}, {:?} on the clock",
            clock.elapsed()
        );
        slowest = slowest.max(took);
        drop(witness);
        cases += 1;
    }
    assert!(accepted > 0 && accepted < cases, "{name}: {accepted} of {cases} accepted: the cases are one-sided");
    if full {
        let grown = memory.zip(peak_memory()).map(|(before, now)| (now - before) >> 20);
        let grown = grown.map_or("unknown".to_owned(), |mib| format!("+{mib} MiB"));
        figure(
            "R16-R20",
            &format!("{name}: mutated input, seed {seed}"),
            &format!(
                "{cases} inputs in {} s ({accepted} accepted): 0 panics, 0 hangs (slowest {} ms of processor time), peak memory {grown}",
                started.elapsed().as_secs(),
                slowest.as_millis()
            ),
        );
    }
}
