//! The state of the Label screen: which samples wait, which one is on show, what was decided. Pure: no clock and no file.
//! A decision is an [`Effect`]; it counts, and the next sample comes, only when the caller reports it as written down.

pub mod card;
pub mod claim;
pub mod decide;
pub mod keys;
pub mod note;
pub mod queue;
pub mod run;
pub mod session;
pub mod side;

use std::collections::{HashMap, HashSet};

use super::{overlay::Menu, theme::Theme};
use crate::{
    store::SampleHead,
    task::{
        Decision, Entry, HandLabel, Judged, Sample, Standing,
        decision::Opinion,
        hand_label::{Picked, Retraction},
    },
};
use card::Card;
use queue::{Arrangement, Votes, draw};
use session::{Done, Session};

/// The two ways to label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// Everything is shown: is the claim right?
    #[default]
    Review,
    /// Only the note is shown: is there an error?
    Blind,
}

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Task::Review => "review claim",
            Task::Blind => "blind judge",
        }
    }
}

/// What keys mean at the moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Mode {
    #[default]
    Card,
    /// Why the claim is rejected.
    Reasons,
    Typing {
        what: Field,
        text: String,
    },
    /// The keys: typing searches, Enter presses.
    Help(Menu),
}

/// What is being typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Remark,
    Correction,
}

/// What the caller must do because of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this down, then report to [`LabelApp::kept`] or [`LabelApp::not_kept`].
    Keep(Entry),
    Leave,
}

/// What the application needs before it can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// This sample, for [`LabelApp::show`].
    Sample(String),
    /// The Doctor's verdicts on all samples, for [`LabelApp::count_votes`].
    Votes,
}

/// Who labels what, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Run or file.
    pub run: String,
    pub annotator: String,
    pub seed: u64,
    /// Share of decided samples asked again.
    pub repeats: f64,
    pub task: Task,
    pub order: Picked,
}

/// A repeat must not come while the first decision is still in mind.
const REPEAT_DISTANCE: usize = 10;

/// The Label screen.
#[derive(Clone, Debug)]
pub struct LabelApp {
    pub theme: Theme,
    pub setup: Setup,
    pub size: (u16, u16),
    pub card: Option<Card>,
    pub mode: Mode,
    pub session: Session,
    /// Original note and changes are on show.
    pub show_original: bool,
    pub show_diff: bool,
    pub flash: Option<String>,
    pub dirty: bool,
    /// Unix time in milliseconds; the caller keeps it.
    pub now: i64,
    heads: Vec<SampleHead>,
    known: HashSet<String>,
    /// Undecided samples in order, as positions in `heads`.
    queue: Vec<usize>,
    at: usize,
    standing: Standing,
    votes: Option<HashMap<String, Votes>>,
    /// Undone labels that can be given again.
    undone: Vec<HandLabel>,
    /// An entry is on its way to the disk.
    keeping: bool,
    /// Text that is to be written in the reader's editor; the loop around takes it.
    pub editing: Option<String>,
}

impl LabelApp {
    /// Starts with the samples there are and the labels given so far, by anyone.
    pub fn new(theme: Theme, size: (u16, u16), setup: Setup, heads: Vec<SampleHead>, standing: Standing, now: i64) -> LabelApp {
        let session = Session::new(&standing, &setup, now);
        let mut app = LabelApp {
            theme,
            setup,
            size,
            card: None,
            mode: Mode::Card,
            session,
            show_original: true,
            show_diff: true,
            flash: None,
            dirty: true,
            now,
            heads: Vec::new(),
            known: HashSet::new(),
            queue: Vec::new(),
            at: 0,
            standing,
            votes: None,
            undone: Vec::new(),
            keeping: false,
            editing: None,
        };
        app.offer(heads);
        app
    }

    /// Takes more samples in; the one on show stays.
    pub fn offer(&mut self, heads: Vec<SampleHead>) {
        let before = self.heads.len();
        for head in heads {
            if self.known.insert(head.id.clone()) {
                self.heads.push(head);
            }
        }
        if self.heads.len() > before {
            self.rearrange();
        }
    }

    /// Takes entries in that others wrote.
    pub fn learn(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().filter(|entry| !self.standing.knows(entry.id())).collect::<Vec<_>>() {
            self.standing.push(entry);
            self.dirty = true;
        }
    }

    /// Samples that wait, the one on show included.
    pub fn remaining(&self) -> usize {
        self.queue.len()
    }

    /// Samples in all.
    pub fn total(&self) -> usize {
        self.heads.len()
    }

    /// The next samples in the queue, the one on show first.
    pub fn upcoming(&self) -> impl Iterator<Item = &SampleHead> {
        let (before, after) = self.queue.split_at(self.at.min(self.queue.len()));
        after.iter().chain(before).filter_map(|at| self.heads.get(*at))
    }

    /// Whether the claim must not show.
    pub fn hidden(&self) -> bool {
        self.setup.task == Task::Blind && self.card.as_ref().is_none_or(|card| card.judged.is_none())
    }

    /// What must be fetched before the screen is complete.
    pub fn wants(&self) -> Option<Want> {
        if self.setup.order == Picked::Disagreement && self.votes.is_none() {
            return Some(Want::Votes);
        }
        self.card.as_ref().filter(|card| card.sample.is_none()).map(|card| Want::Sample(card.id.clone()))
    }

    /// The sample that was wanted, and what the Doctor said of it.
    pub fn show(&mut self, sample: Sample, votes: Votes) {
        let (hidden, now) = (self.hidden(), self.now);
        let doubt = self.open_doubt(&sample.id);
        if let Some(card) = self.card.as_mut().filter(|card| card.id == sample.id && card.sample.is_none()) {
            card.fill(sample, votes, hidden, now);
            if let (Some(judged), false) = (doubt, card.repeat) {
                card.reveal(judged, now);
            }
            self.dirty = true;
        }
    }

    /// A blind judgement of this annotator that differs from the claim and has had no decision since.
    fn open_doubt(&self, sample: &str) -> Option<Judged> {
        let own = |l: &&HandLabel| {
            l.sample == sample && l.run == self.setup.run && l.annotator == self.setup.annotator && self.setup.task == Task::Blind
        };
        let last = self.standing.labels().rev().find(own)?;
        match &last.decision {
            Decision::Judge(judged) if !judged.agrees(&last.claim) => Some(judged.clone()),
            _ => None,
        }
    }

    /// The sample that was wanted cannot be had.
    pub fn missing(&mut self, id: &str, why: &str) {
        self.queue.retain(|at| self.heads[*at].id != id);
        self.say(&format!("{id} cannot be shown: {why}"));
        self.advance();
    }

    /// The Doctor's verdicts on every sample, by id.
    pub fn count_votes(&mut self, votes: HashMap<String, Votes>) {
        self.votes = Some(votes);
        self.card = None;
        self.rearrange();
    }

    /// An entry is on disk: it counts now.
    pub fn kept(&mut self, entry: Entry) {
        (self.keeping, self.dirty) = (false, true);
        match &entry {
            Entry::Label(label) => {
                let again = self.undone.pop_if(|last| last.sample == label.sample && last.decision == label.decision);
                if again.is_none() {
                    self.undone.clear();
                }
            }
            Entry::Undo(undo) => self.undone.extend(self.standing.get(&undo.of).cloned()),
        }
        self.standing.push(entry.clone());
        match entry {
            Entry::Label(label) => self.labelled(*label),
            Entry::Undo(undo) => self.taken_back(&undo.of),
        }
    }

    /// An entry could not be written: nothing has changed.
    pub fn not_kept(&mut self, why: &str) {
        self.keeping = false;
        self.say(why);
    }

    fn labelled(&mut self, label: HandLabel) {
        let opinion = label.decision.opinion(&label.claim);
        let votes = self.card.as_ref().map(|card| card.votes).unwrap_or_default();
        self.session.add(Done { votes, ..Done::of(&label, true) });
        if self.card.as_ref().is_none_or(|card| card.id != label.sample) {
            // Given again without its card: only the queue changes.
            return self.rearrange();
        }
        if let (Decision::Judge(judged), Opinion::Doubt, false) = (&label.decision, opinion, label.repeat) {
            if let Some(card) = &mut self.card {
                card.reveal(judged.clone(), self.now);
            }
            return self.say("the claim differs from what you saw: is it right after all?");
        }
        if !label.repeat && self.at < self.queue.len() {
            self.queue.retain(|at| self.heads[*at].id != label.sample);
        }
        self.advance();
    }

    fn taken_back(&mut self, id: &str) {
        let Some(done) = self.session.take_back(id) else { return };
        self.rearrange();
        if !self.known.contains(&done.sample) {
            return self.say(&format!("taken back: {} {}", done.sample, done.what));
        }
        if let Some(at) = self.queue.iter().position(|at| self.heads[*at].id == done.sample) {
            self.at = at;
        }
        // Its claim was on show, so nobody can judge it blind again.
        self.card = Some(Card { seen: true, repeat: done.repeat, ..Card::new(&done.sample) });
        self.say(&format!("taken back: {}", done.what));
    }

    /// Shows the next sample, or, now and then, one decided before.
    fn advance(&mut self) {
        self.mode = Mode::Card;
        if self.at >= self.queue.len() {
            self.at = 0;
        }
        let repeat = self.repeat();
        let next = repeat.clone().or_else(|| self.queue.get(self.at).map(|at| self.heads[*at].id.clone()));
        self.card = next.map(|id| Card { repeat: repeat.is_some(), ..Card::new(&id) });
        self.dirty = true;
    }

    /// Leaves the sample undecided and shows another.
    fn walk(&mut self, by: isize) {
        let n = self.queue.len();
        if n == 0 || n == 1 && self.card.as_ref().is_some_and(|card| !card.repeat) {
            return self.say("no other sample waits");
        }
        self.at = if by > 0 { (self.at + 1) % n } else { (self.at + n - 1) % n };
        self.card = self.queue.get(self.at).map(|at| Card::new(&self.heads[*at].id));
    }

    /// Whether it is time to ask a decided sample again, and which one.
    fn repeat(&self) -> Option<String> {
        let n = self.session.done.len();
        #[allow(clippy::cast_precision_loss)]
        let drawn = (draw(self.setup.seed, &format!("repeat {n}")) >> 11) as f64 / (1u64 << 53) as f64;
        if drawn >= self.setup.repeats || n < REPEAT_DISTANCE {
            return None;
        }
        let blind = self.setup.task == Task::Blind;
        let asked_again: HashSet<&str> = self.session.done.iter().filter(|d| d.repeat).map(|d| d.sample.as_str()).collect();
        let recent: HashSet<&str> = self.session.done.iter().rev().take(REPEAT_DISTANCE).map(|d| d.sample.as_str()).collect();
        let fit = |d: &&Done| {
            d.blind == blind
                && !asked_again.contains(&*d.sample)
                && !recent.contains(&*d.sample)
                && self.known.contains(&d.sample)
        };
        let candidates: Vec<&Done> = self.session.done.iter().filter(fit).collect();
        let at = draw(self.setup.seed, &format!("repeat which {n}")) % u64::try_from(candidates.len()).ok().filter(|n| *n > 0)?;
        usize::try_from(at).ok().and_then(|at| candidates.get(at)).map(|d| d.sample.clone())
    }

    /// Puts the undecided samples in order. The sample on show keeps its place on show.
    fn rearrange(&mut self) {
        let blind = self.setup.task == Task::Blind;
        let mine = |label: &&HandLabel| label.annotator == self.setup.annotator && label.run == self.setup.run;
        // Who has seen a claim cannot judge it blind; who agreed with it blind need not review it.
        let settles = |label: &&HandLabel| blind || label.decision.opinion(&label.claim) != Opinion::Doubt;
        let decided: HashSet<&str> = self.standing.labels().filter(mine).filter(settles).map(|l| l.sample.as_str()).collect();
        let others = |label: &&HandLabel| label.annotator != self.setup.annotator && label.run == self.setup.run;
        let seconds: HashSet<String> = self.standing.labels().filter(others).map(|l| l.sample.clone()).collect();
        let none = HashMap::new();
        let votes = self.votes.as_ref().unwrap_or(&none);
        let arrangement = Arrangement { order: self.setup.order, seed: self.setup.seed, blind, votes, seconds: &seconds };
        let queue = arrangement.of(&self.heads, |head| !decided.contains(head.id.as_str()));
        self.queue = queue;
        let shown = self.card.as_ref().map(|card| card.id.clone());
        let place = shown.and_then(|id| self.queue.iter().position(|at| self.heads[*at].id == id));
        self.at = place.unwrap_or(self.at.min(self.queue.len().saturating_sub(1)));
        if self.card.is_none() {
            self.at = 0;
            self.advance();
        }
        self.dirty = true;
    }

    /// A label of this decision about the sample on show, on its way to the disk.
    fn decide(&mut self, decision: Decision) -> Option<Effect> {
        let hidden = self.hidden();
        let card = self.card.as_ref()?;
        let Some(sample) = &card.sample else { return None };
        if let Err(why) = decision.check(sample) {
            self.say(why);
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let seconds = (self.now - card.shown_at).max(0) as f32 / 1000.0;
        let label = HandLabel {
            run: self.setup.run.clone(),
            annotator: self.setup.annotator.clone(),
            at: self.now / 1000,
            seconds,
            blind: hidden && !card.seen,
            repeat: card.repeat,
            saw_doctor: card.saw_doctor,
            picked: self.setup.order,
            remark: card.remark.clone(),
            ..HandLabel::of(sample, decision)
        };
        self.keep(Entry::Label(Box::new(label)))
    }

    fn undo(&mut self) -> Option<Effect> {
        let Some(last) = self.session.done.last() else {
            self.say("there is nothing to take back");
            return None;
        };
        let of = last.id.clone();
        self.keep(Entry::Undo(Retraction { id: String::new(), of, annotator: self.setup.annotator.clone(), at: self.now / 1000 }))
    }

    fn redo(&mut self) -> Option<Effect> {
        let Some(label) = self.undone.last().cloned() else {
            self.say("there is nothing to give again");
            return None;
        };
        self.keep(Entry::Label(Box::new(HandLabel { id: String::new(), at: self.now / 1000, ..label })))
    }

    fn keep(&mut self, entry: Entry) -> Option<Effect> {
        self.keeping = true;
        Some(Effect::Keep(entry))
    }

    /// Shows a message until the next key.
    pub fn say(&mut self, message: &str) {
        self.flash = Some(message.to_owned());
        self.dirty = true;
    }
}
