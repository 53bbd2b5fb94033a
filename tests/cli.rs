//! The program as its users meet it: arguments in, exit code, lines and files out.

mod bad_input;
mod export;
mod gate;
mod interrupted;
mod medec;
mod planning;
mod program;
mod reporting;
mod selfplay;
