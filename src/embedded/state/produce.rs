//! Produce, versions 3 to 13 (KIP-98, KIP-467, KIP-951, KIP-516): writes record batches.
//!
//! Each partition takes one batch of magic 2. What can be known of it without the log is found out before the state is
//! locked, see [`checked`]. All replicas are one log, so acks 1 and -1 differ in `min.insync.replicas` only.

use super::log::{Appended, Checked, CheckedBatch, LogConfig, Refusal, check};
use super::{Context, Reply, State};
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::protocol::{Message, Request, Writer};
use crate::{ErrorCode, Result};
use std::any::Any;
use std::collections::HashSet;

/// The client id with which internal topics may be written to.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// A Produce request whose records have been looked at.
#[derive(Debug)]
pub(super) struct CheckedProduce {
    request: ProduceRequest,
    /// For each topic and partition of the request, in its order.
    checked: Vec<Vec<Checked>>,
}

impl Message for CheckedProduce {
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<()> {
        self.request.encode(writer, version)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Looks at the records of a Produce request: checksums, decompression, each record. To be done before the state is
/// locked. Any other message stays what it is.
pub(in crate::embedded) fn checked(context: &Context, body: Box<dyn Message>) -> Box<dyn Message> {
    if context.api.key.0 != ProduceRequest::KEY {
        return body;
    }
    let request = match body.into_any().downcast::<ProduceRequest>() {
        Ok(request) => *request,
        Err(other) => match other.downcast::<CheckedProduce>() {
            Ok(checked) => return checked,
            // Nothing else is made for this API.
            Err(_) => ProduceRequest::default(),
        },
    };
    let zstd = context.version >= 7;
    let of_topic = |topic: &TopicProduceData| {
        topic.partition_data.iter().map(|partition| check(partition.records.as_ref(), zstd)).collect()
    };
    let checked = request.topic_data.iter().map(of_topic).collect();
    Box::new(CheckedProduce { request, checked })
}

/// What goes for all partitions of a request.
struct Terms {
    acks: i16,
    transactional_id: Option<String>,
    /// Why nothing at all is written.
    refusal: Option<ErrorCode>,
}

impl State {
    pub(super) fn produce(&mut self, context: &Context, produced: CheckedProduce) -> Reply {
        let CheckedProduce { request, checked } = produced;
        let refusal = whole_refusal(&request, &checked);
        let terms = Terms { acks: request.acks, transactional_id: request.transactional_id, refusal };
        let mut response = ProduceResponse::default();
        let mut failed = false;
        for (topic, checked) in request.topic_data.into_iter().zip(checked) {
            let name = match context.version {
                13.. => self.topic_of(&topic.topic_id).map(|topic| topic.name.clone()),
                _ => Ok(topic.name.clone()),
            };
            let mut partition_responses = Vec::with_capacity(checked.len());
            for (partition, checked) in topic.partition_data.iter().zip(checked) {
                let written = match &name {
                    Ok(name) => self.produce_to(context, &terms, name, partition.index, checked),
                    Err(code) => Err((*code).into()),
                };
                failed |= written.is_err();
                let name = name.as_deref().unwrap_or_default();
                let answer = self.produced(context, name, partition.index, written, &mut response.node_endpoints);
                partition_responses.push(answer);
            }
            response.responses.push(TopicProduceResponse {
                name: topic.name,
                topic_id: topic.topic_id,
                partition_responses,
            });
        }
        self.bound_log_memory();
        match (terms.acks, failed) {
            (0, true) => Reply::Close,
            (0, false) => Reply::Silence,
            _ => Reply::of(response),
        }
    }

    fn produce_to(
        &mut self,
        context: &Context,
        terms: &Terms,
        topic: &str,
        index: i32,
        checked: Checked,
    ) -> Result<Appended, Refusal> {
        if let Some(code) = terms.refusal {
            return Err(code.into());
        }
        if self.topics.partition(topic, index).is_none() {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into());
        }
        let checked = match checked {
            Checked::NoBatch(refusal) => return Err(refusal),
            Checked::Bad(size, refusal) => Err((size, refusal)),
            Checked::Sound(batch) => Ok(batch),
        };
        if let Ok(batch) = &checked {
            self.check_transaction(context, terms, topic, index, batch)?;
        }
        if !matches!(terms.acks, -1..=1) {
            return Err(ErrorCode::INVALID_REQUIRED_ACKS.into());
        }
        let owner = self.topics.get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if owner.is_internal() && context.client_id != ADMIN_CLIENT_ID {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION.into());
        }
        let config = LogConfig::of(owner, &self.settings);
        let now_ms = self.wall_ms(context.now);
        let partition = self.leader(context.broker, topic, index, -1)?;
        if terms.acks == -1 && partition.isr.len() < config.min_insync_replicas {
            return Err(ErrorCode::NOT_ENOUGH_REPLICAS.into());
        }
        let batch = match checked {
            Ok(batch) => batch,
            Err((size, _)) if size > config.max_message_bytes => return Err(ErrorCode::MESSAGE_TOO_LARGE.into()),
            Err((_, refusal)) => return Err(refusal),
        };
        let size = batch.batch().bytes().len();
        let leader_epoch = partition.leader_epoch;
        let appended = partition.log.append(batch, &config, leader_epoch, now_ms)?;
        if !appended.duplicate {
            self.log_grew(topic, index, size, context.now);
        }
        Ok(appended)
    }

    /// Whether a batch of a transaction may be written: its transaction is under way in this partition already, or
    /// the coordinator knows that it is to be.
    fn check_transaction(
        &mut self,
        context: &Context,
        terms: &Terms,
        topic: &str,
        index: i32,
        batch: &CheckedBatch,
    ) -> Result<(), ErrorCode> {
        let Some(claim) = batch.claim().filter(|claim| claim.transactional) else { return Ok(()) };
        let partition = self.topics.partition(topic, index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let producer = partition.log.producers().get(claim.producer_id);
        if producer.is_some_and(|producer| producer.transaction_start.is_some()) {
            return Ok(());
        }
        let transactional_id = terms.transactional_id.as_deref().unwrap_or_default();
        self.verify_transaction(context, transactional_id, &claim, topic, index)
    }

    fn produced(
        &self,
        context: &Context,
        topic: &str,
        index: i32,
        written: Result<Appended, Refusal>,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> PartitionProduceResponse {
        let log_start_offset = self.topics.partition(topic, index).map_or(-1, |found| found.log.start_offset());
        let refusal = match written {
            Ok(appended) => {
                return PartitionProduceResponse {
                    index,
                    base_offset: appended.base_offset,
                    log_append_time_ms: appended.append_time_ms,
                    log_start_offset,
                    ..Default::default()
                };
            }
            Err(refusal) => refusal,
        };
        let mut response = PartitionProduceResponse {
            index,
            error_code: refusal.code.0,
            base_offset: -1,
            log_start_offset: if tells_start(refusal.code) { log_start_offset } else { -1 },
            record_errors: refusal.records.into_iter().map(record_error).collect(),
            error_message: refusal.message,
            ..Default::default()
        };
        if refusal.code == ErrorCode::NOT_LEADER_OR_FOLLOWER && context.version >= 10 {
            let (leader, endpoint) = self.current_leader(topic, index);
            response.current_leader = LeaderIdAndEpoch { leader_id: leader.id, leader_epoch: leader.epoch };
            if let Some(broker) = endpoint.filter(|broker| endpoints.iter().all(|known| known.node_id != broker.id)) {
                let (host, rack) = (broker.host.clone(), broker.rack.clone());
                endpoints.push(NodeEndpoint {
                    node_id: broker.id,
                    host,
                    port: broker.port(context.listener).into(),
                    rack,
                });
            }
        }
        response
    }
}

/// Whether a refusal says where the log starts: where the log itself has refused.
fn tells_start(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::INVALID_RECORD
            | ErrorCode::INVALID_TIMESTAMP
            | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | ErrorCode::INVALID_PRODUCER_EPOCH
    )
}

fn record_error((batch_index, message): (i32, String)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(message) }
}

/// What is wrong with a request as a whole: transactional batches without a transactional id, or of two producers.
fn whole_refusal(request: &ProduceRequest, checked: &[Vec<Checked>]) -> Option<ErrorCode> {
    let sound = checked.iter().flatten().filter_map(|checked| match checked {
        Checked::Sound(batch) => Some(batch),
        _ => None,
    });
    let claims = sound.filter_map(CheckedBatch::claim).filter(|claim| claim.transactional);
    let producers: HashSet<(i64, i16)> = claims.map(|claim| (claim.producer_id, claim.epoch)).collect();
    match producers.len() {
        0 => None,
        _ if request.transactional_id.is_none() => Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        1 => None,
        _ => Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING),
    }
}

#[cfg(test)]
mod tests;
