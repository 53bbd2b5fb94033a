//! Parsers of text: data files, experiments, submissions, filters, and what the model says.

use std::path::Path;

use medserl::{
    config::RunConfig,
    data::{LoadOptions, medec, pairs, text_file},
    eval::Submission,
    scribe::{augment, injection},
    store::{RolloutFilter, read_labels},
    task::{Decision, ErrorKind, Note, Quadrant, Sentence, Verdict, verdict, without_secrets},
};

use crate::labels::fixture::{error_sample, label};

use super::target::fuzz;

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const HEADER: &str =
    "Text ID,Text,Sentences,Error Flag,Error Type,Error Sentence ID,Error Sentence,Corrected Sentence,Corrected Text";

#[test]
fn medec_csv() {
    let rows = [
        "v-0,A b. W.,\"0 A b.\n1 W.\",1,treatment,1,W.,R.,A b. R.",
        "v-1,A b. R.,\"0 A b.\n1 R.\",0,NA,-1,NA,NA,NA",
        "v-2,\"X, y.\",\"0 X, y.\",0,NA,-1,NA,NA,NA",
    ];
    let corpus = [format!("{HEADER}\n{}\n", rows.join("\n")), format!("\u{feff}{HEADER}\r\n{}\r\n", rows.join("\r\n"))];
    let words = ["\"", "\"\"", ",", "\n", "\r\n", "NA", "treatment", "\u{0}", "0 ", "\n1 ", "1", "-1", "\u{fffd}", "=1+1"];
    let path = Path::new("mutated.csv");
    fuzz("MEDEC CSV", &corpus.map(String::into_bytes), &words, 2_000, &mut |bytes| {
        let Ok(file) = text_file::decode(path, bytes.to_vec()) else { return false };
        medec::read(path, &file, LoadOptions::default()).is_ok()
    });
}

#[test]
fn pairs_jsonl() {
    let corpus = [pair_lines()];
    let words = ["{", "}", "\"", "\\u0000", "\\ud800", ":", ",", "null", "[", "]", "treatment", "\n"];
    let path = Path::new("mutated.jsonl");
    fuzz("pairs JSONL", &corpus, &words, 2_000, &mut |bytes| {
        let Ok(file) = text_file::decode(path, bytes.to_vec()) else { return false };
        pairs::read(path, &file).is_ok_and(|(pairs, _)| !pairs.is_empty())
    });
}

/// Lines as the loader's own tests write them.
fn pair_lines() -> Vec<u8> {
    let line = |id: &str, wrong: &str, right: &str| {
        crate::data::pair_line(id, &format!("Sign 1. {wrong}"), &format!("Sign 1. {right}"), wrong, right)
    };
    (line("p-1", "Drug w is given.", "Drug r is given.") + &line("p-2", "He has x.", "He has y.")).into_bytes()
}

#[test]
fn experiment_toml() {
    let corpus = [
        include_str!("../../experiments/demo.toml"),
        "steps = 3\n[data]\nsource = \"clinic\"\n[doctor]\nsamples = 4\n[alarms]\npause = [\"kl\"]\n",
    ];
    let words =
        ["[", "]", "[[", "=", "\"", "'''", "\n", "{", "}", "samples", "steps = ", "inf", "nan", "1979-05-27", "\\u00", "#"];
    fuzz("experiment TOML", &bytes(&corpus), &words, 1_500, &mut |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let overrides: Vec<String> = text.lines().rev().take(1).map(str::to_owned).filter(|l| l.contains('=')).collect();
        let _ = RunConfig::parse(Path::new("mutated.toml"), "steps = 3", &overrides);
        match RunConfig::parse(Path::new("mutated.toml"), text, &[]) {
            Ok(config) => config.to_toml().is_ok_and(|echo| RunConfig::parse(Path::new("echo.toml"), &echo, &[]).is_ok()),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn submission_txt() {
    let corpus = ["ms-1 0 -1 NA\nms-2 1 3 \"The patient has asthma.\"\n", "ms-3 1 0 He rests.\r\nms-4 0 -1 NA"];
    let words = [" ", "\"", "\n", "NA", "-1", "0", "1", "\t", "\u{85}"];
    fuzz("submission TXT", &bytes(&corpus), &words, 3_000, &mut |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let notes: Vec<medserl::task::LabelledNote> = Vec::new();
        let submission = Submission::parse(&text);
        let _ = submission.grade(&notes);
        text.lines().next().is_some_and(|line| line.split_whitespace().count() >= 3)
    });
}

#[test]
fn filter_language() {
    let corpus = [
        "quad:SD,SI cell:FP r<0 a>=0.5 len>400 step:300..318 sib:2 type:pharma stop:length",
        "-id:SD-03 note:\"mg daily\" text:\"a b\" words",
        "step:9.. r:..0.5 -cell:TP",
    ];
    let words = ["\"", ":", "..", "-", "<", ">=", ",", " ", "quad:", "r<", "step:", "note:\"", "\\", "1e9"];
    fuzz("filter language", &bytes(&corpus), &words, 5_000, &mut |bytes| {
        RolloutFilter::parse(&String::from_utf8_lossy(bytes)).is_ok()
    });
}

#[test]
fn verdicts() {
    let corpus = [
        "<thinking>The drug does not fit the germ here.</thinking>\n<verdict>No Clinical Error</verdict>",
        "<thinking>one two three four five</thinking> <verdict>Error: Treatment; Sentence: 3; Correction: Rest; ice.</verdict>",
    ];
    let words =
        ["<thinking>", "</thinking>", "<verdict>", "</verdict>", ";", ":", "Sentence: 4", "\u{202e}", "\u{200b}", "Error"];
    fuzz("verdict", &bytes(&corpus), &words, 5_000, &mut |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = verdict::split_for_display(&text);
        !matches!(verdict::parse(&text), Verdict::Malformed { .. })
    });
}

#[test]
fn scribe_proposals() {
    let corpus = [
        "Sentence: 1 | Old: penicillin | New: aspirin | Type: Pharmacotherapy | Why: test",
        "0 He has a cough.\n1 He takes penicillin.",
    ];
    let words = ["|", "Old:", "New:", "Type:", "\n", "Sentence: 1", "1 ", "\u{a0}", "penicillin"];
    let sentence = |id, text: &str| Sentence { id, text: text.into() };
    let sentences = vec![sentence(0, "He has a fever."), sentence(1, "He takes penicillin.")];
    let source = Note { id: "n".into(), group: "g".into(), sentences };
    fuzz("Scribe's proposals", &bytes(&corpus), &words, 4_000, &mut |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let rewritten = augment::parse(&text, &source, Some(1)).is_ok() | augment::parse(&text, &source, None).is_ok();
        let Ok(mut proposal) = injection::parse(&text) else { return rewritten };
        let _ = injection::locate(&source, &mut proposal);
        if let Ok(spliced) = injection::splice(&source, &proposal, proposal.kind) {
            let _ = injection::label_of_edit(&source, &spliced, proposal.kind);
        }
        true
    });
}

#[test]
fn hand_labels_jsonl() {
    let dir = tempfile::tempdir_in(super::files::memory()).unwrap();
    let path = dir.path().join("labels.jsonl");
    let sample = error_sample(Quadrant::SyntheticInjection, 3, 1);
    let amended = Decision::Amend { kind: Some(ErrorKind::Treatment), sentence: Some(2), correction: None };
    let lines = [label("l-1", &sample, Decision::Accept), label("l-2", &sample, amended)]
        .map(|e| serde_json::to_string(&e).unwrap() + "\n");
    let corpus = lines.concat().into_bytes();
    let words = ["{", "}", "\"", "\n", ":", ",", "null", "\\u0000", "accept", "reject", "undo", "9e999"];
    fuzz("hand labels JSONL", &[corpus], &words, 2_000, &mut |bytes| {
        std::fs::write(&path, bytes).unwrap();
        !read_labels(&path).unwrap().entries.is_empty()
    });
}

#[test]
fn secrets_are_taken_out_of_anything() {
    let corpus = ["GET https://user:pw@host/a?sig=1 failed: Bearer abc hf_abcdefghijkl"];
    let words = ["hf_", "Bearer ", "://", "?", "@", "/", "é", "hf_aaaaaaaaaaaa", "\u{202e}", "[redacted]"];
    fuzz("redaction", &bytes(&corpus), &words, 5_000, &mut |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let clean = without_secrets(&text);
        assert!(!clean.contains("hf_aaaaaaaaaaaa"), "{clean}");
        assert_eq!(without_secrets(&clean), clean, "taking out twice changes nothing");
        clean != text
    });
}
