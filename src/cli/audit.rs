//! `medserl audit`: what trivial and adversarial policies earn from a reward scheme.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::reward::SchemeName;
use crate::eval::{audit, audit_failures};

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value = "strict")]
    scheme: SchemeName,
    #[arg(long)]
    json: bool,
}

/// Exit code 1 where some policy is paid too well: a scheme that fails its audit should fail a script too.
pub fn run(args: &Args) -> Result<ExitCode> {
    let rows = audit(args.scheme.into());
    let failures = audit_failures(&rows);
    if args.json {
        let table: Vec<_> = rows
            .iter()
            .map(|r| {
                json!({ "policy": r.policy, "mean_reward": r.mean_reward, "on_error": r.mean_on_error, "on_clean": r.mean_on_clean,
                        "constant": r.is_constant, "malformed_rate": r.malformed_rate })
            })
            .collect();
        println!("{}", json!({ "rows": table, "failures": failures }));
    } else {
        println!("{:44} {:>7} {:>9} {:>9} {:>10}", "policy", "mean", "on error", "on clean", "malformed");
        for r in &rows {
            let percent = 100.0 * r.malformed_rate;
            println!(
                "{:44} {:>+7.2} {:>+9.2} {:>+9.2} {percent:>9.0}%",
                r.policy, r.mean_reward, r.mean_on_error, r.mean_on_clean
            );
        }
        failures.iter().for_each(|failure| println!("FAILS: {failure}"));
        println!("{}", if failures.is_empty() { "honesty pays best" } else { "this scheme can be gamed" });
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
