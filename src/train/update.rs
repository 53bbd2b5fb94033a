//! From scored rollouts to a changed adapter: advantages, clipped loss, gradients in micro-batches, AdamW.

use anyhow::Result;

use super::{
    advantage::{Episode, k1, normalised},
    algo::Algo,
    loss::token_loss,
    optimizer::{Found, Gradients, Moments, Schedule},
};
use crate::{
    model::{Buffers, Policy, batch::TokenBatch, fused::flat::Flat, random},
    task::{Trace, trace::Fate},
};

/// One prompt with its completions, as tokens.
#[derive(Clone, Debug)]
pub struct PromptGroup {
    pub prompt: Vec<u32>,
    pub completions: Vec<Trajectory>,
    /// Its tokens are in the loss; where not, its rewards only count for the normalisation of advantages.
    pub trains: bool,
}

/// One completion with what the sampler knew and what it earned.
#[derive(Clone, Debug)]
pub struct Trajectory {
    pub tokens: Vec<u32>,
    pub rollout_logprobs: Vec<f32>,
    pub reward: f32,
}

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateReport {
    pub loss: f64,
    pub clip_fraction: f64,
    /// Mean over optimizer steps, before clipping.
    pub grad_norm: f64,
    pub kl: f64,
    /// Mean rollout minus policy log-prob at the first optimizer step.
    pub rollout_policy_kl: f64,
    pub entropy: f64,
    pub learning_rate: f64,
    /// Optimizer steps left out because the gradient was not finite.
    pub n_skipped: u32,
    /// Mean normalised advantage of each completion, group by group.
    pub advantages: Vec<Vec<f32>>,
    /// Taken off every return, and what the rest was divided by.
    pub advantage_scaling: (f32, f32),
    /// Every completion's tokens, in the order of the groups; without alternatives, which the sampler knows.
    pub traces: Vec<Trace>,
}

/// Sums over tokens of one optimizer step.
#[derive(Default)]
struct Sums {
    loss: f64,
    clipped: f64,
    rollout_minus_policy: f64,
    entropy: f64,
    n: f64,
    /// What was seen of each completion, by its index among all.
    seen: Vec<(usize, Trace)>,
}

impl Sums {
    fn merge(&mut self, part: Sums) {
        self.loss += part.loss;
        self.clipped += part.clipped;
        self.rollout_minus_policy += part.rollout_minus_policy;
        self.entropy += part.entropy;
        self.n += part.n;
        self.seen.extend(part.seen);
    }
}

/// Runs all optimizer steps of one policy update. `reference` is that of [`reference_logprobs`]; `progress(rows done, rows in
/// all)` is called after each micro-batch.
#[allow(clippy::too_many_arguments)]
pub fn update(
    policy: &Policy,
    groups: &[PromptGroup],
    reference: &[Vec<f32>],
    algo: &Algo,
    temperature: f32,
    schedule: &Schedule,
    moments: &mut Moments,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<UpdateReport> {
    let (per_token, advantage_scaling) = normalised(&episodes(groups, reference), &algo.shaping());
    let traces = reference.iter().zip(&per_token).map(|(r, a)| Trace {
        reference_logprobs: r.clone(),
        advantages: a.clone(),
        ..Trace::default()
    });
    let traces = traces.collect();
    let mut report = UpdateReport { kl: mean_kl(groups, reference), advantage_scaling, traces, ..UpdateReport::default() };
    let first_of: Vec<usize> = starts(groups);
    let rows_in_all = total_rows(groups, algo);
    let (mut rows_done, mut n_steps) = (0, 0u32);
    for epoch in 0..algo.epochs {
        for batch in batches(groups, algo.batch, policy.seed, moments.steps, epoch as u64) {
            let (mut grads, placed) = Found::zeros(policy)?;
            let mut sums = Sums::default();
            let lengths: Vec<usize> = batch.iter().flat_map(|g| groups[*g].completions.iter().map(|c| c.tokens.len())).collect();
            let weights = algo.token_weights(&lengths);
            let micros = policy.parts(batch.iter().map(|g| rows(&groups[*g])));
            let (mut weights, parts) = (weights.as_slice(), micros.len());
            let longest = batch.iter().map(|g| longest(&groups[*g])).max().unwrap_or(0);
            let most =
                micros.iter().map(|part| batch[part.clone()].iter().map(|g| rows(&groups[*g])).sum::<usize>()).max().unwrap_or(0);
            let micros: Vec<Micro> = micros
                .into_iter()
                .map(|members| {
                    let ids = &batch[members];
                    let (own, rest) = weights.split_at(ids.iter().map(|g| groups[*g].completions.len()).sum());
                    weights = rest;
                    Micro { groups, ids, per_token: &per_token, first_of: &first_of, weights: own, parts, most, longest }
                })
                .collect();
            policy.in_parts(
                micros.len(),
                |part, buffers| micros[part].backward(policy, algo, temperature, (placed.as_ref(), buffers)),
                |part, (part_grads, part_sums)| {
                    grads.merge(&part_grads);
                    sums.merge(part_sums);
                    rows_done += micros[part].ids.iter().map(|g| rows(&groups[*g])).sum::<usize>();
                    progress(rows_done, rows_in_all);
                    Ok(())
                },
            )?;
            if n_steps == 0 {
                report.rollout_policy_kl = sums.rollout_minus_policy / sums.n;
                report.entropy = sums.entropy / sums.n;
            }
            n_steps += 1;
            report.loss += sums.loss;
            report.clip_fraction += sums.clipped / sums.n;
            let mut found = Found::of((grads, placed));
            let norm = found.clip(algo.max_norm)?;
            if epoch == 0 {
                note(&mut report.traces, std::mem::take(&mut sums.seen), norm.is_finite());
            }
            if !norm.is_finite() {
                report.n_skipped += 1;
                continue;
            }
            report.grad_norm += norm;
            report.learning_rate = schedule.at(moments.steps);
            algo.adamw().learn(policy, &found, moments, report.learning_rate)?;
        }
    }
    let n = f64::from(n_steps.max(1));
    (report.loss, report.clip_fraction, report.grad_norm) = (report.loss / n, report.clip_fraction / n, report.grad_norm / n);
    report.advantages = mean_advantages(groups, &per_token);
    Ok(report)
}

/// Token rows that all forwards and backwards of an update compute.
pub fn total_rows(groups: &[PromptGroup], algo: &Algo) -> usize {
    groups.iter().filter(|g| g.trains).map(rows).sum::<usize>() * algo.epochs
}

/// Rows a group needs: its prompt once, and every completion but its last token.
fn rows(group: &PromptGroup) -> usize {
    group.prompt.len() + group.completions.iter().map(|c| c.tokens.len() - 1).sum::<usize>()
}

/// Rows of the longest of a group's prompt and completions.
fn longest(group: &PromptGroup) -> usize {
    group.completions.iter().map(|c| c.tokens.len()).chain([group.prompt.len()]).max().unwrap_or(0)
}

/// Index of each group's first completion among all.
fn starts(groups: &[PromptGroup]) -> Vec<usize> {
    let mut next = 0;
    groups
        .iter()
        .map(|g| {
            let start = next;
            next += g.completions.len();
            start
        })
        .collect()
}

fn episodes<'a>(groups: &'a [PromptGroup], reference: &'a [Vec<f32>]) -> Vec<Episode<'a>> {
    let members = groups.iter().enumerate().flat_map(|(group, g)| g.completions.iter().map(move |c| (group, c)));
    members
        .zip(reference)
        .map(|((group, c), reference)| Episode {
            reward: c.reward,
            group,
            old_logprobs: &c.rollout_logprobs,
            reference_logprobs: reference,
        })
        .collect()
}

/// Log-probs with the adapter off, one row a completion. Without a KL penalty they only feed the metric, and are computed all the same:
/// drift from the reference is the first thing to look at when a run goes wrong.
pub fn reference_logprobs(policy: &Policy, groups: &[PromptGroup], temperature: f32) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    let micros = policy.parts(groups.iter().map(rows));
    let most = micros.iter().map(|part| groups[part.clone()].iter().map(rows).sum::<usize>()).max().unwrap_or(0);
    let longest = groups.iter().map(longest).max().unwrap_or(0);
    let score = |part: usize, buffers: &mut Buffers| {
        policy.reserve_forward(most, longest, micros.len())?;
        let batch = token_batch(&groups[micros[part].clone()]);
        let (logprobs, _) = batch.score_with(&policy.model, None, temperature, buffers)?;
        Ok(batch.spans.iter().map(|(first, len)| logprobs[*first..first + len].to_vec()).collect::<Vec<_>>())
    };
    policy.in_parts(micros.len(), score, |_, logprobs| {
        all.extend(logprobs);
        Ok(())
    })?;
    Ok(all)
}

fn token_batch<'a>(groups: impl IntoIterator<Item = &'a PromptGroup>) -> TokenBatch {
    let mut batch = TokenBatch::default();
    for group in groups {
        let completions: Vec<&[u32]> = group.completions.iter().map(|c| c.tokens.as_slice()).collect();
        batch.push(&group.prompt, &completions);
    }
    batch
}

/// Groups of each optimizer step that train, shuffled; a group is never split, so that its prompt is computed once.
fn batches(groups: &[PromptGroup], batch: usize, seed: u64, optimizer_step: u64, epoch: u64) -> Vec<Vec<usize>> {
    let training: Vec<usize> = (0..groups.len()).filter(|g| groups[*g].trains).collect();
    let order: Vec<usize> =
        random::permutation(seed, optimizer_step, epoch, training.len()).into_iter().map(|at| training[at]).collect();
    let n_batches = training.iter().map(|g| groups[*g].completions.len()).sum::<usize>().div_ceil(batch.max(1));
    let per_batch = order.len().div_ceil(n_batches.max(1)).max(1);
    order.chunks(per_batch).map(<[usize]>::to_vec).collect()
}

/// One forward and backward.
struct Micro<'a> {
    groups: &'a [PromptGroup],
    ids: &'a [usize],
    per_token: &'a [Vec<f32>],
    first_of: &'a [usize],
    /// Loss weight of each completion's tokens.
    weights: &'a [f32],
    /// Of the batch, this one among them.
    parts: usize,
    /// Rows of the largest of them, and of the longest prompt or completion.
    most: usize,
    longest: usize,
}

impl Micro<'_> {
    fn backward(
        &self,
        policy: &Policy,
        algo: &Algo,
        temperature: f32,
        at: (Option<&Flat>, &mut Buffers),
    ) -> Result<(Gradients, Sums)> {
        let kept = policy.reserve(self.most, self.longest, self.parts)?;
        let batch = token_batch(self.ids.iter().map(|g| &self.groups[*g]));
        let mut sums = Sums::default();
        let slopes = |logprobs: &[f32], entropies: &[f32]| {
            sums.entropy += entropies.iter().map(|e| f64::from(*e)).sum::<f64>();
            self.slopes(algo, (logprobs, entropies), &batch.spans, &mut sums)
        };
        let grads = Gradients::of_part(policy, &batch, temperature, kept, slopes, at)?;
        Ok((grads, sums))
    }

    /// Slope of the weighted loss for every predicted token.
    fn slopes(
        &self,
        algo: &Algo,
        (policy_logprobs, entropies): (&[f32], &[f32]),
        spans: &[(usize, usize)],
        sums: &mut Sums,
    ) -> Vec<f32> {
        let clip = algo.clip();
        let mut slopes = Vec::with_capacity(policy_logprobs.len());
        let members = self
            .ids
            .iter()
            .flat_map(|g| self.groups[*g].completions.iter().enumerate().map(move |(i, c)| (self.first_of[*g] + i, c)));
        for (((index, completion), (first, len)), weight) in members.zip(spans).zip(self.weights) {
            let mut fates = Vec::with_capacity(*len);
            for (t, old) in completion.rollout_logprobs.iter().enumerate() {
                let now = policy_logprobs[first + t];
                let token = token_loss(now, *old, self.per_token[index][t], clip);
                slopes.push(token.slope * weight);
                sums.loss += f64::from(token.loss * weight);
                sums.clipped += f64::from(u8::from(token.clipped));
                sums.rollout_minus_policy += f64::from(old - now);
                sums.n += 1.0;
                fates.push(if token.clipped { Fate::Clipped } else { Fate::Trained });
            }
            let (policy_logprobs, entropies) = (&policy_logprobs[*first..first + len], &entropies[*first..first + len]);
            let (policy_logprobs, entropies) = (policy_logprobs.to_vec(), entropies.to_vec());
            sums.seen.push((index, Trace { policy_logprobs, entropies, fates, ..Trace::default() }));
        }
        slopes
    }
}

/// Puts what was seen beside what was known before.
fn note(traces: &mut [Trace], seen: Vec<(usize, Trace)>, stepped: bool) {
    for (index, Trace { policy_logprobs, entropies, mut fates, .. }) in seen {
        if !stepped {
            fates.fill(Fate::Skipped);
        }
        let known = std::mem::take(&mut traces[index]);
        traces[index] = Trace { policy_logprobs, entropies, fates, ..known };
    }
}

fn mean_kl(groups: &[PromptGroup], reference: &[Vec<f32>]) -> f64 {
    let completions = groups.iter().flat_map(|g| &g.completions);
    let (mut sum, mut n) = (0f64, 0f64);
    for (c, reference) in completions.zip(reference) {
        for kl in k1(&c.rollout_logprobs, reference, None) {
            sum += f64::from(kl);
            n += 1.0;
        }
    }
    sum / n.max(1.0)
}

fn mean_advantages(groups: &[PromptGroup], per_token: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let means: Vec<f32> = per_token.iter().map(|a| a.iter().sum::<f32>() / a.len().max(1) as f32).collect();
    let starts = starts(groups);
    groups.iter().zip(starts).map(|(g, start)| means[start..start + g.completions.len()].to_vec()).collect()
}
