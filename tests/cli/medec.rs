//! A run on MEDEC files: warm-up, a step, held-out scores, and the guard between the files.

use serde_json::Value;

use super::program::{Home, SMALL};

const HEADER: &str =
    "Text ID,Text,Sentences,Error Flag,Error Type,Error Sentence ID,Error Sentence,Corrected Sentence,Corrected Text";

/// (type, first sentence, wrong second sentence, right second sentence)
type Case = (&'static str, &'static str, &'static str, &'static str);

const TRAIN: [Case; 6] = [
    (
        "diagnosis",
        "A 61-year-old man has crushing chest pain and sweats.",
        "Unstable asthma is diagnosed.",
        "Myocardial infarction is diagnosed.",
    ),
    (
        "management",
        "A girl of nine fell from a swing on her wrist.",
        "She is told to swim daily.",
        "An x-ray of the wrist is taken.",
    ),
    (
        "treatment",
        "An infant has had barking cough since yesterday evening.",
        "Surgery is planned at once.",
        "Humid air and dexamethasone are given.",
    ),
    ("pharmacotherapy", "Blood pressure stays high in a woman with gout.", "Hydrochlorothiazide is begun.", "Losartan is begun."),
    (
        "causalOrganism",
        "Three hikers drank from a stream and have greasy stools.",
        "Cultures grow Listeria.",
        "Microscopy shows Giardia lamblia.",
    ),
    (
        "diagnosis",
        "The student complains of stiff neck, fever and light hurting his eyes.",
        "He has a tension headache.",
        "He has meningitis.",
    ),
];
const HELD_OUT: [Case; 2] = [
    (
        "treatment",
        "A farmer was bitten by a stray dog that ran away.",
        "Only a bandage is applied.",
        "Rabies vaccine and immunoglobulin are given.",
    ),
    (
        "causalOrganism",
        "A toddler scratches the anus every night.",
        "Tape shows hookworm.",
        "Tape shows Enterobius vermicularis.",
    ),
];

/// Each case as an error note and its clean sibling.
fn csv(prefix: &str, cases: &[Case]) -> String {
    let mut text = format!("{HEADER}\n");
    let row = |fields: [&str; 9]| fields.map(|f| format!("\"{f}\"")).join(",") + "\n";
    for (i, (kind, first, wrong, right)) in cases.iter().enumerate() {
        let (id, clean_id) = (format!("{prefix}-{}", 2 * i), format!("{prefix}-{}", 2 * i + 1));
        let (note, fixed) = (format!("{first} {wrong}"), format!("{first} {right}"));
        text += &row([&id, &note, &format!("0 {first}\n1 {wrong}"), "1", kind, "1", wrong, right, &fixed]);
        text += &row([&clean_id, &fixed, &format!("0 {first}\n1 {right}"), "0", "NA", "-1", "NA", "NA", "NA"]);
    }
    text
}

fn experiment(home: &Home) -> String {
    let text = "name = \"small\"\nmodel = \"nano\"\n[data]\nsource = \"medec\"\ntrain = \"train.csv\"\nvalidation = \"val.csv\"\n\
                [sft]\nnotes = 4\nbatch = 4\nlearning_rate = 1e-3\n";
    home.write("exp.toml", text)
}

fn args(experiment: &str) -> Vec<&str> {
    let mut args = vec!["run", experiment, "--headless", "--json", "--steps", "1"];
    SMALL.iter().for_each(|set| args.extend(["--set", set]));
    args
}

#[test]
fn an_experiment_on_medec_files_runs_from_end_to_end() {
    let home = Home::new();
    home.write("train.csv", csv("ms-train", &[TRAIN.as_slice(), &HELD_OUT[..1]].concat()));
    home.write("val.csv", csv("ms-val", &HELD_OUT));
    let done = home.run(&args(&experiment(&home))).done();
    let steps = done.events("step");
    assert_eq!(steps.len(), 1);
    assert!(["AE", "AS", "SD", "SI"].iter().all(|q| steps[0]["quadrants"][q]["n"] == 2), "{}", steps[0]);
    assert_eq!(done.events("warmup").len(), 1);
    let evals = done.events("eval");
    assert_eq!(evals.iter().map(|e| e["name"].clone()).collect::<Vec<_>>(), ["before", "warm", "after"]);
    assert!(evals.iter().all(|e| e["scores"]["n_notes"] == 4 && e["scores"]["n_pairs"] == 2), "{evals:?}");
    // The vignette that stands in both files trains nobody.
    assert_eq!(done.out.matches("left out of training: ms-train-1").count(), 2, "{}", done.out);
    // The experiment is kept with absolute paths, so that it continues from anywhere.
    let kept = std::fs::read_to_string(home.path("runs/small-s1/experiment.toml")).unwrap();
    assert!(kept.contains(home.path("train.csv").to_str().unwrap()), "{kept}");

    let report = home.run(&["data", "check", "train.csv", "--json"]).done().out;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["notes"], &report["errors"]), (&14.into(), &7.into()), "{report}");
}

#[test]
fn medec_files_that_may_not_or_cannot_train_are_named() {
    let home = Home::new();
    let experiment = experiment(&home);
    let refused = |named: &[&str]| {
        let outcome = home.run(&args(&experiment));
        assert_eq!(outcome.code, Some(1), "{}", outcome.out);
        assert!(outcome.err.starts_with("error: ") && !outcome.err.contains("panicked"), "{}", outcome.err);
        named.iter().for_each(|n| assert!(outcome.err.contains(n), "{n} is not named: {}", outcome.err));
    };
    home.write("val.csv", csv("ms-val", &HELD_OUT));
    refused(&["train.csv", "cannot read"]);
    home.write("train.csv", csv("ms-train", &TRAIN).replacen("Error Flag", "Flaw", 1));
    refused(&["train.csv", "missing columns", "Error Flag"]);
    home.write("train.csv", csv("ms-test", &TRAIN));
    refused(&["train.csv", "ms-test-0", "evaluation only"]);
    home.write("train.csv", b"Text ID,Text\nx,\xff\xfe\n");
    refused(&["train.csv", "UTF-8"]);
    home.write("train.csv", "");
    refused(&["train.csv"]);
    home.write("train.csv", csv("ms-train", &TRAIN).replacen("\"diagnosis\"", "\"astrology\"", 1));
    refused(&["train.csv:2", "astrology"]);
    // The file is put right, and the same command runs.
    home.write("train.csv", csv("ms-train", &TRAIN));
    home.run(&args(&experiment)).done();
}
