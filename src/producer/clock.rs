//! The time of day, for records without a timestamp.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The same as of the system's last clock tick, up to some milliseconds ago, for a fraction of the price.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(super) fn coarse_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// The same; this system has no cheaper clock.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn coarse_ms() -> i64 {
    now_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_at_most_some_ticks_behind() {
        let before = now_ms();
        let coarse = coarse_ms();
        let after = now_ms();
        // A tick is 10 ms at the slowest.
        assert!((before - 100..=after).contains(&coarse), "{before} {coarse} {after}");
    }
}
