//! Producing, fetching, offsets and metadata.

use super::{Fail, each};
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataResponse, MetadataResponseTopic};
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use crate::protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};

impl Fail for ProduceRequest {
    fn fail(self, _version: i16, error_code: i16) -> ProduceResponse {
        let responses = each(self.topic_data, |topic| TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: each(topic.partition_data, |partition| PartitionProduceResponse {
                index: partition.index,
                error_code,
                base_offset: -1,
                log_append_time_ms: -1,
                log_start_offset: -1,
                ..Default::default()
            }),
        });
        ProduceResponse { responses, ..Default::default() }
    }
}

impl Fail for FetchRequest {
    /// From version 7 on an error of the whole request stands at the top, and the session is void; but a code that is
    /// about partitions stands there too, since clients look for it there.
    fn fail(self, version: i16, error_code: i16) -> FetchResponse {
        if version >= 7 && (self.topics.is_empty() || is_about_sessions(error_code)) {
            return FetchResponse { error_code, ..Default::default() };
        }
        let responses = each(self.topics, |topic| FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: each(topic.partitions, |partition| PartitionData {
                partition_index: partition.partition,
                error_code,
                high_watermark: -1,
                records: Some(Default::default()),
                ..Default::default()
            }),
        });
        FetchResponse { responses, ..Default::default() }
    }
}

/// Whether clients look for the code at the top of an answer to Fetch.
fn is_about_sessions(code: i16) -> bool {
    use crate::ErrorCode;
    [
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    ]
    .contains(&ErrorCode(code))
}

impl Fail for ListOffsetsRequest {
    fn fail(self, _version: i16, error_code: i16) -> ListOffsetsResponse {
        let topics = each(self.topics, |topic| ListOffsetsTopicResponse {
            name: topic.name,
            partitions: each(topic.partitions, |partition| ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                ..Default::default()
            }),
        });
        ListOffsetsResponse { topics, ..Default::default() }
    }
}

impl Fail for OffsetForLeaderEpochRequest {
    fn fail(self, _version: i16, error_code: i16) -> OffsetForLeaderEpochResponse {
        let topics = each(self.topics, |topic| OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions: each(topic.partitions, |partition| EpochEndOffset {
                error_code,
                partition: partition.partition,
                ..Default::default()
            }),
        });
        OffsetForLeaderEpochResponse { topics, ..Default::default() }
    }
}

impl Fail for DeleteRecordsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DeleteRecordsResponse {
        let topics = each(self.topics, |topic| DeleteRecordsTopicResult {
            name: topic.name,
            partitions: each(topic.partitions, |partition| DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: -1,
                error_code,
            }),
        });
        DeleteRecordsResponse { topics, ..Default::default() }
    }
}

impl Fail for MetadataRequest {
    /// Without brokers: the client has to ask again, and knows those that it knew.
    fn fail(self, _version: i16, error_code: i16) -> MetadataResponse {
        let topics = each(self.topics.unwrap_or_default(), |topic| MetadataResponseTopic {
            error_code,
            // Versions below 12 have no null here.
            name: Some(topic.name.unwrap_or_default()),
            topic_id: topic.topic_id,
            ..Default::default()
        });
        MetadataResponse { topics, error_code, ..Default::default() }
    }
}

impl Fail for DescribeTopicPartitionsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DescribeTopicPartitionsResponse {
        let topics = each(self.topics, |topic| DescribeTopicPartitionsResponseTopic {
            error_code,
            name: Some(topic.name),
            ..Default::default()
        });
        DescribeTopicPartitionsResponse { topics, ..Default::default() }
    }
}
