//! `medserl audit`: what trivial and adversarial policies earn from a reward scheme.

use std::{
    io::{IsTerminal, stdout},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::reward::RulesArgs;
use crate::{
    config::RunConfig,
    data,
    eval::{AuditRow, Failure, audit, audit_failures},
    scribe::{Lexicon, calibrate::calibrate},
};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    rules: RulesArgs,
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Send a file's real errors through the Scribe's injection gates
    Gates(GatesArgs),
}

#[derive(clap::Args)]
struct GatesArgs {
    /// A MEDEC CSV or pairs JSONL
    #[arg(long, value_name = "FILE")]
    data: std::path::PathBuf,
    /// Override a threshold, such as --set scribe.inject_max_edits=9
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[arg(long)]
    json: bool,
}

/// Exit code 1 where fewer than 95 % of real errors would be let through: such gates refuse what the field calls an error.
fn gates(args: &GatesArgs) -> Result<ExitCode> {
    let config = RunConfig::parse("the defaults".as_ref(), "", &args.set)?;
    let (notes, _) = data::load(&args.data)?;
    let errors: Vec<_> = notes.into_iter().filter(|n| n.label.is_error()).collect();
    ensure!(!errors.is_empty(), "{} holds no error notes; name a MEDEC CSV or pairs JSONL", args.data.display());
    let found = calibrate(&errors, &config.scribe, Lexicon::standard());
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        found.lines().iter().for_each(|line| println!("{line}"));
    }
    Ok(if found.all.value() >= 0.95 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Exit code 1 where some policy is paid too well: a scheme that fails its audit should fail a script too.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(What::Gates(args)) = &args.what {
        return gates(args);
    }
    let rows = audit(&args.rules.rules()?);
    let failures = audit_failures(&rows);
    if args.json {
        println!("{}", as_json(&rows, &failures));
    } else {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        print!("{}", table(&rows, &failures, stdout().is_terminal() && !no_color));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(rows: &[AuditRow], failures: &[Failure]) -> Value {
    let row = |r: &AuditRow| {
        json!({ "policy": r.policy, "mean_reward": r.mean_reward, "on_error": r.mean_on_error, "on_clean": r.mean_on_clean,
                "constant": r.is_constant, "blind": r.is_blind, "right_rate": r.right_rate, "malformed_rate": r.malformed_rate,
                "parts": r.parts })
    };
    let why: Vec<&str> = failures.iter().map(|failure| failure.why.as_str()).collect();
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>(), "failures": why, "best_constant": best_constant(rows) })
}

/// What the best text that never changes earns.
fn best_constant(rows: &[AuditRow]) -> Option<f64> {
    rows.iter().filter(|row| row.is_constant).map(|row| row.mean_reward).max_by(f64::total_cmp)
}

/// The report for people; rows that are paid too well are red where `coloured`.
fn table(rows: &[AuditRow], failures: &[Failure], coloured: bool) -> String {
    let paint = |line: String| if coloured { format!("{RED}{line}{PLAIN}") } else { line };
    let (policy, right, on_error) = ("policy (* the same text for every note)", "right", "on error");
    let mut lines = vec![format!("{policy:54} {:>7} {on_error:>9} {:>9} {right:>6} {:>10}", "mean", "on clean", "malformed")];
    for r in rows {
        let name = format!("{}{}", r.policy, if r.is_constant { " *" } else { "" });
        let (right, malformed) = (100.0 * r.right_rate, 100.0 * r.malformed_rate);
        let rewards = format!("{:>+7.2} {:>+9.2} {:>+9.2}", r.mean_reward, r.mean_on_error, r.mean_on_clean);
        let line = format!("{name:54} {rewards} {right:>5.0}% {malformed:>9.0}%");
        let is_red = failures.iter().any(|failure| failure.policy == r.policy);
        lines.push(if is_red { paint(line) } else { line });
    }
    lines.extend(failures.iter().map(|failure| paint(format!("FAILS: {}", failure.why))));
    lines.extend(best_constant(rows).map(|best| format!("best constant policy {best:+.2}")));
    let summary = if failures.is_empty() { "honesty pays best" } else { "this scheme can be gamed" };
    lines.push(if failures.is_empty() { summary.to_owned() } else { paint(summary.to_owned()) });
    lines.join("\n") + "\n"
}
