//! Offsets that nobody needs any more (KIP-211).

use crate::embedded::state::groups::moves::GroupTimer;
use crate::embedded::state::groups::{ClassicGroup, ClassicState, Group};
use crate::embedded::state::timers::Timer;
use crate::embedded::state::{State, Time};
use std::time::Duration;

impl State {
    /// Sees to it that retention is looked at while there is anything to retain.
    pub(in crate::embedded) fn watch_offsets(&mut self, now: Time) {
        if !self.offsets.watched {
            self.offsets.watched = true;
            let interval = self.settings.number("offsets.retention.check.interval.ms").max(1);
            let at = now.saturating_add(Duration::from_millis(interval.unsigned_abs()));
            self.timers.set(at, Timer::Group(GroupTimer::Retention));
        }
    }

    /// Forgets offsets whose time is over, and groups without members and offsets.
    pub(in crate::embedded) fn retain_offsets(&mut self, now: Time) {
        self.offsets.watched = false;
        let minutes = self.settings.number("offsets.retention.minutes").max(0).unsigned_abs();
        let retention = Duration::from_secs(minutes.saturating_mul(60));
        let ids: Vec<String> = self.groups.iter().map(|(id, _)| id.to_owned()).collect();
        for id in ids {
            for (topic, partition) in self.expired(&id, retention, now) {
                self.offsets.remove(&id, &topic, partition);
            }
            let needed = self.offsets.of_group(&id).is_some() || self.offsets.is_group_pending(&id);
            if !needed && self.groups.get(&id).is_some_and(Group::is_forgettable) {
                log::debug!("embedded group {id}: no members and no offsets any more");
                self.groups.remove(&id);
            }
        }
        if !self.offsets.is_empty() || self.groups.iter().next().is_some() {
            self.watch_offsets(now);
        }
    }

    fn expired(&self, id: &str, retention: Duration, now: Time) -> Vec<(String, i32)> {
        let Some(group) = self.groups.get(id) else { return Vec::new() };
        let Some(since) = group.offsets_age() else { return Vec::new() };
        let offsets = self.offsets.of_group(id).into_iter().flatten();
        let expired = offsets.filter(|((topic, partition), committed)| {
            let begins = since.unwrap_or(committed.at);
            let ends = committed.expires.unwrap_or_else(|| begins.saturating_add(retention));
            ends <= now && !group.is_subscribed_to(topic) && !self.offsets.is_pending(id, topic, *partition)
        });
        expired.map(|(key, _)| key.clone()).collect()
    }
}

impl Group {
    /// From when the age of its offsets counts: a time, or `Some(None)` from each commit; `None` where they don't age.
    fn offsets_age(&self) -> Option<Option<Time>> {
        match self {
            Self::Classic(group) => group.offsets_age(),
            Self::Consumer(_) => Some(None),
        }
    }

    /// Whether members consume a topic.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// Whether nobody would miss it once it has no offsets.
    fn is_forgettable(&self) -> bool {
        self.is_empty()
    }
}

impl ClassicGroup {
    fn offsets_age(&self) -> Option<Option<Time>> {
        match (&self.protocol_type, self.state) {
            // It never had members: consumers that only keep their offsets here.
            (None, _) => Some(None),
            (Some(_), ClassicState::Empty) => Some(Some(self.since)),
            (Some(_), ClassicState::Stable) if self.topics.is_some() => Some(None),
            _ => None,
        }
    }
}
