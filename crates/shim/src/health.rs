//! Whether calls should be sent here: `/_/health`, `/_/ready`, and the lock file that says the same to programs.

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

/// The file that is there while calls are taken. Whoever takes it away marks the function unhealthy.
pub(crate) fn lock_file() -> PathBuf {
    std::env::temp_dir().join(".lock")
}

pub(crate) fn is_locked() -> bool {
    lock_file().exists()
}

/// What is told.
#[derive(Default)]
pub(crate) struct Health {
    accepting: AtomicBool,
    lock: bool,
}

impl Health {
    /// With a lock file, or without.
    pub(crate) fn new(lock: bool) -> Self {
        Self { lock, ..Self::default() }
    }

    /// Calls are taken from now on.
    pub(crate) fn begin(&self) -> io::Result<()> {
        if self.lock {
            let file = lock_file();
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(file, b"")?;
        }
        self.accepting.store(true, Ordering::Release);
        Ok(())
    }

    /// No more calls should be sent.
    pub(crate) fn end(&self) {
        self.accepting.store(false, Ordering::Release);
        if self.lock {
            // Somebody else may have done so.
            let _ = fs::remove_file(lock_file());
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.accepting.load(Ordering::Acquire) && (!self.lock || is_locked())
    }
}
