//! What a sentence states, as far as code can read it: quantities, decisive small words, clinical terms.
//! Two wordings of one fact give equal [`Facts`].

use std::collections::BTreeMap;

use super::lexicon::{Category, Lexicon, TermKind};
use super::words::{Word, words};

/// The readable facts of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `38.5 C`, `53 year`, `120/80 mmHg`, `date 2021-03-04`; sorted, repeated as often as stated.
    pub quantities: Vec<String>,
    /// How often each concept occurs, by category and name.
    pub concepts: BTreeMap<(Category, String), usize>,
    /// Terms in canonical wording.
    pub terms: BTreeMap<String, TermKind>,
}

impl Facts {
    /// Reads a text by the tables.
    pub fn of(text: &str, lexicon: &Lexicon) -> Facts {
        let (dates, rest) = take_dates(text, lexicon);
        let canonical = lexicon.canonical(&words(&rest));
        let mut quantities = quantities(&canonical, lexicon);
        quantities.extend(dates);
        quantities.sort_unstable();
        let mut concepts = BTreeMap::new();
        for found in lexicon.concepts(&canonical) {
            *concepts.entry((found.value.category, found.value.name.clone())).or_default() += 1;
        }
        Facts { quantities, concepts, terms: lexicon.terms(text) }
    }

    /// Concepts of one category with their counts.
    pub fn of_category(&self, category: Category) -> BTreeMap<&str, usize> {
        self.concepts.iter().filter(|((c, _), _)| *c == category).map(|((_, name), &n)| (name.as_str(), n)).collect()
    }
}

/// Dates by value, and the text with a gap where each stood.
pub(super) fn take_dates(text: &str, lexicon: &Lexicon) -> (Vec<String>, String) {
    let mut dates = Vec::new();
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    for found in lexicon.dates.find(text) {
        dates.push(format!("date {:04}-{:02}-{:02}", found.date.year, found.date.month, found.date.day));
        rest.push_str(&text[at..found.start]);
        rest.push_str(" , ");
        at = found.end;
    }
    rest.push_str(&text[at..]);
    (dates, rest)
}

fn quantities(canonical: &[Word], lexicon: &Lexicon) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < canonical.len() {
        let taken = read_quantity(&canonical[at..], at.checked_sub(1).map(|p| canonical[p].lower.as_str()), lexicon, &mut found);
        at += taken.max(1);
    }
    found
}

/// Reads the quantity at the head of `rest`, if there is one; gives the number of words of the number itself.
fn read_quantity(rest: &[Word], previous: Option<&str>, lexicon: &Lexicon, found: &mut Vec<String>) -> usize {
    let word = rest[0].lower.as_str();
    if let Some((value, taken)) = spelled_number(rest, lexicon) {
        let unit = unit_of(&rest[taken..], previous, lexicon);
        // "one" is a number only where something is counted in it ("one of the drugs" is not).
        if value != 1 || unit.is_some() {
            found.push(labelled(&value.to_string(), unit));
        }
        return taken;
    }
    if !word.contains(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        // An identifier such as b12, x2 or $50 is kept as it is.
        found.push(word.to_owned());
        return 1;
    }
    // A range (10-14 days) is two numbers; the unit belongs to the last.
    let mut parts = word.split(['-', '\u{2013}', ':']).peekable();
    while let Some(part) = parts.next() {
        let head = leading_number(part);
        let suffix = &part[head.len()..];
        let tail = if parts.peek().is_some() { &[] } else { &rest[1..] };
        match suffix_unit(suffix, tail, lexicon) {
            Some(unit) => found.push(labelled(&value(head), Some(&unit))),
            None if suffix.is_empty() => found.push(labelled(&value(head), unit_of(tail, previous, lexicon))),
            None => found.push(part.to_owned()),
        }
    }
    1
}

fn labelled(value: &str, unit: Option<&str>) -> String {
    unit.map_or_else(|| value.to_owned(), |unit| format!("{value} {unit}"))
}

/// `1,200` → `1200`, `5.0` → `5`; compounds such as `120/80` stay.
fn value(number: &str) -> String {
    let plain = number.replace(',', "");
    plain.parse::<f64>().map_or(plain, |v| v.to_string())
}

/// Digits with inner `.`, `,` and `/`.
fn leading_number(word: &str) -> &str {
    let bytes = word.as_bytes();
    let is_digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let mut end = 0;
    while is_digit(end) || (end > 0 && matches!(bytes.get(end), Some(b'.' | b',' | b'/')) && is_digit(end + 1)) {
        end += 1;
    }
    &word[..end]
}

/// A unit written onto the number: `5mg`, `98%`, `90/min`, `120mm Hg`.
fn suffix_unit(suffix: &str, next: &[Word], lexicon: &Lexicon) -> Option<String> {
    if suffix.is_empty() {
        return None;
    }
    let joined = next.first().map(|w| format!("{suffix} {}", w.lower));
    joined.and_then(|two| lexicon.units.get(&two)).or_else(|| lexicon.units.get(suffix)).cloned()
}

/// A unit in the words after the number, the longest first; an age may have it before ("aged 53").
fn unit_of<'a>(next: &[Word], previous: Option<&str>, lexicon: &'a Lexicon) -> Option<&'a str> {
    let spelled = |n: usize| next[..n].iter().map(|w| w.lower.as_str()).collect::<Vec<_>>().join(" ");
    let after = (1..=next.len().min(3)).rev().find_map(|n| lexicon.units.get(&spelled(n)));
    let age = || lexicon.units.get("year").filter(|_| matches!(previous, Some("aged" | "age")));
    after.or_else(age).map(String::as_str)
}

/// `five`, `twenty four`, or `one` → value and words taken.
fn spelled_number(rest: &[Word], lexicon: &Lexicon) -> Option<(u32, usize)> {
    let value_at = |i: usize| rest.get(i).and_then(|w| lexicon.numbers.get(&w.lower)).copied();
    if rest[0].lower == "one" {
        return Some((1, 1));
    }
    let value = value_at(0)?;
    let ones = value_at(1).filter(|&v| value >= 20 && v < 10);
    Some(ones.map_or((value, 1), |v| (value + v, 2)))
}
