//! Samples that may be read again: those that trained, until they are used up or expire. A run that goes on refills the shelf from its
//! store, so what lies on it depends on committed steps alone.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    config::Selection,
    task::{Again, LabelledNote, Quadrant, Rollout, Sample},
};

/// See the module's own words.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    uses: u32,
    max_age: u32,
    /// As they were read last, oldest step first.
    samples: Vec<Arc<Sample>>,
}

impl Shelf {
    pub fn new(selection: &Selection) -> Shelf {
        Shelf { uses: selection.uses, max_age: selection.max_age, samples: Vec::new() }
    }

    /// Whether anything is ever read again.
    pub fn is_used(&self) -> bool {
        self.uses > 1
    }

    /// Puts the samples of a finished step on the shelf that trained and are not used up.
    pub fn put(&mut self, samples: impl IntoIterator<Item = Arc<Sample>>, trained: &HashSet<String>) {
        let uses = self.uses;
        self.samples.extend(samples.into_iter().filter(|sample| trained.contains(&sample.id) && uses_of(sample) < uses));
    }

    /// Takes up to `share` samples a quadrant for `step`, renamed as this step's; and says how many expired, by
    /// `QUADRANT/expired`. What is taken is off the shelf until it trains again. With `in_pairs` a sample whose sibling is not on the
    /// shelf stays there: its sibling could not be in the step.
    pub fn take(&mut self, step: u32, share: usize, in_pairs: bool) -> (Vec<Sample>, BTreeMap<String, u32>) {
        let (mut taken, mut left, mut expired) = (Vec::new(), Vec::new(), BTreeMap::new());
        let side = |sample: &Sample| (written(sample), sample.source.group.clone(), sample.label.is_error());
        let sides: HashSet<_> = self.samples.iter().map(|sample| side(sample)).collect();
        let is_whole = |sample: &Sample| {
            let (written, group, is_error) = side(sample);
            sides.contains(&(written, group, !is_error))
        };
        let mut counts = [0usize; 4];
        for sample in std::mem::take(&mut self.samples) {
            let count = &mut counts[sample.quadrant.index()];
            if step - written(&sample).min(step) > self.max_age {
                *expired.entry(format!("{}/expired", sample.quadrant.code())).or_default() += 1;
            } else if *count < share && (!in_pairs || is_whole(&sample)) {
                *count += 1;
                taken.push(renamed(&sample, step, taken.len() as u32));
            } else {
                left.push(sample);
            }
        }
        self.samples = left;
        (taken, expired)
    }
}

/// The samples that trained: their rollouts have an advantage.
pub fn trained(rollouts: &[Rollout]) -> HashSet<String> {
    rollouts.iter().filter(|r| r.advantage.is_some()).map(|r| r.sample.id.clone()).collect()
}

fn uses_of(sample: &Sample) -> u32 {
    1 + sample.provenance.again.as_ref().map_or(0, |again| again.uses)
}

fn written(sample: &Sample) -> u32 {
    sample.provenance.again.as_ref().map_or(sample.step, |again| again.written)
}

fn renamed(sample: &Sample, step: u32, index: u32) -> Sample {
    let first = sample.provenance.again.as_ref().map_or(&sample.id, |again| &again.first).clone();
    let mut renamed = Sample { id: Sample::make_id(sample.quadrant, step, index), step, index, ..sample.clone() };
    renamed.provenance.again = Some(Again { first, written: written(sample), uses: uses_of(sample) });
    renamed
}

/// Quadrants that a step still wants new samples of: `share` each, less what was taken off the shelf.
pub fn without(sources: Vec<(Quadrant, LabelledNote)>, taken: &[Sample]) -> Vec<(Quadrant, LabelledNote)> {
    let mut spare = [0usize; 4];
    taken.iter().for_each(|sample| spare[sample.quadrant.index()] += 1);
    let mut kept: Vec<_> = sources
        .into_iter()
        .rev()
        .filter(|(quadrant, _)| {
            let spare = &mut spare[quadrant.index()];
            let is_spare = *spare > 0;
            *spare -= usize::from(is_spare);
            !is_spare
        })
        .collect();
    kept.reverse();
    kept
}
