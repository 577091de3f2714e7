//! Produce requests and what their answers mean. Pure.

use super::delivery::{Outcome, SendError};
use super::partition::{Batch, Doubt, PartitionQueue};
use crate::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::{Error, ErrorCode, ErrorKind};
use std::collections::HashMap;
use std::sync::Arc;

/// A batch on its way.
#[derive(Debug)]
pub(super) struct InFlightBatch {
    pub(super) partition: Arc<PartitionQueue>,
    pub(super) topic_id: [u8; 16],
    /// Its bytes belong to the request until the answer has come or the socket is dead.
    pub(super) batch: Batch,
}

/// What an answer means for a batch.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Final.
    Done(Outcome),
    /// Nothing is known, or nothing was written: send it again.
    Retry {
        /// Whether the broker may have written it all the same.
        doubt: Doubt,
        refresh: bool,
        error: Error,
    },
    /// The broker misses what came before this batch: begin a new sequence with it.
    NewSequence { new_id: bool, error: Error },
    /// Larger than the broker takes, but it has several records.
    Split(Error),
}

/// Puts batches into one request, grouped by topic.
pub(super) fn build(batches: &[InFlightBatch], acks: i16, timeout_ms: i32, version: i16) -> ProduceRequest {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for item in batches {
        let at = *places.entry(&item.partition.topic).or_insert_with(|| {
            topics.push(TopicProduceData {
                // From version 13 on the id stands for the name.
                name: if version >= 13 { String::new() } else { item.partition.topic.to_string() },
                topic_id: item.topic_id,
                partition_data: Vec::new(),
            });
            topics.len() - 1
        });
        topics[at].partition_data.push(PartitionProduceData {
            index: item.partition.index,
            records: Some(item.batch.sealed.bytes().clone()),
        });
    }
    ProduceRequest { transactional_id: None, acks, timeout_ms, topic_data: topics }
}

/// Finds the answer for each batch, once: what was not asked for is ignored, a second answer for a partition too.
pub(super) fn answers(response: ProduceResponse, batches: &[InFlightBatch]) -> Vec<Option<PartitionProduceResponse>> {
    let mut found: Vec<Option<PartitionProduceResponse>> = batches.iter().map(|_| None).collect();
    for topic in response.responses {
        for partition in topic.partition_responses {
            let is_it = |item: &InFlightBatch| {
                let same_topic = if topic.name.is_empty() {
                    item.topic_id == topic.topic_id
                } else {
                    *item.partition.topic == *topic.name
                };
                same_topic && item.partition.index == partition.index
            };
            if let Some(at) = batches.iter().position(is_it) {
                found[at].get_or_insert(partition);
            }
        }
    }
    found
}

/// Classifies the answer for one batch. `earlier` says whether an earlier batch of the partition is unresolved.
pub(super) fn judge(answer: Option<PartitionProduceResponse>, batch: &Batch, earlier: bool) -> Verdict {
    let Some(answer) = answer else {
        let error = Error::protocol("the broker's answer leaves out this partition");
        return Verdict::Done(Outcome::Failed(SendError::PossiblyPersisted(error)));
    };
    let code = ErrorCode(answer.error_code);
    let text = answer.error_message.as_deref().filter(|text| !text.is_empty());
    let error = || Error::from_code(code, text.map_or("the broker refused a batch".to_owned(), str::to_owned));
    let idempotent = batch.stamp().is_some();
    match code {
        ErrorCode::NONE => {
            let (base_offset, log_append_time) = (answer.base_offset, answer.log_append_time_ms);
            Verdict::Done(Outcome::Written { base_offset, log_append_time })
        }
        // It is in the log from an earlier attempt whose answer was lost; the broker no longer knows where.
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER if idempotent => {
            Verdict::Done(Outcome::Written { base_offset: -1, log_append_time: -1 })
        }
        // Something before it is on its way again and will close the gap.
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if idempotent && earlier => {
            Verdict::Retry { doubt: Doubt::Settled, refresh: false, error: error() }
        }
        // Nothing of ours is missing that could still come: what was before it was given up, or the broker has lost what
        // it knew (an unclean leader). A batch that it has it would have known, so this one is not in the log.
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if idempotent => Verdict::NewSequence { new_id: false, error: error() },
        // The broker has forgotten the producer. Sent anew, a batch that may be in the log could be there twice.
        ErrorCode::UNKNOWN_PRODUCER_ID
        | ErrorCode::INVALID_PRODUCER_EPOCH
        | ErrorCode::INVALID_PRODUCER_ID_MAPPING
        | ErrorCode::PRODUCER_FENCED
            if idempotent && batch.was_in_doubt() =>
        {
            Verdict::Done(Outcome::Failed(SendError::PossiblyPersisted(error())))
        }
        ErrorCode::UNKNOWN_PRODUCER_ID if idempotent => Verdict::NewSequence { new_id: false, error: error() },
        // Without a transactional id nobody can take over on purpose: a new id is as good as the old one.
        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::INVALID_PRODUCER_ID_MAPPING | ErrorCode::PRODUCER_FENCED
            if idempotent =>
        {
            Verdict::NewSequence { new_id: true, error: error() }
        }
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE
            if batch.sealed.count() > 1 && !batch.was_in_doubt() =>
        {
            Verdict::Split(error())
        }
        // The leader wrote it and the others did not follow in time, or it failed while it wrote: it may stay or go.
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND | ErrorCode::REQUEST_TIMED_OUT | ErrorCode::KAFKA_STORAGE_ERROR => {
            Verdict::Retry { doubt: Doubt::Raised, refresh: code.needs_metadata_refresh(), error: error() }
        }
        code if code.is_retriable() => {
            Verdict::Retry { doubt: Doubt::Unchanged, refresh: code.needs_metadata_refresh(), error: error() }
        }
        // An error this version does not know: a later Kafka may mean anything by it, also that the batch was written.
        code if code.name().is_none() || code == ErrorCode::UNKNOWN_SERVER_ERROR => {
            Verdict::Done(Outcome::Failed(SendError::PossiblyPersisted(error())))
        }
        _ => {
            let records: Vec<i32> = answer.record_errors.iter().map(|record| record.batch_index).collect();
            let named = answer.record_errors.iter().find_map(|record| record.batch_index_error_message.clone());
            let error = named.map_or_else(error, |text| Error::from_code(code, text));
            Verdict::Done(if records.is_empty() || batch.was_in_doubt() {
                Outcome::Failed(SendError::new(batch.was_in_doubt(), error))
            } else {
                Outcome::Rejected { records, error }
            })
        }
    }
}

/// The error of a batch whose time ran out.
pub(super) fn expired(partition: &PartitionQueue, last: Option<&Error>) -> Error {
    let message = match last {
        Some(last) => format!("the delivery timeout passed; last: {last}"),
        None => "the delivery timeout passed".to_owned(),
    };
    Error::new(ErrorKind::Timeout, message)
        .with_topic(partition.topic.clone())
        .with_partition(partition.index)
        .with_setting("delivery.timeout.ms")
}
