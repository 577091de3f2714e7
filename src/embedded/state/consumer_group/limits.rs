//! The broker settings of consumer groups.

use super::super::{Settings, State};
use super::assignor::Assignor;
use std::time::Duration;

/// `group.consumer.*`, read.
#[derive(Debug, Clone)]
pub(in crate::embedded::state) struct Limits {
    pub(super) session_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    /// How long a target assignment stays at least. Zero: every change has its own.
    pub(super) assignment_interval: Duration,
    pub(super) max_size: usize,
    /// The first is taken where members do not choose.
    pub(super) assignors: Vec<Assignor>,
    /// Whether a classic group with members becomes a consumer group when one of these joins, and the other way round when
    /// the last of these goes. Kafka: `group.consumer.migration.policy`.
    pub(super) upgrades: bool,
    pub(super) downgrades: bool,
    /// Kafka: `group.max.size`.
    pub(super) classic_max_size: usize,
}

impl Limits {
    pub(in crate::embedded::state) fn new(settings: &Settings) -> Self {
        let time = |name: &str| Duration::from_millis(u64::try_from(settings.number(name)).unwrap_or(0));
        let size = |name: &str| usize::try_from(settings.number(name)).unwrap_or(0);
        let assignors = settings.get("group.consumer.assignors").unwrap_or_default();
        let policy = settings.get("group.consumer.migration.policy").unwrap_or_default().to_ascii_lowercase();
        Self {
            session_timeout: time("group.consumer.session.timeout.ms"),
            heartbeat_interval: time("group.consumer.heartbeat.interval.ms"),
            assignment_interval: time("group.consumer.assignment.interval.ms"),
            max_size: size("group.consumer.max.size"),
            assignors: assignors.split(',').filter_map(|name| Assignor::of(name.trim())).collect(),
            upgrades: ["bidirectional", "upgrade"].contains(&&*policy),
            downgrades: ["bidirectional", "downgrade"].contains(&&*policy),
            classic_max_size: size("group.max.size"),
        }
    }
}

impl State {
    /// With what is set for this group alone.
    pub(super) fn consumer_group_limits(&self, group: &str) -> Limits {
        let time = |name: &str| Duration::from_millis(u64::try_from(self.group_number(group, name)).unwrap_or(0));
        Limits {
            session_timeout: time("consumer.session.timeout.ms"),
            heartbeat_interval: time("consumer.heartbeat.interval.ms"),
            assignment_interval: time("consumer.assignment.interval.ms"),
            ..Limits::new(&self.settings)
        }
    }
}
