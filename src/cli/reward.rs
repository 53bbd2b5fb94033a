//! `medserl reward`: JSON lines in, the same with verdict and reward out.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    config::{ConfigError, RunConfig},
    task::{Answer, Label, Note, Rules, Scheme, StopReason, Truth, reward, verdict},
};

/// Reward schemes by the names of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemeName {
    Spec,
    Strict,
    Full,
    Majority,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Scheme {
        match name {
            SchemeName::Spec => Scheme::Spec,
            SchemeName::Strict => Scheme::Strict,
            SchemeName::Full => Scheme::Full,
            SchemeName::Majority => Scheme::Majority,
        }
    }
}

// Which reward is meant: a scheme with the default weights, or an experiment's own. (A doc comment would replace the command's.)
#[derive(clap::Args)]
pub struct RulesArgs {
    /// Reward scheme [default: strict, or the experiment's]
    #[arg(long, value_enum)]
    scheme: Option<SchemeName>,
    /// Take scheme and weights from this experiment file
    #[arg(long, value_name = "EXP.toml")]
    experiment: Option<PathBuf>,
    /// Override a value, such as reward.location=1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl RulesArgs {
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        let mut config = match &self.experiment {
            Some(path) => RunConfig::load(path, &self.overrides)?,
            None => RunConfig::parse(Path::new("the defaults"), "", &self.overrides)?,
        };
        if let Some(scheme) = self.scheme {
            config.reward.scheme = scheme.into();
        }
        Ok(config.reward.rules(config.doctor.max_tokens))
    }
}

const LINES: &str = r#"Each line of standard input is {"completion": TEXT, "label": LABEL}, and may have
  "note"    the note that was read; scheme full needs it where the label is an error
  "stop"    "length" where the completion ran out of tokens
  "tokens"  the completion's length, for the overlong penalty
Part "pair" needs the other completions of a step and is not paid here."#;

#[derive(clap::Args)]
#[command(after_help = LINES)]
pub struct Args {
    #[command(flatten)]
    rules: RulesArgs,
}

/// One line of input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    completion: String,
    label: Label,
    note: Option<Note>,
    stop: Option<StopReason>,
    #[serde(default)]
    tokens: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let rules = args.rules.rules()?;
    if rules.scheme == Scheme::Majority {
        bail!("scheme majority compares the completions of one note; lines are scored one by one: use strict, full or spec");
    }
    let mut out = std::io::stdout().lock();
    for (i, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("cannot read standard input")?;
        if !line.trim().is_empty() {
            let judged = judge(&rules, &line).with_context(|| format!("line {}", i + 1))?;
            writeln!(out, "{judged}")?;
        }
    }
    Ok(())
}

fn judge(rules: &Rules, line: &str) -> Result<Value> {
    let Line { completion, label, note, stop, tokens } =
        serde_json::from_str(line).context("expected {\"completion\": text, \"label\": label}")?;
    if rules.scheme == Scheme::Full && label.is_error() && note.is_none() {
        bail!("scheme full measures the correction against the error sentence: add \"note\" to the line");
    }
    let note = note.unwrap_or_else(|| Note { id: String::new(), group: String::new(), sentences: Vec::new() });
    let verdict = verdict::read(&completion, stop.unwrap_or(StopReason::EndOfTurn));
    let answer = Answer { text: &completion, n_tokens: tokens, verdict: &verdict };
    let reward = reward::score(rules, Truth { note: &note, label: &label }, answer);
    Ok(json!({ "verdict": verdict, "reward": reward.total(), "parts": reward }))
}
