//! What a member is told, and what it tells its driver to do.

use crate::Result;
use crate::group::assignor::{Assignment, GroupMember};
use crate::group::offsets::Identity;
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The settings of a member.
#[derive(Debug, Clone)]
pub(crate) struct MembershipConfig {
    pub(crate) group_id: String,
    /// Makes the member static. Kafka: `group.instance.id`.
    pub(crate) group_instance_id: Option<String>,
    /// Kafka: `session.timeout.ms`.
    pub(crate) session_timeout: Duration,
    /// How long handlers may take to return. Kafka: `max.poll.interval.ms`.
    pub(crate) rebalance_timeout: Duration,
    /// Kafka: `heartbeat.interval.ms`.
    pub(crate) heartbeat_interval: Duration,
    /// Kafka: `request.timeout.ms`.
    pub(crate) request_timeout: Duration,
    /// From, up to. Kafka: `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub(crate) retry_backoff: (Duration, Duration),
}

/// An assignor that this member offers, with what it says in JoinGroup.
#[derive(Debug, Clone)]
pub(crate) struct GroupProtocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Action {
    /// Find the coordinator and connect to it, then call `Membership::connected` or `Membership::connect_failed`.
    Connect { deadline: Instant },
    /// Drop the connection, if there is one: no answer from it is wanted any more.
    Disconnect,
    /// Send this and hand the answer, with `id`, to `Membership::handle_response`. The deadline needs no timer of its
    /// own: [`Action::Wait`] contains it.
    Send { id: u64, request: GroupRequest, deadline: Instant },
    /// This member leads: get the partition counts of the members' topics, run the assignor of this name, and call
    /// `Membership::assigned` with the generation.
    Assign { generation_id: i32, assignor: String, members: Vec<GroupMember> },
    /// A session begins. It lasts until `Membership::session_ended`.
    StartSession(SessionStart),
    /// End the session: no new records, wait for the handlers, clean up, commit, then call
    /// `Membership::session_ended`. If it is `lost`, the partitions may belong to others already: marks are void and
    /// nothing is committed. A session that is ending may still be lost; then this comes a second time.
    EndSession { cause: EndCause, lost: bool },
    /// Nothing to do until then, or until something comes in.
    Wait { until: Option<Instant> },
    /// The end; every later poll says the same.
    Done(Result<()>),
}

/// What a session starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionStart {
    /// Whom the session's commits are from.
    pub(crate) identity: Identity,
    /// The assignor that the coordinator picked.
    pub(crate) assignor: String,
    pub(crate) assignment: Assignment,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// Members came or went.
    Rebalance,
    /// The subscription changed.
    SubscriptionChanged,
    /// A topic got more partitions, or came or went.
    MetadataChanged,
    /// A handler returned.
    HandlerReturned,
    /// A handler did not return in time.
    HandlerOverran,
    /// The user stops.
    Stopped,
    /// The coordinator does not know the member any more.
    UnknownMember,
    /// The group went on without the member.
    IllegalGeneration,
    /// Another member has taken over the group instance id.
    Fenced,
    /// No heartbeat got through for the session timeout.
    SessionTimeout,
    /// An error that membership can't go on with.
    Failed,
}

impl EndCause {
    /// For the broker's log (KIP-800) and ours.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Rebalance => "the group is rebalancing",
            Self::SubscriptionChanged => "the subscription changed",
            Self::MetadataChanged => "the partitions of a subscribed topic changed",
            Self::HandlerReturned => "a handler returned",
            Self::HandlerOverran => "a handler did not return within the rebalance timeout",
            Self::Stopped => "the consumer is being stopped",
            Self::UnknownMember => "the coordinator did not know the member",
            Self::IllegalGeneration => "the group had a newer generation",
            Self::Fenced => "another member took over the group instance id",
            Self::SessionTimeout => "no heartbeat got through for the session timeout",
            Self::Failed => "the member failed",
        }
    }
}

/// A request to the coordinator.
#[derive(Debug, Clone)]
pub(crate) enum GroupRequest {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(Leave),
}

/// The content of a LeaveGroup, which is laid out differently by version.
#[derive(Debug, Clone)]
pub(crate) struct Leave {
    pub(super) group_id: String,
    pub(super) member_id: String,
    pub(super) reason: String,
}

impl Leave {
    /// The message for the version that the connection speaks.
    pub(crate) fn for_version(self, version: i16) -> LeaveGroupRequest {
        let Self { group_id, member_id, reason } = self;
        if version < 3 {
            return LeaveGroupRequest { group_id, member_id, ..Default::default() };
        }
        let member = MemberIdentity { member_id, group_instance_id: None, reason: Some(reason) };
        LeaveGroupRequest { group_id, members: vec![member], ..Default::default() }
    }
}

/// The answer to a [`GroupRequest`].
#[derive(Debug)]
pub(crate) enum GroupResponse {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
}
