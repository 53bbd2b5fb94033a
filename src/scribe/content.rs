//! What the tables say of a text beyond terms and small words: complaints and signs, the words that tell something, what kind of
//! statement a sentence makes, and which other answers would be right too. The gates ask; nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::lexicon::{Lexicon, TermKind};
use super::words::{Phrases, Word, words};
use crate::task::ErrorKind;

/// Groups of right answers: the numbers of the groups a wording belongs to, and where each group holds (everywhere where `None`).
#[derive(Default)]
pub(super) struct Alternatives {
    pub members: Phrases<Vec<usize>>,
    pub holds_for: Vec<Option<Phrases<()>>>,
}

impl Lexicon {
    /// Complaints and signs a text names, in canonical wording.
    pub fn findings(&self, text: &str) -> BTreeSet<String> {
        self.findings.find(&self.canonical(&words(text))).into_iter().map(|f| f.value.clone()).collect()
    }

    /// The words of a text that carry its content: neither stop words nor words of reporting nor numbers and units; cut to their
    /// first five letters, so that "swallow" and "swallowing" are one.
    pub fn telling(&self, text: &str) -> BTreeSet<String> {
        let canonical = self.canonical(&words(text));
        let is_telling = |w: &&Word| {
            let w = w.lower.as_str();
            let known = self.stopwords.contains(w) || self.reporting.contains(w) || self.units.contains_key(w);
            !known && !self.numbers.contains_key(w) && w.starts_with(char::is_alphabetic)
        };
        canonical.iter().filter(is_telling).map(|w| w.lower.chars().take(5).collect()).collect()
    }

    /// Kinds of statement that the words of a text announce.
    pub fn frames(&self, text: &str) -> Vec<ErrorKind> {
        let words = words(text);
        self.frames.iter().filter(|(_, cues)| cues.contains_any(&words)).map(|(&kind, _)| kind).collect()
    }

    /// Whether some of these words look like the name of an organism.
    pub fn hints_at_organism(&self, words: &[String]) -> bool {
        words.iter().any(|w| self.organism_hints.iter().any(|hint| w.contains(hint.as_str())))
    }

    /// An old and a new wording that are both right answers in this note, where the edit exchanges them and no other drug.
    pub fn alternative(&self, note: &str, before: &str, after: &str) -> Option<(String, String)> {
        let all = self.canonical(&words(note));
        let found = |text: &str| -> BTreeMap<String, Vec<usize>> {
            let canonical = self.canonical(&words(text));
            let name =
                |at: usize, len: usize| canonical[at..at + len].iter().map(|w| w.lower.as_str()).collect::<Vec<_>>().join(" ");
            self.alternatives.members.find(&canonical).into_iter().map(|f| (name(f.at, f.len), f.value.clone())).collect()
        };
        let (old, new) = (found(before), found(after));
        let holds = |group: usize| self.alternatives.holds_for[group].as_ref().is_none_or(|cues| cues.contains_any(&all));
        let stands_in = |name: &String| {
            let groups = old.get(name)?;
            let mut others = new.iter().filter(|(other, _)| !old.contains_key(*other));
            others.find(|(_, theirs)| groups.iter().any(|g| theirs.contains(g) && holds(*g))).map(|(other, _)| other.clone())
        };
        let kept = self.terms(after);
        let mut gone = self.terms(before).into_iter().filter(|(term, kind)| *kind == TermKind::Drug && !kept.contains_key(term));
        // Terms are named as their lists write them ("amoxicillin-clavulanate"), wordings word by word.
        let spelled = |term: &str| words(term).into_iter().map(|w| w.lower).collect::<Vec<_>>().join(" ");
        if gone.any(|(term, _)| stands_in(&spelled(&term)).is_none()) {
            return None;
        }
        old.keys().filter(|name| !new.contains_key(*name)).find_map(|name| Some((name.clone(), stands_in(name)?)))
    }
}
