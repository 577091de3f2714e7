//! DescribeQuorum, versions 0 to 2 (KIP-595, KIP-836, KIP-853): the brokers are the controllers as well.

use super::create_topics::CLUSTER_METADATA_TOPIC;
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState, ResponsePartitionData,
    ResponseTopicData,
};

/// A controller without anything else to do writes a record this often.
const IDLE_RECORD_MS: u128 = 500;

impl State {
    pub(super) fn describe_quorum(&mut self, context: &Context, request: DescribeQuorumRequest) -> Reply {
        let mut topics = Vec::new();
        for topic in request.topics {
            let is_metadata = topic.topic_name == CLUSTER_METADATA_TOPIC;
            let partition = |index: i32| {
                if is_metadata && index == 0 {
                    return self.described_quorum(context);
                }
                let error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
                ResponsePartitionData { partition_index: index, error_code, ..Default::default() }
            };
            let partitions = topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect();
            topics.push(ResponseTopicData { topic_name: topic.topic_name, partitions });
        }
        let nodes = self.brokers.iter().map(|broker| Node {
            node_id: broker.id,
            listeners: vec![Listener {
                name: "CONTROLLER".into(),
                host: broker.host.clone(),
                port: broker.port(context.listener),
            }],
        });
        let nodes = nodes.collect();
        Reply::of(DescribeQuorumResponse { topics, nodes, ..Default::default() })
    }

    fn described_quorum(&self, context: &Context) -> ResponsePartitionData {
        let written: usize = self.topics.iter().map(|topic| topic.partitions.len() + topic.configs.len() + 1).sum();
        let idle = context.now.as_millis() / IDLE_RECORD_MS;
        let end = i64::try_from(idle).unwrap_or(i64::MAX).saturating_add(i64::try_from(written).unwrap_or(i64::MAX));
        let now_ms = self.wall_ms(context.now);
        let voter = |(id, running): (i32, bool)| ReplicaState {
            replica_id: id,
            log_end_offset: if running { end } else { 0 },
            last_fetch_timestamp: if running { now_ms } else { -1 },
            last_caught_up_timestamp: if running { now_ms } else { -1 },
            ..Default::default()
        };
        ResponsePartitionData {
            leader_id: self.brokers.controller().unwrap_or(-1),
            leader_epoch: 1,
            high_watermark: end,
            current_voters: self.brokers.iter().map(|broker| voter((broker.id, broker.running))).collect(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::describe_quorum::{RequestPartitionData, RequestTopicData};

    #[test]
    fn the_controller_leads_and_all_brokers_vote() {
        let mut harness = Harness::new(3);
        harness.state.broker_stopped(1);
        let ask = |harness: &mut Harness, name: &str| {
            let partitions = vec![RequestPartitionData { partition_index: 0 }];
            let topics = vec![RequestTopicData { topic_name: name.into(), partitions }];
            harness.call(2, 2, DescribeQuorumRequest { topics }).topics.remove(0).partitions.remove(0)
        };
        let quorum = ask(&mut harness, CLUSTER_METADATA_TOPIC);
        let voters: Vec<i32> = quorum.current_voters.iter().map(|voter| voter.replica_id).collect();
        assert_eq!((quorum.leader_id, voters), (2, vec![1, 2, 3]));
        harness.state.create_topic("t", 1, 1, Default::default()).unwrap();
        assert!(ask(&mut harness, CLUSTER_METADATA_TOPIC).high_watermark > quorum.high_watermark);
        assert_eq!(ask(&mut harness, "t").error_code, 3);
    }
}
