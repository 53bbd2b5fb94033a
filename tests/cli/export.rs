//! What a run learnt, carried out: the adapter folder, the merged model and the rollouts, each read back.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::program::{Home, demo};

/// Log-probs that `medserl score` gives one sequence.
fn score(home: &Home, args: &[&str]) -> Vec<f64> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_medserl"))
        .arg("score")
        .args(args)
        .env("MEDSERL_HOME", home.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{\"ids\": [2, 105, 300, 301, 999, 42, 7, 1500]}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    value["logprobs"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn far(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_run_is_carried_out_as_adapter_merged_model_and_rollouts() {
    let home = Home::new();
    let mut args = demo("1");
    // A rate at which one step shows.
    args.extend(["--set", "algo.learning_rate=0.05", "--set", "algo.warmup_ratio=0.0", "--set", "sft.notes=0"]);
    home.run(&args).done();
    home.run(&["export", "adapter", "--out", "adapter"]).done();
    home.run(&["export", "merged", "--f32", "--out", "merged"]).done();
    home.run(&["export", "merged", "--out", "rounded"]).done();
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let (base, adapted) = (score(&home, &[]), score(&home, &["--adapter", &path("adapter")]));
    assert_eq!(base.len(), 7);
    assert!(far(&base, &adapted) > 1e-3, "the step changed nothing: {base:?}");
    let (merged, rounded) = (score(&home, &["--model", &path("merged")]), score(&home, &["--model", &path("rounded")]));
    assert!(far(&merged, &adapted) < 1e-4, "{merged:?}, expected {adapted:?}");
    assert!(far(&rounded, &adapted) < 0.1 && far(&rounded, &adapted) > 0.0, "{rounded:?}, expected about {adapted:?}");
    assert!(std::fs::read_to_string(home.path("merged/README.md")).unwrap().contains("Research only"));

    home.run(&["export", "rollouts", "--out", "rollouts.jsonl"]).done();
    let text = std::fs::read_to_string(home.path("rollouts.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), 4 * 2);
    assert!(rows.iter().all(|r| r["step"] == 1 && r["sample"]["quadrant"].is_string() && r["completion"].is_string()));

    let again = home.run(&["export", "adapter", "--out", "adapter"]);
    assert!(again.code == Some(1) && again.err.contains("exists already"), "{}", again.err);
    let none = home.run(&["export", "adapter", "--step", "7", "--out", "other"]);
    assert!(none.code == Some(1) && none.err.contains("no checkpoint of step 7"), "{}", none.err);
}
