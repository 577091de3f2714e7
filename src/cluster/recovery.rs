//! When to forget the cluster and begin again at the bootstrap addresses. Pure: no clock of its own.

use std::time::{Duration, Instant};

/// What a client does when none of the brokers it knows can tell it where the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MetadataRecovery {
    /// Asks the bootstrap addresses, so that a cluster whose brokers were all replaced is found again (KIP-899).
    #[default]
    Rebootstrap,
    /// Goes on asking the brokers it knows. The bootstrap addresses are asked when the client is built, and never again.
    None,
}

/// The strategy, and since when it has gone wrong.
#[derive(Debug)]
pub(super) struct Recovery {
    strategy: MetadataRecovery,
    trigger: Duration,
    /// When the first attempt since the last success, or since the last new beginning, was made.
    failing_since: Option<Instant>,
}

impl Recovery {
    pub(super) fn new(strategy: MetadataRecovery, trigger: Duration) -> Self {
        Self { strategy, trigger, failing_since: None }
    }

    /// Whether the bootstrap addresses may be asked beside brokers that are known.
    pub(super) fn may_rebootstrap(&self) -> bool {
        self.strategy == MetadataRecovery::Rebootstrap
    }

    /// Metadata is asked for now. Whether it is time to forget all brokers before (KIP-1102); then the time starts anew.
    pub(super) fn attempt(&mut self, now: Instant) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        let due = self.may_rebootstrap() && now.saturating_duration_since(since) > self.trigger;
        if due {
            self.failing_since = Some(now);
        }
        due
    }

    pub(super) fn succeeded(&mut self) {
        self.failing_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn b13_failures_for_longer_than_the_trigger_are_a_new_beginning_each_time() {
        let start = Instant::now();
        let mut recovery = Recovery::new(MetadataRecovery::Rebootstrap, 300 * SECOND);
        let due: Vec<u32> = (0..1000).filter(|second| recovery.attempt(start + *second * SECOND)).collect();
        assert_eq!(due, [301, 602, 903]);
    }

    #[test]
    fn b13_a_success_sets_the_time_back_and_long_silence_is_no_failure() {
        let start = Instant::now();
        let mut recovery = Recovery::new(MetadataRecovery::Rebootstrap, 300 * SECOND);
        assert!(!recovery.attempt(start));
        recovery.succeeded();
        // Nobody asked for an hour.
        assert!(!recovery.attempt(start + 3600 * SECOND));
        assert!(!recovery.attempt(start + 3900 * SECOND));
        assert!(recovery.attempt(start + 3901 * SECOND));
    }

    #[test]
    fn b13_without_the_strategy_there_is_no_new_beginning() {
        let start = Instant::now();
        let mut recovery = Recovery::new(MetadataRecovery::None, Duration::ZERO);
        assert!(!(0..1000).any(|second| recovery.attempt(start + second * SECOND)));
        assert!(!recovery.may_rebootstrap());
    }
}
