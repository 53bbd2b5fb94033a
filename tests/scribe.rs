//! The Scribe: tables and their reading here; parsers and gates, decoys and whole drawings in the folder of the same name.

use std::collections::{BTreeMap, BTreeSet};

use medserl::scribe::facts::Facts;
use medserl::scribe::lexicon::Category;
use medserl::scribe::words::words;
use medserl::scribe::{Lexicon, edits};
use medserl::task::{Note, Sentence};

mod calibration;
mod decoys;
mod drawing;
mod gates;
mod judging;
mod pool;

fn note(sentences: &[(u32, &str)]) -> Note {
    let sentences = sentences.iter().map(|&(id, text)| Sentence { id, text: text.to_owned() }).collect();
    Note { id: "n".into(), group: "g".into(), sentences }
}

fn clinic_note() -> Note {
    note(&[
        (0, "A 53-year-old man presents with a 2-day history of fever and left knee pain."),
        (2, "He denies chest pain and takes metformin 500 mg twice daily."),
        (3, "Blood pressure is 120/80 mm Hg and temperature is 38.5°C (101.3°F)."),
        (5, "Joint cultures grew Neisseria gonorrhoeae and septic arthritis was diagnosed."),
        (6, "Ceftriaxone was prescribed."),
    ])
}

// ---- tables ----

fn toml_table(name: &str) -> toml::Table {
    let path = format!("{}/assets/scribe/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn strings(value: &toml::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// (canonical wording, other wording) of all tables.
fn synonym_pairs() -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (generic, brands) in toml_table("brands")["brands"].as_table().unwrap() {
        pairs.extend(strings(brands).into_iter().map(|b| (generic.clone(), b)));
    }
    let abbreviations = toml_table("abbreviations");
    for row in ["both", "shorten"].iter().flat_map(|k| abbreviations[*k].as_array().unwrap()) {
        let row = strings(row);
        pairs.push((row[0].clone(), row[1].clone()));
    }
    for group in toml_table("equivalents")["groups"].as_array().unwrap() {
        let group = strings(group);
        pairs.extend(group[1..].iter().map(|other| (group[0].clone(), other.clone())));
    }
    pairs
}

fn canonical(text: &str) -> String {
    Lexicon::standard().canonical(&words(text)).into_iter().map(|w| w.lower).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_synonym_has_one_meaning() {
    let pairs = synonym_pairs();
    assert!(pairs.len() >= 150, "{} pairs", pairs.len());
    let mut meaning: BTreeMap<&str, &str> = BTreeMap::new();
    for (main, other) in &pairs {
        assert_eq!(canonical(main), canonical(other), "{main} / {other}");
        assert!(meaning.insert(other, main).is_none_or(|before| before == main), "{other} has two meanings");
    }
    for (main, _) in &pairs {
        assert!(!meaning.contains_key(main.as_str()), "{main} is both a canonical and another wording");
    }
}

#[test]
fn every_lexicon_term_finds_itself() {
    let table = toml_table("lexicon");
    let all: Vec<String> = ["drugs", "organisms", "diagnoses"].iter().flat_map(|k| strings(&table[*k])).collect();
    assert!(all.len() >= 300, "{} terms", all.len());
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a term occurs twice");
    for term in all {
        let found: Vec<String> = Lexicon::standard().terms(&format!("It was {term} again.")).into_keys().collect();
        assert_eq!(found, [term.to_lowercase()]);
    }
}

#[test]
fn terms_beyond_the_list_are_seen() {
    let cases = [
        ("He took cefditocillin.", "cefditocillin"),
        ("Cultures grew Erwinia amylosus.", "erwinia amylosus"),
        ("She takes Tylenol.", "acetaminophen"),
        ("Known HTN.", "hypertension"),
        ("E. coli was found.", "escherichia coli"),
        ("Two migraines a week.", "migraine"),
        ("An angiosarcoma is likely.", "angiosarcoma"),
        ("An arteriogram was done.", "arteriography"),
        ("A togavirus is suspected.", "togavirus"),
        ("The hepatic size is normal.", "liver"),
        ("She was admitted.", "admission"),
    ];
    for (text, term) in cases {
        assert!(Lexicon::standard().terms(text).contains_key(term), "{text}: {:?}", Lexicon::standard().terms(text));
    }
    for text in
        ["He came in April.", "High cholesterol.", "Intravenous calcium was given.", "Go or stay.", "Anemia diagnosis was made"]
    {
        let terms = Lexicon::standard().terms(text);
        assert!(terms.keys().all(|t| t == "anemia"), "{text}: {terms:?}");
    }
}

#[test]
fn quantities_are_read_with_their_units() {
    let cases: [(&str, &[&str]); 12] = [
        ("53-year-old man", &["53 year"]),
        ("aged 53", &["53 year"]),
        ("5mg, then 5 milligrams", &["5 mg", "5 mg"]),
        ("120/80 mm Hg and 120/80mmHg", &["120/80 mmHg", "120/80 mmHg"]),
        ("pulse 106/min; 106 beats per minute", &["106 /min", "106 /min"]),
        ("38.50°C (101.3 F)", &["101.3 F", "38.5 C"]),
        ("two days, twenty-four hours", &["2 day", "24 hour"]),
        ("one of them, for one week", &["1 week"]),
        ("10-14 days", &["10", "14 day"]),
        ("1,200 mg of vitamin B12", &["1200 mg", "b12"]),
        ("on March 4, 2021 and 2021-03-04", &["date 2021-03-04", "date 2021-03-04"]),
        ("on 03/04/2021", &["03/04/2021"]),
    ];
    for (text, expected) in cases {
        assert_eq!(Facts::of(text, Lexicon::standard()).quantities, expected, "{text}");
    }
}

// ---- edits ----

#[test]
fn word_edits_are_a_multiset() {
    let count = |a, b| edits::word_edits(a, b).count();
    assert_eq!(count("no pain, no fever", "no fever no pain"), 0);
    assert_eq!(count("pain pain", "pain"), 1);
    assert_eq!(count("given aspirin now", "given heparin drip now"), 2);
    assert_eq!(count("5 mg", "50 mg"), 1);
}

#[test]
fn slips_are_one_letter() {
    for (a, b) in [("pain", "pian"), ("pain", "pai"), ("pain", "paiin"), ("pain", "paid"), ("fever", "feverr")] {
        assert!(edits::is_one_slip(a, b) && edits::is_one_slip(b, a), "{a} {b}");
    }
    for (a, b) in [("pain", "pain"), ("pain", "pi"), ("pain", "pnia"), ("hyper", "hypo"), ("abcd", "badc")] {
        assert!(!edits::is_one_slip(a, b), "{a} {b}");
    }
}

#[test]
fn decisive_words_are_counted_after_synonyms() {
    let negations = |text: &str| Facts::of(text, Lexicon::standard()).of_category(Category::Negation).values().sum::<usize>();
    for (text, n) in [
        ("She denies pain", 1),
        ("no reports of pain", 1),
        ("no longer smokes", 0),
        ("not tender, w/o rash", 2),
        ("OR for nothing", 0),
    ] {
        assert_eq!(negations(text), n, "{text}");
    }
}

#[test]
fn alternatives_are_canonical_and_told_apart() {
    let table = toml_table("alternatives");
    let groups = table["group"].as_array().unwrap();
    assert!(groups.len() >= 120, "{} groups", groups.len());
    for group in groups {
        let members = strings(&group["members"]);
        assert!(members.len() >= 2 && members.iter().collect::<BTreeSet<_>>().len() == members.len(), "{members:?}");
        for member in &members {
            let plain = words(member).into_iter().map(|w| w.lower).collect::<Vec<_>>().join(" ");
            assert_eq!(canonical(member), plain, "{member} is not in canonical wording and would never be found");
        }
    }
}

#[test]
fn findings_and_telling_words_are_read() {
    let lexicon = Lexicon::standard();
    let found = |text: &str| lexicon.findings(text).into_iter().collect::<Vec<_>>().join(", ");
    assert_eq!(found("He reports knee pain, itching and SOB."), "itching, pain, shortness of breath");
    assert_eq!(found("Dyspnea and an erythematous, swollen knee"), "redness, shortness of breath, swelling");
    assert_eq!(found("Vital signs are normal."), "");
    let telling = |text: &str| lexicon.telling(text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(telling("The patient presents with 3 days of difficulty swallowing."), "diffi swall");
    assert_eq!(telling("Swallowing is difficult, she says."), "diffi swall");
    assert_eq!(telling("The next step is G6PD testing."), "g6pd");
}

#[test]
fn likeness_is_the_longest_common_subsequence() {
    let of = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let rouge = |a: &str, b: &str| edits::rouge_l(&of(a), &of(b));
    for (a, b, expected) in [
        ("a b c", "a b c", 1.0),
        ("a b c", "x y z", 0.0),
        ("a b c d", "b d", 4.0 / 6.0),
        ("a b c", "c b a", 2.0 / 6.0),
        ("the cat sat on", "the cat on mat sat", 6.0 / 9.0),
    ] {
        assert!((rouge(a, b) - expected).abs() < 1e-12 && (rouge(b, a) - expected).abs() < 1e-12, "{a} / {b}");
    }
    assert!(edits::rouge_l(&[], &of("a")).abs() < 1e-12 && edits::rouge_l(&[], &[]).abs() < 1e-12);
}
