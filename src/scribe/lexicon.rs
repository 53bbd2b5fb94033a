//! The Scribe's tables (`assets/scribe/*.toml`, compiled in): clinical terms, synonyms, small decisive words, units, markers.
//! Says what a text holds; whether a change is allowed is the gates' business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::content::Alternatives;
use super::dates::DateFormats;
use super::tables;
use super::words::{Found, Phrases, Word, plain, words};
use crate::task::ErrorKind;

/// What a lexicon term names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TermKind {
    Drug,
    Organism,
    Diagnosis,
    Procedure,
    Anatomy,
}

/// Families of small words that turn a fact round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Negation,
    Laterality,
    Time,
    Comparator,
    Sex,
    Person,
    /// Look-alikes that mean nothing here.
    Ignored,
}

/// One meaning with several wordings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Concept {
    pub category: Category,
    pub name: String,
}

/// All tables, indexed.
pub struct Lexicon {
    pub(super) terms: Phrases<(String, TermKind)>,
    /// Word endings with the fewest letters that make one count.
    pub(super) endings: Vec<(String, usize, TermKind)>,
    pub(super) not_by_ending: BTreeSet<String>,
    pub(super) not_species: BTreeSet<String>,
    /// Wording → canonical words.
    pub(super) synonyms: Phrases<Vec<Word>>,
    /// Wording → what code may write in its place.
    pub(super) substitutions: Phrases<Vec<String>>,
    pub(super) concepts: Phrases<Concept>,
    pub(super) cues: BTreeMap<ErrorKind, Phrases<()>>,
    pub(super) stopwords: BTreeSet<String>,
    pub(super) markers: Vec<String>,
    /// Spelling in lower case → unit.
    pub(super) units: BTreeMap<String, String>,
    /// Number word → value.
    pub(super) numbers: BTreeMap<String, u32>,
    pub(super) dates: DateFormats,
    /// Complaints and signs, each with its canonical name.
    pub(super) findings: Phrases<String>,
    /// Words with which notes report ("examination", "presents"): telling of no fact.
    pub(super) reporting: BTreeSet<String>,
    /// Words no typing slip may produce.
    pub(super) not_slips: BTreeSet<String>,
    /// Words around an edit that say what kind of statement it stands in.
    pub(super) frames: BTreeMap<ErrorKind, Phrases<()>>,
    /// Parts of words that name organisms the lists do not have.
    pub(super) organism_hints: Vec<String>,
    pub(super) alternatives: Alternatives,
}

static STANDARD: LazyLock<Lexicon> = LazyLock::new(tables::standard);

impl Lexicon {
    /// The tables compiled into the program.
    pub fn standard() -> &'static Lexicon {
        &STANDARD
    }

    /// The words of a text in lower case, each known synonym in its canonical wording.
    pub fn canonical(&self, text: &[Word]) -> Vec<Word> {
        let mut result = Vec::with_capacity(text.len());
        let mut at = 0;
        for found in self.synonyms.find(text) {
            result.extend(text[at..found.at].iter().map(|w| plain(&w.lower)));
            result.extend(found.value.iter().cloned());
            at = found.at + found.len;
        }
        result.extend(text[at..].iter().map(|w| plain(&w.lower)));
        result
    }

    /// Drugs, organisms, diagnoses, procedures and parts of the body a text names, in canonical wording: terms of the lists,
    /// other words by their ending, and Latin pairs.
    pub fn terms(&self, text: &str) -> BTreeMap<String, TermKind> {
        let raw = words(text);
        let canonical = self.canonical(&raw);
        let mut covered = vec![false; canonical.len()];
        let mut terms = BTreeMap::new();
        for found in self.terms.find(&canonical) {
            covered[found.at..found.at + found.len].fill(true);
            terms.insert(found.value.0.clone(), found.value.1);
        }
        let other = canonical.iter().zip(covered).filter(|(_, covered)| !covered);
        terms.extend(other.filter_map(|(word, _)| self.by_ending(&word.lower)));
        for at in self.binomials(text, &raw) {
            let name = self.canonical(&raw[at..at + 2]).iter().map(|w| w.lower.as_str()).collect::<Vec<_>>().join(" ");
            terms.entry(name).or_insert(TermKind::Organism);
        }
        terms
    }

    /// The small decisive words of canonical text.
    pub fn concepts<'a>(&'a self, canonical: &[Word]) -> Vec<Found<'a, Concept>> {
        self.concepts.find(canonical).into_iter().filter(|f| f.value.category != Category::Ignored).collect()
    }

    /// Wordings for which code may write another one.
    pub fn substitutions(&self, text: &[Word]) -> Vec<Found<'_, Vec<String>>> {
        self.substitutions.find(text)
    }

    /// Which words no typing slip may touch: terms, synonyms, decisive words, units and number words.
    pub fn protected(&self, text: &str, words: &[Word]) -> Vec<bool> {
        let mut protected: Vec<bool> = words.iter().map(|w| self.is_protected(&w.lower)).collect();
        let spans = self.terms.find(words).into_iter().map(|f| (f.at, f.len));
        let spans = spans.chain(self.synonyms.find(words).into_iter().map(|f| (f.at, f.len)));
        let spans = spans.chain(self.concepts.find(words).into_iter().map(|f| (f.at, f.len)));
        let spans = spans.chain(self.binomials(text, words).into_iter().map(|at| (at, 2)));
        spans.for_each(|(at, len)| protected[at..at + len].fill(true));
        protected
    }

    /// Whether a lone word is one that no typing slip may touch.
    pub fn protects(&self, word: &str) -> bool {
        self.protected(word, &words(word)).contains(&true)
    }

    /// Whether these words lie within a longer term or synonym, or overlap a decisive phrase ("no history of").
    pub fn is_inside_longer(&self, words: &[Word], at: usize, len: usize) -> bool {
        let holds = |a: usize, n: usize| n > len && a <= at && at + len <= a + n;
        let overlaps = |a: usize, n: usize| a < at + len && at < a + n;
        self.terms.find(words).iter().any(|f| holds(f.at, f.len))
            || self.synonyms.find(words).iter().any(|f| holds(f.at, f.len))
            || self.concepts.find(words).iter().any(|f| overlaps(f.at, f.len))
    }

    fn is_protected(&self, lower: &str) -> bool {
        // One letter decides about these prefixes: hyper/hypo, non-, un-, anti-.
        let turning = ["hyper", "hypo", "non", "un", "anti"].iter().any(|p| lower.starts_with(p));
        turning || self.by_ending(lower).is_some() || self.units.contains_key(lower) || self.numbers.contains_key(lower)
    }

    /// A word that its ending makes a term; plural and -graphy/-gram forms count as one.
    fn by_ending(&self, lower: &str) -> Option<(String, TermKind)> {
        let word = lower
            .strip_suffix("'s")
            .or_else(|| lower.strip_suffix('s').filter(|w| !w.ends_with(['s', 'i', 'u'])))
            .unwrap_or(lower);
        let fits = |ending: &str, least: usize| word.len() >= least && word.ends_with(ending);
        let (_, _, kind) = self.endings.iter().find(|(ending, least, _)| fits(ending, *least))?;
        let stem = word.strip_suffix("graphy").or_else(|| word.strip_suffix("gram"));
        let name = stem.map_or_else(|| word.to_owned(), |stem| format!("{stem}graphy"));
        (!self.not_by_ending.contains(word) && word.chars().all(char::is_alphabetic)).then_some((name, *kind))
    }

    /// First words of capitalised pairs that look like an organism's Latin name.
    fn binomials(&self, text: &str, words: &[Word]) -> Vec<usize> {
        let pairs = words.windows(2).enumerate();
        pairs.filter(|(_, pair)| self.is_binomial(text, &pair[0], &pair[1])).map(|(at, _)| at).collect()
    }

    fn is_binomial(&self, text: &str, genus: &Word, species: &Word) -> bool {
        const GENUS: [&str; 12] = ["us", "ia", "ium", "as", "ella", "is", "ter", "um", "ma", "da", "ys", "es"];
        const SPECIES: [&str; 11] = ["us", "is", "um", "ae", "i", "ans", "osa", "ica", "ina", "ana", "ata"];
        let lower_tail = |w: &str| w.chars().all(|c| c.is_ascii_lowercase());
        let (g, s) = (genus.raw.as_str(), species.raw.as_str());
        g.len() >= 5
            && s.len() >= 5
            && g.starts_with(|c: char| c.is_ascii_uppercase())
            && lower_tail(&g[1..])
            && lower_tail(s)
            && text[genus.end..species.start].chars().all(char::is_whitespace)
            && GENUS.iter().any(|e| g.ends_with(e))
            && SPECIES.iter().any(|e| s.ends_with(e))
            && !self.not_species.contains(s)
    }

    /// A word whose change matters: a number, or anything but a stop word.
    pub fn is_clinical(&self, lower: &str) -> bool {
        !self.stopwords.contains(lower) && lower.chars().any(char::is_alphanumeric)
    }

    /// Whether this is a word of its own, which a slip of another word must not become.
    pub fn is_no_slip(&self, lower: &str) -> bool {
        self.not_slips.contains(lower)
    }

    /// Whether a text denies something ("takes no ibuprofen").
    pub fn denies(&self, words: &[Word]) -> bool {
        self.concepts(&self.canonical(words)).iter().any(|f| f.value.category == Category::Negation)
    }

    pub fn is_unit(&self, lower: &str) -> bool {
        self.units.contains_key(lower)
    }

    /// Whether an error of this kind has something to change in the note.
    pub fn is_plausible(&self, kind: ErrorKind, text: &str) -> bool {
        let has = |wanted: TermKind| self.terms(text).values().any(|&found| found == wanted);
        let by_term = match kind {
            ErrorKind::Diagnosis => has(TermKind::Diagnosis),
            ErrorKind::CausalOrganism => has(TermKind::Organism),
            ErrorKind::Pharmacotherapy => has(TermKind::Drug),
            ErrorKind::Treatment | ErrorKind::Management => false,
        };
        by_term || self.cues.get(&kind).is_some_and(|cues| cues.contains_any(&words(text)))
    }
}
