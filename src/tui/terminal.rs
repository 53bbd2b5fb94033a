//! Taking the terminal over and giving it back exactly once: on drop, on an error, and on a panic of the drawing thread.
//! A panic on any other thread leaves the screen alone; its text is kept until the terminal is free.

use std::{
    io::{self, IsTerminal, Write},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    path::Path,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
};

use anyhow::bail;
use ratatui::crossterm::{
    cursor::{Hide, Show},
    event::{DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange},
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};

use super::widget::cut;
use crate::store::is_locked;

static TAKEN: AtomicBool = AtomicBool::new(false);
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);
static DEFERRED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// Why the terminal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error("{0} is no terminal; use `medserl status RUN`, or `--headless` to run without a screen")]
    NotATerminal(&'static str),
    #[error("the screen is already taken by this process")]
    Taken,
    #[error("the terminal does not answer: {0}")]
    Io(#[from] io::Error),
}

/// While this lives, the terminal is ours: raw mode, alternate screen, hidden cursor.
#[derive(Debug)]
pub struct TerminalGuard(());

impl TerminalGuard {
    /// Takes the terminal over for the calling thread; `with_mouse` takes the mouse as well.
    pub fn take(with_mouse: bool) -> Result<TerminalGuard, TerminalError> {
        if !io::stdout().is_terminal() {
            return Err(TerminalError::NotATerminal("standard output"));
        }
        if !io::stdin().is_terminal() {
            return Err(TerminalError::NotATerminal("standard input"));
        }
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(TerminalError::Taken);
        }
        *lock(&OWNER) = Some(thread::current().id());
        HOOK.call_once(chain_hook);
        let guard = TerminalGuard(());
        enable_raw_mode()?;
        // The window's title is put aside and comes back with the screen.
        io::stdout().write_all(b"\x1b[22;0t")?;
        execute!(io::stdout(), EnterAlternateScreen, Hide, EnableBracketedPaste, EnableFocusChange)?;
        if with_mouse {
            mouse(&mut io::stdout(), true)?;
        }
        Ok(guard)
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Panic messages of other threads since the screen was taken; the caller prints them once it is free.
pub fn deferred_panics() -> Vec<String> {
    std::mem::take(&mut lock(&DEFERRED))
}

/// Runs a screen of the run in `dir`. One that panics has given the terminal back and told why; what the reader needs then is the
/// way back, since the trainer, a process of its own, goes on.
///
/// # Errors
/// Those of the screen, and its panic.
pub fn surviving<T>(dir: &Path, screen: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(screen)).unwrap_or_else(|_| {
        let id = cut::clean(&dir.file_name().unwrap_or_default().to_string_lossy());
        let goes_on = if is_locked(dir) { "goes on" } else { "is not being trained" };
        bail!("the screen failed, which is a defect of the program; {id} {goes_on}. Look at it again: medserl attach {id}")
    })
}

/// Takes clicks and the wheel (modes 1000 and 1006, never motion), or gives them back.
pub fn mouse(out: &mut dyn Write, on: bool) -> io::Result<()> {
    out.write_all(if on { b"\x1b[?1000h\x1b[?1006h" } else { b"\x1b[?1006l\x1b[?1000l" })?;
    out.flush()
}

/// Safe to call any number of times. Errors are ignored: the terminal may be gone, and nothing better can be done.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = mouse(&mut io::stdout(), false);
        let _ = execute!(io::stdout(), DisableFocusChange, DisableBracketedPaste, Show, LeaveAlternateScreen);
        let _ = io::stdout().write_all(b"\x1b[23;0t");
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

fn chain_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let ours = *lock(&OWNER) == Some(thread::current().id());
        if TAKEN.load(Ordering::SeqCst) && !ours {
            lock(&DEFERRED).push(info.to_string());
            return;
        }
        give_back();
        before(info);
    }));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
