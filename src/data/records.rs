//! CSV cut into records by RFC 4180, and nothing guessed: a lost quote makes the rows behind it part of a field, so a record whose
//! quotes are not whole is told apart, and reading goes on at the next line from which a whole record can be read.
//! Knows no columns.

use std::ops::Range;

/// One record as it stands in a text, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub bytes: Range<usize>,
    /// The fields with their quotes, or what is wrong with them.
    pub fields: Result<Vec<Range<usize>>, &'static str>,
}

impl Record {
    /// A field's text without its quotes; `None` where the record has no such field.
    pub fn field(&self, text: &str, at: usize) -> Option<String> {
        let raw = &text[self.fields.as_ref().ok()?.get(at)?.clone()];
        Some(match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => raw.to_owned(),
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quote inside quotes: the end of the field, or the first of a doubled quote.
    Closing,
}

/// Reads the record at `from`, blank lines before it passed over; `None` at the end of the text.
pub fn next(text: &str, from: usize) -> Option<Record> {
    let bytes = text.as_bytes();
    let start = from + bytes[from..].iter().take_while(|b| is_line_end(**b)).count();
    if start == bytes.len() {
        return None;
    }
    let (mut at, mut field, mut fields) = (At::FieldStart, start, Vec::new());
    for (here, byte) in bytes.iter().enumerate().skip(start) {
        at = match (at, *byte) {
            (At::FieldStart | At::Closing, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::Closing,
            (At::Quoted, _) => At::Quoted,
            (_, b',') => {
                fields.push(field..here);
                field = here + 1;
                At::FieldStart
            }
            (_, b) if is_line_end(b) => {
                fields.push(field..here);
                return Some(Record { bytes: start..here, fields: Ok(fields) });
            }
            (At::Bare, b'"') => return Some(faulty(start..here, "a quote stands inside a field that has none around it")),
            (At::Closing, _) => return Some(faulty(start..here, "text stands behind a closing quote")),
            (At::FieldStart | At::Bare, _) => At::Bare,
        };
    }
    if at == At::Quoted {
        return Some(faulty(start..bytes.len(), "a quote is not closed"));
    }
    fields.push(field..bytes.len());
    Some(Record { bytes: start..bytes.len(), fields: Ok(fields) })
}

fn faulty(bytes: Range<usize>, fault: &'static str) -> Record {
    Record { bytes, fields: Err(fault) }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Where to go on after a record that is no row: the next line from which a whole record of `n_fields` can be read, else the end
/// of the record where its quotes are whole, else the end of the text.
pub fn resume(text: &str, record: &Record, n_fields: usize) -> usize {
    let end = if record.fields.is_ok() { record.bytes.end } else { text.len() };
    let first_line = &text[record.bytes.start..end];
    let lines = first_line.match_indices(['\n', '\r']).map(|(at, _)| record.bytes.start + at + 1);
    let mut starts = lines.filter(|at| text[*at..].bytes().next().is_some_and(|b| !is_line_end(b)));
    starts.find(|at| next(text, *at).is_some_and(|r| r.fields.is_ok_and(|fields| fields.len() == n_fields))).unwrap_or(end)
}
