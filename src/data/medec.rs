//! MEDEC's CSV with ground truth → rows: every field as it stands in the file, plus the labelled note made of it.
//! Knows the file's quirks (research: medserl-peers §1); who trains on the rows is no business of this file.

use std::ops::Range;
use std::path::Path;

use super::error::DataError;
use super::groups::{self, SIBLING_SIMILARITY};
use super::integrity::{self, ErrorRow, Relation, Violation};
use super::records::{self, Record};
use super::report::{LoadReport, Skipped};
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
    /// The record in the text of the file, which has no byte order mark; without its line end.
    pub bytes: Range<usize>,
    pub raw: RawFields,
    pub labelled: LabelledNote,
}

/// Loads a MEDEC CSV with mojibake repair.
pub fn load_medec(path: &Path) -> Result<(Vec<Row>, LoadReport), DataError> {
    load_medec_with(path, LoadOptions::default())
}

/// Loads a MEDEC CSV; a row that breaks a relation is kept and listed, a row that cannot be read is an error with its line.
pub fn load_medec_with(path: &Path, options: LoadOptions) -> Result<(Vec<Row>, LoadReport), DataError> {
    let (rows, report) = read(path, &text_file::read(path)?, options)?;
    report.refuse_unreadable(path)?;
    Ok((rows, report))
}

/// Reads every row it can and lists the others in the report, so that one look shows all that is wrong with a file.
/// Fails where the columns are missing or there is no row at all; `path` is only named in messages.
pub fn read(path: &Path, file: &TextFile, options: LoadOptions) -> Result<(Vec<Row>, LoadReport), DataError> {
    let mut report = LoadReport::new(path, file, options.repair);
    let mut rows = Vec::new();
    for Found { line, bytes, raw } in found_rows(path, file, &mut report)? {
        match labelled(&raw, &mut report) {
            Ok(labelled) => rows.push(Row { line, bytes, raw, labelled }),
            Err(reason) => report.unreadable.push(Skipped { line, id: raw.id.trim().to_owned(), reason }),
        }
    }
    if rows.is_empty() && report.unreadable.is_empty() {
        return Err(DataError::NoNotes { path: path.to_owned() });
    }
    report.unreadable.sort_by_key(|row| row.line);
    let mut notes: Vec<LabelledNote> = rows.iter().map(|row| row.labelled.clone()).collect();
    groups::assign(&mut notes, SIBLING_SIMILARITY);
    report.tally(&notes);
    report.violations.extend(integrity::check_ids(notes.iter()));
    for (row, note) in rows.iter_mut().zip(notes) {
        row.labelled = note;
    }
    Ok((rows, report))
}

/// One record: its first line, where it stands, its fields.
struct Found {
    line: usize,
    bytes: Range<usize>,
    raw: RawFields,
}

/// Finds the rows of the file; empty ones are counted and left out, those whose fields cannot be told apart are listed.
fn found_rows(path: &Path, file: &TextFile, report: &mut LoadReport) -> Result<Vec<Found>, DataError> {
    let text = file.text.as_str();
    let header = header(text).map_err(|fault| DataError::Record { path: path.to_owned(), line: 1, problem: fault.to_owned() })?;
    let names = header.1;
    let columns = columns(path, &names)?;
    let (mut found, mut at, mut line, mut counted) = (Vec::new(), header.0, 1, 0);
    while let Some(record) = records::next(text, at) {
        let start = record.bytes.start;
        line += text_file::count_lines(&text.as_bytes()[counted..start]);
        (counted, at) = (start, record.bytes.end);
        report.records += 1;
        let n = record.fields.as_ref().map_or(0, Vec::len);
        if n > 0 && (0..n).all(|at| record.field(text, at).is_none_or(|field| field.trim().is_empty())) {
            report.skipped_empty += 1;
            continue;
        }
        let problem = match &record.fields {
            Err(fault) => format!("{fault}; quote the whole field and double the quotes inside it"),
            Ok(fields) if fields.len() != names.len() => {
                let sizes = format!("the record has {} fields, the header {}", fields.len(), names.len());
                format!("{sizes}; look for a comma outside quotes or a lost quote")
            }
            Ok(_) => {
                found.push(Found { line, bytes: record.bytes.clone(), raw: RawFields::read(&record, text, columns) });
                continue;
            }
        };
        at = records::resume(text, &record, names.len());
        let last = line + text_file::count_lines(text[start..at].trim_end().as_bytes());
        let span = if last > line { format!("; lines {line} to {last} are left out") } else { String::new() };
        let first = || text[start..].split(',').next().unwrap_or_default().trim_matches('"').chars().take(40).collect();
        let id = record.field(text, columns[0]).unwrap_or_else(first).trim().to_owned();
        report.unreadable.push(Skipped { line, id, reason: problem + &span });
    }
    Ok(found)
}

/// Where the header ends, and the names in it.
fn header(text: &str) -> Result<(usize, Vec<String>), &'static str> {
    let Some(record) = records::next(text, 0) else { return Ok((text.len(), Vec::new())) };
    let n = record.fields.as_ref().map_err(|fault| *fault)?.len();
    Ok((record.bytes.end, (0..n).filter_map(|at| record.field(text, at)).collect()))
}

/// Finds each of the nine columns in the header.
fn columns(path: &Path, header: &[String]) -> Result<[usize; 9], DataError> {
    let keys: Vec<String> = header.iter().map(|name| key(name)).collect();
    let places = COLUMNS.map(|name| keys.iter().position(|k| *k == key(name)));
    let missing: Vec<&str> = COLUMNS.iter().zip(places).filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(DataError::Columns {
            path: path.to_owned(),
            missing: missing.join(", "),
            found: header.join(", "),
            expected: COLUMNS.join(", "),
        });
    }
    Ok(places.map(|place| place.unwrap_or(0)))
}

fn key(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl RawFields {
    fn read(record: &Record, text: &str, columns: [usize; 9]) -> RawFields {
        let [id, text, sentences, error_flag, error_type, error_sentence_id, error_sentence, corrected_sentence, corrected_text] =
            columns.map(|at| record.field(text, at).unwrap_or_default());
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
    if integrity::join_differs_in_spacing(&fields.text, &parsed.sentences) {
        report.spacing.entry(Relation::SentencesJoinToText).or_default().push(id.clone());
    }
    let note = Note { group: id.clone(), id, sentences: parsed.sentences };
    match &label {
        Label::Error { sentence, .. } => check_error(&fields, &note, *sentence, report),
        Label::Clean => report.violations.extend(check_clean(&fields)),
    }
    let labelled = LabelledNote { note, label };
    report.shortcuts.add(&fields.text, &labelled);
    Ok(labelled)
}

fn check_error(fields: &RawFields, note: &Note, sentence: u32, report: &mut LoadReport) {
    let row = ErrorRow {
        id: &note.id,
        text: &fields.text,
        sentences: &note.sentences,
        sentence,
        error_sentence: &fields.error_sentence,
        corrected_sentence: &fields.corrected_sentence,
        corrected_text: &fields.corrected_text,
    };
    report.violations.extend(integrity::check_error(&row));
    if integrity::replacement_differs_in_spacing(&row) {
        report.spacing.entry(Relation::ReplacementGivesCorrectedText).or_default().push(note.id.clone());
    }
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
