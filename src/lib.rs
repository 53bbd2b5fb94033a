//! MedSeRL.
pub mod config;
pub mod task;
pub mod attach { pub mod live; pub mod protocol; pub use live::Live; }
pub mod model;
pub mod train;
