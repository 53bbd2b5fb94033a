//! Counter-based draws: one stream per (purpose, seed, index), so that no draw depends on another vignette's.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// One stream of draws.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    pub(super) fn new(purpose: &str, seed: u64, index: u64) -> Draw {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&index.to_le_bytes()).update(purpose.as_bytes());
        Draw(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Uniform in `0..n`; `n` must be positive. The bias of the multiply is below 2^-32.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let high = (u128::from(self.0.next_u64()) * n as u128) >> 64;
        usize::try_from(high).unwrap_or(0)
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = high.saturating_sub(low) as usize + 1;
        low + u32::try_from(self.below(span)).unwrap_or(0)
    }

    pub(super) fn percent(&mut self, chance: u32) -> bool {
        self.between(0, 99) < chance
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Picks an item with probability proportional to its weight.
    pub(super) fn weighted<T: Copy>(&mut self, items: &[(T, u32)]) -> T {
        let total: u32 = items.iter().map(|(_, weight)| weight).sum();
        let mut rest = self.between(0, total.saturating_sub(1));
        for (item, weight) in items {
            if rest < *weight {
                return *item;
            }
            rest -= weight;
        }
        items[0].0
    }

    /// `k` of `items`, in the items' own order (all of them where there are fewer than `k`).
    pub(super) fn subset<T: Copy>(&mut self, items: &[T], k: usize) -> Vec<T> {
        let mut places: Vec<usize> = (0..items.len()).collect();
        self.shuffle(&mut places);
        places.truncate(k);
        places.sort_unstable();
        places.into_iter().map(|place| items[place]).collect()
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
