//! The state of a cluster: what all its brokers know and do, without sockets, threads or a clock.
//!
//! [`State::handle`] takes a request and says what becomes of it; [`State::advance`] lets time pass. Both may finish
//! requests that were parked before: [`State::take_answers`] hands those out. One file for each family of APIs.

mod acls;
mod api_versions;
mod bearer;
mod brokers;
mod configs;
mod consumer_group;
mod coordinator;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_topics;
mod expression;
mod features;
mod fetch;
mod groups;
mod leader_epoch;
mod list_offsets;
mod log;
mod log_dirs;
mod metadata;
mod offsets;
mod partition_changes;
mod partition_faults;
mod partitions;
mod placement;
mod produce;
mod producer_ids;
mod quorum;
mod quotas;
mod refusal;
mod releases;
mod replicas;
mod retention;
mod sasl;
mod scram_users;
mod settings;
#[cfg(test)]
mod test_records;
#[cfg(test)]
mod test_support;
mod timers;
mod topics;
mod transactions;
mod unregister_broker;
mod users;

pub(super) use brokers::{Broker, Brokers};
pub(super) use coordinator::Coordinated;
pub(super) use groups::Group;
pub(super) use groups::classic::Member;
pub(super) use log::UNPACKED_BYTES;
pub(super) use offsets::Committed;
pub(super) use produce::checked;
pub(super) use refusal::Refusal;
pub(super) use releases::{Release, release, release_names};
pub(super) use retention::LOG_MEMORY;
pub(super) use sasl::MECHANISMS;
pub(super) use settings::Settings;

use crate::protocol::messages::*;
use crate::protocol::{Api, Message, Response};
use bytes::Bytes;
use configs::Configs;
use features::Features;
use fetch::Fetches;
use groups::{Coordinators, Groups};
use offsets::Offsets;
use partition_faults::PartitionFaults;
use produce::CheckedProduce;
use quotas::Quotas;
use retention::Cleaning;
use sasl::Security;
use std::collections::BTreeMap;
use std::time::Duration;
use timers::{Timer, Timers};
use topics::Topics;
use transactions::Transactions;

/// The time since the cluster was started, by its own clock.
pub(super) type Time = Duration;

/// Stands for a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

/// What is known of a request beside its body. A connection has one request under way at a time, as in Kafka, so the
/// connection's id names the request as well.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) connection: ConnectionId,
    /// The broker that was asked.
    pub(super) broker: i32,
    /// Which of its listeners: the ports in the answer are those of this one.
    pub(super) listener: usize,
    pub(super) api: &'static Api,
    pub(super) version: i16,
    pub(super) client_id: String,
    /// The client's address, without the port.
    pub(super) client_host: String,
    pub(super) now: Time,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Box<dyn Message>),
    /// There will be no answer (acks 0).
    Silence,
    /// The answer comes later, by way of [`State::take_answers`].
    Parked,
    /// The broker closes the connection, as Kafka does where it has no answer.
    Close,
    /// The broker does not offer this API or version.
    Unsupported,
    /// Bytes to be written as they are.
    Raw(Bytes),
    /// An answer after which the broker closes the connection.
    Last(Box<dyn Message>),
}

impl Reply {
    pub(super) fn of<R: Response + Send + 'static>(response: R) -> Self {
        Self::Answer(crate::protocol::response_message(response))
    }

    /// An answer after which the broker closes the connection.
    pub(super) fn last<R: Response + Send + 'static>(response: R) -> Self {
        Self::Last(crate::protocol::response_message(response))
    }
}

/// The cluster.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) brokers: Brokers,
    pub(super) security: Security,
    partition_faults: PartitionFaults,
    cluster_id: String,
    /// The wall clock at time zero, in milliseconds since 1970-01-01T00:00:00Z.
    started_ms: i64,
    /// How far time has passed.
    now: Time,
    topics: Topics,
    pub(super) groups: Groups,
    pub(super) offsets: Offsets,
    coordinators: Coordinators,
    configs: Configs,
    /// What the brokers play that are not of the latest release.
    releases: BTreeMap<i32, &'static Release>,
    features: Features,
    quotas: Quotas,
    transactions: Transactions,
    timers: Timers,
    /// Finished requests that were parked, in the order of finishing.
    answers: Vec<(ConnectionId, Reply)>,
    random: fastrand::Rng,
    fetches: Fetches,
    cleaning: Cleaning,
    next_producer_id: i64,
}

/// The one list of what is served: it makes the dispatch and the answer to ApiVersions.
macro_rules! served {
    ($($key:ident $request:ident $method:ident,)*) => {
        /// What the brokers serve.
        pub(super) const SERVED: &[ApiKey] = &[$(ApiKey::$key),*];

        impl State {
            fn dispatch(&mut self, context: &Context, body: Box<dyn Message>) -> Reply {
                let body = body.into_any();
                match context.api.key {
                    $(ApiKey::$key => match body.downcast::<$request>() {
                        Ok(request) => self.$method(context, *request),
                        Err(_) => Reply::Close,
                    },)*
                    _ => Reply::Close,
                }
            }
        }
    };
}

served! {
    PRODUCE CheckedProduce produce,
    FETCH FetchRequest fetch,
    LIST_OFFSETS ListOffsetsRequest list_offsets,
    METADATA MetadataRequest metadata,
    FIND_COORDINATOR FindCoordinatorRequest find_coordinator,
    JOIN_GROUP JoinGroupRequest join_group,
    HEARTBEAT HeartbeatRequest heartbeat,
    LEAVE_GROUP LeaveGroupRequest leave_group,
    SYNC_GROUP SyncGroupRequest sync_group,
    OFFSET_COMMIT OffsetCommitRequest offset_commit,
    OFFSET_FETCH OffsetFetchRequest offset_fetch,
    DESCRIBE_GROUPS DescribeGroupsRequest describe_groups,
    LIST_GROUPS ListGroupsRequest list_groups,
    DELETE_GROUPS DeleteGroupsRequest delete_groups,
    OFFSET_DELETE OffsetDeleteRequest offset_delete,
    SASL_HANDSHAKE SaslHandshakeRequest sasl_handshake,
    API_VERSIONS ApiVersionsRequest api_versions,
    DELETE_RECORDS DeleteRecordsRequest delete_records,
    INIT_PRODUCER_ID InitProducerIdRequest init_producer_id,
    OFFSET_FOR_LEADER_EPOCH OffsetForLeaderEpochRequest offset_for_leader_epoch,
    ADD_PARTITIONS_TO_TXN AddPartitionsToTxnRequest add_partitions_to_txn,
    ADD_OFFSETS_TO_TXN AddOffsetsToTxnRequest add_offsets_to_txn,
    END_TXN EndTxnRequest end_txn,
    WRITE_TXN_MARKERS WriteTxnMarkersRequest write_txn_markers,
    TXN_OFFSET_COMMIT TxnOffsetCommitRequest txn_offset_commit,
    DESCRIBE_TRANSACTIONS DescribeTransactionsRequest describe_transactions,
    LIST_TRANSACTIONS ListTransactionsRequest list_transactions,
    DESCRIBE_PRODUCERS DescribeProducersRequest describe_producers,
    DESCRIBE_ACLS DescribeAclsRequest describe_acls,
    CREATE_ACLS CreateAclsRequest create_acls,
    DELETE_ACLS DeleteAclsRequest delete_acls,
    DESCRIBE_LOG_DIRS DescribeLogDirsRequest describe_log_dirs,
    DESCRIBE_CLIENT_QUOTAS DescribeClientQuotasRequest describe_client_quotas,
    ALTER_CLIENT_QUOTAS AlterClientQuotasRequest alter_client_quotas,
    DESCRIBE_USER_SCRAM_CREDENTIALS DescribeUserScramCredentialsRequest describe_user_scram_credentials,
    ALTER_USER_SCRAM_CREDENTIALS AlterUserScramCredentialsRequest alter_user_scram_credentials,
    DESCRIBE_QUORUM DescribeQuorumRequest describe_quorum,
    UPDATE_FEATURES UpdateFeaturesRequest update_features,
    CREATE_TOPICS CreateTopicsRequest create_topics,
    DELETE_TOPICS DeleteTopicsRequest delete_topics,
    DESCRIBE_CONFIGS DescribeConfigsRequest describe_configs,
    ALTER_CONFIGS AlterConfigsRequest alter_configs,
    CREATE_PARTITIONS CreatePartitionsRequest create_partitions,
    ELECT_LEADERS ElectLeadersRequest elect_leaders,
    INCREMENTAL_ALTER_CONFIGS IncrementalAlterConfigsRequest incremental_alter_configs,
    ALTER_PARTITION_REASSIGNMENTS AlterPartitionReassignmentsRequest alter_partition_reassignments,
    LIST_PARTITION_REASSIGNMENTS ListPartitionReassignmentsRequest list_partition_reassignments,
    DESCRIBE_CLUSTER DescribeClusterRequest describe_cluster,
    UNREGISTER_BROKER UnregisterBrokerRequest unregister_broker,
    LIST_CONFIG_RESOURCES ListConfigResourcesRequest list_config_resources,
    DESCRIBE_TOPIC_PARTITIONS DescribeTopicPartitionsRequest describe_topic_partitions,
    SASL_AUTHENTICATE SaslAuthenticateRequest sasl_authenticate,
    CONSUMER_GROUP_HEARTBEAT ConsumerGroupHeartbeatRequest consumer_group_heartbeat,
    CONSUMER_GROUP_DESCRIBE ConsumerGroupDescribeRequest consumer_group_describe,
}

impl State {
    pub(super) fn new(mut settings: Settings, brokers: Brokers, started_ms: i64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        settings.share_min_insync_replicas();
        Self {
            settings,
            brokers,
            security: Security::default(),
            partition_faults: PartitionFaults::default(),
            cluster_id: uuid_text(uuid(&mut random)),
            started_ms,
            topics: Topics::default(),
            groups: Groups::default(),
            offsets: Offsets::default(),
            coordinators: Coordinators::default(),
            now: Time::ZERO,
            configs: Configs::default(),
            releases: BTreeMap::new(),
            features: Features::default(),
            quotas: Quotas::default(),
            transactions: Transactions::default(),
            timers: Timers::default(),
            answers: Vec::new(),
            random,
            fetches: Fetches::default(),
            cleaning: Cleaning::default(),
            next_producer_id: 0,
        }
    }

    /// What becomes of a request.
    pub(super) fn handle(&mut self, context: &Context, body: Box<dyn Message>) -> Reply {
        self.advance(context.now);
        if !self.offers(context.broker, context.api.key).is_some_and(|offered| offered.contains(&context.version)) {
            return Reply::Unsupported;
        }
        if let Err(reply) = self.admit(context) {
            return reply;
        }
        self.dispatch(context, checked(context, body))
    }

    /// Lets time pass: everything that is due by `now` happens, in its order.
    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        while let Some((at, timer)) = self.timers.pop_due(now) {
            self.fire(timer, at);
        }
    }

    /// When something will happen by itself.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The requests that were parked and are finished now.
    pub(super) fn take_answers(&mut self) -> Vec<(ConnectionId, Reply)> {
        self.groups_follow_coordinators();
        std::mem::take(&mut self.answers)
    }

    /// The client has gone: nothing is to be answered any more.
    pub(super) fn connection_closed(&mut self, connection: ConnectionId) {
        self.answers.retain(|(id, _)| *id != connection);
        self.forget_fetch(connection);
        self.end_session(connection);
    }

    fn fire(&mut self, timer: Timer, at: Time) {
        match timer {
            Timer::Group(timer) => self.group_timer(&timer, at),
            Timer::Fetch(connection) => self.fetch_waited(connection, at),
            Timer::Retention => self.apply_retention(at),
            Timer::Compaction => self.compact_logs(at),
            Timer::ConsumerGroupMember { group, member } => self.consumer_group_member_due(group, member, at),
            Timer::Transaction(id) => self.transaction_timer(&id, at),
        }
    }

    fn wall_ms(&self, now: Time) -> i64 {
        self.started_ms.saturating_add(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A version 4 UUID, never Kafka's reserved ones.
fn uuid(random: &mut fastrand::Rng) -> [u8; 16] {
    let mut id = random.u128(..).to_be_bytes();
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// A new UUID in the form of RFC 9562.
fn uuid_hex(random: &mut fastrand::Rng) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(uuid(random)));
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// URL-safe base 64 without padding, as Kafka prints UUIDs.
fn uuid_text(id: [u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 128 bits are 21 digits and 2 bits more, which stand at the top of the last digit.
    let number = u128::from_be_bytes(id);
    let digit = |value: u128| char::from(DIGITS[(value & 63) as usize]);
    (0..21).map(|at| digit(number >> (122 - 6 * at))).chain([digit(number << 4)]).collect()
}
