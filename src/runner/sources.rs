//! The notes of a run: what trains, what warms up, what is held out, and proof that they do not overlap.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{
    clinic::{self, Split},
    config::{DataSource, RunConfig},
    data::{self, Pools, guard},
    task::LabelledNote,
};

/// Held-out notes come from a stream of their own, so that every seed of a run is measured on the same notes.
const EVAL_SEED: u64 = 20_000;

/// Notes ready for a run.
pub struct Notes {
    pub pools: Pools,
    /// Training notes the warm-up may use.
    pub warmup: Vec<LabelledNote>,
    pub held_out: Vec<LabelledNote>,
    /// What a reader should know: counts, removals, repairs.
    pub remarks: Vec<String>,
}

/// Reads or writes the notes the experiment names.
pub fn load(config: &RunConfig) -> Result<Notes> {
    match config.data.source {
        DataSource::Clinic => clinic_notes(config),
        DataSource::Medec => medec_notes(config),
    }
}

fn clinic_notes(config: &RunConfig) -> Result<Notes> {
    let n = config.data.clinic_groups as u64;
    let train: Vec<LabelledNote> =
        clinic::pairs(Split::Train, config.seed, n).into_iter().flat_map(|v| [v.error, v.clean]).collect();
    let held_out = clinic::pairs(Split::Test, EVAL_SEED, config.eval.notes.div_ceil(2) as u64)
        .into_iter()
        .flat_map(|v| [v.error, v.clean])
        .collect();
    let remarks = vec![format!(
        "{} demo notes for training in {n} pairs; held-out notes come from vignettes training never sees",
        train.len()
    )];
    Ok(Notes { pools: Pools::new(train.clone())?, warmup: train, held_out, remarks })
}

fn medec_notes(config: &RunConfig) -> Result<Notes> {
    let path = |p: &Option<std::path::PathBuf>, key| p.clone().with_context(|| format!("{key} is missing"));
    let (train_path, validation_path) =
        (path(&config.data.train, "data.train")?, path(&config.data.validation, "data.validation")?);
    let (train, train_report) = data::load(&train_path)?;
    guard::refuse_test(&train_path, &train)?;
    let (validation, validation_report) = data::load(&validation_path)?;
    let separated = guard::separate(train, &validation, guard::SAME_VIGNETTE);
    let mut remarks = Vec::new();
    for (path, report) in [(&train_path, train_report), (&validation_path, validation_report)] {
        remarks.push(format!("{}:", path.display()));
        remarks.extend(report.lines());
    }
    remarks.extend(separated.removed.iter().map(|o| {
        format!(
            "left out of training: {} is the vignette of validation note {} (similarity {:.2})",
            o.train, o.validation, o.similarity
        )
    }));
    let held_out = whole_groups(validation, config.eval.notes);
    ensure!(!held_out.is_empty(), "{} holds no notes to evaluate on", validation_path.display());
    Ok(Notes { pools: Pools::new(separated.train.clone())?, warmup: separated.train, held_out, remarks })
}

/// An even choice of at most about `n` notes that keeps vignette groups whole: files are sorted by error type, so the first n
/// would be one type only.
fn whole_groups(notes: Vec<LabelledNote>, n: usize) -> Vec<LabelledNote> {
    let groups: Vec<&[LabelledNote]> = notes.chunk_by(|a, b| a.note.group == b.note.group).collect();
    let wanted = n.min(notes.len());
    let mut chosen = Vec::new();
    let mut due = 0f64;
    let mut taken = 0usize;
    for group in groups {
        due += group.len() as f64 * wanted as f64 / notes.len() as f64;
        if (taken as f64) < due - 0.5 {
            taken += group.len();
            chosen.extend_from_slice(group);
        }
    }
    chosen
}

/// Leaves out notes whose Doctor prompt has more than `limit` tokens, and says how many.
pub fn drop_long(
    notes: &mut Vec<LabelledNote>,
    limit: usize,
    count_tokens: &dyn Fn(&LabelledNote) -> Result<usize>,
) -> Result<usize> {
    let before = notes.len();
    let mut kept = Vec::with_capacity(before);
    for note in notes.drain(..) {
        if count_tokens(&note)? <= limit {
            kept.push(note);
        }
    }
    *notes = kept;
    Ok(before - notes.len())
}

/// Makes relative paths absolute, so that a run continues from any working directory.
pub fn absolute(config: &mut RunConfig, base: &Path) {
    for path in [&mut config.data.train, &mut config.data.validation, &mut config.lora.from].into_iter().flatten() {
        if path.is_relative() {
            *path = base.join(&path);
        }
    }
}
