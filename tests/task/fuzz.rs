//! The parser against mutated answers: never a panic, never a verdict that the text does not carry, and linear time.
//! `MEDSERL_FUZZ_CASES=1000000 cargo test --release fuzz` runs more cases than the suite does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use medserl::{
    config::RewardConfig,
    task::{Answer, ErrorKind, Label, Scheme, Truth, Verdict, reward, verdict},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{labelled, truth};

const CORPUS: &[&str] = &[
    "<thinking>The drug does not fit the germ here.</thinking>\n<verdict>No Clinical Error</verdict>",
    "<thinking>The drug does not fit the germ here.</thinking><verdict>Error: Pharmacotherapy</verdict>",
    "<thinking>The drug does not fit the germ here.</thinking><verdict>Error: Causal Organism; Sentence: 12</verdict>",
    "<thinking>one two three four five</thinking> <verdict>Error: Treatment; Sentence: 3; Correction: Rest; ice: yes.</verdict>",
    "<thinking>one two three four five</thinking><verdict>Error: Management; Correction: a</verdict>",
    "<thinking>Fièvre à 38,6 °C depuis hier soir</thinking><verdict>error:diagnosis;correction:Il a la grippe.</verdict>",
    "<thinking>患者 发热 咳嗽 诊断 正确</thinking><verdict>Error: causalOrganism; Sentence: 0; Correction: 培养出大肠杆菌。</verdict>",
];

/// What mutations put in: pieces of the grammar, its near misses, and characters that trip up byte arithmetic.
const PIECES: &[&str] = &[
    "<thinking>",
    "</thinking>",
    "<verdict>",
    "</verdict>",
    "<Verdict>",
    "</verdict >",
    "<",
    ">",
    "/",
    "Error",
    "Error:",
    "No Clinical Error",
    "; Sentence: 4",
    "; Correction: x",
    ";",
    ":",
    ";:",
    "; sentence :",
    ";correction:",
    ".",
    " ",
    "\n",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{feff}",
    "\u{301}",
    "\u{1f642}",
    "é",
    "ſ",
    "\u{212a}",
    "İ",
    "\0",
    "Diagnosis",
    "Management",
    "causalOrganism",
    "99999999999",
    "-1",
    "٣",
];

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    (rng.next_u64() % n.max(1) as u64) as usize
}

/// One to six edits of an answer: insert, drop, double, move, swap case, join with another. Half of the answers are edited in
/// their second half only, so that many mutants get as far as the claim.
fn mutate(rng: &mut ChaCha8Rng) -> String {
    let mut chars: Vec<char> = CORPUS[below(rng, CORPUS.len())].chars().collect();
    let only_claim = below(rng, 2) == 0;
    for _ in 0..=below(rng, 6) {
        let first = if only_claim { chars.len() / 2 } else { 0 };
        let mut place = || first + below(rng, chars.len() - first + 1);
        let (a, b) = (place(), place());
        let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 24));
        match below(rng, 7) {
            0 | 1 => drop(chars.splice(from..from, PIECES[below(rng, PIECES.len())].chars())),
            2 => drop(chars.drain(from..to)),
            3 => chars.extend_from_within(from..to),
            4 => {
                let part: Vec<char> = chars.drain(from..to).collect();
                let at = below(rng, chars.len() + 1);
                drop(chars.splice(at..at, part));
            }
            5 => chars[from..to].iter_mut().for_each(|c| *c = if c.is_ascii() { char::from(*c as u8 ^ 0x20) } else { *c }),
            _ => {
                chars.truncate(from);
                let other: Vec<char> = CORPUS[below(rng, CORPUS.len())].chars().collect();
                chars.extend(&other[below(rng, other.len())..]);
            }
        }
    }
    chars.into_iter().collect()
}

/// What must hold of any verdict, said without the parser's own means.
fn check(text: &str, verdict: &Verdict) {
    assert_eq!(&verdict::parse(&format!(" \n{text}\t ")), verdict, "space around it changes the verdict of {text:?}");
    let (thinking, claim) = verdict::split_for_display(text);
    assert!(thinking.len() + claim.map_or(0, str::len) <= text.len());
    if matches!(verdict, Verdict::Malformed { .. }) {
        return;
    }
    let text = text.trim();
    let places = ["<thinking>", "</thinking>", "<verdict>", "</verdict>"].map(|tag| {
        assert_eq!(text.split(tag).count(), 2, "{tag} must occur once in {text:?}");
        (text.find(tag).unwrap(), tag.len())
    });
    assert!(places[0].0 == 0 && text.ends_with("</verdict>"), "{text:?}");
    let between = &text[places[1].0 + places[1].1..places[2].0];
    assert!(between.trim().is_empty(), "{text:?}");
    let claim = text[places[2].0 + places[2].1..places[3].0].to_lowercase();
    match verdict {
        Verdict::Clean => {
            assert_eq!(claim.split_whitespace().collect::<String>().trim_end_matches('.'), "noclinicalerror", "{text:?}")
        }
        Verdict::Error { kind, sentence, correction } => {
            let letters: String = claim.chars().filter(char::is_ascii_alphabetic).collect();
            assert!(letters.starts_with(&format!("error{}", kind.medec_name().to_lowercase())), "{text:?}");
            assert!(sentence.is_none_or(|n| claim.contains(&n.to_string())), "{text:?}");
            assert!(correction.as_ref().is_none_or(|c| !c.trim().is_empty() && text.contains(c.as_str())), "{text:?}");
        }
        Verdict::Malformed { .. } => unreachable!(),
    }
}

/// Every scheme pays a finite amount in its range, and `full` never less than `strict`.
fn check_rewards(text: &str, verdict: &Verdict, label: &Label) {
    let note = labelled(label.clone());
    let paid = |scheme| {
        let rules = RewardConfig { scheme, ..RewardConfig::default() }.rules(512);
        reward::score(&rules, Truth::from(&note), Answer { text, n_tokens: 600, verdict }).total()
    };
    let (spec, strict, full) = (paid(Scheme::Spec), paid(Scheme::Strict), paid(Scheme::Full));
    assert!((-1.5..=1.11).contains(&spec) && (-1.5..=1.11).contains(&strict), "{spec} {strict} {text:?}");
    assert!(full >= strict - 1e-6 && full <= strict + 1.001, "{full} {strict} {text:?}");
    if verdict.flag().is_none() {
        assert!(full.to_bits() == strict.to_bits() && strict <= -1.0, "{text:?}");
    }
}

/// Runs `n` cases and counts the verdicts by kind.
fn fuzz(seed: u64, n: u64) -> BTreeMap<String, u64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let labels = [truth(ErrorKind::Pharmacotherapy), truth(ErrorKind::CausalOrganism), Label::Clean];
    let mut counts = BTreeMap::new();
    for case in 0..n {
        let text = mutate(&mut rng);
        let verdict = verdict::parse(&text);
        check(&text, &verdict);
        check_rewards(&text, &verdict, &labels[case as usize % labels.len()]);
        let kind = match &verdict {
            Verdict::Clean => "clean".to_owned(),
            Verdict::Error { .. } => "error".to_owned(),
            Verdict::Malformed { why } => format!("{why:?}"),
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

#[test]
fn fuzzed_answers_never_break_the_parser() {
    let n = std::env::var("MEDSERL_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let began = Instant::now();
    let counts = fuzz(7, n);
    println!("{n} cases in {:.1} s: {counts:?}", began.elapsed().as_secs_f64());
    // The mutations reach every way out of the parser (truncation is not the parser's), and a good part is still readable.
    assert_eq!(counts.len(), 2 + 14 - usize::from(!counts.contains_key("Empty")), "{counts:?}");
    assert!(counts["clean"] + counts["error"] > n / 50, "{counts:?}");
}

/// Texts in which a careless search would start again at every character. Quadratic time would take minutes here.
#[test]
fn a_mebibyte_of_anything_takes_linear_time() {
    let mib = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let answer = |claim: String| format!("<thinking>one two three four five</thinking><verdict>{claim}</verdict>");
    let after = |claim: &str, piece: &str| answer(format!("{claim}{}", mib(piece)));
    // A type compares by its letters only, so signs and spaces behind it change nothing.
    let texts = [
        (after("Error: Diagnosis", ";"), Some(true)),
        (after("Error: Diagnosis", "; "), Some(true)),
        (after("Error: Diagnosis;", " "), Some(true)),
        (after("Error: Diagnosis", ";sentence"), None),
        (after("Error: Diagnosis", "; correction "), None),
        (after("Error: Diagnosis; Correction", "\u{a0}"), None),
        (after("Error", " "), None),
        (after("Error: ", ":"), None),
        (after("No ", "clinical "), None),
        (after("", "."), None),
        (mib("<"), None),
        (mib("<thinking"), None),
        (mib("</verdict"), None),
        (format!("<thinking>{}", mib("< /thinking>")), None),
        (format!("<thinking>{}</thinking>", mib(". ")), None),
        (format!("<thinking>one two three four five</thinking>{}x<verdict>", mib(" ")), None),
    ];
    for (text, flag) in &texts {
        let began = Instant::now();
        let verdict = verdict::parse(text);
        verdict::split_for_display(text);
        assert!(began.elapsed() < Duration::from_secs(5), "{} took {:?}", &text[..60], began.elapsed());
        assert_eq!(verdict.flag(), *flag, "{}", &text[..60]);
    }
}
