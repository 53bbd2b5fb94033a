//! What an experiment will take before it starts: memory by owner, disk, time. Shapes in, numbers out; reads no file and no clock.
//! Each line mirrors one allocation of the code it names. What no line knows (what the allocator holds beside what it was asked for,
//! short-lived buffers) is a flat share. experiments/LOG.md has the peaks that were measured beside it.

mod disk;
mod time;

use serde::Serialize;

pub use disk::{Disk, disk};
pub use time::{Rates, seconds};

use super::algo::Algo;
use crate::{
    config::{Precision, RunConfig},
    model::{
        cache::Cache,
        crew,
        fused::footprint::{Footprint as Placed, Trees},
        gemma3::MERGE_BELOW,
        lora::Projection,
        policy::{CACHE_BYTES, MICRO_ROWS},
        spec::Spec,
        tape::{self, Footprint},
    },
};

/// Program, tokenizer, threads' stacks.
const PROGRAM: u64 = 20 << 20;
/// Notes, the Scribe's lexicon, the store's pages: what a run has beside its model.
const PLAY: u64 = 16 << 20;
/// Allocator slack and short-lived buffers, as a share of what a phase holds.
const SLACK: f64 = 0.03;
/// CUDA context, cuBLAS workspace and kernels of a GPU process.
pub const GPU_CONTEXT: u64 = 900 << 20;
/// Held-out notes read in one call; see `runner::evaluate`.
const EVAL_CHUNK: usize = 64;
/// Prompt rows read in one forward; see `model::generate`.
const PREFILL_ROWS: usize = 2048;
/// Vocabulary rows per chunk of the head; see `model::ops::logprob`.
const HEAD_CHUNK: usize = 512;

/// Where the tensors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Cpu,
    /// bf16 weights and caches, f32 adapter, moments and residual stream.
    Gpu,
}

/// Tokens of the prompts of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lengths {
    pub mean: f64,
    pub max: usize,
}

impl Lengths {
    /// Every prompt at this length.
    pub fn all(tokens: usize) -> Lengths {
        Lengths { mean: tokens as f64, max: tokens }
    }

    /// Tokens of `n` prompts, one of them the longest.
    fn sum(self, n: usize) -> f64 {
        if n == 0 { 0.0 } else { self.mean * (n - 1) as f64 + self.max as f64 }
    }
}

/// What a run asks of the model.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    pub precision: Precision,
    pub rank: usize,
    pub samples: usize,
    pub completions: usize,
    pub prompt: Lengths,
    pub completion_tokens: usize,
    /// 0 where no Scribe writes.
    pub scribe_tokens: usize,
    /// Held-out notes; 0 where none are read.
    pub held_out: usize,
    /// Examples of a warm-up batch; 0 without one.
    pub warmup_batch: usize,
    /// Rows at work at a time in the update, about.
    pub micro_rows: usize,
    /// Parts of a batch that are at work at a time; see `model::crew`.
    pub workers: usize,
    /// Passes over the rollouts of a step.
    pub epochs: usize,
    /// Bytes that keys and values may take together; what does not fit waits for a free place.
    pub kv_bytes: u64,
}

impl Load {
    pub fn of(config: &RunConfig, prompt: Lengths, target: Target) -> Load {
        Load {
            precision: config.precision,
            rank: config.lora.rank,
            samples: config.doctor.samples,
            completions: config.doctor.completions,
            prompt,
            completion_tokens: config.doctor.max_tokens,
            scribe_tokens: config.scribe.max_tokens,
            held_out: config.eval.notes,
            warmup_batch: if config.sft.notes > 0 { config.sft.batch } else { 0 },
            micro_rows: MICRO_ROWS,
            workers: if target == Target::Gpu { 1 } else { crew::n_workers() },
            epochs: Algo::resolve(&config.algo).epochs,
            kv_bytes: if target == Target::Gpu { GPU_KV_BYTES } else { CACHE_BYTES as u64 },
        }
    }

    fn group_rows(&self) -> f64 {
        self.prompt.mean + (self.completions * self.completion_tokens.saturating_sub(1)) as f64
    }
}

/// Keys and values of everything in flight on a GPU.
const GPU_KV_BYTES: u64 = 6 << 30;

/// One owner of memory.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub what: &'static str,
    pub bytes: u64,
    /// Why so much.
    pub how: String,
}

/// What one phase holds beside what is always there.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    pub name: &'static str,
    pub lines: Vec<Line>,
}

/// Where memory goes.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub target: Target,
    pub always: Vec<Line>,
    pub phases: Vec<Phase>,
}

impl Memory {
    fn resident(&self) -> u64 {
        self.always.iter().map(|line| line.bytes).sum()
    }

    /// Bytes of a phase with everything that is always there.
    pub fn in_phase(&self, phase: &Phase) -> u64 {
        self.resident() + phase.lines.iter().map(|line| line.bytes).sum::<u64>()
    }

    /// The most that is held at once, and in which phase.
    pub fn peak(&self) -> (&'static str, u64) {
        let phases = self.phases.iter().map(|phase| (phase.name, self.in_phase(phase)));
        phases.max_by_key(|(_, bytes)| *bytes).unwrap_or(("idle", self.resident()))
    }
}

fn line(what: &'static str, bytes: f64, how: String) -> Line {
    Line { what, bytes: bytes.max(0.0) as u64, how }
}

/// Values of an adapter of this rank.
pub fn adapter_values(spec: &Spec, rank: usize) -> usize {
    let a_layer: usize = Projection::ALL.iter().map(|p| p.shape(spec)).map(|(out, input)| rank * (out + input)).sum();
    a_layer * spec.n_layers()
}

/// Bytes of the frozen weights as they are kept.
pub fn weight_bytes(spec: &Spec, precision: Precision, target: Target, stored_f32: bool) -> u64 {
    let all = spec.n_parameters() as u64;
    let embedding = (spec.vocab_size * spec.hidden_size) as u64;
    let projections = all - embedding;
    match precision {
        // Blocks of 32 with an f32 scale.
        Precision::Int8 => 2 * embedding + projections + projections / 8,
        Precision::Int4 => 2 * embedding + projections / 2 + projections / 8,
        Precision::F32 if target == Target::Cpu => 4 * all,
        Precision::Stored if target == Target::Cpu && stored_f32 => 4 * all,
        _ => 2 * all,
    }
}

/// Memory of a run of this load. `stored_f32` says that `precision = "stored"` means f32 (nano, or a folder of f32 files).
pub fn memory(spec: &Spec, load: &Load, target: Target, stored_f32: bool) -> Memory {
    let adapter = adapter_values(spec, load.rank) as f64;
    let weights = weight_bytes(spec, load.precision, target, stored_f32) as f64;
    let name = if target == Target::Gpu && !matches!(load.precision, Precision::Int8 | Precision::Int4) {
        "bf16".into()
    } else {
        kept(load, stored_f32)
    };
    let play = if load.scribe_tokens > 0 { PLAY } else { 0 };
    let program = if target == Target::Gpu { GPU_CONTEXT } else { PROGRAM + play };
    let rope = 16.0 * (POSITIONS.min(spec.max_positions) * spec.head_dim / 2) as f64;
    let always = vec![
        line(if target == Target::Gpu { "CUDA context" } else { "program" }, program as f64, "measured".into()),
        line("frozen weights", weights, format!("{:.2} G values in {name}, one copy", spec.n_parameters() as f64 / 1e9)),
        line("rope tables", rope, format!("{} positions", POSITIONS.min(spec.max_positions))),
        line("adapter", 4.0 * adapter, format!("{:.2} M values in f32", adapter / 1e6)),
        line("optimizer moments", 8.0 * adapter, "two f32 values each".into()),
    ];
    let cut = Cut { spec, load, target, stored_f32 };
    // Small models in f32 draw from weights with the adapter added; see `Gemma3::merged`.
    let projections = 4 * (spec.n_parameters() - spec.vocab_size * spec.hidden_size);
    let in_f32 = load.precision == Precision::F32 || load.precision == Precision::Stored && stored_f32;
    let merges = target == Target::Cpu && in_f32 && projections <= MERGE_BELOW;
    let writes = |mut phase: Phase| {
        if merges {
            phase.lines.push(line("merged weights", projections as f64, "a copy for drawing".into()));
        }
        phase
    };
    let mut phases = Vec::new();
    if load.scribe_tokens > 0 {
        let n = load.samples - load.samples / 4;
        phases.push(cut.generation("scribe", n, 1, load.scribe_tokens));
    }
    phases.push(writes(cut.generation("doctor", load.samples, load.completions, load.completion_tokens)));
    let predicted = (load.completions * load.completion_tokens) as f64;
    phases.push(cut.update("update", load.samples, load.group_rows(), predicted, adapter));
    if load.warmup_batch > 0 {
        let row = load.prompt.mean + load.completion_tokens as f64;
        phases.push(cut.update("warm-up", load.warmup_batch, row, load.completion_tokens as f64, adapter));
    }
    if load.held_out > 0 {
        phases.push(writes(cut.generation("evaluation", load.held_out.min(EVAL_CHUNK), 1, load.completion_tokens)));
    }
    let mut memory = Memory { target, always, phases };
    if target == Target::Cpu {
        cut.share_buffers(&mut memory);
    }
    memory
}

/// Positions a policy is opened for; see `model::policy`.
const POSITIONS: usize = 4096;

fn kept(load: &Load, stored_f32: bool) -> String {
    match load.precision {
        Precision::Int8 => "8-bit blocks, embedding bf16".into(),
        Precision::Int4 => "4-bit blocks, embedding bf16".into(),
        Precision::Bf16 => "bf16".into(),
        Precision::F32 => "f32".into(),
        Precision::Stored => if stored_f32 { "f32" } else { "bf16" }.into(),
    }
}

/// A load on a shape.
struct Cut<'a> {
    spec: &'a Spec,
    load: &'a Load,
    target: Target,
    stored_f32: bool,
}

impl Cut<'_> {
    /// Bytes of the keys and values of one sequence of so many tokens. On the CPU local layers keep their window only.
    fn cache(&self, tokens: f64) -> f64 {
        let s = self.spec;
        match self.target {
            Target::Cpu => Cache::bytes(s, tokens.ceil() as usize) as f64,
            Target::Gpu => 2.0 * 2.0 * (s.n_kv_heads * s.head_dim * s.n_layers()) as f64 * tokens,
        }
    }

    /// Bytes that a forward of a row holds at its widest. On the CPU these are buffers; see `model::tape`.
    fn forward_row(&self) -> f64 {
        let s = self.spec;
        let hidden = 4.0 * s.hidden_size as f64;
        match self.target {
            Target::Cpu => tape::bytes_a_row(s, self.load.rank) as f64 + hidden,
            Target::Gpu => self.placed().a_row() as f64 + hidden,
        }
    }

    /// The same on a GPU, whose weights are bf16.
    fn placed(&self) -> Placed<'_> {
        Placed { spec: self.spec, half: true, rank: self.load.rank }
    }

    /// Completions of `new_tokens` that decode at once. On a GPU their prompts must find room beside them.
    fn places(&self, n: usize, k: usize, new_tokens: usize) -> usize {
        let prompt = if self.target == Target::Gpu { self.cache(self.load.prompt.mean) / k as f64 } else { 0.0 };
        let a_place = self.cache(new_tokens as f64) + prompt;
        // A prompt's completions begin together on the CPU.
        let least = if self.target == Target::Gpu { 1 } else { k };
        (n * k).min((self.load.kv_bytes as f64 / a_place) as usize).max(least.min(n * k))
    }

    fn generation(&self, name: &'static str, n: usize, k: usize, new_tokens: usize) -> Phase {
        let (load, vocabulary) = (self.load, self.spec.vocab_size as f64);
        let places = self.places(n, k, new_tokens);
        let prompts = load.prompt.sum(n) * places as f64 / (n * k) as f64;
        let rows = prompts.min(PREFILL_ROWS.max(load.prompt.max) as f64);
        let n_prompts = n as f64 * places as f64 / (n * k) as f64;
        let caches = n_prompts * self.cache(prompts / n_prompts);
        let own = places as f64 * self.cache(new_tokens as f64);
        let prefill = rows * self.forward_row();
        let mut lines = vec![line("prompt caches", caches, format!("{prompts:.0} tokens of {n_prompts:.0} prompts"))];
        let own_caches = |bytes| line("completion caches", bytes, format!("{places} x {new_tokens} tokens"));
        if self.target == Target::Cpu {
            let first = (rows / load.prompt.mean).ceil().min(n_prompts);
            lines.push(own_caches(own));
            lines.push(line(READING, prefill + 4.0 * vocabulary * first, format!("{rows:.0} rows at once")));
            let a_place = self.forward_row() + 4.0 * vocabulary;
            lines.push(line(DRAWING, places as f64 * a_place, format!("{places} rows, their logits of {vocabulary}")));
        } else {
            // Prompts are read when the caches and the rows that will decode lie there already; their first logits stay.
            let prompt = load.prompt.max;
            let trees = self.placed().trees(Trees { rows: rows as usize, prompt, kids: 0, longest: 0 }, false);
            let decoding = places as f64 * (self.forward_row() + 4.0 * vocabulary);
            lines.push(own_caches(own));
            lines.push(line("rows and logits to decode", decoding, format!("{places} rows, their logits of {vocabulary}")));
            lines.push(line("prefill", prefill + trees as f64, format!("{rows:.0} rows at once")));
            lines.push(line("first logits", 2.0 * 4.0 * vocabulary * n_prompts, format!("{n_prompts:.0} prompts")));
            lines.push(line("joined adapter", self.placed().joined() as f64, "as the kernels read it".into()));
        }
        self.slack(&mut lines);
        Phase { name, lines }
    }

    /// The update over `n` groups of `group` rows that predict `predicted` tokens each, so many of them at a time as fit.
    fn update(&self, name: &'static str, n: usize, group: f64, predicted: f64, adapter: f64) -> Phase {
        let (spec, load) = (self.spec, self.load);
        let longest = load.completion_tokens.saturating_sub(1).max(1);
        let (parts, at_work) = self.at_work(n, group);
        let (rows, predicted) = (at_work * group, at_work * predicted);
        let hidden = 4.0 * spec.hidden_size as f64;
        // Each part sums its own, and one is waiting to be added.
        let sums = if self.target == Target::Gpu { 1.0 } else { parts + 2.0 };
        let mut lines = vec![line("gradients", sums * 4.0 * adapter, format!("of the adapter, f32, {sums:.0} times"))];
        let (kept, n_layers) = (self.layers_kept(rows as usize), spec.n_layers());
        if self.target == Target::Cpu {
            let held = Footprint::of(spec, self.load.rank, rows as usize).bytes(kept) as f64;
            // Of the last layer, only what predicts gets behind its attention.
            let unread = if kept > 1 { (rows - predicted).max(0.0) } else { 0.0 };
            let spared = unread * tape::bytes_a_row_after_attention(spec) as f64;
            let what = if kept < n_layers {
                format!("{} of {n_layers} layers computed twice", n_layers - kept)
            } else {
                "every layer".into()
            };
            lines.push(line(UPDATING, held - spared, format!("{rows:.0} rows, {what}")));
        } else {
            let trees = Trees {
                rows: rows as usize,
                prompt: load.prompt.mean as usize,
                kids: ((group - load.prompt.mean) / longest as f64).round() as usize,
                longest,
            };
            let all = self.placed().update(trees, predicted as usize) as f64;
            let inputs = rows * hidden * (n_layers as f64 + 1.0);
            lines.push(line("layer inputs", inputs, format!("{rows:.0} rows, every layer")));
            lines.push(line("one layer computed twice", all - inputs, "its rows, and the head or their slopes".into()));
            self.slack(&mut lines);
            return Phase { name, lines };
        }
        let chunk = 4.0 * HEAD_CHUNK.min(spec.vocab_size) as f64;
        lines.push(line(
            "logits",
            predicted * (chunk + 3.0 * hidden),
            format!("{predicted:.0} tokens x {HEAD_CHUNK} words at a time"),
        ));
        self.slack(&mut lines);
        Phase { name, lines }
    }

    /// Of `n` groups of so many rows, the parts and the groups that are at work at a time; see `Policy::parts`.
    fn at_work(&self, n: usize, group: f64) -> (f64, f64) {
        let rows = self.load.micro_rows;
        let part_rows = if self.target == Target::Gpu { rows } else { crew::part_rows(rows) };
        let n = n.max(1) as f64;
        let groups = (part_rows as f64 / group).floor().clamp(1.0, n);
        let parts = (n / groups).ceil().clamp(1.0, self.load.workers as f64);
        (parts, (parts * groups).min(n))
    }

    /// Of how many layers an update keeps what the backward needs, over so many rows at work; see `Policy::reserve`.
    fn layers_kept(&self, rows: usize) -> usize {
        let Cut { spec, load, target, stored_f32 } = *self;
        match target {
            Target::Gpu => 0,
            Target::Cpu => {
                let weights = weight_bytes(spec, load.precision, target, stored_f32);
                Footprint::of(spec, load.rank, rows).layers(tape::most_bytes(weights as usize))
            }
        }
    }

    /// On the CPU the workers' buffers are kept for the next step, each kind at its largest, as long as they are not many.
    fn share_buffers(&self, memory: &mut Memory) {
        let mut kinds = [READING, DRAWING, UPDATING].map(|kind| {
            let lines = memory.phases.iter().flat_map(|p| &p.lines).filter(|l| l.what == kind);
            lines.max_by_key(|l| l.bytes).cloned()
        });
        let all: u64 = kinds.iter().flatten().map(|l| l.bytes).sum();
        if all > (self.load.workers * tape::KEPT_BETWEEN) as u64 {
            return;
        }
        // The first layer of an update takes what reading left.
        if let [Some(reading), _, Some(updating)] = &mut kinds {
            reading.bytes -= reading.bytes.min(updating.bytes / self.spec.n_layers() as u64);
        }
        for phase in &mut memory.phases {
            phase.lines.retain(|l| ![READING, DRAWING, UPDATING].contains(&l.what));
        }
        memory
            .always
            .extend(kinds.into_iter().flatten().map(|l| Line { how: format!("{}, kept from step to step", l.how), ..l }));
    }

    fn slack(&self, lines: &mut Vec<Line>) {
        let sum: u64 = lines.iter().map(|line| line.bytes).sum();
        lines.push(line("allocator and short-lived", SLACK * sum as f64, format!("{:.0} %", 100.0 * SLACK)));
    }
}

/// Buffers of the CPU by what they serve; see [`Cut::share_buffers`].
const READING: &str = "buffers for reading";
const DRAWING: &str = "buffers for drawing";
const UPDATING: &str = "buffers for the update";
