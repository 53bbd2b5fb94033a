//! One token more for every completion at work: the same memory and the same launches token after token.

use std::{cell::RefCell, collections::HashMap};

use candle_core::{DType, Result, Tensor};

use super::{forward::Caches, layers::Layers, rows::Rows};
use crate::model::{
    kernels::{
        Argument::{self, At},
        buffer::{Buffer, address},
        count,
        machine::{Product, Recorded, View},
    },
    portable::arena::{Arena, Span},
};

/// Words that a row brings: token, position, place of its keys and values, and where it looks (4).
const WORDS: usize = 7;

/// A row to decode.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    pub token: u32,
    pub position: u32,
    pub span: Span,
}

/// Blocks that fill a GPU, and the fewest keys that are worth one.
const BLOCKS: usize = 1024;
const KEYS: usize = 64;

/// What is known of the launches for a number of rows.
enum Known {
    /// They were made once, so that everything they need is loaded.
    Made,
    Recorded(Recorded),
}

/// Memory for a number of rows.
pub struct Decoder<'a> {
    pub layers: &'a Layers<'a>,
    rows: Rows,
    x: Buffer,
    /// [`WORDS`] times the number of rows: all tokens, all positions, ..
    words: Buffer,
    logits: Buffer,
    /// What decode_part leaves for decode_join.
    parts: Buffer,
    /// By number of rows.
    known: RefCell<HashMap<usize, Known>>,
    capacity: usize,
    /// Positions that a row looks at, at most.
    longest: usize,
}

impl<'a> Decoder<'a> {
    /// For so many rows, each of which looks at so many positions at most.
    pub fn new(layers: &'a Layers<'a>, capacity: usize, longest: usize) -> Result<Decoder<'a>> {
        let spec = layers.spec();
        let parts = (1..=capacity).map(|n| n * split(n, spec.n_kv_heads, longest)).max().unwrap_or(1);
        Ok(Decoder {
            rows: Rows::new(layers, capacity)?,
            x: layers.buffer(capacity, spec.hidden_size, DType::F32)?,
            words: Buffer::new(WORDS * capacity, DType::U32, layers.machine.device())?,
            logits: layers.buffer(capacity, spec.vocab_size, DType::F32)?,
            parts: layers.buffer(parts * spec.n_heads, spec.head_dim + 2, DType::F32)?,
            known: RefCell::default(),
            layers,
            capacity,
            longest,
        })
    }

    /// Logits (rows, V) of the next token after each of `next`, whose keys and values go into the arena.
    pub fn step(&self, next: &[Next], arena: &Arena) -> Result<Tensor> {
        let (layers, n) = (self.layers, next.len());
        if n > self.capacity {
            candle_core::bail!("{n} rows where there is memory for {}", self.capacity);
        }
        let of = |f: fn(&Next) -> usize| next.iter().map(move |row| f(row) as u32);
        let mut words: Vec<u32> = of(|r| r.token as usize).chain(of(|r| r.position as usize)).collect();
        words.extend(of(|r| r.span.own_start + r.span.own_len - 1));
        words.extend(
            next.iter()
                .flat_map(|r| [r.span.prompt_start, r.span.prompt_len, r.span.own_start, r.span.own_len].map(|n| n as u32)),
        );
        layers.machine.write(self.words.at(), &words)?;
        self.launch(n, arena)?;
        self.logits.tensor().narrow(0, 0, n)
    }

    /// The launches for `n` rows whose words are there. An arena is one and the same for as long as a decoder lives.
    fn launch(&self, n: usize, arena: &Arena) -> Result<()> {
        let mut known = self.known.borrow_mut();
        match known.get(&n) {
            Some(Known::Recorded(recorded)) => recorded.replay(),
            Some(Known::Made) => {
                if let Some(recorded) = self.layers.machine.record(&mut || self.make(n, arena))? {
                    recorded.replay()?;
                    known.insert(n, Known::Recorded(recorded));
                }
                Ok(())
            }
            None => {
                self.make(n, arena)?;
                known.insert(n, Known::Made);
                Ok(())
            }
        }
    }

    fn make(&self, n: usize, arena: &Arena) -> Result<()> {
        let layers = self.layers;
        let at = |words: usize| self.words.at() + (4 * words) as u64;
        let (ids, positions, places, spans) = (at(0), at(n), at(2 * n), at(3 * n));
        layers.embed(n, ids, self.x.at())?;
        layers.enter(0, n, self.x.at(), &self.rows)?;
        for i in 0..layers.layers.len() {
            let caches = Caches { places, ..arena.caches_at(i)? };
            layers.heads(i, n, positions, Some(caches), &self.rows)?;
            self.attend(i, n, caches, spans)?;
            layers.leave(i, n, self.x.at(), layers.next_norm(i), self.x.at(), &self.rows)?;
        }
        self.head(n)
    }

    fn attend(&self, i: usize, n: usize, caches: Caches, spans: u64) -> Result<()> {
        let heads = self.layers.layers[i].heads;
        let name = match (heads.n_heads / heads.n_kv_heads, caches.half) {
            (1, false) => "decode_1_f32",
            (2, false) => "decode_2_f32",
            (4, false) => "decode_4_f32",
            (1, true) => "decode_1_bf16",
            (2, true) => "decode_2_bf16",
            (4, true) => "decode_4_bf16",
            (group, _) => candle_core::bail!("no kernel decodes {group} query heads a key head"),
        };
        let (machine, kv) = (&self.layers.machine, heads.n_kv_heads);
        let parts = split(n, kv, self.longest);
        let at = [self.rows.q.at(), caches.keys, caches.values, spans, self.parts.at()].map(At);
        let numbers = [count(kv)?, count(heads.head_dim)?, count(heads.window.unwrap_or(0))?, count(parts)?];
        machine.launch(name, (n * parts, kv), &[&at[..], &numbers, &[Argument::Real(heads.scale)]].concat())?;
        let at = [self.parts.at(), self.rows.mixed.at(), self.rows.half()].map(At);
        let numbers = [count(kv)?, count(heads.n_heads / kv)?, count(heads.head_dim)?, count(parts)?];
        machine.launch("decode_join", (n, kv), &[&at[..], &numbers].concat())
    }

    fn head(&self, n: usize) -> Result<()> {
        let (layers, spec) = (self.layers, self.layers.spec());
        let (v, d) = (spec.vocab_size, spec.hidden_size);
        let (x, words) = (View::rows(self.rows.h.at(), d), View::t(layers.embedding, d));
        let (x, words) = if layers.half { (View { at: self.rows.half(), ..x }.half(), words.half()) } else { (x, words) };
        layers.machine.product(&Product::of((n, v, d), x, words, View::rows(self.logits.at(), v)))
    }
}

/// Parts that the keys of each of `n` rows are cut into.
fn split(n: usize, kv_heads: usize, longest: usize) -> usize {
    BLOCKS.div_ceil((n * kv_heads).max(1)).min(longest.div_ceil(KEYS)).max(1)
}

impl Arena {
    /// Addresses of a layer's caches.
    pub fn caches_at(&self, layer: usize) -> Result<Caches> {
        let (keys, values) = self.layer(layer);
        Ok(Caches { keys: address(keys)?, values: address(values)?, places: 0, half: keys.dtype() == DType::BF16 })
    }

    /// The same with a place for each row.
    pub fn caches(&self, layer: usize, places: &Tensor) -> Result<Caches> {
        Ok(Caches { places: address(places)?, ..self.caches_at(layer)? })
    }
}
