//! Decoys: cosmetic noise put into a clean note by code alone. Typing slips, table substitutions, dates in another format,
//! spacing and case. Whatever would change a readable fact is not done, so the label stays clean by construction.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use super::edits::{is_one_slip, multiset_edits};
use super::facts::{Facts, take_dates};
use super::gate::{self, Gates, Outcome, require};
use super::kept;
use super::lexicon::{Lexicon, TermKind};
use super::words::{Word, capitalised, words};
use crate::config::ScribeConfig;
use crate::task::Note;

/// Kinds of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noise {
    Slip,
    Substitution,
    Date,
    Spacing,
    Case,
}

/// How often each kind is offered; a kind without an opportunity in the note is passed over.
const OFFERS: [Noise; 8] =
    [Noise::Slip, Noise::Slip, Noise::Slip, Noise::Substitution, Noise::Substitution, Noise::Date, Noise::Spacing, Noise::Case];

/// One opportunity: bytes `start..end` of the sentence at position `sentence` become `with`.
#[derive(Clone, Debug)]
struct Edit {
    noise: Noise,
    sentence: usize,
    start: usize,
    end: usize,
    with: String,
}

/// Puts up to `config.decoy_edits` noises into the note; fewer where there is no more room, an error where there is none.
pub fn make(note: &Note, config: &ScribeConfig, lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Result<Note, String> {
    let mut open: Vec<Edit> =
        note.sentences.iter().enumerate().flat_map(|(i, s)| opportunities(i, &s.text, lexicon, rng)).collect();
    let mut chosen: Vec<Edit> = Vec::new();
    let mut best = note.clone();
    while chosen.len() < config.decoy_edits && !open.is_empty() {
        let edit = open.swap_remove(pick_edit(&open, rng));
        if chosen.iter().any(|c| c.sentence == edit.sentence && c.start < edit.end && edit.start < c.end) {
            continue;
        }
        let sentence = edit.sentence;
        chosen.push(edit);
        let candidate = apply(note, &chosen);
        if keeps_facts(note, &candidate, sentence, lexicon)
            && gate::char_ratio(&note.text(), &candidate.text(), config.decoy_length_ratio).is_ok()
        {
            best = candidate;
        } else {
            chosen.pop();
        }
    }
    if best.text() == note.text() { Err("no word of the note may be touched".into()) } else { Ok(best) }
}

/// Runs every gate of a decoy.
pub fn check(source: &Note, result: &Note, config: &ScribeConfig, lexicon: &Lexicon, gates: &mut Gates) {
    let (before, after) = (source.text(), result.text());
    let pairs = kept::pairs(lexicon, source, result);
    gates.record("not-empty", gate::not_empty(result));
    gates.record("safe-text", gate::safe_text(&before, &after));
    gates.record("differs", gate::differs(&before, &after));
    gates.record("meta-marker", gate::no_markers(lexicon, &before, &after));
    gates.record("same-sentences", gate::same_sentences(source, result));
    gates.record("length-ratio", gate::char_ratio(&before, &after, config.decoy_length_ratio));
    kept::record_facts(lexicon, source, &pairs, gates);
    gates.record("typos", typos(source, result, config.decoy_edits, lexicon));
}

/// Beside table wordings, dates, spacing and case, nothing differs but typing slips: each one letter in an unprotected word, no
/// more of them than `most`.
pub fn typos(source: &Note, result: &Note, most: usize, lexicon: &Lexicon) -> Outcome {
    let canonical = |text: &str| -> Vec<String> {
        lexicon.canonical(&words(&take_dates(text, lexicon).1)).into_iter().map(|w| w.lower).collect()
    };
    let mut n_slips = 0;
    for sentence in &source.sentences {
        let Some(made) = result.sentence(sentence.id) else { return Err(format!("sentence {} is missing", sentence.id)) };
        let edits = multiset_edits(&canonical(&sentence.text), &canonical(&made.text));
        let mut added = edits.added;
        for word in &edits.removed {
            let at = added.iter().position(|a| is_one_slip(word, a)).ok_or_else(|| format!("\"{word}\" is lost"))?;
            added.swap_remove(at);
            if lexicon.protects(word) {
                return Err(format!("\"{word}\" may not be touched"));
            }
        }
        if let Some(word) = added.first() {
            return Err(format!("\"{word}\" is new"));
        }
        n_slips += edits.removed.len();
    }
    require(n_slips <= most, format!("{n_slips} typing slips, at most {most}"))
}

fn pick(rng: &mut ChaCha8Rng, n: usize) -> usize {
    usize::try_from(rng.next_u64() % n.max(1) as u64).unwrap_or(0)
}

/// Draws the kind first, so that the many possible slips do not drown the rest.
fn pick_edit(open: &[Edit], rng: &mut ChaCha8Rng) -> usize {
    let noise = OFFERS[pick(rng, OFFERS.len())];
    let of_kind: Vec<usize> = (0..open.len()).filter(|&i| open[i].noise == noise).collect();
    if of_kind.is_empty() { pick(rng, open.len()) } else { of_kind[pick(rng, of_kind.len())] }
}

fn apply(note: &Note, edits: &[Edit]) -> Note {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|e| std::cmp::Reverse(e.start));
    let mut note = note.clone();
    for edit in edits {
        note.sentences[edit.sentence].text.replace_range(edit.start..edit.end, &edit.with);
    }
    note
}

fn keeps_facts(before: &Note, after: &Note, at: usize, lexicon: &Lexicon) -> bool {
    Facts::of(&before.sentences[at].text, lexicon) == Facts::of(&after.sentences[at].text, lexicon)
}

/// Everything that could be done to one sentence.
fn opportunities(sentence: usize, text: &str, lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Edit> {
    let words = words(text);
    let protected = lexicon.protected(text, &words);
    let mut edits = Vec::new();
    let mut add = |noise, start, end, with| edits.push(Edit { noise, sentence, start, end, with });
    for (at, word) in words.iter().enumerate().filter(|&(at, _)| !protected[at]) {
        if let Some(with) = slip(&word.raw, rng).filter(|with| !lexicon.is_no_slip(with)) {
            add(Noise::Slip, word.start, word.end, with);
        }
        if let Some(with) = other_case(word, at == 0) {
            add(Noise::Case, word.start, word.end, with);
        }
        if let Some(next) = words.get(at + 1).filter(|_| !protected[at + 1])
            && let Some(with) = other_spacing(&text[word.end..next.start])
        {
            add(Noise::Spacing, word.end, next.start, with);
        }
    }
    for (start, end, with) in substitutions(text, &words, lexicon, rng) {
        add(Noise::Substitution, start, end, with);
    }
    for found in lexicon.dates.find(text) {
        let written = &text[found.start..found.end];
        let others: Vec<String> =
            (0..lexicon.dates.len()).filter_map(|f| lexicon.dates.write(found.date, f)).filter(|d| d != written).collect();
        if !others.is_empty() {
            add(Noise::Date, found.start, found.end, others[pick(rng, others.len())].clone());
        }
    }
    edits
}

/// Swaps, drops or doubles a letter inside a plain word of five letters or more; first and last letter stay.
fn slip(word: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() < 5 || !word.chars().all(|c| c.is_ascii_lowercase()) {
        return None;
    }
    let at = 1 + pick(rng, letters.len() - 3);
    match pick(rng, 3) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        _ => letters.insert(at, letters[at]),
    }
    let slipped: String = letters.into_iter().collect();
    (slipped != word).then_some(slipped)
}

/// Upper case for a plain word, lower case for a capital at the head of a sentence.
fn other_case(word: &Word, is_first: bool) -> Option<String> {
    let (head, tail) = word.raw.split_at_checked(1)?;
    let plain_tail = tail.len() >= 3 && tail.chars().all(|c| c.is_ascii_lowercase());
    match head.chars().next() {
        Some(c) if plain_tail && c.is_ascii_lowercase() => Some(word.raw.to_ascii_uppercase()),
        Some(c) if plain_tail && is_first && c.is_ascii_uppercase() => Some(word.raw.to_ascii_lowercase()),
        _ => None,
    }
}

/// A second space, or none after a comma.
fn other_spacing(gap: &str) -> Option<String> {
    match gap {
        " " => Some("  ".to_owned()),
        ", " => Some(",".to_owned()),
        _ => None,
    }
}

/// Table substitutions that stand alone: not joined by a hyphen or slash, not part of a longer term, no decisive word in them.
fn substitutions(text: &str, words: &[Word], lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<(usize, usize, String)> {
    const JOINTS: [char; 6] = ['-', '/', '\u{2010}', '\u{2011}', '\'', '’'];
    let is_joint = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || JOINTS.contains(&c));
    let mut result = Vec::new();
    for found in lexicon.substitutions(words) {
        let last = &words[found.at + found.len - 1];
        let (start, end) = (words[found.at].start, last.end);
        let joined = is_joint(text[..start].chars().next_back()) || is_joint(text[end..].chars().next());
        // Who takes no ibuprofen may still take another brand of it than Motrin.
        let narrows = names_drug(lexicon, &text[start..end]) && lexicon.denies(words);
        if joined || narrows || lexicon.is_inside_longer(words, found.at, found.len) {
            continue;
        }
        let with = &found.value[pick(rng, found.value.len())];
        let opens = start == 0 && with.chars().all(|c| c.is_lowercase() || !c.is_alphabetic());
        result.push((start, end, if opens { capitalised(with) } else { with.clone() }));
    }
    result
}

fn names_drug(lexicon: &Lexicon, wording: &str) -> bool {
    lexicon.terms(wording).values().any(|&kind| kind == TermKind::Drug)
}
