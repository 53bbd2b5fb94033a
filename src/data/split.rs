//! One file divided into training and validation by whole vignette groups, each error type and the clean siblings in about
//! equal shares on both sides. Records are copied byte for byte. Knows texts in and texts out; writing them is the caller's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::groups::{self, GroupCounts, SAME_VIGNETTE};
use super::guard::{self, Overlap};
use super::medec::{self, LoadOptions};
use super::report::{LoadReport, Skipped};
use super::stream::{shuffle, stream};
use super::{Format, pairs, records, text_file};
use crate::task::{ErrorKind, LabelledNote};

/// How a file is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitOptions {
    /// Share of the notes that goes to validation, above 0 and below 1.
    pub fraction: f64,
    pub seed: u64,
}

/// The notes of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub notes: usize,
    pub errors: usize,
    pub cleans: usize,
    pub kinds: BTreeMap<ErrorKind, usize>,
    pub groups: GroupCounts,
}

/// What went where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitReport {
    pub source: String,
    /// BLAKE3 of the source, in hex.
    pub blake3: String,
    pub fraction: f64,
    pub seed: u64,
    pub train: Side,
    pub validation: Side,
    /// Notes on neither side: their vignette also stands in a file that was to be kept apart.
    pub removed: Vec<Overlap>,
    pub skipped_empty: usize,
    /// Rows that give no note, on neither side.
    pub skipped: Vec<Skipped>,
}

/// The two files' texts, and what went where.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub train: String,
    pub validation: String,
    pub report: SplitReport,
}

/// One record of the source: where it stands, and the notes it gives.
struct Record {
    bytes: Range<usize>,
    notes: Vec<LabelledNote>,
}

/// Divides a file; groups that share a vignette with `apart` (a test file, say) go to neither side. A MEDEC test file, a file
/// with unreadable rows and one with too few groups are refused.
pub fn split(path: &Path, options: SplitOptions, apart: &[LabelledNote]) -> Result<Split, DataError> {
    let file = text_file::read(path)?;
    let format = Format::of(path)?;
    let (records, loaded) = match format {
        Format::MedecCsv => {
            let (rows, report) = medec::read(path, &file, LoadOptions::default())?;
            (rows.into_iter().map(|row| Record { bytes: row.bytes, notes: vec![row.labelled] }).collect(), report)
        }
        Format::PairsJsonl => {
            let (pairs, report) = pairs::read(path, &file)?;
            (pairs.into_iter().map(|pair| Record { bytes: pair.bytes, notes: pair.notes.into() }).collect::<Vec<_>>(), report)
        }
    };
    loaded.refuse_unreadable(path)?;
    let notes: Vec<LabelledNote> = records.iter().flat_map(|record| record.notes.iter().cloned()).collect();
    guard::refuse_test(path, &notes)?;
    let separated = guard::separate(notes, apart, SAME_VIGNETTE);
    let chosen = choose(&separated.train, options);
    let n_groups = groups::count(&separated.train).groups;
    if chosen.is_empty() || chosen.len() == n_groups {
        return Err(DataError::TooFewGroups { path: path.to_owned(), groups: n_groups });
    }
    let kept: HashSet<&str> = separated.train.iter().map(|note| note.note.group.as_str()).collect();
    let write = |validation: bool| {
        let wanted = |record: &&Record| {
            let group = record.notes[0].note.group.as_str();
            kept.contains(group) && chosen.contains(group) == validation
        };
        text_of(&file.text, format, records.iter().filter(wanted))
    };
    let (train, validation) = (write(false), write(true));
    let report = report(loaded, options, &separated.train, &chosen, separated.removed.clone());
    Ok(Split { train, validation, report })
}

/// (error type, whether a clean sibling is there) → names and sizes of such groups.
type Strata<'a> = BTreeMap<(Option<ErrorKind>, bool), Vec<(&'a str, usize)>>;

/// The groups that go to validation: within each stratum (error type, with or without a clean sibling) in an order drawn from
/// the seed, over all strata every n-th, so that each gets its share.
fn choose(notes: &[LabelledNote], options: SplitOptions) -> HashSet<String> {
    let mut groups: BTreeMap<&str, Vec<&LabelledNote>> = BTreeMap::new();
    notes.iter().for_each(|note| groups.entry(&note.note.group).or_default().push(note));
    let mut strata: Strata = BTreeMap::new();
    for (name, members) in groups {
        let kind = members.iter().find_map(|note| note.label.kind());
        let with_clean = members.iter().any(|note| !note.label.is_error());
        strata.entry((kind, with_clean)).or_default().push((name, members.len()));
    }
    let (mut chosen, mut due, mut taken) = (HashSet::new(), 0.0, 0.0);
    for (index, mut stratum) in strata.into_values().enumerate() {
        shuffle(&mut stream(options.seed, "split", index as u64, 0), &mut stratum);
        for (name, size) in stratum {
            due += size as f64 * options.fraction;
            if taken < due - 0.5 {
                taken += size as f64;
                chosen.insert(name.to_owned());
            }
        }
    }
    chosen
}

/// The header, where the format has one, and the records as they stand, with the source's line ends.
fn text_of<'a>(source: &str, format: Format, records: impl Iterator<Item = &'a Record>) -> String {
    let first_line = source.split_inclusive('\n').next().unwrap_or_default();
    let end = if first_line.ends_with("\r\n") { "\r\n" } else { "\n" };
    let header = if format == Format::MedecCsv { records::next(source, 0).map(|header| &source[header.bytes]) } else { None };
    let records = records.map(|record| &source[record.bytes.clone()]);
    header.into_iter().chain(records).map(|text| format!("{text}{end}")).collect()
}

fn report(
    loaded: LoadReport,
    options: SplitOptions,
    kept: &[LabelledNote],
    chosen: &HashSet<String>,
    removed: Vec<Overlap>,
) -> SplitReport {
    let (validation, train): (Vec<_>, Vec<_>) = kept.iter().cloned().partition(|note| chosen.contains(&note.note.group));
    SplitReport {
        source: loaded.path,
        blake3: loaded.blake3,
        fraction: options.fraction,
        seed: options.seed,
        train: side(&train),
        validation: side(&validation),
        removed,
        skipped_empty: loaded.skipped_empty,
        skipped: loaded.skipped,
    }
}

fn side(notes: &[LabelledNote]) -> Side {
    let mut kinds: HashMap<ErrorKind, usize> = HashMap::new();
    notes.iter().filter_map(|note| note.label.kind()).for_each(|kind| *kinds.entry(kind).or_default() += 1);
    let errors = kinds.values().sum();
    Side {
        notes: notes.len(),
        errors,
        cleans: notes.len() - errors,
        kinds: kinds.into_iter().collect(),
        groups: groups::count(notes),
    }
}

impl SplitReport {
    /// The report for people, one fact a line, safe to print.
    pub fn lines(&self) -> Vec<String> {
        let side = |name: &str, side: &Side| {
            let kinds: Vec<String> = side.kinds.iter().map(|(kind, n)| format!("{} {n}", kind.medec_name())).collect();
            let counts = format!("{} notes ({} error, {} clean)", side.notes, side.errors, side.cleans);
            format!("{name:<11} {counts} in {} groups, {} pairs; {}", side.groups.groups, side.groups.pairs, kinds.join(", "))
        };
        let mut lines = vec![
            format!("source      {} (blake3 {}), fraction {}, seed {}", self.source, self.blake3, self.fraction, self.seed),
            side("train", &self.train),
            side("validation", &self.validation),
        ];
        let n = self.removed.len();
        lines.push(format!(
            "neither     {n} notes kept apart, {} rows without a note, {} empty rows",
            self.skipped.len(),
            self.skipped_empty
        ));
        lines.extend(
            self.removed.iter().map(|o| format!("  {} is the vignette of {} ({:.2})", o.train, o.validation, o.similarity)),
        );
        lines.extend(self.skipped.iter().map(|s| format!("  line {}: {}: {}", s.line, s.id, s.reason)));
        lines.iter().map(|line| crate::task::Text::new(line).to_string().replace('\n', " ")).collect()
    }
}
