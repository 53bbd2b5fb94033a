//! `medserl eval`: a model's held-out scores, or the official MEDIQA-CORR score of a submission file.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    config::{DoctorConfig, LoraConfig, Precision, RunConfig},
    data,
    eval::{self, Scores, baselines, submission},
    model::{Policy, lora::Adapter},
    runner::{Reading, evaluate},
};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    score: Option<Command>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Score a submission file as the official script does
    Score {
        #[arg(long)]
        reference: PathBuf,
        #[arg(long)]
        submission: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct ModelArgs {
    /// nano, a local folder, or a hub id
    #[arg(long, default_value = "nano")]
    model: String,
    /// How the weights are kept in memory: stored, f32, bf16 or int8
    #[arg(long, default_value = "stored", value_parser = precision)]
    precision: Precision,
    /// A PEFT adapter folder, such as checkpoints/step-60 of a run
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// A MEDEC CSV or pairs JSONL
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value_t = DoctorConfig::default().max_tokens)]
    max_tokens: usize,
    /// Write the verdicts as an official submission file
    #[arg(long)]
    submission: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

pub fn precision(name: &str) -> Result<Precision, String> {
    serde_json::from_value(name.into()).map_err(|_| format!("{name} is none of stored, f32, bf16, int8"))
}

pub fn run(args: &Args) -> Result<()> {
    match &args.score {
        Some(Command::Score { reference, submission, json }) => score(reference, submission, *json),
        None => read_notes(&args.model),
    }
}

fn score(reference: &std::path::Path, submission: &std::path::Path, as_json: bool) -> Result<()> {
    let scores = eval::score(&eval::Reference::read(reference)?, &eval::Submission::read(submission)?);
    if as_json {
        println!("{}", serde_json::to_string(&scores)?);
    } else {
        scores.lines().iter().for_each(|line| println!("{line}"));
        scores.warnings().iter().for_each(|warning| eprintln!("{warning}"));
    }
    Ok(())
}

fn read_notes(args: &ModelArgs) -> Result<()> {
    let path = args.data.as_ref().context("name the notes to read with --data FILE, or use `eval score`")?;
    let (notes, _) = data::load(path)?;
    let mut policy = Policy::open(&args.model, args.precision, &LoraConfig::default(), 0)?;
    if let Some(dir) = &args.adapter {
        policy.adapter = Adapter::load(&policy.model.spec, dir, policy.model.device())?;
    }
    let style = RunConfig { model: args.model.clone(), ..RunConfig::default() }.prompt_style();
    let mut reader = if args.adapter.is_some() { policy.current() } else { policy.base() };
    let mut watch = |reading: Reading| {
        if let Reading::Done(done) = reading {
            eprintln!("{done}/{}", notes.len());
        }
        true
    };
    let graded = evaluate(&notes, style, args.max_tokens, &mut reader, &mut watch)?.unwrap_or_default();
    if let Some(path) = &args.submission {
        let written = submission::write(&graded)?;
        fs::write(path, written.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let (scores, trivial) = (Scores::with_intervals(&graded, 0), baselines(&notes));
    if args.json {
        let rows: Vec<_> = trivial.iter().map(|b| json!({ "policy": b.policy, "scores": b.scores })).collect();
        println!("{}", json!({ "scores": scores, "baselines": rows }));
        return Ok(());
    }
    scores.lines().iter().for_each(|line| println!("{line}"));
    for b in &trivial {
        println!(
            "{:40} accuracy {:.1} %  sentence {:.1} %",
            b.policy,
            100.0 * b.scores.flag_accuracy,
            100.0 * b.scores.sentence_accuracy
        );
    }
    Ok(())
}
