//! The cluster's clock, which a test may drive.

use super::state::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells the time since the cluster was started. It never goes back.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// Whether time passes only when it is told to.
    manual: bool,
    /// What was added by hand, in nanoseconds.
    added: AtomicU64,
}

impl Clock {
    pub(super) fn new(manual: bool) -> Self {
        Self { started: Instant::now(), manual, added: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) -> Time {
        let added = Duration::from_nanos(self.added.load(Ordering::SeqCst));
        if self.manual { added } else { self.started.elapsed() + added }
    }

    pub(super) fn add(&self, time: Duration) {
        self.added.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// How long to wait in real time for a time of this clock; `None`: only [`add`](Self::add) brings it.
    pub(super) fn until(&self, time: Time) -> Option<Duration> {
        let left = time.saturating_sub(self.now());
        if self.manual && !left.is_zero() { None } else { Some(left) }
    }
}
