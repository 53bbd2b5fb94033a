//! What the client asks of the run's store and what it is told. Plain data: the asking is done elsewhere, so that the
//! application stays pure and drawing never waits.

use std::path::PathBuf;

use super::away::Away;
use crate::{
    store::{RolloutFilter, RolloutKey, RolloutRow, Sort},
    task::Rollout,
};

/// A question to the store. Of several of one kind that wait, only the newest is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    Rollouts {
        filter: RolloutFilter,
        sort: Sort,
    },
    /// All completions of one sample.
    Group {
        sample_id: String,
    },
    Pair(Box<[RolloutKey; 2]>),
    /// Write these to a new JSONL file in the run directory.
    Export(Vec<RolloutKey>),
    /// What happened since this reader last left.
    Away,
}

/// An answer; it repeats what was asked, so that one that comes too late is known.
#[derive(Clone, Debug)]
pub enum Loaded {
    Rollouts {
        filter: RolloutFilter,
        sort: Sort,
        rows: Vec<RolloutRow>,
        n_all: u64,
    },
    Group {
        sample_id: String,
        rollouts: Vec<Rollout>,
    },
    Pair(Box<[Rollout; 2]>),
    Exported {
        path: PathBuf,
        n_rollouts: usize,
    },
    Away(Box<Away>),
    /// There is nothing to tell.
    Nothing,
    Failed {
        query: Query,
        why: String,
    },
}
