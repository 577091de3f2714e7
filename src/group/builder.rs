//! The settings of a consumer group.

use super::assignor::{Assignor, RangeAssignor, RoundRobinAssignor};
use super::consumer_group::ConsumerGroup;
use crate::cluster::Client;
use crate::config::{Properties, Setting};
use crate::consumer::{FetchConfig, StartOffset, fetch_setters};
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Checked settings.
#[derive(Debug, Clone)]
pub(super) struct GroupConfig {
    pub(super) group_id: String,
    pub(super) group_instance_id: Option<String>,
    /// `None`: fail.
    pub(super) start: Option<StartOffset>,
    pub(super) assignors: Vec<Arc<dyn Assignor>>,
    pub(super) session_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) auto_commit: Option<Duration>,
    pub(super) offset_retention: Option<Duration>,
    pub(super) close_timeout: Duration,
}

/// Settings of a [`ConsumerGroup`].
#[must_use]
#[derive(Debug)]
pub struct ConsumerGroupBuilder {
    client: Client,
    config: GroupConfig,
    fetch: FetchConfig,
    auto_commit: bool,
    auto_commit_interval: Duration,
}

impl ConsumerGroupBuilder {
    pub(super) fn new(client: &Client, group_id: &str) -> Self {
        let config = GroupConfig {
            group_id: group_id.to_owned(),
            group_instance_id: None,
            start: Some(StartOffset::Latest),
            assignors: vec![Arc::new(RangeAssignor), Arc::new(RoundRobinAssignor)],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
            auto_commit: None,
            offset_retention: None,
            close_timeout: Duration::from_secs(10),
        };
        Self {
            client: client.clone(),
            config,
            fetch: FetchConfig::default(),
            auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
        }
    }

    /// Where to start in a partition for which the group has committed nothing. One that is made while this member
    /// consumes, by a new topic or by more partitions of an old one, is read from its first record even if this is
    /// [`Latest`](StartOffset::Latest): nothing in it is older than the group's beginning.
    ///
    /// Kafka: `auto.offset.reset` sets this and [`offset_reset`](Self::offset_reset). Defaults to latest.
    pub fn start(mut self, start: StartOffset) -> Self {
        self.config.start = Some(start);
        self
    }

    /// Fails instead of choosing a start: a partition for which the group has committed nothing ends `consume` with an
    /// error of kind [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) that names it.
    ///
    /// Kafka: `auto.offset.reset=none`.
    pub fn require_committed(mut self) -> Self {
        self.config.start = None;
        self
    }

    /// Whether what is marked is committed every [interval](Self::auto_commit_interval), and at the end of each session.
    /// Without, only [`commit`](super::ConsumerGroupSession::commit) commits.
    ///
    /// Kafka: `enable.auto.commit`. Defaults to true.
    pub fn auto_commit(mut self, auto_commit: bool) -> Self {
        self.auto_commit = auto_commit;
        self
    }

    /// How often what is marked is committed.
    ///
    /// Kafka: `auto.commit.interval.ms`. Defaults to 5 s.
    pub fn auto_commit_interval(mut self, interval: Duration) -> Self {
        self.auto_commit_interval = interval;
        self
    }

    /// The assignors this member offers, best first. The group uses one that all members have.
    ///
    /// Kafka: `partition.assignment.strategy`. Defaults to range, round robin.
    pub fn assignors(mut self, assignors: Vec<Arc<dyn Assignor>>) -> Self {
        self.config.assignors = assignors;
        self
    }

    /// Makes this a static member (KIP-345): it keeps its partitions when it comes back within the session timeout, and
    /// does not leave the group when it stops.
    ///
    /// Kafka: `group.instance.id`. Defaults to none. 1 to 249 of the characters `a-z A-Z 0-9 . _ -`.
    pub fn group_instance_id(mut self, id: impl Into<String>) -> Self {
        self.config.group_instance_id = Some(id.into());
        self
    }

    /// Without a heartbeat for this long the group takes the member for dead.
    ///
    /// Kafka: `session.timeout.ms`. Defaults to 45 s. The broker has limits of its own.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.session_timeout = timeout;
        self
    }

    /// How often the member says that it lives. Heartbeats go on while handlers work.
    ///
    /// Kafka: `heartbeat.interval.ms`. Defaults to 3 s. Below the session timeout.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.config.heartbeat_interval = interval;
        self
    }

    /// How long handlers may take to return when a session ends. After that the session is lost, and the group goes on
    /// without the member until they have returned.
    ///
    /// Kafka: `max.poll.interval.ms`, which brokers take for the rebalance timeout. Defaults to 60 s.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.config.rebalance_timeout = timeout;
        self
    }

    /// How long brokers are to keep committed offsets of an empty group. Setting it keeps OffsetCommit at versions that
    /// can say so, up to 4; brokers from 2.1 on go by their own setting then.
    ///
    /// Kafka: `offsets.retention.minutes` on the broker. Defaults to the broker's.
    pub fn offset_retention(mut self, retention: Duration) -> Self {
        self.config.offset_retention = Some(retention);
        self
    }

    /// How long stopping may take: handlers, the last commit and leaving together.
    ///
    /// Defaults to 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    fetch_setters!();

    /// Takes the settings that are the group's from a list of settings by their Kafka names.
    ///
    /// An error names a setting whose value can't be read.
    pub fn properties(mut self, properties: &Properties) -> Result<Self> {
        for setting in properties.iter() {
            self.set(&setting)?;
        }
        Ok(self)
    }

    fn set(&mut self, setting: &Setting<'_>) -> Result<()> {
        self.fetch.set(setting)?;
        let config = &mut self.config;
        match setting.name() {
            "auto.offset.reset" => config.start = self.fetch.reset_start(),
            "enable.auto.commit" => self.auto_commit = setting.boolean()?,
            "auto.commit.interval.ms" => self.auto_commit_interval = setting.milliseconds()?,
            "group.instance.id" => config.group_instance_id = Some(setting.text().to_owned()),
            "session.timeout.ms" => config.session_timeout = setting.milliseconds()?,
            "heartbeat.interval.ms" => config.heartbeat_interval = setting.milliseconds()?,
            "max.poll.interval.ms" => config.rebalance_timeout = setting.milliseconds()?,
            "partition.assignment.strategy" => config.assignors = assignors(setting)?,
            _ => {}
        }
        Ok(())
    }

    /// Checks the settings; an error names those that are out of range or in conflict. Connects to nothing yet.
    pub fn build(mut self) -> Result<ConsumerGroup> {
        let config = &self.config;
        if config.group_id.is_empty() {
            return Err(Error::config("group.id", "must not be empty"));
        }
        if config.heartbeat_interval.is_zero() || config.heartbeat_interval >= config.session_timeout {
            return Err(Error::config("heartbeat.interval.ms", "must lie between 0 and session.timeout.ms"));
        }
        if config.rebalance_timeout.is_zero() {
            return Err(Error::config("max.poll.interval.ms", "must be more than 0"));
        }
        if self.auto_commit && self.auto_commit_interval.is_zero() {
            return Err(Error::config("auto.commit.interval.ms", "must be more than 0"));
        }
        if config.assignors.is_empty() {
            return Err(Error::config("partition.assignment.strategy", "names no assignor"));
        }
        if let Some(id) = &config.group_instance_id {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if id.is_empty() || id.len() > 249 || !id.chars().all(legal) || id == "." || id == ".." {
                return Err(Error::config("group.instance.id", "must be 1 to 249 of the characters a-z A-Z 0-9 . _ -"));
            }
        }
        self.fetch.check(self.client.core().config().net.max_response_bytes)?;
        self.config.auto_commit = self.auto_commit.then_some(self.auto_commit_interval);
        ConsumerGroup::new(self.client, self.config, self.fetch)
    }
}

/// Assignors by their names or by the names of Java's classes.
fn assignors(setting: &Setting<'_>) -> Result<Vec<Arc<dyn Assignor>>> {
    let mut assignors: Vec<Arc<dyn Assignor>> = Vec::new();
    for name in setting.text().split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name.rsplit('.').next().unwrap_or(name) {
            "range" | "RangeAssignor" => assignors.push(Arc::new(RangeAssignor)),
            "roundrobin" | "RoundRobinAssignor" => assignors.push(Arc::new(RoundRobinAssignor)),
            // The rest of the list may do: Java's own default names the cooperative one beside range.
            other => log::warn!("there is no assignor {other} here"),
        }
    }
    if assignors.is_empty() {
        return Err(setting.refuse("names no assignor that this crate has: range, roundrobin"));
    }
    Ok(assignors)
}
