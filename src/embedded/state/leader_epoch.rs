//! OffsetForLeaderEpoch, versions 2 to 4 (KIP-320): where what a leader wrote ends, for readers to find out that a log
//! was cut.

use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

impl State {
    pub(super) fn offset_for_leader_epoch(&mut self, context: &Context, request: OffsetForLeaderEpochRequest) -> Reply {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let answer = |asked: &OffsetForLeaderPartition| {
                let epoch = asked.current_leader_epoch;
                let end = self
                    .fault_at(ApiKey::OFFSET_FOR_LEADER_EPOCH, &topic.topic, asked.partition)
                    .and_then(|()| self.leader(context.broker, &topic.topic, asked.partition, epoch))
                    .map(|partition| partition.log.end_offset_for_epoch(asked.leader_epoch).unwrap_or((-1, -1)));
                let (code, (leader_epoch, end_offset)) = match end {
                    Ok(end) => (ErrorCode::NONE, end),
                    Err(code) => (code, (-1, -1)),
                };
                EpochEndOffset { error_code: code.0, partition: asked.partition, leader_epoch, end_offset }
            };
            let partitions = topic.partitions.iter().map(answer).collect();
            topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
        }
        Reply::of(OffsetForLeaderEpochResponse { topics, ..Default::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_records::*;
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::offset_for_leader_epoch::OffsetForLeaderTopic;
    use std::collections::BTreeMap;

    #[test]
    fn a_readers_epoch_ends_where_the_log_was_cut() {
        let mut harness = Harness::new(1);
        harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
        produce(&mut harness, &batch(5));
        harness.state.truncate("t", 0, 3).unwrap();
        produce(&mut harness, &batch(1));
        for (current, asked, expected) in [
            (1, 0, (0, 0, 3)),
            (-1, 1, (0, 1, 4)),
            (-1, 2, (0, -1, -1)),
            (0, 0, (ErrorCode::FENCED_LEADER_EPOCH.0, -1, -1)),
            (2, 0, (ErrorCode::UNKNOWN_LEADER_EPOCH.0, -1, -1)),
        ] {
            let partition =
                OffsetForLeaderPartition { partition: 0, current_leader_epoch: current, leader_epoch: asked };
            let topics = vec![OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] }];
            let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
            let end = harness.call(1, 4, request).topics.remove(0).partitions.remove(0);
            assert_eq!((end.error_code, end.leader_epoch, end.end_offset), expected, "{asked}");
        }
    }
}
