//! Runs the built binary with a data folder of its own.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use medserl::{store::Store, task::StepReport};
use serde_json::Value;
use tempfile::TempDir;

/// Settings that make a step a matter of a second.
pub const SMALL: [&str; 9] = [
    "doctor.samples=4",
    "doctor.completions=2",
    "doctor.max_tokens=24",
    "scribe.max_tokens=24",
    "scribe.max_attempts=1",
    "eval.notes=4",
    "data.clinic_groups=40",
    "lora.rank=2",
    "checkpoint.every=2",
];

/// A folder that is working directory and data folder in one.
pub struct Home(pub TempDir);

pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_medserl"));
        // Whatever goes wrong, nothing is fetched.
        command.args(args).env("MEDSERL_HOME", self.0.path()).env("HF_HUB_OFFLINE", "1").current_dir(self.0.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end. Neither stream may ever hold an escape byte: both are pipes.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, &[])
    }

    /// [`Home::run`] with more in the environment.
    pub fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Outcome {
        let output = self.command(args).envs(environment.iter().copied()).output().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            assert!(!stream.contains(&0x1b), "{args:?} writes escape codes into a pipe: {}", String::from_utf8_lossy(stream));
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()));
        Running { child, lines }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.path("runs/demo-s1")
    }

    /// The committed steps of the demo run, without their timings, and the bytes of the adapter saved after the last.
    pub fn learnt(&self) -> (Vec<StepReport>, Vec<u8>) {
        let store = Store::open_read_only(&self.run_dir()).unwrap();
        let mut reports = store.reports(0).unwrap();
        reports.iter_mut().for_each(|r| r.timings.clear());
        let last = store.last_step().unwrap().unwrap();
        let adapter = self.run_dir().join(format!("checkpoints/step-{last}/adapter_model.safetensors"));
        (reports, std::fs::read(&adapter).unwrap_or_else(|e| panic!("{}: {e}", adapter.display())))
    }
}

impl Outcome {
    pub fn done(self) -> Outcome {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    pub fn events(&self, kind: &str) -> Vec<Value> {
        let all = self.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}")));
        all.filter(|v| v["event"] == kind).collect()
    }
}

/// A program that is still running; killed where a test gives up on it.
pub struct Running {
    pub child: Child,
    /// `None` once nobody reads any more.
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Closes the pipe, as a reader does that ends.
    pub fn stop_reading(&mut self) {
        self.lines = None;
    }

    /// Reads on until a line of JSON with this event; its value.
    pub fn wait_for(&mut self, event: &str) -> Value {
        let mut line = String::new();
        while self.lines.as_mut().unwrap().read_line(&mut line).unwrap() > 0 {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            if value["event"] == event {
                return value;
            }
            line.clear();
        }
        panic!("the program ended without a {event} event");
    }

    /// Reads what is left and waits for the end; the exit code.
    pub fn end(mut self) -> Option<i32> {
        let mut rest = String::new();
        if let Some(lines) = &mut self.lines {
            std::io::Read::read_to_string(lines, &mut rest).unwrap();
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `demo --headless --json` with small settings.
pub fn demo(steps: &str) -> Vec<&str> {
    let mut args = vec!["demo", "--headless", "--json", "--steps", steps];
    SMALL.iter().for_each(|set| args.extend(["--set", set]));
    args
}

/// [`demo`] with more settings.
pub fn with<'a>(steps: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let mut args = demo(steps);
    sets.iter().for_each(|set| args.extend(["--set", set]));
    args
}

/// [`demo`] with a model of a few thousand weights: a step takes a fraction of a second, and a run with a warm-up a few.
pub fn tiny(steps: &str, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = demo(steps).into_iter().map(str::to_owned).collect();
    let model = format!("model={}", crate::tiny_folder::folder().display());
    let sets = [model.as_str(), "prompts=brief", "algo.batch=4", "sft.notes=16", "sft.batch=2", "doctor.max_tokens=12"];
    for set in sets.iter().chain(more) {
        args.extend(["--set".to_owned(), (*set).to_owned()]);
    }
    args
}

/// Arguments as the calls take them.
pub fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}
