//! How tests say that they were skipped, so that a run names what it left out.

use std::{fmt, io::Write as _};

/// Says that the running test was skipped, and why, with the arguments of `format!`.
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => {
        $crate::say(format_args!($($why)*))
    };
}

/// Writes to standard error itself: what goes through `eprintln!` is shown for failed tests only.
pub fn say(why: fmt::Arguments<'_>) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // A test run without standard error has nobody to tell.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
