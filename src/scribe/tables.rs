//! The Scribe's tables on their way from `assets/scribe/*.toml` to the index that [`Lexicon`] asks.
//! Knows the file formats; what a text holds is the lexicon's business.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::content::Alternatives;
use super::lexicon::{Concept, Lexicon, TermKind};
use super::words::{Phrases, Word, plain, words};
use crate::task::ErrorKind;

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
    diagnosis_endings: Vec<String>,
    organism_endings: Vec<String>,
    procedure_endings: Vec<String>,
    not_by_ending: BTreeSet<String>,
    procedures: Vec<Vec<String>>,
    anatomy: Vec<Vec<String>>,
    findings: Vec<Vec<String>>,
    organism_hints: Vec<String>,
}

#[derive(Deserialize)]
struct AlternativeRow {
    #[serde(default, rename = "for")]
    holds_for: Vec<String>,
    members: Vec<String>,
}

#[derive(Deserialize)]
struct AlternativeTable {
    group: Vec<AlternativeRow>,
}

#[derive(Deserialize)]
struct UnitTable {
    units: BTreeMap<String, Vec<String>>,
    numbers: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct WordTable {
    stopwords: BTreeSet<String>,
    reporting: BTreeSet<String>,
    not_slips: BTreeSet<String>,
    markers: Vec<String>,
    cues: BTreeMap<ErrorKind, Vec<String>>,
    frames: BTreeMap<ErrorKind, Vec<String>>,
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

/// Reads and indexes every table.
pub(super) fn standard() -> Lexicon {
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
        endings: endings(&terms),
        not_by_ending: terms.not_by_ending.into_iter().chain(terms.not_drugs).collect(),
        not_species: terms.not_species,
        concepts: concept_index(concepts),
        cues: words.cues.iter().map(|(&kind, cues)| (kind, cue_index(cues))).collect(),
        stopwords: words.stopwords,
        markers: words.markers,
        units: units.units.into_iter().flat_map(|(unit, all)| all.into_iter().map(move |s| (s, unit.clone()))).collect(),
        numbers: units.numbers,
        dates: asset!("dates"),
        findings: grouped(&terms.findings),
        reporting: words.reporting,
        not_slips: words.not_slips,
        frames: words.frames.iter().map(|(&kind, cues)| (kind, cue_index(cues))).collect(),
        organism_hints: terms.organism_hints,
        alternatives: alternatives(asset!("alternatives")),
    }
}

/// Every wording of a group under the name of its first.
fn grouped(groups: &[Vec<String>]) -> Phrases<String> {
    let mut index = Phrases::default();
    for group in groups {
        for wording in group {
            index.add(wording, false, group[0].to_lowercase());
        }
    }
    index
}

fn alternatives(table: AlternativeTable) -> Alternatives {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut all = Alternatives::default();
    for (at, row) in table.group.into_iter().enumerate() {
        row.members.into_iter().for_each(|member| groups.entry(member).or_default().push(at));
        all.holds_for.push((!row.holds_for.is_empty()).then(|| cue_index(&row.holds_for)));
    }
    for (member, groups) in groups {
        all.members.add(&member, false, groups);
    }
    all
}

/// Short forms without a lower-case letter, and all short forms of the abbreviation table, count only as written.
fn is_acronym(phrase: &str) -> bool {
    phrase.chars().any(char::is_alphabetic) && !phrase.chars().any(char::is_lowercase)
}

fn synonyms(brands: &BrandTable, abbreviations: &AbbreviationTable, equivalents: &EquivalentTable) -> Phrases<Vec<Word>> {
    let canonical = |phrase: &str| words(phrase).into_iter().map(|w| plain(&w.lower)).collect::<Vec<_>>();
    let mut index = Phrases::default();
    for (generic, brands) in &brands.brands {
        index.add(generic, false, canonical(generic));
        for brand in brands {
            index.add(brand, false, canonical(generic));
        }
    }
    for (long, short) in abbreviations.both.iter().chain(&abbreviations.shorten) {
        index.add(long, false, canonical(long));
        index.add(short, true, canonical(long));
    }
    for group in &equivalents.groups {
        for phrase in group {
            index.add(phrase, is_acronym(phrase), canonical(&group[0]));
        }
    }
    index
}

fn substitutions(brands: &BrandTable, abbreviations: &AbbreviationTable) -> Phrases<Vec<String>> {
    let mut index = Phrases::strict();
    for (generic, brands) in &brands.brands {
        index.add(generic, false, brands.clone());
        for brand in brands {
            index.add(brand, false, vec![generic.clone()]);
        }
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
    for (groups, kind) in [(&terms.procedures, TermKind::Procedure), (&terms.anatomy, TermKind::Anatomy)] {
        for group in groups {
            for wording in group {
                index.add(wording, false, (group[0].to_lowercase(), kind));
            }
        }
    }
    index
}

fn endings(terms: &TermTable) -> Vec<(String, usize, TermKind)> {
    let tables = [
        (&terms.drug_stems, 6, TermKind::Drug),
        (&terms.organism_endings, 7, TermKind::Organism),
        (&terms.diagnosis_endings, 7, TermKind::Diagnosis),
        (&terms.procedure_endings, 7, TermKind::Procedure),
    ];
    tables.iter().flat_map(|(all, least, kind)| all.iter().map(|e| (e.clone(), *least, *kind))).collect()
}

fn concept_index(table: ConceptTable) -> Phrases<Concept> {
    let mut index = Phrases::default();
    for row in table.concept {
        for phrase in &row.phrases {
            index.add(phrase, false, row.concept.clone());
        }
    }
    index
}

fn cue_index(cues: &[String]) -> Phrases<()> {
    let mut index = Phrases::default();
    for cue in cues {
        index.add(cue, false, ());
    }
    index
}
