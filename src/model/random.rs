//! Counter-based random streams: every draw is a pure function of its key (design law 5). Nothing needs saving for a resume.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// What a stream is for; part of the key, so that two purposes never share draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Weights,
    Generate,
    Shuffle,
}

/// The generator of one stream, keyed by (run seed, purpose, a, b).
pub fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_mut(8).zip([seed, purpose as u64, a, b]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// One uniform draw in [0, 1) with 53 bits.
pub fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// `n` values uniform in ±bound for weight number `index`.
pub fn uniform(seed: u64, index: u64, n: usize, bound: f32) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Weights, index, 0);
    (0..n).map(|_| (2.0 * unit(&mut rng) - 1.0) as f32 * bound).collect()
}

/// `n` normal values of the given standard deviation for weight number `index` (Box-Muller).
pub fn normal(seed: u64, index: u64, n: usize, std: f32) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Weights, index, 1);
    (0..n)
        .map(|_| {
            let (u, v) = (1.0 - unit(&mut rng), unit(&mut rng));
            ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32 * std
        })
        .collect()
}

/// A random order of 0..n (Fisher-Yates).
pub fn permutation(seed: u64, a: u64, b: u64, n: usize) -> Vec<usize> {
    let mut rng = stream(seed, Purpose::Shuffle, a, b);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, (unit(&mut rng) * (i + 1) as f64) as usize);
    }
    order
}
