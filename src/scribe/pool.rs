//! Known errors: those of the source notes, and the injections accepted so far in this run. Says how like one of them a new edit
//! is, and gives examples for the next ones (SeRL's self-instruction). Knows no store: who holds it feeds it step by step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use super::edits::rouge_l;
use super::gate::{Outcome, require};
use super::lexicon::Lexicon;
use super::words::words;
use crate::config::Novelty;
use crate::task::{ErrorKind, Label, LabelledNote, Sample};

/// SeRL shows at most two of its own instructions among the seeds.
const OWN_EXAMPLES: usize = 2;

/// Words exchanged for others, in canonical wording; whatever is alike before and after them is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    pub old: Vec<String>,
    pub new: Vec<String>,
}

impl Edit {
    /// What was exchanged between two wordings of a sentence.
    pub fn between(before: &str, after: &str, lexicon: &Lexicon) -> Edit {
        let canonical = |text: &str| lexicon.canonical(&words(text)).into_iter().map(|w| w.lower).collect::<Vec<_>>();
        let (before, after) = (canonical(before), canonical(after));
        let head = before.iter().zip(&after).take_while(|(b, a)| b == a).count();
        let (before, after) = (&before[head..], &after[head..]);
        let tail = before.iter().rev().zip(after.iter().rev()).take_while(|(b, a)| b == a).count();
        Edit { old: before[..before.len() - tail].to_vec(), new: after[..after.len() - tail].to_vec() }
    }

    /// 1 for the same exchange, 0 where no word is shared: ROUGE-L (F) of the old words and of the new ones, averaged. Whole
    /// notes would not do: a note with one word changed is nearly its source, whatever was changed.
    pub fn likeness(&self, other: &Edit) -> f64 {
        let alike = |a: &[String], b: &[String]| if a.is_empty() && b.is_empty() { 1.0 } else { rouge_l(a, b) };
        f64::midpoint(alike(&self.old, &other.old), alike(&self.new, &other.new))
    }
}

/// One error that is known already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The error note's or the sample's id.
    pub id: String,
    pub group: String,
    pub kind: ErrorKind,
    pub edit: Edit,
    /// Made in this run, and in which step.
    pub own: Option<u32>,
}

/// All errors that are known already.
#[derive(Clone, Debug)]
pub struct Pool {
    scope: Novelty,
    known: Vec<Known>,
}

impl Default for Pool {
    /// Knows nothing and refuses nothing.
    fn default() -> Self {
        Pool { scope: Novelty::Off, known: Vec::new() }
    }
}

impl Pool {
    /// The errors of the source notes; clean notes are passed over.
    pub fn new<'a>(scope: Novelty, notes: impl IntoIterator<Item = &'a LabelledNote>) -> Pool {
        let known = notes.into_iter().filter_map(|note| {
            let Label::Error { kind, sentence, correction } = &note.label else { return None };
            let edit = Edit::between(correction, &note.note.sentence(*sentence)?.text, Lexicon::standard());
            Some(Known { id: note.note.id.clone(), group: note.note.group.clone(), kind: *kind, edit, own: None })
        });
        Pool { scope, known: known.collect() }
    }

    /// Takes in the accepted injections of a finished step; other samples are passed over. Steps must come in order, each once:
    /// a run that goes on feeds the steps of its store again.
    pub fn learn<'a>(&mut self, samples: impl IntoIterator<Item = &'a Sample>) {
        let is_new = |s: &&Sample| s.provenance.injection.is_some() && !s.provenance.fallback && s.provenance.again.is_none();
        let own = samples.into_iter().filter(is_new);
        self.known.extend(own.filter_map(|sample| {
            let Label::Error { kind, sentence, correction } = &sample.label else { return None };
            let edit = Edit::between(correction, &sample.note.sentence(*sentence)?.text, Lexicon::standard());
            Some(Known { id: sample.id.clone(), group: sample.source.group.clone(), kind: *kind, edit, own: Some(sample.step) })
        }));
    }

    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// The known error most like an edit, among those that `counts`; the first of equals.
    pub fn nearest(&self, edit: &Edit, counts: impl Fn(&Known) -> bool) -> Option<(f64, &Known)> {
        let all = self.known.iter().filter(|k| counts(k)).map(|known| (edit.likeness(&known.edit), known));
        all.reduce(|best, next| if next.0 > best.0 { next } else { best })
    }

    /// The known error most like an edit of a note of this group, as far as the scope reaches.
    fn nearest_in_scope(&self, group: &str, edit: &Edit) -> Option<(f64, &Known)> {
        match self.scope {
            Novelty::Off => None,
            Novelty::Vignette => self.nearest(edit, |known| known.group == group),
            Novelty::Corpus => self.nearest(edit, |_| true),
        }
    }

    /// The very same words have not been exchanged before.
    pub fn unknown_pair(&self, group: &str, edit: &Edit) -> Outcome {
        match self.nearest_in_scope(group, edit) {
            Some((_, known)) if known.edit == *edit => Err(format!("the edit of {}", known.id)),
            _ => Ok(format!("{} known errors", self.known.len())),
        }
    }

    /// The edit is less like any known one than `most`.
    pub fn novel(&self, group: &str, edit: &Edit, most: f64) -> Outcome {
        match self.nearest_in_scope(group, edit) {
            Some((likeness, known)) => {
                require(likeness < most, format!("ROUGE-L {likeness:.2} to {}, below {most} asked", known.id))
            }
            None => Ok("nothing to compare with".to_owned()),
        }
    }

    /// Up to `n` known errors of a kind in other notes, in drawn order, no two alike; at most two of them made in this run, and none
    /// of those before step `since`: they have expired. Edits that only add or take away words say nothing without their sentence.
    pub fn examples(&self, kind: ErrorKind, group: &str, n: usize, since: u32, rng: &mut ChaCha8Rng) -> Vec<&Known> {
        let lasts = |k: &&Known| k.own.is_none_or(|step| step >= since);
        let says = |k: &&Known| !k.edit.old.is_empty() && !k.edit.new.is_empty();
        let fit: Vec<&Known> =
            self.known.iter().filter(|k| k.kind == kind && k.group != group).filter(lasts).filter(says).collect();
        let (mut own, mut seeds): (Vec<&Known>, Vec<&Known>) = fit.into_iter().partition(|k| k.own.is_some());
        shuffle(&mut own, rng);
        shuffle(&mut seeds, rng);
        own.truncate(OWN_EXAMPLES);
        let mut chosen: Vec<&Known> = Vec::new();
        for known in own.into_iter().chain(seeds) {
            if chosen.len() < n && chosen.iter().all(|c| c.edit != known.edit) {
                chosen.push(known);
            }
        }
        shuffle(&mut chosen, rng);
        chosen
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, usize::try_from(rng.next_u64() % (last as u64 + 1)).unwrap_or(0));
    }
}
