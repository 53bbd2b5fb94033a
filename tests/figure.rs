//! Figures that tests print for `experiments/RELIABILITY.md`; `experiments/reliability.sh` collects them.

/// Says one figure, with the test it comes from: libtest names a test's thread after it.
pub fn figure(row: &str, what: &str, found: &str) {
    let thread = std::thread::current();
    println!("\nfigure: {row} | {what} | {found} | {}", thread.name().unwrap_or("?"));
}
