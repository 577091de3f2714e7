//! DescribeTopicPartitions, version 0 (KIP-966): partitions in the order of topics, so many at a time, with a cursor.

use super::metadata::TOPIC_OPERATIONS;
use super::topics::{Topic, check_name, is_internal};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use std::collections::BTreeSet;

type AnsweredTopic = DescribeTopicPartitionsResponseTopic;

impl State {
    pub(super) fn describe_topic_partitions(
        &mut self,
        _context: &Context,
        request: DescribeTopicPartitionsRequest,
    ) -> Reply {
        let everything = request.topics.is_empty();
        let cursor = request.cursor.as_ref();
        let first = cursor.map_or("", |cursor| &cursor.topic_name);
        let names: BTreeSet<&str> = if everything {
            self.topics.iter().map(|topic| topic.name.as_str()).collect()
        } else {
            request.topics.iter().map(|topic| topic.name.as_str()).collect()
        };
        let lost = cursor.is_some_and(|cursor| {
            cursor.partition_index < 0 || !everything && !names.contains(cursor.topic_name.as_str())
        });
        if lost {
            let refused = |name: &&str| answered(name, ErrorCode::INVALID_REQUEST);
            let topics = names.iter().map(refused).collect();
            return Reply::of(DescribeTopicPartitionsResponse { topics, ..Default::default() });
        }
        let limit = self.settings.number("max.request.partition.size.limit");
        let mut left = usize::try_from(limit.min(request.response_partition_limit.into()).max(1)).unwrap_or(1);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names.range(first..) {
            let start = cursor.filter(|cursor| cursor.topic_name == **name).map_or(0, |cursor| cursor.partition_index);
            if left == 0 {
                response.next_cursor = Some(ResponseCursor { topic_name: (*name).into(), partition_index: 0 });
                break;
            }
            let Some(topic) = self.topics.get(name) else {
                let code =
                    check_name(name).map_or_else(|refusal| refusal.code, |()| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                response.topics.push(answered(name, code));
                continue;
            };
            let described = self.described_from(topic, start, left);
            left -= described.partitions.len();
            let next = described.partitions.last().map_or(start, |last| last.partition_index + 1);
            response.topics.push(described);
            if usize::try_from(next).is_ok_and(|next| next < topic.partitions.len()) {
                response.next_cursor = Some(ResponseCursor { topic_name: topic.name.clone(), partition_index: next });
                break;
            }
        }
        Reply::of(response)
    }

    fn described_from(&self, topic: &Topic, start: i32, limit: usize) -> AnsweredTopic {
        let stopped = |id: &i32| !self.brokers.is_running(*id);
        let skipped = usize::try_from(start).unwrap_or(0);
        let partitions = topic.partitions.iter().zip(0..).skip(skipped).take(limit).map(|(partition, index)| {
            let code = if partition.leader.is_none() { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE };
            DescribeTopicPartitionsResponsePartition {
                error_code: code.0,
                partition_index: index,
                leader_id: partition.leader.unwrap_or(-1),
                leader_epoch: partition.leader_epoch,
                replica_nodes: partition.replicas.clone(),
                isr_nodes: partition.isr.clone(),
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                offline_replicas: partition.replicas.iter().copied().filter(stopped).collect(),
            }
        });
        AnsweredTopic { topic_id: topic.id, partitions: partitions.collect(), ..answered(&topic.name, ErrorCode::NONE) }
    }
}

fn answered(name: &str, code: ErrorCode) -> AnsweredTopic {
    AnsweredTopic {
        error_code: code.0,
        name: Some(name.to_owned()),
        is_internal: is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::describe_topic_partitions::{RequestCursor, TopicRequest};
    use std::collections::BTreeMap;

    fn harness() -> Harness {
        let mut harness = Harness::new(1);
        for (name, partitions) in [("a", 3), ("b", 2), ("c", 1)] {
            harness.state.create_topic(name, partitions, 1, BTreeMap::new()).unwrap();
        }
        harness
    }

    fn asking(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
        let topic = |name: &&str| TopicRequest { name: (*name).into() };
        let cursor = cursor.map(|(name, partition_index)| RequestCursor { topic_name: name.into(), partition_index });
        DescribeTopicPartitionsRequest {
            topics: names.iter().map(topic).collect(),
            response_partition_limit: limit,
            cursor,
        }
    }

    /// Each topic with its partitions, and the cursor.
    fn ask(
        harness: &mut Harness,
        request: DescribeTopicPartitionsRequest,
    ) -> (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>) {
        let response = harness.call(1, 0, request);
        let topic = |topic: AnsweredTopic| {
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            (topic.name.unwrap(), topic.error_code, partitions)
        };
        let cursor = response.next_cursor.map(|cursor| (cursor.topic_name, cursor.partition_index));
        (response.topics.into_iter().map(topic).collect(), cursor)
    }

    #[test]
    fn the_cursor_leads_through_all_partitions() {
        let mut harness = harness();
        let (topics, cursor) = ask(&mut harness, asking(&[], 2, None));
        assert_eq!((topics, cursor), (vec![("a".into(), 0, vec![0, 1])], Some(("a".into(), 2))));
        let (topics, cursor) = ask(&mut harness, asking(&[], 3, Some(("a", 2))));
        let wanted = vec![("a".into(), 0, vec![2]), ("b".into(), 0, vec![0, 1])];
        assert_eq!((topics, cursor), (wanted, Some(("c".into(), 0))));
        let (topics, cursor) = ask(&mut harness, asking(&[], 3, Some(("c", 0))));
        assert_eq!((topics, cursor), (vec![("c".into(), 0, vec![0])], None));
    }

    #[test]
    fn topics_that_are_asked_for_by_name_are_answered_also_if_there_are_none() {
        let mut harness = harness();
        let (topics, _) = ask(&mut harness, asking(&["c", "absent", "b/d"], 100, None));
        assert_eq!(topics, [("absent".into(), 3, vec![]), ("b/d".into(), 17, vec![]), ("c".into(), 0, vec![0])]);
        let (topics, _) = ask(&mut harness, asking(&["c"], 100, Some(("b", 0))));
        assert_eq!(topics, [("c".into(), 42, vec![])], "the cursor's topic is not asked for");
        let (topics, _) = ask(&mut harness, asking(&["c"], 100, Some(("c", -1))));
        assert_eq!(topics[0].1, 42);
    }
}
