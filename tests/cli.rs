//! The program as its users meet it: arguments in, exit code, lines and files out.

mod bad_input;
mod device;
mod export;
mod faults;
mod gate;
mod interrupted;
mod kills;
mod medec;
mod planning;
pub mod program;
mod reporting;
mod secrets;
mod selfplay;
mod silence;
mod terminal;
mod warmup;
