//! Whether time passes as it should: a machine that was suspended, a wall clock that was set. Lengths of time are always measured on
//! the monotonic clock, which neither touches; what they do touch is a job's deadline, and the dates that people read.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Clocks may drift apart by this much between two looks, which is no news.
const TOLERANCE: Duration = Duration::from_secs(5);

/// The three clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Stands still while the machine is suspended.
    pub running: Instant,
    /// Since the machine was started, suspension included; `None` where the system does not say.
    pub up: Option<Duration>,
    /// The wall clock, in milliseconds since 1970; before that, negative.
    pub wall_ms: i64,
}

/// What was odd about the time between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Oddity {
    /// How long the machine was suspended.
    pub slept: Duration,
    pub remarks: Vec<String>,
}

impl Times {
    pub fn now() -> Times {
        let up = fs::read_to_string("/proc/uptime").ok().and_then(|text| text.split(' ').next()?.parse().ok());
        let wall_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Times { running: Instant::now(), up: up.and_then(|s| Duration::try_from_secs_f64(s).ok()), wall_ms }
    }

    /// Compares how much time passed by each clock since `before`.
    pub fn since(&self, before: &Times) -> Oddity {
        let running = self.running.saturating_duration_since(before.running);
        let real = self.up.zip(before.up).map_or(running, |(now, then)| now.saturating_sub(then).max(running));
        let mut odd = Oddity::default();
        if real > running + TOLERANCE {
            odd.slept = real - running;
            odd.remarks.push(format!("the machine was suspended for {} s; a deadline counts that time", odd.slept.as_secs()));
        }
        let wall = self.wall_ms.saturating_sub(before.wall_ms);
        let set_by = wall.saturating_sub(i64::try_from(real.as_millis()).unwrap_or(i64::MAX));
        if set_by.unsigned_abs() > TOLERANCE.as_millis() as u64 {
            let (how, seconds) = (if set_by > 0 { "forward" } else { "back" }, set_by.unsigned_abs() / 1000);
            odd.remarks.push(format!("the wall clock was set {how} by {seconds} s; dates before and after do not compare"));
        }
        odd
    }
}
