//! The decoy table entry by entry, decoys over 2,000 demo notes, and the gate that reads them again.

use std::collections::{BTreeMap, BTreeSet};

use medserl::clinic::{self, Split};
use medserl::config::ScribeConfig;
use medserl::scribe::facts::Facts;
use medserl::scribe::gate::Gates;
use medserl::scribe::lexicon::Category;
use medserl::scribe::words::{Word, words};
use medserl::scribe::{Lexicon, decoy, gate};
use medserl::task::{ErrorKind, Note};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{note, strings, toml_table};

/// (in the note, written in its place): every substitution a decoy may make.
fn substitutions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (generic, brands) in toml_table("brands")["brands"].as_table().unwrap() {
        for brand in strings(brands) {
            all.extend([(generic.clone(), brand.clone()), (brand, generic.clone())]);
        }
    }
    let abbreviations = toml_table("abbreviations");
    for row in abbreviations["both"].as_array().unwrap() {
        let row = strings(row);
        all.extend([(row[0].clone(), row[1].clone()), (row[1].clone(), row[0].clone())]);
    }
    for row in abbreviations["shorten"].as_array().unwrap() {
        let row = strings(row);
        all.push((row[0].clone(), row[1].clone()));
    }
    all
}

#[test]
fn every_substitution_keeps_the_facts_of_a_sentence() {
    let lexicon = Lexicon::standard();
    let table = substitutions();
    let entries: BTreeSet<BTreeSet<&str>> = table.iter().map(|(a, b)| BTreeSet::from([a.as_str(), b.as_str()])).collect();
    assert!(entries.len() >= 150, "{} entries", entries.len());
    for (old, new) in &table {
        // No number, unit, negation, side, time or comparison on either side.
        for wording in [old, new] {
            let facts = Facts::of(wording, lexicon);
            assert!(facts.quantities.is_empty() && !wording.contains(|c: char| c.is_ascii_digit()), "{wording}: {facts:?}");
            let decisive = facts.concepts.keys().filter(|(c, _)| *c != Category::Ignored).collect::<Vec<_>>();
            // In the name of a disease ("acute", "upper respiratory") they stay with it: its short form says them too.
            let in_name = decisive.iter().all(|(_, name)| ["acute", "chronic", "upper", "lateral"].contains(&name.as_str()));
            assert!(in_name, "{wording}: {decisive:?}");
            assert!(gate::no_markers(lexicon, "", wording).is_ok(), "{wording} is a word of the game");
        }
        assert!(!lexicon.is_unit(&old.to_lowercase()), "{old} is a unit");
        let (before, after) = (format!("The chart mentions {old} again."), format!("The chart mentions {new} again."));
        assert_eq!(Facts::of(&before, lexicon), Facts::of(&after, lexicon), "{old} → {new}");
    }
    // What is written for a wording is one thing: no short form stands for two long ones.
    let mut meaning: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let abbreviations = toml_table("abbreviations");
    let rows: Vec<Vec<String>> =
        ["both", "shorten"].iter().flat_map(|k| abbreviations[*k].as_array().unwrap()).map(strings).collect();
    for row in &rows {
        meaning.entry(&row[1]).or_default().insert(&row[0]);
    }
    assert!(meaning.values().all(|long| long.len() == 1), "{meaning:?}");
}

/// Words of a text that are in a list, in their order; punctuation and case do not count.
fn listed(text: &str, list: &[&str]) -> Vec<String> {
    let plain = |w: &str| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split([' ', '-', ',']).map(plain).filter(|w| list.contains(&w.as_str())).collect()
}

/// Every number with what follows it up to the next letter but one word: "38.4 C", "80/min", "500 mg".
fn numbers(text: &str) -> Vec<String> {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let is_number = |t: &str| t.contains(|c: char| c.is_ascii_digit());
    let unit =
        |i: usize| tokens.get(i + 1).filter(|t| t.len() <= 3 && !is_number(t)).map_or("", |t| t.trim_end_matches(['.', ',']));
    (0..tokens.len()).filter(|&i| is_number(tokens[i])).map(|i| format!("{} {}", tokens[i], unit(i)).to_lowercase()).collect()
}

const NEGATIONS: [&str; 14] = [
    "no",
    "not",
    "never",
    "without",
    "denies",
    "denied",
    "negative",
    "absent",
    "cannot",
    "nontender",
    "nonpurulent",
    "free",
    "neither",
    "none",
];
const SIDES: [&str; 10] = ["left", "right", "bilateral", "bilaterally", "one", "both", "upper", "lower", "anterior", "posterior"];
const STEMS: [&str; 20] = [
    "cillin", "mycin", "floxacin", "azole", "pril", "sartan", "olol", "statin", "dipine", "triptan", "parin", "xaban", "mab",
    "vir", "cycline", "caine", "azepam", "dronate", "thiazide", "sone",
];

/// Every drug of the demo clinic, right or wrong, by its words.
fn clinic_drugs() -> BTreeSet<String> {
    let conditions = clinic::tables().unwrap().conditions();
    let drugs = conditions.iter().flat_map(|c| c.facts()).filter(|f| f.kind == ErrorKind::Pharmacotherapy);
    let texts = drugs.flat_map(|f| std::iter::once(&f.right).chain(&f.wrong)).flat_map(|a| words(&a.text));
    let plain = ["oral", "dose", "high", "therapy", "monotherapy", "quadruple", "and", "with"];
    texts.map(|w| w.lower).filter(|w| w.len() >= 4 && !plain.contains(&w.as_str())).collect()
}

fn check_independently(before: &Note, after: &Note, drugs: &BTreeSet<String>, swaps: &BTreeSet<(String, String)>) {
    for (b, a) in before.sentences.iter().zip(&after.sentences) {
        assert_eq!(numbers(&b.text), numbers(&a.text), "{} → {}", b.text, a.text);
        assert_eq!(listed(&b.text, &NEGATIONS), listed(&a.text, &NEGATIONS), "{} → {}", b.text, a.text);
        assert_eq!(listed(&b.text, &SIDES), listed(&a.text, &SIDES), "{} → {}", b.text, a.text);
        // A drug's name is whole, or another name of it from the table.
        let lower = a.text.to_lowercase();
        let is_drug = |w: &Word| drugs.contains(&w.lower) || STEMS.iter().any(|s| w.lower.ends_with(s));
        for drug in words(&b.text).into_iter().filter(is_drug) {
            let renamed = || swaps.iter().any(|(old, new)| old.contains(&drug.lower) && lower.contains(new.as_str()));
            assert!(lower.contains(&drug.lower) || renamed(), "{} lost: {}", drug.raw, a.text);
        }
    }
}

#[test]
fn two_thousand_demo_notes_keep_every_number_negation_side_and_drug() {
    let (lexicon, config) = (Lexicon::standard(), ScribeConfig::default());
    let swaps: BTreeSet<(String, String)> =
        substitutions().into_iter().map(|(a, b)| (a.to_lowercase(), b.to_lowercase())).collect();
    let drugs = clinic_drugs();
    assert!(drugs.len() > 80, "{drugs:?}");
    let banned = strings(&toml_table("words")["not_slips"]);
    let (mut made, mut changed_words) = (0, 0);
    for (seed, vignette) in clinic::pairs(Split::Train, 3, 1000).into_iter().enumerate() {
        for (which, source) in [vignette.clean, vignette.error].into_iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed as u64 * 2 + which as u64);
            let decoy = decoy::make(&source.note, &config, lexicon, &mut rng).unwrap();
            check_independently(&source.note, &decoy, &drugs, &swaps);
            let mut gates = Gates::default();
            decoy::check(&source.note, &decoy, &config, lexicon, &mut gates);
            assert_eq!(gates.failure(), None, "{:?}", gates.results);
            let old: BTreeSet<String> = words(&source.note.text()).into_iter().map(|w| w.lower).collect();
            let new = words(&decoy.text()).into_iter().map(|w| w.lower).filter(|w| !old.contains(w)).collect::<Vec<_>>();
            assert!(new.iter().all(|w| !banned.contains(w)), "{new:?}");
            made += 1;
            changed_words += new.len();
        }
    }
    assert_eq!(made, 2000);
    assert!(changed_words > 2000, "{changed_words} words changed: decoys hardly differ from their sources");
}

#[test]
fn slips_do_not_make_other_words() {
    let (lexicon, config) = (Lexicon::standard(), ScribeConfig::default());
    let source = note(&[
        (0, "The platelet count was noted; the thick stain signs were there."),
        (1, "Vital signs shift about quite early."),
        (2, "The patient began decreased medication after tracheostomy because of infarction and cramps."),
    ]);
    for seed in 0..800 {
        let made = decoy::make(&source, &config, lexicon, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap().text();
        let words: Vec<String> = words(&made).into_iter().map(|w| w.lower).collect();
        let early = ["cunt", "tick", "satin", "sings", "shit", "quiet", "three"];
        let later = ["patent", "bean", "deceased", "mediation", "tracheotomy", "infraction", "craps"];
        for banned in early.into_iter().chain(later) {
            assert!(!words.contains(&banned.to_owned()), "{made}");
        }
    }
}

#[test]
fn brands_are_not_denied() {
    let (lexicon, config) = (Lexicon::standard(), ScribeConfig { decoy_edits: 12, ..ScribeConfig::default() });
    let source =
        note(&[(0, "She takes no ibuprofen or furosemide regularly."), (1, "Furosemide helped considerably yesterday.")]);
    let mut renamed = false;
    for seed in 0..200 {
        let made = decoy::make(&source, &config, lexicon, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let first = &made.sentences[0].text;
        assert!(first.contains("ibuprofen") && first.contains("furosemide"), "{first}");
        renamed |= made.sentences[1].text.contains("Lasix");
    }
    assert!(renamed, "the brand is never written where nothing denies it");
}

#[test]
fn the_typo_gate_knows_slips_from_changes() {
    let source = note(&[(0, "Blood pressure is 120/80 mm Hg on March 24, 2021; she takes acetaminophen regularly.")]);
    let outcome = |text: &str, most| decoy::typos(&source, &note(&[(0, text)]), most, Lexicon::standard());
    let cases = [
        ("BP is 120/80 mm Hg on 2021-03-24;  SHE takes Tylenol regularly.", 0, true),
        ("Blood pressure is 120/80 mm Hg on March 24, 2021; she tkaes acetaminophen reglarly.", 2, true),
        ("Blood pressure is 120/80 mm Hg on March 24, 2021; she tkaes acetaminophen reglarly.", 1, false),
        ("Blood pressure is 120/80 mm Hg on March 24, 2021; she takes acetaminohpen regularly.", 4, false),
        ("Blood pressure is 120/80 mm Hg on March 24, 2021; she takes acetaminophen rarely.", 4, false),
        ("Blood pressure is 120/80 mm Hg on March 24, 2021; she takes acetaminophen.", 4, false),
        ("Blood pressure is 120/80 mm Hg on March 24, 2021; she takes acetaminophen very regularly.", 4, false),
        ("Blood pressure is 120/80 mm Hg on March 25, 2021; she takes acetaminophen regularly.", 4, true),
    ];
    for (text, most, passes) in cases {
        assert_eq!(outcome(text, most).is_ok(), passes, "{text}: {:?}", outcome(text, most));
    }
}
