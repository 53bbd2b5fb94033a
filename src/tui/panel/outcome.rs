//! How the five ways a verdict can meet the truth look (a glyph, a word and a style each), and what a label and a verdict say.

use crate::{
    store::Cell,
    task::{Label, Reward, Verdict},
    tui::{
        theme::Token,
        widget::{cut, number},
    },
};

impl Cell {
    pub fn glyph(self) -> &'static str {
        match self {
            Cell::TruePositive => "●",
            Cell::TrueNegative => "○",
            Cell::FalsePositive => "▲",
            Cell::FalseNegative => "▼",
            Cell::Malformed => "✗",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Cell::TruePositive => "true positive",
            Cell::TrueNegative => "true negative",
            Cell::FalsePositive => "false positive",
            Cell::FalseNegative => "false negative",
            Cell::Malformed => "malformed",
        }
    }

    pub fn token(self) -> Token {
        match self {
            Cell::TruePositive | Cell::TrueNegative => Token::Correct,
            Cell::FalsePositive => Token::FalsePositive,
            Cell::FalseNegative => Token::FalseNegative,
            Cell::Malformed => Token::Malformed,
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

/// `format +0.10`, `outcome -1.50`, and every further part that was paid.
pub fn reward_parts(reward: &Reward) -> Vec<String> {
    let shown = reward.parts().into_iter().enumerate().filter(|(i, (_, value))| *i < 2 || *value != 0.0);
    shown.map(|(_, (name, value))| format!("{} {}", name.replace('_', " "), number::signed(Some(f64::from(value))))).collect()
}
