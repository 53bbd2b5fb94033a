//! `medserl parity DIR`: this build against a reference dump.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use serde_json::json;

use super::eval::precision;
use crate::{
    config::{Place, Precision},
    train::parity::{Row, compare},
};

#[derive(clap::Args)]
pub struct Args {
    /// A dump (a folder with expected.safetensors), or a folder of dumps
    dir: PathBuf,
    /// How the frozen weights are kept: stored, f32, bf16, int8 or int4
    #[arg(long, default_value = "stored", value_parser = precision)]
    precision: Precision,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Place::Cpu)]
    device: Place,
    #[arg(long)]
    json: bool,
}

const CONFIGS: [&str; 2] = ["config.json", "config.published.json"];

pub fn run(args: &Args) -> Result<ExitCode> {
    let dumps = dumps(&args.dir)?;
    let mut failed = 0;
    for dump in &dumps {
        for (config, model) in variants(dump)? {
            let rows = compare(args.device, dump, config, &model, args.precision)?;
            failed += rows.iter().filter(|r| !r.passed).count();
            if args.json {
                println!("{}", json!({ "dump": dump, "config": config, "model": model, "rows": rows }));
            } else {
                println!("{} ({config}, {model})", dump.display());
                rows.iter().for_each(|row| println!("{}", line(row)));
            }
        }
    }
    if !args.json {
        println!("{}", if failed == 0 { "parity holds".to_owned() } else { format!("parity FAILS in {failed} rows") });
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(row: &Row) -> String {
    let verdict = if row.passed { "ok" } else { "FAIL" };
    format!(
        "  {:24} {:7} values  max difference {:.2e}  allowed {:.2e}  {verdict}",
        row.what, row.n_values, row.max_difference, row.allowed
    )
}

fn dumps(dir: &Path) -> Result<Vec<PathBuf>> {
    if dir.join("expected.safetensors").exists() {
        return Ok(vec![dir.to_owned()]);
    }
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir)?.flatten().map(|e| e.path()).filter(|p| p.join("expected.safetensors").exists()).collect();
    found.sort();
    ensure!(!found.is_empty(), "{} holds no expected.safetensors and no folder with one", dir.display());
    Ok(found)
}

/// Every spelling of the configuration with every naming of the weights.
fn variants(dump: &Path) -> Result<Vec<(&'static str, String)>> {
    let mut models: Vec<String> = std::fs::read_dir(dump)?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| name.starts_with("model") && name.ends_with(".safetensors"))
        .collect();
    models.sort();
    let configs = CONFIGS.into_iter().filter(|c| dump.join(c).exists());
    Ok(configs.flat_map(|c| models.iter().map(move |m| (c, m.clone()))).collect())
}
