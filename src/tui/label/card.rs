//! The sample before the annotator, and what is prepared for it but not decided yet.

use crate::{
    task::{Decision, ErrorKind, Judged, Label, Note, Sample, decision::RejectReason},
    tui::{
        label::{note::Anchor, queue::Votes},
        widget::{
            cut,
            diff::{self, Piece},
        },
    },
};

/// Comparing longer sentences word by word could take seconds; they are shown without their changes.
const MAX_DIFF_BYTES: usize = 20_000;
/// Of a longer sentence the rest is only counted. MEDEC's longest has about a thousand.
const MAX_SHOWN_BYTES: usize = 40_000;

/// One sentence of either note, sanitised, with its changes.
#[derive(Clone, Debug)]
pub struct SentenceView {
    pub id: u32,
    pub old: String,
    pub new: String,
    /// Empty where there is nothing to compare.
    pub pieces: Vec<Piece>,
}

/// One sample on the screen.
#[derive(Clone, Debug)]
pub struct Card {
    pub id: String,
    /// `None` until it was read.
    pub sample: Option<Sample>,
    pub views: Vec<SentenceView>,
    pub votes: Votes,
    /// The sentence the next decision is about; it starts at the claimed one.
    pub cursor: Option<u32>,
    pub correction: Option<String>,
    pub remark: String,
    /// What was judged blind, where the claim differs: it is on show now and asks for a decision.
    pub judged: Option<Judged>,
    /// The claim was seen before, so that no judgement can be blind any more.
    pub seen: bool,
    pub repeat: bool,
    pub saw_doctor: bool,
    /// Milliseconds.
    pub shown_at: i64,
    /// The first row on show; `None` is the natural place.
    pub scroll: Option<Anchor>,
}

impl Card {
    pub fn new(id: &str) -> Card {
        Card {
            id: id.to_owned(),
            sample: None,
            views: Vec::new(),
            votes: Votes::default(),
            cursor: None,
            correction: None,
            remark: String::new(),
            judged: None,
            seen: false,
            repeat: false,
            saw_doctor: false,
            shown_at: 0,
            scroll: None,
        }
    }

    /// Takes the sample in. With `hidden`, the cursor must not point at the claim.
    pub fn fill(&mut self, sample: Sample, votes: Votes, hidden: bool, now: i64) {
        self.views = views(&sample);
        self.cursor = if hidden { None } else { claimed(&sample.label) };
        (self.sample, self.votes, self.shown_at) = (Some(sample), votes, now);
    }

    /// Shows the claim after a blind judgement.
    pub fn reveal(&mut self, judged: Judged, now: i64) {
        (self.judged, self.seen, self.shown_at, self.scroll) = (Some(judged), true, now, None);
        (self.correction, self.remark) = (None, String::new());
        self.cursor = self.sample.as_ref().and_then(|sample| claimed(&sample.label));
    }

    /// Moves the sentence cursor; past either end it points at no sentence.
    pub fn move_cursor(&mut self, by: isize) {
        let Some(sample) = &self.sample else { return };
        let ids: Vec<u32> = sample.note.sentences.iter().map(|s| s.id).collect();
        let at = self.cursor.and_then(|id| ids.iter().position(|i| *i == id));
        let next = match (at, by > 0) {
            (None, true) => Some(0),
            (None, false) => ids.len().checked_sub(1),
            (Some(at), true) => Some(at + 1),
            (Some(at), false) => at.checked_sub(1),
        };
        self.cursor = next.and_then(|at| ids.get(at)).copied();
        self.scroll = None;
    }

    /// Accepting the claim with whatever else was prepared.
    pub fn accept(&self) -> Decision {
        let Some(sample) = &self.sample else { return Decision::Accept };
        let sentence = self.cursor.filter(|id| Some(*id) != claimed(&sample.label));
        if !sample.label.is_error() && self.correction.is_none() || sentence.is_none() && self.correction.is_none() {
            return Decision::Accept;
        }
        Decision::Amend { kind: None, sentence, correction: self.correction.clone() }
    }

    /// The claim with this type; accepting it where nothing else differs.
    pub fn with_kind(&self, kind: ErrorKind) -> Decision {
        let Some(sample) = &self.sample else { return Decision::Accept };
        let sentence = self.cursor.filter(|id| Some(*id) != claimed(&sample.label));
        match (sample.label.kind() == Some(kind), sentence, &self.correction) {
            (true, None, None) => Decision::Accept,
            (same, sentence, correction) => {
                Decision::Amend { kind: (!same).then_some(kind), sentence, correction: correction.clone() }
            }
        }
    }

    /// What the correction editor starts with: what the claim says is right, or the sentence as it stands.
    pub fn correction_draft(&self) -> Option<String> {
        let sample = self.sample.as_ref()?;
        if let Some(draft) = &self.correction {
            return Some(draft.clone());
        }
        let id = self.cursor.or_else(|| claimed(&sample.label))?;
        let text = match &sample.label {
            Label::Error { sentence, correction, .. } if *sentence == id => correction.clone(),
            Label::Error { .. } => sample.source.sentence(id).or_else(|| sample.note.sentence(id))?.text.clone(),
            Label::Clean => sample.note.sentence(id)?.text.clone(),
        };
        Some(cut::clean(&text))
    }

    /// The reasons that fit the claim.
    pub fn reasons(&self) -> Vec<RejectReason> {
        let fits = |reason: &RejectReason| self.sample.as_ref().is_some_and(|sample| reason.fits(&sample.label));
        RejectReason::ALL.into_iter().filter(fits).collect()
    }
}

/// The letter that gives this reason.
pub fn reason_key(reason: RejectReason) -> char {
    match reason {
        RejectReason::NoError => 'n',
        RejectReason::OtherError => 'o',
        RejectReason::HasError => 'h',
        RejectReason::Giveaway => 'g',
        RejectReason::Unreadable => 'u',
        RejectReason::Other => 's',
    }
}

fn claimed(label: &Label) -> Option<u32> {
    match label {
        Label::Clean => None,
        Label::Error { sentence, .. } => Some(*sentence),
    }
}

fn shown(text: &str) -> String {
    let kept = text.floor_char_boundary(MAX_SHOWN_BYTES);
    let rest = text.len() - kept;
    cut::clean(&text[..kept]) + &if rest > 0 { format!(" … [{rest} more bytes]") } else { String::new() }
}

fn views(sample: &Sample) -> Vec<SentenceView> {
    let mut ids: Vec<u32> = sample.note.sentences.iter().chain(&sample.source.sentences).map(|s| s.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let view = |id: u32| {
        let text = |note: &Note| note.sentence(id).map(|s| shown(&s.text)).unwrap_or_default();
        let (old, new) = (text(&sample.source), text(&sample.note));
        let short = old.len().max(new.len()) <= MAX_DIFF_BYTES;
        let pieces = if old != new && short { diff::words(&old, &new) } else { Vec::new() };
        SentenceView { id, old, new, pieces }
    };
    ids.into_iter().map(view).collect()
}
