//! The policy: one copy of the base weights and one trainable adapter. With the adapter off it is the reference, and by default
//! the Scribe.

use std::ops::Range;

use anyhow::Result;
use candle_core::{DType, Device};

use super::{
    crew,
    files::{Files, nano_tokenizer},
    fused::footprint::{Footprint as Placed, Trees},
    gemma3::Gemma3,
    generate::{Source, generate},
    lora::{Adapter, AdapterView},
    place::{self, Ops},
    room::{OutOfMemory, Room},
    spec::Spec,
    tape::{self, Buffers, Footprint, KEPT_BETWEEN},
    tokenizer::Tokenizer,
    weights::Weights,
};
use crate::{
    config::{LoraConfig, Place, Precision},
    task::{Completion, Generate, GenerateRequest, Sampling},
};

/// Sequences longer than this are refused; MEDEC notes with prompt and reasoning stay far below (research: medserl-peers §1.3).
const MAX_POSITIONS: usize = 4096;

/// What the caches of open completions may take together, bytes; see [`Source::cache_bytes`].
pub const CACHE_BYTES: usize = 2 << 30;
/// The same on a GPU: with the 4B shape in bf16, 64 completions of 512 tokens and their prompts, and room for the rest in 24 GB.
const GPU_CACHE_BYTES: usize = 6 << 30;

/// Rows of one forward and backward in training where nothing else is said.
pub const MICRO_ROWS: usize = 2048;

/// What the graph of a micro-batch may keep on a GPU, bytes, before layers are computed twice.
pub const GPU_TAPE_BYTES: usize = 2 << 30;

/// A model ready to write, to be scored and to be trained.
pub struct Policy {
    pub model: Gemma3,
    pub tokenizer: Tokenizer,
    pub adapter: Adapter,
    pub seed: u64,
    /// The commit of a model from the hub.
    pub commit: Option<String>,
    /// What the layers of all parts at work may keep for their backward, bytes; see [`super::batch::TokenBatch::backward`].
    tape_bytes: usize,
    /// Rows at work at a time in training, about; bounds memory.
    pub micro_rows: usize,
    pub room: Room,
}

impl Policy {
    /// Opens the configured model with a fresh adapter, on the CPU.
    /// Where it has to be downloaded first, `tell` hears of it line by line.
    pub fn open(model: &str, precision: Precision, lora: &LoraConfig, seed: u64, tell: &mut dyn FnMut(&str)) -> Result<Policy> {
        Policy::open_at(Place::Cpu, model, precision, lora, seed, tell)
    }

    /// Opens the configured model with a fresh adapter on a device, which must be there: [`place::DeviceError`] before any file
    /// is read.
    pub fn open_at(
        place: Place,
        model: &str,
        precision: Precision,
        lora: &LoraConfig,
        seed: u64,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Policy> {
        let at = place::open(place)?;
        let mut files = Files::open(model, precision, tell)?;
        let tokenizer = files.tokenizer()?;
        Ok(Policy { commit: files.commit, ..Policy::assemble(at, files.spec, files.weights, tokenizer, lora, seed)? })
    }

    fn assemble(
        (device, ops): (Device, Ops),
        spec: Spec,
        weights: Weights,
        tokenizer: Tokenizer,
        lora: &LoraConfig,
        seed: u64,
    ) -> Result<Policy> {
        let adapter = Adapter::new(&spec, lora.rank, lora.alpha, seed, &device)?;
        let model = Gemma3::new(spec, &weights, MAX_POSITIONS)?;
        drop(weights); // each matrix leaves the CPU as it reaches the device
        let model = model.moved(&device, ops)?;
        let tape_bytes = if ops == Ops::Cpu { tape::most_bytes(model.weight_bytes()) } else { GPU_TAPE_BYTES };
        Ok(Policy { model, tokenizer, adapter, seed, commit: None, tape_bytes, micro_rows: MICRO_ROWS, room: Room::default() })
    }

    /// A shape with random frozen weights, for measuring. Its tokenizer is nano's and means nothing here.
    pub fn random(place: Place, spec: Spec, precision: Precision, lora: &LoraConfig) -> Result<Policy> {
        let at = place::open(place)?;
        let weights = Weights::random(&spec, precision, 3)?;
        Policy::assemble(at, spec, weights, nano_tokenizer()?, lora, 1)
    }

    /// What keys and values of everything being written may take; see [`Source::cache_bytes`].
    pub fn cache_bytes(&self) -> usize {
        if self.model.ops() == Ops::Cpu { CACHE_BYTES } else { GPU_CACHE_BYTES }
    }

    /// Cuts a batch of members of so many rows each into parts, at least one member each: on the CPU several are at work at a time
    /// and share what [`Policy::micro_rows`] allows.
    pub fn parts(&self, rows: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
        let at_most = if self.model.ops() == Ops::Cpu { crew::part_rows(self.micro_rows) } else { self.micro_rows };
        let (mut parts, mut n_rows): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
        for (member, more) in rows.enumerate() {
            match parts.last_mut() {
                Some(part) if n_rows + more <= at_most => {
                    part.end += 1;
                    n_rows += more;
                }
                _ => {
                    parts.push(member..member + 1);
                    n_rows = more;
                }
            }
        }
        parts
    }

    /// Computes `n` parts of a batch, side by side on the CPU, and takes the results in order; see [`crew::in_order`].
    pub fn in_parts<R: Send>(
        &self,
        n: usize,
        f: impl Fn(usize, &mut Buffers) -> Result<R> + Sync,
        mut take: impl FnMut(usize, R) -> Result<()>,
    ) -> Result<()> {
        if self.model.ops() == Ops::Cpu && n > 1 {
            self.room.begin((crew::n_workers() * KEPT_BETWEEN) as u64);
            return crew::in_order(n, f, take);
        }
        self.room.begin(0);
        let mut buffers = Buffers::default();
        (0..n).try_for_each(|part| take(part, f(part, &mut buffers)?))
    }

    /// Asks the device for the memory that a forward and backward over so many token rows take, before it is used: the largest of so
    /// many parts, none of whose segments is longer than `longest`, beside those of the other workers. Says how many of the last layers
    /// may keep what their backward needs; the others are computed twice, which changes no bit.
    pub fn reserve(&self, rows: usize, longest: usize, parts: usize) -> Result<usize, OutOfMemory> {
        match self.reserve_placed(rows, longest, |placed, trees, predicted| placed.update(trees, predicted)) {
            Some(reserved) => reserved.map(|()| 0),
            None => self.reserve_with(rows, parts, self.tape_bytes),
        }
    }

    /// The same for a forward alone.
    pub fn reserve_forward(&self, rows: usize, longest: usize, parts: usize) -> Result<(), OutOfMemory> {
        match self.reserve_placed(rows, longest, |placed, trees, predicted| placed.score(trees, predicted)) {
            Some(reserved) => reserved,
            None => self.reserve_with(rows, parts, 0).map(|_| ()),
        }
    }

    /// The same by what kernels of ours take, where there are some.
    fn reserve_placed(
        &self,
        rows: usize,
        longest: usize,
        bytes: fn(&Placed, Trees, usize) -> usize,
    ) -> Option<Result<(), OutOfMemory>> {
        self.model.ops().kernels()?;
        let half = self.model.cache_dtype() == DType::BF16;
        let footprint = Placed { spec: &self.model.spec, half, rank: self.adapter.rank };
        // How rows lie in trees is not known here: as much as they can take where no segment is longer.
        let trees = Trees { rows, prompt: longest.min(rows), kids: 0, longest: 0 };
        let needed = bytes(&footprint, trees, rows) as u64;
        Some(self.room.reserve(rows, needed, needed, || place::free_memory(self.model.device())).map(|_| ()))
    }

    fn reserve_with(&self, rows: usize, parts: usize, tape_bytes: usize) -> Result<usize, OutOfMemory> {
        let available = || place::free_memory(self.model.device());
        let spec = &self.model.spec;
        if self.model.ops() != Ops::Cpu {
            let Graph { all, least } = Graph::of(spec, rows);
            let wanted = if all <= tape_bytes as u64 { all } else { least };
            let granted = self.room.reserve(rows, wanted, least, available)?;
            return Ok(if granted >= all { spec.n_layers() } else { 0 });
        }
        let rows = rows * parts.clamp(1, crew::n_workers());
        let footprint = Footprint::of(spec, self.adapter.rank, rows);
        let (wanted, least) = (footprint.bytes(footprint.layers(tape_bytes)), footprint.least as u64);
        let granted = self.room.reserve(rows, wanted as u64, least, available)?;
        Ok(footprint.layers(footprint.tape + (granted - least) as usize))
    }

    /// A writer with the adapter as it stands now.
    pub fn current(&self) -> Result<Writer<'_>> {
        Ok(Writer { policy: self, pen: Pen::with(&self.model, self.adapter.frozen())? })
    }

    /// A writer with the adapter off.
    pub fn base(&self) -> Writer<'_> {
        Writer { policy: self, pen: Pen::Base }
    }
}

/// Bytes that candle's graph holds on a GPU for a forward and backward over some rows.
#[derive(Clone, Copy, Debug)]
pub struct Graph {
    /// Where every layer keeps what its backward needs.
    pub all: u64,
    /// Where each keeps its input and is computed twice.
    pub least: u64,
}

impl Graph {
    pub fn of(spec: &Spec, rows: usize) -> Graph {
        let all = rows * spec.activation_bytes_a_row();
        let inputs = 4 * rows * spec.hidden_size * (spec.n_layers() + 1);
        Graph { all: all as u64, least: (all / spec.n_layers().max(1) + inputs) as u64 }
    }
}

/// What a writer writes with.
pub enum Pen {
    /// The base model.
    Base,
    /// The adapter added to the weights.
    Merged(Gemma3),
    /// The adapter beside the weights.
    Beside(AdapterView),
}

impl Pen {
    /// Merged where that is possible, since it saves two small products for each projection and token.
    pub fn with(model: &Gemma3, adapter: AdapterView) -> Result<Pen> {
        Ok(model.merged(&adapter)?.map_or(Pen::Beside(adapter), Pen::Merged))
    }

    /// The model and adapter to draw from.
    pub fn of<'a>(&'a self, model: &'a Gemma3) -> (&'a Gemma3, Option<&'a AdapterView>) {
        match self {
            Pen::Base => (model, None),
            Pen::Merged(merged) => (merged, None),
            Pen::Beside(adapter) => (model, Some(adapter)),
        }
    }
}

/// The policy holding a pen.
pub struct Writer<'a> {
    policy: &'a Policy,
    pen: Pen,
}

impl Generate for Writer<'_> {
    fn generate(
        &mut self,
        requests: &[GenerateRequest],
        sampling: Sampling,
        on_token: &mut dyn FnMut(usize, usize, &str) -> bool,
    ) -> Result<Vec<Vec<Completion>>> {
        let Policy { model, tokenizer, seed, .. } = self.policy;
        let (model, adapter) = self.pen.of(model);
        let cache_bytes = self.policy.cache_bytes();
        let source = Source { model, adapter, stops: &tokenizer.stops, seed: *seed, cache_bytes };
        generate(source, tokenizer, requests, sampling, on_token)
    }
}
