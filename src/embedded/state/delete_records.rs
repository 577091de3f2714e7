//! DeleteRecords, versions 0 to 2 (KIP-107): moves the start of a log.

use super::log::LogConfig;
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

/// Stands for the high watermark: everything.
const HIGH_WATERMARK: i64 = -1;

impl State {
    pub(super) fn delete_records(&mut self, context: &Context, request: DeleteRecordsRequest) -> Reply {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let answer = |asked: &DeleteRecordsPartition| {
                let (low_watermark, code) = match self.delete_before(context.broker, &topic.name, asked) {
                    Ok(start) => (start, ErrorCode::NONE),
                    Err(code) => (-1, code),
                };
                let partition_index = asked.partition_index;
                DeleteRecordsPartitionResult { partition_index, low_watermark, error_code: code.0 }
            };
            let partitions = topic.partitions.iter().map(answer).collect();
            topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
        }
        Reply::of(DeleteRecordsResponse { topics, ..Default::default() })
    }

    fn delete_before(&mut self, broker: i32, name: &str, asked: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
        let topic = self.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let config = LogConfig::of(topic, &self.settings);
        let internal = topic.is_internal();
        if self.topics.partition(name, asked.partition_index).is_none() {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        if internal {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        self.fault_at(ApiKey::DELETE_RECORDS, name, asked.partition_index)?;
        let partition = self.leader(broker, name, asked.partition_index, -1)?;
        if !config.delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let log = &mut partition.log;
        let offset = if asked.offset == HIGH_WATERMARK { log.high_watermark() } else { asked.offset };
        if !(0..=log.high_watermark()).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        log.advance_start(offset);
        let start = log.start_offset();
        self.wake_fetches(name, asked.partition_index);
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_records::*;
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::delete_records::DeleteRecordsTopic;
    use std::collections::BTreeMap;

    fn delete(harness: &mut Harness, topic: &str, offset: i64) -> (i16, i64) {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions }];
        let response = harness.call(1, 2, DeleteRecordsRequest { topics, timeout_ms: 1000 });
        let result = &response.topics[0].partitions[0];
        (result.error_code, result.low_watermark)
    }

    #[test]
    fn records_go_up_to_an_offset_or_all_of_them() {
        let mut harness = Harness::new(1);
        harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
        produce(&mut harness, &batch(5));
        assert_eq!(delete(&mut harness, "t", 3), (0, 3));
        assert_eq!(delete(&mut harness, "t", 1), (0, 3), "never back");
        assert_eq!(fetch(&mut harness, fetch_request(2)).error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
        let data = fetch(&mut harness, fetch_request(3));
        assert_eq!((offsets(&data), data.log_start_offset), (vec![0, 1, 2, 3, 4], 3), "the batch stays whole");
        for wrong in [6, -2] {
            assert_eq!(delete(&mut harness, "t", wrong), (ErrorCode::OFFSET_OUT_OF_RANGE.0, -1));
        }
        assert_eq!(delete(&mut harness, "t", HIGH_WATERMARK), (0, 5));
        assert_eq!(delete(&mut harness, "absent", 0), (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, -1));
    }

    #[test]
    fn compacted_and_internal_topics_keep_their_records() {
        let mut harness = Harness::new(1);
        let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        harness.state.create_topic("t", 1, 1, configs).unwrap();
        harness.state.create_topic("__consumer_offsets", 1, 1, BTreeMap::new()).unwrap();
        assert_eq!(delete(&mut harness, "t", 0), (ErrorCode::POLICY_VIOLATION.0, -1));
        assert_eq!(delete(&mut harness, "__consumer_offsets", 0), (ErrorCode::INVALID_TOPIC_EXCEPTION.0, -1));
    }
}
