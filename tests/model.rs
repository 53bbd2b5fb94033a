//! The model on a tiny random Gemma: every gradient against finite differences, adapters, shared prompts, decoding, files.

mod adapter;
mod bertscore;
mod files;
mod generation;
mod gradients;
mod hub;
mod matrix;
mod ops;
mod oracle;
mod plain;
mod portable;
mod properties;
mod room;
mod template;
pub mod tiny;
