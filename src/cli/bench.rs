//! `medserl bench`: a policy step on random weights, phase by phase, beside what the machine can do, and beside a peer.

mod screens;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    config::{Place, Precision},
    model::{place::cap_memory, policy::MICRO_ROWS},
    train::bench::{Arithmetic, Bench, Ceilings, Shape, Times, Work, ceilings, peak_memory},
};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ShapeName {
    Tiny,
    /// google/gemma-3-270m
    Small,
    /// google/medgemma-4b
    #[value(name = "4b")]
    Large,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PrecisionName {
    F32,
    Bf16,
    Int8,
    Int4,
}

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value = "tiny")]
    shape: ShapeName,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Place::Cpu)]
    device: Place,
    /// Leave so much of the GPU's memory free, GiB: as on a smaller card
    #[arg(long, value_name = "GIB")]
    memory_cap: Option<usize>,
    /// How the frozen weights are kept
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionName,
    #[arg(long, default_value_t = 16)]
    prompts: usize,
    /// Completions per prompt
    #[arg(long, default_value_t = 4)]
    completions: usize,
    #[arg(long, default_value_t = 192)]
    prompt_tokens: usize,
    #[arg(long, default_value_t = 64)]
    completion_tokens: usize,
    /// Words of the vocabulary, where not the shape's own
    #[arg(long)]
    vocab: Option<usize>,
    /// Token rows at work at a time in the update
    #[arg(long, default_value_t = MICRO_ROWS)]
    micro_rows: usize,
    /// Repetitions after one to warm up
    #[arg(long, default_value_t = 3)]
    reps: usize,
    /// A peer to run in turn with ours: a command that prints one JSON object with step_s and phases, as hf_step.py does
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,
    /// Write the result as JSON here too
    #[arg(long)]
    out: Option<PathBuf>,
    #[arg(long)]
    json: bool,
    /// Measure only what this machine's processor and memory can do at best
    #[arg(long)]
    ceilings: bool,
    /// Measure the screens instead: 100,000 rollouts, a note of 1 MiB, a series of a million points, at 200x60
    #[arg(long)]
    screens: bool,
    /// Set by the program itself
    #[arg(long, hide = true)]
    screens_of: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(dir) = &args.screens_of {
        return screens::of(dir, args.json);
    }
    if args.screens {
        return screens::run(args.json);
    }
    if args.ceilings {
        return print_ceilings(ceilings(args.device)?, args);
    }
    ensure!(args.reps > 0, "--reps must be at least 1");
    let (shape, precision) = (shape(args.shape), precision(args.precision));
    let work = Work {
        prompts: args.prompts,
        completions: args.completions,
        prompt_tokens: args.prompt_tokens,
        completion_tokens: args.completion_tokens,
    };
    let cap = args.memory_cap.map(|gib| gib << 30);
    let mut held = cap.map(|bytes| cap_memory(args.device, bytes)).transpose()?;
    let mut spec = shape.spec();
    spec.vocab_size = args.vocab.unwrap_or(spec.vocab_size);
    let mut bench = Bench::new(args.device, spec, precision, work, args.micro_rows)?;
    bench.repeat()?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    let mut ceilings = vec![ceilings_now(args.device)?];
    for _ in 0..args.reps {
        ours.push(bench.repeat()?);
        ceilings.push(ceilings_now(args.device)?);
        // In turn, so that whatever else the machine does meets both.
        let Some(peer) = &args.peer else { continue };
        // As much for the peer as for us, what we hold aside.
        let ours = held.as_mut().zip(cap).map(|(held, bytes)| held.leave(bytes)).transpose()?;
        peers.push(run_peer(peer)?);
        held.as_mut().zip(ours).map(|(held, left)| held.leave(left)).transpose()?;
    }
    let result = Outcome {
        ours,
        peers,
        arithmetic: bench.arithmetic(),
        decode_gbytes: bench.decode_gbytes(),
        peak: peak_memory(),
        planned: bench.planned(),
        ceilings,
        gpu_peak: bench.peak_gpu_memory()?,
        weights: bench.weight_bytes(),
    };
    let value = result.json(args, work);
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&value)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        println!("{value}")
    } else {
        result.print(work, args.device)
    }
    Ok(())
}

fn shape(name: ShapeName) -> Shape {
    match name {
        ShapeName::Tiny => Shape::Tiny,
        ShapeName::Small => Shape::Small,
        ShapeName::Large => Shape::Large,
    }
}

fn precision(name: PrecisionName) -> Precision {
    match name {
        PrecisionName::F32 => Precision::F32,
        PrecisionName::Bf16 => Precision::Bf16,
        PrecisionName::Int8 => Precision::Int8,
        PrecisionName::Int4 => Precision::Int4,
    }
}

/// The ceilings at this moment, since other work on the machine moves them. By a process of its own: measuring the bandwidth reads
/// half a gigabyte, which is no part of the step's memory.
fn ceilings_now(device: Place) -> Result<Ceilings> {
    let program = std::env::current_exe().context("cannot find this program to measure the machine with")?;
    let output = Command::new(program)
        .args(["bench", "--ceilings", "--json", "--device", &device.to_string()])
        .output()
        .context("cannot measure the machine")?;
    ensure!(output.status.success(), "measuring the machine failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    serde_json::from_slice(&output.stdout).context("measuring the machine printed something else")
}

fn print_ceilings(best: Ceilings, args: &Args) -> Result<()> {
    let (products, memory) = kinds(args.device);
    match args.json {
        true => println!("{}", serde_json::to_string(&best)?),
        false => println!("machine: {:.0} GFLOP/s in {products}, {:.1} GB/s {memory}", best.gflops, best.gbytes),
    }
    Ok(())
}

/// What the ceilings of a device are of.
fn kinds(device: Place) -> (&'static str, &'static str) {
    match device {
        Place::Cuda { .. } => ("bf16 products", "copying memory, read and written"),
        Place::Cpu | Place::Composed => ("f32 products", "reading memory"),
    }
}

/// Runs the peer once through the shell; its last JSON object on stdout counts.
fn run_peer(command: &str) -> Result<Value> {
    let output = Command::new("sh").args(["-c", command]).output().with_context(|| format!("cannot run {command}"))?;
    if !output.status.success() {
        bail!("the peer failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(text.trim()).context("the peer did not print one JSON object")?;
    ensure!(value["step_s"].is_f64(), "the peer's JSON has no step_s");
    Ok(value)
}

struct Outcome {
    ours: Vec<Times>,
    peers: Vec<Value>,
    arithmetic: Arithmetic,
    decode_gbytes: f64,
    /// Before the first repetition, and after each.
    ceilings: Vec<Ceilings>,
    peak: Option<u64>,
    /// What `medserl plan` would have said, of the GPU's memory where there is one at work.
    planned: u64,
    gpu_peak: Option<u64>,
    weights: usize,
}

struct Phase {
    name: &'static str,
    /// Median.
    seconds: f64,
    gflop: f64,
    /// Of what the machine can do at best: of its products, or of its memory where that is the narrower of the two.
    share: f64,
    peer: Option<f64>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let mid = values.len() / 2;
    if values.len() % 2 == 1 { values[mid] } else { (values[mid - 1] + values[mid]) / 2.0 }
}

impl Outcome {
    fn ours(&self, pick: impl Fn(&Times) -> f64) -> f64 {
        median(self.ours.iter().map(pick).collect())
    }

    /// The median of a number all peer runs report.
    fn peer(&self, path: &str) -> Option<f64> {
        let values: Vec<f64> = self.peers.iter().filter_map(|p| p.pointer(path)?.as_f64()).collect();
        (values.len() == self.peers.len() && !values.is_empty()).then(|| median(values))
    }

    /// What a phase got out of the machine, as a share of the ceilings on both sides of each repetition: the median.
    fn share(&self, seconds: fn(&Times) -> f64, work: f64, ceiling: fn(&Ceilings) -> f64) -> f64 {
        let around = self.ceilings.windows(2).map(|pair| (ceiling(&pair[0]) + ceiling(&pair[1])) / 2.0);
        median(self.ours.iter().zip(around).map(|(times, best)| work / seconds(times) / best).collect())
    }

    /// Lowest and highest of a ceiling.
    fn range(&self, ceiling: fn(&Ceilings) -> f64) -> [f64; 2] {
        let values = self.ceilings.iter().map(ceiling);
        [values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max)]
    }

    fn phases(&self) -> [Phase; 5] {
        let a = self.arithmetic;
        let old = self.peer("/phases/old_logprobs/median_s");
        let update = self.peer("/phases/update/median_s");
        let phase = |name, pick: fn(&Times) -> f64, gflop: f64, peer| {
            let share = self.share(pick, gflop, |c| c.gflops);
            Phase { name, seconds: self.ours(pick), gflop, share, peer }
        };
        let decode = phase("- decode", |t| t.decode, a.decode, None);
        let by_memory = self.share(|t| t.decode, self.decode_gbytes, |c| c.gbytes);
        [
            phase("rollout", |t| t.rollout, a.rollout, self.peer("/phases/rollout/median_s")),
            phase("- prefill", |t| t.prefill, a.prefill, None),
            Phase { share: decode.share.max(by_memory), ..decode },
            phase("reference", |t| t.reference, a.reference, self.peer("/phases/ref_logprobs/median_s")),
            // Ours needs no pass for old log-probs: they are the sampler's own.
            phase("update", |t| t.update, a.update, update.zip(old).map(|(a, b)| a + b)),
        ]
    }

    fn print(&self, work: Work, device: Place) {
        let Work { prompts, completions, prompt_tokens, completion_tokens } = work;
        println!(
            "{prompts} prompts x {completions} completions, {prompt_tokens} + {completion_tokens} tokens, {} repetitions",
            self.ours.len()
        );
        let ([least, most], [slowest, fastest]) = (self.range(|c| c.gflops), self.range(|c| c.gbytes));
        let (products, memory) = kinds(device);
        println!("machine: {least:.0} to {most:.0} GFLOP/s in {products}, {slowest:.1} to {fastest:.1} GB/s {memory}");
        println!(
            "{:10} {:>9} {:>9} {:>9} {:>8} {:>10} {:>7}",
            "phase", "seconds", "GFLOP", "GFLOP/s", "of best", "peer s", "ratio"
        );
        for Phase { name, seconds, gflop, share, peer } in self.phases() {
            let (rate, share) = (gflop / seconds, 100.0 * share);
            let peer = peer.map_or(format!("{:>10} {:>7}", "-", "-"), |p| format!("{p:>10.2} {:>6.2}x", p / seconds));
            println!("{name:10} {seconds:>9.3} {gflop:>9.1} {rate:>9.1} {share:>7.0}% {peer}");
        }
        let step = self.ours(Times::step);
        let peer = self.peer("/step_s").map_or(String::new(), |p| format!(", peer {p:.2} s: {:.2} times faster", p / step));
        println!("step without reference: {step:.3} s{peer}");
        let peer = self.peer("/peak_rss_mib").map_or(String::new(), |m| format!(", peer {m:.0} MiB"));
        let peak = self.peak.map_or("unknown".to_owned(), |b| format!("{:.0} MiB", b as f64 / (1 << 20) as f64));
        println!("peak memory {peak}{peer}; weights {:.0} MiB", self.weights as f64 / (1 << 20) as f64);
        println!("medserl plan says {:.0} MiB", self.planned as f64 / (1 << 20) as f64);
        if let Some(bytes) = self.gpu_peak {
            let phases = ["rollout", "old_logprobs", "update"].map(|p| self.peer(&format!("/phases/{p}/peak_cuda_mib")));
            let peer = phases.into_iter().flatten().reduce(f64::max).map_or(String::new(), |m| format!(", peer {m:.0} MiB"));
            println!("peak GPU memory {:.0} MiB{peer}", bytes as f64 / (1 << 20) as f64);
        }
    }

    fn json(&self, args: &Args, work: Work) -> Value {
        let phases: Value = self
            .phases()
            .into_iter()
            .map(|p| {
                let value = json!({ "median_s": p.seconds, "gflop": p.gflop, "share_of_best": p.share, "peer_s": p.peer });
                (p.name.trim_start_matches("- ").to_owned(), value)
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({
            "shape": format!("{:?}", args.shape).to_lowercase(), "precision": format!("{:?}", args.precision).to_lowercase(),
            "device": args.device, "vocab": args.vocab, "work": work, "micro_rows": args.micro_rows, "threads": rayon::current_num_threads(), "phases": phases,
            "repetitions": self.ours, "step_s": self.ours(Times::step), "peer_step_s": self.peer("/step_s"),
            "ceilings": self.ceilings, "peak_bytes": self.peak, "planned_bytes": self.planned, "peak_gpu_bytes": self.gpu_peak, "weight_bytes": self.weights, "peers": self.peers,
        })
    }
}
