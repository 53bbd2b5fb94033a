//! Pairs JSONL (one error note and its corrected text a line) → an error note and its clean sibling each.
//! The file has no `Sentences` column: code cuts the text so that the error sentence is exactly one sentence.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::error::DataError;
use super::groups::{self, SAME_VIGNETTE};
use super::integrity::{self, ErrorRow, Relation, without_spaces};
use super::punctuation;
use super::report::{LoadReport, Skipped};
use super::sentences::{Parsed, one_line};
use super::text_file::{self, TextFile};
use crate::task::{ErrorKind, Label, LabelledNote, Note, Sentence};

/// One line of the file; further keys are ignored.
#[derive(Deserialize)]
struct PairRecord {
    note_id: String,
    incorrect_note: String,
    correct_note: String,
    error_type: String,
    error_sentence: String,
    corrected_sentence: String,
}

/// The two notes of one line, the error note first, and where that line stands in the text of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub bytes: Range<usize>,
    pub notes: [LabelledNote; 2],
}

/// Loads a pairs file: two notes a line, in one group; a line whose texts do not align is skipped and listed with its reason.
pub fn load_pairs(path: &Path) -> Result<(Vec<LabelledNote>, LoadReport), DataError> {
    let (pairs, report) = read(path, &text_file::read(path)?)?;
    report.refuse_unreadable(path)?;
    Ok((pairs.into_iter().flat_map(|pair| pair.notes).collect(), report))
}

/// Reads every line it can and lists the others in the report. Fails where there is no line with a pair at all; `path` is only
/// named in messages.
pub fn read(path: &Path, file: &TextFile) -> Result<(Vec<Pair>, LoadReport), DataError> {
    let mut report = LoadReport::new(path, file, true);
    let (mut places, mut notes) = (Vec::new(), Vec::new());
    let mut start = 0;
    for (at, line) in file.text.split_inclusive('\n').enumerate() {
        let bytes = start..start + line.trim_end().len();
        start += line.len();
        if line.trim().is_empty() {
            report.skipped_empty += 1;
            continue;
        }
        report.records += 1;
        let pair = match parse(line, &mut report) {
            Ok(pair) => pair,
            Err(reason) => {
                report.unreadable.push(Skipped { line: at + 1, id: String::new(), reason });
                continue;
            }
        };
        match siblings(&pair) {
            Ok(found) => {
                keep(&pair, found, &mut notes, &mut report);
                places.push(bytes);
            }
            Err(reason) => report.skipped.push(Skipped { line: at + 1, id: pair.note_id, reason }),
        }
    }
    if notes.is_empty() && report.unreadable.is_empty() {
        return Err(DataError::NoNotes { path: path.to_owned() });
    }
    groups::join_alike(&mut notes, SAME_VIGNETTE);
    report.tally(&notes);
    report.violations.extend(integrity::check_ids(notes.iter()));
    Ok((in_pairs(places, notes), report))
}

fn in_pairs(places: Vec<Range<usize>>, notes: Vec<LabelledNote>) -> Vec<Pair> {
    let mut notes = notes.into_iter();
    let mut pair = |bytes| Some(Pair { bytes, notes: [notes.next()?, notes.next()?] });
    places.into_iter().filter_map(&mut pair).collect()
}

/// Parses one line and repairs its texts.
fn parse(line: &str, report: &mut LoadReport) -> Result<PairRecord, String> {
    let mut pair: PairRecord = serde_json::from_str(line).map_err(|e| {
        let keys = "note_id, incorrect_note, correct_note, error_type, error_sentence, corrected_sentence";
        format!("{e}; expected one JSON object a line with the text keys {keys}")
    })?;
    pair.note_id = pair.note_id.trim().to_owned();
    if pair.note_id.is_empty() {
        return Err("note_id is empty; give the pair an id".into());
    }
    let cells = [
        ("incorrect_note", &mut pair.incorrect_note),
        ("correct_note", &mut pair.correct_note),
        ("error_sentence", &mut pair.error_sentence),
        ("corrected_sentence", &mut pair.corrected_sentence),
    ];
    for (column, cell) in cells {
        *cell = report.repair.mend(&pair.note_id, column, cell);
    }
    Ok(pair)
}

/// Checks the relations and takes both notes in.
fn keep(pair: &PairRecord, found: [LabelledNote; 2], notes: &mut Vec<LabelledNote>, report: &mut LoadReport) {
    let [error, clean] = found;
    if let Label::Error { sentence, .. } = error.label {
        let row = ErrorRow {
            id: &pair.note_id,
            text: &pair.incorrect_note,
            sentences: &error.note.sentences,
            sentence,
            error_sentence: &pair.error_sentence,
            corrected_sentence: &pair.corrected_sentence,
            corrected_text: &pair.correct_note,
        };
        report.violations.extend(integrity::check_error(&row));
        if integrity::replacement_differs_in_spacing(&row) {
            report.spacing.entry(Relation::ReplacementGivesCorrectedText).or_default().push(pair.note_id.clone());
        }
    }
    report.shortcuts.add(&pair.incorrect_note, &error);
    report.shortcuts.add(&pair.correct_note, &clean);
    for note in [error, clean] {
        let parsed = Parsed { sentences: note.note.sentences.clone(), ..Parsed::default() };
        report.sentences.add(&note.note.id, &parsed);
        notes.push(note);
    }
}

/// The error note and its clean sibling, or why the line gives none.
fn siblings(pair: &PairRecord) -> Result<[LabelledNote; 2], String> {
    let kind =
        ErrorKind::parse(&pair.error_type).ok_or_else(|| format!("error_type \"{}\" is none of the five", pair.error_type))?;
    let correction = one_line(&pair.corrected_sentence);
    if correction.is_empty() || correction == one_line(&pair.error_sentence) {
        return Err("the corrected sentence is empty or the same as the error sentence".into());
    }
    let (sentences, at) = cut(&pair.incorrect_note, &pair.error_sentence)
        .map_err(|n| format!("the error sentence occurs {n} times in the note"))?;
    let note = Note { id: pair.note_id.clone(), group: pair.note_id.clone(), sentences };
    let error = LabelledNote { note, label: Label::Error { kind, sentence: at, correction } };
    let clean = clean_sibling(pair, &error)?;
    Ok([error, LabelledNote { note: clean, label: Label::Clean }])
}

/// The corrected note: the error note with its sentence replaced or, where the file moved that sentence, the text as given.
fn clean_sibling(pair: &PairRecord, error: &LabelledNote) -> Result<Note, String> {
    let id = format!("{}-corrected", pair.note_id);
    let replaced = error.corrected().ok_or("the error sentence is lost")?;
    if without_spaces(&replaced.text()) == without_spaces(&pair.correct_note) {
        return Ok(Note { id, ..replaced });
    }
    let (sentences, at) = cut(&pair.correct_note, &pair.corrected_sentence)
        .map_err(|n| format!("the corrected sentence occurs {n} times in the corrected note"))?;
    let moved = Note { id, group: pair.note_id.clone(), sentences };
    let Label::Error { sentence, .. } = error.label else { return Ok(moved) };
    if rest(&error.note, sentence) != rest(&moved, at) {
        return Err("the corrected note differs in more than the error sentence".into());
    }
    Ok(moved)
}

/// Letters and digits of all sentences but one.
fn rest(note: &Note, but: u32) -> String {
    note.sentences.iter().filter(|s| s.id != but).flat_map(|s| s.text.chars()).filter(|c| c.is_alphanumeric()).collect()
}

/// Cuts a text into sentences of which one is exactly `sentence`; returns them and its id, or how often it occurs where not once.
fn cut(text: &str, sentence: &str) -> Result<(Vec<Sentence>, u32), usize> {
    let exact = sentence.trim();
    if !exact.is_empty() && text.matches(exact).count() == 1 {
        return cut_once(text, exact);
    }
    cut_once(&one_line(text), &one_line(sentence))
}

fn cut_once(text: &str, sentence: &str) -> Result<(Vec<Sentence>, u32), usize> {
    let occurrences = if sentence.is_empty() { 0 } else { text.matches(sentence).count() };
    let (1, Some((before, after))) = (occurrences, text.split_once(sentence)) else { return Err(occurrences) };
    let mut texts = punctuation::split(before);
    let at = texts.len();
    texts.push(one_line(sentence));
    texts.extend(punctuation::split(after));
    let sentences = (0u32..).zip(texts).map(|(id, text)| Sentence { id, text }).collect();
    Ok((sentences, u32::try_from(at).unwrap_or(u32::MAX)))
}
