//! MedSeRL: a small medical language model plays Scribe and Doctor against itself and learns, in the terminal. Research only.
//!
//! The story in reading order: [`task`] is the game, [`config`] an experiment of it, [`data`] and [`clinic`] bring notes, [`model`] is the
//! player, [`scribe`] makes samples, [`train`] learns from them, [`eval`] says whether it helped, [`runner`] keeps it going, [`store`]
//! remembers it, [`attach`] and [`tui`] show it, [`cli`] is the way in. A module imports only those that design and `tests/tidy.rs` allow.

pub mod attach;
pub mod cli;
pub mod clinic;
pub mod config;
pub mod data;
pub mod eval;
pub mod model;
pub mod runner;
pub mod scribe;
pub mod store;
pub mod task;
pub mod train;
pub mod tui;
