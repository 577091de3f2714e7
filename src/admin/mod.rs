//! Administration: one method per operation, one result per entity.
//!
//! [`Admin`] has every operation of Kafka's Java `Admin` and franz-go's `kadm`, to the broker that it concerns:
//!
//! | what | methods of [`Admin`] | asked |
//! |---|---|---|
//! | topics | `create_topics`, `validate_create_topics`, `delete_topics`, `delete_topics_by_id`, `create_partitions`, `validate_create_partitions` | controller |
//! | | `list_topics`, `describe_topics`, `describe_all_topics`, `describe_topics_by_id` | any |
//! | records | `list_offsets`, `list_offsets_isolated`, `delete_records`, `offsets_for_leader_epochs` | leaders |
//! | configs | `describe_configs`, `describe_configs_as`, `incremental_alter_configs`, `alter_configs` and their `validate_…` | the broker itself, or any |
//! | | `list_config_resources` | any |
//! | groups | `list_groups` | all |
//! | | `describe_groups`, `delete_groups`, `remove_members`, `remove_all_members` | coordinators |
//! | | `list_group_offsets`, `list_group_offsets_of`, `alter_group_offsets`, `delete_group_offsets` | coordinators |
//! | | `list_group_offsets_by_id`, `alter_group_offsets_by_id` | coordinators |
//! | | `group_lag` | coordinators, leaders |
//! | share groups | `describe_share_groups`, `list_share_group_offsets`, `alter_share_group_offsets`, `delete_share_group_offsets` | coordinators |
//! | | `find_share_coordinators` | any |
//! | streams groups | `describe_streams_groups` | coordinators |
//! | replicas | `alter_partition_reassignments`, `list_partition_reassignments`, `elect_leaders` | controller |
//! | | `describe_log_dirs`, `describe_log_dirs_of`, `describe_all_log_dirs`, `describe_replica_log_dirs`, `alter_replica_log_dirs` | the brokers themselves |
//! | transactions | `list_transactions` | all |
//! | | `describe_transactions`, `fence_producers` | coordinators |
//! | | `describe_producers`, `describe_producers_on`, `abort_transactions` | leaders |
//! | ACLs | `create_acls`, `describe_acls`, `delete_acls` | any |
//! | quotas | `describe_client_quotas`, `alter_client_quotas`, `validate_alter_client_quotas` | any |
//! | users | `describe_user_scram_credentials`, `describe_all_user_scram_credentials`; `alter_user_scram_credentials` | any; controller |
//! | tokens | `create_delegation_token`, `renew_delegation_token`, `expire_delegation_token`, `describe_delegation_tokens` | any |
//! | cluster | `describe_cluster`, `describe_cluster_with_fenced_brokers`, `find_group_coordinators`, `find_transaction_coordinators` | any |
//! | | `describe_api_versions` | all |
//! | features | `describe_features`; `update_features`, `validate_update_features` | any; controller |
//! | quorum | `describe_metadata_quorum`, `add_raft_voter`, `remove_raft_voter`, `unregister_broker` | any |
//! | anything else | `request` | as you say |
//!
//! Java's names that are missing are other words for these: `describeConsumerGroups` and `describeClassicGroups` are
//! `describe_groups`, `listConsumerGroups` and `listShareGroups` are `list_groups` with a filter, `deleteShareGroups` is
//! `delete_groups`, `forceTerminateTransaction` is `fence_producers`, `listClientMetricsResources` is
//! `list_config_resources`. Offsets of streams groups are those of any group. What Java's client tells of itself, `metrics`,
//! `clientInstanceId` and the subscription to metrics, has no counterpart.

mod acls;
mod cluster;
mod configs;
mod describe_topics;
mod features;
mod group_descriptions;
mod group_offsets;
mod group_offsets_by_id;
mod groups;
mod log_dirs;
mod lookup;
mod quotas;
mod reassignments;
mod records;
mod routing;
mod scram;
mod share_groups;
mod streams_groups;
#[cfg(test)]
mod tests;
mod tokens;
mod topics;
mod transactions;
mod values;

pub use acls::{AclBinding, AclFilter, AclOperation, AclPermission, AclResourceType, PatternType};
pub use cluster::{
    ApiRange, BrokerDescription, ClusterDescription, QuorumDescription, QuorumReplica, RaftVoterEndpoint, RequestTarget,
};
pub use configs::{
    AlterConfig, Config, ConfigResource, ConfigResourceType, ConfigSource, ConfigSynonym, ConfigType, DescribeConfigs,
};
pub use describe_topics::{PartitionDescription, TopicDescription};
pub use features::{FeatureMetadata, FeatureUpdate, UpgradeType};
pub use group_descriptions::{GroupDescription, MemberDescription};
pub use group_offsets::{CommittedOffset, GroupLag, GroupOffsets, PartitionLag};
pub use group_offsets_by_id::{GroupOffsetsById, TopicIdPartition};
pub use groups::{GroupFilter, GroupListing, GroupState, GroupType, Listed, MemberToRemove};
pub use log_dirs::{LogDirDescription, ReplicaDescription, ReplicaLogDirs, TopicPartitionReplica};
pub use quotas::{ClientQuotaChanges, ClientQuotaEntity, ClientQuotaFilter, ClientQuotaMatch};
pub use reassignments::{ElectionType, PartitionReassignment};
pub use records::{EpochEnd, ListedOffset, OffsetSpec};
pub use scram::{ScramAlteration, ScramCredentialInfo, ScramMechanism};
pub use share_groups::{ShareGroupOffset, ShareGroupOffsets, SharePartitionKey};
pub use streams_groups::{
    StreamsGroupDescription, StreamsMemberDescription, StreamsSubtopology, StreamsTaskOffset, StreamsTasks,
    StreamsTopic,
};
pub use tokens::{DelegationToken, KafkaPrincipal, NewDelegationToken};
pub use topics::{CreatedTopic, NewPartitions, NewTopic, TopicListing};
pub use transactions::{
    AbortTransaction, FencedProducer, ProducerDescription, TransactionDescription, TransactionFilter,
    TransactionListing, TransactionState,
};
pub use values::{TopicPartition, Uuid};

use crate::cluster::{Client, Core};
use crate::{Error, ErrorCode, Result};
use std::sync::Arc;
use std::time::Duration;

/// The results of an operation on several entities: the entity and what became of it, in the order of the call.
pub type Results<T = (), K = String> = Vec<(K, Result<T>)>;

/// Administers a cluster: topics, configs, groups, offsets, ACLs, quotas, users, transactions. Cheap to clone.
///
/// Blocking, with no thread of its own: it borrows the client's connections, and where several brokers have to be asked it
/// does so side by side, on threads named `kafka-admin` that end with the call.
///
/// Every call returns by its [timeout](Self::timeout). Until then it asks again what failed with something that passes:
/// a controller, coordinator or leader that moved or is not ready, a connection that broke. So a request whose answer was
/// lost may be sent twice; where that shows, the method says so.
///
/// Operations on several entities have one result for each: a partial failure is no failure of the call. The outer
/// error means that nothing was learned of any entity: no broker could be asked, or none knows the API
/// ([`Unsupported`](crate::ErrorKind::Unsupported), naming the API and what the broker speaks).
///
/// ```no_run
/// use sarameya::{Admin, Client, NewTopic};
///
/// let client = Client::connect("localhost:9092")?;
/// let admin = Admin::new(&client);
/// for (topic, created) in admin.create_topics(&[NewTopic::new("test3").partitions(3)])? {
///     println!("{topic}: {created:?}");
/// }
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    timeout: Duration,
    include_authorized_operations: bool,
}

impl Admin {
    /// Operations through this client.
    pub fn new(client: &Client) -> Self {
        let request_timeout = client.core().config().request_timeout;
        let timeout = request_timeout.saturating_mul(2);
        Self { client: client.clone(), timeout, include_authorized_operations: false }
    }

    /// How long a call may take, retries and all; each request in it has the client's
    /// [request timeout](crate::ClientBuilder::request_timeout) at most.
    ///
    /// Kafka: `default.api.timeout.ms`. Defaults to twice the client's request timeout, which is 60 s if nothing is set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether descriptions of topics, groups and the cluster also say what this client's principal may do with them.
    /// Brokers know how since 2.3. Defaults to false, since it costs the broker a look at its ACLs.
    #[must_use]
    pub fn include_authorized_operations(mut self, include: bool) -> Self {
        self.include_authorized_operations = include;
        self
    }

    fn core(&self) -> &Arc<Core> {
        self.client.core()
    }
}

/// The error for an entity's code, with the broker's own words if it has any. Those need not say what they are about.
fn entity_error(code: ErrorCode, words: Option<&str>, doing: &str) -> Error {
    match words.filter(|words| !words.is_empty()) {
        Some(words) => Error::from_code(code, format!("{doing}: {words}")),
        None => Error::from_code(code, doing),
    }
}

/// What an entity's code and words say.
fn outcome(code: i16, words: Option<&str>, doing: &str) -> Result<()> {
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(()),
        code => Err(entity_error(code, words, doing)),
    }
}
