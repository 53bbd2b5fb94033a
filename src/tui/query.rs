//! What the client asks of the run's store and what it is told. Plain data: the asking is done elsewhere, so that the
//! application stays pure and drawing never waits.

use std::{collections::BTreeMap, mem::discriminant, path::PathBuf};

use super::{away::Away, history::History, logs::Entry};
use crate::{
    store::{RolloutFilter, RolloutKey, RolloutRow, RunSummary, Sort},
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
    /// All metrics of a run: of the one on show, or of the one in this directory.
    History {
        run: Option<PathBuf>,
    },
    /// The other runs of this machine.
    Peers,
    /// The lines of the trainer's log behind this byte.
    Log {
        from: u64,
    },
}

impl Query {
    /// Whether an answer to `later` makes one to this superfluous. Exports are orders and are all carried out.
    pub fn is_replaced_by(&self, later: &Query) -> bool {
        match (self, later) {
            (Query::Export(_), _) => false,
            (Query::History { run: a }, Query::History { run: b }) => a == b,
            _ => discriminant(self) == discriminant(later),
        }
    }
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
        /// With the traces that are still kept.
        rollouts: Vec<Rollout>,
        /// How their tokens read, as far as the store knows.
        spellings: BTreeMap<u32, String>,
        /// What turned the step's returns into advantages: taken off, divided by.
        scaling: Option<(f64, f64)>,
    },
    Pair(Box<[Rollout; 2]>),
    Exported {
        path: PathBuf,
        n_rollouts: usize,
    },
    Away(Box<Away>),
    History {
        run: Option<PathBuf>,
        history: Box<History>,
    },
    Peers(Vec<RunSummary>),
    Log {
        from: u64,
        /// Bytes of the file that are known now.
        to: u64,
        lines: Vec<Entry>,
    },
    /// There is nothing to tell.
    Nothing,
    Failed {
        query: Query,
        why: String,
    },
}
