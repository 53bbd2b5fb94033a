//! The model on a GPU: one launch where candle's operations would take ten, in memory taken once, with no graph and no copies. A
//! layer is four products with frozen weights, their adapters, attention, and four kernels in between; its backward is written by
//! hand. What it computes is what [`super::gemma3`] says; [`super::portable`] computes the same by candle's operations alone.
//!
//! Stream, norms, softmax, adapters and all sums are f32. Where weights are bf16, what meets them in a product is rounded to bf16,
//! and what other products read to TF32 (10 bits of mantissa), so that tensor cores take them all.

pub mod backward;
pub mod decode;
pub mod flat;
pub mod footprint;
pub mod forward;
pub mod layers;
pub mod rows;
pub mod tree;
