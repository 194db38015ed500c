//! Counters that an operation raises and a display reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far an operation is. Shared with whoever draws it; nothing is ever called back.
#[derive(Debug, Default)]
pub struct Progress {
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    phase: Mutex<&'static str>,
}

/// One reading of [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressReading {
    /// What is going on now.
    pub phase: &'static str,
    /// Bytes to do; 0 while unknown.
    pub total_bytes: u64,
    /// Bytes done, holes included.
    pub done_bytes: u64,
    /// Bytes written to the store.
    pub stored_bytes: u64,
}

impl Progress {
    /// Says what is going on now.
    pub fn phase(&self, phase: &'static str) {
        if let Ok(mut current) = self.phase.lock() {
            *current = phase;
        }
    }

    /// More is to be done.
    pub fn add_total(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// More has been done.
    pub fn add_done(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// More has been stored.
    pub fn add_stored(&self, bytes: u64) {
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn read(&self) -> ProgressReading {
        ProgressReading {
            phase: self.phase.lock().map_or("", |phase| *phase),
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
            done_bytes: self.done_bytes.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
        }
    }
}
