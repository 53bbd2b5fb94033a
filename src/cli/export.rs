//! `medserl export`: what a run learnt, in the formats of other programs.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{
    config::{Precision, RunConfig},
    model::{
        files::Files,
        hub::{self, Location},
        known::spec_of,
        lora::{Adapter, Layout},
        merge::{WrittenAs, write_merged},
    },
    runner::RunDir,
    store::{Store, resolve_run, runs_root},
    train::checkpoint,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The adapter as a PEFT folder
    Adapter {
        #[command(flatten)]
        from: From,
        /// A folder that does not exist yet
        #[arg(long)]
        out: PathBuf,
        /// The class that will load the base model: its names for the layers become the adapter's
        #[arg(long, value_enum, default_value = "causal")]
        layout: LayoutName,
    },
    /// Base model and adapter merged, as a folder that transformers loads
    Merged {
        #[command(flatten)]
        from: From,
        /// A folder that does not exist yet
        #[arg(long)]
        out: PathBuf,
        /// Write f32 instead of bf16
        #[arg(long)]
        f32: bool,
    },
    /// Every rollout as one JSON object a line: note, label, completion, verdict, reward parts, advantage
    Rollouts {
        /// The run's id or the start of it; the newest where left out
        run: Option<String>,
        /// A file that does not exist yet
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
struct From {
    /// The run's id or the start of it; the newest where left out
    run: Option<String>,
    /// The checkpoint of this step; the newest valid one where left out
    #[arg(long)]
    step: Option<u32>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LayoutName {
    /// Gemma3ForCausalLM
    Causal,
    /// Gemma3ForConditionalGeneration, transformers 4.52 or newer
    Conditional,
    /// Gemma3ForConditionalGeneration before that
    Legacy,
}

const CARD: &str =
    "Made by MedSeRL. Research only: nothing here is medical advice, and no output may be used for the care of a person.\n";

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Adapter { from, out, layout } => {
            let (config, folder) = from.checkpoint()?;
            let layout = match layout {
                LayoutName::Causal => Layout::Causal,
                LayoutName::Conditional => Layout::Conditional,
                LayoutName::Legacy => Layout::Legacy,
            };
            let adapter = Adapter::open(&spec_of(&config.model)?.0, &folder)?;
            new_folder(out)?;
            adapter.save_as(out, &config.model, layout)?;
            fs::write(out.join("README.md"), CARD)?;
            println!("{} from {}", out.display(), folder.display());
            Ok(())
        }
        What::Merged { from, out, f32 } => merged(from, out, if *f32 { WrittenAs::F32 } else { WrittenAs::Bf16 }),
        What::Rollouts { run, out } => rollouts(run.as_deref(), out),
    }
}

impl From {
    /// The run's experiment and the folder of the checkpoint asked for, verified.
    fn checkpoint(&self) -> Result<(RunConfig, PathBuf)> {
        let dir = RunDir(resolve_run(&runs_root()?, self.run.as_deref())?);
        let config = RunConfig::load(&dir.experiment(), &[])?;
        let mut refused = Vec::new();
        for (step, folder) in checkpoint::list(&dir.checkpoints()) {
            if self.step.is_some_and(|wanted| wanted != step) {
                continue;
            }
            match checkpoint::unfinished_warmup(&folder) {
                Ok(None) => return Ok((config, folder)),
                Ok(Some(_)) => refused.push(format!("{} is in the middle of its warm-up", folder.display())),
                Err(error) => refused.push(format!("{error:#}")),
            }
        }
        if let Some(step) = self.step.filter(|_| refused.is_empty()) {
            bail!("{} has no checkpoint of step {step}; medserl status lists what there is", dir.0.display());
        }
        ensure!(!refused.is_empty(), "{} has no checkpoint yet", dir.0.display());
        bail!("{} has no checkpoint that can be used: {}", dir.0.display(), refused.join("; "))
    }
}

fn new_folder(path: &Path) -> Result<()> {
    ensure!(!path.exists(), "{} exists already; name a folder that does not", path.display());
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn merged(from: &From, out: &Path, written: WrittenAs) -> Result<()> {
    let (config, folder) = from.checkpoint()?;
    let precision =
        if matches!(config.precision, Precision::Int8 | Precision::Int4) { Precision::Stored } else { config.precision };
    let files = Files::open(&config.model, precision, &mut super::to_stderr)?;
    let adapter = Adapter::load(&files.spec, &folder, files.weights.device())?;
    new_folder(out)?;
    write_merged(&files.spec, &files.weights, Some(&adapter), out, written)?;
    fs::write(out.join("tokenizer.json"), &files.tokenizer_json)?;
    if let Some(template) = &files.template {
        fs::write(out.join("chat_template.jinja"), template.text())?;
    }
    if let Location::Folder(source) = hub::locate(&config.model)? {
        for name in ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
            let source = source.join(name);
            if source.exists() {
                copy(&source, &out.join(name))?;
            }
        }
    }
    fs::write(out.join("README.md"), CARD)?;
    println!("{} from {} and {}", out.display(), config.model, folder.display());
    Ok(())
}

fn rollouts(run: Option<&str>, out: &Path) -> Result<()> {
    let dir = resolve_run(&runs_root()?, run)?;
    let store = Store::open_read_only(&dir)?;
    let file =
        File::options().write(true).create_new(true).open(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut writer = BufWriter::new(file);
    let mut n = 0;
    for step in 1..=store.last_step()?.unwrap_or(0) {
        for rollout in store.rollouts(step)? {
            let line = json!({
                "step": step, "sample": rollout.sample, "sibling": rollout.sibling, "completion": rollout.completion.text,
                "stop": rollout.completion.stop, "n_tokens": rollout.completion.tokens.len(), "verdict": rollout.verdict,
                "reward": rollout.reward, "reward_total": rollout.reward.total(), "advantage": rollout.advantage,
            });
            writeln!(writer, "{line}")?;
            n += 1;
        }
    }
    writer.flush()?;
    println!("{n} rollouts in {}", out.display());
    Ok(())
}
