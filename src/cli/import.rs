//! `medserl import`: a run that begins from what another program learnt.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    config::RunConfig,
    model::{
        known::spec_of,
        lora::{Adapter, read_config},
    },
    runner::{RunDir, load_absolute},
    store::runs_root,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// A PEFT LoRA adapter becomes the start of a new run of an experiment
    Adapter {
        /// The folder with adapter_config.json and adapter_model.safetensors
        dir: PathBuf,
        /// The experiment to begin
        experiment: PathBuf,
        /// Override any key of the experiment
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// The run directory; by default the experiment's name and seed under the data folder
        #[arg(long)]
        run_dir: Option<PathBuf>,
    },
}

pub fn run(args: &Args) -> Result<()> {
    let What::Adapter { dir, experiment, set, run_dir } = &args.what;
    adapter(dir, experiment, set, run_dir.as_deref())
}

fn adapter(dir: &Path, experiment: &Path, set: &[String], run_dir: Option<&Path>) -> Result<()> {
    let mut config = RunConfig::load(experiment, set)?;
    load_absolute(&mut config, &std::env::current_dir()?);
    let path = dir.join("adapter_config.json");
    (config.lora.rank, config.lora.alpha) = read_config(&path)?;
    let adapter = Adapter::open(&spec_of(&config.model)?.0, dir)?;
    let run = match run_dir {
        Some(dir) => RunDir(std::path::absolute(dir)?),
        None => RunDir::of(&runs_root()?, &config)?,
    };
    ensure!(
        !run.0.exists(),
        "{} exists already; choose another name or seed (--set name=…), or another --run-dir",
        run.0.display()
    );
    // Rewritten in one spelling and f32, so that the run no longer depends on the folder it came from.
    let start = run.0.join("start");
    fs::create_dir_all(&start).with_context(|| format!("cannot create {}", start.display()))?;
    adapter.save(&start, &config.model)?;
    config.lora.from = Some(start);
    let file = run.0.join("imported.toml");
    fs::write(&file, config.to_toml()?).with_context(|| format!("cannot write {}", file.display()))?;
    println!("rank {}, alpha {}, {} matrices, into {}", adapter.rank, adapter.alpha, adapter.vars().len(), run.0.display());
    if let Some(base) = base_model(&path).filter(|base| *base != config.model) {
        println!("note: it was made for {base}, the experiment trains {}", config.model);
    }
    println!("medserl run {} --run-dir {}", file.display(), run.0.display());
    Ok(())
}

/// What the adapter says it was trained on.
fn base_model(path: &Path) -> Option<String> {
    let config: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    Some(config.get("base_model_name_or_path")?.as_str()?.to_owned())
}
