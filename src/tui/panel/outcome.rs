//! The five ways a verdict can meet the truth, each with a glyph, a word and a style.

use crate::{
    task::{Label, Rollout, Verdict},
    tui::{theme::Token, widget::cut},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    TruePositive,
    TrueNegative,
    FalsePositive,
    FalseNegative,
    Malformed,
}

impl Outcome {
    pub fn of(rollout: &Rollout) -> Outcome {
        match (rollout.sample.label.is_error(), rollout.verdict.flag()) {
            (true, Some(true)) => Outcome::TruePositive,
            (true, Some(false)) => Outcome::FalseNegative,
            (false, Some(true)) => Outcome::FalsePositive,
            (false, Some(false)) => Outcome::TrueNegative,
            (_, None) => Outcome::Malformed,
        }
    }

    pub fn glyph(self) -> &'static str {
        match self {
            Outcome::TruePositive => "●",
            Outcome::TrueNegative => "○",
            Outcome::FalsePositive => "▲",
            Outcome::FalseNegative => "▼",
            Outcome::Malformed => "✗",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Outcome::TruePositive => "true positive",
            Outcome::TrueNegative => "true negative",
            Outcome::FalsePositive => "false positive",
            Outcome::FalseNegative => "false negative",
            Outcome::Malformed => "malformed",
        }
    }

    pub fn token(self) -> Token {
        match self {
            Outcome::TruePositive | Outcome::TrueNegative => Token::Correct,
            Outcome::FalsePositive => Token::FalsePositive,
            Outcome::FalseNegative => Token::FalseNegative,
            Outcome::Malformed => Token::Malformed,
        }
    }
}

/// `ERROR Pharmacotherapy, sentence 3` or `CLEAN`.
pub fn truth(label: &Label) -> String {
    match label {
        Label::Clean => "CLEAN".to_owned(),
        Label::Error { kind, sentence, .. } => format!("ERROR {}, sentence {sentence}", kind.title()),
    }
}

/// A parsed verdict on one line, in the words of the grammar.
pub fn claim(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Clean => "No Clinical Error".to_owned(),
        Verdict::Malformed { why } => format!("malformed: {}", why.describe()),
        Verdict::Error { kind, sentence, correction } => {
            let sentence = sentence.map(|n| format!(", sentence {n}")).unwrap_or_default();
            let correction = correction.as_deref().map(|c| format!(": {}", cut::clean(c))).unwrap_or_default();
            format!("Error: {}{sentence}{correction}", kind.title())
        }
    }
}
