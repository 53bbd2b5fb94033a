//! What a load found: counts, type table, repairs, skipped rows and broken relations, as data and as plain lines.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::groups::{self, GroupCounts};
use super::integrity::{Relation, Violation};
use super::repair::RepairCounts;
use super::sentences::Parsed;
use super::text_file::TextFile;
use crate::task::{ErrorKind, Label, LabelledNote, Text};

/// A row that gave no note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub line: usize,
    pub id: String,
    pub reason: String,
}

/// Sentences of a file. `missing` lists the notes whose ids skip, with the ids skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentenceCounts {
    pub total: usize,
    pub fewest: usize,
    pub most: usize,
    pub folded: usize,
    #[serde(default)]
    pub blank_lines: usize,
    pub missing: BTreeMap<String, Vec<u32>>,
}

impl SentenceCounts {
    /// Counts one note's sentences.
    pub fn add(&mut self, id: &str, parsed: &Parsed) {
        let n = parsed.sentences.len();
        self.fewest = if self.total == 0 { n } else { self.fewest.min(n) };
        self.most = self.most.max(n);
        self.total += n;
        self.folded += parsed.folded;
        self.blank_lines += parsed.blank;
        if !parsed.missing.is_empty() {
            self.missing.insert(id.to_owned(), parsed.missing.clone());
        }
    }
}

/// What gives labels away without any medicine, and what the layout of the texts looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcuts {
    /// Error and clean notes whose text ends in white space (trimmed before any prompt).
    pub trailing_space_errors: usize,
    pub trailing_space_cleans: usize,
    /// Texts with a line break inside.
    pub broken_texts: usize,
    /// Error notes whose error stands in their last sentence.
    pub last_sentence_errors: usize,
}

impl Shortcuts {
    /// Counts one note; `text` as it stands in the file.
    pub fn add(&mut self, text: &str, note: &LabelledNote) {
        let trailing = usize::from(text.trim_end().len() < text.len());
        self.broken_texts += usize::from(text.contains('\n'));
        match &note.label {
            Label::Clean => self.trailing_space_cleans += trailing,
            Label::Error { sentence, .. } => {
                self.trailing_space_errors += trailing;
                let last = note.note.sentences.last().map(|s| s.id);
                self.last_sentence_errors += usize::from(last == Some(*sentence));
            }
        }
    }
}

/// Everything worth knowing about a file that was loaded. Of every record one thing is true: it gave its notes, it is empty,
/// or it is listed as skipped or unreadable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    pub path: String,
    pub bytes: usize,
    /// BLAKE3 of the file, in hex.
    pub blake3: String,
    /// Records read, empty ones included.
    pub records: usize,
    pub notes: usize,
    pub errors: usize,
    pub cleans: usize,
    pub kinds: BTreeMap<ErrorKind, usize>,
    pub sentences: SentenceCounts,
    #[serde(default)]
    pub shortcuts: Shortcuts,
    /// Rows whose fields are all empty (placeholders of a restricted subset).
    pub skipped_empty: usize,
    /// Rows that were understood and give no note, such as a pair whose texts do not align.
    pub skipped: Vec<Skipped>,
    /// Rows that could not be understood; a file that has some is refused everywhere but in a check.
    #[serde(default)]
    pub unreadable: Vec<Skipped>,
    pub repair: RepairCounts,
    pub violations: Vec<Violation>,
    /// Ids of notes where a relation holds only if white space is left out of account.
    #[serde(default)]
    pub spacing: BTreeMap<Relation, Vec<String>>,
    pub groups: GroupCounts,
}

impl LoadReport {
    /// A report about a file nothing has been read from yet.
    pub fn new(path: &Path, file: &TextFile, repair: bool) -> LoadReport {
        LoadReport {
            path: path.display().to_string(),
            bytes: file.bytes,
            blake3: file.blake3.clone(),
            repair: RepairCounts { applied: repair, ..RepairCounts::default() },
            ..LoadReport::default()
        }
    }

    /// Refuses a file with unreadable rows, naming the first.
    pub fn refuse_unreadable(&self, path: &Path) -> Result<(), DataError> {
        let Some(first) = self.unreadable.first() else { return Ok(()) };
        let (path, line, problem) = (path.to_owned(), first.line, first.reason.clone());
        Err(match self.unreadable.len() - 1 {
            0 => DataError::Record { path, line, problem },
            more => DataError::Records { path, line, problem, more },
        })
    }

    /// Counts notes, types and groups.
    pub fn tally(&mut self, notes: &[LabelledNote]) {
        self.notes = notes.len();
        self.groups = groups::count(notes);
        for kind in notes.iter().filter_map(|n| n.label.kind()) {
            self.errors += 1;
            *self.kinds.entry(kind).or_default() += 1;
        }
        self.cleans = self.notes - self.errors;
    }

    /// The report for people, one fact a line, safe to print.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("file        {} ({} bytes, blake3 {})", self.path, self.bytes, self.blake3),
            format!("notes       {}: {} error, {} clean", self.notes, self.errors, self.cleans),
            format!("types       {}", self.type_table()),
            self.sentence_line(),
            self.group_line(),
            self.shortcut_line(),
            self.repair_line(),
            format!("skipped     {} empty rows, {} other rows", self.skipped_empty, self.skipped.len()),
        ];
        let row = |s: &Skipped| format!("  line {}: {}: {}", s.line, s.id, s.reason);
        lines.extend(self.skipped.iter().map(row));
        lines.push(format!("unreadable  {} rows", self.unreadable.len()));
        lines.extend(self.unreadable.iter().map(row));
        lines.push(format!("violations  {}", self.violations.len()));
        lines.extend(self.violations.iter().map(|v| format!("  {}: broken: {} ({})", v.id, v.relation.describe(), v.detail)));
        lines.extend(self.spacing.iter().map(|(relation, ids)| {
            format!("spacing     {} notes where only without white space {}", ids.len(), relation.describe())
        }));
        lines.iter().map(|line| Text::new(line).to_string().replace('\n', " ")).collect()
    }

    fn type_table(&self) -> String {
        let mut rows: Vec<(usize, ErrorKind)> = self.kinds.iter().map(|(kind, n)| (*n, *kind)).collect();
        rows.sort_by(|a, b| b.cmp(a));
        let share = |n: usize| 100.0 * n as f64 / self.errors as f64;
        let cells: Vec<String> = rows.iter().map(|(n, kind)| format!("{} {n} ({:.1}%)", kind.medec_name(), share(*n))).collect();
        if cells.is_empty() { "none".to_owned() } else { cells.join(", ") }
    }

    fn sentence_line(&self) -> String {
        let s = &self.sentences;
        let skips: Vec<String> = s.missing.iter().map(|(id, ids)| format!("{id} skips {ids:?}")).collect();
        let skips = if skips.is_empty() { "no ids skipped".to_owned() } else { skips.join(", ") };
        let mean = if self.notes == 0 { 0.0 } else { s.total as f64 / self.notes as f64 };
        let span = format!("{} to {} a note, mean {mean:.1}", s.fewest, s.most);
        let lines = format!("{} continuation lines folded, {} blank lines", s.folded, s.blank_lines);
        format!("sentences   {}: {span}; {lines}; {skips}", s.total)
    }

    fn group_line(&self) -> String {
        let g = &self.groups;
        let alone = format!("{} error notes and {} clean notes alone", g.errors_alone, g.cleans_alone);
        format!("groups      {}: {} pairs, {alone}", g.groups, g.pairs)
    }

    fn shortcut_line(&self) -> String {
        let s = &self.shortcuts;
        let last = format!("{} of {} errors in the last sentence", s.last_sentence_errors, self.errors);
        let (errors, cleans) = (s.trailing_space_errors, s.trailing_space_cleans);
        let trailing =
            format!("text ends in white space in {errors} of {} error and {cleans} of {} clean", self.errors, self.cleans);
        format!("shortcuts   {last}; {trailing} notes (trimmed); {} texts with line breaks", s.broken_texts)
    }

    fn repair_line(&self) -> String {
        let r = &self.repair;
        let left: Vec<String> = r.unrepairable.iter().map(|cell| format!("{} {}", cell.id, cell.column)).collect();
        let left = if left.is_empty() { String::new() } else { format!(": {}", left.join(", ")) };
        let done = if r.applied { format!("{} repaired", r.repaired) } else { "repair is off".to_owned() };
        format!("encoding    {} cells with mojibake: {done}, {} unrepairable{left}", r.broken, r.unrepairable.len())
    }
}
