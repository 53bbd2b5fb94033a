//! What one annotator decided, for the history, the figures of the session, and undo.

use super::{Setup, queue::Votes};
use crate::task::{Decision, HandLabel, Judged, Label, Quadrant, Standing, decision::Opinion};

/// One decision, as the history shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Of the label.
    pub id: String,
    pub sample: String,
    pub quadrant: Quadrant,
    pub opinion: Opinion,
    /// The decision in words.
    pub what: String,
    /// The claim in words.
    pub claim: String,
    pub seconds: f32,
    pub remark: String,
    pub blind: bool,
    pub repeat: bool,
    /// Made since the screen was opened.
    pub in_session: bool,
    pub votes: Votes,
}

impl Done {
    pub fn of(label: &HandLabel, in_session: bool) -> Done {
        Done {
            id: label.id.clone(),
            sample: label.sample.clone(),
            quadrant: label.quadrant,
            opinion: label.decision.opinion(&label.claim),
            what: describe(&label.decision),
            claim: claim(&label.claim),
            seconds: label.seconds,
            remark: label.remark.clone(),
            blind: label.blind,
            repeat: label.repeat,
            in_session,
            votes: Votes::default(),
        }
    }
}

/// Everything this annotator decided about this run and did not take back.
#[derive(Clone, Debug)]
pub struct Session {
    /// Oldest first.
    pub done: Vec<Done>,
    /// Milliseconds.
    pub began: i64,
}

/// Counts of the decisions made since the screen was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub right: usize,
    pub mended: usize,
    pub wrong: usize,
    pub unsure: usize,
    pub doubt: usize,
}

impl Counts {
    pub fn total(self) -> usize {
        self.right + self.mended + self.wrong + self.unsure + self.doubt
    }

    fn add(&mut self, opinion: Opinion) {
        *match opinion {
            Opinion::Right => &mut self.right,
            Opinion::Mended => &mut self.mended,
            Opinion::Wrong => &mut self.wrong,
            Opinion::Unsure => &mut self.unsure,
            Opinion::Doubt => &mut self.doubt,
        } += 1;
    }
}

impl Session {
    pub fn new(standing: &Standing, setup: &Setup, now: i64) -> Session {
        let mine = |label: &&HandLabel| label.annotator == setup.annotator && label.run == setup.run;
        Session { done: standing.labels().filter(mine).map(|label| Done::of(label, false)).collect(), began: now }
    }

    pub fn add(&mut self, done: Done) {
        self.done.push(done);
    }

    /// Removes the decision that this label recorded.
    pub fn take_back(&mut self, id: &str) -> Option<Done> {
        let at = self.done.iter().rposition(|done| done.id == id)?;
        Some(self.done.remove(at))
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.in_session().for_each(|done| counts.add(done.opinion));
        counts
    }

    /// Claims of a quadrant found right, and those judged at all, in this session.
    pub fn of_quadrant(&self, quadrant: Quadrant) -> (usize, usize) {
        let mut counts = Counts::default();
        self.in_session().filter(|done| done.quadrant == quadrant && !done.repeat).for_each(|done| counts.add(done.opinion));
        (counts.right, counts.right + counts.mended + counts.wrong)
    }

    /// Decisions a minute since the screen was opened; `None` before there is a minute's tenth to speak of.
    #[allow(clippy::cast_precision_loss)]
    pub fn per_minute(&self, now: i64) -> Option<f64> {
        let minutes = (now - self.began) as f64 / 60_000.0;
        (minutes > 0.1).then(|| self.in_session().count() as f64 / minutes)
    }

    /// Repeats of this session, and how many of them were answered as before.
    pub fn self_agreement(&self) -> (usize, usize) {
        let again = self.done.iter().enumerate().filter(|(_, done)| done.repeat && done.in_session);
        let same = |(at, done): (usize, &Done)| {
            let before = self.done[..at].iter().rev().find(|d| d.sample == done.sample && d.blind == done.blind);
            before.is_some_and(|d| d.what == done.what)
        };
        again.fold((0, 0), |(n, n_same), pair| (n + 1, n_same + usize::from(same(pair))))
    }

    fn in_session(&self) -> impl Iterator<Item = &Done> {
        self.done.iter().filter(|done| done.in_session)
    }
}

/// A decision in a few words.
pub fn describe(decision: &Decision) -> String {
    match decision {
        Decision::Accept => "accept".to_owned(),
        Decision::Reject(reason) => format!("reject: {}", reason.name().replace('_', " ")),
        Decision::Unsure => "cannot tell".to_owned(),
        Decision::Judge(Judged::Clean) => "no error".to_owned(),
        Decision::Judge(Judged::Error { kind, sentence }) => {
            format!("error: {}{}", kind.title(), sentence.map(|s| format!(", sentence {s}")).unwrap_or_default())
        }
        Decision::Amend { kind, sentence, correction } => {
            let kind = kind.map(|k| k.title().to_owned());
            let sentence = sentence.map(|s| format!("sentence {s}"));
            let correction = correction.as_ref().map(|_| "other correction".to_owned());
            let parts: Vec<String> = [kind, sentence, correction].into_iter().flatten().collect();
            format!("amend: {}", parts.join(", "))
        }
    }
}

fn claim(label: &Label) -> String {
    match label {
        Label::Clean => "CLEAN".to_owned(),
        Label::Error { kind, sentence, .. } => format!("ERROR {}, sentence {sentence}", kind.title()),
    }
}
