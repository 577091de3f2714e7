//! What is deleted by itself: by age and size, by compaction, and where the cluster's memory is full.
//!
//! Kafka deletes whole segments and never the one it writes to. Here a batch is what a segment is there, so retention
//! is exact to the batch.

use super::log::LogConfig;
use super::timers::Timer;
use super::topics::Topic;
use super::{State, Time};
use std::time::Duration;

/// What a small batch takes beside its bytes, about.
const BATCH_BYTES: u64 = 256;
/// The setting for all logs together, in bytes; not one of Kafka's. Where they take more, those that take the most
/// lose their oldest batches.
pub(in crate::embedded) const LOG_MEMORY: &str = "embedded.log.memory.bytes";

/// What is known of the logs' memory without asking each of them, and whether cleaning is on its way.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// The memory of all logs when they were last asked, in bytes.
    memory: u64,
    /// What has been written since, in bytes.
    grown: u64,
    armed: bool,
}

impl State {
    /// So many bytes have been written to a partition: whoever waits for them is told.
    pub(super) fn log_grew(&mut self, topic: &str, partition: i32, bytes: usize, now: Time) {
        self.cleaning.grown += BATCH_BYTES + bytes as u64;
        if !self.cleaning.armed {
            self.cleaning.armed = true;
            self.arm("log.retention.check.interval.ms", Timer::Retention, now);
            self.arm("log.cleaner.backoff.ms", Timer::Compaction, now);
        }
        self.wake_fetches(topic, partition);
    }

    /// Deletes what is too old or too much. Kafka: `retention.ms`, `retention.bytes`.
    pub(super) fn apply_retention(&mut self, now: Time) {
        let now_ms = self.wall_ms(now);
        let expired_producers = now_ms.saturating_sub(self.settings.number("producer.id.expiration.ms"));
        for topic in self.topics.iter_mut() {
            let config = LogConfig::of(topic, &self.settings);
            for partition in &mut topic.partitions {
                partition.log.expire_producers(expired_producers);
                if config.delete {
                    partition.log.apply_retention(&config, now_ms);
                }
            }
        }
        self.arm("log.retention.check.interval.ms", Timer::Retention, now);
        self.wake_all_fetches();
    }

    pub(super) fn compact_logs(&mut self, now: Time) {
        let now_ms = self.wall_ms(now);
        for topic in self.topics.iter_mut() {
            let config = LogConfig::of(topic, &self.settings);
            if config.compact {
                topic.partitions.iter_mut().for_each(|partition| partition.log.compact(&config, now_ms));
            }
        }
        self.arm("log.cleaner.backoff.ms", Timer::Compaction, now);
    }

    /// Sees to it that all logs together take no more memory than they may. A tenth is made free at once, so that
    /// this is rare.
    pub(super) fn bound_log_memory(&mut self) {
        let limit = u64::try_from(self.settings.number(LOG_MEMORY)).unwrap_or(0);
        if self.cleaning.memory.saturating_add(self.cleaning.grown) <= limit {
            return;
        }
        let logs = |topic: &mut Topic| topic.partitions.iter().map(|partition| partition.log.memory()).collect();
        let mut sizes: Vec<u64> = self.topics.iter_mut().flat_map(|topic| -> Vec<u64> { logs(topic) }).collect();
        let total: u64 = sizes.iter().sum();
        self.cleaning.grown = 0;
        self.cleaning.memory = total;
        if total <= limit {
            return;
        }
        let share = fair_share(&mut sizes, limit / 10 * 9);
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.log.shrink(share);
        }
        let left = self.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.log.memory());
        self.cleaning.memory = left.sum();
    }

    fn arm(&mut self, setting: &str, timer: Timer, now: Time) {
        let milliseconds = u64::try_from(self.settings.number(setting)).unwrap_or(0).max(1);
        self.timers.set(now + Duration::from_millis(milliseconds), timer);
    }
}

/// What each may take at most so that all together take no more than this.
fn fair_share(sizes: &mut [u64], total: u64) -> u64 {
    sizes.sort_unstable();
    let mut left = total;
    for (size, sharers) in sizes.iter().zip((1..=sizes.len() as u64).rev()) {
        let share = left / sharers;
        if *size > share {
            return share;
        }
        left -= size;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::super::test_records::*;
    use super::super::test_support::Harness;
    use super::*;
    use crate::ErrorCode;
    use crate::protocol::messages::fetch::FetchRequest;
    use std::collections::BTreeMap;

    #[test]
    fn old_records_go_at_the_next_check_and_compaction_runs_by_itself() {
        let mut harness = Harness::new(1);
        let with = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        harness.state.create_topic("t", 1, 1, with("retention.ms", "60000")).unwrap();
        harness.state.create_topic("c", 1, 1, with("cleanup.policy", "compact")).unwrap();
        produce(&mut harness, &batch(2));
        let produce_to_c = |harness: &mut Harness| {
            let mut request = produce_request(1, Some(batch(1).bytes()));
            request.topic_data[0].name = "c".into();
            harness.call(1, 12, request);
        };
        (0..3).for_each(|_| produce_to_c(&mut harness));
        let batches = |harness: &Harness, topic| harness.state.log(topic, 0).unwrap().batches().count();
        harness.pass(Duration::from_secs(15));
        assert_eq!(batches(&harness, "c"), 2);
        (0..2).for_each(|_| produce_to_c(&mut harness));
        harness.pass(Duration::from_secs(15));
        assert_eq!(batches(&harness, "c"), 2, "again and again");
        harness.pass(Duration::from_secs(269));
        assert_eq!(harness.state.log("t", 0).unwrap().start_offset(), 0);
        harness.pass(Duration::from_secs(1));
        assert_eq!(harness.state.log("t", 0).unwrap().start_offset(), 2);
        produce(&mut harness, &batch(2));
        harness.pass(Duration::from_secs(300));
        assert_eq!(harness.state.log("t", 0).unwrap().start_offset(), 4, "and again");
    }

    #[test]
    fn each_policy_is_for_the_topics_that_have_it() {
        let mut harness = Harness::new(1);
        let configs = |policy: &str| {
            let pairs = [("cleanup.policy", policy), ("retention.ms", "60000")];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        for policy in ["compact", "delete"] {
            harness.state.create_topic(policy, 1, 1, configs(policy)).unwrap();
            for _ in 0..3 {
                let mut request = produce_request(1, Some(batch(1).bytes()));
                request.topic_data[0].name = policy.into();
                harness.call(1, 12, request);
            }
        }
        harness.pass(Duration::from_secs(100));
        assert_eq!(harness.state.log("delete", 0).unwrap().batches().count(), 3, "it is not compacted");
        harness.pass(Duration::from_secs(1000));
        let log = harness.state.log("compact", 0).unwrap();
        assert_eq!((log.start_offset(), log.batches().count()), (0, 2), "nothing of it is too old");
    }

    #[test]
    fn a_producer_that_is_silent_is_forgotten_and_who_waits_for_deleted_records_is_told() {
        let mut harness = Harness::with(1, &[("producer.id.expiration.ms", "1000")]);
        let configs = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        harness.state.create_topic("t", 1, 1, configs).unwrap();
        assert_eq!(produce(&mut harness, &idempotent(1, 7, 0, 0)).error_code, 0);
        let connection = harness.connect();
        let waiting = FetchRequest { max_wait_ms: 600_000, min_bytes: 1 << 20, ..fetch_request(0) };
        assert!(harness.send(connection, 1, 12, waiting).is_none());
        harness.pass(Duration::from_secs(300));
        assert_eq!(harness.state.log("t", 0).unwrap().producers().len(), 0);
        let answer = harness.answer::<FetchRequest>(connection, 12).unwrap();
        assert_eq!(ErrorCode(answer.responses[0].partitions[0].error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    }

    #[test]
    fn the_logs_memory_is_bounded_by_what_is_oldest() {
        let mut harness = Harness::with(1, &[(LOG_MEMORY, "100000")]);
        harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
        for _ in 0..1000 {
            assert_eq!(produce(&mut harness, &batch(1)).error_code, 0);
            assert!(harness.state.log("t", 0).unwrap().memory() <= 100_000);
        }
        let log = harness.state.log("t", 0).unwrap();
        assert!(log.start_offset() > 0 && log.memory() > 80_000);
        assert_eq!(log.end_offset(), 1000);
    }

    #[test]
    fn the_largest_give_most() {
        assert_eq!(fair_share(&mut [10, 1000, 100, 2000], 1110), 500);
        assert_eq!(fair_share(&mut [10, 20], 100), u64::MAX);
        assert_eq!(fair_share(&mut [50, 50], 10), 5);
    }
}
