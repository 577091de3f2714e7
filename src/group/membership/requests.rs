//! What a member sends, and when.

use super::{
    Action, GroupProtocol, GroupRequest, InFlight, Kind, Leave, Link, Membership, PROTOCOL_TYPE, Phase, Session,
};
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use crate::protocol::messages::sync_group::SyncGroupRequest;
use std::time::{Duration, Instant};

/// A JoinGroup is answered when all members have joined or the rebalance timeout has passed; the rest is for the way.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

/// What [`Membership::next_step`] found.
pub(super) enum Step {
    Do(Action),
    /// Until this, besides the timeouts.
    Wait(Option<Instant>),
}

impl Membership {
    pub(super) fn next_step(&mut self, now: Instant) -> Step {
        if self.in_flight.is_some() || self.link == Link::Connecting {
            return Step::Wait(None);
        }
        match self.phase {
            Phase::Unjoined | Phase::Stable if self.session == Session::Over && self.closing.is_none() => {
                self.send_when_linked(now, Self::join)
            }
            Phase::Stable | Phase::AwaitingAssignment { .. } if now < self.heartbeat_due => {
                Step::Wait(Some(self.heartbeat_due))
            }
            Phase::Stable | Phase::AwaitingAssignment { .. } => self.send_when_linked(now, Self::heartbeat),
            Phase::Syncing { .. } => self.send_when_linked(now, Self::sync),
            Phase::Leaving { .. } => self.send_when_linked(now, Self::send_leave),
            Phase::Unjoined | Phase::Joining | Phase::Closed => Step::Wait(None),
        }
    }

    fn send_when_linked(&mut self, now: Instant, send: fn(&mut Self, Instant) -> Action) -> Step {
        if let Some(retry_at) = self.retry_at.filter(|retry_at| now < *retry_at) {
            return Step::Wait(Some(retry_at));
        }
        self.retry_at = None;
        Step::Do(match self.link {
            Link::Ready => send(self, now),
            Link::Absent | Link::Connecting => {
                self.link = Link::Connecting;
                Action::Connect { deadline: self.bounded(now + self.config.request_timeout) }
            }
        })
    }

    fn send(&mut self, now: Instant, kind: Kind, request: GroupRequest, deadline: Instant) -> Action {
        self.requests += 1;
        let id = self.requests;
        let (member_id, generation_id) = (self.member_id.clone(), self.generation_id);
        self.in_flight = Some(InFlight { id, kind, sent: now, deadline, member_id, generation_id });
        Action::Send { id, request, deadline }
    }

    fn join(&mut self, now: Instant) -> Action {
        self.enter(Phase::Joining);
        self.generation_id = -1;
        self.outdated = false;
        let protocol =
            |p: &GroupProtocol| JoinGroupRequestProtocol { name: p.name.clone(), metadata: p.metadata.clone() };
        let request = JoinGroupRequest {
            group_id: self.config.group_id.clone(),
            session_timeout_ms: milliseconds(self.config.session_timeout),
            rebalance_timeout_ms: milliseconds(self.config.rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: self.protocols.iter().map(protocol).collect(),
            reason: self.join_reason.map(|cause| cause.reason().to_owned()),
        };
        let deadline = now + self.config.request_timeout.max(self.config.rebalance_timeout + JOIN_MARGIN);
        self.send(now, Kind::Join, GroupRequest::Join(request), deadline)
    }

    fn sync(&mut self, now: Instant) -> Action {
        let (protocol, assignments) = match &self.phase {
            Phase::Syncing { protocol, assignments } => (Some(protocol.clone()), assignments.clone()),
            _ => (None, Vec::new()),
        };
        let request = SyncGroupRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: protocol,
            assignments,
        };
        // It is answered when the leader has synced, and the leader may be slow.
        let deadline = now + self.config.request_timeout.max(self.config.rebalance_timeout + JOIN_MARGIN);
        self.send(now, Kind::Sync, GroupRequest::Sync(request), deadline)
    }

    fn heartbeat(&mut self, now: Instant) -> Action {
        let request = HeartbeatRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
        };
        // A coordinator that is silent must be given up while there is time for another.
        let deadline = now + self.config.request_timeout.min(self.config.session_timeout / 3);
        self.send(now, Kind::Heartbeat, GroupRequest::Heartbeat(request), deadline)
    }

    fn send_leave(&mut self, now: Instant) -> Action {
        let reason = if let Phase::Leaving { reason, .. } = self.phase { reason.to_owned() } else { String::new() };
        let (group_id, member_id) = (self.config.group_id.clone(), self.member_id.clone());
        let deadline = self.bounded(now + self.config.request_timeout);
        self.send(now, Kind::Leave, GroupRequest::Leave(Leave { group_id, member_id, reason }), deadline)
    }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
