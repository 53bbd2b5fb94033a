//! MEDEC's CSV with ground truth → rows: every field as it stands in the file, plus the labelled note made of it.
//! Knows the file's quirks (research: medserl-peers §1); who trains on the rows is no business of this file.

use std::path::Path;

use super::error::DataError;
use super::groups::{self, SIBLING_SIMILARITY};
use super::integrity::{self, ErrorRow, Relation, Violation};
use super::report::LoadReport;
use super::sentences::{self, one_line};
use super::text_file::{self, TextFile};
use crate::task::{ErrorKind, Label, LabelledNote, Note};

/// The nine columns, in MEDEC's order and spelling. Case, spaces and underscores do not matter.
pub const COLUMNS: [&str; 9] = [
    "Text ID",
    "Text",
    "Sentences",
    "Error Flag",
    "Error Type",
    "Error Sentence ID",
    "Error Sentence",
    "Corrected Sentence",
    "Corrected Text",
];

/// How a CSV is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Puts mojibake right in the labelled notes; raw fields always stay as they are.
    pub repair: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { repair: true }
    }
}

/// One record's fields, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFields {
    pub id: String,
    pub text: String,
    pub sentences: String,
    pub error_flag: String,
    pub error_type: String,
    pub error_sentence_id: String,
    pub error_sentence: String,
    pub corrected_sentence: String,
    pub corrected_text: String,
}

/// One record: where it stands, what it holds, and the labelled note made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// First line of the record, from 1.
    pub line: usize,
    pub raw: RawFields,
    pub labelled: LabelledNote,
}

/// Loads a MEDEC CSV with mojibake repair.
pub fn load_medec(path: &Path) -> Result<(Vec<Row>, LoadReport), DataError> {
    load_medec_with(path, LoadOptions::default())
}

/// Loads a MEDEC CSV; a row that breaks a relation is kept and listed, a row that cannot be read is an error with its line.
pub fn load_medec_with(path: &Path, options: LoadOptions) -> Result<(Vec<Row>, LoadReport), DataError> {
    let file = text_file::read(path)?;
    let mut report = LoadReport::new(path, &file, options.repair);
    let mut rows = Vec::new();
    for (line, raw) in records(path, &file, &mut report)? {
        let labelled =
            labelled(&raw, &mut report).map_err(|problem| DataError::Record { path: path.to_owned(), line, problem })?;
        rows.push(Row { line, raw, labelled });
    }
    if rows.is_empty() {
        return Err(DataError::NoNotes { path: path.to_owned() });
    }
    let mut notes: Vec<LabelledNote> = rows.iter().map(|row| row.labelled.clone()).collect();
    groups::assign(&mut notes, SIBLING_SIMILARITY);
    report.tally(&notes);
    report.violations.extend(integrity::check_ids(notes.iter()));
    for (row, note) in rows.iter_mut().zip(notes) {
        row.labelled = note;
    }
    Ok((rows, report))
}

/// Splits the file into records with their first lines; all-empty records are counted and left out.
fn records(path: &Path, file: &TextFile, report: &mut LoadReport) -> Result<Vec<(usize, RawFields)>, DataError> {
    let mut lines = LineCounter { text: file.text.as_bytes(), at: 0, line: 1 };
    let bad = |line, problem| DataError::Record { path: path.to_owned(), line, problem };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file.text.as_bytes());
    let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
    let columns = columns(path, &header)?;
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| bad(lines.line, format!("{e}; check the quotes of this record")))?;
        let line = lines.line_at(record.position().map_or(0, csv::Position::byte));
        report.records += 1;
        if record.iter().all(|field| field.trim().is_empty()) {
            report.skipped_empty += 1;
            continue;
        }
        if record.len() != header.len() {
            let sizes = format!("the record has {} fields, the header {}", record.len(), header.len());
            return Err(bad(line, format!("{sizes}; look for a quote that is not closed or a comma outside quotes")));
        }
        records.push((line, RawFields::read(&record, columns)));
    }
    Ok(records)
}

/// Counts lines up to a byte. The csv reader's own count is one short after CRLF.
struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn line_at(&mut self, byte: u64) -> usize {
        let mut end = usize::try_from(byte).unwrap_or(self.at).clamp(self.at, self.text.len());
        while matches!(self.text.get(end), Some(b'\r' | b'\n')) {
            end += 1;
        }
        self.line += text_file::count_lines(&self.text[self.at..end]);
        self.at = end;
        self.line
    }
}

/// Finds each of the nine columns in the header.
fn columns(path: &Path, header: &csv::StringRecord) -> Result<[usize; 9], DataError> {
    let keys: Vec<String> = header.iter().map(key).collect();
    let places = COLUMNS.map(|name| keys.iter().position(|k| *k == key(name)));
    let missing: Vec<&str> = COLUMNS.iter().zip(places).filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(DataError::Columns {
            path: path.to_owned(),
            missing: missing.join(", "),
            found: header.iter().collect::<Vec<_>>().join(", "),
            expected: COLUMNS.join(", "),
        });
    }
    Ok(places.map(|place| place.unwrap_or(0)))
}

fn key(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl RawFields {
    fn read(record: &csv::StringRecord, columns: [usize; 9]) -> RawFields {
        let [id, text, sentences, error_flag, error_type, error_sentence_id, error_sentence, corrected_sentence, corrected_text] =
            columns.map(|at| record.get(at).unwrap_or_default().to_owned());
        RawFields {
            id,
            text,
            sentences,
            error_flag,
            error_type,
            error_sentence_id,
            error_sentence,
            corrected_sentence,
            corrected_text,
        }
    }

    /// The fields with their free texts repaired.
    fn mended(&self, report: &mut LoadReport) -> RawFields {
        let mut mend = |column: usize, cell: &str| report.repair.mend(self.id.trim(), COLUMNS[column], cell);
        RawFields {
            text: mend(1, &self.text),
            sentences: mend(2, &self.sentences),
            error_sentence: mend(6, &self.error_sentence),
            corrected_sentence: mend(7, &self.corrected_sentence),
            corrected_text: mend(8, &self.corrected_text),
            ..self.clone()
        }
    }
}

/// Makes the labelled note of one record and lists what is wrong with it; an unreadable field is the error.
fn labelled(raw: &RawFields, report: &mut LoadReport) -> Result<LabelledNote, String> {
    let fields = raw.mended(report);
    let id = fields.id.trim().to_owned();
    if id.is_empty() {
        return Err("Text ID is empty; give the row an id or empty the whole row".into());
    }
    let parsed = sentences::parse(&fields.sentences)
        .ok_or_else(|| format!("{id}: Sentences must be lines of `<id> <text>` or `<id> | <text>`; its first line has no id"))?;
    let label = label(&fields).map_err(|problem| format!("{id}: {problem}"))?;
    report.sentences.add(&id, &parsed);
    report.violations.extend(integrity::check_join(&id, &fields.text, &parsed.sentences));
    let note = Note { group: id.clone(), id, sentences: parsed.sentences };
    match &label {
        Label::Error { sentence, .. } => report.violations.extend(check_error(&fields, &note, *sentence)),
        Label::Clean => report.violations.extend(check_clean(&fields)),
    }
    Ok(LabelledNote { note, label })
}

fn check_error(fields: &RawFields, note: &Note, sentence: u32) -> Vec<Violation> {
    integrity::check_error(&ErrorRow {
        id: &note.id,
        text: &fields.text,
        sentences: &note.sentences,
        sentence,
        error_sentence: &fields.error_sentence,
        corrected_sentence: &fields.corrected_sentence,
        corrected_text: &fields.corrected_text,
    })
}

fn check_clean(fields: &RawFields) -> Option<Violation> {
    let named = [&fields.error_type, &fields.error_sentence, &fields.corrected_sentence, &fields.corrected_text];
    let filled = named.iter().filter(|field| !is_na(field)).count();
    let sentence = parse_sentence_id(&fields.error_sentence_id).is_some();
    (filled > 0 || sentence).then(|| Violation {
        id: fields.id.trim().to_owned(),
        relation: Relation::CleanColumnsAreEmpty,
        detail: format!("{} of its error columns are filled", filled + usize::from(sentence)),
    })
}

fn label(fields: &RawFields) -> Result<Label, String> {
    if !parse_flag(&fields.error_flag)? {
        return Ok(Label::Clean);
    }
    let kind = ErrorKind::parse(&fields.error_type).ok_or_else(|| {
        let known = ErrorKind::ALL.map(ErrorKind::medec_name).join(", ");
        format!("Error Type is \"{}\"; an error row needs one of {known}", fields.error_type)
    })?;
    let sentence = parse_sentence_id(&fields.error_sentence_id).ok_or_else(|| {
        format!("Error Sentence ID is \"{}\"; an error row needs a sentence id from 0", fields.error_sentence_id)
    })?;
    if is_na(&fields.corrected_sentence) {
        return Err("Corrected Sentence is empty or NA; an error row needs its correction".into());
    }
    Ok(Label::Error { kind, sentence, correction: one_line(&fields.corrected_sentence) })
}

/// 0/1 as integers, as floats (files that went through a data frame) or as words.
fn parse_flag(field: &str) -> Result<bool, String> {
    match field.trim().to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" => Ok(true),
        "0" | "0.0" | "false" => Ok(false),
        _ => Err(format!("Error Flag is \"{field}\"; expected 0 or 1")),
    }
}

/// `5` or `5.0`; `-1`, `NA` and anything else is no sentence.
fn parse_sentence_id(field: &str) -> Option<u32> {
    let field = field.trim();
    field.strip_suffix(".0").unwrap_or(field).parse().ok()
}

/// MEDEC writes `NA` where there is nothing; data frames turn it into `NaN` or an empty cell.
fn is_na(field: &str) -> bool {
    matches!(field.trim().to_ascii_lowercase().as_str(), "" | "na" | "nan" | "n/a")
}
