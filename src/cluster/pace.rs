//! How often the brokers are asked for metadata, whatever asks for it but a topic that has just come into use, which can
//! happen once for each. Pure: no clock of its own.

use std::time::{Duration, Instant};

/// One request per this time in the long run.
const INTERVAL: Duration = Duration::from_millis(200);
/// So many may follow each other at once: a new leader must be found fast, and is if the first answers tell.
const BURST: u32 = 3;

/// Lets a burst through and then holds back.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all requests so far would have been sent, one per interval. `None` before the first.
    paid_until: Option<Instant>,
}

impl Pace {
    /// A request was sent.
    pub(super) fn spend(&mut self, now: Instant) {
        self.paid_until = Some(self.paid_until.map_or(now, |until| until.max(now)) + INTERVAL);
    }

    /// How long the next request has to wait.
    pub(super) fn delay(&self, now: Instant) -> Duration {
        let ahead = self.paid_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        ahead.saturating_sub(INTERVAL * (BURST - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i22_a_burst_is_free_and_a_loop_is_held_to_five_a_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut now = start;
        let mut sent = Vec::new();
        while now < start + Duration::from_secs(10) {
            sent.push(now - start);
            pace.spend(now);
            now += pace.delay(now).max(Duration::from_millis(1));
        }
        assert!(sent[2] < Duration::from_millis(10), "{:?}", &sent[..4]);
        assert!((50..=50 + BURST as usize).contains(&sent.len()), "{} in 10 s", sent.len());
        // After a pause the burst is free again.
        now += Duration::from_secs(60);
        pace.spend(now);
        pace.spend(now);
        assert_eq!(pace.delay(now), Duration::ZERO);
        pace.spend(now);
        assert_eq!(pace.delay(now), INTERVAL);
    }
}
