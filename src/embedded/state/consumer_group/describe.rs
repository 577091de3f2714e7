//! ConsumerGroupDescribe, versions 0 to 1 (KIP-848, KIP-1099): epochs, members, what they have and what they are to have.

use super::super::topics::Topics;
use super::group::ConsumerGroup;
use super::limits::Limits;
use super::member::Member;
use super::{Partitions, TopicId};
use crate::protocol::messages::consumer_group_describe::{self as message, DescribedGroup, TopicPartitions};
use std::collections::BTreeSet;

/// A member of the consumer protocol, in version 1; 0 would be one of the classic protocol.
const CONSUMER_MEMBER: i8 = 1;

impl ConsumerGroup {
    pub(super) fn describe(&self, id: &str, topics: &Topics, limits: &Limits, operations: i32) -> DescribedGroup {
        let none = Partitions::default();
        let target = |member: &Member| self.target.get(&member.id).unwrap_or(&none);
        DescribedGroup {
            group_id: id.to_owned(),
            group_state: self.state_name().to_owned(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor_name: self.assignor(limits).name().to_owned(),
            members: self.members.values().map(|member| described(member, target(member), topics)).collect(),
            authorized_operations: operations,
            ..Default::default()
        }
    }
}

fn described(member: &Member, target: &Partitions, topics: &Topics) -> message::Member {
    let held = member.assigned.iter().map(|(topic, numbers)| (*topic, numbers.keys().copied().collect()));
    message::Member {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.epoch,
        client_id: member.client_id.clone(),
        client_host: format!("/{}", member.client_host),
        subscribed_topic_names: member.topics.iter().cloned().collect(),
        subscribed_topic_regex: member.regex.clone(),
        assignment: assignment(held, topics),
        target_assignment: assignment(target.iter().map(|(topic, numbers)| (*topic, numbers.clone())), topics),
        member_type: CONSUMER_MEMBER,
    }
}

/// Topics that have been deleted are left out: they have no name.
fn assignment(parts: impl Iterator<Item = (TopicId, BTreeSet<i32>)>, topics: &Topics) -> message::Assignment {
    let named = |(topic_id, partitions): (TopicId, BTreeSet<i32>)| {
        let topic_name = topics.name_of(&topic_id)?.to_owned();
        Some(TopicPartitions { topic_id, topic_name, partitions: partitions.into_iter().collect() })
    };
    message::Assignment { topic_partitions: parts.filter_map(named).collect() }
}
