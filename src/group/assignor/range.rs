use super::{Assignor, GroupAssignment, GroupMember, in_order, nothing_for};
use crate::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Gives each subscriber of a topic a contiguous range of its partitions, topic by topic.
///
/// The first members get one partition more where the count does not divide evenly. Members of the same subscription
/// get the same partition numbers of equally large topics, so that keyed topics can be joined. Kafka:
/// `partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, members: &[GroupMember], partitions: &BTreeMap<String, i32>) -> Result<GroupAssignment> {
        let mut assignment = nothing_for(members);
        let ordered: Vec<(&GroupMember, BTreeSet<&str>)> = in_order(members)
            .into_iter()
            .map(|member| (member, member.topics.iter().map(String::as_str).collect()))
            .collect();
        for (topic, &count) in partitions {
            let subscribers: Vec<_> =
                ordered.iter().filter(|(_, subscribed)| subscribed.contains(topic.as_str())).collect();
            // More members than an i32 can count can't come out of one response.
            let Ok(sharers) = i32::try_from(subscribers.len()) else { continue };
            let count = count.max(0);
            let (Some(each), Some(extra)) = (count.checked_div(sharers), count.checked_rem(sharers)) else { continue };
            let mut next = 0i32;
            for ((member, _), position) in subscribers.into_iter().zip(0..) {
                let end = i32::from(position < extra).saturating_add(each).saturating_add(next);
                if end > next
                    && let Some(own) = assignment.get_mut(&member.member_id)
                {
                    own.insert(topic.clone(), (next..end).collect());
                }
                next = end;
            }
        }
        Ok(assignment)
    }
}
