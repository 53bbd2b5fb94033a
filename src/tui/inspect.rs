//! The state of the Inspect screen: the list of committed rollouts, the one being read, marks, filter and order.
//! Pure: what it needs from the store it asks for with an [`Effect`], and [`Inspect::loaded`] takes the answer.

use std::collections::{BTreeMap, BTreeSet};

use ratatui::{crossterm::event::KeyEvent, text::Line};

use super::{
    action::Action,
    app::Effect,
    clipboard, layer,
    prompt::{Prompt, Typed},
    query::{Loaded, Query},
    widget::number,
};
use crate::{
    store::{FilterError, RolloutFilter, RolloutKey, RolloutRow, Sort, SortKey},
    task::{Rollout, Text},
};

/// Which half has the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    #[default]
    List,
    Detail,
}

/// How the note is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoteView {
    /// Words that changed from the source.
    #[default]
    Diff,
    /// As the Doctor read it.
    Posed,
    Source,
}

/// What is drawn of each token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    #[default]
    Off,
    /// −log-prob under the sampler.
    Surprise,
    /// Entropy of the policy where the token was drawn.
    Entropy,
    /// Log-prob under the policy less that under the sampler.
    Drift,
    /// Log-prob under the sampler less that with the adapter off: the k1 estimate of the KL divergence.
    Kl,
    /// |advantage| × (1 − p): how hard the update pulls at this token.
    Share,
    /// What the update did with the token.
    Mask,
}

impl Layer {
    pub const ALL: [Layer; 7] = [Layer::Off, Layer::Surprise, Layer::Entropy, Layer::Drift, Layer::Kl, Layer::Share, Layer::Mask];

    fn next(self, by: usize) -> Layer {
        let at = Layer::ALL.iter().position(|layer| *layer == self).unwrap_or(0);
        Layer::ALL[(at + by) % Layer::ALL.len()]
    }
}

/// The detail, laid out for one width: drawing only slices it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// One column, or two side by side.
    pub columns: Vec<Vec<Line<'static>>>,
    /// First line of the token layer in the last column.
    pub tokens_at: Option<usize>,
    /// The line of the token under the cursor.
    pub token_at: Option<usize>,
    /// Stays below what scrolls.
    pub pinned: Vec<Line<'static>>,
}

impl Page {
    pub fn height(&self) -> usize {
        self.columns.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// The Inspect screen.
#[derive(Clone, Debug, Default)]
pub struct Inspect {
    pub rows: Vec<RolloutRow>,
    /// Rollouts in the store, whatever the filter.
    pub n_all: u64,
    pub chosen: usize,
    /// The filter in force, and how it was written.
    pub filter: RolloutFilter,
    pub filter_text: String,
    /// The filter being written, and what is wrong with it.
    pub prompt: Option<Prompt>,
    pub problem: Option<FilterError>,
    pub sort: Sort,
    pub marks: BTreeSet<RolloutKey>,
    pub part: Part,
    /// Siblings of the rollout on show.
    pub group: Vec<Rollout>,
    /// How their tokens read, as far as the store knows.
    pub spellings: BTreeMap<u32, String>,
    /// What turned the returns of their step into advantages: taken off, divided by.
    pub scaling: Option<(f64, f64)>,
    /// The siblings lie side by side.
    pub beside: bool,
    pub shown: Option<RolloutKey>,
    pub compared: Option<Box<[Rollout; 2]>>,
    pub note_view: NoteView,
    pub layer: Layer,
    /// The token under the cursor, and the one that was last brought into view.
    pub token: usize,
    pub token_seen: usize,
    /// First line of the detail on show.
    pub top: usize,
    pub page: Page,
    /// The page no longer fits what it shows.
    pub stale: bool,
    /// The list was read at least once, and a question about it is open.
    pub loaded: bool,
    pub loading: bool,
    /// Steps committed since the list was read.
    pub n_new_steps: u32,
    /// Why the store could not be read.
    pub failed: Option<String>,
}

/// What a key led to: something to do outside, something to say.
pub type Reply = (Option<Effect>, Option<String>);

fn say(message: impl Into<String>) -> Reply {
    (None, Some(message.into()))
}

impl Inspect {
    /// Asks for the list where it is missing or no longer whole.
    pub fn enter(&mut self) -> Option<Effect> {
        (!self.loaded || self.n_new_steps > 0).then(|| self.reload())
    }

    /// Shows the rollouts of one step.
    pub fn open_step(&mut self, step: u32) -> Effect {
        let text = format!("step:{step}");
        let filter = RolloutFilter::parse(&text).unwrap_or_default();
        (self.stale, self.part) = (true, Part::List);
        self.refilter(filter, &text)
    }

    fn reload(&mut self) -> Effect {
        self.loading = true;
        self.n_new_steps = 0;
        Effect::Load(Query::Rollouts { filter: self.filter.clone(), sort: self.sort })
    }

    /// A step was committed.
    pub fn step_committed(&mut self, on_screen: bool) -> Option<Effect> {
        self.n_new_steps += 1;
        // Nothing a reader looks at can move: bring the first rollouts in by itself.
        (on_screen && self.loaded && self.n_all == 0).then(|| self.reload())
    }

    /// The rollout on show, once it is here.
    pub fn rollout(&self) -> Option<&Rollout> {
        let shown = self.shown.as_ref()?;
        self.group.iter().find(|r| r.sibling == shown.sibling && r.sample.id == shown.sample_id)
    }

    /// Takes an answer in.
    pub fn loaded(&mut self, answer: Loaded) -> Reply {
        match answer {
            Loaded::Rollouts { filter, sort, rows, n_all } if filter == self.filter && sort == self.sort => {
                self.take_rows(rows, n_all)
            }
            Loaded::Group { sample_id, rollouts, spellings, scaling }
                if self.shown.as_ref().is_some_and(|s| s.sample_id == sample_id) =>
            {
                (self.group, self.spellings, self.scaling, self.stale) = (rollouts, spellings, scaling, true);
                (None, None)
            }
            Loaded::Pair(pair) => {
                (self.compared, self.stale, self.top, self.part) = (Some(pair), true, 0, Part::Detail);
                (None, None)
            }
            Loaded::Exported { path, n_rollouts } => {
                let n = number::many(n_rollouts, "rollout");
                // The name first: a line that has no room for all of it is cut at its end.
                let (name, folder) = (path.file_name().unwrap_or_default(), path.parent().unwrap_or(&path));
                say(format!("wrote {n} to {} in {}", name.display(), folder.display()))
            }
            // Nobody asked for the card: that it cannot be made is not worth a message.
            Loaded::Failed { query: Query::Away, .. } | Loaded::Away(_) | Loaded::Nothing => (None, None),
            Loaded::History { .. } | Loaded::Peers(_) | Loaded::Log { .. } => (None, None),
            Loaded::Failed { query, why } => {
                if matches!(query, Query::Rollouts { .. }) {
                    (self.failed, self.loading) = (Some(why.clone()), false);
                }
                say(why)
            }
            Loaded::Rollouts { .. } | Loaded::Group { .. } => (None, None),
        }
    }

    fn take_rows(&mut self, rows: Vec<RolloutRow>, n_all: u64) -> Reply {
        let wanted = self.shown.take();
        (self.rows, self.n_all, self.failed) = (rows, n_all, None);
        (self.loaded, self.loading) = (true, false);
        let same = |row: &RolloutRow, key: &RolloutKey| *row.sample_id == *key.sample_id && row.sibling == key.sibling;
        let at = wanted.as_ref().and_then(|key| self.rows.iter().position(|row| same(row, key)));
        if at.is_some() {
            self.shown = wanted;
            self.chosen = at.unwrap_or(0);
            return (None, None);
        }
        (self.choose(0), None)
    }

    /// Goes to a row of the list.
    pub fn choose(&mut self, at: usize) -> Option<Effect> {
        self.chosen = at.min(self.rows.len().saturating_sub(1));
        let key = self.rows.get(self.chosen).map(RolloutRow::key);
        self.show(key)
    }

    fn show(&mut self, key: Option<RolloutKey>) -> Option<Effect> {
        (self.stale, self.top, self.token) = (true, 0, 0);
        let known = key.as_ref().is_some_and(|key| self.group.iter().any(|r| r.sample.id == key.sample_id));
        self.shown = key;
        if known {
            return None;
        }
        self.group.clear();
        let sample_id = self.shown.as_ref()?.sample_id.clone();
        Some(Effect::Load(Query::Group { sample_id }))
    }

    /// Takes a key while the filter is being written.
    pub fn typed(&mut self, key: KeyEvent) -> Option<Effect> {
        let prompt = self.prompt.as_mut()?;
        let typed = prompt.key(key);
        let text = prompt.text();
        let read = RolloutFilter::parse(&text);
        match (typed, read) {
            (Typed::Cancelled, _) => (self.prompt, self.problem) = (None, None),
            (Typed::Done, Ok(filter)) => {
                (self.prompt, self.problem) = (None, None);
                return Some(self.refilter(filter, &text));
            }
            (Typed::Done | Typed::Changed, read) => self.problem = read.err(),
            (Typed::Nothing, _) => {}
        }
        None
    }

    /// Filters by `text`, whatever was filtered before.
    pub fn filter_to(&mut self, text: &str) -> Result<Effect, FilterError> {
        let filter = RolloutFilter::parse(text)?;
        (self.part, self.compared) = (Part::List, None);
        Ok(self.refilter(filter, text))
    }

    fn refilter(&mut self, filter: RolloutFilter, text: &str) -> Effect {
        (self.filter, self.filter_text) = (filter, text.trim().to_owned());
        self.reload()
    }

    /// Carries out an action of this screen; scrolling is done by [`Inspect::scroll`].
    pub fn act(&mut self, action: Action, alone: bool) -> Reply {
        // Laying out again is cheap next to a key press; forgetting to would show another rollout's text.
        self.stale = true;
        match action {
            Action::Filter => {
                (self.prompt, self.part) = (Some(Prompt::new(&self.filter_text)), Part::List);
                (None, None)
            }
            Action::Close => self.close(alone),
            Action::Open if self.shown.is_none() => say("there is no rollout to open"),
            Action::Open => {
                self.part = Part::Detail;
                (None, None)
            }
            Action::NextPanel | Action::PreviousPanel => {
                self.part = if self.part == Part::List { Part::Detail } else { Part::List };
                (None, None)
            }
            Action::Sort | Action::ReverseSort => {
                self.next_sort(action == Action::ReverseSort);
                (Some(self.reload()), None)
            }
            Action::Reload => (Some(self.reload()), Some("reading the store".to_owned())),
            Action::NextSibling => self.sibling(1),
            Action::PreviousSibling => self.sibling(-1),
            Action::NextWrong => self.wrong(1),
            Action::PreviousWrong => self.wrong(-1),
            Action::Mark => self.mark(),
            Action::ClearMarks => {
                self.marks.clear();
                (None, None)
            }
            Action::Compare => self.compare(),
            Action::Beside if self.shown.is_none() => say("there is no rollout to show"),
            Action::Beside => {
                (self.beside, self.top, self.part) = (!self.beside && self.compared.is_none(), 0, Part::Detail);
                (None, None)
            }
            Action::Export => self.export(),
            Action::CopyCompletion => self.copy(|r| ("completion", r.completion.text.clone())),
            Action::CopyNote => self.copy(|r| ("note", r.sample.note.numbered())),
            _ => self.look(action),
        }
    }

    /// What only changes how the rollout on show looks.
    fn look(&mut self, action: Action) -> Reply {
        let n_tokens = self.rollout().map_or(0, |r| r.completion.tokens.len());
        match action {
            Action::NoteView => {
                let (view, told) = match self.note_view {
                    NoteView::Diff => (NoteView::Posed, "the note as the Doctor read it"),
                    NoteView::Posed => (NoteView::Source, "the note as it was before the Scribe"),
                    NoteView::Source => (NoteView::Diff, "the note with its changes marked"),
                };
                self.note_view = view;
                // It may be scrolled out of sight.
                return say(told);
            }
            Action::Tokens => {
                self.layer = self.layer.next(1);
            }
            Action::TokensBack => self.layer = self.layer.next(Layer::ALL.len() - 1),
            Action::NextToken | Action::PreviousToken | Action::NextPeak | Action::PreviousPeak if self.layer == Layer::Off => {
                return say("t shows the tokens first");
            }
            Action::NextPeak | Action::PreviousPeak => return self.peak(action == Action::NextPeak),
            Action::NextToken => self.token = (self.token + 1).min(n_tokens.saturating_sub(1)),
            Action::PreviousToken => self.token = self.token.saturating_sub(1),
            _ => {}
        }
        (None, None)
    }

    /// Goes to the next token whose bar is high.
    fn peak(&mut self, forward: bool) -> Reply {
        let Some(rollout) = self.rollout() else { return (None, None) };
        let high = layer::levels(self.layer, rollout);
        let is_high = |at: &usize| high.get(*at).is_some_and(|level| *level >= layer::HIGH);
        let found = if forward { (self.token + 1..high.len()).find(is_high) } else { (0..self.token).rev().find(is_high) };
        let Some(found) = found else {
            return say(if forward { "no high bar after this token" } else { "no high bar before this token" });
        };
        self.token = found;
        (None, None)
    }

    /// `alone`: only one part is on the screen, so Esc leads back to the list.
    fn close(&mut self, alone: bool) -> Reply {
        if self.beside {
            (self.beside, self.stale, self.top) = (false, true, 0);
            return (None, None);
        }
        if self.compared.take().is_some() {
            (self.stale, self.top, self.part) = (true, 0, Part::List);
            return (None, None);
        }
        if alone && self.part == Part::Detail {
            self.part = Part::List;
            return (None, None);
        }
        if self.filter.terms.is_empty() {
            self.part = Part::List;
            return (None, None);
        }
        (Some(self.refilter(RolloutFilter::default(), "")), Some("filter cleared".to_owned()))
    }

    fn next_sort(&mut self, reverse: bool) {
        if reverse {
            self.sort.descending = !self.sort.descending;
            return;
        }
        let at = SortKey::ALL.iter().position(|key| *key == self.sort.key).unwrap_or(0);
        let key = SortKey::ALL[(at + 1) % SortKey::ALL.len()];
        // What one looks for comes first: the newest, the worst, the longest.
        self.sort = Sort { key, descending: matches!(key, SortKey::Step | SortKey::Length) };
    }

    fn sibling(&mut self, by: i64) -> Reply {
        let Some(shown) = self.shown.clone() else { return (None, None) };
        let wanted = i64::from(shown.sibling) + by;
        let Some(sibling) = self.group.iter().map(|r| r.sibling).find(|s| i64::from(*s) == wanted) else {
            return say(if by < 0 {
                "this is the first completion of the sample"
            } else {
                "this is the last completion of the sample"
            });
        };
        let key = RolloutKey { sibling, ..shown };
        // The list follows where it can; the filter may hide the sibling.
        let same = |row: &RolloutRow| row.sibling == sibling && *row.sample_id == *key.sample_id;
        self.chosen = self.rows.iter().position(same).unwrap_or(self.chosen);
        (self.show(Some(key)), None)
    }

    fn wrong(&mut self, by: i64) -> Reply {
        let is_wrong = |i: &usize| self.rows.get(*i).is_some_and(|row| !row.cell.is_right());
        let found =
            if by > 0 { (self.chosen + 1..self.rows.len()).find(is_wrong) } else { (0..self.chosen).rev().find(is_wrong) };
        match found {
            Some(at) => (self.choose(at), None),
            None => say(if by > 0 { "nothing wrong after this one" } else { "nothing wrong before this one" }),
        }
    }

    fn mark(&mut self) -> Reply {
        let Some(key) = self.shown.clone() else { return say("there is no rollout to mark") };
        if !self.marks.remove(&key) {
            self.marks.insert(key);
        }
        (None, None)
    }

    /// The marked rollouts; the one on show where none is.
    fn meant(&self) -> Vec<RolloutKey> {
        if self.marks.is_empty() { self.shown.iter().cloned().collect() } else { self.marks.iter().cloned().collect() }
    }

    fn compare(&mut self) -> Reply {
        let mut pair: Vec<RolloutKey> = self.marks.iter().cloned().collect();
        if pair.len() == 1 {
            pair.extend(self.shown.clone().filter(|shown| !self.marks.contains(shown)));
        }
        match <[RolloutKey; 2]>::try_from(pair) {
            Ok(pair) => (Some(Effect::Load(Query::Pair(Box::new(pair)))), None),
            Err(pair) if pair.len() > 2 => {
                say(format!("{} are marked; two can be compared (V takes all marks away)", pair.len()))
            }
            Err(_) => say("mark two rollouts with v, or mark one and go to another"),
        }
    }

    fn export(&mut self) -> Reply {
        let keys = self.meant();
        if keys.is_empty() { say("there is no rollout to export") } else { (Some(Effect::Load(Query::Export(keys))), None) }
    }

    fn copy(&self, text: impl Fn(&Rollout) -> (&'static str, String)) -> Reply {
        let Some((what, text)) = self.rollout().map(text) else { return say("there is nothing to copy") };
        let text = Text::new(&text);
        let n = text.as_str().len();
        if n > clipboard::MOST_BYTES * 3 / 4 {
            return say(format!("the {what} has {n} bytes, more than terminals copy; E writes it to a file"));
        }
        (Some(Effect::Copy(text)), Some(format!("copied the {what}: {n} bytes")))
    }

    /// Moves in the list or scrolls the detail; `visible` is how many lines the part shows.
    pub fn scroll(&mut self, action: Action, visible: usize) -> Option<Effect> {
        let detail = self.part == Part::Detail || matches!(action, Action::DetailDown | Action::DetailUp);
        let (here, n) = if detail { (self.top, self.page.height()) } else { (self.chosen, self.rows.len()) };
        let last = if detail { n.saturating_sub(visible) } else { n.saturating_sub(1) };
        let half = (visible / 2).max(1);
        let there = match action {
            Action::Up | Action::DetailUp => here.saturating_sub(1),
            Action::Down | Action::DetailDown => here + 1,
            Action::PageUp => here.saturating_sub(half),
            Action::PageDown => here + half,
            Action::Top => 0,
            _ => last,
        };
        let there = there.min(last);
        if detail {
            self.top = there;
            return None;
        }
        if there == self.chosen && self.shown.is_some() { None } else { self.choose(there) }
    }
}
