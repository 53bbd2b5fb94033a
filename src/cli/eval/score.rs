//! `medserl eval score|compare|published`: submissions and graded files, no model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::bertscore::BertArgs;
use crate::{
    data::{self, LoadOptions, SIBLING_SIMILARITY, shingles},
    eval::{self, Baseline, Scores, published},
    task::{Label, LabelledNote},
};

/// Seed of the resamples behind every printed interval: the same scores always show the same intervals.
pub const INTERVAL_SEED: u64 = 0;

#[derive(clap::Args)]
pub struct ScoreArgs {
    /// MEDEC CSV with its ground truth; a raw test file with empty rows will do
    #[arg(long)]
    reference: PathBuf,
    /// One line a note: ID FLAG SENTENCE-ID "CORRECTION or NA"
    #[arg(long)]
    submission: PathBuf,
    /// Training notes, for the row of the nearest training note
    #[arg(long)]
    train: Option<PathBuf>,
    #[command(flatten)]
    bert: BertArgs,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct CompareArgs {
    /// Graded notes (`eval --graded`) or a submission
    before: PathBuf,
    /// The same notes graded again
    after: PathBuf,
    /// MEDEC CSV with its ground truth; needed where a side is a submission
    #[arg(long)]
    reference: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct PublishedArgs {
    #[arg(long)]
    json: bool,
}

/// Scores a submission as the official script does, and beside that what the script hides.
pub fn score(args: &ScoreArgs) -> Result<()> {
    let submission = eval::Submission::read(&args.submission)?;
    let reference = eval::Reference::read(&args.reference)?;
    let mut official = eval::score(&reference, &submission);
    ensure!(
        official.missing.len() < official.counters.total_texts,
        "no line of {} is about a note of {}: {} lines were read, {} could not be, and the reference has notes such as {}",
        args.submission.display(),
        args.reference.display(),
        submission.predictions.len(),
        submission.bad_lines.len(),
        official.missing.first().map_or("none", String::as_str)
    );
    official.bertscore = args.bert.score(&official.counters, &eval::scored_pairs(&reference, &submission))?;
    // A reference that scores may still lack what pairs and types need. A submission corrects the file as it stands: no repair.
    let beside = match data::load_medec_with(&args.reference, LoadOptions { repair: false }) {
        Ok((rows, _)) => {
            let notes: Vec<LabelledNote> = rows.into_iter().map(|row| row.labelled).collect();
            let scores = Scores::with_intervals(&submission.grade(&notes), INTERVAL_SEED);
            Ok((scores, trivial(&notes, args.train.as_deref())?))
        }
        Err(error) => Err(error.to_string()),
    };
    if args.json {
        let mut value = official_json(&official)?;
        match &beside {
            Ok((scores, rows)) => {
                value["beside"] = json!(scores);
                value["baselines"] = json!(rows);
            }
            Err(error) => value["beside_error"] = json!(error),
        }
        println!("{value}");
    } else {
        println!("official metrics");
        official.lines().iter().for_each(|line| println!("  {line}"));
        match &beside {
            Ok((scores, rows)) => print_beside(scores, rows),
            Err(error) => println!("pairs, types and trivial policies are not computed: {error}"),
        }
    }
    official.warnings().iter().for_each(|warning| eprintln!("{warning}"));
    Ok(())
}

/// Official scores as JSON, naming what is not among them.
pub fn official_json(official: &eval::OfficialScores) -> Result<Value> {
    let mut value = serde_json::to_value(official)?;
    value["not_computed"] = json!(official.not_computed());
    Ok(value)
}

/// Prints what the official script hides, and what policies without medicine get.
pub fn print_beside(scores: &Scores, rows: &[Baseline]) {
    println!("beside the official metrics: 95 % intervals over vignette groups; texts trimmed before ROUGE");
    scores.lines().iter().for_each(|line| println!("  {line}"));
    println!("trivial policies on the same notes");
    rows.iter().for_each(|row| println!("  {}", row.line()));
}

/// The trivial policies of these notes, in the order of their file; the nearest training note where a training file is named.
pub fn trivial(notes: &[LabelledNote], train: Option<&Path>) -> Result<Vec<Baseline>> {
    let mut rows = eval::baselines(notes);
    rows.push(eval::neighbour_rule(notes, &shingles::like_next(notes, SIBLING_SIMILARITY)));
    if let Some(path) = train {
        let (train, _) = data::load(path).context("cannot use --train")?;
        let nearest: Vec<Option<&Label>> =
            shingles::nearest(notes, &train).into_iter().map(|found| found.map(|(at, _)| &train[at].label)).collect();
        rows.push(eval::nearest_note(notes, &nearest, &train));
    }
    Ok(rows)
}

pub fn compare(args: &CompareArgs) -> Result<()> {
    let notes = args.reference.as_ref().map(|path| data::load(path)).transpose()?.map(|(notes, _)| notes);
    let side = |path| eval::read_side(path, notes.as_deref());
    let comparison = eval::compare(&side(&args.before)?, &side(&args.after)?, INTERVAL_SEED)?;
    if args.json {
        println!("{}", serde_json::to_string(&comparison)?);
    } else {
        comparison.lines().iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

pub fn published(args: &PublishedArgs) -> Result<()> {
    if args.json {
        println!("{}", json!({ "results": eval::PUBLISHED, "notes": published::NOTES }));
    } else {
        published::lines().iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
