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

/// The same experiment on another model, with files that it can be run on; its path.
pub fn small_files(home: &Home, model: &std::path::Path) -> String {
    home.write("train.csv", csv("ms-train", &TRAIN));
    home.write("val.csv", csv("ms-val", &HELD_OUT));
    let path = experiment(home);
    let text = std::fs::read_to_string(&path).unwrap();
    home.write("exp.toml", text.replace("\"nano\"", &format!("{:?}\nprompts = \"brief\"", model.display().to_string())))
}

pub fn args(experiment: &str) -> Vec<&str> {
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

/// Verdicts on [`HELD_OUT`] as a submission: the first pair right, the second called clean twice.
fn submission() -> String {
    format!("ms-val-0 1 1 \"{}\"\nms-val-1 0 -1 NA\nms-val-2 0 -1 NA\nms-val-3 0 -1 NA\n", HELD_OUT[0].3)
}

#[test]
fn a_submission_is_scored_officially_and_beside_that() {
    let home = Home::new();
    home.write("val.csv", csv("ms-val", &HELD_OUT) + &",,,,,,,,\n".repeat(3));
    home.write("train.csv", csv("ms-train", &TRAIN));
    home.write("run.txt", submission() + "ms-val-9 1 1 x\nms-val-3 1.0 1 x\n");
    let args = ["eval", "score", "--reference", "val.csv", "--submission", "run.txt", "--train", "train.csv"];
    let json = home.run(&[args.as_slice(), &["--json"]].concat()).done();
    let value: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&value["flag_accuracy"], &value["sentence_accuracy"]), (&0.75.into(), &0.75.into()), "{value}");
    assert_eq!((&value["counters"]["scored_pairs"], &value["reference_empty_rows"]), (&1.into(), &3.into()));
    assert_eq!((&value["unknown"][0], &value["bad_lines"][0]["line"]), (&"ms-val-9".into(), &6.into()));
    assert_eq!((&value["beside"]["pair_accuracy"], &value["beside"]["n_pairs"]), (&0.5.into(), &2.into()));
    assert_eq!(value["beside"]["corrections"]["no_op_rate"], 0.0);
    assert!(value["beside"]["intervals"]["pair_accuracy"]["high"].is_f64());
    assert!(value["not_computed"].as_array().unwrap().iter().any(|n| n["metric"] == "BLEURT"), "{value}");
    let policies: Vec<&str> = value["baselines"].as_array().unwrap().iter().filter_map(|b| b["policy"].as_str()).collect();
    assert!(policies.len() == 4 && policies[2].starts_with("neighbour") && policies[3].starts_with("nearest"), "{policies:?}");
    let plain = home.run(&args).done();
    for part in
        ["flag accuracy      0.7500", "BLEURT             not computed", "pair accuracy", "always clean", "neighbour rule"]
    {
        assert!(plain.out.contains(part), "{part} is missing: {}", plain.out);
    }
    for part in ["ms-val-9", "line 6: the flag is a float", "empty rows of the reference, left out: 3"] {
        assert!(plain.err.contains(part), "{part} is missing: {}", plain.err);
    }
    // A file that is no submission of these notes has no score, not even 0.
    let other = home.run(&["eval", "score", "--reference", "val.csv", "--submission", "train.csv"]);
    assert!(
        other.code == Some(1) && other.out.is_empty() && other.err.contains("no line of train.csv is about a note of"),
        "{}",
        other.err
    );
    let missing = home.run(&["eval", "score", "--reference", "no.csv", "--submission", "run.txt"]);
    assert!(missing.code == Some(1) && missing.err.contains("no.csv"), "{}", missing.err);
}

#[test]
fn two_submissions_are_compared_on_the_same_notes() {
    let home = Home::new();
    home.write("val.csv", csv("ms-val", &HELD_OUT));
    home.write("before.txt", submission());
    home.write("after.txt", submission().replace("ms-val-2 0 -1 NA", "ms-val-2 1 1 \"Tape shows ascaris.\""));
    let args = ["eval", "compare", "before.txt", "after.txt", "--reference", "val.csv"];
    let json = home.run(&[args.as_slice(), &["--json"]].concat()).done();
    let value: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (&value["flags"]["won"], &value["flags"]["lost"], &value["flags"]["p_value"]),
        (&1.into(), &0.into(), &1.0.into())
    );
    let pairs = &value["differences"]["pair_accuracy"];
    assert_eq!((&pairs["before"], &pairs["after"]), (&0.5.into(), &1.0.into()), "{value}");
    assert!(pairs["interval"]["low"].is_f64());
    assert!(home.run(&args).done().out.contains("won 1, lost 0"));
    let blind = home.run(&args[..4]);
    assert!(blind.code == Some(1) && blind.err.contains("--reference"), "{}", blind.err);
}

#[test]
fn published_results_and_the_source_of_the_data_are_told() {
    let home = Home::new();
    let table = home.run(&["eval", "published"]).done().out;
    assert!(table.contains("best medical doctor") && table.contains("2412.19260") && table.contains("scope"), "{table}");
    let json: Value = serde_json::from_str(&home.run(&["eval", "published", "--json"]).done().out).unwrap();
    assert!(json["results"].as_array().unwrap().iter().all(|row| row["source"].is_string()), "{json}");
    let fetch = home.run(&["data", "fetch"]);
    assert_eq!(fetch.code, Some(1));
    for part in ["nothing was fetched", "CC BY 4.0", "github.com/abachaa/MEDEC", "data check"] {
        assert!(fetch.err.contains(part), "{part} is missing: {}", fetch.err);
    }
}

#[test]
fn a_file_is_divided_and_its_parts_share_nothing() {
    let home = Home::new();
    home.write("all.csv", csv("ms-train", &TRAIN));
    home.write("val.csv", csv("ms-val", &TRAIN[5..]));
    let args = ["data", "split", "all.csv", "--out", "parts", "--fraction", "0.34", "--apart-from", "val.csv"];
    let json = home.run(&[args.as_slice(), &["--json"]].concat()).done();
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&report["train"]["notes"], &report["validation"]["notes"]), (&6.into(), &4.into()), "{report}");
    assert_eq!(report["removed"].as_array().map(Vec::len), Some(2), "{report}");
    let again = home.run(&args);
    assert!(again.code == Some(1) && again.err.contains("--force"), "{}", again.err);
    home.run(&[args.as_slice(), &["--force"]].concat()).done();

    let check = ["data", "check", "parts/train.csv", "parts/validation.csv", "all.csv"];
    let value: Value = serde_json::from_str(&home.run(&[check.as_slice(), &["--json"]].concat()).done().out).unwrap();
    assert_eq!((value["files"].as_array().map(Vec::len), value["shared"].as_array().map(Vec::len)), (Some(3), Some(3)));
    assert_eq!((&value["shared"][0]["groups"], &value["shared"][0]["notes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let plain = home.run(&check).done().out;
    assert!(plain.contains("no vignette in common") && plain.contains("one vignette on both sides"), "{plain}");

    home.write("test.csv", csv("ms-test", &TRAIN));
    let refused = home.run(&["data", "split", "test.csv", "--out", "other"]);
    assert!(
        refused.code == Some(1) && refused.err.contains("evaluation only") && !home.path("other").exists(),
        "{}",
        refused.err
    );
}

#[test]
fn a_check_lists_every_row_that_cannot_be_read() {
    let home = Home::new();
    let broken = csv("ms-val", &HELD_OUT).replacen("\"treatment\"", "\"astrology\"", 1).replacen("\"0\",\"NA\"", "\"0\",\"NA", 1);
    home.write("val.csv", broken);
    let outcome = home.run(&["data", "check", "val.csv"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.out);
    for part in ["unreadable  2 rows", "line 2: ms-val-0", "astrology", "line 4: ms-val-1", "2: 1 error, 1 clean"] {
        assert!(outcome.out.contains(part), "{part} is missing: {}", outcome.out);
    }
    assert!(outcome.err.contains("2 rows cannot be read"), "{}", outcome.err);
}

#[test]
fn bertscore_is_computed_where_a_model_is_named() {
    let home = Home::new();
    home.write("val.csv", csv("ms-val", &HELD_OUT));
    home.write("run.txt", submission());
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bertscore");
    let baseline = format!("{model}/baseline.tsv");
    let args = ["eval", "score", "--reference", "val.csv", "--submission", "run.txt", "--bertscore", model];
    let layer = [&args[..], &["--bertscore-layer", "2", "--bertscore-baseline", &baseline]].concat();
    let value: Value = serde_json::from_str(&home.run(&[&layer[..], &["--json"]].concat()).done().out).unwrap();
    let bert = &value["bertscore"];
    // One correction, word for word the reference's; of the other three notes two are clean on both sides.
    assert!((bert["f"]["subset"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{bert}");
    assert!((bert["f"]["composite"].as_f64().unwrap() - 0.75).abs() < 1e-5, "{bert}");
    assert!(bert["f"]["no_op"].as_f64().unwrap() < 0.9 && bert["rescaled"] == true, "{bert}");
    let missing: Vec<&str> = value["not_computed"].as_array().unwrap().iter().filter_map(|n| n["metric"].as_str()).collect();
    assert_eq!(missing, ["BLEURT", "aggregate"]);
    let plain = home.run(&layer).done().out;
    assert!(plain.contains("BERTScore F        composite 0.7500") && plain.contains("layer 2 of"), "{plain}");
    let raw = home.run(&[&args[..], &["--bertscore-layer", "2", "--no-rescale"]].concat()).done().out;
    assert!(raw.contains("not rescaled"), "{raw}");
    for (more, part) in [(&["--bertscore-layer", "2"][..], "--bertscore-baseline"), (&[], "has 3 layers; layer 40")] {
        let refused = home.run(&[&args[..], more].concat());
        assert!(refused.code == Some(1) && refused.err.contains(part), "{}", refused.err);
    }
}
