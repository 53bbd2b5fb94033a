//! `medserl reward`: JSON lines in, the same with verdict and reward out.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use crate::task::{Label, Scheme, reward, verdict};

/// Reward schemes by the names of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemeName {
    Spec,
    Strict,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Scheme {
        match name {
            SchemeName::Spec => Scheme::Spec,
            SchemeName::Strict => Scheme::Strict,
        }
    }
}

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value = "strict")]
    scheme: SchemeName,
}

/// One line of input: `{"completion": "...", "label": {"is": "clean"}}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    completion: String,
    label: Label,
}

pub fn run(args: &Args) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (i, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("cannot read standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let Line { completion, label } = serde_json::from_str(&line)
            .with_context(|| format!("line {}: expected {{\"completion\": text, \"label\": label}}", i + 1))?;
        let verdict = verdict::parse(&completion);
        let reward = reward::score(args.scheme.into(), &completion, &verdict, &label);
        writeln!(out, "{}", json!({ "verdict": verdict, "reward": reward.total(), "parts": reward }))?;
    }
    Ok(())
}
