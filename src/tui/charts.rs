//! The state of the Charts screen: which metrics of which runs, over which steps, and where the reader looks. Pure, like `app`:
//! what it needs from a store it asks for with an [`Effect`].

mod curves;
mod keys;

use std::path::PathBuf;

pub use curves::{RunCurves, Series};
use ratatui::crossterm::event::KeyEvent;

use super::{
    action::Action,
    app::Effect,
    history::{History, Mark},
    inspect::Reply,
    prompt::{Prompt, Typed},
    query::Query,
};
use crate::{
    store::RunSummary,
    task::{
        StepReport,
        report::{METRICS, Metric},
    },
};

/// Weights of the moving average that `[` and `]` walk through; 0 is the raw series alone.
pub const WEIGHTS: [f64; 6] = [0.0, 0.6, 0.8, 0.9, 0.95, 0.98];
/// Runs on show at once, the reader's own among them.
pub const MOST_RUNS: usize = 4;

/// How the steps of the axis are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    #[default]
    Step,
    /// Time since the first step.
    Clock,
}

/// Which steps are on show.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Steps from edge to edge; `None` is all of them.
    pub span: Option<f64>,
    /// The step at the right edge; `None` follows the newest.
    pub end: Option<f64>,
}

/// Choosing runs to lay beside this one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picker {
    /// `None` until the loader answers.
    pub runs: Option<Vec<RunSummary>>,
    pub at: usize,
}

/// How the charts lie on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub columns: usize,
    pub rows: usize,
    /// Columns of cells of one plot, about.
    pub plot_columns: usize,
}

/// The Charts screen.
#[derive(Clone, Debug, Default)]
pub struct Charts {
    /// The run on show first, then those laid beside it.
    pub runs: Vec<RunCurves>,
    /// Place of the chosen chart among [`Charts::shown`].
    pub chosen: usize,
    /// Place in [`WEIGHTS`].
    pub weight: Weight,
    pub log: bool,
    pub axis: Axis,
    pub view: View,
    /// The step under the crosshair.
    pub cursor: Option<f64>,
    /// Words of metric names, any of which lets one pass.
    pub filter: String,
    pub prompt: Option<Prompt>,
    pub picker: Option<Picker>,
    /// The registry lies over the charts.
    pub list: bool,
    pub loading: bool,
    /// Why the store could not be read.
    pub failed: Option<String>,
}

/// Place in [`WEIGHTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(pub usize);

impl Default for Weight {
    /// 0.9
    fn default() -> Weight {
        Weight(3)
    }
}

impl Weight {
    pub fn value(self) -> f64 {
        WEIGHTS[self.0.min(WEIGHTS.len() - 1)]
    }
}

/// The registry's row of a key; `None` for a key of another version of the program.
pub fn metric(key: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.key == key)
}

fn say(message: impl Into<String>) -> Reply {
    (None, Some(message.into()))
}

impl Charts {
    /// Asks for the whole history where it is missing.
    pub fn enter(&mut self) -> Option<Effect> {
        (self.runs.is_empty() && !self.loading).then(|| self.reload())
    }

    pub fn reload(&mut self) -> Effect {
        self.loading = true;
        Effect::Load(Query::History { run: None })
    }

    /// The run on show.
    pub fn own(&self) -> Option<&RunCurves> {
        self.runs.first()
    }

    /// Metrics that pass the filter and have at least one point in some run, in the order of the registry; then foreign ones.
    pub fn shown(&self) -> Vec<&str> {
        let has = |key: &str| self.runs.iter().any(|run| run.series.contains_key(key));
        let passes = |key: &str| {
            let words = || self.filter.split('|').map(str::trim).filter(|word| !word.is_empty());
            words().next().is_none() || words().any(|word| key.contains(word) || title(key).contains(word))
        };
        let known = METRICS.iter().map(|metric| metric.key).filter(|key| has(key));
        let mut foreign: Vec<&str> =
            self.runs.iter().flat_map(|run| run.series.keys()).map(String::as_str).filter(|key| metric(key).is_none()).collect();
        foreign.sort_unstable();
        foreign.dedup();
        known.chain(foreign).filter(|key| passes(key)).collect()
    }

    /// The chosen metric.
    pub fn chosen_key(&self) -> Option<&str> {
        let shown = self.shown();
        shown.get(self.chosen.min(shown.len().saturating_sub(1))).copied()
    }

    fn chosen_series(&self) -> Option<&Series> {
        let key = self.chosen_key()?;
        self.runs.iter().find_map(|run| run.series.get(key))
    }

    /// First and last step there is.
    pub fn extent(&self) -> Option<(f64, f64)> {
        let all = self.runs.iter().filter_map(RunCurves::extent);
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// First and last step on show.
    pub fn range(&self) -> Option<(f64, f64)> {
        let (first, last) = self.extent()?;
        let end = self.view.end.unwrap_or(last).clamp(first, last);
        let start = self.view.span.map_or(first, |span| (end - span).max(first));
        // A single step still has a place in the middle.
        Some(if end > start { (start, end) } else { (start - 0.5, end + 0.5) })
    }

    /// Takes the history of a run in; `run` is the one that was asked for.
    pub fn loaded(&mut self, run: Option<PathBuf>, history: History) {
        let curves = RunCurves::new(history, self.weight.value());
        match run {
            None => {
                (self.loading, self.failed) = (false, None);
                if self.runs.is_empty() { self.runs.push(curves) } else { self.runs[0] = curves }
            }
            Some(dir) => {
                if let Some(at) = self.runs.iter().skip(1).position(|there| there.dir == dir) {
                    self.runs[at + 1] = curves;
                } else if !self.runs.is_empty() && self.runs.len() < MOST_RUNS {
                    self.runs.push(curves);
                }
            }
        }
        self.chosen = self.chosen.min(self.shown().len().saturating_sub(1));
    }

    /// The loader could not answer.
    pub fn not_loaded(&mut self, run: Option<&PathBuf>, why: &str) {
        if run.is_none() {
            (self.loading, self.failed) = (false, Some(why.to_owned()));
        }
    }

    /// The runs that can be laid beside this one.
    pub fn peers(&mut self, runs: Vec<RunSummary>) {
        if let Some(picker) = &mut self.picker {
            picker.runs = Some(runs);
        }
    }

    /// A step was committed. Returns a question where the store knows steps that this client missed.
    pub fn step_committed(&mut self, report: &StepReport) -> Option<Effect> {
        let weight = self.weight.value();
        let own = self.runs.first_mut()?;
        if own.push(report, weight) { None } else { Some(self.reload()) }
    }

    /// Something happened that only the store can tell: a snapshot after a gap.
    pub fn outdated(&mut self) -> Option<Effect> {
        (!self.runs.is_empty()).then(|| self.reload())
    }

    /// What happened at or nearest before a step, for the line below the charts.
    pub fn marks_at(&self, step: f64) -> impl Iterator<Item = &Mark> {
        self.own().into_iter().flat_map(|run| &run.marks).filter(move |mark| (f64::from(mark.step) - step).abs() < 0.5)
    }

    /// Whether keys go to a line or a list that is open.
    pub fn takes_keys(&self) -> bool {
        self.prompt.is_some() || self.picker.is_some() || self.list
    }

    /// Takes a key while something is open.
    pub fn key(&mut self, key: KeyEvent) -> Reply {
        if self.prompt.is_some() {
            self.typed(key);
            return (None, None);
        }
        if self.picker.is_some() { self.pick(key) } else { self.walk_list(key) }
    }

    fn typed(&mut self, key: KeyEvent) {
        let Some(prompt) = &mut self.prompt else { return };
        match prompt.key(key) {
            Typed::Done => {
                self.filter = prompt.text().trim().to_lowercase();
                (self.prompt, self.chosen) = (None, 0);
            }
            Typed::Cancelled => self.prompt = None,
            Typed::Changed | Typed::Nothing => {}
        }
    }

    /// Carries out an action of this screen.
    pub fn act(&mut self, action: Action, grid: Grid, zoomed: bool) -> Reply {
        match action {
            Action::Filter => self.prompt = Some(Prompt::new(&self.filter)),
            Action::Compare => {
                self.picker = Some(Picker::default());
                return (Some(Effect::Load(Query::Peers)), None);
            }
            Action::Metrics => self.list = true,
            Action::Reload => return (Some(self.reload()), Some("reading the store".to_owned())),
            Action::Smoother | Action::Rougher => self.smooth(action == Action::Smoother),
            Action::LogScale => self.log = !self.log,
            Action::Axis => self.axis = if self.axis == Axis::Step { Axis::Clock } else { Axis::Step },
            Action::ZoomIn | Action::ZoomOut => self.zoom(action == Action::ZoomIn),
            Action::Fit => self.view = View::default(),
            Action::PanLeft | Action::PanRight => self.pan(action == Action::PanRight),
            Action::Follow => {
                (self.view.end, self.cursor) = (None, None);
                return say("follows the newest step");
            }
            Action::CursorLeft | Action::CursorRight => self.move_cursor(action == Action::CursorRight, grid),
            Action::NextMark | Action::PreviousMark => return self.go_to_mark(action == Action::NextMark),
            Action::Close => return self.close(),
            action => self.choose(action, grid, zoomed),
        }
        (None, None)
    }

    /// What Esc takes away: crosshair, filter, zoom of the steps; the last one to come goes first.
    fn close(&mut self) -> Reply {
        if self.cursor.take().is_none() {
            if self.filter.is_empty() {
                self.view = View::default();
            } else {
                self.filter.clear();
                return say("filter cleared");
            }
        }
        (None, None)
    }
}

/// A metric's name as people read it.
pub fn title(key: &str) -> String {
    key.replace('_', " ")
}
