//! A run without a screen: plain lines, or one JSON object a line.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::{
    attach::protocol::Level,
    eval::Scores,
    runner::{
        self, Ending, Options, Output,
        signals::{UNFINISHED, exit_code},
    },
    task::{Quadrant, StepReport},
};

pub fn run(options: Options, as_json: bool) -> Result<ExitCode> {
    let steps = options.config.steps;
    let (outputs, trainer) = runner::start(options)?;
    let mut evals: Vec<(String, Scores)> = Vec::new();
    for output in outputs {
        if let Output::Eval { name, scores, .. } | Output::Recalled { name, scores } = &output {
            evals.push((name.clone(), (**scores).clone()));
        }
        if as_json { print_json(&output) } else { print_line(&output, steps) }
    }
    let ending = match trainer.join() {
        Ok(ending) => ending?,
        Err(_) => anyhow::bail!("the training thread panicked; this is a defect of the program"),
    };
    if ending == Ending::Finished && !as_json {
        summary(&evals);
    }
    Ok(match ending {
        Ending::Finished | Ending::Stopped => ExitCode::SUCCESS,
        Ending::Signalled(signal) => ExitCode::from(exit_code(signal)),
        Ending::OutOfTime => ExitCode::from(UNFINISHED),
    })
}

/// One line for whoever reads. A terminal or a pipe that is gone does not end a training.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn print_line(output: &Output, steps: u32) {
    match output {
        Output::Remark { level: Level::Info, message } => say(message),
        Output::Remark { message, .. } => {
            let _ = writeln!(io::stderr(), "{message}");
        }
        Output::Warmup { done, total } if done == total || done.is_multiple_of(10) => say(&format!("warm-up {done}/{total}")),
        Output::Warmup { .. } | Output::Eval { .. } | Output::Recalled { .. } => {}
        Output::Step(report) => {
            say(&step_line(report, steps));
            left_out_line(report).iter().for_each(|line| say(line));
        }
    }
}

fn step_line(report: &StepReport, steps: u32) -> String {
    let metric = |key: &str| report.metrics.get(key).copied().unwrap_or(f64::NAN);
    let quadrants: Vec<String> =
        Quadrant::ALL.iter().map(|q| format!("{} {:+.2}", q.code(), report.quadrant(*q).reward_mean())).collect();
    let seconds: f64 = report.timings.iter().map(|t| t.seconds).sum();
    format!(
        "step {}/{steps}  reward {:+.3}  ({})  accuracy {:.0}%  malformed {:.0}%  KL {:.4}  entropy {:.3}  {:.0} tokens  {seconds:.1} s",
        report.step,
        metric("reward"),
        quadrants.join("  "),
        100.0 * metric("accuracy"),
        100.0 * metric("malformed_rate"),
        metric("kl"),
        metric("entropy"),
        metric("completion_tokens"),
    )
}

/// What the Scribe's gates, hand labels and the difficulty window refused, by quadrant and reason.
fn left_out_line(report: &StepReport) -> Option<String> {
    let list = |what: &str, counts: &BTreeMap<String, u32>| {
        let counts: Vec<String> = counts.iter().map(|(why, n)| format!("{why} {n}")).collect();
        (!counts.is_empty()).then(|| format!("{what} {}", counts.join(", ")))
    };
    let parts: Vec<String> =
        [list("rejected", &report.rejections), list("left out", &report.dropped)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("  {}", parts.join("; ")))
}

fn print_json(output: &Output) {
    let value = match output {
        Output::Remark { level, message } => json!({ "event": "log", "level": level, "message": message }),
        Output::Warmup { done, total } => json!({ "event": "warmup", "done": done, "total": total }),
        Output::Eval { step, name, scores } => json!({ "event": "eval", "name": name, "step": step, "scores": scores }),
        Output::Step(report) => step_json(report),
        Output::Recalled { .. } => return,
    };
    say(&value.to_string());
}

fn step_json(report: &StepReport) -> Value {
    let quadrants: Map<String, Value> = Quadrant::ALL
        .iter()
        .map(|q| {
            let s = report.quadrant(*q);
            let stats = json!({
                "n": s.n_rollouts, "reward": s.reward_mean(), "accuracy": s.accuracy(), "false_positives": s.false_positives,
                "false_negatives": s.false_negatives, "malformed": s.malformed,
            });
            (q.code().to_owned(), stats)
        })
        .collect();
    let phases: Map<String, Value> = report
        .timings
        .iter()
        .map(|t| {
            let rate = if t.tokens > 0 && t.seconds > 0.0 { json!(t.tokens as f64 / t.seconds) } else { Value::Null };
            (t.phase.name().to_owned(), json!({ "seconds": t.seconds, "tokens": t.tokens, "tokens_per_second": rate }))
        })
        .collect();
    json!({ "event": "step", "step": report.step, "quadrants": quadrants, "metrics": report.metrics, "phases": phases, "rejections": report.rejections, "dropped": report.dropped })
}

/// What the run did to the held-out score.
fn summary(evals: &[(String, Scores)]) {
    for (name, scores) in evals {
        say(&format!("\nheld-out, {name}:"));
        scores.lines().iter().for_each(|line| say(&format!("  {line}")));
    }
}
