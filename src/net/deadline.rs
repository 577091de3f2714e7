//! Absolute monotonic deadlines: one covers queueing, writing and the whole answer.

use std::time::{Duration, Instant};

/// A point in time by which something must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// `timeout` from now. A timeout too long for the clock is cut to a year.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self::of(Instant::now(), timeout)
    }

    /// `timeout` from `now`.
    pub(crate) fn of(now: Instant, timeout: Duration) -> Self {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        Self(now.checked_add(timeout.min(YEAR)).unwrap_or(now))
    }

    pub(crate) fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// What is left; zero once it has passed.
    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this one and `timeout` from now.
    pub(crate) fn within(self, timeout: Duration) -> Self {
        self.min(Self::after(timeout))
    }

    pub(crate) fn instant(self) -> Instant {
        self.0
    }
}
