//! Assignors: how the leader of a group shares the partitions among the members.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod range;
mod round_robin;

pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;

use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// The partitions of one member: topic to partitions in ascending order.
pub type Assignment = BTreeMap<String, Vec<i32>>;

/// The partitions of all members: member id to assignment.
pub type GroupAssignment = BTreeMap<String, Assignment>;

/// Decides which member of a group gets which partitions.
///
/// The broker picks an assignor that every member has, by [`name`](Self::name); the group's leader runs it. All
/// members, those of other client libraries included, must mean the same by a name.
pub trait Assignor: Send + Sync + std::fmt::Debug {
    /// The protocol name, as in Kafka's `partition.assignment.strategy`: "range", "roundrobin".
    fn name(&self) -> &str;

    /// What this member tells the leader's assignor when it joins. Empty unless overridden.
    fn user_data(&self, topics: &[String]) -> Bytes {
        let _ = topics;
        Bytes::new()
    }

    /// Shares out partitions; runs on the leader only.
    ///
    /// `partitions` gives the number of partitions of each topic that some member subscribes to; topics that do not
    /// exist are absent. Members' data comes from other processes and may be anything, so an assignor must not panic on
    /// it.
    ///
    /// # Errors
    /// An error ends `consume` with it. So does an assignment of a partition to two members, of a partition that does
    /// not exist, or to a member that does not exist.
    fn assign(&self, members: &[GroupMember], partitions: &BTreeMap<String, i32>) -> Result<GroupAssignment>;

    /// Called on every member with what it got, when a generation starts. Does nothing unless overridden.
    fn on_assignment(&self, assignment: &Assignment, generation_id: i32) {
        let _ = (assignment, generation_id);
    }
}

/// A member of a group as the leader's assignor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id the broker gave it.
    pub member_id: String,
    /// Its `group.instance.id`, if it is a static member.
    pub group_instance_id: Option<String>,
    /// The topics it subscribes to.
    pub topics: Vec<String>,
    /// What its assignor wrote with [`Assignor::user_data`].
    pub user_data: Option<Bytes>,
    /// The partitions it says it owned before this rebalance.
    pub owned_partitions: Assignment,
    /// The generation in which it owned them; -1 if it did not say.
    pub generation_id: i32,
    /// Its `client.rack`.
    pub rack_id: Option<String>,
}

impl GroupMember {
    /// A member with this id and these topics.
    pub fn new(member_id: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            member_id: member_id.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            generation_id: -1,
            ..Self::default()
        }
    }

    /// The same member with a `group.instance.id`.
    pub fn with_group_instance_id(mut self, id: impl Into<String>) -> Self {
        self.group_instance_id = Some(id.into());
        self
    }
}

/// The members in the order in which every client library serves them: static ones by instance id, then the others by
/// member id. A member id that occurs twice counts once.
fn in_order(members: &[GroupMember]) -> Vec<&GroupMember> {
    let mut seen = BTreeSet::new();
    let mut ordered: Vec<_> = members.iter().filter(|member| seen.insert(&member.member_id)).collect();
    ordered.sort_by(|a, b| match (&a.group_instance_id, &b.group_instance_id) {
        (Some(a), Some(b)) => compare_like_java(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => compare_like_java(&a.member_id, &b.member_id),
    });
    ordered
}

/// The Java client orders strings by UTF-16 code units, which is not the order of UTF-8 bytes beyond U+FFFF.
fn compare_like_java(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// An entry without partitions for every member, so that nobody is left without an answer.
fn nothing_for(members: &[GroupMember]) -> GroupAssignment {
    members.iter().map(|member| (member.member_id.clone(), Assignment::new())).collect()
}

/// Runs an assignor and refuses what no assignor may do.
pub(crate) fn assign(
    assignor: &dyn Assignor,
    members: &[GroupMember],
    partitions: &BTreeMap<String, i32>,
) -> Result<GroupAssignment> {
    let assignment = assignor.assign(members, partitions)?;
    check(assignor.name(), members, partitions, &assignment)?;
    Ok(assignment)
}

/// Two owners of one partition mean records processed twice and commits that fight.
fn check(
    assignor: &str,
    members: &[GroupMember],
    partitions: &BTreeMap<String, i32>,
    assignment: &GroupAssignment,
) -> Result<()> {
    let refuse = |what: &str, topic: &str, partition: i32| {
        let message = format!("assignor {assignor:?} assigned a partition {what}");
        Err(Error::new(ErrorKind::InvalidArgument, message).with_topic(topic).with_partition(partition))
    };
    let known: BTreeSet<&str> = members.iter().map(|member| member.member_id.as_str()).collect();
    let mut owned = BTreeSet::new();
    for (member_id, topics) in assignment {
        for (topic, indexes) in topics {
            let count = partitions.get(topic).copied().unwrap_or(0);
            for &index in indexes {
                if !known.contains(member_id.as_str()) {
                    return refuse("to a member that is not in the group", topic, index);
                }
                if !(0..count).contains(&index) {
                    return refuse("that does not exist", topic, index);
                }
                if !owned.insert((topic, index)) {
                    return refuse("to two members", topic, index);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
