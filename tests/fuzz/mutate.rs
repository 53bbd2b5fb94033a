//! Seeded mutations of bytes: what disks, hands, programs and attackers do to a file.

use rand_chacha::{ChaCha8Rng, rand_core::RngCore};

/// Numbers that trip up arithmetic, as text.
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"9223372036854775808",
    b"1e400",
    b"-0.0",
    b"1e-400",
    b"NaN",
    b"99999999999999999999999",
    b"2147483648",
    b"0x10",
];

pub fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    (random.next_u64() % n.max(1) as u64) as usize
}

fn pick<'a>(random: &mut ChaCha8Rng, all: &'a [impl AsRef<[u8]>]) -> &'a [u8] {
    if all.is_empty() { b"" } else { all[below(random, all.len())].as_ref() }
}

/// One to eight changes of an entry of the corpus; `words` are pieces of the format.
pub fn mutate(random: &mut ChaCha8Rng, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = corpus[below(random, corpus.len())].clone();
    for _ in 0..=below(random, 8) {
        change(random, &mut bytes, corpus, words);
    }
    bytes
}

fn change(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let (a, b) = (below(random, bytes.len() + 1), below(random, bytes.len() + 1));
    let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 64));
    match below(random, 12) {
        0 | 1 if !bytes.is_empty() => {
            let at = below(random, bytes.len());
            bytes[at] ^= 1 << below(random, 8);
        }
        2 if !bytes.is_empty() => {
            let at = below(random, bytes.len());
            bytes[at] = [0, 0xFF, 0x80, b'"', b'\n', b'{', b'[', b'\\', 0x1B, b','][below(random, 10)];
        }
        3 | 4 => drop(bytes.splice(from..from, pick(random, words).to_vec())),
        5 => drop(bytes.drain(from..to)),
        6 => bytes.extend_from_within(from..to),
        7 => number(random, bytes, from),
        8 => bytes.truncate(from),
        9 => {
            let other = pick(random, corpus);
            let start = below(random, other.len() + 1);
            bytes.truncate(from);
            bytes.extend_from_slice(&other[start..]);
        }
        10 => {
            let noise: Vec<u8> = (0..below(random, 32)).map(|_| random.next_u32() as u8).collect();
            drop(bytes.splice(from..from, noise));
        }
        // Seldom: something a thousand times over, for depth and length.
        _ if below(random, 40) == 0 => {
            let piece = if below(random, 2) == 0 { pick(random, words).to_vec() } else { bytes[from..to].to_vec() };
            drop(bytes.splice(from..from, piece.repeat(1 + below(random, 3_000))));
        }
        _ => {}
    }
}

/// Puts another number in the place of the next run of digits.
fn number(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, from: usize) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|n| from + n) else { return };
    let end = bytes[start..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |n| start + n);
    drop(bytes.splice(start..end, pick(random, NUMBERS).to_vec()));
}
