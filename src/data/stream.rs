//! Counter-based random streams: the same key gives the same draws, on any machine, at any time.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The stream keyed by (seed, purpose, step, index); `purpose` is at most eight bytes, further ones are ignored.
pub fn stream(seed: u64, purpose: &str, step: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    for (slot, byte) in key[8..16].iter_mut().zip(purpose.bytes()) {
        *slot = byte;
    }
    key[16..24].copy_from_slice(&step.to_le_bytes());
    key[24..].copy_from_slice(&index.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Draws from 0..n; 0 where n is 0. Multiply-shift: its bias is below n / 2^64.
pub fn below(rng: &mut impl RngCore, n: usize) -> usize {
    usize::try_from((u128::from(rng.next_u64()) * n as u128) >> 64).unwrap_or(0)
}

/// Draws uniformly from [0, 1).
pub fn unit(rng: &mut impl RngCore) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Shuffles in place (Fisher-Yates).
pub fn shuffle<T>(rng: &mut impl RngCore, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}
