//! What a step trains on: the Scribe writes, hand labels sift, the Doctor reads, the reward is paid, the difficulty window decides.
//! Where the window leaves gaps, more samples of those quadrants are made, a few times.

use std::{collections::HashSet, sync::Arc, time::Instant};

use anyhow::Result;

use super::{
    select::{groups, refusals},
    shelf,
    step::{Event, Flow, Trainer, ask, check_label, time},
};
use crate::{
    data::{self, Sifted},
    task::{LabelledNote, Phase, Quadrant, Rollout, Sample, Scheme, StepReport, reward},
};

/// Everything a step read, and which groups of it train.
#[derive(Default)]
pub(super) struct Gathered {
    pub samples: Vec<Arc<Sample>>,
    pub rollouts: Vec<Rollout>,
    /// One entry a group of `rollouts`, in their order.
    pub trains: Vec<bool>,
}

impl Gathered {
    fn extend(&mut self, more: Gathered) {
        self.samples.extend(more.samples);
        self.rollouts.extend(more.rollouts);
        self.trains.extend(more.trains);
    }

    /// Lets no quadrant train more groups than it wants: those over that number were read for their sibling's sake. Returns the
    /// quadrants of the groups that the window refused and that are still wanted.
    fn leave_out(&mut self, mut wanted: [usize; 4], report: &mut StepReport) -> Vec<Quadrant> {
        let mut refused = Vec::new();
        for (group, trains) in groups(&self.rollouts).zip(&mut self.trains) {
            let quadrant = group[0].sample.quadrant;
            let left = &mut wanted[quadrant.index()];
            match (*trains, *left) {
                (false, _) => refused.push(quadrant),
                (true, 0) => {
                    *trains = false;
                    *report.dropped.entry(format!("{}/sibling", quadrant.code())).or_default() += 1;
                }
                (true, _) => *left -= 1,
            }
        }
        refused.retain(|quadrant| {
            let left = &mut wanted[quadrant.index()];
            let is_wanted = *left > 0;
            *left = left.saturating_sub(1);
            is_wanted
        });
        refused
    }
}

type Watch<'a> = dyn FnMut(Event) -> Flow + 'a;
type Sift<'a> = dyn FnMut(&[Arc<Sample>]) -> Result<Sifted> + 'a;

/// What one turn of a step starts from.
struct Orders {
    again: Vec<Sample>,
    sources: Vec<(Quadrant, LabelledNote)>,
    /// Index of the first new sample within the step.
    first: u32,
}

impl Trainer {
    /// Phases 1 to 4 of a step, repeated while groups are missing and the experiment allows.
    pub(super) fn gather(&mut self, step: u32, report: &mut StepReport, watch: &mut Watch, sift: &mut Sift) -> Result<Gathered> {
        let n = self.config.doctor.samples;
        let (again, expired) = self.shelf.take(step, self.share(), self.wants_pairs());
        report.dropped.extend(expired);
        report.metrics.insert("samples_again".to_owned(), again.len() as f64);
        let drawn = if self.wants_pairs() {
            data::draw_pairs(&self.pools, self.config.seed, step, n)
        } else {
            data::draw(&self.pools, self.config.seed, step, n)
        };
        let first = again.len() as u32;
        let mut orders = Orders { sources: shelf::without(drawn, &again), again, first };
        let (mut all, mut read) = (Gathered::default(), HashSet::new());
        let (mut n_dropped, mut turn) = (0, 0);
        // Everything drawn at first may train; after that, as much as is missing.
        let mut wanted = [usize::MAX; 4];
        let missing = loop {
            let first = orders.first + orders.sources.len() as u32;
            read.extend(orders.sources.iter().map(|(_, source)| source.note.id.clone()));
            let mut more = self.turn(step, orders, report, watch, sift)?;
            n_dropped += more.trains.iter().filter(|trains| !**trains).count();
            let missing = more.leave_out(wanted, report);
            all.extend(more);
            if missing.is_empty() || turn == self.selection.refill {
                break missing;
            }
            turn += 1;
            wanted = Quadrant::ALL.map(|quadrant| missing.iter().filter(|q| **q == quadrant).count());
            let draw_more = if self.wants_pairs() { data::draw_more_pairs } else { data::draw_more };
            let sources = draw_more(&self.pools, self.config.seed, step, turn, &missing, &read);
            orders = Orders { again: Vec::new(), sources, first };
        };
        if turn > 0 {
            // Siblings can lie in two turns.
            reward::settle(&self.rules(), &mut all.rollouts);
        }
        report.metrics.insert("groups_dropped".to_owned(), n_dropped as f64);
        report.metrics.insert("groups_missing".to_owned(), missing.len() as f64);
        Ok(all)
    }

    /// Samples of one quadrant in a step.
    pub fn share(&self) -> usize {
        self.config.doctor.samples / Quadrant::ALL.len()
    }

    /// The scheme pays for pairs, so both notes of one must be in the step.
    pub fn wants_pairs(&self) -> bool {
        self.config.reward.scheme == Scheme::Full && self.config.reward.pair > 0.0
    }

    fn turn(&self, step: u32, orders: Orders, report: &mut StepReport, watch: &mut Watch, sift: &mut Sift) -> Result<Gathered> {
        // 1. The Scribe: a quarter per quadrant of accepted samples.
        let clock = Instant::now();
        let total = orders.again.len() + orders.sources.len();
        ask(watch, Event::Phase { phase: Phase::Scribe, total })?;
        let mut samples = Vec::with_capacity(total);
        for sample in orders.again {
            ask(watch, Event::Sample(&sample))?;
            samples.push(Arc::new(sample));
        }
        let (new, tokens) = self.write_samples(step, &orders.sources, orders.first, report, watch)?;
        samples.extend(new);
        time(report, Phase::Scribe, clock, tokens);

        // 2. The gate of gates: no sample's label may rest on an edit that is not in its text.
        let clock = Instant::now();
        ask(watch, Event::Phase { phase: Phase::Gate, total: samples.len() })?;
        samples.iter().try_for_each(|s| check_label(s))?;
        let sifted = sift(&samples)?;
        for (why, n) in sifted.reasons() {
            *report.rejections.entry(why).or_default() += n;
        }
        let (samples, kept) = (sifted.all(), sifted.kept);
        kept.iter().try_for_each(|s| check_label(s))?;
        time(report, Phase::Gate, clock, 0);

        // 3. The Doctor: one prefill a sample, k completions.
        let clock = Instant::now();
        let completions = self.consult(&kept, step, watch)?;
        let tokens = completions.iter().flatten().map(|c| c.tokens.len() as u64).sum();
        time(report, Phase::Doctor, clock, tokens);

        // 4. Verdict and reward, deterministic; then whether the group was too easy or too hard to learn from.
        let clock = Instant::now();
        ask(watch, Event::Phase { phase: Phase::Reward, total: kept.len() * self.config.doctor.completions })?;
        let rollouts = self.judge(&kept, completions);
        for rollout in &rollouts {
            ask(watch, Event::Rollout(rollout))?;
        }
        let refusals = refusals(&self.selection, self.config.reward.scheme, &rollouts);
        for (group, why) in groups(&rollouts).zip(&refusals) {
            if let Some(why) = why {
                *report.dropped.entry(format!("{}/{why}", group[0].sample.quadrant.code())).or_default() += 1;
            }
        }
        time(report, Phase::Reward, clock, 0);
        Ok(Gathered { samples, trains: refusals.iter().map(Option::is_none).collect(), rollouts })
    }
}
