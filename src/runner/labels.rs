//! Hand labels in a run: waits for them where the gate asks, and applies them before the Doctor reads. What a step used is noted in
//! the store, so that a step made again after a crash uses the same labels and comes out the same.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;

use crate::{
    config::{LabelsConfig, RunConfig},
    data::{
        Sifted,
        labels::{asked, sift},
    },
    store::{LABELS, LabelLog, Store, read_labels},
    task::{Quadrant, Sample, Standing},
};

/// The kind of the events that pin a step's labels.
const EVENT: &str = "labels";
const COUNT: &str = "entries=";

/// The label file of a run, read as it grows.
pub struct HandLabels {
    path: PathBuf,
    log: LabelLog,
    standing: Standing,
    n_entries: usize,
    /// Entries used by steps made before: step → how many.
    pinned: BTreeMap<u32, usize>,
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
    pub fn open(dir: &Path, config: &RunConfig, store: &Store) -> Result<HandLabels> {
        let path = dir.join(LABELS);
        let mut pinned = BTreeMap::new();
        for event in store.events()?.iter().filter(|event| event.kind == EVENT) {
            let count = event.message.split_whitespace().find_map(|word| word.strip_prefix(COUNT)?.parse().ok());
            if let Some(count) = count {
                pinned.entry(event.step).or_insert(count);
            }
        }
        Ok(HandLabels {
            log: LabelLog::open(&path)?,
            path,
            standing: Standing::default(),
            n_entries: 0,
            pinned,
            config: config.labels.clone(),
            seed: config.seed,
            quarantined: Vec::new(),
        })
    }

    /// Applies hand labels to the samples of `step`. While asked samples have none, `wait` is called with how many; it blocks for a
    /// while and says whether to go on waiting.
    pub fn sift(
        &mut self,
        store: &mut Store,
        step: u32,
        samples: &[Arc<Sample>],
        wait: &mut dyn FnMut(usize) -> Result<bool>,
    ) -> Result<Labelled> {
        let mut remarks = self.read()?;
        let sifted = match self.pinned.get(&step).copied() {
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
                if self.n_entries > 0 {
                    let n = self.n_entries;
                    store.add_event(step, EVENT, &format!("{COUNT}{n} of {LABELS} stand behind step {step}"))?;
                    self.pinned.insert(step, n);
                }
                sifted
            }
        };
        remarks.extend(self.describe(step, &sifted));
        Ok(Labelled { sifted, remarks })
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
            remarks.push(format!(
                "step {step}: hand labels left {out} samples out ({}), corrected {mended}, kept {kept}",
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
