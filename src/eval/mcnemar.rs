//! Before against after on the same notes: McNemar's exact test, on the flags or on anything else that is right or wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::graded::Graded;

/// How two policies agree on the same notes.
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
    #[error("note {0} has another label or vignette group on the other side: grade both on the same file")]
    Relabelled(String),
}

/// Compares the flags of two evaluations note by note, matched by id.
pub fn mcnemar(before: &[Graded], after: &[Graded]) -> Result<McNemar, Unmatched> {
    mcnemar_by(before, after, Graded::flag_right)
}

/// The same for any yes or no of a graded note.
pub fn mcnemar_by(before: &[Graded], after: &[Graded], right: impl Fn(&Graded) -> bool) -> Result<McNemar, Unmatched> {
    let (before, after) = (by_id(before)?, by_id(after)?);
    if let Some(id) =
        before.keys().find(|id| !after.contains_key(*id)).or_else(|| after.keys().find(|id| !before.contains_key(*id)))
    {
        return Err(Unmatched::OneSided((*id).to_owned()));
    }
    let relabelled = |(id, one): &(&&str, &&Graded)| one.label != after[**id].label || one.group != after[**id].group;
    if let Some((id, _)) = before.iter().find(relabelled) {
        return Err(Unmatched::Relabelled((*id).to_owned()));
    }
    let count = |was: bool, is: bool| before.iter().filter(|(id, one)| right(one) == was && right(after[**id]) == is).count();
    let (lost, won) = (count(true, false), count(false, true));
    Ok(McNemar { both_right: count(true, true), lost, won, both_wrong: count(false, false), p_value: exact_p(lost, won) })
}

fn by_id(graded: &[Graded]) -> Result<BTreeMap<&str, &Graded>, Unmatched> {
    let mut notes = BTreeMap::new();
    for one in graded {
        if notes.insert(one.id.as_str(), one).is_some() {
            return Err(Unmatched::Twice(one.id.clone()));
        }
    }
    Ok(notes)
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
