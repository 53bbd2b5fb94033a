//! All tests but the house rules, as one binary: linking the crate once is most of the cost of building them.

mod alarm;
mod attach;
mod audit;
mod cli;
mod clinic;
mod config;
mod cursor;
mod data;
mod data_draws;
mod eval;
mod figure;
mod labels;
mod lock;
mod model;
mod scribe;
mod signals;
mod steering;
mod store;
mod store_reward;
mod task;
mod torn_log;
mod train;
mod tui;
mod tui_label;
mod vault;
