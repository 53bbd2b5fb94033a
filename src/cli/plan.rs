//! `medserl plan`: memory, disk and time of an experiment before it starts, and whether this machine has them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    config::RunConfig,
    model::{
        files::tokenizer_of,
        hub::{self, Location},
        known::spec_of,
        spec::Spec,
    },
    runner::{
        load_absolute, load_notes,
        room::{Room, gib},
    },
    store::runs_root,
    task::prompt,
    train::{
        bench::cpu_ceilings,
        budget::{Disk, Lengths, Load, Memory, Rates, Target, disk, memory, seconds},
    },
};

#[derive(clap::Args)]
pub struct Args {
    /// The experiment, such as experiments/medgemma-4b-24gb.toml
    experiment: PathBuf,
    /// Override any key of the experiment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Tokens of a Doctor prompt; where left out, counted on the notes if tokenizer and notes are at hand, else data.max_note_tokens
    #[arg(long, value_name = "N")]
    prompt_tokens: Option<usize>,
    /// Memory of the graphics card to plan for, GiB; by default that of the first card, or 24
    #[arg(long, value_name = "GIB")]
    gpu_gib: Option<f64>,
    #[arg(long)]
    json: bool,
}

/// Notes whose prompts are counted.
const COUNTED: usize = 400;
/// A card is filled to this share at most: what other processes and fragmentation take is not ours to know.
const GPU_SHARE: f64 = 22.0 / 24.0;

struct Plan {
    config: RunConfig,
    spec: Spec,
    spec_from: String,
    prompt: Lengths,
    prompt_from: String,
    cpu: Memory,
    gpu: Memory,
    /// GiB of the card planned for, and its name.
    card: (f64, String),
    disk: Disk,
    room: Room,
    seconds: Vec<(&'static str, f64)>,
    rates: Rates,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let plan = Plan::make(args)?;
    if args.json {
        println!("{}", plan.json());
    } else {
        plan.print();
    }
    let wrong = plan.wrong();
    if !args.json {
        wrong.iter().for_each(|line| println!("{line}"));
        if wrong.is_empty() {
            println!("it fits this machine");
        }
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Plan {
    fn make(args: &Args) -> Result<Plan> {
        let mut config = RunConfig::load(&args.experiment, &args.set)?;
        load_absolute(&mut config, &std::env::current_dir()?);
        let (spec, spec_from) = spec_of(&config.model)?;
        let (prompt, prompt_from) = lengths(&config, args.prompt_tokens);
        let stored_f32 = config.model == "nano";
        let at = |target| Load::of(&config, prompt, target);
        let (cpu_load, gpu_load) = (at(Target::Cpu), at(Target::Gpu));
        let (cpu, gpu) = (memory(&spec, &cpu_load, Target::Cpu, stored_f32), memory(&spec, &gpu_load, Target::Gpu, stored_f32));
        let download = matches!(hub::locate(&config.model)?, Location::Hub(_)) && spec_from.starts_with("the built-in");
        let disk = disk(&spec, &config, &cpu_load, download);
        let measured = cpu_ceilings();
        let rates = Rates { gflops: measured.gflops, gbytes: measured.gbytes };
        let seconds = seconds(&spec, &cpu_load, Target::Cpu, stored_f32, rates);
        let room = Room::here(&runs_root()?);
        let found = room.gpu.clone().map(|(name, bytes)| (bytes as f64 / GIB, name));
        let card = match args.gpu_gib {
            Some(gib) => (gib, format!("a card of {gib} GiB")),
            None => found.unwrap_or((24.0, "a card of 24 GiB; none is here".into())),
        };
        Ok(Plan { config, spec, spec_from, prompt, prompt_from, cpu, gpu, card, disk, room, seconds, rates })
    }

    /// What stands in the way, a line each.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (phase, peak) = self.cpu.peak();
        if let Some(free) = self.room.memory_free.filter(|free| peak > *free) {
            wrong.push(format!(
                "DOES NOT FIT: {phase} takes {} of memory, {} are free; lower doctor.samples, doctor.completions or doctor.max_tokens, or keep weights in precision = \"int8\"",
                gib(peak),
                gib(free)
            ));
        }
        let needed = self.disk.total();
        if let Some(free) = self.room.disk_free.filter(|free| needed > *free) {
            wrong.push(format!(
                "DOES NOT FIT: {} of disk, {} are free at {}; checkpoint.keep and checkpoint.max_gb bound checkpoints",
                gib(needed),
                gib(free),
                self.room.disk_at.display()
            ));
        }
        wrong
    }

    fn fits_card(&self) -> bool {
        self.gpu.peak().1 as f64 <= self.card.0 * GPU_SHARE * GIB
    }

    fn print(&self) {
        let (c, s) = (&self.config, &self.spec);
        println!("{} with {}: {} steps", c.name, c.model, c.steps);
        println!(
            "{} layers of {}, vocabulary {}, {:.2} G weights ({})",
            s.n_layers(),
            s.hidden_size,
            s.vocab_size,
            s.n_parameters() as f64 / 1e9,
            self.spec_from
        );
        println!(
            "{} samples x {} completions, prompts of {:.0} tokens (longest {}; {}) + {}, LoRA rank {}",
            c.doctor.samples,
            c.doctor.completions,
            self.prompt.mean,
            self.prompt.max,
            self.prompt_from,
            c.doctor.max_tokens,
            c.lora.rank
        );
        let free = self.room.memory_free.map_or("unknown".into(), gib);
        table(&format!("memory of this CPU ({free} free)"), &self.cpu);
        println!("  an estimate, with completions at full length; peaks measured so far were within 10 % of it");
        table(&format!("memory of {} (planned to {:.1} GiB)", self.card.1, self.card.0 * GPU_SHARE), &self.gpu);
        println!("  {}", if self.fits_card() { "fits that card" } else { "DOES NOT FIT that card" });
        let free = self.room.disk_free.map_or("unknown".into(), gib);
        println!("\ndisk at {} ({free} free)", self.room.disk_at.display());
        self.disk.lines.iter().for_each(|line| println!("  {:28} {:>12}  {}", line.what, gib(line.bytes), line.how));
        let step: f64 = self.seconds.iter().map(|(_, s)| s).sum();
        let phases: Vec<String> = self.seconds.iter().map(|(name, s)| format!("{name} {}", span(*s))).collect();
        println!("\ntime on this CPU, about (within a factor of two; completions at full length)");
        println!("  a step {} ({}), all {} steps {}", span(step), phases.join(", "), c.steps, span(step * f64::from(c.steps)));
        println!("  measured just now: {:.0} GFLOP/s, {:.1} GB/s\n", self.rates.gflops, self.rates.gbytes);
    }

    fn json(&self) -> Value {
        let memory = |m: &Memory| {
            let (phase, bytes) = m.peak();
            json!({ "always": m.always, "phases": m.phases, "peak_bytes": bytes, "peak_in": phase })
        };
        json!({
            "name": self.config.name, "model": self.config.model, "spec_from": self.spec_from, "prompt": self.prompt,
            "prompt_from": self.prompt_from, "cpu": memory(&self.cpu), "gpu": memory(&self.gpu), "fits_card": self.fits_card(),
            "card_gib": self.card.0, "disk": self.disk, "disk_bytes": self.disk.total(), "room": self.room, "wrong": self.wrong(),
            "seconds": self.seconds.iter().map(|(name, s)| ((*name).to_owned(), json!(s))).collect::<serde_json::Map<_, _>>(),
            "rates": self.rates,
        })
    }
}

const GIB: f64 = (1u64 << 30) as f64;

fn table(title: &str, memory: &Memory) {
    println!("\n{title}");
    let row = |line: &crate::train::budget::Line| println!("  {:28} {:>12}  {}", line.what, gib(line.bytes), line.how);
    memory.always.iter().for_each(row);
    for phase in &memory.phases {
        println!("  {}", phase.name);
        for line in phase.lines.iter().filter(|line| line.bytes > 0) {
            println!("    {:26} {:>12}  {}", line.what, gib(line.bytes), line.how);
        }
        println!("    {:26} {:>12}", "with all of the above", gib(memory.in_phase(phase)));
    }
    let (phase, bytes) = memory.peak();
    println!("  {:28} {:>12}  in {phase}", "PEAK", gib(bytes));
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// Lengths of the Doctor's prompts, and where they come from.
fn lengths(config: &RunConfig, told: Option<usize>) -> (Lengths, String) {
    if let Some(n) = told {
        return (Lengths::all(n), "--prompt-tokens".into());
    }
    let bound = config.data.max_note_tokens;
    match count(config) {
        Ok(Some((lengths, n))) => (lengths, format!("counted on {n} notes")),
        Ok(None) => (Lengths::all(bound), "data.max_note_tokens: the tokenizer is not at hand".into()),
        Err(error) => (Lengths::all(bound), format!("data.max_note_tokens: {error:#}")),
    }
}

/// `None` where there is no tokenizer without a download.
fn count(config: &RunConfig) -> Result<Option<(Lengths, usize)>> {
    let Some(tokenizer) = tokenizer_of(&config.model)? else { return Ok(None) };
    let notes = load_notes(config)?;
    let all = [&notes.pools.errors, &notes.pools.cleans];
    let mut counted: Vec<usize> = Vec::new();
    for note in all.iter().flat_map(|pool| pool.iter().step_by((pool.len() * 2).div_ceil(COUNTED).max(1))) {
        counted.push(tokenizer.encode_chat(&prompt::doctor(config.prompt_style(), &note.note))?.len());
    }
    counted.retain(|n| *n <= config.data.max_note_tokens);
    anyhow::ensure!(!counted.is_empty(), "every note is longer than data.max_note_tokens");
    let mean = counted.iter().sum::<usize>() as f64 / counted.len() as f64;
    let max = counted.iter().copied().max().unwrap_or_default();
    Ok(Some((Lengths { mean, max }, counted.len())))
}
