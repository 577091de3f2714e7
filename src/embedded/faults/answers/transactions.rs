//! Producer ids and transactions.

use super::{Fail, each};
use crate::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, TopicResponse,
};
use crate::protocol::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::protocol::messages::write_txn_markers::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};

impl Fail for InitProducerIdRequest {
    fn fail(self, _version: i16, error_code: i16) -> InitProducerIdResponse {
        InitProducerIdResponse { error_code, producer_id: -1, producer_epoch: -1, ..Default::default() }
    }
}

impl Fail for AddPartitionsToTxnRequest {
    /// From version 4 on for each transaction, as only brokers ask.
    fn fail(self, version: i16, error_code: i16) -> AddPartitionsToTxnResponse {
        let failed = |topics: Vec<AddPartitionsToTxnTopic>| {
            each(topics, |topic| AddPartitionsToTxnTopicResult {
                name: topic.name,
                results_by_partition: each(topic.partitions, |partition_index| AddPartitionsToTxnPartitionResult {
                    partition_index,
                    partition_error_code: error_code,
                }),
            })
        };
        if version < 4 {
            let results_by_topic_v3_and_below = failed(self.v3_and_below_topics);
            return AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() };
        }
        let results_by_transaction = each(self.transactions, |transaction| AddPartitionsToTxnResult {
            transactional_id: transaction.transactional_id,
            topic_results: failed(transaction.topics),
        });
        AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
    }
}

impl Fail for DescribeProducersRequest {
    fn fail(self, _version: i16, error_code: i16) -> DescribeProducersResponse {
        let topics = each(self.topics, |topic| TopicResponse {
            name: topic.name,
            partitions: each(topic.partition_indexes, |partition_index| PartitionResponse {
                partition_index,
                error_code,
                ..Default::default()
            }),
        });
        DescribeProducersResponse { topics, ..Default::default() }
    }
}

impl Fail for DescribeTransactionsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DescribeTransactionsResponse {
        let failed = |transactional_id| TransactionState { error_code, transactional_id, ..Default::default() };
        DescribeTransactionsResponse { transaction_states: each(self.transactional_ids, failed), ..Default::default() }
    }
}

impl Fail for WriteTxnMarkersRequest {
    fn fail(self, _version: i16, error_code: i16) -> WriteTxnMarkersResponse {
        let markers = each(self.markers, |marker| WritableTxnMarkerResult {
            producer_id: marker.producer_id,
            topics: each(marker.topics, |topic| WritableTxnMarkerTopicResult {
                name: topic.name,
                partitions: each(topic.partition_indexes, |partition_index| WritableTxnMarkerPartitionResult {
                    partition_index,
                    error_code,
                }),
            }),
        });
        WriteTxnMarkersResponse { markers }
    }
}
