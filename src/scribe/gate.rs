//! The gates: small functions that say whether a made note may be used, and why not. Each knows two texts and the tables,
//! nothing of models or attempts. Thresholds come from the experiment (calibrated on real MEDEC pairs, medserl-peers §5.2).

use std::collections::{BTreeMap, BTreeSet};

use super::edits::{changed_sentences, is_one_slip, multiset_edits, word_edits};
use super::facts::Facts;
use super::lexicon::{Category, Lexicon, TermKind};
use super::words::words;
use crate::task::{ErrorKind, GateResult, Note, Text};

/// What a gate says: passed with a detail, or refused with a reason.
pub type Outcome = Result<String, String>;

/// The gates one attempt went through, in order.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    pub results: Vec<GateResult>,
}

impl Gates {
    pub fn record(&mut self, gate: &str, outcome: Outcome) {
        let passed = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        self.results.push(GateResult { gate: gate.to_owned(), passed, detail });
    }

    /// The first gate that refused.
    pub fn failure(&self) -> Option<&str> {
        self.results.iter().find(|r| !r.passed).map(|r| r.gate.as_str())
    }
}

fn require(passed: bool, detail: String) -> Outcome {
    if passed { Ok(detail) } else { Err(detail) }
}

/// No sentence is empty.
pub fn not_empty(result: &Note) -> Outcome {
    match result.sentences.iter().find(|s| s.text.trim().is_empty()) {
        Some(sentence) => Err(format!("sentence {} is empty", sentence.id)),
        None => require(!result.sentences.is_empty(), format!("{} sentences", result.sentences.len())),
    }
}

/// No control, bidi or invisible characters and no line feeds that the source did not have.
pub fn safe_text(source: &str, result: &str) -> Outcome {
    let hidden =
        |text: &str| text.chars().filter(|&c| Text::new(&c.to_string()).as_str().starts_with(['\u{fffd}', '\n'])).count();
    let (before, after) = (hidden(source), hidden(result));
    require(after <= before, format!("{after} unsafe characters, {before} in the source"))
}

/// No word or sign of the game itself beyond those of the source: "Here is", "error", tags.
pub fn no_markers(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let (before, after) = (source.to_lowercase(), result.to_lowercase());
    let marker = lexicon.markers.iter().find(|m| occurrences(&after, m) > occurrences(&before, m));
    match marker {
        Some(marker) => Err(format!("\"{marker}\" is not in the source")),
        None => require(tags(&after) <= tags(&before), format!("{} tags", tags(&after))),
    }
}

/// How often `part` occurs at word boundaries (where it begins or ends with a letter).
fn occurrences(text: &str, part: &str) -> usize {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let open = |at: usize| !is_letter(part.chars().next()) || !is_letter(text[..at].chars().next_back());
    let shut = |end: usize| !is_letter(part.chars().next_back()) || !is_letter(text[end..].chars().next());
    text.match_indices(part).filter(|(at, _)| open(*at) && shut(at + part.len())).count()
}

/// `<` right before a letter, `/` or `|`; "<5 mm" is none.
fn tags(text: &str) -> usize {
    text.match_indices('<')
        .filter(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '|')))
        .count()
}

pub fn differs(source: &str, result: &str) -> Outcome {
    require(source != result, if source == result { "unchanged" } else { "changed" }.into())
}

/// Words of the result over words of the source.
pub fn word_ratio(source: &str, result: &str, range: (f64, f64)) -> Outcome {
    ratio("words", words(source).len(), words(result).len(), range)
}

/// Characters of the result over characters of the source.
pub fn char_ratio(source: &str, result: &str, range: (f64, f64)) -> Outcome {
    ratio("characters", source.chars().count(), result.chars().count(), range)
}

#[allow(clippy::cast_precision_loss)] // lengths of notes
fn ratio(what: &str, before: usize, after: usize, (low, high): (f64, f64)) -> Outcome {
    let ratio = after as f64 / before.max(1) as f64;
    require((low..=high).contains(&ratio), format!("{after} / {before} {what} = {ratio:.3}, allowed {low} to {high}"))
}

/// An augmentation changes at least so many words.
pub fn min_edits(source: &str, result: &str, least: usize) -> Outcome {
    let n = word_edits(source, result).count();
    require(n >= least, format!("{n} words changed, at least {least} asked"))
}

/// An injection changes one to `most` words.
pub fn edit_budget(source: &str, result: &str, most: usize) -> Outcome {
    let n = word_edits(source, result).count();
    require((1..=most).contains(&n), format!("{n} words changed, 1 to {most} allowed"))
}

/// Both notes have the same sentence ids in the same order.
pub fn same_sentences(source: &Note, result: &Note) -> Outcome {
    require(
        changed_sentences(source, result).is_some(),
        format!("{} / {} sentences", result.sentences.len(), source.sentences.len()),
    )
}

/// Exactly the sentence `id` differs.
pub fn one_sentence(source: &Note, result: &Note, id: u32) -> Outcome {
    let changed = changed_sentences(source, result);
    require(
        changed.as_deref() == Some(&[id]),
        format!("changed sentences: {}", changed.map_or("other ids".into(), |c| format!("{c:?}"))),
    )
}

/// Facts of the same sentence before and after, with its id.
pub struct Pair {
    pub id: u32,
    pub before: Facts,
    pub after: Facts,
}

/// Reads both notes sentence by sentence; unchanged sentences are left out.
pub fn pairs(lexicon: &Lexicon, source: &Note, result: &Note) -> Vec<Pair> {
    let both = source.sentences.iter().filter_map(|s| Some((s, result.sentence(s.id)?))).filter(|(s, r)| s.text != r.text);
    both.map(|(s, r)| Pair { id: s.id, before: Facts::of(&s.text, lexicon), after: Facts::of(&r.text, lexicon) }).collect()
}

/// The first sentence in which `problem` finds something, or passed.
fn every(pairs: &[Pair], problem: impl Fn(&Pair) -> Option<String>) -> Outcome {
    match pairs.iter().find_map(|p| problem(p).map(|why| format!("sentence {}: {why}", p.id))) {
        Some(why) => Err(why),
        None => Ok(format!("kept in {} changed sentences", pairs.len())),
    }
}

/// Numbers with their units, as a multiset per sentence.
pub fn numbers_kept(pairs: &[Pair]) -> Outcome {
    every(pairs, |p| {
        let edits = multiset_edits(&p.before.quantities, &p.after.quantities);
        (edits.count() > 0).then(|| format!("lost {:?}, new {:?}", edits.removed, edits.added))
    })
}

/// Decisive small words of a category: negation and laterality by count, the others by presence.
pub fn concepts_kept(pairs: &[Pair], category: Category) -> Outcome {
    let counted = matches!(category, Category::Negation | Category::Laterality);
    every(pairs, |p| {
        let (before, after) = (p.before.of_category(category), p.after.of_category(category));
        let same = if counted { before == after } else { before.keys().eq(after.keys()) };
        (!same).then(|| format!("had {before:?}, has {after:?}"))
    })
}

/// Terms of the lexicon: none lost, none new.
pub fn lexicon_kept(pairs: &[Pair]) -> Outcome {
    every(pairs, |p| {
        let lost = p.before.terms.keys().find(|t| !p.after.terms.contains_key(*t)).map(|t| format!("lost \"{t}\""));
        lost.or_else(|| p.after.terms.keys().find(|t| !p.before.terms.contains_key(*t)).map(|t| format!("new \"{t}\"")))
    })
}

/// The patient's sex is neither dropped nor turned: nouns of a sentence keep their sex, and no pronoun of a sex comes in that
/// neither the sentence nor the patient has. (Ages are quantities.)
pub fn sex_kept(lexicon: &Lexicon, source: &Note, pairs: &[Pair]) -> Outcome {
    let patient = source.sentences.iter().map(|s| sexes(&Facts::of(&s.text, lexicon), "noun")).find(|s| *s != (false, false));
    let patient = patient.unwrap_or_default();
    every(pairs, |p| {
        let (noun, pronoun) = (sexes(&p.before, "noun"), sexes(&p.before, "pronoun"));
        let (new_noun, new_pronoun) = (sexes(&p.after, "noun"), sexes(&p.after, "pronoun"));
        let nouns_kept = new_noun == noun || (noun == (false, false) && within(new_noun, patient));
        let allowed = (noun.0 || pronoun.0 || patient.0, noun.1 || pronoun.1 || patient.1);
        (!nouns_kept || !within(new_pronoun, allowed)).then(|| "the sex differs".to_owned())
    })
}

/// (female, male) among the nouns or pronouns.
fn sexes(facts: &Facts, part: &str) -> (bool, bool) {
    let has = |sex: &str| facts.concepts.contains_key(&(Category::Sex, format!("{sex}-{part}")));
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

/// The edit changes more than stop words.
pub fn clinical_edit(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    let clinical: Vec<&String> = edits.removed.iter().chain(&edits.added).filter(|w| lexicon.is_clinical(w)).collect();
    require(!clinical.is_empty(), format!("clinical words changed: {clinical:?}"))
}

/// The edit is no rewording by the synonym tables.
pub fn not_synonym(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let canonical = |text: &str| lexicon.canonical(&words(text)).into_iter().map(|w| w.lower).collect::<Vec<_>>();
    let edits = multiset_edits(&canonical(source), &canonical(result));
    require(edits.removed.iter().chain(&edits.added).any(|w| lexicon.is_clinical(w)), "compared in canonical wording".into())
}

/// The edit does not merely add or take away words ("pneumonia" → "bacterial pneumonia" need not be wrong), unless a negation,
/// a side, a comparison or a quantity comes or goes, or one known term gives way to another.
pub fn not_elaboration(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    let clinical = |words: &[String]| words.iter().any(|w| lexicon.is_clinical(w));
    let (before, after) = (Facts::of(source, lexicon), Facts::of(result, lexicon));
    let decisive = [Category::Negation, Category::Laterality, Category::Comparator];
    let turns = before.quantities != after.quantities || decisive.iter().any(|&c| before.of_category(c) != after.of_category(c));
    let exchange = is_exchange(&before, &after);
    let detail = format!("lost {:?}, new {:?}", edits.removed, edits.added);
    require(turns || exchange || (clinical(&edits.removed) && clinical(&edits.added)), detail)
}

/// A term went and another came, neither of which is the other with words added ("hepatitis A" → "hepatitis C").
fn is_exchange(before: &Facts, after: &Facts) -> bool {
    let of = |term: &String| words(term).into_iter().map(|w| w.lower).collect::<BTreeSet<_>>();
    let gone: Vec<_> = before.terms.keys().filter(|t| !after.terms.contains_key(*t)).map(of).collect();
    let came: Vec<_> = after.terms.keys().filter(|t| !before.terms.contains_key(*t)).map(of).collect();
    gone.iter().any(|g| came.iter().any(|c| !g.is_subset(c) && !c.is_subset(g)))
}

/// The edit is no slip of the pen: one word for another that differs by one letter and is no known term.
pub fn not_slip(lexicon: &Lexicon, source: &str, result: &str) -> Outcome {
    let edits = word_edits(source, result);
    let ([old], [new]) = (edits.removed.as_slice(), edits.added.as_slice()) else { return Ok("more than one word".into()) };
    let slip = old.len() >= 5 && old.chars().all(char::is_alphabetic) && is_one_slip(old, new) && lexicon.terms(new).is_empty();
    require(!slip, format!("{old} → {new}"))
}

/// Where the edit exchanges terms of one class for terms of the same class, the class fits the error kind asked for.
pub fn kind_fits(lexicon: &Lexicon, kind: ErrorKind, source: &str, result: &str) -> Outcome {
    let (before, after) = (lexicon.terms(source), lexicon.terms(result));
    let classes = |of: &BTreeMap<String, TermKind>, but: &BTreeMap<String, TermKind>| -> BTreeSet<TermKind> {
        let alone = of.iter().filter(|(t, _)| !but.contains_key(*t)).map(|(_, &k)| k);
        alone.filter(|k| matches!(k, TermKind::Drug | TermKind::Organism | TermKind::Diagnosis)).collect()
    };
    let (gone, came) = (classes(&before, &after), classes(&after, &before));
    let only = |kinds: &BTreeSet<TermKind>| kinds.first().copied().filter(|_| kinds.len() == 1);
    let (Some(old), Some(new)) = (only(&gone), only(&came)) else { return Ok("no exchange of known terms".into()) };
    let fits = match (old, new) {
        (TermKind::Drug, TermKind::Drug) => !matches!(kind, ErrorKind::Diagnosis | ErrorKind::CausalOrganism),
        (TermKind::Organism, TermKind::Organism) => matches!(kind, ErrorKind::CausalOrganism | ErrorKind::Diagnosis),
        (TermKind::Diagnosis, TermKind::Diagnosis) => !matches!(kind, ErrorKind::Pharmacotherapy | ErrorKind::Treatment),
        _ => true,
    };
    require(fits, format!("{old:?} → {new:?} as {}", kind.title()))
}
