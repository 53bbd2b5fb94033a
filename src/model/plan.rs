//! Which rows of a flat token batch belong together: prompts, and completions that share a prompt.
//!
//! Nothing is padded. A completion segment attends to its whole prompt and to itself, so a prompt shared by k completions
//! is computed once in the forward and once in the backward, and its gradient is exact.

use std::sync::Arc;

/// A run of consecutive rows that attend causally to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First row in the batch.
    pub start: usize,
    pub len: usize,
    /// Index of the segment this one continues; its rows are all visible. Only roots have children.
    pub parent: Option<usize>,
    /// Position of the first row in its sequence.
    pub first_position: usize,
}

/// The layout of one flat batch.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub segments: Vec<Segment>,
    /// (first segment, one past the last) of each root with its children.
    pub groups: Vec<(usize, usize)>,
    pub n_rows: usize,
    positions: Vec<u32>,
}

impl Plan {
    /// Adds a sequence (or a shared prompt) of `len` tokens and returns its segment index.
    pub fn push_root(&mut self, len: usize) -> usize {
        let idx = self.push(len, None, 0);
        self.groups.push((idx, idx + 1));
        idx
    }

    /// Adds a continuation of the most recent root and returns its segment index.
    pub fn push_child(&mut self, len: usize) -> usize {
        let root = self.groups.last().expect("a child follows its root").0;
        let first_position = self.segments[root].len;
        let idx = self.push(len, Some(root), first_position);
        self.groups.last_mut().expect("a child follows its root").1 = idx + 1;
        idx
    }

    fn push(&mut self, len: usize, parent: Option<usize>, first_position: usize) -> usize {
        self.segments.push(Segment { start: self.n_rows, len, parent, first_position });
        self.positions.extend((0..len).map(|i| (first_position + i) as u32));
        self.n_rows += len;
        self.segments.len() - 1
    }

    /// The position of every row.
    pub fn positions(&self) -> Arc<Vec<u32>> {
        Arc::new(self.positions.clone())
    }

    /// The rows (start, len) of a group.
    pub fn group_rows(&self, group: usize) -> (usize, usize) {
        let (from, to) = self.groups[group];
        let (start, last) = (self.segments[from].start, self.segments[to - 1]);
        (start, last.start + last.len - start)
    }
}
