//! Conditions on a step's report at which a run pauses: how they are written, and when they are hit. Pure.
//!
//! `kl > 0.05` · `fp > 0.3 for 3` · `sd.fp > 0.4` · `step = 50` · `nan` · `constant` · `entropy constant for 5`

use std::{collections::VecDeque, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    Quadrant, StepReport,
    report::{METRICS, QuadrantStats},
};

/// A condition, and for how many steps in a row it must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Breakpoint {
    test: Test,
    steps: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Compare {
        quantity: String,
        order: Order,
        value: f64,
    },
    /// A number of the step is NaN or infinite, or an update was left out because of one.
    NotFinite,
    /// The quantity has moved by less than a millionth over the steps.
    Constant {
        quantity: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
}

/// Short names beside those of the registry.
const SHORT: &[(&str, &str)] = &[
    ("fp", "false_positive_rate"),
    ("fn", "false_negative_rate"),
    ("acc", "accuracy"),
    ("length", "completion_tokens"),
    ("malformed", "malformed_rate"),
    ("truncated", "truncated_rate"),
    ("lr", "learning_rate"),
    ("grad", "grad_norm"),
    ("accepted", "scribe_accepted"),
    ("eval", "eval_accuracy"),
];
/// What each quadrant has, as `sd.fp`.
const OF_QUADRANT: [&str; 5] = ["reward", "accuracy", "fp", "fn", "malformed"];
const ORDERS: [(&str, Order); 6] = [
    (">=", Order::AtLeast),
    ("<=", Order::AtMost),
    ("==", Order::Equal),
    (">", Order::Above),
    ("<", Order::Below),
    ("=", Order::Equal),
];
/// Steps over which a quantity must stand still where nothing is said.
const STILL_STEPS: u32 = 3;
/// A quantity that moved less stood still.
const STILL: f64 = 1e-6;
const LONGEST: usize = 200;

/// How conditions are written, for messages and help.
pub const FORMS: &str = "kl > 0.05, fp > 0.3 for 3, sd.fp > 0.4, step = 50, nan, constant, or entropy constant for 5";

impl FromStr for Breakpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Breakpoint, String> {
        if text.len() > LONGEST {
            return Err(format!("a condition of {} bytes is no condition; write {FORMS}", text.len()));
        }
        let lower = text.trim().to_lowercase();
        let (condition, steps) = match lower.rsplit_once(" for ") {
            None => (lower.as_str(), None),
            Some((condition, n)) => {
                let n = n.trim_end_matches("steps").trim().parse().ok().filter(|n| (1..=1000).contains(n));
                (condition.trim(), Some(n.ok_or_else(|| format!("'{text}': after \"for\" comes a number of steps, 1 to 1000"))?))
            }
        };
        if condition == "nan" {
            return Ok(Breakpoint { test: Test::NotFinite, steps: steps.unwrap_or(1) });
        }
        if let Some(name) = condition.strip_suffix("constant") {
            let name = name.trim();
            let quantity = known(if name.is_empty() { "reward" } else { name })?;
            return Ok(Breakpoint { test: Test::Constant { quantity }, steps: steps.unwrap_or(STILL_STEPS).max(2) });
        }
        let found = ORDERS.iter().find_map(|(sign, order)| condition.split_once(sign).map(|(name, value)| (name, *order, value)));
        let Some((name, order, value)) = found else { return Err(format!("'{text}' is no condition; write {FORMS}")) };
        let value = value.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        let value = value.ok_or_else(|| format!("'{text}': the right side must be a finite number"))?;
        Ok(Breakpoint { test: Test::Compare { quantity: known(name.trim())?, order, value }, steps: steps.unwrap_or(1) })
    }
}

/// The full name of a quantity, or which there are.
fn known(name: &str) -> Result<String, String> {
    let full = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
    let of_quadrant = name.split_once('.').is_some_and(|(code, what)| quadrant(code).is_some() && OF_QUADRANT.contains(&what));
    if full == "step" || of_quadrant || METRICS.iter().any(|metric| metric.key == full) {
        return Ok(if of_quadrant { name.to_owned() } else { full.to_owned() });
    }
    let short: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
    Err(format!(
        "there is no quantity '{name}'; there are step, reward, kl, entropy, loss, {}, a quadrant's as sd.fp, and every metric of the charts",
        short.join(", ")
    ))
}

fn quadrant(code: &str) -> Option<Quadrant> {
    Quadrant::ALL.into_iter().find(|q| q.code().eq_ignore_ascii_case(code))
}

/// The quantity in a report; `None` where the step says nothing about it.
fn measure(quantity: &str, report: &StepReport) -> Option<f64> {
    if quantity == "step" {
        return Some(f64::from(report.step));
    }
    let Some((code, what)) = quantity.split_once('.') else { return report.metrics.get(quantity).copied() };
    let stats: &QuadrantStats = report.quadrant(quadrant(code)?);
    let share = |part: u32| (stats.n_rollouts > 0).then(|| f64::from(part) / f64::from(stats.n_rollouts));
    match what {
        "reward" => (stats.n_rollouts > 0).then(|| stats.reward_mean()),
        "accuracy" => (stats.n_rollouts > 0).then(|| stats.accuracy()),
        "fp" => share(stats.false_positives),
        "fn" => share(stats.false_negatives),
        _ => share(stats.malformed),
    }
}

impl fmt::Display for Breakpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = match &self.test {
            Test::Compare { quantity, order, value } => {
                let sign = ORDERS.iter().rev().find(|(_, o)| o == order).map_or("=", |(sign, _)| sign);
                write!(f, "{} {sign} {value}", shortened(quantity))?;
                1
            }
            Test::NotFinite => {
                f.write_str("nan")?;
                1
            }
            Test::Constant { quantity } => {
                write!(f, "{} constant", shortened(quantity))?;
                STILL_STEPS
            }
        };
        if self.steps == default { Ok(()) } else { write!(f, " for {}", self.steps) }
    }
}

fn shortened(quantity: &str) -> &str {
    SHORT.iter().find(|(_, full)| *full == quantity).map_or(quantity, |(short, _)| short)
}

impl TryFrom<String> for Breakpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Breakpoint, String> {
        text.parse()
    }
}

impl From<Breakpoint> for String {
    fn from(breakpoint: Breakpoint) -> String {
        breakpoint.to_string()
    }
}

/// A breakpoint that was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub breakpoint: Breakpoint,
    pub step: u32,
    /// What decided, such as `kl = 0.061`.
    pub why: String,
}

/// The breakpoints of a run. A condition that goes on holding hits once: it must fail before it can hit again, as a pause at every
/// step would be no news.
#[derive(Clone, Debug, Default)]
pub struct Breakpoints {
    watched: Vec<Watched>,
}

#[derive(Clone, Debug)]
struct Watched {
    breakpoint: Breakpoint,
    /// Steps in a row at which it held.
    streak: u32,
    window: VecDeque<f64>,
    holds: bool,
}

impl Breakpoints {
    /// Adds one; false where it is there already.
    pub fn add(&mut self, breakpoint: Breakpoint) -> bool {
        let is_new = self.watched.iter().all(|w| w.breakpoint != breakpoint);
        if is_new {
            self.watched.push(Watched { breakpoint, streak: 0, window: VecDeque::new(), holds: false });
        }
        is_new
    }

    /// Takes one away; false where it is not there.
    pub fn remove(&mut self, breakpoint: &Breakpoint) -> bool {
        let before = self.watched.len();
        self.watched.retain(|w| w.breakpoint != *breakpoint);
        self.watched.len() < before
    }

    pub fn list(&self) -> Vec<Breakpoint> {
        self.watched.iter().map(|w| w.breakpoint.clone()).collect()
    }

    /// Takes in one step and returns what it hit.
    pub fn observe(&mut self, report: &StepReport) -> Vec<Hit> {
        self.watched.iter_mut().filter_map(|watched| watched.observe(report)).collect()
    }
}

impl Watched {
    fn observe(&mut self, report: &StepReport) -> Option<Hit> {
        let steps = self.breakpoint.steps;
        let (now, why) = match &self.breakpoint.test {
            Test::Compare { quantity, order, value } => {
                let found = measure(quantity, report)?;
                (order.holds(found, *value), format!("{} = {found:.4}", shortened(quantity)))
            }
            Test::NotFinite => {
                let broken: Vec<&str> = report.metrics.iter().filter(|(_, v)| !v.is_finite()).map(|(k, _)| k.as_str()).collect();
                let skipped = report.metrics.get("skipped_updates").is_some_and(|n| *n > 0.0);
                (skipped || !broken.is_empty(), if skipped { "an update was left out".to_owned() } else { broken.join(", ") })
            }
            Test::Constant { quantity } => {
                self.window.push_back(measure(quantity, report)?);
                while self.window.len() > steps as usize {
                    self.window.pop_front();
                }
                let (low, high) = self.window.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
                // The window itself counts the steps.
                self.streak = if self.window.len() == steps as usize && high - low < STILL { steps } else { 0 };
                (self.streak > 0, format!("{} stays {high:.4}", shortened(quantity)))
            }
        };
        if !matches!(self.breakpoint.test, Test::Constant { .. }) {
            self.streak = if now { self.streak.saturating_add(1) } else { 0 };
        }
        let held = std::mem::replace(&mut self.holds, now && self.streak >= steps);
        (self.holds && !held).then(|| Hit { breakpoint: self.breakpoint.clone(), step: report.step, why })
    }
}

impl Order {
    /// False for NaN, whichever side it is on.
    #[expect(clippy::float_cmp, reason = "who writes = means exactly that value, as for steps and rates")]
    fn holds(self, found: f64, value: f64) -> bool {
        match self {
            Order::Above => found > value,
            Order::AtLeast => found >= value,
            Order::Below => found < value,
            Order::AtMost => found <= value,
            Order::Equal => found == value,
        }
    }
}
