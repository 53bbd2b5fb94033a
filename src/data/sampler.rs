//! The Balanced Quadrant sampler: which source notes the Scribe gets at a step. A pure function of (pools, seed, step).
//!
//! Each pool is walked in epochs: every note once, in an order drawn for that epoch; the step says where on the walk to start.
//! The error walk spreads each of the five kinds evenly over the epoch, so any stretch of it has about the pool's mix.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand_chacha::rand_core::RngCore;

use super::error::DataError;
use super::stream::{shuffle, stream, unit};
use crate::task::{LabelledNote, Quadrant};

/// The notes the Scribe may start from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    pub errors: Vec<LabelledNote>,
    pub cleans: Vec<LabelledNote>,
}

impl Pools {
    /// Parts notes by label; an error note whose sentence id does not resolve (a listed violation) is left out.
    /// Neither pool may be empty.
    pub fn new(notes: impl IntoIterator<Item = LabelledNote>) -> Result<Pools, DataError> {
        let usable = notes.into_iter().filter(|note| note.corrected().is_some());
        let (errors, cleans): (Vec<_>, Vec<_>) = usable.partition(|note| note.label.is_error());
        match (errors.is_empty(), cleans.is_empty()) {
            (true, _) => Err(DataError::EmptyPool { what: "error" }),
            (_, true) => Err(DataError::EmptyPool { what: "clean" }),
            _ => Ok(Pools { errors, cleans }),
        }
    }
}

/// Draws the sources of a step: `n_samples / 4` a quadrant, interleaved AE, AS, SD, SI, AE and so on. No note comes twice, nor
/// a vignette group, where the pools are large enough; an empty pool gives its quadrants nothing ([`Pools::new`] refuses one).
pub fn draw(pools: &Pools, seed: u64, step: u32, n_samples: usize) -> Vec<(Quadrant, LabelledNote)> {
    let share = n_samples / Quadrant::ALL.len();
    let mut groups = HashSet::new();
    let errors = walk(&pools.errors, |epoch| error_order(&pools.errors, seed, epoch), step, share, &mut groups);
    let cleans = walk(&pools.cleans, |epoch| clean_order(pools.cleans.len(), seed, epoch), step, 3 * share, &mut groups);
    let (mut errors, mut cleans) = (errors.into_iter(), cleans.into_iter());
    let quadrants = Quadrant::ALL.iter().cycle().take(share * Quadrant::ALL.len());
    let source = |quadrant: &Quadrant| {
        let note = if quadrant.starts_from_error() { errors.next() } else { cleans.next() };
        note.map(|note| (*quadrant, note.clone()))
    };
    quadrants.filter_map(source).collect()
}

/// [`draw`] for a scheme that pays for pairs: an AE's error note comes with its clean sibling as an AS, and an SI's clean note is an
/// SD's as well, so that every sample has a counterpart with the opposite label in its step. The error walk is that of [`draw`]; the
/// clean walk needs a third of its notes. An error note without a sibling leaves its AS to another clean note.
pub fn draw_pairs(pools: &Pools, seed: u64, step: u32, n_samples: usize) -> Vec<(Quadrant, LabelledNote)> {
    let share = n_samples / Quadrant::ALL.len();
    let mut groups = HashSet::new();
    let errors = walk(&pools.errors, |epoch| error_order(&pools.errors, seed, epoch), step, share, &mut groups);
    let cleans = walk(&pools.cleans, |epoch| clean_order(pools.cleans.len(), seed, epoch), step, share, &mut groups);
    let siblings = clean_siblings(pools);
    let mut lone = draw_notes(&pools.cleans, stream(seed, "src-aln", u64::from(step), 0), &HashSet::new());
    lone.retain(|note| !groups.contains(note.note.group.as_str()));
    let mut lone = lone.into_iter();
    let pairs = errors.into_iter().zip(cleans).flat_map(|(error, clean)| {
        let sibling = siblings.get(error.note.group.as_str()).copied().or_else(|| lone.next()).unwrap_or(clean);
        [
            (Quadrant::AugmentedError, error.clone()),
            (Quadrant::AugmentedSafe, sibling.clone()),
            (Quadrant::SyntheticDecoy, clean.clone()),
            (Quadrant::SyntheticInjection, clean.clone()),
        ]
    });
    pairs.collect()
}

/// More sources for the quadrants named, none of the notes in `read` (by id) where there are others. `turn` tells the draws of one
/// step apart.
pub fn draw_more(
    pools: &Pools,
    seed: u64,
    step: u32,
    turn: u32,
    quadrants: &[Quadrant],
    read: &HashSet<String>,
) -> Vec<(Quadrant, LabelledNote)> {
    let [errors, cleans] = drawn_again(pools, seed, step, turn, read);
    let (mut errors, mut cleans) = (errors.iter().cycle(), cleans.iter().cycle());
    let source = |quadrant: &Quadrant| {
        let note = if quadrant.starts_from_error() { errors.next() } else { cleans.next() };
        note.map(|note| (*quadrant, (*note).clone()))
    };
    quadrants.iter().filter_map(source).collect()
}

/// [`draw_more`] for a scheme that pays for pairs: for every AE or AS that is missing both notes of another pair, for every SD or SI
/// another clean note for both. So a quadrant can get more samples than it misses: those are there for their sibling's sake.
pub fn draw_more_pairs(
    pools: &Pools,
    seed: u64,
    step: u32,
    turn: u32,
    quadrants: &[Quadrant],
    read: &HashSet<String>,
) -> Vec<(Quadrant, LabelledNote)> {
    use Quadrant::{AugmentedError, AugmentedSafe, SyntheticDecoy, SyntheticInjection};
    let [mut errors, mut cleans] = drawn_again(pools, seed, step, turn, read);
    let most = |one, other| [one, other].map(|wanted| quadrants.iter().filter(|q| **q == wanted).count()).into_iter().max();
    let take =
        |notes: Vec<_>, n: Option<usize>| -> Vec<&LabelledNote> { notes.into_iter().cycle().take(n.unwrap_or(0)).collect() };
    let siblings = clean_siblings(pools);
    let sibling = |error: &LabelledNote| siblings.get(error.note.group.as_str()).copied();
    errors.sort_by_key(|error| sibling(error).map_or((true, true), |s| (false, read.contains(&s.note.id))));
    let errors = take(errors, most(AugmentedError, AugmentedSafe));
    let groups: HashSet<&str> = errors.iter().map(|error| error.note.group.as_str()).collect();
    cleans.sort_by_key(|clean| groups.contains(clean.note.group.as_str()));
    // Clean notes for error notes without a sibling come from behind those of the other two quadrants.
    let n_cleans = most(SyntheticDecoy, SyntheticInjection);
    let mut lone = cleans.clone().into_iter().cycle().skip(n_cleans.unwrap_or(0));
    let reworded = errors.into_iter().flat_map(|error| {
        let safe = sibling(error).or_else(|| lone.next()).map(|clean| (AugmentedSafe, clean.clone()));
        [Some((AugmentedError, error.clone())), safe].into_iter().flatten()
    });
    let twice = take(cleans, n_cleans)
        .into_iter()
        .flat_map(|clean| [(SyntheticDecoy, clean.clone()), (SyntheticInjection, clean.clone())]);
    reworded.chain(twice).collect()
}

/// Error notes and clean notes in the order of a further draw of a step.
fn drawn_again<'a>(pools: &'a Pools, seed: u64, step: u32, turn: u32, read: &HashSet<String>) -> [Vec<&'a LabelledNote>; 2] {
    let rng = |pool: u64| stream(seed, "src-mor", u64::from(step), u64::from(turn) << 8 | pool);
    [draw_notes(&pools.errors, rng(0), read), draw_notes(&pools.cleans, rng(1), read)]
}

/// The clean note of each vignette group that has one.
fn clean_siblings(pools: &Pools) -> HashMap<&str, &LabelledNote> {
    pools.cleans.iter().map(|note| (note.note.group.as_str(), note)).collect()
}

/// All notes of a pool in drawn order, those not read yet first.
fn draw_notes<'a>(pool: &'a [LabelledNote], mut rng: impl RngCore, read: &HashSet<String>) -> Vec<&'a LabelledNote> {
    let mut notes: Vec<&LabelledNote> = pool.iter().collect();
    shuffle(&mut rng, &mut notes);
    notes.sort_by_key(|note| read.contains(&note.note.id));
    notes
}

/// Takes `count` notes from the walk's place for this step on, passing over notes and groups already taken in the step.
fn walk<'a>(
    pool: &'a [LabelledNote],
    order: impl Fn(u64) -> Vec<usize>,
    step: u32,
    count: usize,
    groups: &mut HashSet<&'a str>,
) -> Vec<&'a LabelledNote> {
    if pool.is_empty() {
        return Vec::new();
    }
    let length = pool.len() as u64;
    let first = u64::from(step) * count as u64;
    let mut epochs: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut at = |place: u64| epochs.entry(place / length).or_insert_with_key(|epoch| order(*epoch))[(place % length) as usize];
    let mut picked = Vec::new();
    // Two epochs from any place hold every note. The second pass lets groups repeat, for pools with fewer groups than are needed.
    for groups_may_repeat in [false, true] {
        for place in first..first + 2 * length {
            if picked.len() == count {
                break;
            }
            let note = at(place);
            if !picked.contains(&note) && (groups.insert(&pool[note].note.group) || groups_may_repeat) {
                picked.push(note);
            }
        }
    }
    // A pool smaller than the step needs: its notes come round again.
    picked.iter().cycle().take(count).map(|&note| &pool[note]).collect()
}

fn clean_order(length: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..length).collect();
    shuffle(&mut stream(seed, "src-cln", epoch, 0), &mut order);
    order
}

/// Each kind's notes in an order of their own, at even distances from a drawn start, all kinds merged.
fn error_order(errors: &[LabelledNote], seed: u64, epoch: u64) -> Vec<usize> {
    let mut kinds: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, note) in errors.iter().enumerate() {
        kinds.entry(note.label.kind()).or_default().push(at);
    }
    let mut placed = Vec::with_capacity(errors.len());
    for (kind, mut members) in kinds {
        let mut rng = stream(seed, "src-err", epoch, kind.map_or(0, |kind| kind as u64 + 1));
        shuffle(&mut rng, &mut members);
        let start = unit(&mut rng);
        let distance = 1.0 / members.len() as f64;
        placed.extend(members.into_iter().enumerate().map(|(rank, at)| ((rank as f64 + start) * distance, at)));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    placed.into_iter().map(|(_, at)| at).collect()
}
