//! The Scribe's tables (`assets/scribe/*.toml`, compiled in): clinical terms, synonyms, small decisive words, units, markers.
//! Says what a text holds; whether a change is allowed is the gates' business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::dates::DateFormats;
use super::words::{Found, Phrases, Word, plain, words};
use crate::task::ErrorKind;

/// What a lexicon term names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TermKind {
    Drug,
    Organism,
    Diagnosis,
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

#[derive(Deserialize)]
struct ConceptRow {
    #[serde(flatten)]
    concept: Concept,
    phrases: Vec<String>,
}

#[derive(Deserialize)]
struct ConceptTable {
    concept: Vec<ConceptRow>,
}

#[derive(Deserialize)]
struct BrandTable {
    brands: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct AbbreviationTable {
    both: Vec<(String, String)>,
    shorten: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct EquivalentTable {
    groups: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct TermTable {
    drugs: Vec<String>,
    organisms: Vec<String>,
    diagnoses: Vec<String>,
    drug_stems: Vec<String>,
    not_drugs: BTreeSet<String>,
    not_species: BTreeSet<String>,
}

#[derive(Deserialize)]
struct UnitTable {
    units: BTreeMap<String, Vec<String>>,
    numbers: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct WordTable {
    stopwords: BTreeSet<String>,
    markers: Vec<String>,
    cues: BTreeMap<ErrorKind, Vec<String>>,
}

/// All tables, indexed.
pub struct Lexicon {
    terms: Phrases<(String, TermKind)>,
    drug_stems: Vec<String>,
    not_drugs: BTreeSet<String>,
    not_species: BTreeSet<String>,
    /// Wording → canonical words.
    synonyms: Phrases<Vec<Word>>,
    /// Wording → what code may write in its place.
    substitutions: Phrases<Vec<String>>,
    concepts: Phrases<Concept>,
    cues: BTreeMap<ErrorKind, Phrases<()>>,
    stopwords: BTreeSet<String>,
    pub markers: Vec<String>,
    /// Spelling in lower case → unit.
    pub units: BTreeMap<String, String>,
    /// Number word → value.
    pub numbers: BTreeMap<String, u32>,
    pub dates: DateFormats,
}

/// A table is part of the program: that it parses is checked by the tests.
fn table<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).expect("tables under assets/scribe are valid")
}

macro_rules! asset {
    ($name:literal) => {
        table(include_str!(concat!("../../assets/scribe/", $name, ".toml")))
    };
}

static STANDARD: LazyLock<Lexicon> = LazyLock::new(|| {
    let brands: BrandTable = asset!("brands");
    let abbreviations: AbbreviationTable = asset!("abbreviations");
    let equivalents: EquivalentTable = asset!("equivalents");
    let units: UnitTable = asset!("units");
    let words: WordTable = asset!("words");
    let terms: TermTable = asset!("lexicon");
    let concepts: ConceptTable = asset!("concepts");
    Lexicon {
        substitutions: substitutions(&brands, &abbreviations),
        synonyms: synonyms(&brands, &abbreviations, &equivalents),
        terms: term_index(&terms, &brands),
        drug_stems: terms.drug_stems,
        not_drugs: terms.not_drugs,
        not_species: terms.not_species,
        concepts: concept_index(concepts),
        cues: words.cues.iter().map(|(&kind, cues)| (kind, cue_index(cues))).collect(),
        stopwords: words.stopwords,
        markers: words.markers,
        units: units.units.into_iter().flat_map(|(unit, all)| all.into_iter().map(move |s| (s, unit.clone()))).collect(),
        numbers: units.numbers,
        dates: asset!("dates"),
    }
});

/// Short forms without a lower-case letter, and all short forms of the abbreviation table, count only as written.
fn is_acronym(phrase: &str) -> bool {
    phrase.chars().any(char::is_alphabetic) && !phrase.chars().any(char::is_lowercase)
}

fn synonyms(brands: &BrandTable, abbreviations: &AbbreviationTable, equivalents: &EquivalentTable) -> Phrases<Vec<Word>> {
    let canonical = |phrase: &str| words(phrase).into_iter().map(|w| plain(&w.lower)).collect::<Vec<_>>();
    let mut index = Phrases::default();
    for (generic, brands) in &brands.brands {
        index.add(generic, false, canonical(generic));
        brands.iter().for_each(|brand| index.add(brand, false, canonical(generic)));
    }
    for (long, short) in abbreviations.both.iter().chain(&abbreviations.shorten) {
        index.add(long, false, canonical(long));
        index.add(short, true, canonical(long));
    }
    for group in &equivalents.groups {
        group.iter().for_each(|phrase| index.add(phrase, is_acronym(phrase), canonical(&group[0])));
    }
    index
}

fn substitutions(brands: &BrandTable, abbreviations: &AbbreviationTable) -> Phrases<Vec<String>> {
    let mut index = Phrases::strict();
    for (generic, brands) in &brands.brands {
        index.add(generic, false, brands.clone());
        brands.iter().for_each(|brand| index.add(brand, false, vec![generic.clone()]));
    }
    for (long, short) in abbreviations.both.iter().chain(&abbreviations.shorten) {
        index.add(long, false, vec![short.clone()]);
    }
    for (long, short) in &abbreviations.both {
        index.add(short, true, vec![long.clone()]);
    }
    index
}

fn term_index(terms: &TermTable, brands: &BrandTable) -> Phrases<(String, TermKind)> {
    let mut index = Phrases::default();
    let mut add = |term: &String, kind| index.add(term, false, (term.to_lowercase(), kind));
    terms.drugs.iter().chain(brands.brands.keys()).for_each(|t| add(t, TermKind::Drug));
    terms.organisms.iter().for_each(|t| add(t, TermKind::Organism));
    terms.diagnoses.iter().for_each(|t| add(t, TermKind::Diagnosis));
    index
}

fn concept_index(table: ConceptTable) -> Phrases<Concept> {
    let mut index = Phrases::default();
    for row in table.concept {
        row.phrases.iter().for_each(|phrase| index.add(phrase, false, row.concept.clone()));
    }
    index
}

fn cue_index(cues: &[String]) -> Phrases<()> {
    let mut index = Phrases::default();
    cues.iter().for_each(|cue| index.add(cue, false, ()));
    index
}

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

    /// Drugs, organisms and diagnoses a text names, in canonical wording.
    pub fn terms(&self, text: &str) -> BTreeMap<String, TermKind> {
        let raw = words(text);
        let canonical = self.canonical(&raw);
        let mut terms: BTreeMap<_, _> = self.terms.find(&canonical).iter().map(|f| f.value.clone()).collect();
        let stems = canonical.iter().filter(|w| self.has_drug_stem(&w.lower));
        stems.for_each(|w| drop(terms.entry(w.lower.clone()).or_insert(TermKind::Drug)));
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
        turning || self.has_drug_stem(lower) || self.units.contains_key(lower) || self.numbers.contains_key(lower)
    }

    pub fn has_drug_stem(&self, lower: &str) -> bool {
        lower.len() >= 6 && !self.not_drugs.contains(lower) && self.drug_stems.iter().any(|stem| lower.ends_with(stem.as_str()))
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
