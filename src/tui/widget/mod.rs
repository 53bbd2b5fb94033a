//! Small drawing pieces over plain strings and numbers. They know nothing of runs, notes or the application.

pub mod chart;
pub mod cut;
pub mod diff;
pub mod gauge;
pub mod number;
pub mod pyramid;
pub mod spark;
pub mod wrap;
