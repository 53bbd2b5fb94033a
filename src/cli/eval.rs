//! `medserl eval`: a model's scores on a data file; its subcommands need no model.

mod bertscore;
mod score;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use crate::{
    config::{DoctorConfig, LoraConfig, Place, Precision, RunConfig},
    data,
    eval::{self, Graded, Scores, submission},
    model::{Policy, lora::Adapter},
    runner::{Reading, evaluate},
    task::LabelledNote,
};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Score a submission file as the official script does, and show what that script hides
    Score(score::ScoreArgs),
    /// Compare two evaluations of the same notes: differences, intervals, McNemar's test
    Compare(score::CompareArgs),
    /// Print published results on MEDEC with their sources and scopes
    Published(score::PublishedArgs),
}

#[derive(clap::Args)]
struct ModelArgs {
    /// nano, a local folder, or a hub id
    #[arg(long, default_value = "nano")]
    model: String,
    /// How the weights are kept in memory: stored, f32, bf16 or int8
    #[arg(long, default_value = "stored", value_parser = precision)]
    precision: Precision,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Place::Cpu)]
    device: Place,
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
    /// Write every label and verdict as JSON lines, for `eval compare`
    #[arg(long)]
    graded: Option<PathBuf>,
    /// Training notes, for the row of the nearest training note
    #[arg(long)]
    train: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

pub fn precision(name: &str) -> Result<Precision, String> {
    serde_json::from_value(name.into()).map_err(|_| format!("{name} is none of stored, f32, bf16, int8, int4"))
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Some(Command::Score(args)) => score::score(args),
        Some(Command::Compare(args)) => score::compare(args),
        Some(Command::Published(args)) => score::published(args),
        None => read_notes(&args.model),
    }
}

fn read_notes(args: &ModelArgs) -> Result<()> {
    let path = args
        .data
        .as_ref()
        .context("name the notes to read with --data FILE; `eval score`, `compare` and `published` need no model")?;
    let (notes, _) = data::load(path)?;
    let mut policy = Policy::open_at(args.device, &args.model, args.precision, &LoraConfig::default(), 0, &mut super::to_stderr)?;
    if let Some(dir) = &args.adapter {
        policy.adapter = Adapter::load(&policy.model.spec, dir, policy.model.device())?;
    }
    let style = RunConfig { model: args.model.clone(), ..RunConfig::default() }.prompt_style();
    let mut reader = if args.adapter.is_some() { policy.current()? } else { policy.base() };
    let mut watch = |reading: Reading| {
        if let Reading::Done(done) = reading {
            eprintln!("{done}/{}", notes.len());
        }
        true
    };
    let graded = evaluate(&notes, style, args.max_tokens, &mut reader, &mut watch)?.unwrap_or_default();
    let written = submission::write(&graded);
    if let Some(to) = &args.submission {
        let text = &written.as_ref().map_err(|e| anyhow!("{e}"))?.text;
        fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))?;
    }
    if let Some(to) = &args.graded {
        fs::write(to, json_lines(&graded)?).with_context(|| format!("cannot write {}", to.display()))?;
    }
    let scores = Scores::with_intervals(&graded, score::INTERVAL_SEED);
    let rows = score::trivial(&notes, args.train.as_deref())?;
    let official = written.map_err(anyhow::Error::from).and_then(|written| official(path, &notes, &written.text));
    if args.json {
        let official = match &official {
            Ok(official) => score::official_json(official)?,
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        println!("{}", json!({ "scores": scores, "baselines": rows, "official": official }));
        return Ok(());
    }
    match &official {
        Ok(official) => {
            println!("official metrics");
            official.lines().iter().for_each(|line| println!("  {line}"));
        }
        Err(error) => println!("official metrics: not computed: {error:#}"),
    }
    score::print_beside(&scores, &rows);
    Ok(())
}

/// The official metrics of verdicts written down as a submission, against the raw file where it is a CSV.
fn official(path: &Path, notes: &[LabelledNote], submission: &str) -> Result<eval::OfficialScores> {
    let reference = match data::Format::of(path)? {
        data::Format::MedecCsv => eval::Reference::read(path)?,
        data::Format::PairsJsonl => eval::Reference::of_notes(notes),
    };
    Ok(eval::score(&reference, &eval::Submission::parse(submission)))
}

fn json_lines(graded: &[Graded]) -> Result<String> {
    let mut text = String::new();
    for one in graded {
        text.push_str(&serde_json::to_string(one)?);
        text.push('\n');
    }
    Ok(text)
}
