//! The labels that stand: an append-only list of entries folded, undone ones left out, the last word of each annotator on top.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    decision::{Opinion, Outcome, apply},
    hand_label::{Entry, HandLabel, fingerprint},
    quadrant::Quadrant,
    sample::Sample,
};

/// Folded entries. Pushing an entry twice changes nothing; an undo may come before its label.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Every label once, in order, undone ones included.
    labels: Vec<HandLabel>,
    by_id: HashMap<String, Option<usize>>,
    by_note: HashMap<String, Vec<usize>>,
    undone: HashSet<String>,
}

impl FromIterator<Entry> for Standing {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Standing {
        let entries = entries.into_iter();
        let (n, _) = entries.size_hint();
        let mut standing = Standing {
            labels: Vec::with_capacity(n),
            by_id: HashMap::with_capacity(n),
            by_note: HashMap::with_capacity(n),
            undone: HashSet::new(),
        };
        entries.for_each(|entry| standing.push(entry));
        standing
    }
}

impl Standing {
    /// Takes one more entry in.
    pub fn push(&mut self, entry: Entry) {
        if self.by_id.contains_key(entry.id()) {
            return;
        }
        match entry {
            Entry::Label(label) => {
                let at = self.labels.len();
                self.by_id.insert(label.id.clone(), Some(at));
                self.by_note.entry(label.note.clone()).or_default().push(at);
                self.labels.push(*label);
            }
            Entry::Undo(undo) => {
                self.by_id.insert(undo.id, None);
                self.undone.insert(undo.of);
            }
        }
    }

    /// Whether an entry of this id was taken in.
    pub fn knows(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// A label that was not undone.
    pub fn get(&self, id: &str) -> Option<&HandLabel> {
        let at = (*self.by_id.get(id)?)?;
        self.labels.get(at).filter(|label| !self.undone.contains(&label.id))
    }

    /// Every label that was not undone, oldest first; later ones by the same annotator supersede earlier ones.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &HandLabel> {
        self.labels.iter().filter(|label| !self.undone.contains(&label.id))
    }

    pub fn n_undone(&self) -> usize {
        self.labels.len() - self.labels().count()
    }

    /// What all annotators together make of a sample. A label counts where the text and the claim it was given for are these.
    pub fn outcome(&self, sample: &Sample) -> Outcome {
        let on_note = self.by_note.get(&fingerprint(&sample.note)).map_or(&[][..], Vec::as_slice);
        let labels = on_note.iter().filter_map(|at| self.labels.get(*at));
        let alive = labels.filter(|label| !self.undone.contains(&label.id) && label.claim == sample.label);
        apply(last_words(alive).iter().map(|label| &label.decision), sample)
    }

    /// Whether anybody decided on this sample, knowing or judging.
    pub fn is_decided(&self, sample: &Sample) -> bool {
        let on_note = self.by_note.get(&fingerprint(&sample.note)).map_or(&[][..], Vec::as_slice);
        on_note.iter().filter_map(|at| self.labels.get(*at)).any(|l| !self.undone.contains(&l.id) && l.claim == sample.label)
    }

    /// The standing labels of each sample, one an annotator, in the order of run and sample.
    pub fn by_sample(&self) -> BTreeMap<(&str, &str), Vec<&HandLabel>> {
        let mut samples: BTreeMap<(&str, &str), Vec<&HandLabel>> = BTreeMap::new();
        for label in self.labels() {
            samples.entry((&label.run, &label.sample)).or_default().push(label);
        }
        samples.into_iter().map(|(sample, labels)| (sample, last_words(labels))).collect()
    }

    /// How the labelled samples of each quadrant fared, by [`Quadrant::index`].
    pub fn tallies(&self) -> [Tally; 4] {
        let mut tallies = [Tally::default(); 4];
        for labels in self.by_sample().values() {
            if let Some(first) = labels.first() {
                tallies[first.quadrant.index()].add(labels);
            }
        }
        tallies
    }

    /// Quadrants whose claims are right more rarely than `below` over at least `min` samples fairly drawn.
    pub fn quarantined(&self, below: f64, min: usize) -> Vec<Quadrant> {
        let tallies = self.tallies();
        let bad = |tally: &Tally| tally.n_judged() >= min.max(1) && tally.precision().is_some_and(|p| p < below);
        Quadrant::ALL.into_iter().filter(|quadrant| bad(&tallies[quadrant.index()])).collect()
    }
}

/// The last word of each annotator, in order of first appearance. A decision made with the claim in view outranks a blind one.
fn last_words<'a>(labels: impl IntoIterator<Item = &'a HandLabel>) -> Vec<&'a HandLabel> {
    let mut last: Vec<&HandLabel> = Vec::new();
    for label in labels {
        match last.iter_mut().find(|other| other.annotator == label.annotator) {
            Some(other) if label.blind && !other.blind => {}
            Some(other) => *other = label,
            None => last.push(label),
        }
    }
    last
}

/// Samples of one quadrant by what was said of their claims. The first five count samples that were fairly drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub right: usize,
    /// Wrong as claimed; trained on with another label.
    pub mended: usize,
    pub rejected: usize,
    pub unsure: usize,
    /// Annotators differ, or a blind judgement does and nobody has looked at the claim since.
    pub disputed: usize,
    /// Picked because the Doctor disagreed: looked at, but no fair draw, so left out of every share.
    pub picked: usize,
}

impl Tally {
    fn add(&mut self, labels: &[&HandLabel]) {
        if labels.iter().any(|label| !label.picked.is_fair()) {
            self.picked += 1;
            return;
        }
        let opinions: Vec<Opinion> = labels.iter().map(|label| label.decision.opinion(&label.claim)).collect();
        let any = |wanted: &[Opinion]| opinions.iter().any(|opinion| wanted.contains(opinion));
        let (right, wrong) = (any(&[Opinion::Right]), any(&[Opinion::Wrong, Opinion::Mended]));
        let slot = match (right, wrong) {
            (true, true) => &mut self.disputed,
            (true, false) => &mut self.right,
            (false, true) if any(&[Opinion::Wrong]) => &mut self.rejected,
            (false, true) => &mut self.mended,
            (false, false) if any(&[Opinion::Doubt]) => &mut self.disputed,
            (false, false) => &mut self.unsure,
        };
        *slot += 1;
    }

    /// Samples whose claim was found right or wrong.
    pub fn n_judged(&self) -> usize {
        self.right + self.mended + self.rejected
    }

    /// Share of claims that are right, over those judged.
    #[allow(clippy::cast_precision_loss)]
    pub fn precision(&self) -> Option<f64> {
        (self.n_judged() > 0).then(|| self.right as f64 / self.n_judged() as f64)
    }
}
