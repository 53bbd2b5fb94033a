//! Text → words, and tables of phrases found among them. Every check of the Scribe reads notes through this one tokeniser.
//! Knows no medicine: what the phrases mean is the business of the tables.

use std::collections::HashMap;

/// One word: as written, in lower case, and its byte span in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub raw: String,
    pub lower: String,
    pub start: usize,
    pub end: usize,
}

/// Splits at space, brackets and dashes, at commas, semicolons and hyphens that do not join two digits, and trims punctuation.
/// `3,500`, `2021-03-04`, `120/80` and `mg/dL` stay whole; `53-year-old` gives three words; `<` and `>` are words of their own.
pub fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut previous = ' ';
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map_or(' ', |&(_, n)| n);
        if parts_words(c, previous, next) {
            push_trimmed(text, from, at, &mut found);
            from = at + c.len_utf8();
            if is_comparison(c) {
                found.push(Word { raw: c.to_string(), lower: c.to_string(), start: at, end: from });
            }
        }
        previous = c;
    }
    push_trimmed(text, from, text.len(), &mut found);
    found
}

fn is_comparison(c: char) -> bool {
    matches!(c, '<' | '>' | '≥' | '≤')
}

fn parts_words(c: char, previous: char, next: char) -> bool {
    let joins_digits = previous.is_ascii_digit() && next.is_ascii_digit();
    match c {
        ',' | ';' | ':' | '-' | '\u{2010}' | '\u{2011}' | '\u{2013}' => !joins_digits,
        '(' | ')' | '[' | ']' | '{' | '}' | '\u{2014}' | '=' | '~' | '|' | '"' | '“' | '”' => true,
        c => c.is_whitespace() || is_comparison(c),
    }
}

fn push_trimmed(text: &str, from: usize, to: usize, found: &mut Vec<Word>) {
    let is_edge = |c: char| matches!(c, '.' | '!' | '?' | '\'' | '’' | '‘' | '*' | '`' | ',' | ';' | ':');
    let chunk = &text[from..to];
    let start = from + (chunk.len() - chunk.trim_start_matches(is_edge).len());
    let raw = chunk.trim_matches(is_edge);
    if !raw.is_empty() {
        let lower = raw.to_lowercase().replace('’', "'");
        found.push(Word { raw: raw.to_owned(), lower, start, end: start + raw.len() });
    }
}

/// The words of canonical text, without spans of their own.
pub fn plain(lower: &str) -> Word {
    Word { raw: lower.to_owned(), lower: lower.to_owned(), start: 0, end: 0 }
}

/// Where a phrase was found: `len` words from word `at`.
#[derive(Debug)]
pub struct Found<'a, T> {
    pub at: usize,
    pub len: usize,
    pub value: &'a T,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    words: Vec<Word>,
    /// Compare as written (abbreviations): `OR` is not `or`.
    exact: bool,
    value: T,
}

/// Phrases of one or more words, each with a value; looked up leftmost and longest first, without overlaps.
#[derive(Clone, Debug)]
pub struct Phrases<T> {
    by_first: HashMap<String, Vec<Entry<T>>>,
    /// Plural and possessive forms count as the phrase.
    inflected: bool,
}

impl<T> Default for Phrases<T> {
    fn default() -> Self {
        Phrases { by_first: HashMap::new(), inflected: true }
    }
}

impl<T> Phrases<T> {
    /// A table in which "patients" is not "patient".
    pub fn strict() -> Self {
        Phrases { by_first: HashMap::new(), inflected: false }
    }

    /// Adds a phrase; one without words is ignored.
    pub fn add(&mut self, phrase: &str, exact: bool, value: T) {
        let words = words(phrase);
        let Some(first) = words.first() else { return };
        let entries = self.by_first.entry(first.lower.clone()).or_default();
        entries.push(Entry { words, exact, value });
        entries.sort_by_key(|e| std::cmp::Reverse(e.words.len()));
    }

    pub fn find(&self, text: &[Word]) -> Vec<Found<'_, T>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            match self.longest_at(&text[at..]) {
                Some(entry) => {
                    found.push(Found { at, len: entry.words.len(), value: &entry.value });
                    at += entry.words.len();
                }
                None => at += 1,
            }
        }
        found
    }

    pub fn contains_any(&self, text: &[Word]) -> bool {
        (0..text.len()).any(|at| self.longest_at(&text[at..]).is_some())
    }

    fn longest_at(&self, text: &[Word]) -> Option<&Entry<T>> {
        let first = &text.first()?.lower;
        let plain = self.by_first.get(first).into_iter().flatten();
        let singular = singular(first).filter(|_| self.inflected).and_then(|s| self.by_first.get(s)).into_iter().flatten();
        plain.chain(singular).filter(|e| e.matches(text, self.inflected)).max_by_key(|e| e.words.len())
    }
}

impl<T> Entry<T> {
    fn matches(&self, text: &[Word], inflected: bool) -> bool {
        self.words.len() <= text.len() && self.words.iter().zip(text).all(|(mine, yours)| self.same(mine, yours, inflected))
    }

    fn same(&self, mine: &Word, yours: &Word, inflected: bool) -> bool {
        if self.exact {
            return yours.raw == mine.raw || yours.raw == capitalised(&mine.raw);
        }
        mine.lower == yours.lower || (inflected && singular(&yours.lower) == Some(mine.lower.as_str()))
    }
}

/// `migraines` → `migraine`; short words (`has`, `his`) are left alone.
fn singular(word: &str) -> Option<&str> {
    if word.len() >= 5 { word.strip_suffix("'s").or_else(|| word.strip_suffix('s')) } else { None }
}

/// The word with its first letter in upper case.
pub fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
