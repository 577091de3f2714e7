//! Groups, as the handle on a cluster sees and moves them.

use super::Cluster;
use super::state::{Committed, Coordinated, Group, Member};
use crate::protocol::Reader;
use crate::protocol::messages::consumer_group_describe;
use crate::protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// An offset that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The offset of the next record to be consumed.
    pub offset: i64,
    /// The leader epoch of the last consumed record, if the commit said so.
    pub leader_epoch: Option<i32>,
    /// The text that was committed with it.
    pub metadata: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The member id.
    pub member_id: String,
    /// The instance id of a static member. Kafka: `group.instance.id`.
    pub instance_id: Option<String>,
    /// Kafka: `client.id`.
    pub client_id: String,
    /// The partitions that are assigned to it.
    pub partitions: BTreeSet<(String, i32)>,
}

/// Groups
impl Cluster {
    /// What a group has committed, by topic and partition. Offsets of transactions count when those are committed.
    pub fn committed(&self, group: &str) -> BTreeMap<(String, i32), CommittedOffset> {
        let view = |(key, committed): (&(String, i32), &Committed)| {
            let leader_epoch = Some(committed.leader_epoch).filter(|epoch| *epoch >= 0);
            let metadata = committed.metadata.clone();
            (key.clone(), CommittedOffset { offset: committed.offset, leader_epoch, metadata })
        };
        self.core.with_state(|state, _| state.offsets.of_group(group).into_iter().flatten().map(view).collect())
    }

    /// The state of a group, as Kafka names it: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` for the
    /// classic protocol; `Empty`, `Assigning`, `Reconciling`, `Stable` for the consumer protocol. `None` if there is no such group.
    pub fn group_state(&self, group: &str) -> Option<String> {
        self.core.with_state(|state, _| state.groups.get(group).map(|group| group.state_name().to_owned()))
    }

    /// The members of a group, in the order of their ids; none if there is no such group.
    pub fn group_members(&self, group: &str) -> Vec<GroupMember> {
        let view = |member: &Member| GroupMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            partitions: assigned(member.assignment.clone()).unwrap_or_default(),
        };
        let consumer = |member: consumer_group_describe::Member| {
            let topics = member.assignment.topic_partitions.into_iter();
            let pairs = topics.flat_map(|topic| pairs(topic.topic_name, topic.partitions));
            GroupMember {
                member_id: member.member_id,
                instance_id: member.instance_id,
                client_id: member.client_id,
                partitions: pairs.collect(),
            }
        };
        self.core.with_state(|state, _| match state.groups.get(group) {
            Some(Group::Classic(group)) => group.members.values().map(view).collect(),
            Some(Group::Consumer(group)) => state.consumer_group_members(group).into_iter().map(consumer).collect(),
            None => Vec::new(),
        })
    }

    /// Moves the coordinator of a group to a running broker, with all groups whose offsets are in the same partition of
    /// `__consumer_offsets`; the topic is made if it is not there. JoinGroups and SyncGroups that wait at the old
    /// coordinator are answered NOT_COORDINATOR.
    ///
    /// # Errors
    /// BROKER_NOT_AVAILABLE if the broker does not run.
    pub fn move_coordinator(&self, group: &str, broker: i32) -> Result<()> {
        let kind = Coordinated::Group;
        let moved = self.core.with_state(|state, _| {
            let _ = state.make_coordinators_topic(kind);
            let partition = state.coordinators_partition(kind, group).unwrap_or_default();
            state.move_leader(kind.topic(), partition, broker)
        });
        moved.map_err(|refusal| Error::from_code(refusal.code, format!("the coordinator of {group} was not moved")))
    }

    /// The broker that coordinates a group; `None` if there is none at the moment, or nobody has asked for it yet.
    pub fn coordinator(&self, group: &str) -> Option<i32> {
        self.core.with_state(|state, _| state.coordinator(Coordinated::Group, group).ok())
    }
}

/// The partitions in an assignment of the consumer protocol.
fn assigned(assignment: Bytes) -> Option<BTreeSet<(String, i32)>> {
    let mut reader = Reader::new(assignment);
    reader.i16().ok()?;
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, 0).ok()?;
    let topics = assignment.assigned_partitions.into_iter();
    Some(topics.flat_map(|topic| pairs(topic.topic, topic.partitions)).collect())
}

fn pairs(topic: String, partitions: Vec<i32>) -> impl Iterator<Item = (String, i32)> {
    partitions.into_iter().map(move |partition| (topic.clone(), partition))
}
