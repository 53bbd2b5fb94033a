//! A series with the extremes of every stretch of it at hand, so that a million points are drawn as fast as a hundred.
//! Points are only ever added at the end. Nothing is thinned out: a single spike stays visible at any zoom.

/// Points in a bucket of the lowest level, and buckets in one of the next.
const FAN: usize = 16;

/// What lies in a stretch of a series. `low` > `high` where no value is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    pub low: f64,
    pub high: f64,
    /// Values that are NaN or infinite.
    pub n_odd: usize,
}

impl Extremes {
    const NONE: Extremes = Extremes { low: f64::INFINITY, high: f64::NEG_INFINITY, n_odd: 0 };

    pub fn is_empty(&self) -> bool {
        self.low > self.high
    }

    fn add(&mut self, value: f64) {
        if value.is_finite() {
            (self.low, self.high) = (self.low.min(value), self.high.max(value));
        } else {
            self.n_odd += 1;
        }
    }

    pub fn merge(&mut self, other: &Extremes) {
        (self.low, self.high) = (self.low.min(other.low), self.high.max(other.high));
        self.n_odd += other.n_odd;
    }
}

/// Points with rising x, and their extremes level by level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pyramid {
    xs: Vec<f64>,
    values: Vec<f64>,
    /// `levels[k][i]` covers points `i · FAN^(k+1)` and the ones after it; the last bucket of a level may still fill.
    levels: Vec<Vec<Extremes>>,
}

impl Pyramid {
    /// Adds a point; one that does not lie right of the last is left out, and false returned.
    pub fn push(&mut self, x: f64, value: f64) -> bool {
        if !x.is_finite() || self.xs.last().is_some_and(|last| x <= *last) {
            return false;
        }
        let mut at = self.xs.len();
        self.xs.push(x);
        self.values.push(value);
        for level in 0.. {
            at /= FAN;
            if level == self.levels.len() {
                // A level of a single bucket would say nothing new.
                if at == 0 && level > 0 {
                    break;
                }
                let mut first = Extremes::NONE;
                if let Some(below) = level.checked_sub(1).map(|below| &self.levels[below]) {
                    below.iter().take(FAN).for_each(|bucket| first.merge(bucket));
                }
                self.levels.push(if level == 0 { Vec::new() } else { vec![first] });
            }
            let buckets = &mut self.levels[level];
            if at == buckets.len() {
                buckets.push(Extremes::NONE);
            }
            buckets[at].add(value);
        }
        true
    }

    pub fn len(&self) -> usize {
        self.xs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.xs.is_empty()
    }

    /// Point `at` as (x, value).
    pub fn point(&self, at: usize) -> Option<(f64, f64)> {
        Some((*self.xs.get(at)?, *self.values.get(at)?))
    }

    pub fn first(&self) -> Option<(f64, f64)> {
        self.point(0)
    }

    pub fn last(&self) -> Option<(f64, f64)> {
        self.point(self.len().checked_sub(1)?)
    }

    /// The last finite value.
    pub fn newest(&self) -> Option<f64> {
        self.values.iter().rev().copied().find(|v| v.is_finite())
    }

    /// Index of the first point at `x` or right of it.
    pub fn index(&self, x: f64) -> usize {
        self.xs.partition_point(|there| *there < x)
    }

    /// The point nearest to `x`.
    pub fn nearest(&self, x: f64) -> Option<(f64, f64)> {
        let right = self.index(x);
        let candidates = [right.checked_sub(1), Some(right)].into_iter().flatten().filter_map(|at| self.point(at));
        candidates.min_by(|a, b| (a.0 - x).abs().total_cmp(&(b.0 - x).abs()))
    }

    /// Extremes of points `from..to`, in time logarithmic in their number.
    pub fn extremes(&self, from: usize, to: usize) -> Extremes {
        let (mut from, mut to) = (from.min(self.len()), to.min(self.len()));
        let mut all = Extremes::NONE;
        if from >= to {
            return all;
        }
        let edges = |all: &mut Extremes, from: usize, to: usize| self.values[from..to].iter().for_each(|v| all.add(*v));
        if to - from < 2 * FAN {
            edges(&mut all, from, to);
            return all;
        }
        let (inner, end) = (from.next_multiple_of(FAN), to / FAN * FAN);
        edges(&mut all, from, inner);
        edges(&mut all, end, to);
        (from, to) = (inner / FAN, end / FAN);
        for (level, buckets) in self.levels.iter().enumerate() {
            let top = level + 1 == self.levels.len();
            let (inner, end) = (from.next_multiple_of(FAN).min(to), (to / FAN * FAN).max(from));
            if top || inner >= end {
                buckets[from..to].iter().for_each(|b| all.merge(b));
                break;
            }
            buckets[from..inner].iter().chain(&buckets[end..to]).for_each(|b| all.merge(b));
            (from, to) = (inner / FAN, end / FAN);
        }
        all
    }

    /// The first and the last finite value of points `from..to`.
    pub fn ends(&self, from: usize, to: usize) -> Option<(f64, f64)> {
        let part = self.values.get(from..to.min(self.len()))?;
        let first = part.iter().copied().find(|v| v.is_finite())?;
        let last = part.iter().rev().copied().find(|v| v.is_finite())?;
        Some((first, last))
    }

    /// Exponential moving average of the finite values, corrected for its start (Adam's correction: divided by 1 − weight^n).
    /// Where a value is not finite the average stands still, and so the raw line alone shows the hole.
    pub fn smoothed(&self, weight: f64) -> Pyramid {
        let mut out = Pyramid::default();
        let mut state = Ema::default();
        self.xs.iter().zip(&self.values).for_each(|(x, value)| _ = out.push(*x, state.next(*value, weight)));
        out
    }
}

/// The running state of a corrected moving average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ema {
    sum: f64,
    /// weight^n
    left: f64,
}

impl Default for Ema {
    fn default() -> Ema {
        Ema { sum: 0.0, left: 1.0 }
    }
}

impl Ema {
    /// Takes a value in; NaN before the first finite one.
    pub fn next(&mut self, value: f64, weight: f64) -> f64 {
        if value.is_finite() {
            self.sum = weight * self.sum + (1.0 - weight) * value;
            self.left *= weight;
        }
        if self.left < 1.0 { self.sum / (1.0 - self.left) } else { f64::NAN }
    }
}
