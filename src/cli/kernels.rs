//! `medserl kernels`: every operation of a device against the CPU's, and what our kernels gain; for whoever has a GPU at hand.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::{
    config::Place,
    model::{
        kernels::check::{Row, check},
        place,
    },
};

#[derive(clap::Args)]
pub struct Args {
    /// The device to check: cuda, cuda:N, or cpu/composed for the GPU's path without a GPU
    #[arg(long)]
    device: Place,
    /// Token rows of an operation
    #[arg(long, default_value_t = 512)]
    rows: usize,
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let (device, ops) = place::open(args.device)?;
    let rows = check(ops, &device, args.rows.max(4))?;
    if args.json {
        println!("{}", json!({ "device": args.device, "rows": rows }));
    } else {
        println!("| operation | values | difference | allowed | | ms | composed ms |\n|---|---|---|---|---|---|---|");
        rows.iter().for_each(|row| println!("{}", line(row)));
    }
    let failed = rows.iter().filter(|r| !r.passed).count();
    eprintln!("{}", if failed == 0 { "all agree with the CPU".to_owned() } else { format!("{failed} DISAGREE with the CPU") });
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(row: &Row) -> String {
    let verdict = if row.passed { "ok" } else { "FAIL" };
    let composed = row.composed_ms.map_or("-".to_owned(), |ms| format!("{ms:.3}"));
    let Row { what, n_values, difference, allowed, ms, .. } = row;
    format!("| {what} | {n_values} | {difference:.1e} | {allowed:.0e} | {verdict} | {ms:.3} | {composed} |")
}
