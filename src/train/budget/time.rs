//! How long a step will take, about.

use serde::Serialize;

use super::{Cut, Load, Target, adapter_values, weight_bytes};
use crate::model::spec::Spec;

/// What the machine can do, 10⁹ a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rates {
    pub gflops: f64,
    pub gbytes: f64,
}

/// Seconds of a step by phase, about: arithmetic at the share of the machine's products that the phase reaches, or the weights read
/// once a token, whichever takes longer.
pub fn seconds(spec: &Spec, load: &Load, target: Target, stored_f32: bool, rates: Rates) -> Vec<(&'static str, f64)> {
    let weights = weight_bytes(spec, load.precision, target, stored_f32) as f64;
    let adapter = adapter_values(spec, load.rank) as f64;
    let embedding = (spec.vocab_size * spec.hidden_size) as f64;
    let a_row = 2.0 * (spec.n_parameters() as f64 - embedding + adapter);
    let products = |flops: f64| flops / (rates.gflops * 1e9 * PRODUCT_SHARE);
    let cut = Cut { spec, load, target, stored_f32 };
    let decode = |places: f64, tokens: f64| {
        let a_token = products(places * (a_row + 2.0 * embedding)) / DECODE_SHARE;
        tokens * a_token.max(weights / (rates.gbytes * 1e9 * READ_SHARE))
    };
    let generation = |n: usize, k: usize, tokens: usize| {
        let places = cut.places(n, k, tokens);
        let waves = ((n * k) as f64 / places.max(1) as f64).ceil();
        products(a_row * load.prompt.mean * n as f64) + decode(places as f64, tokens as f64 * waves)
    };
    let rows = load.samples as f64 * load.group_rows();
    let predicted = (load.samples * load.completions * load.completion_tokens) as f64;
    let reference = products(rows * a_row + predicted * 2.0 * embedding);
    let at_work = cut.at_work(load.samples, load.group_rows()).1 * load.group_rows();
    let passes = 3.0 - cut.layers_kept(at_work as usize) as f64 / spec.n_layers() as f64;
    let update = load.epochs as f64 * products(passes * rows * a_row + 2.0 * predicted * 2.0 * embedding);
    let mut all = Vec::new();
    if load.scribe_tokens > 0 {
        // Half of what may be written is written, and some attempts are repeated.
        all.push(("scribe", generation(load.samples - load.samples / 4, 1, load.scribe_tokens)));
    }
    all.push(("doctor", generation(load.samples, load.completions, load.completion_tokens)));
    all.push(("reference", reference));
    all.push(("update", update));
    all
}

/// Share of the machine's best products that forward and backward reach.
const PRODUCT_SHARE: f64 = 0.45;
/// Share of that which a decoding step reaches: few rows, many small products.
const DECODE_SHARE: f64 = 0.5;
/// Share of the memory bandwidth that reading weights reaches.
const READ_SHARE: f64 = 0.6;
