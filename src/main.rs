//! The binary: parse arguments, dispatch, print one error chain.

use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    let done = medserl::runner::signals::ignore_write_signals().and_then(|()| medserl::cli::main());
    done.unwrap_or_else(|error| {
        // A terminal that is gone is no reason to panic.
        let message = medserl::task::without_secrets(&told(&error));
        let _ = writeln!(std::io::stderr(), "error: {}", medserl::task::Text::new(&message));
        ExitCode::FAILURE
    })
}

/// The error and its causes in one line, none said twice: many errors name their cause in a sentence of their own.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.is_empty() {
        true => cause,
        false if said.contains(&cause) => said,
        false => format!("{said}: {cause}"),
    })
}
