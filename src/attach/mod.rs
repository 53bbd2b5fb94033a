//! How a client watches and steers a trainer: Control in, Notice out, one JSON object a line over a Unix socket.
//! The store is the truth; what passes here is control and live text only, and a slow client never slows the trainer.

pub mod client;
mod lease;
pub mod live;
mod outbox;
pub mod protocol;
pub mod server;
mod socket;
mod wire;

pub use client::Client;
pub use live::Live;
pub use protocol::{Control, Machine, Notice, RunState};
pub use server::Server;
