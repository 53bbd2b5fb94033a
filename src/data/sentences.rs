//! MEDEC's `Sentences` column: one `<id> <text>` or `<id> | <text>` line a sentence.
//! Ids are looked up, never renumbered; lines without an id of their own fold into the sentence before.

use std::collections::HashMap;

use crate::task::Sentence;

/// The column as sentences, and what had to be done to read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub sentences: Vec<Sentence>,
    /// Continuation lines folded into the sentence before them.
    pub folded: usize,
    /// Lines of white space alone.
    pub blank: usize,
    /// Sentence ids that are skipped.
    pub missing: Vec<u32>,
}

/// A line that may open a sentence: its number and the text behind it.
#[derive(Clone, Copy)]
struct Opening<'a> {
    id: u32,
    text: &'a str,
    piped: bool,
}

/// A number that skips more than so many sentences counts none: it is part of the text.
const MOST_SKIPPED: u32 = 1_000;

/// Parses a whole column; `None` where its first line carries no id.
pub fn parse(column: &str) -> Option<Parsed> {
    let lines: Vec<&str> = column.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let piped = opening(lines.first()?)?.piped;
    // In a file with pipes a line without one is a continuation, whatever it starts with.
    let openings: Vec<Option<Opening>> = lines.iter().map(|line| opening(line).filter(|o| o.piped == piped)).collect();
    let blank = column.split('\n').filter(|line| line.trim().is_empty()).count();
    let later = Later::of(&openings);
    let mut parsed = Parsed { blank, ..Parsed::default() };
    for (at, line) in lines.iter().enumerate() {
        let last = parsed.sentences.last().map(|s| s.id);
        match openings[at].filter(|o| opens(last, o, &later, at)) {
            Some(o) => {
                parsed.missing.extend(last.map_or(0..0, |last| last + 1..o.id));
                parsed.sentences.push(Sentence { id: o.id, text: one_line(o.text) });
            }
            None => fold(&mut parsed, line),
        }
    }
    Some(parsed)
}

/// Collapses every run of white space, line breaks included, into one space.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fold(parsed: &mut Parsed, line: &str) {
    if let Some(sentence) = parsed.sentences.last_mut() {
        let more = one_line(line);
        if !sentence.text.is_empty() && !more.is_empty() {
            sentence.text.push(' ');
        }
        sentence.text.push_str(&more);
        parsed.folded += 1;
    }
}

fn opening(line: &str) -> Option<Opening<'_>> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let id = line[..digits].parse().ok()?;
    let rest = &line[digits..];
    let text = rest.trim_start();
    if let Some(text) = text.strip_prefix('|') {
        return Some(Opening { id, text: text.trim(), piped: true });
    }
    // `120/70 mm` and `3.5 mg` continue a sentence; `7` alone is an empty one.
    (text.len() < rest.len() || rest.is_empty()).then_some(Opening { id, text, piped: false })
}

/// The lines that may open a sentence, by their number, in order.
struct Later<'a>(HashMap<u32, Vec<(usize, Opening<'a>)>>);

impl<'a> Later<'a> {
    fn of(openings: &[Option<Opening<'a>>]) -> Later<'a> {
        let mut lines = HashMap::<u32, Vec<(usize, Opening<'a>)>>::new();
        for (at, opening) in openings.iter().enumerate() {
            opening.iter().for_each(|o| lines.entry(o.id).or_default().push((at, *o)));
        }
        Later(lines)
    }

    /// The next line after `at` that has this number.
    fn next(&self, id: u32, at: usize) -> Option<&Opening<'a>> {
        let lines = self.0.get(&id)?;
        lines.get(lines.partition_point(|(line, _)| *line <= at)).map(|(_, opening)| opening)
    }
}

/// Whether the numbered line `at` opens the sentence after `last`, or is a continuation that happens to start with a number.
fn opens(last: Option<u32>, line: &Opening, later: &Later, at: usize) -> bool {
    let Some(last) = last else { return true };
    let Some(expected) = last.checked_add(1) else { return false };
    let later_expected = later.next(expected, at);
    if line.id == expected {
        // "... for / 7 days. / 7 He was ...": the capitalised line is the sentence.
        return line.piped || !(starts_lower(line.text) && later_expected.is_some_and(|o| starts_upper(o.text)));
    }
    let letter = line.text.starts_with(char::is_alphabetic);
    let skips = line.id.saturating_sub(expected);
    (1..=MOST_SKIPPED).contains(&skips) && later_expected.is_none() && (line.piped || letter)
}

fn starts_lower(text: &str) -> bool {
    text.starts_with(char::is_lowercase)
}

fn starts_upper(text: &str) -> bool {
    text.starts_with(char::is_uppercase)
}
