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
}

impl Limits {
    pub(in crate::embedded::state) fn new(settings: &Settings) -> Self {
        let time = |name: &str| Duration::from_millis(u64::try_from(settings.number(name)).unwrap_or(0));
        let assignors = settings.get("group.consumer.assignors").unwrap_or_default();
        Self {
            session_timeout: time("group.consumer.session.timeout.ms"),
            heartbeat_interval: time("group.consumer.heartbeat.interval.ms"),
            assignment_interval: time("group.consumer.assignment.interval.ms"),
            max_size: usize::try_from(settings.number("group.consumer.max.size")).unwrap_or(0),
            assignors: assignors.split(',').filter_map(|name| Assignor::of(name.trim())).collect(),
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
