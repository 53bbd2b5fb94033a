//! One step of self-play, on one page.
//!
//! Deviations from the reference algorithm (OpenRLHF, research: serl-openrlhf §1.3):
//! 1. Old log-probs are the sampler's own: sampler and trainer share weights and kernels. `rollout_policy_kl` shows the difference.
//! 2. Completions of one prompt are never split over optimizer steps, so that their prompt is computed once.
//! 3. The last, smaller optimizer batch of a step is used, not dropped.
//! 4. The learning rate never climbs again past its horizon.
//! 5. The reference is the policy with its adapter off; there is no second copy.
//! 6. Groups that the difficulty window drops are made up for a bounded number of times, in their own quadrant; what is still missing
//!    is missing. SeRL and OpenRLHF go on until the batch is full. Where the scheme pays for pairs, whole pairs are put in.
//! 7. Dropped groups that still count for normalisation (`select.when = "after"`) are all those of the step; SeRL normalises each
//!    generation of 16 prompts apart.

use std::{cell::RefCell, sync::Arc, time::Instant};

use anyhow::{Context, Result};

use super::{
    algo::Algo,
    faults::{Fault, Faults},
    gather::Gathered,
    guard::{self, Backup, MOST_HALVINGS},
    optimizer::{Moments, Schedule},
    select::groups,
    shelf::{Shelf, trained},
    update::{PromptGroup, Trajectory, UpdateReport, reference_logprobs, total_rows, update},
};
use crate::{
    config::{RunConfig, ScribePolicy, Selection, When},
    data::{Pools, Sifted},
    model::{Policy, policy::Writer},
    scribe,
    task::{
        Answer, Completion, Generate, GenerateRequest, Knobs, LabelledNote, Phase, Quadrant, Rollout, Rules, Sample, Sampling,
        StepReport, StopReason, Truth, prompt, report::PhaseTiming, reward, verdict,
    },
};

/// The step was told to stop; nothing of it remains.
#[derive(Debug, thiserror::Error)]
#[error("stopped before the step was complete")]
pub struct Aborted;

/// What a step tells while it runs.
pub enum Event<'a> {
    /// A phase begins; `total` counts its own unit, 0 where unknown.
    Phase {
        phase: Phase,
        total: usize,
    },
    Progress {
        done: usize,
        tokens: u64,
    },
    /// Nothing to tell: a chance to abort.
    Look,
    Sample(&'a Sample),
    Token {
        sample: &'a Sample,
        sibling: usize,
        delta: &'a str,
    },
    Rollout(&'a Rollout),
}

/// The caller's answer to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Abort,
}

/// A finished step, ready to be committed.
pub struct StepOutcome {
    pub report: StepReport,
    pub samples: Vec<Arc<Sample>>,
    pub rollouts: Vec<Rollout>,
    /// The rows of a micro-batch from now on, where memory ran out in this step and the update was made again with fewer.
    pub fewer_rows: Option<usize>,
}

/// Everything that learning changes, and what it learns from.
pub struct Trainer {
    pub config: RunConfig,
    /// What may differ from the experiment, step by step; the experiment itself stays as it was begun.
    pub knobs: Knobs,
    pub policy: Policy,
    pub algo: Algo,
    pub pools: Pools,
    pub moments: Moments,
    /// Edits that an injection must not repeat: the corpus's and the run's own.
    pub known: scribe::Pool,
    pub selection: Selection,
    /// Samples that may be read again.
    pub shelf: Shelf,
    /// What is made to go wrong on purpose; nothing where nobody asked for it.
    pub faults: Faults,
}

/// Tokens the Scribe writes between two looks at the controls.
const LOOK_EVERY: u32 = 32;

/// Draw streams of the Doctor lie apart from the Scribe's.
const DOCTOR_STREAM: u64 = 1 << 62;

impl Trainer {
    pub fn new(config: RunConfig, policy: Policy, pools: Pools) -> Trainer {
        let moments = Moments::of(&policy);
        let algo = Algo::resolve(&config.algo);
        let known = known_errors(&config, &pools);
        let knobs =
            Knobs { temperature: config.doctor.temperature, learning_rate: algo.learning_rate, label_gate: config.labels.gate };
        let selection = config.select.resolve(config.algo.preset);
        let shelf = Shelf::new(&selection);
        Trainer { config, knobs, policy, algo, pools, moments, known, selection, shelf, faults: Faults::default() }
    }

    /// Forgets the edits and the shelf of this run; those of steps that stand are to be learnt again.
    pub fn forget_edits(&mut self) {
        self.known = known_errors(&self.config, &self.pools);
        self.shelf = Shelf::new(&self.selection);
    }

    /// Runs step `step` (counted from 1). `watch` hears everything and can abort up to the update; after that a step completes.
    /// `sift` applies hand labels: what it leaves out never reaches the Doctor.
    pub fn step(
        &mut self,
        step: u32,
        watch: &mut dyn FnMut(Event) -> Flow,
        sift: &mut dyn FnMut(&[Arc<Sample>]) -> Result<Sifted>,
    ) -> Result<StepOutcome> {
        let mut report = StepReport { step, ..StepReport::default() };
        let rows_before = self.policy.micro_rows;

        // 1 to 4. Scribe, gate, Doctor, reward and difficulty window.
        let Gathered { samples, mut rollouts, trains } = self.gather(step, &mut report, watch, sift)?;

        // 5. REINFORCE++: advantages, clipped loss, gradients, AdamW.
        let clock = Instant::now();
        // Hand labels and the window can leave nothing to learn from.
        let is_empty = !trains.contains(&true);
        let (updated, tokens) = if is_empty { Default::default() } else { self.learn(step, &mut rollouts, &trains, watch)? };
        report.metrics.insert("empty_steps".to_owned(), f64::from(u8::from(is_empty)));
        time(&mut report, Phase::Update, clock, tokens);

        fill(&mut report, &rollouts, &samples, &updated);
        self.known.learn(samples.iter().map(|sample| sample.as_ref()));
        self.shelf.put(samples.iter().cloned(), &trained(&rollouts));
        let fewer_rows = Some(self.policy.micro_rows).filter(|rows| *rows != rows_before);
        Ok(StepOutcome { report, samples, rollouts, fewer_rows })
    }

    pub(super) fn write_samples(
        &self,
        step: u32,
        sources: &[(Quadrant, LabelledNote)],
        first: u32,
        report: &mut StepReport,
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<(Vec<Arc<Sample>>, u64)> {
        let writer = match self.config.scribe.policy {
            ScribePolicy::Base => self.policy.base(),
            ScribePolicy::Current => self.policy.current()?,
        };
        // Both the writer's tokens and the finished samples report to the one watcher.
        let watch = RefCell::new(watch);
        let mut done = first as usize;
        let mut on_sample = |sample: &Sample| {
            done += 1;
            let mut watch = watch.borrow_mut();
            watch(Event::Sample(&self.settled(sample))) == Flow::Continue
                && watch(Event::Progress { done, tokens: 0 }) == Flow::Continue
        };
        let style = self.config.prompt_style();
        let mut writer = Watched { writer, watch: &watch };
        let asks = self.config.scribe.votes > 0 || self.config.scribe.pair_judge;
        let mut judge = asks.then(|| Watched { writer: self.policy.base(), watch: &watch });
        let scribe = scribe::Scribe { config: &self.config.scribe, style, seed: self.config.seed, pool: &self.known, first };
        let judge = judge.as_mut().map(|judge| judge as &mut dyn Generate);
        let draw = scribe.draw(sources, step, &mut writer, judge, &mut on_sample);
        let draw =
            draw.map_err(|e| if matches!(e.downcast_ref(), Some(scribe::ScribeError::Aborted)) { Aborted.into() } else { e })?;
        for (why, n) in draw.rejections {
            *report.rejections.entry(why).or_default() += n;
        }
        Ok((draw.samples.iter().map(|sample| Arc::new(self.settled(sample))).collect(), draw.tokens))
    }

    /// An injection that failed stands on a clean note, which would tip the balance of errors and clean notes towards "always
    /// clean". Its static stand-in is the error note of the same patient, where there is one.
    fn settled(&self, sample: &Sample) -> Sample {
        let mut sample = sample.clone();
        if sample.quadrant == Quadrant::SyntheticInjection
            && sample.provenance.fallback
            && let Some(sibling) = self.pools.errors.iter().find(|e| e.note.group == sample.source.group)
        {
            (sample.note, sample.label) = (sibling.note.clone(), sibling.label.clone());
        }
        sample
    }

    pub(super) fn consult(
        &self,
        samples: &[Arc<Sample>],
        step: u32,
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<Vec<Vec<Completion>>> {
        let (k, style) = (self.config.doctor.completions, self.config.prompt_style());
        ask(watch, Event::Phase { phase: Phase::Doctor, total: samples.len() * k })?;
        let requests: Vec<GenerateRequest> = samples
            .iter()
            .map(|s| {
                let stream = DOCTOR_STREAM | u64::from(step) << 24 | u64::from(s.index);
                GenerateRequest { chat: prompt::doctor(style, &s.note), n_completions: k, stream }
            })
            .collect();
        let sampling = Sampling { temperature: self.knobs.temperature, max_tokens: self.config.doctor.max_tokens };
        let (mut aborted, mut done, mut n_deltas) = (false, 0, 0u64);
        let mut on_token = |request: usize, sibling: usize, delta: &str| {
            let sample = &samples[request];
            if delta.is_empty() {
                done += 1;
            } else {
                n_deltas += 1;
                aborted = watch(Event::Token { sample, sibling, delta }) == Flow::Abort;
            }
            let tells = delta.is_empty() || n_deltas.is_multiple_of(64);
            aborted = aborted || tells && watch(Event::Progress { done, tokens: n_deltas }) == Flow::Abort;
            !aborted
        };
        let completions = self.policy.current()?.generate(&requests, sampling, &mut on_token)?;
        anyhow::ensure!(!aborted, Aborted);
        Ok(completions)
    }

    pub(super) fn judge(&self, samples: &[Arc<Sample>], completions: Vec<Vec<Completion>>) -> Vec<Rollout> {
        let rules = self.rules();
        let siblings = samples.iter().zip(completions).flat_map(|(sample, siblings)| {
            siblings.into_iter().enumerate().map(move |(sibling, completion)| (sample.clone(), sibling as u32, completion))
        });
        let judged = siblings.map(|(sample, sibling, completion)| {
            let verdict = verdict::of(&completion);
            let answer = Answer { text: &completion.text, n_tokens: completion.tokens.len(), verdict: &verdict };
            let reward = reward::score(&rules, Truth::from(sample.as_ref()), answer);
            Rollout { sample, sibling, completion, verdict, reward, advantage: None, trace: None }
        });
        let mut rollouts: Vec<Rollout> = judged.collect();
        reward::settle(&rules, &mut rollouts);
        rollouts
    }

    pub(super) fn rules(&self) -> Rules {
        self.config.reward.rules(self.config.doctor.max_tokens)
    }

    /// Learns from the groups that train and notes their advantages. Those that do not are left out before advantages are computed, or
    /// count for their normalisation, as the experiment says.
    fn learn(
        &mut self,
        step: u32,
        rollouts: &mut [Rollout],
        trains: &[bool],
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<(UpdateReport, u64)> {
        let all_count = self.selection.when == When::After;
        let mut groups = self.prompt_groups(rollouts, trains)?;
        groups.retain(|group| group.trains || all_count);
        if self.faults.strikes(Fault::NotFinite, step) {
            groups[0].completions[0].rollout_logprobs[0] = f32::NAN;
        }
        ask(watch, Event::Phase { phase: Phase::Update, total: total_rows(&groups, &self.algo) })?;
        let (mut report, tokens) = self.learn_safely(step, &groups, watch)?;
        // One entry a completion of every group given, whether it trained or only counted.
        let mut known = report.advantages.iter().flatten().copied().zip(std::mem::take(&mut report.traces));
        let given =
            rollouts.chunk_by_mut(|a, b| a.sample.id == b.sample.id).zip(trains).filter(|(_, trains)| **trains || all_count);
        for (siblings, trains) in given {
            for (rollout, (advantage, mut trace)) in siblings.iter_mut().zip(&mut known) {
                if *trains {
                    trace.alternatives = std::mem::take(&mut rollout.completion.alternatives);
                    (rollout.advantage, rollout.trace) = (Some(advantage), Some(Box::new(trace)));
                }
            }
        }
        Ok((report, tokens))
    }

    /// One policy update. Where memory runs out it is undone and made again in smaller micro-batches; where it leaves a number
    /// that is not finite it is undone and counted.
    fn learn_safely(
        &mut self,
        step: u32,
        groups: &[PromptGroup],
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<(UpdateReport, u64)> {
        let backup = Backup::of(&self.policy, &self.moments)?;
        for _ in 0..MOST_HALVINGS {
            match self.learn_once(step, groups, watch) {
                Ok(learnt) if guard::is_sound(&self.policy, &self.moments)? => return Ok(learnt),
                Ok((report, tokens)) => {
                    backup.put_back(&self.policy, &mut self.moments)?;
                    return Ok((UpdateReport { n_skipped: report.n_skipped + 1, ..report }, tokens));
                }
                Err(error) => {
                    backup.put_back(&self.policy, &mut self.moments)?;
                    self.policy.micro_rows = guard::smaller(error, self.policy.micro_rows)?;
                }
            }
        }
        self.learn_once(step, groups, watch).context(guard::ADVICE)
    }

    fn learn_once(
        &mut self,
        step: u32,
        groups: &[PromptGroup],
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<(UpdateReport, u64)> {
        let mut tokens = 0;
        let mut progress = |done: usize, _total: usize| {
            tokens = done as u64;
            // The answer is not heeded: half an update must not be.
            let _ = watch(Event::Progress { done, tokens });
        };
        let schedule = self.schedule();
        let temperature = self.knobs.temperature;
        let reference = reference_logprobs(&self.policy, groups, temperature)?;
        let refuse_in = match () {
            () if self.faults.strikes(Fault::OutOfMemory, step) => 1,
            () if self.faults.strikes(Fault::OutOfMemoryLater, step) => 2,
            () => 0,
        };
        self.policy.room.refuse_in(refuse_in);
        let updated =
            update(&self.policy, groups, &reference, &self.algo, temperature, &schedule, &mut self.moments, &mut progress);
        self.policy.room.refuse_in(0);
        Ok((updated?, tokens))
    }

    fn prompt_groups(&self, rollouts: &[Rollout], trains: &[bool]) -> Result<Vec<PromptGroup>> {
        let style = self.config.prompt_style();
        groups(rollouts)
            .zip(trains)
            .map(|(siblings, trains)| {
                let prompt = self.policy.tokenizer.encode_chat(&prompt::doctor(style, &siblings[0].sample.note))?;
                let completions = siblings.iter().map(|r| Trajectory {
                    tokens: r.completion.tokens.clone(),
                    rollout_logprobs: r.completion.rollout_logprobs.clone(),
                    reward: r.reward.total(),
                });
                Ok(PromptGroup { prompt, completions: completions.collect(), trains: *trains })
            })
            .collect()
    }

    /// The schedule over the whole run, in optimizer steps.
    fn schedule(&self) -> Schedule {
        let per_step = self.algo.optimizer_steps(self.config.doctor.samples * self.config.doctor.completions);
        let total = per_step as u64 * u64::from(self.config.steps);
        Schedule {
            peak: self.knobs.learning_rate,
            min_ratio: self.algo.min_lr_ratio,
            warmup_steps: (self.algo.warmup_ratio * total as f64).ceil() as u64,
            total_steps: total,
        }
    }
}

fn known_errors(config: &RunConfig, pools: &Pools) -> scribe::Pool {
    scribe::Pool::new(config.scribe.novelty_for(config.data.source), &pools.errors)
}

/// A writer that can be stopped between tokens.
struct Watched<'a, 'b> {
    writer: Writer<'a>,
    watch: &'a RefCell<&'b mut dyn FnMut(Event) -> Flow>,
}

impl Generate for Watched<'_, '_> {
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        sampling: Sampling,
        on_token: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> Result<Vec<Vec<Completion>>> {
        let mut until_look = 0u32;
        self.writer.generate(requests, sampling, &mut |request, sibling, delta| {
            until_look = (until_look + 1) % LOOK_EVERY;
            let go_on = until_look != 0 || (self.watch.borrow_mut())(Event::Look) == Flow::Continue;
            go_on && on_token(request, sibling, delta)
        })
    }
}

pub(super) fn ask(watch: &mut dyn FnMut(Event) -> Flow, event: Event) -> Result<()> {
    anyhow::ensure!(watch(event) == Flow::Continue, Aborted);
    Ok(())
}

/// Adds to the phase's time: a step can pass through a phase more than once.
pub(super) fn time(report: &mut StepReport, phase: Phase, since: Instant, tokens: u64) {
    let seconds = since.elapsed().as_secs_f64();
    match report.timings.iter_mut().find(|timing| timing.phase == phase) {
        Some(timing) => (timing.seconds, timing.tokens) = (timing.seconds + seconds, timing.tokens + tokens),
        None => report.timings.push(PhaseTiming { phase, seconds, tokens }),
    }
}

/// Law 2: labels come from verified edits. An error label needs its sentence in the note, different from the correction.
pub(super) fn check_label(sample: &Sample) -> Result<()> {
    if let crate::task::Label::Error { sentence, correction, .. } = &sample.label {
        let text = sample.note.sentence(*sentence).map(|s| s.text.as_str());
        anyhow::ensure!(
            text.is_some_and(|text| text != correction),
            "sample {} is labelled an error in sentence {sentence}, but its text has none there",
            sample.id
        );
    }
    Ok(())
}

fn fill(report: &mut StepReport, rollouts: &[Rollout], samples: &[Arc<Sample>], updated: &UpdateReport) {
    report.count(rollouts);
    let (all, n) = (report.total(), rollouts.len().max(1) as f64);
    let share = |part: u32, whole: u32| if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) };
    let (n_error, n_clean) =
        rollouts.iter().fold((0, 0), |(e, c), r| if r.sample.label.is_error() { (e + 1, c) } else { (e, c + 1) });
    let length: usize = rollouts.iter().map(|r| r.completion.tokens.len()).sum();
    let truncated = rollouts.iter().filter(|r| r.completion.stop == StopReason::Length).count();
    let accepted = samples.iter().filter(|s| !s.provenance.fallback).count();
    let groups: Vec<&[Rollout]> = groups(rollouts).collect();
    let equal = groups.iter().filter(|g| g.iter().all(|r| r.reward.total() == g[0].reward.total())).count();
    let mut put = |key: &str, value: f64| report.metrics.insert(key.to_owned(), value);
    put("reward", all.reward_mean());
    put("accuracy", all.accuracy());
    put("false_positive_rate", share(all.false_positives, n_clean));
    put("false_negative_rate", share(all.false_negatives, n_error));
    put("malformed_rate", f64::from(all.malformed) / n);
    put("completion_tokens", length as f64 / n);
    put("truncated_rate", truncated as f64 / n);
    put("equal_groups", equal as f64 / groups.len().max(1) as f64);
    put("scribe_accepted", accepted as f64 / samples.len().max(1) as f64);
    put("kl", updated.kl);
    put("rollout_policy_kl", updated.rollout_policy_kl);
    put("entropy", updated.entropy);
    put("loss", updated.loss);
    put("clip_fraction", updated.clip_fraction);
    put("grad_norm", updated.grad_norm);
    put("learning_rate", updated.learning_rate);
    put("skipped_updates", f64::from(updated.n_skipped));
    put("advantage_shift", updated.advantage_scaling.0.into());
    put("advantage_scale", updated.advantage_scaling.1.into());
    let quadrants = ["reward_ae", "reward_as", "reward_sd", "reward_si"].into_iter().zip(report.quadrants);
    // A quadrant that hand labels left empty has no mean.
    let means = quadrants.filter(|(_, q)| q.n_rollouts > 0).map(|(key, q)| (key.to_owned(), q.reward_mean()));
    report.metrics.extend(means);
}
