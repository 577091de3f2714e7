//! What happens by itself, and when.

use super::groups::moves::GroupTimer;
use super::{ConnectionId, Time};
use std::collections::BTreeSet;

/// Something that is due at a time. A timer is a reminder, not an order: whoever it concerns looks whether it is still
/// due, so nobody has to take timers back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Group(GroupTimer),
    /// A long poll has waited long enough.
    Fetch(ConnectionId),
    /// Logs may have something that is too old or too much.
    Retention,
    Compaction,
    /// A member of a consumer group may have been silent, or have kept what it had to give up, for too long.
    ConsumerGroupMember {
        group: String,
        member: String,
    },
    /// A transactional id: its transaction takes too long, or it is not used.
    Transaction(String),
}

/// All timers, by time.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// Takes a timer back. Only for those that would pile up: where a peer chooses how late they are.
    pub(super) fn unset(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the first, if it is due.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(Time, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first()
    }
}
