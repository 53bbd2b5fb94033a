//! Calendar dates: read in several formats, written in another, compared by value.
//! A date whose month and day could be exchanged (`03/04/2021`) is neither read nor written.

use serde::Deserialize;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: u32,
    pub month: u32,
    pub day: u32,
}

/// A date found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDate {
    pub start: usize,
    pub end: usize,
    pub date: Date,
    /// Index of the format it is written in.
    pub format: usize,
}

#[derive(Clone, Debug, Deserialize)]
struct Format {
    pattern: String,
    ambiguous: bool,
}

/// The formats of `assets/scribe/dates.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct DateFormats {
    months: Vec<String>,
    formats: Vec<Format>,
}

impl DateFormats {
    /// Finds every readable date, from left to right.
    pub fn find(&self, text: &str) -> Vec<FoundDate> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let fresh = !text[..at].chars().next_back().is_some_and(|p| p.is_alphanumeric() || matches!(p, '/' | '-' | '.'));
            let date = if fresh && c.is_ascii_alphanumeric() { self.read_at(text, at) } else { None };
            at = date.as_ref().map_or(at + c.len_utf8(), |d| d.end);
            found.extend(date);
        }
        found
    }

    /// Writes a date in a format; `None` where the result could be misread.
    pub fn write(&self, date: Date, format: usize) -> Option<String> {
        let format = self.formats.get(format)?;
        if format.ambiguous && date.day <= 12 {
            return None;
        }
        let month = self.months.get(date.month.checked_sub(1)? as usize)?;
        let text = format.pattern.replace("{yyyy}", &format!("{:04}", date.year)).replace("{Month}", month);
        let text = text.replace("{Mon}", &month[..3]).replace("{mm}", &format!("{:02}", date.month));
        let text = text.replace("{dd}", &format!("{:02}", date.day)).replace("{m}", &date.month.to_string());
        Some(text.replace("{d}", &date.day.to_string()))
    }

    /// How many formats there are.
    pub fn len(&self) -> usize {
        self.formats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.formats.is_empty()
    }

    fn read_at(&self, text: &str, start: usize) -> Option<FoundDate> {
        self.formats.iter().enumerate().find_map(|(format, f)| {
            let (date, len) = self.read(&f.pattern, &text[start..])?;
            let end = start + len;
            let closed = !text[end..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '-'));
            let real = (1..=12).contains(&date.month) && (1..=31).contains(&date.day) && (1800..=2200).contains(&date.year);
            (closed && real && !(f.ambiguous && date.day <= 12)).then_some(FoundDate { start, end, date, format })
        })
    }

    /// Reads a pattern at the head of `text`: the date and the bytes it takes.
    fn read(&self, pattern: &str, text: &str) -> Option<(Date, usize)> {
        let mut date = Date { year: 0, month: 0, day: 0 };
        let (mut rest, mut pattern) = (text, pattern);
        while !pattern.is_empty() {
            let Some(tail) = pattern.strip_prefix('{') else {
                let literal = pattern.chars().next()?;
                rest = rest.strip_prefix(literal)?;
                pattern = &pattern[literal.len_utf8()..];
                continue;
            };
            let (field, after) = tail.split_once('}')?;
            let taken = match field {
                "yyyy" => digits(rest, 4, 4, &mut date.year)?,
                "mm" => digits(rest, 2, 2, &mut date.month)?,
                "dd" => digits(rest, 2, 2, &mut date.day)?,
                "m" => digits(rest, 1, 2, &mut date.month)?,
                "d" => digits(rest, 1, 2, &mut date.day)?,
                name => self.month(rest, name == "Mon", &mut date.month)?,
            };
            rest = &rest[taken..];
            pattern = after;
        }
        Some((date, text.len() - rest.len()))
    }

    fn month(&self, text: &str, short: bool, month: &mut u32) -> Option<usize> {
        let spelled = |name: &String| if short { name[..3].to_owned() } else { name.clone() };
        let at = self.months.iter().position(|name| text.starts_with(&spelled(name)))?;
        *month = u32::try_from(at).ok()? + 1;
        Some(spelled(&self.months[at]).len())
    }
}

fn digits(text: &str, least: usize, most: usize, value: &mut u32) -> Option<usize> {
    let n = text.bytes().take_while(u8::is_ascii_digit).take(most).count();
    *value = text.get(..n)?.parse().ok()?;
    (n >= least).then_some(n)
}
