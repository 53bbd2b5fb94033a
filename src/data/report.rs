//! What a load found: counts, type table, repairs, skipped rows and broken relations, as data and as plain lines.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::groups::{self, GroupCounts};
use super::integrity::Violation;
use super::repair::RepairCounts;
use super::sentences::Parsed;
use super::text_file::TextFile;
use crate::task::{ErrorKind, LabelledNote, Text};

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
        if !parsed.missing.is_empty() {
            self.missing.insert(id.to_owned(), parsed.missing.clone());
        }
    }
}

/// Everything worth knowing about a file that was loaded.
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
    /// Rows whose fields are all empty (placeholders of a restricted subset).
    pub skipped_empty: usize,
    pub skipped: Vec<Skipped>,
    pub repair: RepairCounts,
    pub violations: Vec<Violation>,
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
            self.repair_line(),
            format!("skipped     {} empty rows, {} other rows", self.skipped_empty, self.skipped.len()),
        ];
        lines.extend(self.skipped.iter().map(|s| format!("  line {}: {}: {}", s.line, s.id, s.reason)));
        lines.push(format!("violations  {}", self.violations.len()));
        lines.extend(self.violations.iter().map(|v| format!("  {}: broken: {} ({})", v.id, v.relation.describe(), v.detail)));
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
        format!("sentences   {}: {span}; {} continuation lines folded; {skips}", s.total, s.folded)
    }

    fn group_line(&self) -> String {
        let g = &self.groups;
        let alone = format!("{} error notes and {} clean notes alone", g.errors_alone, g.cleans_alone);
        format!("groups      {}: {} pairs, {alone}", g.groups, g.pairs)
    }

    fn repair_line(&self) -> String {
        let r = &self.repair;
        let left: Vec<String> = r.unrepairable.iter().map(|cell| format!("{} {}", cell.id, cell.column)).collect();
        let left = if left.is_empty() { String::new() } else { format!(": {}", left.join(", ")) };
        let done = if r.applied { format!("{} repaired", r.repaired) } else { "repair is off".to_owned() };
        format!("encoding    {} cells with mojibake: {done}, {} unrepairable{left}", r.broken, r.unrepairable.len())
    }
}
