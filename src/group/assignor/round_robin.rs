use super::{Assignor, GroupAssignment, GroupMember, compare_like_java, in_order, nothing_for};
use crate::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Deals all partitions of all topics to the members in turn, skipping members that do not subscribe to the topic.
///
/// Where all subscribe to the same topics, no member gets two partitions more than another.
/// Kafka: `partition.assignment.strategy=org.apache.kafka.clients.consumer.RoundRobinAssignor`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobinAssignor;

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, members: &[GroupMember], partitions: &BTreeMap<String, i32>) -> Result<GroupAssignment> {
        let mut assignment = nothing_for(members);
        let ordered: Vec<(&GroupMember, BTreeSet<&str>)> = in_order(members)
            .into_iter()
            .map(|member| (member, member.topics.iter().map(String::as_str).collect()))
            .collect();
        let mut topics: Vec<_> = partitions.iter().collect();
        topics.sort_by(|(a, _), (b, _)| compare_like_java(a, b));

        let mut turns = (0..ordered.len()).cycle();
        for (topic, &count) in topics {
            if !ordered.iter().any(|(_, subscribed)| subscribed.contains(topic.as_str())) {
                continue;
            }
            for partition in 0..count {
                let mut next = turns.by_ref().filter_map(|turn| ordered.get(turn));
                let subscriber = next.find(|(_, subscribed)| subscribed.contains(topic.as_str()));
                if let Some(own) = subscriber.and_then(|(member, _)| assignment.get_mut(&member.member_id)) {
                    own.entry(topic.clone()).or_default().push(partition);
                }
            }
        }
        Ok(assignment)
    }
}
