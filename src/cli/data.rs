//! `medserl data check|split|fetch`: what data files hold, whether they may stand on two sides of a split, dividing one, and
//! where MEDEC comes from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{
    data::{self, LoadReport, Shared, SplitOptions, guard, split},
    task::{LabelledNote, Text},
};

/// Where MEDEC comes from. Nothing is fetched: the publisher asks to be cited, and half of it needs an agreement.
const SOURCES: &str = "nothing was fetched: medserl downloads no clinical notes by itself\n\
    MEDEC-MS (Ben Abacha et al., Findings of ACL 2025, arXiv 2412.19260; licence CC BY 4.0, cite it with results)\n  \
      https://github.com/abachaa/MEDEC, folder MEDEC-MS: training 2,189 notes, validation 574, test 597\n  \
      validation as published: 1,221,588 bytes, `medserl data check` shows 319 error, 255 clean, 255 pairs\n\
    MEDEC-UW (validation 160, test 328): under a data-use agreement, ask medec-uw@googlegroups.com\n\
    put the files where you like, then\n  \
      medserl data check FILE.csv                       counts, groups, repairs, broken relations\n  \
      medserl data check TRAIN.csv VALIDATION.csv TEST.csv   and what they share\n  \
      name them in the experiment: data.source = \"medec\", data.train, data.validation\n\
    no file at hand: `medserl demo` writes its own notes";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Read MEDEC CSV or pairs JSONL files and report on them; on several also what they share
    Check(CheckArgs),
    /// Divide a file into training and validation by whole vignette groups
    Split(SplitArgs),
    /// Say where MEDEC comes from and under which terms (fetches nothing)
    Fetch,
}

#[derive(clap::Args)]
struct CheckArgs {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// List near duplicates between files from this 5-gram similarity on
    #[arg(long, default_value_t = guard::WORTH_LISTING, value_parser = share)]
    similarity: f64,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct SplitArgs {
    file: PathBuf,
    /// Folder for train.* and validation.*
    #[arg(long)]
    out: PathBuf,
    /// Share of the notes for validation
    #[arg(long, default_value_t = 0.2, value_parser = share)]
    fraction: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave out vignettes that also stand in this file (a test file, say); may be given several times
    #[arg(long, value_name = "FILE")]
    apart_from: Vec<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("expected a number between 0 and 1".to_owned()),
    }
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Split(args) => divide(args),
        Command::Fetch => bail!("{SOURCES}"),
    }
}

fn check(args: &CheckArgs) -> Result<()> {
    let mut loaded: Vec<(Vec<LabelledNote>, LoadReport)> = Vec::new();
    for file in &args.files {
        loaded.push(data::inspect(file)?);
    }
    let named: Vec<(String, &[LabelledNote])> =
        loaded.iter().map(|(notes, report)| (report.path.clone(), notes.as_slice())).collect();
    let shared = guard::shared(&named, args.similarity);
    let reports: Vec<&LoadReport> = loaded.iter().map(|(_, report)| report).collect();
    match (args.json, reports.as_slice()) {
        (true, [report]) => println!("{}", serde_json::to_string(report)?),
        (true, reports) => println!("{}", json!({ "files": reports, "shared": shared })),
        (false, reports) => {
            for report in reports {
                report.lines().iter().for_each(|line| println!("{line}"));
            }
            shared.iter().flat_map(|shared| shared_lines(shared, args.similarity)).for_each(|line| println!("{line}"));
        }
    }
    let unreadable: usize = reports.iter().map(|report| report.unreadable.len()).sum();
    ensure!(unreadable == 0, "{unreadable} rows cannot be read; they are listed above, and a run refuses the file");
    Ok(())
}

fn shared_lines(shared: &Shared, from: f64) -> Vec<String> {
    let verdict = if shared.leaks() { "one vignette on both sides" } else { "no vignette in common" };
    let counts = format!("{} group names, {} near duplicates from {from:.2} on", shared.groups.len(), shared.notes.len());
    let mut lines = vec![format!("shared      {} | {}: {verdict}; {counts}", shared.first, shared.second)];
    lines.extend(shared.groups.iter().map(|group| format!("  group {group}")));
    lines.extend(shared.notes.iter().map(|(a, b, similarity)| {
        let guarded = if *similarity >= guard::SAME_VIGNETTE { "; a run leaves it out of training" } else { "" };
        format!("  {a} | {b}: {similarity:.2}{guarded}")
    }));
    lines.iter().map(|line| Text::new(line).to_string().replace('\n', " ")).collect()
}

fn divide(args: &SplitArgs) -> Result<()> {
    let mut apart = Vec::new();
    for file in &args.apart_from {
        apart.extend(data::load(file)?.0);
    }
    let options = SplitOptions { fraction: args.fraction, seed: args.seed };
    let split = split::split(&args.file, options, &apart)?;
    let extension = args.file.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let [train, validation] = ["train", "validation"].map(|name| args.out.join(format!("{name}.{extension}")));
    for path in [&train, &validation] {
        ensure!(
            args.force || !path.exists(),
            "{} is there already; name another --out, or replace it with --force",
            path.display()
        );
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    write(&train, &split.train)?;
    write(&validation, &split.validation)?;
    if args.json {
        let mut value = serde_json::to_value(&split.report)?;
        value["files"] = json!({ "train": train, "validation": validation });
        println!("{value}");
    } else {
        split.report.lines().iter().for_each(|line| println!("{line}"));
        println!("written     {} and {}", train.display(), validation.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
