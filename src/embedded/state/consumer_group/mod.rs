//! Consumer groups of the new protocol (KIP-848): the coordinator assigns, each member is brought there step by step.
//!
//! `group` is the group, `member` one member, `reconcile` its steps, `assignor` who gets what, `subscription` what is wanted;
//! `heartbeat` and `describe` are the APIs.
//!
//! While a group moves from one protocol to the other it has members of both: `classic` is what those of the classic
//! protocol ask, `migration` how a group becomes one of the other kind.

mod assignor;
mod classic;
mod describe;
mod group;
mod heartbeat;
mod limits;
mod member;
mod migration;
#[cfg(test)]
mod mixed;
mod offsets;
mod reconcile;
#[cfg(test)]
mod simulation;
mod subscription;

pub(in crate::embedded) use group::ConsumerGroup;
pub(in crate::embedded) use offsets::Allowed;

use crate::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

type TopicId = [u8; 16];
/// Partitions by topic.
type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;
/// Partitions by topic, each with the epoch in which it was assigned.
type Held = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// The epoch of a member that leaves.
const LEAVE: i32 = -1;
/// The epoch of a static member that leaves for the time being.
const LEFT_FOR_NOW: i32 = -2;

/// Where a request came from.
pub(super) struct Asker<'a> {
    client_id: &'a str,
    client_host: &'a str,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn unknown_member(id: &str) -> Self {
        Self::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Member {id} is not a member of the group."))
    }

    fn unknown_instance(instance_id: &str) -> Self {
        Self::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance_id} is unknown."))
    }

    fn fenced_instance(instance_id: &str, owner: &str) -> Self {
        let text = format!("The static member with instance id {instance_id} was fenced by member {owner}.");
        Self::new(ErrorCode::FENCED_INSTANCE_ID, text)
    }
}
