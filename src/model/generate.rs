//! Drawing completions: prompts are read once, their completions decode together, finished ones leave the batch.
//!
//! Every completion draws from its own counter stream, keyed by (seed, request stream, completion index), so what it says
//! does not depend on which others happen to be in the batch, up to the last bits of a matrix product.

use std::{ops::Range, sync::Arc};

use anyhow::{Context, Result, ensure};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{
    alternatives::likeliest,
    cache::{Cache, Decode, Prefill},
    crew,
    gemma3::Gemma3,
    lora::AdapterView,
    ops::simd,
    place::Ops,
    plan::Plan,
    portable,
    random::{Purpose, stream, unit},
    tape::{Attend, Buffers, Pass},
    tokenizer::Tokenizer,
};
use crate::task::{Completion, GenerateRequest, Sampling, StopReason, trace::Alternative};

/// Prompt rows read in one forward, about.
const PREFILL_ROWS: usize = 2048;

/// What generation reads from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub model: &'a Gemma3,
    /// `None` is the base model.
    pub adapter: Option<&'a AdapterView>,
    /// Tokens that end a completion.
    pub stops: &'a [u32],
    pub seed: u64,
    /// What the caches of open completions may take together, bytes. Finished ones make room for those of the next prompt.
    pub cache_bytes: usize,
}

/// A prompt as tokens, and what to draw from it.
pub struct TokenRequest {
    pub prompt: Vec<u32>,
    pub n_completions: usize,
    /// Draws are keyed by (seed, stream, completion index).
    pub stream: u64,
}

/// One completion being written.
pub struct Slot {
    pub request: usize,
    pub sibling: usize,
    pub tokens: Vec<u32>,
    /// Of each token, under the distribution it was drawn from.
    pub logprobs: Vec<f32>,
    /// Five a token, see [`crate::task::Trace`]; none are noted on a GPU, where the logits stay.
    pub alternatives: Vec<Alternative>,
    pub(super) rng: ChaCha8Rng,
    cache: Cache,
    /// Tokens already handed out as text.
    n_shown: usize,
    /// Its end has been told.
    told: bool,
    pub(super) stop: Option<StopReason>,
}

/// Draws all completions of all requests; see [`crate::task::Generate::generate`].
pub fn generate(
    source: Source,
    tokenizer: &Tokenizer,
    requests: &[GenerateRequest],
    sampling: Sampling,
    on_token: &mut dyn FnMut(usize, usize, &str) -> bool,
) -> Result<Vec<Vec<Completion>>> {
    let encode = |r: &GenerateRequest| {
        Ok(TokenRequest { prompt: tokenizer.encode_chat(&r.chat)?, n_completions: r.n_completions, stream: r.stream })
    };
    let token_requests: Vec<TokenRequest> = requests.iter().map(encode).collect::<Result<_>>()?;
    let slots = generate_tokens(source, &token_requests, sampling, &mut |slots| show(slots, tokenizer, on_token))?;
    collect(slots, requests, tokenizer)
}

/// The same in tokens. `watch` sees all slots after every token; false aborts those still open.
pub fn generate_tokens(
    source: Source,
    requests: &[TokenRequest],
    sampling: Sampling,
    watch: &mut dyn FnMut(&mut [Slot]) -> Result<bool>,
) -> Result<Vec<Slot>> {
    for request in requests {
        let (n, limit) = (request.prompt.len() + sampling.max_tokens, source.model.n_positions());
        ensure!(
            n <= limit,
            "a prompt of {} tokens and {} new ones do not fit {limit} positions",
            request.prompt.len(),
            sampling.max_tokens
        );
    }
    if source.model.ops() != Ops::Cpu {
        return portable::generate::generate_tokens(source, requests, sampling, watch);
    }
    let max_slots = source.cache_bytes / Cache::bytes(&source.model.spec, sampling.max_tokens).max(1);
    let mut slots: Vec<Slot> = Vec::new();
    let mut prompts: Vec<Option<Cache>> = requests.iter().map(|_| None).collect();
    let (mut next, mut buffers) = (0, Buffers::default());
    loop {
        let n_active = slots.iter().filter(|s| s.stop.is_none()).count();
        let to = admit(requests, next, n_active, max_slots);
        if to > next {
            slots.extend(open(source, requests, next..to, sampling, &mut prompts)?);
            next = to;
        } else {
            let mut active: Vec<&mut Slot> = slots.iter_mut().filter(|s| s.stop.is_none()).collect();
            decode(source, requests, &prompts, &mut active, sampling, &mut buffers)?;
        }
        if !watch(&mut slots)? {
            slots.iter_mut().filter(|s| s.stop.is_none()).for_each(|s| s.stop = Some(StopReason::Aborted));
            let unread = next..requests.len();
            slots.extend(
                unread.flat_map(|r| siblings(source, requests, r)).map(|s| Slot { stop: Some(StopReason::Aborted), ..s }),
            );
            return Ok(slots);
        }
        release(&mut slots, &mut prompts);
        if next == requests.len() && slots.iter().all(|s| s.stop.is_some()) {
            return Ok(slots);
        }
    }
}

/// One past the last request that may begin now: as many as find room beside `n_active` completions, or one alone that is larger
/// than all the room; and no more prompt tokens than one forward should read.
fn admit(requests: &[TokenRequest], next: usize, n_active: usize, max_slots: usize) -> usize {
    let (mut to, mut n_slots, mut n_rows) = (next, n_active, 0);
    while let Some(request) = requests.get(to) {
        let fits = n_slots + request.n_completions <= max_slots && n_rows + request.prompt.len() <= PREFILL_ROWS;
        let alone = to == next && (n_slots == 0 || n_slots + request.n_completions <= max_slots);
        if !fits && !alone {
            break;
        }
        (to, n_slots, n_rows) = (to + 1, n_slots + request.n_completions, n_rows + request.prompt.len());
    }
    to
}

/// Reads the prompts of some requests and draws the first token of their completions.
fn open(
    source: Source,
    requests: &[TokenRequest],
    range: Range<usize>,
    sampling: Sampling,
    prompts: &mut [Option<Cache>],
) -> Result<Vec<Slot>> {
    let each = range.len().div_ceil(crew::n_workers());
    let parts = range.clone().step_by(each).zip(prompts[range.clone()].chunks_mut(each)).collect();
    let opened = crew::side_by_side(parts, |(first, prompts): (usize, &mut [Option<Cache>]), buffers| {
        open_part(source, requests, first..first + prompts.len(), sampling, prompts, buffers)
    });
    Ok(opened.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn open_part(
    source: Source,
    requests: &[TokenRequest],
    range: Range<usize>,
    sampling: Sampling,
    prompts: &mut [Option<Cache>],
    buffers: &mut Buffers,
) -> Result<Vec<Slot>> {
    let (mut plan, mut ids, mut last) = (Plan::default(), Vec::new(), Vec::new());
    for request in &requests[range.clone()] {
        plan.push_root(request.prompt.len());
        ids.extend_from_slice(&request.prompt);
        last.push((ids.len() - 1) as u32);
    }
    let mut caches = vec![Cache::new(source.model.spec.n_layers()); range.len()];
    let positions = plan.positions();
    let pass = Pass { model: source.model, adapter: source.adapter, positions: &positions, wanted: &last };
    let logits = logits(&pass, &ids, &mut Prefill { plan: Arc::new(plan), caches: &mut caches }, buffers)?;
    prompts.iter_mut().zip(caches).for_each(|(prompt, cache)| *prompt = Some(cache));
    let mut slots: Vec<Slot> = range.clone().flat_map(|r| siblings(source, requests, r)).collect();
    let mut opened: Vec<&mut Slot> = slots.iter_mut().collect();
    let rows: Vec<&[f32]> = logits.chunks_exact(source.model.spec.vocab_size).collect();
    let rows: Vec<&[f32]> = opened.iter().map(|s| rows[s.request - range.start]).collect();
    draw(&mut opened, &rows, sampling, source.stops);
    buffers.give([logits]);
    Ok(slots)
}

/// Logits (wanted rows, V).
fn logits(pass: &Pass, ids: &[u32], attend: &mut dyn Attend, buffers: &mut Buffers) -> Result<Vec<f32>> {
    let hidden = pass.hidden(ids, attend, buffers)?;
    let mut logits = buffers.take(pass.wanted.len() * pass.model.spec.vocab_size);
    pass.model.logits_into(&hidden, &mut logits)?;
    buffers.give([hidden]);
    Ok(logits)
}

/// The completions of a request before their first token.
pub(super) fn siblings(source: Source, requests: &[TokenRequest], request: usize) -> impl Iterator<Item = Slot> {
    let key = requests[request].stream;
    (0..requests[request].n_completions).map(move |sibling| Slot {
        request,
        sibling,
        tokens: Vec::new(),
        logprobs: Vec::new(),
        alternatives: Vec::new(),
        rng: stream(source.seed, Purpose::Generate, key, sibling as u64),
        cache: Cache::new(source.model.spec.n_layers()),
        n_shown: 0,
        told: false,
        stop: None,
    })
}

/// Frees the caches of finished completions, and of prompts that no open completion needs.
fn release(slots: &mut [Slot], prompts: &mut [Option<Cache>]) {
    let mut needed = vec![false; prompts.len()];
    for slot in slots {
        match slot.stop {
            Some(_) => slot.cache = Cache::default(),
            None => needed[slot.request] = true,
        }
    }
    prompts.iter_mut().zip(needed).filter(|(_, needed)| !needed).for_each(|(prompt, _)| *prompt = None);
}

/// Rows a worker must have for itself before each decodes its own share; fewer take all threads product by product.
const OWN_ROWS: usize = 24;

/// Draws the next token of every active completion.
fn decode(
    source: Source,
    requests: &[TokenRequest],
    prompts: &[Option<Cache>],
    active: &mut [&mut Slot],
    sampling: Sampling,
    buffers: &mut Buffers,
) -> Result<()> {
    let (n, workers) = (active.len(), crew::n_workers());
    if n < OWN_ROWS * workers {
        // In the pool, so that its threads are the only ones at work and none has to be woken for every product.
        return rayon::scope(|_| decode_part(source, requests, prompts, active, sampling, buffers));
    }
    let parts = active.chunks_mut(n.div_ceil(workers)).collect();
    let done = crew::side_by_side(parts, |part: &mut [&mut Slot], buffers| {
        decode_part(source, requests, prompts, part, sampling, buffers)
    });
    done.into_iter().collect()
}

fn decode_part(
    source: Source,
    requests: &[TokenRequest],
    prompts: &[Option<Cache>],
    active: &mut [&mut Slot],
    sampling: Sampling,
    buffers: &mut Buffers,
) -> Result<()> {
    let ids: Vec<u32> = active.iter().filter_map(|s| s.tokens.last().copied()).collect();
    let length = |s: &Slot| requests[s.request].prompt.len();
    let positions: Vec<u32> = active.iter().map(|s| (length(s) + s.tokens.len() - 1) as u32).collect();
    let wanted: Vec<u32> = (0..ids.len() as u32).collect();
    let mut rows = Vec::with_capacity(active.len());
    for slot in active.iter_mut() {
        let prompt = prompts[slot.request].as_ref().context("a completion without its prompt")?;
        rows.push((prompt, length(slot), &mut slot.cache));
    }
    let pass = Pass { model: source.model, adapter: source.adapter, positions: &positions, wanted: &wanted };
    let logits = logits(&pass, &ids, &mut Decode { rows, max_tokens: sampling.max_tokens }, buffers)?;
    let rows: Vec<&[f32]> = logits.chunks_exact(source.model.spec.vocab_size).collect();
    draw(active, &rows, sampling, source.stops);
    buffers.give([logits]);
    Ok(())
}

/// Draws one token for every slot from its row of logits.
fn draw(slots: &mut [&mut Slot], logits: &[&[f32]], sampling: Sampling, stops: &[u32]) {
    slots.par_iter_mut().zip(logits.par_iter()).for_each(|(slot, logits)| {
        let (token, logprob) = pick(logits, sampling.temperature, &mut slot.rng);
        slot.tokens.push(token);
        slot.logprobs.push(logprob);
        let scale = inverse(sampling.temperature);
        slot.alternatives.extend(likeliest(logits, scale, logits[token as usize] * scale - logprob));
        if stops.contains(&token) {
            slot.stop = Some(StopReason::EndOfTurn);
        } else if slot.tokens.len() >= sampling.max_tokens {
            slot.stop = Some(StopReason::Length);
        }
    });
}

/// Logits whose probabilities are summed together.
const SUMMED: usize = 1024;

/// Draws from softmax(logits / temperature) by inverse CDF, or takes the largest at temperature 0, where the log-prob is that
/// of the untempered softmax.
fn pick(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> (u32, f32) {
    let inverse = inverse(temperature);
    let mut top = 0f32;
    let mut sums = Vec::with_capacity(logits.len().div_ceil(SUMMED));
    simd::vectorised(
        #[inline(always)]
        || {
            top = simd::max(logits);
            for part in logits.chunks(SUMMED) {
                sums.push(f64::from(simd::sum_of_exps(part, top, inverse)));
            }
        },
    );
    let total: f64 = sums.iter().sum();
    let token = if temperature > 0.0 {
        by_inverse_cdf(logits, top, inverse, &sums, unit(rng) * total)
    } else {
        logits.iter().position(|x| *x == top).unwrap_or(0)
    };
    (token as u32, (logits[token] - top) * inverse - total.ln() as f32)
}

/// The first token at which the running sum of e^((x - top) · inverse) passes `target`; `sums` are those of its parts.
fn by_inverse_cdf(logits: &[f32], top: f32, inverse: f32, sums: &[f64], target: f64) -> usize {
    let weight = |x: &f32| f64::from(simd::exp((x - top) * inverse));
    let (mut sum, mut part) = (0f64, 0);
    while part + 1 < sums.len() && sum + sums[part] <= target {
        sum += sums[part];
        part += 1;
    }
    let first = part * SUMMED;
    let found = logits[first..].iter().position(|x| {
        sum += weight(x);
        sum > target
    });
    // Rounding can leave the sum a hair below the target: then the last token with any mass.
    found.map(|i| first + i).or_else(|| logits.iter().rposition(|x| weight(x) > 0.0)).unwrap_or(0)
}

/// What logits are multiplied by; greedy drawing leaves them as they are.
fn inverse(temperature: f32) -> f32 {
    if temperature > 0.0 { 1.0 / temperature } else { 1.0 }
}

/// Hands out new text of every slot, and says which have ended; text that ends inside a character waits. Returns false where the caller
/// aborts.
fn show(slots: &mut [Slot], tokenizer: &Tokenizer, on_token: &mut dyn FnMut(usize, usize, &str) -> bool) -> Result<bool> {
    for slot in slots.iter_mut().filter(|slot| !slot.told) {
        let end = slot.tokens.len() - usize::from(slot.stop == Some(StopReason::EndOfTurn));
        let text = if slot.n_shown < end { tokenizer.decode(&slot.tokens[slot.n_shown..end])? } else { String::new() };
        if !text.is_empty() && (slot.stop.is_some() || !text.ends_with('\u{fffd}')) {
            slot.n_shown = end;
            if !on_token(slot.request, slot.sibling, &text) {
                return Ok(false);
            }
        }
        slot.told = slot.stop.is_some();
        if slot.told && !on_token(slot.request, slot.sibling, "") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect(slots: Vec<Slot>, requests: &[GenerateRequest], tokenizer: &Tokenizer) -> Result<Vec<Vec<Completion>>> {
    let mut all: Vec<Vec<Completion>> = requests.iter().map(|_| Vec::new()).collect();
    for slot in slots {
        let stop = slot.stop.unwrap_or(StopReason::Aborted);
        let end = slot.tokens.len() - usize::from(stop == StopReason::EndOfTurn);
        let text = tokenizer.decode(&slot.tokens[..end])?;
        let Slot { tokens, logprobs: rollout_logprobs, alternatives, .. } = slot;
        all[slot.request].push(Completion { tokens, rollout_logprobs, text, stop, alternatives });
    }
    Ok(all)
}
