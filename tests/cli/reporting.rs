//! What a run and the commands beside it report.

use serde_json::Value;

use super::program::{Home, demo};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn a_headless_demo_reports_every_step_and_a_finished_one_ends_at_once() {
    let home = Home::new();
    let first = home.run(&demo("1")).done();
    let steps = first.events("step");
    assert_eq!(steps.len(), 1);
    let step = &steps[0];
    assert_eq!(step["step"], 1);
    for quadrant in ["AE", "AS", "SD", "SI"] {
        assert_eq!(step["quadrants"][quadrant]["n"], 2, "{step}");
        assert!(step["quadrants"][quadrant]["reward"].is_f64(), "{step}");
    }
    for metric in ["reward", "kl", "entropy", "clip_fraction", "grad_norm", "loss", "accuracy"] {
        assert!(step["metrics"][metric].is_f64(), "{metric} is missing: {step}");
    }
    assert!(step["metrics"]["entropy"].as_f64().unwrap() > 0.0);
    for phase in ["scribe", "doctor", "update"] {
        assert!(step["phases"][phase]["tokens_per_second"].as_f64().unwrap() > 0.0, "{phase}: {step}");
    }
    let names: Vec<Value> = first.events("eval").into_iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, ["before", "warm", "after"]);

    let again = home.run(&demo("1")).done();
    assert!(again.out.contains("all 1 steps are done"), "{}", again.out);
    assert!(again.events("step").is_empty() && again.events("eval").is_empty(), "{}", again.out);

    let runs = json(&home.run(&["runs", "--json"]).done().out);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let (run, status) = (&runs[0], json(&home.run(&["status", "--json"]).done().out));
    for (of, key, value) in
        [(run, "id", "demo-s1"), (run, "state", "finished"), (&status, "id", "demo-s1"), (&status, "state", "finished")]
    {
        assert_eq!(of[key], value, "{of}");
    }
    for of in [run, &status] {
        assert_eq!((&of["alive"], &of["step"], &of["steps_total"]), (&false.into(), &1.into(), &1.into()), "{of}");
    }
    assert!(run["reward"].is_f64() && run["broken"].is_null(), "{run}");
    assert_eq!(status["evals"].as_array().unwrap().len(), 3);
    let plain = home.run(&["runs"]).done().out + &home.run(&["status", "demo"]).done().out;
    assert!(plain.contains("demo-s1") && plain.contains("step 1 of 1"), "{plain}");
}

#[test]
fn a_finished_run_given_more_steps_goes_on_and_is_scored_again() {
    let home = Home::new();
    home.run(&demo("1")).done();
    let longer = home.run(&demo("2")).done();
    let steps: Vec<Value> = longer.events("step").into_iter().map(|e| e["step"].clone()).collect();
    assert_eq!(steps, [2]);
    let evals: Vec<(Value, Value)> = longer.events("eval").into_iter().map(|e| (e["name"].clone(), e["step"].clone())).collect();
    assert_eq!(evals, [("after".into(), 2.into())]);
    let status = json(&home.run(&["status", "--json"]).done().out);
    assert_eq!((&status["step"], &status["steps_total"]), (&2.into(), &2.into()), "{status}");
}

#[test]
fn plain_lines_are_for_people() {
    let home = Home::new();
    let args: Vec<&str> = demo("1").into_iter().filter(|arg| *arg != "--json").collect();
    let out = home.run(&args).done().out;
    assert!(out.lines().any(|line| line.starts_with("step 1/1  reward ")), "{out}");
    assert!(out.contains("held-out, before:") && out.contains("held-out, after:"), "{out}");
    let log = std::fs::read_to_string(home.run_dir().join("trainer.log")).unwrap();
    assert!(log.contains("INFO  [") && log.contains("] all 1 steps are done"), "{log}");
}

#[test]
fn starting_over_puts_the_earlier_run_aside() {
    let home = Home::new();
    home.run(&demo("1")).done();
    let mut fresh = demo("1");
    fresh.push("--fresh");
    assert_eq!(home.run(&fresh).done().events("step").len(), 1);
    let runs = json(&home.run(&["runs", "--json"]).done().out);
    assert_eq!(runs.as_array().unwrap().len(), 2, "{runs}");
}
