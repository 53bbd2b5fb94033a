//! A job's time limit: when to stop so that the last checkpoint is written before it is reached. Knows no signals and no run.

use std::time::{Duration, Instant};

/// Room left for what cannot be foreseen: the last micro-batch, the store, the end of the process.
const RESERVE: Duration = Duration::from_secs(10);

/// The moment a run must have ended by, and what its steps and saves take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    slowest_step: Duration,
    slowest_save: Duration,
}

impl Deadline {
    /// `allowed` from `start`; never, where that lies beyond what the clock can say.
    pub fn after(start: Instant, allowed: Duration) -> Option<Deadline> {
        Some(Deadline { at: start.checked_add(allowed)?, slowest_step: Duration::ZERO, slowest_save: Duration::ZERO })
    }

    pub fn note_step(&mut self, took: Duration) {
        self.slowest_step = self.slowest_step.max(took);
    }

    pub fn note_save(&mut self, took: Duration) {
        self.slowest_save = self.slowest_save.max(took);
    }

    /// The machine was suspended for so long: the clock here stood still, the scheduler's went on.
    pub fn note_sleep(&mut self, slept: Duration) {
        self.at = self.at.checked_sub(slept).unwrap_or(self.at);
    }

    /// At a step boundary: whether one more step like the slowest so far could end too late.
    pub fn forbids_a_step(&self, now: Instant) -> bool {
        now + self.slowest_step.mul_f64(1.25) + self.end() > self.at
    }

    /// Within a step: whether it must be given up now.
    pub fn is_due(&self, now: Instant) -> bool {
        now + self.end() >= self.at
    }

    /// What saving and ending may take.
    fn end(&self) -> Duration {
        self.slowest_save.saturating_mul(2) + RESERVE
    }
}

/// Reads `7h50m`, `90s`, `1d2h`: whole numbers with units d, h, m, s, each at most once and in this order.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = |why: &str| Err(format!("{text:?} {why}; write a length of time such as 7h50m, 45m or 90s"));
    let (mut rest, mut seconds, mut smallest) = (text.trim(), 0u64, u64::MAX);
    if rest.is_empty() {
        return refuse("is empty");
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(n) = rest[..digits].parse::<u64>() else { return refuse("has no whole number before its unit") };
        let unit = match rest[digits..].chars().next() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            Some(_) => return refuse("has a unit other than d, h, m and s"),
            None => return refuse("has a number without a unit"),
        };
        if unit >= smallest {
            return refuse("has its units in another order than d, h, m, s");
        }
        let Some(sum) = n.checked_mul(unit).and_then(|n| seconds.checked_add(n)) else { return refuse("is too long") };
        (seconds, smallest, rest) = (sum, unit, &rest[digits + 1..]);
    }
    if seconds == 0 { refuse("is no time at all") } else { Ok(Duration::from_secs(seconds)) }
}
