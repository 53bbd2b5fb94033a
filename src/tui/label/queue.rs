//! Which sample comes next. Orders are fixed by a seed; a sample's place does not depend on what else is there.

use std::collections::{HashMap, HashSet};

use crate::{
    store::{Cell, SampleHead},
    task::hand_label::Picked,
};

/// What the Doctor's completions say about a sample's claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    pub right: u32,
    pub wrong: u32,
    pub malformed: u32,
}

impl Votes {
    /// Counts one completion in.
    pub fn count(&mut self, cell: Cell) {
        *match cell {
            Cell::Malformed => &mut self.malformed,
            cell if cell.is_right() => &mut self.right,
            _ => &mut self.wrong,
        } += 1;
    }

    pub fn total(self) -> u32 {
        self.right + self.wrong + self.malformed
    }

    /// Thousandths of the readable verdicts that contradict the claim; `None` where there are none.
    fn against(self) -> Option<u32> {
        let readable = self.right + self.wrong;
        (readable > 0).then(|| self.wrong * 1000 / readable)
    }
}

/// The orders a reader can choose, as they are named on screen.
pub const ORDERS: [(Picked, &str); 4] = [
    (Picked::Newest, "newest"),
    (Picked::Stratified, "by quadrant"),
    (Picked::Disagreement, "Doctor disagrees"),
    (Picked::Second, "second opinion"),
];

pub fn order_name(order: Picked) -> &'static str {
    ORDERS.iter().find(|(picked, _)| *picked == order).map_or("newest", |(_, name)| name)
}

/// A number that only the seed and the words decide.
pub fn draw(seed: u64, words: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(words.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The name of a sample whose quadrant must not be seen.
pub fn alias(seed: u64, id: &str) -> String {
    format!("n-{:04x}", draw(seed, id) >> 48)
}

/// What an order goes by.
pub struct Arrangement<'a> {
    pub order: Picked,
    pub seed: u64,
    /// Places within a step would tell the quadrant.
    pub blind: bool,
    pub votes: &'a HashMap<String, Votes>,
    /// Samples that others decided on.
    pub seconds: &'a HashSet<String>,
}

impl Arrangement<'_> {
    /// Positions in `heads` of those wanted, first to come first.
    pub fn of(&self, heads: &[SampleHead], wanted: impl Fn(&SampleHead) -> bool) -> Vec<usize> {
        let rank = self.ranks(heads);
        let mut order: Vec<usize> = (0..heads.len()).filter(|at| wanted(&heads[*at])).collect();
        order.sort_by_cached_key(|at| {
            let head = &heads[*at];
            let newest = u32::MAX - head.step;
            let within = if self.blind { draw(self.seed, &head.id) } else { u64::from(head.index) };
            let first = match self.order {
                Picked::Stratified => rank[*at],
                Picked::Disagreement => 1001 - self.votes.get(&head.id).and_then(|v| v.against()).map_or(0, |a| a + 1),
                Picked::Second => u32::from(!self.seconds.contains(&head.id)),
                Picked::Newest | Picked::Imported => 0,
            };
            let within = if self.order == Picked::Stratified { draw(self.seed, &format!("turn {}", head.id)) } else { within };
            let newest = if self.order == Picked::Stratified { 0 } else { newest };
            (first, newest, within)
        });
        order
    }

    /// The place of each sample in a seeded shuffle of its quadrant; nothing where the order does not ask.
    fn ranks(&self, heads: &[SampleHead]) -> Vec<u32> {
        if self.order != Picked::Stratified {
            return Vec::new();
        }
        let mut shuffled: Vec<usize> = (0..heads.len()).collect();
        shuffled.sort_by_cached_key(|at| draw(self.seed, &heads[*at].id));
        let (mut ranks, mut next) = (vec![0; heads.len()], [0u32; 4]);
        for at in shuffled {
            let turn = &mut next[heads[at].quadrant.index()];
            ranks[at] = *turn;
            *turn += 1;
        }
        ranks
    }
}
