//! Before against after on the same notes: McNemar's exact test on the flags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::graded::Graded;

/// How the flags of two policies agree on the same notes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    pub both_right: usize,
    /// Right before, wrong after.
    pub lost: usize,
    /// Wrong before, right after.
    pub won: usize,
    pub both_wrong: usize,
    /// Two-sided exact p: that as lopsided a split of won and lost comes from a fair coin.
    pub p_value: f64,
}

/// The two sides were not graded on the same notes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmatched {
    #[error("note {0} was graded on one side only: compare evaluations of the same notes")]
    OneSided(String),
    #[error("note {0} was graded twice on one side: compare one verdict a note")]
    Twice(String),
}

/// Compares two evaluations note by note, matched by id.
pub fn mcnemar(before: &[Graded], after: &[Graded]) -> Result<McNemar, Unmatched> {
    let (before, after) = (by_id(before)?, by_id(after)?);
    if let Some(id) =
        before.keys().find(|id| !after.contains_key(*id)).or_else(|| after.keys().find(|id| !before.contains_key(*id)))
    {
        return Err(Unmatched::OneSided((*id).to_owned()));
    }
    let count = |was: bool, is: bool| before.iter().filter(|(id, right)| **right == was && after[*id] == is).count();
    let (lost, won) = (count(true, false), count(false, true));
    Ok(McNemar { both_right: count(true, true), lost, won, both_wrong: count(false, false), p_value: exact_p(lost, won) })
}

fn by_id(graded: &[Graded]) -> Result<BTreeMap<&str, bool>, Unmatched> {
    let mut rights = BTreeMap::new();
    for one in graded {
        if rights.insert(one.id.as_str(), one.flag_right()).is_some() {
            return Err(Unmatched::Twice(one.id.clone()));
        }
    }
    Ok(rights)
}

/// Twice the lower binomial tail at one half, at most 1. Summed relative to its largest term, so that thousands of
/// notes do not underflow.
pub fn exact_p(lost: usize, won: usize) -> f64 {
    let (n, fewer) = ((lost + won) as f64, lost.min(won));
    let mut ln_terms = vec![-n * std::f64::consts::LN_2];
    for i in 0..fewer {
        let i_f = i as f64;
        ln_terms.push(ln_terms[i] + ((n - i_f) / (i_f + 1.0)).ln());
    }
    let largest = ln_terms[fewer];
    let sum: f64 = ln_terms.iter().map(|ln| (ln - largest).exp()).sum();
    (2.0 * largest.exp() * sum).min(1.0)
}
