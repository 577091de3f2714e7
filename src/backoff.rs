//! How long to wait before the next attempt. Pure: no clock, no source of randomness of its own.

use std::time::Duration;

/// Exponential backoff with jitter: doubles from `min` to `max`, each wait varied by up to 20 % either way.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    /// The next wait before jitter; between `min` and `max`.
    current: Duration,
}

/// Clients that lost the same broker at the same moment must not come back at the same moment.
const JITTER: f64 = 0.2;

impl Backoff {
    /// Waits from `min` up to `max`; a `max` below `min` counts as `min`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), current: min }
    }

    /// The next wait. `random` gives numbers from 0 up to 1.
    pub(crate) fn next(&mut self, mut random: impl FnMut() -> f64) -> Duration {
        let wait = self.current;
        self.current = wait.saturating_mul(2).clamp(self.min, self.max);
        let position = random().clamp(0.0, 1.0);
        wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * position)
    }

    /// The shortest and the longest wait, before jitter.
    pub(crate) fn range(&self) -> (Duration, Duration) {
        (self.min, self.max)
    }

    /// Starts again at `min`: something worked.
    pub(crate) fn reset(&mut self) {
        self.current = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn doubles_up_to_the_maximum_and_starts_again_after_reset() {
        let mut backoff = Backoff::new(100 * MS, 1000 * MS);
        let waits: Vec<_> = (0..6).map(|_| backoff.next(|| 0.5)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000].map(|ms| ms * MS));
        backoff.reset();
        assert_eq!(backoff.next(|| 0.5), 100 * MS);
    }

    #[test]
    fn jitter_stays_within_a_fifth_even_for_a_bad_random_source() {
        for (random, expected) in [(0.0, 80), (1.0, 120), (-7.0, 80), (9.0, 120)] {
            let wait = Backoff::new(100 * MS, 100 * MS).next(|| random);
            assert!(wait.abs_diff(expected * MS) < Duration::from_micros(1), "{random}: {wait:?}");
        }
    }

    #[test]
    fn a_maximum_below_the_minimum_counts_as_the_minimum() {
        let mut backoff = Backoff::new(100 * MS, 10 * MS);
        assert_eq!([backoff.next(|| 0.5), backoff.next(|| 0.5)], [100 * MS; 2]);
    }
}
