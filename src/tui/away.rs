//! "While you were away": what happened since this reader last left the run. What was seen is a small file beside the store;
//! the card is put together on the loader's thread and drawn from plain data.

use std::{fs, path::Path};

use ratatui::text::{Line, Span};
use serde::{Deserialize, Serialize};

use super::{
    theme::{Theme, Token},
    widget::{cut, number, spark},
};
use crate::{
    store::{Event, Store, StoreError},
    task::StepReport,
};

const SEEN: &str = "seen.json";
/// Shorter absences need no card, unless something was reported meanwhile.
const LONG_SECONDS: i64 = 30 * 60;
const EVENTS_SHOWN: usize = 6;
const LABEL_COLUMNS: usize = 10;
const VALUE_COLUMNS: usize = 8;

/// Where a reader stood when they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The last step that was committed.
    pub step: u32,
    pub unix_s: i64,
}

impl Seen {
    /// What the last reader left behind; `None` where nobody did.
    pub fn read(dir: &Path) -> Option<Seen> {
        serde_json::from_str(&fs::read_to_string(dir.join(SEEN)).ok()?).ok()
    }

    /// Leaves it for the next time. A directory that cannot be written only means that no card is shown.
    pub fn write(self, dir: &Path) {
        if let Ok(text) = serde_json::to_string(&self) {
            let _ = fs::write(dir.join(SEEN), text);
        }
    }
}

/// What happened meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Away {
    pub seen: Seen,
    /// Unix seconds.
    pub now: i64,
    /// The step last seen, and all since.
    pub reports: Vec<StepReport>,
    pub events: Vec<Event>,
}

impl Away {
    /// Reads what a card needs; `None` where there is nothing to tell.
    pub fn gather(dir: &Path, store: &Store, now: i64) -> Result<Option<Away>, StoreError> {
        let Some(seen) = Seen::read(dir) else { return Ok(None) };
        let reports = store.reports(seen.step)?;
        let events: Vec<Event> = store.events()?.into_iter().filter(|e| e.unix_s > seen.unix_s).collect();
        let moved = reports.last().is_some_and(|r| r.step > seen.step);
        let worth_it = (moved && now - seen.unix_s >= LONG_SECONDS) || !events.is_empty();
        Ok(worth_it.then_some(Away { seen, now, reports, events }))
    }

    pub fn title(&self) -> String {
        #[expect(clippy::cast_precision_loss)]
        let gone = number::seconds((self.now - self.seen.unix_s).max(0) as f64);
        let last = self.reports.last().map_or(self.seen.step, |r| r.step);
        format!("While you were away  {gone}  step {} → {last}", self.seen.step)
    }

    /// The card's lines for a width.
    pub fn lines(&self, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
        let dim = theme.style(Token::Dim);
        let head = format!("{:LABEL_COLUMNS$}{:>VALUE_COLUMNS$}{:>VALUE_COLUMNS$}  trend", "", "then", "now");
        let mut lines = vec![Line::styled(cut::fit(&head, columns), dim)];
        lines.extend(METRICS.iter().filter_map(|metric| self.metric(theme, metric, columns)));
        if lines.len() == 1 {
            lines.clear();
        }
        let hidden = self.events.len().saturating_sub(EVENTS_SHOWN);
        if hidden > 0 {
            lines.push(Line::styled(format!("{hidden} earlier events are in the Log"), dim));
        }
        lines.extend(self.events.iter().skip(hidden).map(|event| {
            let text = format!("step {}  {}: {}", event.step, cut::clean(&event.kind), cut::clean(&event.message));
            Line::styled(cut::fit(&text, columns), theme.style(Token::Warn))
        }));
        lines
    }

    fn metric(&self, theme: &Theme, (key, label, show): &Shown, columns: usize) -> Option<Line<'static>> {
        let points: Vec<Option<f64>> = self.reports.iter().map(|r| r.metrics.get(*key).copied()).collect();
        let known = || points.iter().flatten().copied();
        let (then, now) = (known().next()?, known().next_back()?);
        let room = columns.saturating_sub(LABEL_COLUMNS + 2 * VALUE_COLUMNS + 2).min(40);
        // Held-out scores come every n steps: only the steps that have one make the line.
        let points: Vec<Option<f64>> = if key.starts_with("eval_") { known().map(Some).collect() } else { points.clone() };
        Some(Line::from(vec![
            Span::styled(cut::pad(label, LABEL_COLUMNS), theme.style(Token::Dim)),
            Span::raw(cut::pad_left(&show(Some(then)), VALUE_COLUMNS)),
            Span::styled(cut::pad_left(&show(Some(now)), VALUE_COLUMNS), theme.style(Token::Title)),
            Span::styled(format!("  {}", spark::row(&points, room)), theme.style(Token::Spark)),
        ]))
    }
}

/// Metric key, label, and how its values read.
type Shown = (&'static str, &'static str, fn(Option<f64>) -> String);

const METRICS: &[Shown] = &[
    ("reward", "reward", number::signed),
    ("eval_accuracy", "held-out", number::percent),
    ("accuracy", "accuracy", number::percent),
    ("false_positive_rate", "FP rate", number::percent),
    ("false_negative_rate", "FN rate", number::percent),
    ("malformed_rate", "malformed", number::percent),
    ("kl", "KL", number::plain),
    ("completion_tokens", "length", number::plain),
];
