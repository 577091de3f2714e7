//! Transactions and the producers that write them.

use super::groups::{Listed, list_all};
use super::routing::{Entity, Route};
use super::values::{by_topic, named};
use super::{Admin, Results, TopicPartition, outcome};
use crate::cluster::CoordinatorType;
use crate::protocol::messages::describe_producers::{DescribeProducersRequest, ProducerState, TopicRequest};
use crate::protocol::messages::describe_transactions::{
    DescribeTransactionsRequest, TransactionState as DescribedTransaction,
};
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::messages::list_transactions::ListTransactionsRequest;
use crate::protocol::messages::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest};
use crate::{Error, Result};
use std::time::Duration;

/// From this version on transactions can be listed by how long they have been open (KIP-994).
const DURATIONS: i16 = 1;
/// From this version on transactions can be listed by a pattern of their ids (KIP-1152).
const PATTERNS: i16 = 2;

named! {
    /// The state of a transaction.
    TransactionState {
        /// There is none at the moment.
        Empty "Empty",
        /// It is open.
        Ongoing "Ongoing",
        /// It is decided and will be committed.
        PrepareCommit "PrepareCommit",
        /// It is decided and will be aborted.
        PrepareAbort "PrepareAbort",
        /// It has been committed.
        CompleteCommit "CompleteCommit",
        /// It has been aborted.
        CompleteAbort "CompleteAbort",
        /// Its id is about to be forgotten.
        Dead "Dead",
        /// It was not ended in time: a newer epoch is about to abort it.
        PrepareEpochFence "PrepareEpochFence",
    }
}

/// A transaction in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionListing {
    /// The transactional id.
    pub transactional_id: String,
    /// The producer id that it stands for now.
    pub producer_id: i64,
    /// Its state.
    pub state: TransactionState,
    /// The node id of its coordinator.
    pub coordinator: i32,
}

/// Which transactions to list; all by default.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TransactionFilter {
    states: Vec<String>,
    producer_ids: Vec<i64>,
    duration: Option<Duration>,
    pattern: Option<String>,
}

impl TransactionFilter {
    /// All transactions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those in one of these states.
    pub fn states(mut self, states: impl IntoIterator<Item = TransactionState>) -> Self {
        self.states = states.into_iter().map(|state| state.to_string()).collect();
        self
    }

    /// Those of one of these producer ids.
    pub fn producer_ids(mut self, ids: impl IntoIterator<Item = i64>) -> Self {
        self.producer_ids = ids.into_iter().collect();
        self
    }

    /// Those that have been open for longer than this. Brokers from 3.8 on (KIP-994).
    pub fn open_longer_than(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Those whose ids match this regular expression of the broker's. Brokers from 4.1 on (KIP-1152).
    pub fn transactional_id_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }
}

/// A transaction in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionDescription {
    /// The transactional id.
    pub transactional_id: String,
    /// The node id of its coordinator.
    pub coordinator: i32,
    /// Its state.
    pub state: TransactionState,
    /// The producer id that it stands for now.
    pub producer_id: i64,
    /// That producer's epoch.
    pub producer_epoch: i16,
    /// After so long the coordinator aborts it.
    pub timeout: Duration,
    /// When it began, in milliseconds since 1970; `None` if it has not.
    pub start_timestamp: Option<i64>,
    /// The partitions that are part of it.
    pub partitions: Vec<TopicPartition>,
}

/// A producer, as the leader of a partition knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerDescription {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence number of its last record; `None` if there is none.
    pub last_sequence: Option<i32>,
    /// When it last wrote, in milliseconds since 1970; `None` if that is not known.
    pub last_timestamp: Option<i64>,
    /// The epoch of the coordinator of its last transaction; `None` if there was none.
    pub coordinator_epoch: Option<i32>,
    /// The first offset of its open transaction; `None` if none is open.
    pub current_transaction_start_offset: Option<i64>,
}

impl From<ProducerState> for ProducerDescription {
    fn from(producer: ProducerState) -> Self {
        Self {
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            last_sequence: Some(producer.last_sequence).filter(|n| *n >= 0),
            last_timestamp: Some(producer.last_timestamp).filter(|n| *n >= 0),
            coordinator_epoch: Some(producer.coordinator_epoch).filter(|n| *n >= 0),
            current_transaction_start_offset: Some(producer.current_txn_start_offset).filter(|n| *n >= 0),
        }
    }
}

/// An open transaction in one partition that is to be aborted there, whatever its coordinator thinks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AbortTransaction {
    /// The partition.
    pub partition: TopicPartition,
    /// The id of the producer.
    pub producer_id: i64,
    /// Its epoch, as the partition's leader [knows](Admin::describe_producers) it.
    pub producer_epoch: i16,
    /// The epoch of the coordinator, as the partition's leader knows it.
    pub coordinator_epoch: i32,
}

impl Entity for AbortTransaction {
    fn named(&self, error: Error) -> Error {
        self.partition.named(error)
    }
}

/// The identity that stands for a transactional id after older ones were fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FencedProducer {
    /// The producer id.
    pub producer_id: i64,
    /// The epoch; producers with older ones are refused from now on.
    pub producer_epoch: i16,
}

impl Admin {
    /// Lists the transactions of all coordinators, by id. RPC ListTransactions to all brokers, side by side, brokers
    /// from 3.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::TransactionFilter;
    /// use std::time::Duration;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let filter = TransactionFilter::new().open_longer_than(Duration::from_secs(900));
    /// for transaction in admin.list_transactions(&filter)?.all()? {
    ///     println!("{}", transaction.transactional_id);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_transactions(&self, filter: &TransactionFilter) -> Result<Listed<TransactionListing>> {
        let mut listed = list_all(&self.call(), |asking| {
            if filter.pattern.is_some() {
                let without = "transactions can't be listed by a pattern";
                asking.needs::<ListTransactionsRequest>(PATTERNS, without)?;
            }
            if filter.duration.is_some() {
                let without = "transactions can't be listed by how long they are open";
                asking.needs::<ListTransactionsRequest>(DURATIONS, without)?;
            }
            let duration_ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            let response = asking.call(&ListTransactionsRequest {
                state_filters: filter.states.clone(),
                producer_id_filters: filter.producer_ids.clone(),
                duration_filter: filter.duration.map_or(-1, duration_ms),
                transactional_id_pattern: filter.pattern.clone(),
            })?;
            outcome(response.error_code, None, "transactions were not listed")?;
            let coordinator = asking.node_id();
            let transactions = response.transaction_states.into_iter().map(|transaction| TransactionListing {
                transactional_id: transaction.transactional_id,
                producer_id: transaction.producer_id,
                state: TransactionState::from_wire(&transaction.transaction_state),
                coordinator,
            });
            Ok(transactions.collect())
        })?;
        listed.found.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        Ok(listed)
    }

    /// Describes transactions. RPC DescribeTransactions to the coordinators, side by side, brokers from 3.0 on. An id
    /// that is not known is an error, TRANSACTIONAL_ID_NOT_FOUND.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (id, outcome) in admin.describe_transactions(&["payments"])? {
    ///     println!("{id}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_transactions(&self, transactional_ids: &[&str]) -> Result<Results<TransactionDescription>> {
        let ids = transactional_ids.iter().map(|id| (*id).to_owned()).collect();
        self.call().run(ids, &coordinator(), |asking, ids| {
            let response = asking.call(&DescribeTransactionsRequest { transactional_ids: ids.to_vec() })?;
            let coordinator = asking.node_id();
            let answers = response.transaction_states.into_iter().map(|transaction| {
                let id = transaction.transactional_id.clone();
                let described = outcome(transaction.error_code, None, &format!("transaction {id:?} was not described"));
                (id, described.map(|()| described_transaction(transaction, coordinator)))
            });
            Ok(answers.collect())
        })
    }

    /// The producers that write to partitions, as the leaders know them. RPC DescribeProducers to the leaders, side by
    /// side, brokers from 2.8 on.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, outcome) in admin.describe_producers(&[TopicPartition::new("test3", 0)])? {
    ///     println!("{partition}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_producers(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Results<Vec<ProducerDescription>, TopicPartition>> {
        self.describe_producers_by(partitions, &Route::Leader(&|partition| partition))
    }

    /// Like [`describe_producers`](Self::describe_producers), as one broker that has replicas knows them. RPC
    /// DescribeProducers to that broker, brokers from 2.8 on.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, outcome) in admin.describe_producers_on(2, &[TopicPartition::new("test3", 0)])? {
    ///     println!("{partition}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_producers_on(
        &self,
        broker: i32,
        partitions: &[TopicPartition],
    ) -> Result<Results<Vec<ProducerDescription>, TopicPartition>> {
        self.describe_producers_by(partitions, &Route::Broker(&|_| Some(broker)))
    }

    fn describe_producers_by(
        &self,
        partitions: &[TopicPartition],
        route: &Route<'_, TopicPartition>,
    ) -> Result<Results<Vec<ProducerDescription>, TopicPartition>> {
        self.call().run(partitions.to_vec(), route, |asking, partitions| {
            let topics = by_topic(partitions).into_iter();
            let topics =
                topics.map(|(topic, partition_indexes)| TopicRequest { name: topic.to_owned(), partition_indexes });
            let response = asking.call(&DescribeProducersRequest { topics: topics.collect() })?;
            let answers = response.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let described = outcome(p.error_code, p.error_message.as_deref(), "producers were not described");
                    let producers = p.active_producers.into_iter().map(Into::into).collect();
                    (TopicPartition::new(&topic.name, p.partition_index), described.map(|()| producers))
                })
            });
            Ok(answers.collect())
        })
    }

    /// Aborts transactions that hang: open in a partition though their coordinators know nothing of them, so that
    /// readers of committed records wait for ever. RPC WriteTxnMarkers to the leaders, brokers from 2.8 on.
    ///
    /// Only for what [`describe_producers`](Self::describe_producers) shows as open and
    /// [`describe_transactions`](Self::describe_transactions) does not know: aborting a live one breaks its atomicity.
    ///
    /// ```no_run
    /// use sarameya::admin::{AbortTransaction, TopicPartition};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// // As `describe_producers` tells of it.
    /// let hanging = AbortTransaction {
    ///     partition: TopicPartition::new("test3", 0),
    ///     producer_id: 1000,
    ///     producer_epoch: 3,
    ///     coordinator_epoch: 7,
    /// };
    /// for (hanging, outcome) in admin.abort_transactions(&[hanging])? {
    ///     println!("{hanging:?}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn abort_transactions(&self, hanging: &[AbortTransaction]) -> Result<Results<(), AbortTransaction>> {
        self.call().run(
            hanging.to_vec(),
            &Route::Leader(&|abort: &AbortTransaction| &abort.partition),
            |asking, all| {
                // The answers are told apart by producer and partition only, so one request must not have both twice.
                let mut answers = Vec::new();
                for abort in all {
                    let TopicPartition { topic: name, partition } = abort.partition.clone();
                    let marker = WritableTxnMarker {
                        producer_id: abort.producer_id,
                        producer_epoch: abort.producer_epoch,
                        transaction_result: false,
                        topics: vec![WritableTxnMarkerTopic { name, partition_indexes: vec![partition] }],
                        coordinator_epoch: abort.coordinator_epoch,
                        ..Default::default()
                    };
                    let response = asking.call(&WriteTxnMarkersRequest { markers: vec![marker] })?;
                    let topics = response.markers.into_iter().flat_map(|marker| marker.topics);
                    let code = topics.flat_map(|topic| topic.partitions).next().map(|partition| partition.error_code);
                    let code = code.ok_or_else(|| Error::protocol("the answer to WriteTxnMarkers has no result"))?;
                    answers.push((abort.clone(), outcome(code, None, "the transaction was not aborted")));
                }
                Ok(answers)
            },
        )
    }

    /// Shuts out all producers that use these transactional ids, and aborts their open transactions (Java's
    /// `fenceProducers` and `forceTerminateTransaction`). RPC InitProducerId to the coordinators, side by side, brokers
    /// from 1.0 on. Each id is fenced at least once.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (id, outcome) in admin.fence_producers(&["payments"])? {
    ///     println!("{id}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn fence_producers(&self, transactional_ids: &[&str]) -> Result<Results<FencedProducer>> {
        let ids = transactional_ids.iter().map(|id| (*id).to_owned()).collect();
        self.call().run(ids, &coordinator(), |asking, ids| {
            let mut answers = Vec::new();
            for id in ids {
                let response = asking.call(&InitProducerIdRequest {
                    transactional_id: Some(id.clone()),
                    // Of the transaction that nobody will begin.
                    transaction_timeout_ms: asking.timeout_ms(),
                    producer_id: -1,
                    producer_epoch: -1,
                })?;
                let fenced = outcome(response.error_code, None, &format!("producers of {id:?} were not fenced"));
                let (producer_id, producer_epoch) = (response.producer_id, response.producer_epoch);
                answers.push((id.clone(), fenced.map(|()| FencedProducer { producer_id, producer_epoch })));
            }
            Ok(answers)
        })
    }
}

/// Transactional ids go to their coordinators.
pub(super) fn coordinator() -> Route<'static, String> {
    Route::Coordinator(CoordinatorType::Transaction, &|id: &String| id.as_str())
}

fn described_transaction(transaction: DescribedTransaction, coordinator: i32) -> TransactionDescription {
    let topics = transaction.topics.into_iter();
    let partitions =
        topics.flat_map(|t| t.partitions.into_iter().map(move |p| TopicPartition::new(t.topic.clone(), p)));
    TransactionDescription {
        transactional_id: transaction.transactional_id,
        coordinator,
        state: TransactionState::from_wire(&transaction.transaction_state),
        producer_id: transaction.producer_id,
        producer_epoch: transaction.producer_epoch,
        timeout: Duration::from_millis(u64::try_from(transaction.transaction_timeout_ms).unwrap_or(0)),
        start_timestamp: Some(transaction.transaction_start_time_ms).filter(|timestamp| *timestamp >= 0),
        partitions: partitions.collect(),
    }
}
