//! TOML that people wrote, read within bounds.

use std::{panic::resume_unwind, thread};

use serde::de::DeserializeOwned;

/// No file that this program reads as TOML comes near it.
const MAX_BYTES: usize = 64 << 10;
/// The parser goes one call deeper for each bracket that is not closed and takes more than a kilobyte of stack for it, without an end.
const STACK_A_BYTE: usize = 3 << 10;
const STACK: usize = 1 << 20;

/// Reads TOML; `Err` says what is wrong, with line and column where the parser knows them.
///
/// # Errors
/// Text that is no TOML or not what `T` expects, and text beyond 64 KiB.
pub fn read<T: DeserializeOwned + Send>(text: &str) -> Result<T, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("{} bytes are more than such a file can have ({MAX_BYTES})", text.len()));
    }
    thread::scope(|scope| {
        let parser = thread::Builder::new().name("toml".into()).stack_size(STACK + text.len() * STACK_A_BYTE);
        let read = parser.spawn_scoped(scope, || toml::from_str(text).map_err(|e: toml::de::Error| e.to_string()));
        read.map_err(|e| format!("it cannot be read: there is no thread to do it ({e})"))?
            .join()
            .unwrap_or_else(|e| resume_unwind(e))
    })
}
