//! Broker settings, by Kafka's names.

use super::configs::broker_default;
use std::collections::BTreeMap;

type Values = BTreeMap<String, String>;

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// What the brokers are configured with. What is not set has Kafka's default.
///
/// The first of these counts: what a client set for one broker, what it set for all, what the cluster was started with,
/// what a cluster in one process starts with, Kafka's default.
#[derive(Debug, Clone, Default)]
pub(in crate::embedded) struct Settings {
    set: Values,
    for_all: Values,
    for_one: BTreeMap<i32, Values>,
}

/// What differs from Kafka's defaults, which are all known without being listed here.
const DEFAULTS: &[(&str, &str)] = &[
    // Not of Kafka: what the logs of all partitions may take together.
    (super::retention::LOG_MEMORY, "1073741824"),
    // Kafka waits a second between assignments, and members 5 seconds between heartbeats.
    ("group.consumer.assignment.interval.ms", "0"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
    // Kafka waits 3 seconds, which is for clusters of machines and not for tests.
    ("group.initial.rebalance.delay.ms", "0"),
];

impl Settings {
    /// Before the cluster is started.
    pub(in crate::embedded) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set.insert(name.into(), value.into());
    }

    /// The value that is in force; `None` for a name without a default that was not set.
    pub(in crate::embedded) fn get(&self, name: &str) -> Option<&str> {
        let set = self.for_all.get(name).map(String::as_str).or_else(|| self.started_with(name));
        set.or_else(|| broker_default(name))
    }

    /// The same for one broker, where clients can set values of its own.
    #[cfg(test)]
    pub(super) fn get_for(&self, broker: i32, name: &str) -> Option<&str> {
        let own = self.for_one.get(&broker).and_then(|values| values.get(name));
        own.map(String::as_str).or_else(|| self.get(name))
    }

    /// What the brokers were started with. Kafka: the static configuration.
    pub(super) fn started_with(&self, name: &str) -> Option<&str> {
        let default = || DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        self.set.get(name).map(String::as_str).or_else(default)
    }

    /// What clients have set, for one broker or for all.
    pub(super) fn dynamic(&self, broker: Option<i32>) -> Option<&Values> {
        broker.map_or(Some(&self.for_all), |broker| self.for_one.get(&broker))
    }

    pub(super) fn dynamic_mut(&mut self, broker: Option<i32>) -> &mut Values {
        match broker {
            Some(broker) => self.for_one.entry(broker).or_default(),
            None => &mut self.for_all,
        }
    }

    /// Where a replica that left the in-sync ones may still lead (KIP-966), `min.insync.replicas` is one value for all
    /// brokers that can't be taken away: what they were started with, until a client sets another.
    pub(in crate::embedded) fn share_min_insync_replicas(&mut self) {
        let value = self.started_with(MIN_INSYNC_REPLICAS).or_else(|| broker_default(MIN_INSYNC_REPLICAS));
        let value = value.unwrap_or("1").to_owned();
        self.for_all.insert(MIN_INSYNC_REPLICAS.to_owned(), value);
    }

    /// Takes back [`Self::share_min_insync_replicas`], for releases before that.
    pub(in crate::embedded) fn unshare_min_insync_replicas(&mut self) {
        self.for_all.remove(MIN_INSYNC_REPLICAS);
    }

    /// A number; 0 where there is none.
    pub(in crate::embedded) fn number(&self, name: &str) -> i64 {
        self.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    pub(in crate::embedded) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }
}
