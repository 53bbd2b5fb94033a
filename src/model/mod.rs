//! Gemma 3 with LoRA on candle: the trainable model, its files, and drawing text from it.

pub mod batch;
pub mod gemma3;
pub mod lora;
pub mod ops;
pub mod plan;
pub mod random;
pub mod spec;
pub mod weights;
