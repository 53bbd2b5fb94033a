//! Gemma 3 with LoRA on candle: the trainable model, its files, and drawing text from it. Beside it, DeBERTa for BERTScore.

pub mod alternatives;
pub mod batch;
pub mod bertscore;
pub mod cache;
pub mod crew;
mod deberta;
pub mod files;
pub mod fused;
pub mod gemma3;
pub mod generate;
pub mod hub;
pub mod kernels;
pub mod known;
pub mod lora;
pub mod merge;
pub mod ops;
pub mod place;
pub mod plan;
pub mod policy;
pub mod portable;
pub mod random;
pub mod room;
pub mod spec;
pub mod tape;
pub mod template;
pub mod tokenizer;
pub mod weights;

pub use policy::Policy;
pub use tape::Buffers;
