//! The partitions a sender is to look at.

use super::partition::{Due, PartitionQueue};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Partitions that may have something to send. One may stand in it twice; that costs a look. Behind the lock of the
/// sender's handle.
#[derive(Debug, Default)]
pub(super) struct Lists {
    ready: VecDeque<Arc<PartitionQueue>>,
    /// Those that have no more than a batch with room.
    unfilled: VecDeque<Arc<PartitionQueue>>,
    timers: BinaryHeap<Timer>,
    pub(super) retired: bool,
}

#[derive(Debug)]
struct Timer {
    at: Instant,
    partition: Arc<PartitionQueue>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    /// The earliest is the greatest, so that the heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

impl Lists {
    /// Adds a partition; false if whoever waits by these lists need not know, since a timer of theirs ends earlier.
    pub(super) fn push(&mut self, partition: &Arc<PartitionQueue>, due: Due) -> bool {
        match due {
            Due::Now => self.ready.push_back(partition.clone()),
            Due::Unfilled => self.unfilled.push_back(partition.clone()),
            Due::At(at) => {
                let first = self.next_timer().is_none_or(|first| at < first);
                self.timers.push(Timer { at, partition: partition.clone() });
                return first;
            }
            Due::Later => return false,
        }
        true
    }

    /// The next partition that may have something to send; one that has no more than a batch with room only if
    /// `unfilled` ones are wanted.
    pub(super) fn pop(&mut self, now: Instant, unfilled: bool) -> Option<Arc<PartitionQueue>> {
        while self.next_timer().is_some_and(|at| at <= now) {
            self.ready.push_back(self.timers.pop()?.partition);
        }
        let ready = self.ready.pop_front();
        ready.or_else(|| if unfilled { self.unfilled.pop_front() } else { None })
    }

    /// Whether there may be something to send, not counting batches with room unless `unfilled` ones are wanted.
    pub(super) fn has_work(&self, now: Instant, unfilled: bool) -> bool {
        let timer = self.next_timer().is_some_and(|at| at <= now);
        timer || !self.ready.is_empty() || unfilled && !self.unfilled.is_empty()
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|timer| timer.at)
    }

    pub(super) fn has_only_unfilled(&self) -> bool {
        self.ready.is_empty() && self.timers.is_empty() && !self.unfilled.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.unfilled.is_empty() && self.timers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::producer::partition::Limits;
    use std::time::Duration;

    fn partition(index: i32) -> Arc<PartitionQueue> {
        let limits = Limits {
            batch_size: 1000,
            linger: Duration::ZERO,
            max_in_flight: 5,
            idempotent: true,
            compressed: false,
            retry_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
        };
        Arc::new(PartitionQueue::new(Arc::from("t"), index, limits))
    }

    #[test]
    fn timers_come_in_their_order_when_they_are_due() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut lists = Lists::default();
        assert!(lists.push(&partition(2), Due::At(at(20))), "the first timer ends a wait");
        assert!(!lists.push(&partition(3), Due::At(at(30))) && !lists.push(&partition(4), Due::At(at(25))));
        assert!(lists.push(&partition(1), Due::At(at(10))));
        assert!(!lists.has_work(at(9), true) && lists.has_work(at(10), false));
        let mut popped = |now| std::iter::from_fn(|| lists.pop(now, false)).map(|p| p.index).collect::<Vec<_>>();
        assert_eq!((popped(at(9)), popped(at(15)), popped(at(30))), (vec![], vec![1], vec![2, 4, 3]));
        assert!(lists.is_empty());
    }

    #[test]
    fn batches_with_room_are_given_only_if_they_are_wanted_and_after_all_others() {
        let now = Instant::now();
        let mut lists = Lists::default();
        assert!(!lists.push(&partition(0), Due::Later) && lists.is_empty());
        assert!(lists.push(&partition(1), Due::Unfilled) && lists.has_only_unfilled() && !lists.is_empty());
        assert!(lists.has_work(now, true) && !lists.has_work(now, false) && lists.pop(now, false).is_none());
        assert!(lists.push(&partition(2), Due::Now) && !lists.has_only_unfilled() && lists.has_work(now, false));
        let popped: Vec<_> = std::iter::from_fn(|| lists.pop(now, true)).map(|partition| partition.index).collect();
        assert_eq!(popped, [2, 1]);
    }
}
