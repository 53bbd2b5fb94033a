//! The Scribe: notes in, samples out, a share per quadrant. The model proposes, code applies, gates decide, labels come from what
//! really changed. Knows a writer only as something that continues prompts; no tensors, no files, no clock.

pub mod augment;
pub mod calibrate;
pub mod dates;
pub mod decoy;
pub mod edits;
pub mod facts;
pub mod gate;
pub mod injection;
pub mod judge;
pub mod kept;
pub mod lexicon;
pub mod pool;
pub mod words;
pub mod wrong;

mod attempt;
mod content;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use thiserror::Error;

use crate::config::ScribeConfig;
use crate::task::{Completion, Generate, GenerateRequest, LabelledNote, PromptStyle, Quadrant, Sample, Sampling, StopReason};
use attempt::{Attempt, Job};
pub use lexicon::Lexicon;
pub use pool::Pool;

/// What a drawing made and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draw {
    /// One sample a source, in the order of the sources.
    pub samples: Vec<Sample>,
    /// Rejected attempts by `QUADRANT/gate` (the first gate that refused), and static notes used instead by `QUADRANT/fallback`.
    pub rejections: BTreeMap<String, u32>,
    /// Tokens the writer generated.
    pub tokens: u64,
}

/// Why a drawing ended early.
#[derive(Debug, Error)]
pub enum ScribeError {
    #[error("the scribe was told to stop")]
    Aborted,
    #[error("source {index} (note {note}) does not suit quadrant {quadrant}: {why}")]
    WrongSource { index: usize, note: String, quadrant: &'static str, why: &'static str },
}

/// What a drawing goes by.
pub struct Scribe<'a> {
    pub config: &'a ScribeConfig,
    pub style: PromptStyle,
    pub seed: u64,
    /// Errors known so far.
    pub pool: &'a Pool,
    /// Index of the first sample within its step.
    pub first: u32,
}

/// [`Scribe::draw`] with nothing known and no judge.
pub fn draw(
    sources: &[(Quadrant, LabelledNote)],
    step: u32,
    seed: u64,
    config: &ScribeConfig,
    style: PromptStyle,
    writer: &mut dyn Generate,
    on_sample: &mut dyn FnMut(&Sample) -> bool,
) -> anyhow::Result<Draw> {
    Scribe { config, style, seed, pool: &Pool::default(), first: 0 }.draw(sources, step, writer, None, on_sample)
}

impl Scribe<'_> {
    /// Makes one sample of every source. All model requests of an attempt go to the writer in one call; the rejected ones are
    /// tried again together, up to `config.max_attempts`; then the static source stands in, marked `fallback` and counted. A
    /// static injection source is clean, so its sample keeps the quadrant and is labelled clean.
    /// `judge` answers the model checks that the experiment wants, and must not be the policy in training; without one there are
    /// none.
    /// `on_sample` is called as samples are made, not in index order; `false` ends the drawing with [`ScribeError::Aborted`].
    pub fn draw(
        &self,
        sources: &[(Quadrant, LabelledNote)],
        step: u32,
        writer: &mut dyn Generate,
        mut judge: Option<&mut dyn Generate>,
        on_sample: &mut dyn FnMut(&Sample) -> bool,
    ) -> anyhow::Result<Draw> {
        let lexicon = Lexicon::standard();
        let mut draw = Draw::default();
        let mut open = Vec::with_capacity(sources.len());
        for (index, (quadrant, source)) in sources.iter().enumerate() {
            check_source(index, *quadrant, source)?;
            open.push(Job::new(self.first + u32::try_from(index)?, *quadrant, source, step, self.seed, lexicon));
        }
        for attempt in 1..=self.config.max_attempts {
            let answers = self.write(&open, attempt, writer, &mut draw.tokens)?;
            let make = |job: &Job<'_>, answer| job.attempt(answer, attempt, self.config, self.pool, lexicon);
            let mut made: Vec<Attempt> = open.iter().zip(answers).map(|(job, answer)| make(job, answer)).collect();
            if let Some(judge) = judge.as_deref_mut() {
                self.ask_judge(&open, &mut made, attempt, judge, &mut draw.tokens)?;
            }
            let mut rejected = Vec::new();
            for (mut job, made) in open.into_iter().zip(made) {
                match made.failure() {
                    None => accept(&mut draw, job.sample(made, attempt), on_sample)?,
                    Some(gate) => {
                        *draw.rejections.entry(format!("{}/{gate}", job.quadrant.code())).or_default() += 1;
                        job.reject(made);
                        rejected.push(job);
                    }
                }
            }
            open = rejected;
        }
        for job in open {
            *draw.rejections.entry(format!("{}/fallback", job.quadrant.code())).or_default() += 1;
            accept(&mut draw, job.fallback(), on_sample)?;
        }
        draw.samples.sort_by_key(|s| s.index);
        Ok(draw)
    }

    /// Asks the writer for every open job that needs a model; `None` for those that code makes.
    fn write(
        &self,
        open: &[Job<'_>],
        attempt: u32,
        writer: &mut dyn Generate,
        tokens: &mut u64,
    ) -> anyhow::Result<Vec<Option<Completion>>> {
        let request = |job: &Job<'_>| job.request(attempt, self.config, self.style, self.pool);
        let requests: Vec<GenerateRequest> = open.iter().filter_map(request).collect();
        if requests.is_empty() {
            return Ok(open.iter().map(|_| None).collect());
        }
        let sampling = Sampling { temperature: self.config.temperature, max_tokens: self.config.max_tokens };
        let completions = writer.generate(&requests, sampling, &mut |_, _, _| true).context("the scribe's writer failed")?;
        ensure!(completions.len() == requests.len(), "the writer answered {} of {} requests", completions.len(), requests.len());
        *tokens += completions.iter().flatten().map(|c| c.tokens.len() as u64).sum::<u64>();
        let mut answers = completions.into_iter().map(|c| c.into_iter().next().context("the writer returned no completion"));
        let mut texts = Vec::with_capacity(open.len());
        for job in open {
            let answer = if job.needs_model() { answers.next().transpose()? } else { None };
            if answer.as_ref().is_some_and(|a| a.stop == StopReason::Aborted) {
                return Err(ScribeError::Aborted.into());
            }
            texts.push(answer);
        }
        Ok(texts)
    }

    /// Opinions on the attempts that passed every gate so far.
    fn ask_judge(
        &self,
        open: &[Job<'_>],
        made: &mut [Attempt],
        attempt: u32,
        judge: &mut dyn Generate,
        tokens: &mut u64,
    ) -> anyhow::Result<()> {
        let passed: Vec<usize> = (0..made.len()).filter(|&i| made[i].failure().is_none()).collect();
        let claims: Vec<judge::Claim> = passed.iter().filter_map(|&i| open[i].claim(&made[i], attempt)).collect();
        let opinions = judge::opinions(&claims, self.config, self.style, judge, tokens).context("the scribe's judge failed")?;
        let opinions = opinions.ok_or(ScribeError::Aborted)?;
        passed.into_iter().zip(opinions).for_each(|(i, opinions)| made[i].hear(opinions));
        Ok(())
    }
}

fn accept(draw: &mut Draw, sample: Sample, on_sample: &mut dyn FnMut(&Sample) -> bool) -> Result<(), ScribeError> {
    let go_on = on_sample(&sample);
    draw.samples.push(sample);
    if go_on { Ok(()) } else { Err(ScribeError::Aborted) }
}

fn check_source(index: usize, quadrant: Quadrant, source: &LabelledNote) -> Result<(), ScribeError> {
    let label = &source.label;
    let why = match (quadrant.starts_from_error(), label) {
        (true, crate::task::Label::Clean) => Some("it needs a note with an error"),
        (true, crate::task::Label::Error { sentence, .. }) => {
            source.note.sentence(*sentence).is_none().then_some("its label names a sentence the note does not have")
        }
        (false, _) => label.is_error().then_some("it needs a clean note"),
    };
    let wrong = |why| ScribeError::WrongSource { index, note: source.note.id.clone(), quadrant: quadrant.code(), why };
    why.map_or(Ok(()), |why| Err(wrong(why)))
}
