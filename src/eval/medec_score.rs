//! The official MEDIQA-CORR metrics of a submission: flag accuracy, sentence accuracy, ROUGE on the corrections.
//! "Subset" scores only notes where truth and submission both have a correction, so it ignores recall; "composite" runs
//! over all notes, both-NA counting 1 and one-sided NA 0. Always read a subset score beside its size.

use serde::{Deserialize, Serialize};

use crate::task::Text;

use super::{
    corrections,
    graded::ratio,
    reference::Reference,
    rouge::{Rouge, rouge},
    submission::{BadLine, NA, Prediction, Submission, collapse},
};

/// F of one ROUGE variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CorrectionScore {
    /// Mean over the scored pairs; `None` where there is none.
    pub subset: Option<f64>,
    pub composite: f64,
    /// The subset mean that repeating the error sentence unchanged would get on the same pairs.
    pub no_op: Option<f64>,
}

impl CorrectionScore {
    /// The subset mean over what repeating the error sentence gets on the same pairs.
    pub fn gain(&self) -> Option<f64> {
        Some(self.subset? - self.no_op?)
    }
}

/// The official counters, under shorter names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub total_texts: usize,
    pub reference_na: usize,
    pub total_system_texts: usize,
    pub system_na: usize,
    pub correct_na: usize,
    /// Notes where both sides have a correction: the size of the subset.
    pub scored_pairs: usize,
    /// Of these, pairs ROUGE refuses (nothing but full stops); they score 0. The official script raises there.
    pub unscorable_pairs: usize,
    /// Of these, corrections that repeat the error sentence.
    pub no_ops: usize,
    /// Of these, corrections that turn exactly the wrong words into exactly the right ones.
    #[serde(default)]
    pub spans_right: usize,
}

/// A metric of the official scripts that is not computed here, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotComputed {
    pub metric: &'static str,
    pub why: &'static str,
}

/// What the second official script has beyond the first, and is not computed here.
const BERTSCORE: NotComputed =
    NotComputed { metric: "BERTScore", why: "asked for by --bertscore FOLDER-OR-ID of microsoft/deberta-xlarge-mnli" };
const BLEURT: NotComputed =
    NotComputed { metric: "BLEURT", why: "needs BLEURT-20, a TensorFlow model; run the second official script" };
const AGGREGATE: NotComputed = NotComputed { metric: "aggregate", why: "is the mean of ROUGE-1, BERTScore and BLEURT" };

/// BERTScore F of the corrections, each bounded to 0..1 as the second official script does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertScores {
    pub f: CorrectionScore,
    /// The folder or hub id of the model.
    pub model: String,
    pub layer: usize,
    /// Rescaled by the package's baseline, as the official script asks for.
    pub rescaled: bool,
}

/// A correction that is scored by its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredPair {
    pub hypothesis: String,
    pub reference: String,
    /// The sentence as it was, where the reference has it.
    pub unchanged: Option<String>,
}

/// The pairs of the subset, in the order of their ids: what a further metric is to be computed of.
pub fn scored_pairs(reference: &Reference, submission: &Submission) -> Vec<ScoredPair> {
    let pair = |(id, truth): (&String, &super::reference::Truth)| {
        let prediction = submission.predictions.get(id)?;
        (truth.correction != NA && prediction.correction != NA).then(|| ScoredPair {
            hypothesis: prediction.correction.clone(),
            reference: truth.correction.clone(),
            unchanged: truth.error_sentence.clone(),
        })
    };
    reference.truths.iter().filter_map(pair).collect()
}

/// Everything the official script reports, and what it hides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfficialScores {
    pub flag_accuracy: f64,
    pub sentence_accuracy: f64,
    pub rouge_1: CorrectionScore,
    pub rouge_2: CorrectionScore,
    pub rouge_l: CorrectionScore,
    pub counters: Counters,
    /// Notes of the reference without a line: they count as wrong.
    pub missing: Vec<String>,
    /// Submitted ids the reference does not know: ignored.
    pub unknown: Vec<String>,
    /// Ids with several lines: the last counted.
    pub duplicates: Vec<String>,
    /// Ids with several rows in the reference: the last counted.
    pub reference_duplicates: Vec<String>,
    pub reference_empty_rows: usize,
    /// Rows of the reference whose flag is spelt `1.0` or `True`; read as 0 and 1 here.
    #[serde(default)]
    pub reference_odd_flags: usize,
    /// Ids whose line holds a backslash; read as it stands here.
    #[serde(default)]
    pub backslashes: Vec<String>,
    /// Clean notes that are called wrong without naming a sentence: the official sentence accuracy counts them as right, since both
    /// sides say -1.
    #[serde(default)]
    pub unlocated: Vec<String>,
    pub bad_lines: Vec<BadLine>,
    /// Where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bertscore: Option<BertScores>,
}

/// Scores a submission with the official rules.
pub fn score(reference: &Reference, submission: &Submission) -> OfficialScores {
    let predicted = |id: &String| submission.predictions.get(id);
    let right = |is: &dyn Fn(&Prediction, &super::reference::Truth) -> bool| {
        let n = reference.truths.iter().filter(|(id, truth)| predicted(id).is_some_and(|p| is(p, truth))).count();
        ratio(n, reference.truths.len())
    };
    let corrections = Corrections::collect(reference, submission);
    let is_unlocated = |id: &String, truth: &super::reference::Truth| {
        truth.flag == "0" && predicted(id).is_some_and(|p| p.flag != truth.flag && p.sentence == truth.sentence)
    };
    OfficialScores {
        flag_accuracy: right(&|p, truth| p.flag == truth.flag),
        sentence_accuracy: right(&|p, truth| p.sentence == truth.sentence),
        rouge_1: corrections.score(|r| r.one.f),
        rouge_2: corrections.score(|r| r.two.f),
        rouge_l: corrections.score(|r| r.l.f),
        counters: corrections.counters,
        missing: reference.truths.keys().filter(|id| predicted(id).is_none()).cloned().collect(),
        unknown: submission.predictions.keys().filter(|id| !reference.truths.contains_key(*id)).cloned().collect(),
        duplicates: submission.duplicates.iter().cloned().collect(),
        reference_duplicates: reference.duplicates.clone(),
        reference_empty_rows: reference.n_empty_rows,
        reference_odd_flags: reference.n_odd_flags,
        backslashes: submission.backslashes.iter().cloned().collect(),
        unlocated: reference.truths.iter().filter(|(id, truth)| is_unlocated(id, truth)).map(|(id, _)| id.clone()).collect(),
        bad_lines: submission.bad_lines.clone(),
        bertscore: None,
    }
}

/// ROUGE of every scored pair, and of repeating the error sentence there.
struct Corrections {
    counters: Counters,
    rouges: Vec<Rouge>,
    no_op_rouges: Vec<Rouge>,
}

impl Corrections {
    fn collect(reference: &Reference, submission: &Submission) -> Corrections {
        let mut all = Corrections { counters: Counters::default(), rouges: Vec::new(), no_op_rouges: Vec::new() };
        for (id, truth) in &reference.truths {
            let c = &mut all.counters;
            c.total_texts += 1;
            c.reference_na += usize::from(truth.correction == NA);
            let Some(prediction) = submission.predictions.get(id) else { continue };
            c.total_system_texts += 1;
            c.system_na += usize::from(prediction.correction == NA);
            match (truth.correction == NA, prediction.correction == NA) {
                (true, true) => c.correct_na += 1,
                (false, false) => all.add_pair(&prediction.correction, &truth.correction, truth.error_sentence.as_deref()),
                _ => {}
            }
        }
        all
    }

    fn add_pair(&mut self, hypothesis: &str, reference: &str, error_sentence: Option<&str>) {
        let scored = rouge(hypothesis, reference);
        self.counters.scored_pairs += 1;
        self.counters.unscorable_pairs += usize::from(scored.is_none());
        self.rouges.push(scored.unwrap_or_default());
        if let Some(unchanged) = error_sentence {
            self.counters.no_ops += usize::from(collapse(unchanged) == hypothesis);
            let span_right = corrections::score(hypothesis, reference, error_sentence).is_some_and(|scored| scored.span_right);
            self.counters.spans_right += usize::from(span_right);
            self.no_op_rouges.push(rouge(unchanged, reference).unwrap_or_default());
        }
    }

    fn score(&self, f: impl Fn(&Rouge) -> f64) -> CorrectionScore {
        let values = |rouges: &[Rouge]| rouges.iter().map(&f).collect::<Vec<f64>>();
        self.counters.score(&values(&self.rouges), &values(&self.no_op_rouges))
    }
}

impl Counters {
    /// Subset and composite of a metric from its value for each scored pair, and for each error sentence left as it is.
    pub fn score(&self, values: &[f64], no_op: &[f64]) -> CorrectionScore {
        let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let total = self.total_texts.max(1) as f64;
        CorrectionScore {
            subset: mean(values),
            composite: (values.iter().sum::<f64>() + self.correct_na as f64) / total,
            no_op: mean(no_op),
        }
    }
}

impl OfficialScores {
    /// Plain lines to print; [`OfficialScores::warnings`] are apart.
    pub fn lines(&self) -> Vec<String> {
        let c = &self.counters;
        let mut lines = vec![
            format!("{:<18} {}", "notes", c.total_texts),
            format!("{:<18} {:.4}", "flag accuracy", self.flag_accuracy),
            format!("{:<18} {:.4}", "sentence accuracy", self.sentence_accuracy),
        ];
        let rouges = [("ROUGE-1 F", &self.rouge_1), ("ROUGE-2 F", &self.rouge_2), ("ROUGE-L F", &self.rouge_l)];
        let bert = self.bertscore.iter().map(|bert| ("BERTScore F", &bert.f));
        for (name, score) in rouges.into_iter().chain(bert) {
            let show = |value: Option<f64>| value.map_or("n/a".to_owned(), |v| format!("{v:.4}"));
            let (subset, no_op, gain) = (show(score.subset), show(score.no_op), score.gain());
            let gain = gain.map_or("n/a".to_owned(), |v| format!("{v:+.4}"));
            lines.push(format!("{name:<18} composite {:.4}, subset {subset}, no-op {no_op}, gain {gain}", score.composite));
        }
        let subset = format!("{} pairs, {} of them unchanged, {} edits exact", c.scored_pairs, c.no_ops, c.spans_right);
        lines.push(format!("{:<18} {subset} (package: rouge 1.0.1)", "subset"));
        lines.extend(self.bertscore.as_ref().map(|bert| {
            let rescaled = if bert.rescaled { "rescaled by the package's baseline" } else { "not rescaled" };
            format!(
                "{:<18} layer {} of {}, {rescaled} (package: bert_score 0.3.13)",
                "BERTScore",
                bert.layer,
                Text::new(&bert.model)
            )
        }));
        lines.extend(self.not_computed().iter().map(|n| format!("{:<18} not computed: {}", n.metric, n.why)));
        lines
    }

    /// The metrics of the official scripts that are missing here.
    pub fn not_computed(&self) -> Vec<NotComputed> {
        let bert = self.bertscore.is_none().then_some(BERTSCORE);
        bert.into_iter().chain([BLEURT, AGGREGATE]).collect()
    }

    /// What was missing, repeated, unknown or unreadable; empty for a faultless submission.
    pub fn warnings(&self) -> Vec<String> {
        let ids = |what: &str, ids: &[String]| (!ids.is_empty()).then(|| format!("{what}: {} ({})", ids.len(), first_few(ids)));
        let bad: Vec<String> = self.bad_lines.iter().map(|bad| format!("line {}: {}", bad.line, bad.why)).collect();
        let n = self.counters.unscorable_pairs;
        let warnings = [
            ids("notes without a line, counted as wrong", &self.missing),
            ids("lines for notes the reference does not have, ignored", &self.unknown),
            ids("notes with several lines, the last counted", &self.duplicates),
            ids("notes with several rows in the reference, the last counted", &self.reference_duplicates),
            ids("lines not of the form ID FLAG SENTENCE-ID CORRECTION, dropped", &bad),
            ids("clean notes called wrong in no sentence, right by the official sentence accuracy", &self.unlocated),
            ids("lines with a backslash, read as it stands (the official script stops at most of them)", &self.backslashes),
            (self.reference_odd_flags > 0).then(|| {
                let n = self.reference_odd_flags;
                format!(
                    "flags of the reference spelt 1.0 or True, read as 0 and 1: {n} (the official script counts all as wrong)"
                )
            }),
            (n > 0).then(|| format!("corrections without a word, scored 0: {n} (the official script stops there)")),
            (self.reference_empty_rows > 0)
                .then(|| format!("empty rows of the reference, left out: {}", self.reference_empty_rows)),
        ];
        warnings.into_iter().flatten().collect()
    }
}

fn first_few(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = ids.iter().take(SHOWN).map(String::as_str).collect();
    Text::new(&format!("{}{}", shown.join(", "), if ids.len() > SHOWN { ", …" } else { "" })).to_string()
}
