//! InitProducerId with a transactional id, versions 0 to 5; AddPartitionsToTxn, versions 0 to 5, of which brokers use
//! those from 4 on; AddOffsetsToTxn, versions 0 to 4; TxnOffsetCommit, versions 0 to 5; EndTxn, versions 0 to 5.
//!
//! Producers of transactions V2 (KIP-890) don't add partitions: Produce from version 12 on and TxnOffsetCommit from 5 on
//! do it for them, and EndTxn from 5 on raises the epoch and answers with it.

use super::coordinator::identity;
use super::transaction::{Identity, Part};
use crate::ErrorCode;
use crate::embedded::state::coordinator::Coordinated;
use crate::embedded::state::log::Claim;
use crate::embedded::state::topics::OFFSETS_TOPIC;
use crate::embedded::state::{Context, Reply, State};
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
};
use crate::protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

/// From this version of Produce on the broker adds partitions to transactions.
const PRODUCE_ADDS: i16 = 12;
/// The first version of Produce whose clients know TRANSACTION_ABORTABLE.
const PRODUCE_KNOWS_ABORTABLE: i16 = 11;
/// The same of TxnOffsetCommit.
const COMMIT_ADDS: i16 = 5;
const COMMIT_KNOWS_ABORTABLE: i16 = 4;
/// From this version of EndTxn on every end raises the epoch.
const END_BUMPS: i16 = 5;

impl State {
    pub(in crate::embedded::state) fn init_transactional_id(
        &mut self,
        context: &Context,
        request: &InitProducerIdRequest,
    ) -> Reply {
        let id = request.transactional_id.as_deref().unwrap_or_default();
        let expected = identity(request.producer_id, request.producer_epoch);
        Reply::of(match self.begin_producer(context, id, request.transaction_timeout_ms, expected) {
            Ok(Identity { id, epoch }) => {
                InitProducerIdResponse { producer_id: id, producer_epoch: epoch, ..Default::default() }
            }
            Err(code) => {
                let error_code = told(code, context.version >= 4).0;
                InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() }
            }
        })
    }

    pub(in crate::embedded::state) fn add_partitions_to_txn(
        &mut self,
        context: &Context,
        request: AddPartitionsToTxnRequest,
    ) -> Reply {
        if context.version >= 4 {
            let results = request.transactions.into_iter().map(|transaction| {
                let topic_results = self.add_topics(context, &transaction);
                AddPartitionsToTxnResult { transactional_id: transaction.transactional_id, topic_results }
            });
            let results_by_transaction = results.collect();
            return Reply::of(AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() });
        }
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        };
        let results_by_topic_v3_and_below = self.add_topics(context, &transaction);
        Reply::of(AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() })
    }

    /// All partitions or none.
    fn add_topics(
        &mut self,
        context: &Context,
        asked: &AddPartitionsToTxnTransaction,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        let parts: Vec<Part> = asked.topics.iter().flat_map(parts).collect();
        if parts.iter().any(|part| self.check_part(part).is_err()) {
            return results(&asked.topics, |part| {
                self.check_part(part).err().unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED)
            });
        }
        let id = asked.transactional_id.as_str();
        let producer = Identity { id: asked.producer_id, epoch: asked.producer_epoch };
        let found = self.check_coordinator(context, Coordinated::Transaction, id);
        if let Err(code) = found {
            return results(&asked.topics, |_| code);
        }
        if asked.verify_only {
            return results(&asked.topics, |part| {
                self.verify_part(id, producer, part).err().unwrap_or(ErrorCode::NONE)
            });
        }
        let added = self.add_parts(id, producer, &parts, context.now);
        let code = told(added.err().unwrap_or(ErrorCode::NONE), context.version >= 2);
        results(&asked.topics, |_| code)
    }

    /// Whether a partition can be added to a transaction.
    fn check_part(&self, (topic, partition): &Part) -> Result<(), ErrorCode> {
        self.topics.partition(topic, *partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.fault_at(ApiKey::ADD_PARTITIONS_TO_TXN, topic, *partition)
    }

    pub(in crate::embedded::state) fn add_offsets_to_txn(
        &mut self,
        context: &Context,
        request: AddOffsetsToTxnRequest,
    ) -> Reply {
        let id = request.transactional_id.as_str();
        let producer = Identity { id: request.producer_id, epoch: request.producer_epoch };
        let added = self.check_coordinator(context, Coordinated::Transaction, id);
        let added = added.and_then(|()| self.offsets_part(&request.group_id));
        let added = added.and_then(|part| self.add_parts(id, producer, &[part], context.now));
        let error_code = told(added.err().unwrap_or(ErrorCode::NONE), context.version >= 2).0;
        Reply::of(AddOffsetsToTxnResponse { error_code, ..Default::default() })
    }

    /// The partition whose leader keeps a group's offsets. Its topic is made if it is not there.
    fn offsets_part(&mut self, group: &str) -> Result<Part, ErrorCode> {
        // Whether it could be made is seen at once.
        let _ = self.make_coordinators_topic(Coordinated::Group);
        let partition = self.coordinators_partition(Coordinated::Group, group);
        Ok((OFFSETS_TOPIC.to_owned(), partition.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?))
    }

    pub(in crate::embedded::state) fn txn_offset_commit(
        &mut self,
        context: &Context,
        request: TxnOffsetCommitRequest,
    ) -> Reply {
        let topics = match self.check_offsets_transaction(context, &request) {
            Ok(()) => self.pend_offsets(context, &request),
            Err(code) => {
                let failed = request.topics.into_iter().map(|topic| TxnOffsetCommitResponseTopic {
                    name: topic.name,
                    partitions: topic
                        .partitions
                        .into_iter()
                        .map(|partition| TxnOffsetCommitResponsePartition {
                            partition_index: partition.partition_index,
                            error_code: code.0,
                        })
                        .collect(),
                });
                failed.collect()
            }
        };
        Reply::of(TxnOffsetCommitResponse { topics, ..Default::default() })
    }

    fn check_offsets_transaction(
        &mut self,
        context: &Context,
        request: &TxnOffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        self.check_coordinator(context, Coordinated::Group, &request.group_id)?;
        let part = self.offsets_part(&request.group_id)?;
        let producer = Identity { id: request.producer_id, epoch: request.producer_epoch };
        let id = request.transactional_id.as_str();
        let checked = self.coordinator(Coordinated::Transaction, id).and_then(|_| {
            if context.version >= COMMIT_ADDS {
                self.add_parts(id, producer, &[part], context.now)
            } else {
                self.verify_part(id, producer, &part)
            }
        });
        checked.map_err(|code| match code {
            ErrorCode::TRANSACTION_ABORTABLE if context.version < COMMIT_KNOWS_ABORTABLE => {
                ErrorCode::INVALID_TXN_STATE
            }
            code => told(code, false),
        })
    }

    pub(in crate::embedded::state) fn end_txn(&mut self, context: &Context, request: EndTxnRequest) -> Reply {
        let id = request.transactional_id.as_str();
        let producer = Identity { id: request.producer_id, epoch: request.producer_epoch };
        let bumps = context.version >= END_BUMPS;
        let found = self.check_coordinator(context, Coordinated::Transaction, id);
        let ended =
            found.and_then(|()| self.end_producers_transaction(id, producer, request.committed, bumps, context.now));
        Reply::of(match ended {
            Ok(Identity { id, epoch }) if bumps => {
                EndTxnResponse { producer_id: id, producer_epoch: epoch, ..Default::default() }
            }
            Ok(_) => EndTxnResponse::default(),
            Err(code) => EndTxnResponse { error_code: told(code, context.version >= 2).0, ..Default::default() },
        })
    }

    /// Whether a batch may be written to a partition: it is part of the producer's transaction, or becomes one with this
    /// batch.
    pub(in crate::embedded::state) fn verify_transaction(
        &mut self,
        context: &Context,
        transactional_id: &str,
        claim: &Claim,
        topic: &str,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let producer = Identity { id: claim.producer_id, epoch: claim.epoch };
        let part = (topic.to_owned(), partition);
        let adds = context.version >= PRODUCE_ADDS;
        let checked = self.coordinator(Coordinated::Transaction, transactional_id).and_then(|_| {
            if adds {
                self.add_parts(transactional_id, producer, &[part], context.now)
            } else {
                self.verify_part(transactional_id, producer, &part)
            }
        });
        checked.map_err(|code| match code {
            ErrorCode::TRANSACTION_ABORTABLE if context.version < PRODUCE_KNOWS_ABORTABLE => {
                ErrorCode::INVALID_TXN_STATE
            }
            // Older clients would not try again after these.
            ErrorCode::CONCURRENT_TRANSACTIONS if !adds => ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::COORDINATOR_NOT_AVAILABLE => ErrorCode::NOT_ENOUGH_REPLICAS,
            code => told(code, false),
        })
    }
}

/// PRODUCER_FENCED, for those who know it; INVALID_PRODUCER_EPOCH for the others (KIP-588).
fn told(code: ErrorCode, knows_fenced: bool) -> ErrorCode {
    if code == ErrorCode::PRODUCER_FENCED && !knows_fenced { ErrorCode::INVALID_PRODUCER_EPOCH } else { code }
}

fn parts(topic: &AddPartitionsToTxnTopic) -> impl Iterator<Item = Part> {
    topic.partitions.iter().map(|partition| (topic.name.clone(), *partition))
}

/// One result for each partition that was asked for.
fn results(
    topics: &[AddPartitionsToTxnTopic],
    mut code: impl FnMut(&Part) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut all = Vec::new();
    for topic in topics {
        let result = |part: Part| AddPartitionsToTxnPartitionResult {
            partition_index: part.1,
            partition_error_code: code(&part).0,
        };
        let results_by_partition = parts(topic).map(result).collect();
        all.push(AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition });
    }
    all
}
