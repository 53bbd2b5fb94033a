//! Results that others published on MEDEC, to read a score against. Only figures that could be read at their source; the scope
//! matters more than the figure: "full" is MS and UW together (925 notes), "MS" the 597 public test notes.

use serde::Serialize;

/// One published or measured result; rates in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Published {
    pub who: &'static str,
    pub scope: &'static str,
    pub flag_accuracy: Option<f64>,
    /// Whatever else was reported, in words.
    pub other: &'static str,
    pub source: &'static str,
}

const PAPER: &str = "MEDEC, arXiv 2412.19260";
const LOGS: &str = "logs of github.com/almaiga/med_serl, counted again";

/// The table, people first, then systems from strong to weak within each scope.
pub const PUBLISHED: &[Published] = &[
    row("best medical doctor", "full", Some(79.61), "", PAPER),
    row("Claude 3.5 Sonnet", "full", Some(70.16), "", PAPER),
    row("Gemini 2.0 Flash", "full", Some(58.05), "", PAPER),
    row("GPT-5, prompt optimised by GEPA", "MS or UW, by paper", Some(78.5), "plain prompt 66.9", "arXiv 2602.22483"),
    row("Qwen3-32B, prompt optimised by GEPA", "MS or UW, by paper", Some(69.0), "plain prompt 57.8", "arXiv 2602.22483"),
    row("multi-agent debate with Mayo and WebMD", "MS", Some(78.8), "", "Maiga et al., BioNLP 2025"),
    row("BLUEmed, its reproduction of that debate", "MS", Some(69.13), "early version 61.64; ROC-AUC 74.45", "arXiv 2604.10389"),
    row(
        "nine LLMs, retrieved examples in the prompt",
        "full",
        None,
        "false positives -15 % relative, recall +5 to 10 %",
        "arXiv 2511.19858",
    ),
    row(
        "MedRECT, Qwen3-32B with LoRA",
        "MedRECT-en, 458 notes",
        None,
        "correction score +0.168 over the same model untuned; notes from MEDEC",
        "arXiv 2511.00421",
    ),
    row("HSE NLP, third of subtask 3", "shared task", None, "aggregate 0.7806, BERTScore 0.8059", "MEDIQA-CORR 2024"),
    row("KU-DMIS, Meerkat-7B with GPT-4 rationales", "shared task", None, "aggregate 0.7336", "MEDIQA-CORR 2024"),
    row("Qwen3-4B-Instruct-2507", "MS, 120 notes", Some(50.0), "49.2 to 50.0; flags everything", LOGS),
    row("Llama-3.2-3B", "MS, 120 notes", Some(49.2), "17 answers unread", LOGS),
    row("gemma-3-4b-it", "MS, 120 notes", Some(40.8), "22 answers unread", LOGS),
    row("medgemma-4b-it, few-shot, as logged", "MS", Some(51.9), "the log contradicts the answer in 331 of 597", LOGS),
    row("medgemma-4b-it, the same answers read again", "MS", Some(50.9), "recall 19.3, FPR 14.7, pairs 9.1", LOGS),
];

/// What the table leaves out, and how to read it.
pub const NOTES: &[&str] = &[
    "left out: figures of the shared task's first two places, of o1 and of GPT-4, which could not be read at their source",
    "looked for and not found: figures of Phi-3-7B and of MedGemma by others on MEDEC, and per-model figures of MedErrBench, Medmarks, MedGuards",
    "medgemma-4b-it by type, read again: causal organism 0 of 11, diagnosis 19 of 116, management 19 of 97, pharmacotherapy 5 of 36, \
     treatment 13 of 51",
    "always clean gets 47.9 flag and sentence on MS test, always error in the last sentence 52.1 and 38.7",
    "597 notes: a 95% interval is about 4 points to either side; correction scores come from subsets of unequal size",
];

const fn row(
    who: &'static str,
    scope: &'static str,
    flag_accuracy: Option<f64>,
    other: &'static str,
    source: &'static str,
) -> Published {
    Published { who, scope, flag_accuracy, other, source }
}

/// The table for people.
pub fn lines() -> Vec<String> {
    let head = format!("{:<44} {:<18} {:>6}  {}", "who", "scope", "flag %", "source; more");
    let line = |p: &Published| {
        let flag = p.flag_accuracy.map_or("-".to_owned(), |v| format!("{v:.2}"));
        let more = if p.other.is_empty() { String::new() } else { format!("; {}", p.other) };
        format!("{:<44} {:<18} {flag:>6}  {}{more}", p.who, p.scope, p.source)
    };
    std::iter::once(head).chain(PUBLISHED.iter().map(line)).chain(NOTES.iter().map(|note| format!("- {note}"))).collect()
}
