//! The learning: one step on one page ([`step`]), and what it is made of.

pub mod advantage;
pub mod algo;
pub mod bench;
pub mod budget;
pub mod checkpoint;
pub mod cursor;
pub mod explain;
pub mod faults;
mod gather;
pub mod guard;
pub mod loss;
pub mod optimizer;
pub mod parity;
pub mod pretrain;
pub mod select;
pub mod sft;
pub mod shelf;
pub mod step;
pub mod tensors;
pub mod update;
pub mod vault;
