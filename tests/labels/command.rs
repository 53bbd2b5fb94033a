//! `medserl label` without a terminal: decisions from a file, statistics, merging.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use medserl::{
    config::RunConfig,
    store::{RunMeta, Store, read_labels},
    task::{Quadrant, Sample, StepReport},
};

use super::fixture::sample;

struct Home(tempfile::TempDir);

impl Home {
    /// A data folder with one run of one step of eight samples.
    fn new() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        let dir = home.run_dir();
        let mut store = Store::create(&dir).unwrap();
        let (id, config_toml) = ("night-s1".to_owned(), RunConfig::default().to_toml().unwrap());
        fs::write(dir.join("experiment.toml"), &config_toml).unwrap();
        let text = String::new;
        let meta = RunMeta {
            id,
            name: text(),
            model: text(),
            seed: 1,
            steps_total: 1,
            config_toml,
            program_version: text(),
            started_unix_s: 1,
        };
        store.begin_run(&meta).unwrap();
        store.commit_step(&StepReport { step: 1, ..StepReport::default() }, &samples(), &[]).unwrap();
        home
    }

    fn run_dir(&self) -> PathBuf {
        self.0.path().join("runs/night-s1")
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.path().join(name), text).unwrap();
        name.to_owned()
    }

    /// Exit code, standard output, standard error.
    fn label(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_medserl"));
        command.arg("label").args(args).env("MEDSERL_HOME", self.0.path()).env("USER", "ann").current_dir(self.0.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let (code, out, err) = self.label(args);
        assert_eq!(code, Some(0), "{out}{err}");
        out
    }

    #[track_caller]
    fn fails(&self, args: &[&str], mentions: &[&str]) {
        let (code, out, err) = self.label(args);
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(mentions.iter().all(|part| err.contains(part)), "{err:?} does not mention all of {mentions:?}");
    }
}

fn samples() -> Vec<Sample> {
    (0..8).map(|i| sample(Quadrant::ALL[i as usize % 4], 1, i)).collect()
}

const DECISIONS: &str = concat!(
    "{\"sample\": \"AE-0001-00\", \"decision\": \"accept\"}\n",
    "{\"sample\": \"SI-0001-03\", \"decision\": {\"reject\": \"no_error\"}, \"remark\": \"same meaning\"}\n",
    "{\"sample\": \"SI-0001-07\", \"decision\": {\"amend\": {\"kind\": \"treatment\"}}}\n",
);

#[test]
fn decisions_go_into_the_run_and_out_again_as_figures() {
    let home = Home::new();
    let file = home.write("d.jsonl", DECISIONS);
    let out = home.done(&["--from", &file]);
    assert!(out.contains("3 decisions written") && out.contains("0 stood there already"), "{out}");
    let out = home.done(&["night", "--from", &file]);
    assert!(out.contains("0 decisions written") && out.contains("3 stood there already"), "{out}");
    let kept = read_labels(&home.run_dir().join("labels.jsonl")).unwrap();
    assert_eq!((kept.entries.len(), kept.faults.len()), (3, 0));
    home.done(&["--from", &file, "--annotator", "bob"]);
    let out = home.done(&["stats"]);
    assert!(out.contains("6 labels of 3 samples") && out.contains("ann and bob, 3 reviews in common: agree 100.0%"), "{out}");
    let stats: serde_json::Value = serde_json::from_str(&home.done(&["stats", "night-s1", "--json"])).unwrap();
    assert_eq!((&stats["n_labels"], &stats["quadrants"][3]["rejected"]), (&6.into(), &1.into()));
    assert_eq!(stats["quadrants"][0]["precision"], 1.0);
}

#[test]
fn label_files_merge_and_are_reported_together() {
    let home = Home::new();
    let file = home.write("d.jsonl", DECISIONS);
    home.done(&["--from", &file]);
    fs::copy(home.run_dir().join("labels.jsonl"), home.0.path().join("copy.jsonl")).unwrap();
    home.done(&["--from", &file, "--annotator", "bob"]);
    let ours = home.run_dir().join("labels.jsonl");
    let ours = ours.to_str().unwrap();
    let out = home.done(&["merge", ours, "copy.jsonl", "--out", "all.jsonl"]);
    assert!(out.contains("6 entries of 2 files") && out.contains("3 were there twice"), "{out}");
    assert!(home.done(&["stats", "all.jsonl", "copy.jsonl"]).contains("6 labels of 3 samples"));
    home.fails(&["merge", ours, "--out", "all.jsonl"], &["all.jsonl", "exists"]);
    home.fails(&["stats", "none"], &["none"]);
    let out = home.done(&["night", "--from", "all.jsonl"]);
    assert!(out.contains("0 decisions written"), "a label file given back to its run: {out}");
}

#[test]
fn a_file_of_samples_is_labelled_beside_itself() {
    let home = Home::new();
    let lines: Vec<String> = samples().iter().map(|s| serde_json::to_string(s).unwrap()).collect();
    home.write("odd.jsonl", &lines.join("\n"));
    let file = home.write("d.jsonl", DECISIONS);
    home.done(&["odd.jsonl", "--from", &file]);
    assert_eq!(read_labels(&home.0.path().join("odd.labels.jsonl")).unwrap().entries.len(), 3);
    assert!(!Path::new(&home.run_dir().join("labels.jsonl")).exists());
    home.write("odd.jsonl", "{}");
    home.fails(&["odd.jsonl", "--from", &file], &["odd.jsonl:1", "sample"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let home = Home::new();
    home.fails(&[], &["terminal", "--from"]);
    home.fails(&["night", "--from", "gone.jsonl"], &["gone.jsonl"]);
    let bad = home.write("bad.jsonl", &format!("{DECISIONS}{{\"sample\": \"SI-0009-03\", \"decision\": \"accept\"}}\n"));
    home.fails(&["night", "--from", &bad], &["bad.jsonl:4", "SI-0009-03"]);
    assert_eq!(read_labels(&home.run_dir().join("labels.jsonl")).unwrap().entries, [], "all of a file or nothing");
    home.fails(&["day", "--from", &bad], &["day"]);
    home.fails(&["stats", "bad.jsonl"], &["bad.jsonl:1", "no label file"]);
}
