//! What a group can do to the world around it.

use super::classic::Parked;
use super::moves::GroupTimer;
use crate::embedded::state::timers::{Timer, Timers};
use crate::embedded::state::{ConnectionId, Reply, State, Time};
use crate::protocol::messages::join_group::JoinGroupResponse;
use crate::protocol::messages::sync_group::SyncGroupResponse;
use std::time::Duration;

/// One step of a group: the time, and where its answers and reminders go.
pub(in crate::embedded) struct Turn<'a> {
    pub(in crate::embedded) now: Time,
    /// Kafka: `group.initial.rebalance.delay.ms`.
    pub(in crate::embedded) initial_delay: Duration,
    /// Kafka: `group.max.size`.
    pub(in crate::embedded) max_size: usize,
    timers: &'a mut Timers,
    answers: &'a mut Vec<(ConnectionId, Reply)>,
}

impl Turn<'_> {
    pub(in crate::embedded) fn remind(&mut self, at: Time, timer: GroupTimer) {
        self.timers.set(at, Timer::Group(timer));
    }

    /// Answers a JoinGroup, in a form that its version has.
    pub(in crate::embedded) fn answer_join(&mut self, to: Parked, mut response: JoinGroupResponse) {
        if to.version < 7 {
            response.protocol_name.get_or_insert_default();
        }
        self.answers.push((to.connection, Reply::of(response)));
    }

    pub(in crate::embedded) fn answer_sync(&mut self, to: Parked, response: SyncGroupResponse) {
        self.answers.push((to.connection, Reply::of(response)));
    }

    /// For a request that the member itself has given up, as it has sent another one over another connection. Kafka never
    /// answers it; closing its connection is the same for the client and sets our thread free.
    pub(in crate::embedded) fn give_up(&mut self, parked: Option<Parked>) {
        self.answers.extend(parked.map(|parked| (parked.connection, Reply::Close)));
    }
}

impl State {
    /// Lets a group take a step; `None` if it is absent or no classic one.
    pub(in crate::embedded) fn with_classic<T>(
        &mut self,
        id: &str,
        now: Time,
        step: impl FnOnce(&mut super::ClassicGroup, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let mut turn = Turn {
            now,
            initial_delay: Duration::from_millis(self.settings.number("group.initial.rebalance.delay.ms").max(0) as u64),
            max_size: usize::try_from(self.settings.number("group.max.size")).unwrap_or(0),
            timers: &mut self.timers,
            answers: &mut self.answers,
        };
        self.groups.classic_mut(id).map(|group| step(group, &mut turn))
    }

    /// The answer to a request if its group has given one, else it is parked.
    pub(in crate::embedded) fn answered_or_parked(&mut self, connection: ConnectionId) -> Reply {
        let at = self.answers.iter().position(|(id, _)| *id == connection);
        at.map_or(Reply::Parked, |at| self.answers.remove(at).1)
    }
}

/// A number of milliseconds from the wire.
pub(in crate::embedded) fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
