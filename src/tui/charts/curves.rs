//! The series of one run, raw and smoothed, ready to be drawn.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    task::StepReport,
    tui::{
        history::{History, Mark},
        widget::pyramid::{Ema, Pyramid},
    },
};

/// One metric of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub raw: Pyramid,
    /// The moving average.
    pub smooth: Pyramid,
    ema: Ema,
}

impl Series {
    fn push(&mut self, step: u32, value: f64, weight: f64) {
        if self.raw.push(f64::from(step), value) {
            self.smooth.push(f64::from(step), self.ema.next(value, weight));
        }
    }

    fn smooth(&mut self, weight: f64) {
        (self.smooth, self.ema) = (Pyramid::default(), Ema::default());
        for at in 0..self.raw.len() {
            if let Some((x, value)) = self.raw.point(at) {
                self.smooth.push(x, self.ema.next(value, weight));
            }
        }
    }
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunCurves {
    pub id: String,
    pub dir: PathBuf,
    pub series: BTreeMap<String, Series>,
    /// By step.
    pub marks: Vec<Mark>,
    /// Commit of each step, Unix seconds.
    times: Vec<(u32, i64)>,
}

impl RunCurves {
    pub fn new(history: History, weight: f64) -> RunCurves {
        let History { id, dir, series, marks, times } = history;
        let series = series.into_iter().map(|(key, points)| {
            let mut series = Series::default();
            points.into_iter().for_each(|(step, value)| series.push(step, value, weight));
            (key, series)
        });
        RunCurves { id, dir, series: series.collect(), marks, times }
    }

    /// Adds a step that was just committed; false where steps before it are missing here.
    pub fn push(&mut self, report: &StepReport, weight: f64) -> bool {
        let (last, at) = self.times.last().copied().unwrap_or((0, 0));
        if report.step != last + 1 {
            return report.step == last;
        }
        // Until the store is read again, its phases say how long it took.
        #[expect(clippy::cast_possible_truncation)]
        let seconds = report.timings.iter().map(|timing| timing.seconds).sum::<f64>() as i64;
        self.times.push((report.step, at + seconds));
        for (key, value) in &report.metrics {
            match self.series.get_mut(key) {
                Some(series) => series.push(report.step, *value, weight),
                None => self.series.entry(key.clone()).or_default().push(report.step, *value, weight),
            }
        }
        true
    }

    pub fn smooth(&mut self, weight: f64) {
        self.series.values_mut().for_each(|series| series.smooth(weight));
    }

    /// First and last step with a value.
    pub fn extent(&self) -> Option<(f64, f64)> {
        let ends = self.series.values().filter_map(|series| Some((series.raw.first()?.0, series.raw.last()?.0)));
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Seconds between the commits of the first step and of this one or the last before it.
    #[expect(clippy::cast_precision_loss)]
    pub fn seconds_at(&self, step: f64) -> Option<f64> {
        let begun = self.times.first()?.1;
        let at = self.times.partition_point(|(there, _)| f64::from(*there) <= step).saturating_sub(1);
        Some((self.times[at].1 - begun).max(0) as f64)
    }
}
