//! The learning: one step on one page, and what it is made of.

pub mod advantage;
pub mod loss;
pub mod optimizer;
pub mod parity;
