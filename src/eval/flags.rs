//! The scores of a set of graded notes, as plain data and as lines to print. Where a rate has nothing to count it is 0 in
//! the data, beside a count of 0, and `n/a` in print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::task::ErrorKind;

use super::{
    corrections::Corrections,
    graded::{Graded, Pairs, Rate, Tally, TypeRecall, ratio, tallies},
    interval::{Interval, bootstrap},
};

/// Resamples behind every printed interval.
pub(super) const RESAMPLES: usize = 2000;

/// How well a policy's verdicts match the labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub n_notes: usize,
    pub n_error: usize,
    pub n_clean: usize,
    pub n_pairs: usize,
    /// Right error-or-clean flags over all notes; malformed is wrong.
    pub flag_accuracy: f64,
    /// Clean notes called an error, over clean notes.
    pub false_positive_rate: f64,
    /// Error notes called clean, over error notes.
    pub false_negative_rate: f64,
    pub malformed_rate: f64,
    /// Exact sentence id, or clean called clean, over all notes: MEDEC's definition.
    pub sentence_accuracy: f64,
    /// Error notes given their own type, over error notes.
    pub type_accuracy: f64,
    /// Pairs of an error note and its clean sibling with both flags right, over pairs.
    pub pair_accuracy: f64,
    pub pairs: Pairs,
    pub per_type_recall: BTreeMap<ErrorKind, TypeRecall>,
    /// How good the corrections are, on the notes as read (mended, trimmed). Zero in scores kept before it was measured.
    #[serde(default)]
    pub corrections: Corrections,
    /// Whether no verdict names a type: type accuracy is then not measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untyped: bool,
    /// Mean words of a completion.
    pub mean_words: f64,
    /// 95% intervals by pair-cluster bootstrap; empty unless asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<Rate, Interval>,
}

impl Scores {
    pub fn of(graded: &[Graded]) -> Scores {
        Scores { untyped: is_untyped(graded), ..Scores::of_tallies(&tallies(graded)) }
    }

    /// The same with 95% intervals from resampling whole vignette groups; `seed` fixes the draws.
    pub fn with_intervals(graded: &[Graded], seed: u64) -> Scores {
        let groups = tallies(graded);
        let plain = Scores { untyped: is_untyped(graded), ..Scores::of_tallies(&groups) };
        let measured = Rate::ALL.into_iter().filter(|rate| plain.rate(*rate).1 > 0);
        let interval = |rate| bootstrap(&groups, rate, seed, RESAMPLES).map(|interval| (rate, interval));
        let corrections = plain.corrections.with_interval(&groups, seed, RESAMPLES);
        Scores { intervals: measured.filter_map(interval).collect(), corrections, ..plain }
    }

    fn of_tallies(groups: &[Tally]) -> Scores {
        let mut all = Tally::default();
        groups.iter().for_each(|group| all.merge(group));
        Scores {
            n_notes: all.n_notes(),
            n_error: all.n_error,
            n_clean: all.n_clean,
            n_pairs: all.pairs.total(),
            flag_accuracy: Rate::FlagAccuracy.of(&all),
            false_positive_rate: Rate::FalsePositiveRate.of(&all),
            false_negative_rate: Rate::FalseNegativeRate.of(&all),
            malformed_rate: Rate::MalformedRate.of(&all),
            sentence_accuracy: Rate::SentenceAccuracy.of(&all),
            type_accuracy: Rate::TypeAccuracy.of(&all),
            pair_accuracy: Rate::PairAccuracy.of(&all),
            pairs: all.pairs,
            per_type_recall: all.per_type(),
            corrections: Corrections::of(&all.corrections),
            untyped: false,
            mean_words: ratio(all.n_words, all.n_notes()),
            intervals: BTreeMap::new(),
        }
    }

    /// (the rate, the count it is over).
    pub fn rate(&self, rate: Rate) -> (f64, usize) {
        match rate {
            Rate::FlagAccuracy => (self.flag_accuracy, self.n_notes),
            Rate::FalsePositiveRate => (self.false_positive_rate, self.n_clean),
            Rate::FalseNegativeRate => (self.false_negative_rate, self.n_error),
            Rate::MalformedRate => (self.malformed_rate, self.n_notes),
            Rate::SentenceAccuracy => (self.sentence_accuracy, self.n_notes),
            Rate::TypeAccuracy => (self.type_accuracy, if self.untyped { 0 } else { self.n_error }),
            Rate::PairAccuracy => (self.pair_accuracy, self.n_pairs),
            Rate::NoOpRate => (self.corrections.no_op_rate, self.corrections.n_scored),
        }
    }

    /// One line a rate, then pairs and types; plain text of at most 80 columns.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<22} {} ({} with an error, {} clean, {} pairs)",
            "notes", self.n_notes, self.n_error, self.n_clean, self.n_pairs
        )];
        lines.extend(Rate::ALL.into_iter().map(|rate| self.rate_line(rate)));
        let p = &self.pairs;
        lines.push(format!(
            "{:<22} right {}, inverted {}, both clean {}, both error {}, unread {}",
            "pairs", p.right, p.inverted, p.both_clean, p.both_error, p.unread
        ));
        for (kind, of_kind) in &self.per_type_recall {
            let name = format!("recall {}", kind.title());
            let typed = if self.untyped { String::new() } else { format!(", {} with the right type", of_kind.right_type) };
            let recall = 100.0 * of_kind.recall();
            lines.push(format!("{name:<22} {recall:>5.1} %  {} of {}{typed}", of_kind.flagged, of_kind.n_notes));
        }
        lines.extend(self.corrections.lines());
        lines
    }

    fn rate_line(&self, rate: Rate) -> String {
        let (value, out_of) = self.rate(rate);
        if out_of == 0 {
            return format!("{:<22} {:>5}", rate.title(), "n/a");
        }
        let interval = self.intervals.get(&rate).map(|i| format!("  95% {i}")).unwrap_or_default();
        format!("{:<22} {:>5.1} %  of {out_of}{interval}", rate.title(), 100.0 * value)
    }
}

fn is_untyped(graded: &[Graded]) -> bool {
    graded.iter().any(|one| one.untyped)
}
