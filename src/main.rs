//! The binary: parse arguments, dispatch, print one error chain.

use std::process::ExitCode;

// A training step allocates and frees the same large buffers again and again; the system allocator returns them each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    medserl::cli::main().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
