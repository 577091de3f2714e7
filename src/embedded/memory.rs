//! The memory that requests take while they are read and served.

use super::link::Link;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request waits for memory that others hold. Those that have a part of a request each and wait for one
/// another are parted by it: one is given up, the rest goes on.
const PATIENCE: Duration = Duration::from_secs(10);

/// A limit on the bytes of all large requests together. Kafka: `queued.max.request.bytes`.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// Memory that one request has taken; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), freed: Condvar::new() })
    }

    /// An empty share, which grows as bytes arrive.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { memory: Arc::clone(self), bytes: 0 }
    }

    /// Ends the waits of links that have ended.
    pub(super) fn wake(&self) {
        // With the lock: a thread between its look at the link and its wait would miss it otherwise.
        let _used = self.used();
        self.freed.notify_all();
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        *self.used()
    }

    fn used(&self) -> MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more; waits for it while others have it. False if it did not come in time or the link has ended.
    pub(super) fn grow(&mut self, bytes: usize, link: &Link) -> bool {
        let until = Instant::now() + PATIENCE;
        let memory = &*self.memory;
        let mut used = memory.used();
        while used.saturating_add(bytes) > memory.limit {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || link.is_ended() {
                return false;
            }
            used = memory.freed.wait_timeout(used, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *used += bytes;
        self.bytes += bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut used = self.memory.used();
            *used = used.saturating_sub(self.bytes);
            self.memory.freed.notify_all();
        }
    }
}
