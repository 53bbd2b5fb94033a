//! The binary: parse arguments, dispatch, print one error chain.

use std::{io::Write, process::ExitCode};

// A training step allocates and frees the same large buffers again and again; the system allocator returns them each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = medserl::runner::signals::ignore_write_signals().and_then(|()| medserl::cli::main());
    done.unwrap_or_else(|error| {
        // A terminal that is gone is no reason to panic.
        let message = medserl::task::without_secrets(&format!("{error:#}"));
        let _ = writeln!(std::io::stderr(), "error: {}", medserl::task::Text::new(&message));
        ExitCode::FAILURE
    })
}
