//! How good the corrections of graded notes are, and how much of that comes from repeating the error sentence: a correction
//! that changes nothing already shares most words with the right one. Counts add up over groups. Knows no submission file.

use serde::{Deserialize, Serialize};

use crate::task::{Label, Verdict};

use super::{
    graded::{Graded, Tally, ratio},
    interval::{Interval, bootstrap_mean},
    rouge::rouge,
    submission::collapse,
};

/// One correction beside the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// F of ROUGE-1 against the right correction.
    pub rouge_1: f64,
    /// The same for the error sentence unchanged; `None` where that sentence is not known.
    pub no_op: Option<f64>,
    /// Whether it repeats the error sentence.
    pub unchanged: bool,
    /// Whether the words it changes in the error sentence become exactly the right ones.
    pub span_right: bool,
}

/// Sums over a group's corrections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CorrectionTally {
    pub n_scored: usize,
    pub no_ops: usize,
    pub spans_right: usize,
    pub rouge_1: f64,
    /// Corrections whose error sentence is known, and their gain over repeating it.
    pub n_gains: usize,
    pub gain: f64,
}

/// The corrections of a set of notes. Over error notes that were given a correction, wherever it points: the subset of the
/// official metrics, so it ignores recall and is to be read beside its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Corrections {
    pub n_scored: usize,
    pub no_op_rate: f64,
    pub span_accuracy: f64,
    /// Mean F of ROUGE-1.
    pub rouge_1: f64,
    /// Mean ROUGE-1 over what repeating the error sentence gets.
    pub gain_over_no_op: f64,
    /// 95% interval of the gain by pair-cluster bootstrap, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_interval: Option<Interval>,
}

/// Scores a correction; `None` where ROUGE is not defined for it.
pub fn score(correction: &str, truth: &str, error_sentence: Option<&str>) -> Option<Scored> {
    let f = |text: &str| rouge(text, truth).map(|r| r.one.f);
    let unchanged = error_sentence.is_some_and(|sentence| collapse(sentence) == collapse(correction));
    let span_right = error_sentence.is_some_and(|sentence| span(sentence, correction) == span(sentence, truth));
    Some(Scored { rouge_1: f(correction)?, no_op: error_sentence.and_then(f), unchanged, span_right })
}

/// The words that `changed` has in place of some of `sentence`'s, and where they begin: in lower case, without the punctuation
/// at their ends.
fn span(sentence: &str, changed: &str) -> (usize, Vec<String>) {
    let plain = |text: &str| -> Vec<String> {
        let words = text.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
        words.filter(|word| !word.is_empty()).collect()
    };
    let (old, new) = (plain(sentence), plain(changed));
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    (head, new[head..new.len() - tail].to_vec())
}

impl CorrectionTally {
    /// Counts one graded note.
    pub fn count(&mut self, graded: &Graded) {
        let (Label::Error { correction: truth, .. }, Verdict::Error { correction: Some(correction), .. }) =
            (&graded.label, &graded.verdict)
        else {
            return;
        };
        self.n_scored += 1;
        // A correction without a word scores 0, as a submission's does.
        let Some(scored) = score(correction, truth, graded.error_sentence.as_deref()) else { return };
        self.no_ops += usize::from(scored.unchanged);
        self.spans_right += usize::from(scored.span_right);
        self.rouge_1 += scored.rouge_1;
        if let Some(no_op) = scored.no_op {
            self.n_gains += 1;
            self.gain += scored.rouge_1 - no_op;
        }
    }

    pub fn merge(&mut self, other: &CorrectionTally) {
        self.n_scored += other.n_scored;
        self.no_ops += other.no_ops;
        self.spans_right += other.spans_right;
        self.rouge_1 += other.rouge_1;
        self.n_gains += other.n_gains;
        self.gain += other.gain;
    }
}

impl Corrections {
    pub fn of(tally: &CorrectionTally) -> Corrections {
        let mean = |sum: f64, n: usize| if n == 0 { 0.0 } else { sum / n as f64 };
        Corrections {
            n_scored: tally.n_scored,
            no_op_rate: ratio(tally.no_ops, tally.n_scored),
            span_accuracy: ratio(tally.spans_right, tally.n_scored),
            rouge_1: mean(tally.rouge_1, tally.n_scored),
            gain_over_no_op: mean(tally.gain, tally.n_gains),
            gain_interval: None,
        }
    }

    /// The same with the interval of the gain, from resampling whole groups.
    pub fn with_interval(self, groups: &[Tally], seed: u64, n_resamples: usize) -> Corrections {
        let gains: Vec<(f64, usize)> = groups.iter().map(|g| (g.corrections.gain, g.corrections.n_gains)).collect();
        Corrections { gain_interval: bootstrap_mean(&gains, seed, n_resamples), ..self }
    }

    /// Lines of at most 80 columns; one that says so where no error note was given a correction.
    pub fn lines(&self) -> Vec<String> {
        if self.n_scored == 0 {
            return vec![format!("{:<22} {:>5}", "corrections", "n/a")];
        }
        let interval = self.gain_interval.map(|i| format!("  95% [{:+.3}, {:+.3}]", i.low, i.high)).unwrap_or_default();
        let right = 100.0 * self.span_accuracy;
        vec![
            format!("{:<22} {} of error notes, edit exact in {right:.1} %", "corrections", self.n_scored),
            format!("{:<22} {:.3}, over no-op {:+.3}{interval}", "ROUGE-1 of these", self.rouge_1, self.gain_over_no_op),
        ]
    }
}
