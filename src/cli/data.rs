//! `medserl data check`: what a data file holds, and what had to be mended.

use std::path::PathBuf;

use anyhow::Result;

use crate::data;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Read a MEDEC CSV or pairs JSONL and report on it
    Check {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> Result<()> {
    let Command::Check { file, json } = &args.command;
    let (_, report) = data::load(file)?;
    if *json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.lines().iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
