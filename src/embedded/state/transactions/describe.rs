//! DescribeTransactions, version 0; ListTransactions, versions 0 to 2; DescribeProducers, version 0 (KIP-664, KIP-994,
//! KIP-1152).

use super::Entry;
use super::transaction::Phase;
use crate::ErrorCode;
use crate::embedded::state::coordinator::Coordinated;
use crate::embedded::state::{Context, Reply, State, expression};
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use crate::protocol::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};
use crate::protocol::messages::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState as ListedTransaction,
};
use std::collections::BTreeMap;

impl State {
    pub(in crate::embedded::state) fn describe_transactions(
        &mut self,
        context: &Context,
        request: DescribeTransactionsRequest,
    ) -> Reply {
        let described = request.transactional_ids.into_iter().map(|id| match self.found_transaction(context, &id) {
            Ok(entry) => described(id, entry),
            Err(code) => {
                TransactionState { error_code: code.0, transactional_id: id, producer_id: -1, ..Default::default() }
            }
        });
        Reply::of(DescribeTransactionsResponse { transaction_states: described.collect(), ..Default::default() })
    }

    fn found_transaction(&self, context: &Context, id: &str) -> Result<&Entry, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_coordinator(context, Coordinated::Transaction, id)?;
        self.transactions.by_id.get(id).ok_or(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND)
    }

    /// Each broker lists those it coordinates.
    pub(in crate::embedded::state) fn list_transactions(
        &mut self,
        context: &Context,
        request: ListTransactionsRequest,
    ) -> Reply {
        let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
        let Ok(pattern) = pattern.map(expression::compile_for_any_name).transpose() else {
            let error_code = ErrorCode::INVALID_REGULAR_EXPRESSION.0;
            return Reply::of(ListTransactionsResponse { error_code, ..Default::default() });
        };
        let known = |name: &String| Phase::ALL.iter().any(|phase| phase.name() == name) || is_internal_state(name);
        let unknown_state_filters = request.state_filters.iter().filter(|name| !known(name)).cloned().collect();
        let now_ms = self.wall_ms(context.now);
        let wanted = |id: &str, entry: &Entry| {
            let transaction = &entry.transaction;
            let state = transaction.phase.name();
            // As in Kafka one that was never open counts as open since long ago.
            let open_ms = now_ms.saturating_sub(transaction.started_ms);
            self.coordinator(Coordinated::Transaction, id) == Ok(context.broker)
                && (request.state_filters.is_empty() || request.state_filters.iter().any(|name| name == state))
                && (request.producer_id_filters.is_empty()
                    || request.producer_id_filters.contains(&transaction.producer.id))
                && (request.duration_filter < 0 || open_ms > request.duration_filter)
                && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id.as_bytes()))
        };
        let listed = self.transactions.by_id.iter().filter(|(id, entry)| wanted(id, entry));
        let listed = listed.map(|(id, entry)| ListedTransaction {
            transactional_id: id.clone(),
            producer_id: entry.transaction.producer.id,
            transaction_state: entry.transaction.phase.name().to_owned(),
        });
        let transaction_states = listed.collect();
        Reply::of(ListTransactionsResponse { unknown_state_filters, transaction_states, ..Default::default() })
    }

    pub(in crate::embedded::state) fn describe_producers(
        &mut self,
        context: &Context,
        request: DescribeProducersRequest,
    ) -> Reply {
        let mut topics = Vec::new();
        for topic in request.topics {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let active = self.leader(context.broker, &topic.name, *index, -1).map(|partition| {
                    let mut active: Vec<ProducerState> = partition.log.producers().iter().map(active).collect();
                    active.sort_by_key(|producer| producer.producer_id);
                    active
                });
                let code = active.as_ref().err().copied().unwrap_or(ErrorCode::NONE);
                PartitionResponse {
                    partition_index: *index,
                    error_code: code.0,
                    error_message: None,
                    active_producers: active.unwrap_or_default(),
                }
            });
            let partitions = partitions.collect();
            topics.push(TopicResponse { name: topic.name, partitions });
        }
        Reply::of(DescribeProducersResponse { topics, ..Default::default() })
    }
}

/// States that Kafka knows and that no transactional id is ever seen in.
fn is_internal_state(name: &str) -> bool {
    matches!(name, "Dead" | "PrepareEpochFence")
}

fn described(transactional_id: String, entry: &Entry) -> TransactionState {
    let transaction = &entry.transaction;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &transaction.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let topic = |(topic, partitions): (&str, Vec<i32>)| TopicData { topic: topic.to_owned(), partitions };
    TransactionState {
        error_code: ErrorCode::NONE.0,
        transactional_id,
        transaction_state: transaction.phase.name().to_owned(),
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_start_time_ms: transaction.started_ms,
        producer_id: transaction.producer.id,
        producer_epoch: transaction.producer.epoch,
        topics: topics.into_iter().map(topic).collect(),
    }
}

fn active((producer_id, producer): (i64, &crate::embedded::state::log::Producer)) -> ProducerState {
    ProducerState {
        producer_id,
        producer_epoch: producer.epoch.into(),
        last_sequence: producer.last_sequence(),
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.unwrap_or(-1),
    }
}
