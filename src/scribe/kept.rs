//! Gates of what a made note must keep: facts sentence by sentence, the patient's sex and age, the error and its secret.

use std::collections::{BTreeMap, BTreeSet};

use super::edits::{multiset_edits, word_edits};
use super::facts::Facts;
use super::gate::{Gates, Outcome, require};
use super::lexicon::{Category, Lexicon};
use super::words::words;
use crate::task::Note;

/// The same sentence before and after, with its id and its facts.
pub struct Pair<'a> {
    pub id: u32,
    pub before: Facts,
    pub after: Facts,
    texts: (&'a str, &'a str),
}

/// Reads both notes sentence by sentence; unchanged sentences are left out.
pub fn pairs<'a>(lexicon: &Lexicon, source: &'a Note, result: &'a Note) -> Vec<Pair<'a>> {
    let both = source.sentences.iter().filter_map(|s| Some((s.id, s.text.as_str(), result.sentence(s.id)?.text.as_str())));
    let changed = both.filter(|(_, before, after)| before != after);
    let pair = |(id, before, after)| Pair {
        id,
        before: Facts::of(before, lexicon),
        after: Facts::of(after, lexicon),
        texts: (before, after),
    };
    changed.map(pair).collect()
}

/// The gates of readable facts, the same for rewordings and decoys.
pub fn record_facts(lexicon: &Lexicon, source: &Note, pairs: &[Pair], gates: &mut Gates) {
    gates.record("numbers", numbers_kept(pairs));
    gates.record("negation", concepts_kept(pairs, Category::Negation));
    gates.record("laterality", concepts_kept(pairs, Category::Laterality));
    gates.record("time", concepts_kept(pairs, Category::Time));
    gates.record("comparator", concepts_kept(pairs, Category::Comparator));
    gates.record("person", concepts_kept(pairs, Category::Person));
    gates.record("sex", sex_kept(lexicon, source, pairs));
    gates.record("age", age_kept(pairs));
    gates.record("lexicon", lexicon_kept(pairs));
}

/// The first sentence in which `problem` finds something, or passed.
fn every(pairs: &[Pair], problem: impl Fn(&Pair) -> Option<String>) -> Outcome {
    match pairs.iter().find_map(|p| problem(p).map(|why| format!("sentence {}: {why}", p.id))) {
        Some(why) => Err(why),
        None => Ok(format!("kept in {} changed sentences", pairs.len())),
    }
}

/// Words for a reader.
pub fn listed<T: std::fmt::Display>(words: &[T]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
}

/// Numbers with their units, as a multiset per sentence.
pub fn numbers_kept(pairs: &[Pair]) -> Outcome {
    every(pairs, |p| {
        let edits = multiset_edits(&p.before.quantities, &p.after.quantities);
        (edits.count() > 0).then(|| format!("lost {}, new {}", listed(&edits.removed), listed(&edits.added)))
    })
}

/// Decisive small words of a category: negation and laterality by count, the others by presence.
pub fn concepts_kept(pairs: &[Pair], category: Category) -> Outcome {
    let counted = matches!(category, Category::Negation | Category::Laterality);
    every(pairs, |p| {
        let (before, after) = (p.before.of_category(category), p.after.of_category(category));
        let same = if counted { before == after } else { before.keys().eq(after.keys()) };
        let told = |words: &BTreeMap<&str, usize>| {
            listed(
                &words
                    .iter()
                    .map(|(word, n)| if *n == 1 { (*word).to_owned() } else { format!("{word} ×{n}") })
                    .collect::<Vec<_>>(),
            )
        };
        (!same).then(|| format!("had {}, has {}", told(&before), told(&after)))
    })
}

/// Terms of the lexicon: none lost, none new.
pub fn lexicon_kept(pairs: &[Pair]) -> Outcome {
    every(pairs, |p| {
        let lost = p.before.terms.keys().find(|t| !p.after.terms.contains_key(*t)).map(|t| format!("lost \"{t}\""));
        lost.or_else(|| p.after.terms.keys().find(|t| !p.before.terms.contains_key(*t)).map(|t| format!("new \"{t}\"")))
    })
}

/// Complaints, signs and qualities ("stiffness", "rash", "primary"): none lost, none new, synonyms counted as the same.
pub fn findings_kept(lexicon: &Lexicon, pairs: &[Pair]) -> Outcome {
    every(pairs, |p| {
        let (before, after) = (lexicon.findings(p.texts.0), lexicon.findings(p.texts.1));
        let lost = before.difference(&after).next().map(|f| format!("lost \"{f}\""));
        lost.or_else(|| after.difference(&before).next().map(|f| format!("new \"{f}\"")))
    })
}

/// Telling words (all but stop words, numbers and the words with which notes report): a sentence keeps at least such a share of
/// its own, and at least half as great a share of the new ones is old. Catches what no table knows; a paraphrase may bring words
/// of its own more freely than it may lose any.
#[allow(clippy::cast_precision_loss)] // words of a sentence
pub fn telling_kept(lexicon: &Lexicon, pairs: &[Pair], least: f64) -> Outcome {
    every(pairs, |p| {
        let (before, after) = (lexicon.telling(p.texts.0), lexicon.telling(p.texts.1));
        let same = before.intersection(&after).count() as f64;
        let share = |of: &BTreeSet<String>| if of.is_empty() { 1.0 } else { same / of.len() as f64 };
        let (kept, old) = (share(&before), share(&after));
        let detail =
            || format!("{kept:.2} of the words are kept, at least {least} asked; {old:.2} are old, at least {}", least / 2.0);
        (kept < least || old < least / 2.0).then(detail)
    })
}

/// No sentence says the same twice in one breath ("knee pain and knee pain"): a writer that lost a finding repeats another.
pub fn not_echoed(pairs: &[Pair]) -> Outcome {
    every(pairs, |p| {
        let known: Vec<String> = echoes(p.texts.0);
        echoes(p.texts.1).into_iter().find(|echo| !known.contains(echo)).map(|echo| format!("\"{echo}\" twice"))
    })
}

/// Word groups that stand on both sides of "and" or "or".
fn echoes(text: &str) -> Vec<String> {
    let words: Vec<String> = words(text).into_iter().map(|w| w.lower).collect();
    let joints = (1..words.len().saturating_sub(1)).filter(|&i| matches!(words[i].as_str(), "and" | "or"));
    let echo = |i: usize| (1..=i.min(words.len() - i - 1)).find(|n| words[i - n..i] == words[i + 1..=i + n]);
    joints.filter_map(|i| echo(i).map(|n| words[i - n..i].join(" "))).collect()
}

/// A man does not become a boy, nor a girl a woman. (Ages are quantities.)
pub fn age_kept(pairs: &[Pair]) -> Outcome {
    let has = |facts: &Facts, noun: &str| {
        ["female", "male"].iter().any(|sex| facts.concepts.contains_key(&(Category::Sex, format!("{sex}-{noun}"))))
    };
    every(pairs, |p| {
        let turned = |from, to| has(&p.before, from) && !has(&p.after, from) && has(&p.after, to);
        (turned("noun", "child") || turned("child", "noun")).then(|| "the age differs".to_owned())
    })
}

/// The patient's sex is neither dropped nor turned: nouns of a sentence keep their sex, and no pronoun of a sex comes in that
/// neither the sentence nor the patient has. (Ages are quantities.)
pub fn sex_kept(lexicon: &Lexicon, source: &Note, pairs: &[Pair]) -> Outcome {
    let patient = source.sentences.iter().map(|s| sexes(&Facts::of(&s.text, lexicon), &NOUNS)).find(|s| *s != (false, false));
    let patient = patient.unwrap_or_default();
    every(pairs, |p| {
        let (noun, pronoun) = (sexes(&p.before, &NOUNS), sexes(&p.before, &PRONOUNS));
        let (new_noun, new_pronoun) = (sexes(&p.after, &NOUNS), sexes(&p.after, &PRONOUNS));
        let nouns_kept = new_noun == noun || (noun == (false, false) && within(new_noun, patient));
        let allowed = (noun.0 || pronoun.0 || patient.0, noun.1 || pronoun.1 || patient.1);
        (!nouns_kept || !within(new_pronoun, allowed)).then(|| "the sex differs".to_owned())
    })
}

const NOUNS: [&str; 3] = ["noun", "child", "neutral"];
const PRONOUNS: [&str; 1] = ["pronoun"];

/// (female, male) among the nouns or pronouns.
fn sexes(facts: &Facts, parts: &[&str]) -> (bool, bool) {
    let has = |sex: &str| parts.iter().any(|part| facts.concepts.contains_key(&(Category::Sex, format!("{sex}-{part}"))));
    (has("female"), has("male"))
}

fn within(some: (bool, bool), all: (bool, bool)) -> bool {
    (all.0 || !some.0) && (all.1 || !some.1)
}

/// The error sentence is the source's, letter by letter.
pub fn span_survives(source: &Note, result: &Note, id: u32) -> Outcome {
    let (before, after) = (source.sentence(id), result.sentence(id));
    require(before.is_some() && before == after, format!("error sentence {id}"))
}

/// Words that only the correction has do not appear elsewhere in the result, unless the source has them.
pub fn correction_absent(lexicon: &Lexicon, source: &Note, result: &Note, id: u32, correction: &str) -> Outcome {
    let error = source.sentence(id).map_or("", |s| s.text.as_str());
    let giveaways = word_edits(error, correction).added;
    let has = |note: &Note, word: &String| words(&note.text()).iter().any(|w| w.lower == *word);
    let leak = giveaways.iter().find(|w| lexicon.is_clinical(w) && has(result, w) && !has(source, w));
    leak.map_or_else(|| Ok("not given away".into()), |w| Err(format!("\"{w}\" of the correction appears")))
}
