//! Broker settings, by Kafka's names.

use std::collections::BTreeMap;

/// What the brokers are configured with. What is not set has Kafka's default.
#[derive(Debug, Clone, Default)]
pub(in crate::embedded) struct Settings {
    set: BTreeMap<String, String>,
}

/// The settings that the state reads, with Kafka 4.3's defaults where they make sense in one process.
const DEFAULTS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "true"),
    ("connections.max.idle.ms", "600000"),
    ("compression.type", "producer"),
    ("default.replication.factor", "1"),
    // Kafka waits 3 seconds, which is for clusters of machines and not for tests.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.max.session.timeout.ms", "1800000"),
    ("group.max.size", "2147483647"),
    ("group.min.session.timeout.ms", "6000"),
    ("embedded.log.memory.bytes", "1073741824"),
    ("fetch.max.bytes", "57671680"),
    ("log.cleaner.backoff.ms", "15000"),
    ("log.cleaner.delete.retention.ms", "86400000"),
    ("log.cleaner.min.cleanable.ratio", "0.5"),
    ("log.cleaner.min.compaction.lag.ms", "0"),
    ("log.cleanup.policy", "delete"),
    ("log.message.timestamp.after.max.ms", "3600000"),
    ("log.message.timestamp.before.max.ms", "9223372036854775807"),
    ("log.message.timestamp.type", "CreateTime"),
    ("log.retention.bytes", "-1"),
    ("log.retention.check.interval.ms", "300000"),
    ("log.retention.hours", "168"),
    ("max.incremental.fetch.session.cache.slots", "1000"),
    ("message.max.bytes", "1048588"),
    ("min.insync.replicas", "1"),
    ("num.partitions", "1"),
    ("offset.metadata.max.bytes", "4096"),
    ("offsets.retention.check.interval.ms", "600000"),
    ("offsets.retention.minutes", "10080"),
    ("offsets.topic.num.partitions", "50"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.num.partitions", "50"),
    ("transaction.state.log.replication.factor", "3"),
    ("queued.max.request.bytes", "-1"),
    ("socket.request.max.bytes", "104857600"),
    ("producer.id.expiration.ms", "86400000"),
];

impl Settings {
    pub(in crate::embedded) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set.insert(name.into(), value.into());
    }

    /// The value that is in force; `None` for a name without a default that was not set.
    pub(in crate::embedded) fn get(&self, name: &str) -> Option<&str> {
        let default = || DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        self.set.get(name).map(String::as_str).or_else(default)
    }

    pub(in crate::embedded) fn number(&self, name: &str) -> i64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    pub(in crate::embedded) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}
