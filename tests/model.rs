//! The model on a tiny random Gemma: every gradient against finite differences, adapters, shared prompts, decoding, files.

mod adapter;
mod files;
mod generation;
mod matrix;
mod ops;
mod tiny;
