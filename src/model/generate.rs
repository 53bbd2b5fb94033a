//! Drawing completions: prompts are read once, their completions decode together, finished ones leave the batch.
//!
//! Every completion draws from its own counter stream, keyed by (seed, request stream, completion index), so what it says
//! does not depend on which others happen to be in the batch, up to the last bits of a matrix product.

use std::sync::Arc;

use anyhow::{Result, ensure};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{
    cache::{Cache, Decode, Prefill},
    gemma3::Gemma3,
    lora::AdapterView,
    ops::simd,
    plan::Plan,
    random::{Purpose, stream, unit},
    tokenizer::Tokenizer,
};
use crate::task::{Completion, GenerateRequest, Sampling, StopReason};

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
    rng: ChaCha8Rng,
    cache: Cache,
    /// Tokens already handed out as text.
    n_shown: usize,
    stop: Option<StopReason>,
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
    let prompts: Vec<&[u32]> = requests.iter().map(|r| r.prompt.as_slice()).collect();
    let (caches, first_logits) = prefill(source, &prompts)?;
    let mut slots = open_slots(source, requests);
    let first: Vec<&[f32]> = slots.iter().map(|s| first_logits[s.request].as_slice()).collect();
    draw(&mut slots.iter_mut().collect::<Vec<_>>(), &first, sampling, source.stops);
    loop {
        if !watch(&mut slots)? {
            slots.iter_mut().filter(|s| s.stop.is_none()).for_each(|s| s.stop = Some(StopReason::Aborted));
        }
        let mut active: Vec<&mut Slot> = slots.iter_mut().filter(|s| s.stop.is_none()).collect();
        if active.is_empty() {
            return Ok(slots);
        }
        let logits = decode(source, &prompts, &caches, &mut active)?;
        let vocab = source.model.spec.vocab_size;
        let rows: Vec<&[f32]> = logits.chunks(vocab).collect();
        draw(&mut active, &rows, sampling, source.stops);
    }
}

/// Reads every prompt; returns its cache and the logits after its last token.
fn prefill(source: Source, prompts: &[&[u32]]) -> Result<(Vec<Cache>, Vec<Vec<f32>>)> {
    let mut caches = vec![Cache::new(source.model.spec.n_layers()); prompts.len()];
    let mut logits = Vec::with_capacity(prompts.len());
    let mut from = 0;
    while from < prompts.len() {
        let (mut plan, mut ids, mut last) = (Plan::default(), Vec::new(), Vec::new());
        let mut to = from;
        while to < prompts.len() && (to == from || ids.len() + prompts[to].len() <= PREFILL_ROWS) {
            plan.push_root(prompts[to].len());
            ids.extend_from_slice(prompts[to]);
            last.push((ids.len() - 1) as u32);
            to += 1;
        }
        let (positions, plan) = (plan.positions(), Arc::new(plan));
        let mut attend = Prefill { plan: &plan, caches: &mut caches[from..to] };
        let hidden = source.model.forward_with(&ids, positions, source.adapter, &mut attend)?;
        let rows = candle_core::Tensor::new(last.as_slice(), source.model.device())?;
        logits.extend(source.model.logits(&hidden.index_select(&rows, 0)?)?.to_vec2::<f32>()?);
        from = to;
    }
    Ok((caches, logits))
}

fn open_slots(source: Source, requests: &[TokenRequest]) -> Vec<Slot> {
    let slot = |request: usize, sibling: usize| Slot {
        request,
        sibling,
        tokens: Vec::new(),
        logprobs: Vec::new(),
        rng: stream(source.seed, Purpose::Generate, requests[request].stream, sibling as u64),
        cache: Cache::new(source.model.spec.n_layers()),
        n_shown: 0,
        stop: None,
    };
    (0..requests.len()).flat_map(|r| (0..requests[r].n_completions).map(move |s| (r, s))).map(|(r, s)| slot(r, s)).collect()
}

/// One forward for the newest token of every active slot; flat logits (slots, V).
fn decode(source: Source, prompts: &[&[u32]], caches: &[Cache], active: &mut [&mut Slot]) -> Result<Vec<f32>> {
    let ids: Vec<u32> = active.iter().filter_map(|s| s.tokens.last().copied()).collect();
    let positions = active.iter().map(|s| (prompts[s.request].len() + s.tokens.len() - 1) as u32).collect();
    let mut attend = Decode { rows: active.iter_mut().map(|s| (&caches[s.request], &mut s.cache)).collect() };
    let hidden = source.model.forward_with(&ids, Arc::new(positions), source.adapter, &mut attend)?;
    Ok(source.model.logits(&hidden)?.flatten_all()?.to_vec1()?)
}

/// Draws one token for every slot from its row of logits.
fn draw(slots: &mut [&mut Slot], logits: &[&[f32]], sampling: Sampling, stops: &[u32]) {
    slots.par_iter_mut().zip(logits.par_iter()).for_each(|(slot, logits)| {
        let (token, logprob) = pick(logits, sampling.temperature, &mut slot.rng);
        slot.tokens.push(token);
        slot.logprobs.push(logprob);
        if stops.contains(&token) {
            slot.stop = Some(StopReason::EndOfTurn);
        } else if slot.tokens.len() >= sampling.max_tokens {
            slot.stop = Some(StopReason::Length);
        }
    });
}

/// Draws from softmax(logits / temperature) by inverse CDF, or takes the largest at temperature 0, where the log-prob is that
/// of the untempered softmax.
fn pick(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> (u32, f32) {
    let inverse = if temperature > 0.0 { 1.0 / temperature } else { 1.0 };
    let mut p = logits.to_vec();
    simd::vectorised(
        #[inline(always)]
        || simd::softmax(&mut p, inverse),
    );
    let token = if temperature > 0.0 {
        let target = unit(rng) as f32 * simd::sum(&p);
        let mut sum = 0f32;
        let found = p.iter().position(|x| {
            sum += x;
            sum > target
        });
        // Rounding can leave the sum a hair below the target: then the last token with any mass.
        found.or_else(|| p.iter().rposition(|x| *x > 0.0)).unwrap_or(0)
    } else {
        let best = simd::max(logits);
        logits.iter().position(|x| *x == best).unwrap_or(0)
    };
    let top = simd::max(logits) * inverse;
    let log_sum = logits.iter().map(|x| f64::from((x * inverse - top).exp())).sum::<f64>().ln() as f32;
    (token as u32, logits[token] * inverse - top - log_sum)
}

/// Hands out new text of every slot; text that ends inside a character waits. Returns false where the caller aborts.
fn show(slots: &mut [Slot], tokenizer: &Tokenizer, on_token: &mut dyn FnMut(usize, usize, &str) -> bool) -> Result<bool> {
    for slot in slots.iter_mut() {
        let end = slot.tokens.len() - usize::from(slot.stop == Some(StopReason::EndOfTurn));
        if slot.n_shown >= end {
            continue;
        }
        let text = tokenizer.decode(&slot.tokens[slot.n_shown..end])?;
        if text.ends_with('\u{fffd}') && slot.stop.is_none() {
            continue;
        }
        slot.n_shown = end;
        if !on_token(slot.request, slot.sibling, &text) {
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
        all[slot.request].push(Completion { tokens: slot.tokens, rollout_logprobs: slot.logprobs, text, stop });
    }
    Ok(all)
}
