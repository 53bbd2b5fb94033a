//! What keys do on the Charts screen: walking, zooming, the crosshair, the lists that lie over the charts.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Charts, Grid, MOST_RUNS, Reply, View, WEIGHTS, Weight, say, title};
use crate::tui::{action::Action, app::Effect, query::Query};

/// Fewer steps than these are never stretched over the width.
const LEAST_SPAN: f64 = 4.0;

impl Charts {
    pub(super) fn smooth(&mut self, smoother: bool) {
        let Weight(at) = self.weight;
        self.weight = Weight(if smoother { (at + 1).min(WEIGHTS.len() - 1) } else { at.saturating_sub(1) });
        let weight = self.weight.value();
        self.runs.iter_mut().for_each(|run| run.smooth(weight));
    }

    /// Halves or doubles the steps on show, around the crosshair where there is one, else around the right edge.
    pub(super) fn zoom(&mut self, inward: bool) {
        let (Some((start, end)), Some((first, last))) = (self.range(), self.extent()) else { return };
        let span = if inward { ((end - start) / 2.0).max(LEAST_SPAN) } else { (end - start) * 2.0 };
        if span >= last - first {
            self.view = View::default();
            return;
        }
        self.view.span = Some(span);
        if let Some(cursor) = self.cursor {
            // The crosshair stays where it is on the screen.
            let share = ((cursor - start) / (end - start)).clamp(0.0, 1.0);
            self.set_end(cursor + span * (1.0 - share));
        }
    }

    pub(super) fn pan(&mut self, right: bool) {
        let Some((start, end)) = self.range() else { return };
        let by = (end - start) / 4.0;
        self.view.span = Some(end - start);
        self.set_end(if right { end + by } else { end - by });
    }

    /// At the newest step the view follows again.
    fn set_end(&mut self, end: f64) {
        let Some((first, last)) = self.extent() else { return };
        let end = end.max(first + self.view.span.unwrap_or(0.0));
        self.view.end = (end < last).then_some(end);
    }

    /// Moves the crosshair by one column of the plot, to a step that the chosen metric has.
    pub(super) fn move_cursor(&mut self, right: bool, grid: Grid) {
        let (Some((start, end)), Some(series)) = (self.range(), self.chosen_series()) else { return };
        let points = &series.raw;
        #[expect(clippy::cast_precision_loss)]
        let by = ((end - start) / grid.plot_columns.max(1) as f64).max(1.0);
        let here = match self.cursor {
            Some(cursor) => cursor,
            None if right => start - by,
            None => end + by,
        };
        let wanted = if right { here + by } else { here - by };
        let nearest = points.nearest(wanted).map(|(x, _)| x);
        let beyond = |x: &f64| if right { *x > here } else { *x < here };
        let next = if right {
            points.point(points.index(here.next_up()))
        } else {
            points.index(here).checked_sub(1).and_then(|at| points.point(at))
        };
        let Some(cursor) = nearest.filter(beyond).or(next.map(|(x, _)| x)) else { return };
        self.cursor = Some(cursor);
        self.bring_in(cursor);
    }

    /// Moves the view so that a step is on show.
    fn bring_in(&mut self, step: f64) {
        let Some((start, end)) = self.range() else { return };
        if step < start {
            self.set_end(step + (end - start));
        } else if step > end {
            self.set_end(step);
        }
    }

    pub(super) fn go_to_mark(&mut self, forward: bool) -> Reply {
        let here = self.cursor.unwrap_or(if forward { f64::NEG_INFINITY } else { f64::INFINITY });
        let steps = self.own().into_iter().flat_map(|run| &run.marks).map(|mark| f64::from(mark.step));
        let found = if forward {
            steps.filter(|step| *step > here).reduce(f64::min)
        } else {
            steps.filter(|step| *step < here).reduce(f64::max)
        };
        let Some(step) = found else {
            return say(if forward {
                "no alarm, event or checkpoint after this"
            } else {
                "no alarm, event or checkpoint before this"
            });
        };
        self.cursor = Some(step);
        self.bring_in(step);
        (None, None)
    }

    pub(super) fn choose(&mut self, action: Action, grid: Grid, zoomed: bool) {
        let last = self.shown().len().saturating_sub(1);
        let columns = if zoomed { 1 } else { grid.columns.max(1) };
        let page = if zoomed { 1 } else { grid.columns * grid.rows };
        let here = self.chosen.min(last);
        self.chosen = match action {
            Action::NextPanel => (here + 1) % (last + 1),
            Action::PreviousPanel => (here + last) % (last + 1),
            Action::Down if here + columns <= last => here + columns,
            Action::Up if here >= columns => here - columns,
            Action::PageDown => (here + page).min(last),
            Action::PageUp => here.saturating_sub(page),
            Action::Top => 0,
            Action::Bottom => last,
            _ => here,
        };
    }

    /// Takes a key while runs are chosen.
    pub(super) fn pick(&mut self, key: KeyEvent) -> Reply {
        let Some(picker) = &mut self.picker else { return (None, None) };
        if key.kind == KeyEventKind::Release {
            return (None, None);
        }
        let n = picker.runs.as_ref().map_or(0, Vec::len);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.picker = None,
            KeyCode::Esc | KeyCode::Char('q' | 'c') => self.picker = None,
            KeyCode::Down | KeyCode::Char('j') => picker.at = (picker.at + 1).min(n.saturating_sub(1)),
            KeyCode::Up | KeyCode::Char('k') => picker.at = picker.at.saturating_sub(1),
            KeyCode::Enter | KeyCode::Char(' ') => {
                let run = picker.runs.as_ref().and_then(|runs| runs.get(picker.at)).cloned();
                let Some(run) = run else { return (None, None) };
                return self.toggle(&run);
            }
            _ => {}
        }
        (None, None)
    }

    /// Lays a run beside this one, or takes it away again.
    fn toggle(&mut self, run: &crate::store::RunSummary) -> Reply {
        if let Some(at) = self.runs.iter().position(|there| there.dir == run.dir) {
            if at > 0 {
                self.runs.remove(at);
            }
            return (None, None);
        }
        if let Some(why) = &run.broken {
            return say(format!("{} cannot be read: {why}", run.id));
        }
        if self.runs.len() >= MOST_RUNS {
            return say(format!("{MOST_RUNS} runs are on show already; take one away first"));
        }
        (Some(Effect::Load(Query::History { run: Some(run.dir.clone()) })), None)
    }

    /// Takes a key while the registry is on show.
    pub(super) fn walk_list(&mut self, key: KeyEvent) -> Reply {
        if key.kind == KeyEventKind::Release {
            return (None, None);
        }
        let last = self.shown().len().saturating_sub(1);
        match key.code {
            KeyCode::Down | KeyCode::Char('j') => self.chosen = (self.chosen + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Home | KeyCode::Char('g') => self.chosen = 0,
            KeyCode::End | KeyCode::Char('G') => self.chosen = last,
            KeyCode::Enter => {
                self.list = false;
                let Some(key) = self.chosen_key().map(title) else { return (None, None) };
                return say(format!("{key}: z gives it the whole screen"));
            }
            KeyCode::Esc | KeyCode::Char('q' | 'm' | 'c') => self.list = false,
            _ => {}
        }
        (None, None)
    }
}
