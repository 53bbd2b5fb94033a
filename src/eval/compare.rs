//! Two evaluations of the same notes, before and after: what changed, how surely, and which notes were won and lost.
//! Reads either graded notes (JSON lines) or official submissions; prints nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::task::LabelledNote;

use super::{
    flags::{RESAMPLES, Scores},
    graded::{Graded, Rate, tallies},
    interval::{Interval, bootstrap_difference},
    mcnemar::{McNemar, Unmatched, mcnemar_by},
    submission::Submission,
};

/// Why two evaluations could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("cannot read {path}: {source}; expected graded notes (JSON lines) or a submission, in UTF-8")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} is a submission, which does not say what is true: name the notes with --reference CSV")]
    NoReference { path: PathBuf },
    #[error("{path}:{line}: {source}; expected one graded note a line, as `medserl eval --graded FILE` writes them")]
    BadLine { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{path} holds no graded note")]
    Empty { path: PathBuf },
    #[error(transparent)]
    Unmatched(#[from] Unmatched),
}

/// One rate before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub before: f64,
    pub after: f64,
    /// What the rate is over.
    pub n: usize,
    /// 95% interval of after minus before, by bootstrap over vignette groups, the same groups on both sides.
    pub interval: Option<Interval>,
}

/// Everything a comparison shows. McNemar's test takes notes as independent, which siblings are not quite; the intervals
/// resample whole vignette groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub before: Scores,
    pub after: Scores,
    pub flags: McNemar,
    pub sentences: McNemar,
    pub differences: BTreeMap<Rate, Difference>,
}

/// Reads one side: JSON lines of graded notes, or a submission graded against `reference`.
pub fn read_side(path: &Path, reference: Option<&[LabelledNote]>) -> Result<Vec<Graded>, CompareError> {
    let text = std::fs::read_to_string(path).map_err(|source| CompareError::Unreadable { path: path.to_owned(), source })?;
    if !text.trim_start().starts_with('{') {
        let notes = reference.ok_or_else(|| CompareError::NoReference { path: path.to_owned() })?;
        return Ok(Submission::parse(&text).grade(notes));
    }
    let mut graded = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |source| CompareError::BadLine { path: path.to_owned(), line: at + 1, source };
        graded.push(serde_json::from_str(line).map_err(bad)?);
    }
    if graded.is_empty() { Err(CompareError::Empty { path: path.to_owned() }) } else { Ok(graded) }
}

/// Compares two evaluations note by note, matched by id; `seed` fixes the resamples.
pub fn compare(before: &[Graded], after: &[Graded], seed: u64) -> Result<Comparison, CompareError> {
    let flags = mcnemar_by(before, after, Graded::flag_right)?;
    let sentences = mcnemar_by(before, after, Graded::sentence_right)?;
    let (old, new) = (Scores::with_intervals(before, seed), Scores::with_intervals(after, seed));
    let (old_groups, new_groups) = (tallies(before), tallies(after));
    let mut differences = BTreeMap::new();
    for rate in Rate::ALL {
        let ((was, n_before), (is, n_after)) = (old.rate(rate), new.rate(rate));
        if n_before > 0 && n_after > 0 {
            let interval = bootstrap_difference(&old_groups, &new_groups, rate, seed, RESAMPLES);
            differences.insert(rate, Difference { before: was, after: is, n: n_after, interval });
        }
    }
    Ok(Comparison { before: old, after: new, flags, sentences, differences })
}

impl Comparison {
    /// One line a rate, then the tests; plain text of at most 80 columns.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{:<22} {:>7} {:>7} {:>7}   95% of the difference", "%", "before", "after", "change")];
        for (rate, d) in &self.differences {
            let (was, is) = (100.0 * d.before, 100.0 * d.after);
            let interval = d.interval.map(|i| i.to_string()).unwrap_or_default();
            lines.push(format!("{:<22} {was:>7.1} {is:>7.1} {:>+7.1}   {interval}", rate.title(), is - was));
        }
        for (name, test) in [("flags", &self.flags), ("sentences", &self.sentences)] {
            lines.push(format!(
                "{name:<22} won {}, lost {}, right twice {}, wrong twice {}; p {}",
                test.won,
                test.lost,
                test.both_right,
                test.both_wrong,
                show_p(test.p_value)
            ));
        }
        lines.push("p: McNemar's exact test, two-sided; intervals: whole vignette groups resampled".to_owned());
        lines
    }
}

fn show_p(p: f64) -> String {
    if p < 0.0001 { format!("{p:.1e}") } else { format!("{p:.4}") }
}
