//! A member of a consumer group, as the coordinator sees it.

use super::super::Time;
use super::limits::Limits;
use super::{Held, LEFT_FOR_NOW};
use crate::ErrorCode;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// Where a member is on its way to the target assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MemberState {
    /// It has all that it is to have.
    #[default]
    Stable,
    /// It was told to give partitions up and has not said yet that it did. It stays in its epoch until then.
    UnrevokedPartitions,
    /// It has given up what it had to, and waits for partitions that others still have.
    UnreleasedPartitions,
}

/// What is known of a member that speaks the classic protocol, beside what all members have.
#[derive(Debug, Clone)]
pub(super) struct ClassicPart {
    pub(super) session_timeout: Duration,
    /// The names and metadata of the assignors it supports, the preferred one first.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// When it is removed if it has not joined again; `None` if it was not told to.
    pub(super) joins_by: Option<Time>,
    /// When it is removed if it has not fetched its assignment; `None` if it has.
    pub(super) syncs_by: Option<Time>,
}

/// A member. Its lists of partitions are the coordinator's view: what it was told, not what it says it has.
#[derive(Debug, Clone, Default)]
pub(in crate::embedded::state) struct Member {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) rack_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout: Duration,
    pub(super) topics: BTreeSet<String>,
    /// Topics by regular expression, beside those by name.
    pub(super) regex: Option<String>,
    pub(super) assignor: Option<String>,
    pub(super) epoch: i32,
    /// The epoch before: a heartbeat with it is accepted, since the answer with the new one may have been lost.
    pub(super) previous_epoch: i32,
    pub(super) state: MemberState,
    pub(super) assigned: Held,
    pub(super) pending_revocation: Held,
    /// `None`: it speaks the consumer protocol.
    pub(super) classic: Option<ClassicPart>,
    /// When it is removed if nothing is heard from it.
    pub(super) session_deadline: Time,
    /// When it is removed if it has not given up what it has to; `None` if there is nothing to give up.
    pub(super) revocation_deadline: Option<Time>,
    /// The earliest reminder that is set.
    pub(super) armed: Option<Time>,
}

impl Member {
    /// Whether it has all that it is to have by the target assignment of this epoch.
    pub(super) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Whether it is a static member that said it would be back within the session timeout.
    pub(super) fn has_left_for_now(&self) -> bool {
        self.epoch == LEFT_FOR_NOW
    }

    /// What it is told if it names another epoch than its own: each protocol has a code for that.
    pub(super) fn code_of_another_epoch(&self) -> ErrorCode {
        if self.classic.is_some() { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH }
    }

    /// How long it may be silent.
    pub(super) fn session_timeout(&self, limits: &Limits) -> Duration {
        self.classic.as_ref().map_or(limits.session_timeout, |classic| classic.session_timeout)
    }

    pub(super) fn move_to_epoch(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    /// When the first of its deadlines is due.
    pub(super) fn deadline(&self) -> Time {
        let classic = self.classic.iter().flat_map(|classic| [classic.joins_by, classic.syncs_by]);
        let others = classic.chain([self.revocation_deadline]).flatten();
        others.fold(self.session_deadline, Time::min)
    }
}
