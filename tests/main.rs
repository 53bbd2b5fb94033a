//! All tests but the house rules, as one binary: linking the crate once is most of the cost of building them.

mod attach;
mod cli;
mod clinic;
mod config;
mod data;
mod data_draws;
mod eval;
mod model;
mod scribe;
mod store;
mod task;
mod train;
mod tui;
