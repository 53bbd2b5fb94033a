//! Drawing completions on a device: prompts are read into the arena, their completions decode together, and a finished one makes
//! room for the next that waits.

use std::{collections::VecDeque, sync::Arc};

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

use super::{
    arena::{Arena, Cells, Fill, Span, Step, bytes_a_position, targets},
    attention::Masks,
    pick::pick,
};
use crate::{
    model::{
        fused::{
            decode::{Decoder, Next},
            forward::Pass,
            layers::Layers,
        },
        generate::{Slot, Source, TokenRequest, siblings},
        plan::Plan,
        random::unit,
    },
    task::{Sampling, StopReason},
};

/// Prompt rows read in one forward, about.
const PREFILL_ROWS: usize = 2048;

/// A prompt that has been read.
struct Open {
    cell: usize,
    /// Logits after its last token (1, V).
    first: Tensor,
    /// Completions not yet finished.
    left: usize,
}

struct Writing<'a> {
    source: Source<'a>,
    requests: &'a [TokenRequest],
    sampling: Sampling,
    /// Where there are kernels of ours.
    decoder: Option<Decoder<'a>>,
    cells: Cells,
    arena: Arena,
    free_prompts: Vec<usize>,
    free_tails: Vec<usize>,
    open: Vec<Option<Open>>,
    /// Cell of each slot that is being written.
    tails: Vec<Option<usize>>,
    waiting: VecDeque<usize>,
}

/// Draws all completions of all requests; see [`crate::model::generate::generate_tokens`], which calls this for a model that is not
/// run by the CPU's operations.
pub fn generate_tokens(
    source: Source,
    requests: &[TokenRequest],
    sampling: Sampling,
    watch: &mut dyn FnMut(&mut [Slot]) -> Result<bool>,
) -> Result<Vec<Slot>> {
    let mut slots: Vec<Slot> = (0..requests.len()).flat_map(|r| siblings(source, requests, r)).collect();
    let kernels = source.model.ops().kernels();
    let layers = kernels.map(|kernels| Layers::new(source.model, source.adapter, kernels)).transpose()?;
    let mut writing = Writing::new(source, requests, sampling, slots.len(), layers.as_ref())?;
    loop {
        writing.admit(&mut slots)?;
        if !watch(&mut slots)? {
            slots.iter_mut().filter(|s| s.stop.is_none()).for_each(|s| s.stop = Some(StopReason::Aborted));
            return Ok(slots);
        }
        writing.release(&slots);
        let active: Vec<usize> = (0..slots.len()).filter(|i| writing.tails[*i].is_some()).collect();
        if !active.is_empty() {
            writing.step(&active, &mut slots)?;
        } else if writing.waiting.is_empty() {
            return Ok(slots);
        }
    }
}

impl<'a> Writing<'a> {
    fn new(
        source: Source<'a>,
        requests: &'a [TokenRequest],
        sampling: Sampling,
        n_slots: usize,
        layers: Option<&'a Layers<'a>>,
    ) -> Result<Writing<'a>> {
        let model = source.model;
        let dtype = model.cache_dtype();
        let sizes: Vec<(usize, usize)> = requests.iter().map(|r| (r.prompt.len(), r.n_completions)).collect();
        let cells = Cells::fit(&sizes, sampling.max_tokens, bytes_a_position(&model.spec, dtype), source.cache_bytes);
        Ok(Writing {
            source,
            requests,
            sampling,
            decoder: layers.map(|layers| Decoder::new(layers, cells.n_tails, cells.prompt + cells.tail)).transpose()?,
            cells,
            arena: Arena::new(&model.spec, cells, dtype, model.device())?,
            free_prompts: (0..cells.n_prompts).rev().collect(),
            free_tails: (0..cells.n_tails).rev().collect(),
            open: requests.iter().map(|_| None).collect(),
            tails: vec![None; n_slots],
            waiting: (0..n_slots).collect(),
        })
    }

    fn kv_width(&self) -> usize {
        let spec = &self.source.model.spec;
        spec.n_kv_heads * spec.head_dim
    }

    /// Begins as many waiting completions as there is room for, reading their prompts first where that is still to do.
    fn admit(&mut self, slots: &mut [Slot]) -> Result<()> {
        let (mut begun, mut unread) = (Vec::new(), Vec::new());
        while let Some(slot) = self.waiting.front().copied() {
            let request = slots[slot].request;
            let read = self.open[request].is_some() || unread.last().is_some_and(|(r, _)| *r == request);
            if self.free_tails.is_empty() || !read && self.free_prompts.is_empty() {
                break;
            }
            if !read {
                unread.push((request, self.free_prompts.pop().context("no room for a prompt")?));
            }
            self.tails[slot] = self.free_tails.pop();
            self.waiting.pop_front();
            begun.push(slot);
        }
        let mut from = 0;
        while from < unread.len() {
            let (mut to, mut rows) = (from, 0);
            while to < unread.len() && (to == from || rows + self.requests[unread[to].0].prompt.len() <= PREFILL_ROWS) {
                rows += self.requests[unread[to].0].prompt.len();
                to += 1;
            }
            self.read(&unread[from..to])?;
            from = to;
        }
        if begun.is_empty() {
            return Ok(());
        }
        let first: Vec<Tensor> =
            begun.iter().filter_map(|s| self.open[slots[*s].request].as_ref()).map(|o| o.first.clone()).collect();
        self.draw(&Tensor::cat(&first, 0)?, &begun, slots)
    }

    /// Reads prompts (request, cell) in one forward.
    fn read(&mut self, prompts: &[(usize, usize)]) -> Result<()> {
        let (mut plan, mut ids, mut last, mut places) = (Plan::default(), Vec::new(), Vec::new(), Vec::new());
        for (request, cell) in prompts {
            let prompt = &self.requests[*request].prompt;
            plan.push_root(prompt.len());
            ids.extend_from_slice(prompt);
            last.push((ids.len() - 1) as u32);
            let start = self.cells.prompt_start(*cell) as u32;
            places.extend(start..start + prompt.len() as u32);
        }
        let model = self.source.model;
        let plan = Arc::new(plan);
        let hidden = match &self.decoder {
            Some(decoder) => {
                let places = Tensor::new(places, model.device())?;
                Pass::new(decoder.layers, &ids, &plan)?.hidden(Some((&self.arena, &places)))?
            }
            None => {
                let targets = targets(&places, self.kv_width(), model.device())?;
                let mut attend = Fill { arena: &self.arena, targets, masks: Arc::new(Masks::new(&plan)) };
                model.forward_with(&ids, plan.positions(), self.source.adapter, &mut attend)?
            }
        };
        let logits = model.logits(&hidden.index_select(&Tensor::new(last, model.device())?, 0)?)?;
        for (i, (request, cell)) in prompts.iter().enumerate() {
            let left = self.requests[*request].n_completions;
            self.open[*request] = Some(Open { cell: *cell, first: logits.narrow(0, i, 1)?.contiguous()?, left });
        }
        Ok(())
    }

    /// One forward for the newest token of every active slot, and one more token each.
    fn step(&mut self, active: &[usize], slots: &mut [Slot]) -> Result<()> {
        let model = self.source.model;
        let mut next = Vec::with_capacity(active.len());
        for index in active {
            let slot = &slots[*index];
            let prompt_len = self.requests[slot.request].prompt.len();
            let open = self.open[slot.request].as_ref().context("a completion without its prompt")?;
            let tail = self.tails[*index].context("a completion without a place")?;
            next.push(Next {
                token: *slot.tokens.last().context("a completion without its first token")?,
                position: (prompt_len + slot.tokens.len() - 1) as u32,
                span: Span {
                    prompt_start: self.cells.prompt_start(open.cell),
                    prompt_len,
                    own_start: self.cells.tail_start(tail),
                    own_len: slot.tokens.len(),
                },
            });
        }
        let logits = match &self.decoder {
            Some(decoder) => decoder.step(&next, &self.arena)?,
            None => {
                let spans: Vec<Span> = next.iter().map(|n| n.span).collect();
                let mut attend = Step::new(&self.arena, &spans, model.spec.sliding_window, self.kv_width(), model.device())?;
                let ids: Vec<u32> = next.iter().map(|n| n.token).collect();
                let positions = Arc::new(next.iter().map(|n| n.position).collect());
                model.logits(&model.forward_with(&ids, positions, self.source.adapter, &mut attend)?)?
            }
        };
        self.draw(&logits, active, slots)
    }

    /// Draws one token for each of `which` from its row of logits.
    fn draw(&self, logits: &Tensor, which: &[usize], slots: &mut [Slot]) -> Result<()> {
        let Sampling { temperature, max_tokens } = self.sampling;
        let units: Vec<f64> = which.iter().map(|i| if temperature > 0.0 { unit(&mut slots[*i].rng) } else { 0.0 }).collect();
        let picked = pick(&logits.to_dtype(DType::F32)?, temperature, &units, self.source.model.ops().kernels())?;
        for (i, (token, logprob)) in which.iter().zip(picked) {
            let slot = &mut slots[*i];
            slot.tokens.push(token);
            slot.logprobs.push(logprob);
            if self.source.stops.contains(&token) {
                slot.stop = Some(StopReason::EndOfTurn);
            } else if slot.tokens.len() >= max_tokens {
                slot.stop = Some(StopReason::Length);
            }
        }
        Ok(())
    }

    /// Gives back the places of finished completions, and of prompts with none left.
    fn release(&mut self, slots: &[Slot]) {
        for (slot, tail) in slots.iter().zip(&mut self.tails) {
            let Some(cell) = tail.take_if(|_| slot.stop.is_some()) else { continue };
            self.free_tails.push(cell);
            let open = &mut self.open[slot.request];
            if let Some(done) = open.as_mut() {
                done.left -= 1;
            }
            if let Some(done) = open.take_if(|o| o.left == 0) {
                self.free_prompts.push(done.cell);
            }
        }
    }
}
