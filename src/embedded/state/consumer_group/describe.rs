//! ConsumerGroupDescribe, versions 0 to 1 (KIP-848, KIP-1099): epochs, members, what they have and what they are to have.

use super::super::coordinator::Coordinated;
use super::super::groups::Group;
use super::super::topics::Topics;
use super::super::{Context, Reply, State};
use super::group::ConsumerGroup;
use super::limits::Limits;
use super::member::Member;
use super::{Partitions, Refusal, TopicId};
use crate::ErrorCode;
use crate::protocol::messages::consumer_group_describe::{
    self as message, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, TopicPartitions,
};
use std::collections::BTreeSet;

/// What protocol a member speaks, in version 1.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS: what may be done with a group where there are no ACLs, as
/// bits (KIP-430).
const OPERATIONS: i32 = 0b1101_0100_1000;
/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

impl State {
    pub(in crate::embedded::state) fn consumer_group_describe(
        &mut self,
        context: &Context,
        request: ConsumerGroupDescribeRequest,
    ) -> Reply {
        if !self.has_consumer_groups(context.broker) {
            let refused = |group_id| DescribedGroup {
                error_code: ErrorCode::UNSUPPORTED_VERSION.0,
                group_id,
                authorized_operations: NO_OPERATIONS,
                ..Default::default()
            };
            let groups = request.group_ids.into_iter().map(refused).collect();
            return Reply::of(ConsumerGroupDescribeResponse { groups, ..Default::default() });
        }
        let limits = Limits::new(&self.settings);
        let operations = if request.include_authorized_operations { OPERATIONS } else { NO_OPERATIONS };
        let answer = |id: String| {
            let described = self.consumer_group(context, &id).map(|group| {
                let described = group.describe(&id, &self.topics, &limits);
                DescribedGroup { authorized_operations: operations, ..described }
            });
            described.unwrap_or_else(|refusal| DescribedGroup {
                error_code: refusal.code.0,
                error_message: Some(refusal.message),
                group_id: id,
                ..Default::default()
            })
        };
        let groups = request.group_ids.into_iter().map(answer).collect();
        Reply::of(ConsumerGroupDescribeResponse { groups, ..Default::default() })
    }

    /// The members of a consumer group, with names for topics.
    pub(in crate::embedded) fn consumer_group_members(&self, group: &ConsumerGroup) -> Vec<message::Member> {
        let members = group.members.values();
        members.map(|member| described(member, &Partitions::default(), &self.topics)).collect()
    }

    fn consumer_group(&self, context: &Context, id: &str) -> Result<&ConsumerGroup, Refusal> {
        if id.is_empty() {
            return Err(Refusal::new(ErrorCode::INVALID_GROUP_ID, "The group id is empty."));
        }
        self.check_coordinator(context, Coordinated::Group, id)
            .map_err(|code| Refusal::new(code, "This is not the correct coordinator."))?;
        let missing = |text: String| Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, text));
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(_) => missing(format!("Group {id} is not a consumer group.")),
            None => missing(format!("Group {id} not found.")),
        }
    }
}

impl ConsumerGroup {
    pub(super) fn describe(&self, id: &str, topics: &Topics, limits: &Limits) -> DescribedGroup {
        let none = Partitions::default();
        let target = |member: &Member| self.target.get(&member.id).unwrap_or(&none);
        DescribedGroup {
            group_id: id.to_owned(),
            group_state: self.state_name().to_owned(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor_name: self.assignor(limits).name().to_owned(),
            members: self.members.values().map(|member| described(member, target(member), topics)).collect(),
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
        // As in Kafka an empty one stands for none.
        subscribed_topic_regex: Some(member.regex.clone().unwrap_or_default()),
        assignment: assignment(held, topics),
        target_assignment: assignment(target.iter().map(|(topic, numbers)| (*topic, numbers.clone())), topics),
        member_type: if member.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
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
