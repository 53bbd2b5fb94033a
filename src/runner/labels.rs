//! Hand labels in a run: waits for them where the gate asks, and applies them before the Doctor reads. How many a step used is
//! noted, so that a step made again after a crash uses the same ones and comes out the same.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::{
    config::{LabelsConfig, RunConfig},
    data::{
        Sifted,
        labels::{asked, sift},
    },
    store::{LABELS, LabelLog, read_labels},
    task::{LabelGate, Quadrant, Sample, Standing},
};

/// One line a step: `STEP ENTRIES;`. The semicolon tells a line that was written whole.
const USED: &str = "labels.used";

/// The label file of a run, read as it grows.
pub struct HandLabels {
    path: PathBuf,
    log: LabelLog,
    standing: Standing,
    n_entries: usize,
    /// Entries used by steps made before: step → how many.
    used: BTreeMap<u32, usize>,
    used_file: File,
    config: LabelsConfig,
    seed: u64,
    quarantined: Vec<Quadrant>,
}

/// The samples a step goes on with, and what is worth saying about it.
pub struct Labelled {
    pub sifted: Sifted,
    pub remarks: Vec<String>,
}

impl HandLabels {
    /// Opens the label file of a run directory, or makes it.
    pub fn open(dir: &Path, config: &RunConfig) -> Result<HandLabels> {
        let (path, used_path) = (dir.join(LABELS), dir.join(USED));
        let mut options = OpenOptions::new();
        let mut used_file = options.read(true).append(true).create(true).mode(0o600).open(&used_path)?;
        let mut text = String::new();
        used_file.read_to_string(&mut text).with_context(|| format!("cannot read {}", used_path.display()))?;
        let pair = |line: &str| {
            let (step, n) = line.strip_suffix(';')?.split_once(' ')?;
            Some((step.parse().ok()?, n.parse().ok()?))
        };
        Ok(HandLabels {
            log: LabelLog::open(&path)?,
            path,
            standing: Standing::default(),
            n_entries: 0,
            used: text.lines().filter_map(pair).collect(),
            used_file,
            config: config.labels.clone(),
            seed: config.seed,
            quarantined: Vec::new(),
        })
    }

    /// Whether to wait for labels from now on; those that are there count in any case.
    pub fn set_gate(&mut self, gate: LabelGate) {
        self.config.gate = gate;
    }

    /// Applies hand labels to the samples of `step`. While asked samples have none, `wait` is called with how many; it blocks for a
    /// while and says whether to go on waiting.
    pub fn sift(&mut self, step: u32, samples: &[Arc<Sample>], wait: &mut dyn FnMut(usize) -> Result<bool>) -> Result<Labelled> {
        let mut remarks = self.read()?;
        let sifted = match self.used.get(&step).copied() {
            Some(n) if n == self.n_entries => sift(samples, &self.standing, &self.config),
            Some(n) => {
                if n > self.n_entries {
                    let path = self.path.display();
                    remarks.push(format!("step {step} used {n} entries of {path}, which holds {} now", self.n_entries));
                }
                let first: Standing = read_labels(&self.path)?.entries.into_iter().take(n).collect();
                sift(samples, &first, &self.config)
            }
            None => {
                let wanted = asked(samples, self.config.gate, self.seed);
                loop {
                    let n_waiting = wanted.iter().filter(|sample| !self.standing.is_decided(sample)).count();
                    if n_waiting == 0 || !wait(n_waiting)? {
                        break;
                    }
                    remarks.extend(self.read()?);
                }
                let sifted = sift(samples, &self.standing, &self.config);
                // Written even for no entries: a label that comes after this step must not get into it.
                self.note(step)?;
                sifted
            }
        };
        remarks.extend(self.describe(step, &sifted));
        Ok(Labelled { sifted, remarks })
    }

    fn note(&mut self, step: u32) -> Result<()> {
        // The line feed comes first: what a crash left of a line must not become part of this one.
        let line = format!("\n{step} {};", self.n_entries);
        let written = self.used_file.write_all(line.as_bytes()).and_then(|()| self.used_file.sync_data());
        written.with_context(|| format!("cannot note the labels of step {step} in {USED}"))?;
        self.used.insert(step, self.n_entries);
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<String>> {
        let news = self.log.news()?;
        self.n_entries += news.entries.len();
        news.entries.into_iter().for_each(|entry| self.standing.push(entry));
        Ok(news.faults.iter().map(ToString::to_string).collect())
    }

    fn describe(&mut self, step: u32, sifted: &Sifted) -> Vec<String> {
        let mut remarks = Vec::new();
        if !sifted.excluded.is_empty() || sifted.n_corrected > 0 {
            let why: Vec<String> = sifted.reasons().iter().map(|(reason, n)| format!("{reason} {n}")).collect();
            let (out, mended, kept) = (sifted.excluded.len(), sifted.n_corrected, sifted.kept.len());
            let samples = if out == 1 { "sample" } else { "samples" };
            remarks.push(format!(
                "step {step}: hand labels left {out} {samples} out ({}), corrected {mended}, kept {kept}",
                why.join(", ")
            ));
        }
        if sifted.quarantined != self.quarantined {
            self.quarantined.clone_from(&sifted.quarantined);
            let codes: Vec<&str> = sifted.quarantined.iter().map(|q| q.code()).collect();
            remarks.push(match codes[..] {
                [] => "no quadrant is in quarantine any more".to_owned(),
                _ => format!("in quarantine, since their labels are right too rarely: {}", codes.join(", ")),
            });
        }
        remarks
    }
}
