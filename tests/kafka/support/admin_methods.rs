//! Every method of `Admin` in one table, so that what all must do is tested of all.

use std::fmt::Debug;
use std::time::Duration;

use sarameya::admin::*;
use sarameya::protocol::messages::list_groups::ListGroupsRequest;
use sarameya::{ErrorCode, IsolationLevel, NewTopic, Result};

use super::unique;

/// What a call is about.
pub(crate) struct Names {
    /// Part of all the others.
    pub(crate) base: String,
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) group: String,
    pub(crate) transactional_id: String,
}

impl Names {
    /// Of a topic that is not there yet, like all the rest.
    pub(crate) fn new(what: &str) -> Self {
        let base = unique(what);
        Self {
            topic: format!("{base}-topic"),
            topic_id: Uuid([7; 16]),
            group: format!("{base}-group"),
            transactional_id: format!("{base}-id"),
            base,
        }
    }
}

/// What somebody without any right is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Of each topic, that it is not theirs.
    Topic,
    /// Of each id, that it is not theirs.
    TopicId,
    /// Of each group.
    Group,
    /// Of the group, and with a right to that, of each topic.
    GroupTopic,
    /// Of the group in which something is to be changed.
    GroupMember,
    TransactionalId,
    Cluster,
    /// This: it is about something that is not there, or belongs to another.
    Code(ErrorCode),
    /// Nothing: it is for everybody, or what they may not see is left out.
    Nothing,
}

/// One line for each entity, and none where a method is about nothing in particular.
pub(crate) type Outcomes = Vec<(String, Result<()>)>;

pub(crate) struct Method {
    pub(crate) name: &'static str,
    /// The RPC that it needs, if Kafka 1.0 does not have it, or not in the version it takes.
    pub(crate) missing: Option<&'static str>,
    pub(crate) right: Right,
    pub(crate) call: fn(&Admin, &[Names]) -> Result<Outcomes>,
}

fn each<T, K: Debug>(results: Result<Results<T, K>>) -> Result<Outcomes> {
    let outcome = |(entity, result): (K, Result<T>)| (format!("{entity:?}"), result.map(drop));
    results.map(|results| results.into_iter().map(outcome).collect())
}

fn whole<T>(result: Result<T>) -> Result<Outcomes> {
    result.map(|_| Vec::new())
}

fn listed<T>(listed: Result<Listed<T>>) -> Result<Outcomes> {
    listed.map(|listed| listed.errors.into_iter().map(|(broker, error)| (broker.to_string(), Err(error))).collect())
}

/// One thing made of each.
fn all<'a, T>(names: &'a [Names], make: impl Fn(&'a Names) -> T) -> Vec<T> {
    names.iter().map(make).collect()
}

fn topics(names: &[Names]) -> Vec<&str> {
    all(names, |n| n.topic.as_str())
}

fn groups(names: &[Names]) -> Vec<&str> {
    all(names, |n| n.group.as_str())
}

fn ids(names: &[Names]) -> Vec<&str> {
    all(names, |n| n.transactional_id.as_str())
}

fn partition(n: &Names) -> TopicPartition {
    TopicPartition::new(&n.topic, 0)
}

fn id_partition(n: &Names) -> TopicIdPartition {
    TopicIdPartition::new(n.topic_id, 0)
}

fn partitions(names: &[Names]) -> Vec<TopicPartition> {
    all(names, partition)
}

fn new_topics(names: &[Names]) -> Vec<NewTopic> {
    all(names, |n| NewTopic::new(&n.topic).partitions(1).replication_factor(1))
}

fn resources(names: &[Names]) -> Vec<ConfigResource> {
    all(names, |n| ConfigResource::topic(&n.topic))
}

fn changes(names: &[Names]) -> Vec<(ConfigResource, Vec<AlterConfig>)> {
    let change = || vec![AlterConfig::Set("retention.ms".to_owned(), "1000000".to_owned())];
    all(names, |n| (ConfigResource::topic(&n.topic), change()))
}

fn replacements(names: &[Names]) -> Vec<(ConfigResource, Vec<(String, String)>)> {
    let config = || vec![("retention.ms".to_owned(), "1000000".to_owned())];
    all(names, |n| (ConfigResource::topic(&n.topic), config()))
}

fn members() -> Vec<MemberToRemove> {
    vec![MemberToRemove::MemberId("nobody".to_owned())]
}

fn latest(names: &[Names]) -> Vec<(TopicPartition, OffsetSpec)> {
    all(names, |n| (partition(n), OffsetSpec::Latest))
}

fn quotas() -> Vec<(ClientQuotaEntity, ClientQuotaChanges)> {
    let limit = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), Some(1024.0))]);
    vec![(ClientQuotaEntity::user("of-the-table"), limit)]
}

fn acl() -> AclBinding {
    AclBinding::allow("User:nobody", AclOperation::Read, AclResourceType::Topic, "of-the-table")
}

/// Lets through what `acl` makes, which is there at no time but while it is made.
fn acl_filter() -> AclFilter {
    AclFilter { resource_name: Some("of-the-table".to_owned()), ..AclFilter::any() }
}

fn replicas(names: &[Names]) -> Vec<TopicPartitionReplica> {
    all(names, |n| TopicPartitionReplica::new((n.topic.as_str(), 0), 1))
}

fn token(owner: &str) -> NewDelegationToken {
    NewDelegationToken::new().owner(KafkaPrincipal::user(owner)).max_lifetime(Duration::from_secs(60))
}

fn endpoint() -> [RaftVoterEndpoint; 1] {
    [RaftVoterEndpoint::new("CONTROLLER", "127.0.0.1", 1)]
}

/// A broker, and a voter, that does not exist.
const NOBODY: i32 = 99;
const STRANGER: Uuid = Uuid([7; 16]);
/// What every Kafka from 1.0 on has.
const OLD: Option<&str> = None;

const fn method(
    name: &'static str,
    missing: Option<&'static str>,
    right: Right,
    call: fn(&Admin, &[Names]) -> Result<Outcomes>,
) -> Method {
    Method { name, missing, right, call }
}

/// All of them; what deletes a thing comes after what needs it.
pub(crate) const METHODS: &[Method] = &[
    method("create_topics", OLD, Right::Topic, |a, n| each(a.create_topics(&new_topics(n)))),
    method("validate_create_topics", OLD, Right::Topic, |a, n| each(a.validate_create_topics(&new_topics(n)))),
    method("list_topics", OLD, Right::Nothing, |a, _| whole(a.list_topics())),
    method("describe_topics", OLD, Right::Topic, |a, n| each(a.describe_topics(&topics(n)))),
    method("describe_all_topics", OLD, Right::Nothing, |a, _| whole(a.describe_all_topics())),
    method("describe_topics_by_id", Some("Metadata"), Right::TopicId, |a, n| {
        each(a.describe_topics_by_id(&all(n, |n| n.topic_id)))
    }),
    method("create_partitions", OLD, Right::Topic, |a, n| {
        each(a.create_partitions(&all(n, |n| NewPartitions::new(&n.topic, 2))))
    }),
    method("validate_create_partitions", OLD, Right::Topic, |a, n| {
        each(a.validate_create_partitions(&all(n, |n| NewPartitions::new(&n.topic, 3))))
    }),
    method("list_offsets", OLD, Right::Topic, |a, n| each(a.list_offsets(&latest(n)))),
    method("list_offsets_isolated", OLD, Right::Topic, |a, n| {
        each(a.list_offsets_isolated(&latest(n), IsolationLevel::ReadCommitted))
    }),
    method("offsets_for_leader_epochs", Some("OffsetForLeaderEpoch"), Right::Topic, |a, n| {
        each(a.offsets_for_leader_epochs(&all(n, |n| (partition(n), 0))))
    }),
    method("describe_producers", Some("DescribeProducers"), Right::Topic, |a, n| {
        each(a.describe_producers(&partitions(n)))
    }),
    method("describe_producers_on", Some("DescribeProducers"), Right::Topic, |a, n| {
        each(a.describe_producers_on(1, &partitions(n)))
    }),
    method("abort_transactions", Some("WriteTxnMarkers"), Right::Topic, |a, n| {
        let abort =
            |n| AbortTransaction { partition: partition(n), producer_id: 1, producer_epoch: 0, coordinator_epoch: 0 };
        each(a.abort_transactions(&all(n, abort)))
    }),
    method("describe_configs", Some("DescribeConfigs"), Right::Topic, |a, n| each(a.describe_configs(&resources(n)))),
    method("describe_configs_as", Some("DescribeConfigs"), Right::Topic, |a, n| {
        each(a.describe_configs_as(&resources(n), &DescribeConfigs::new()))
    }),
    method("incremental_alter_configs", Some("IncrementalAlterConfigs"), Right::Topic, |a, n| {
        each(a.incremental_alter_configs(&changes(n)))
    }),
    method("validate_incremental_alter_configs", Some("IncrementalAlterConfigs"), Right::Topic, |a, n| {
        each(a.validate_incremental_alter_configs(&changes(n)))
    }),
    method("alter_configs", OLD, Right::Topic, |a, n| each(a.alter_configs(&replacements(n)))),
    method("validate_alter_configs", OLD, Right::Topic, |a, n| each(a.validate_alter_configs(&replacements(n)))),
    method("list_config_resources", Some("ListConfigResources"), Right::Cluster, |a, _| {
        whole(a.list_config_resources(&[]))
    }),
    method("list_groups", OLD, Right::Nothing, |a, _| listed(a.list_groups(&GroupFilter::new()))),
    method("find_group_coordinators", OLD, Right::Group, |a, n| each(a.find_group_coordinators(&groups(n)))),
    method("alter_group_offsets", OLD, Right::GroupTopic, |a, n| {
        each(a.alter_group_offsets(&n[0].group, &all(n, |n| (partition(n), CommittedOffset::new(0)))))
    }),
    method("describe_groups", OLD, Right::Group, |a, n| each(a.describe_groups(&groups(n)))),
    method("list_group_offsets", OLD, Right::Group, |a, n| each(a.list_group_offsets(&groups(n)))),
    method("list_group_offsets_of", OLD, Right::Group, |a, n| {
        each(a.list_group_offsets_of(&all(n, |n| (n.group.as_str(), None)), true))
    }),
    method("alter_group_offsets_by_id", Some("OffsetCommit"), Right::GroupTopic, |a, n| {
        each(a.alter_group_offsets_by_id(&n[0].group, &all(n, |n| (id_partition(n), CommittedOffset::new(0)))))
    }),
    method("list_group_offsets_by_id", Some("OffsetFetch"), Right::Group, |a, n| {
        each(a.list_group_offsets_by_id(&all(n, |n| (n.group.as_str(), None)), true))
    }),
    method("group_lag", OLD, Right::Group, |a, n| each(a.group_lag(&groups(n)))),
    method("remove_members", OLD, Right::GroupMember, |a, n| each(a.remove_members(&n[0].group, &members(), "a test"))),
    method("remove_all_members", OLD, Right::GroupMember, |a, n| each(a.remove_all_members(&n[0].group, "a test"))),
    method("delete_group_offsets", Some("OffsetDelete"), Right::GroupTopic, |a, n| {
        each(a.delete_group_offsets(&n[0].group, &partitions(n)))
    }),
    method("delete_groups", Some("DeleteGroups"), Right::Group, |a, n| each(a.delete_groups(&groups(n)))),
    method("alter_share_group_offsets", Some("AlterShareGroupOffsets"), Right::GroupTopic, |a, n| {
        let group = format!("{}-share", n[0].group);
        each(a.alter_share_group_offsets(&group, &all(n, |n| (partition(n), 0))))
    }),
    method("describe_share_groups", Some("ShareGroupDescribe"), Right::Group, |a, n| {
        each(a.describe_share_groups(&groups(n)))
    }),
    method("list_share_group_offsets", Some("DescribeShareGroupOffsets"), Right::Group, |a, n| {
        each(a.list_share_group_offsets(&groups(n)))
    }),
    method("delete_share_group_offsets", Some("DeleteShareGroupOffsets"), Right::GroupTopic, |a, n| {
        each(a.delete_share_group_offsets(&format!("{}-share", n[0].group), &topics(n)))
    }),
    method("find_share_coordinators", Some("FindCoordinator"), Right::Cluster, |a, n| {
        each(a.find_share_coordinators(&all(n, |n| SharePartitionKey::new(&n.group, n.topic_id, 0))))
    }),
    method("describe_streams_groups", Some("StreamsGroupDescribe"), Right::Group, |a, n| {
        each(a.describe_streams_groups(&groups(n)))
    }),
    method("list_transactions", Some("ListTransactions"), Right::Nothing, |a, _| {
        listed(a.list_transactions(&TransactionFilter::new()))
    }),
    method("find_transaction_coordinators", OLD, Right::TransactionalId, |a, n| {
        each(a.find_transaction_coordinators(&ids(n)))
    }),
    method("fence_producers", OLD, Right::TransactionalId, |a, n| each(a.fence_producers(&ids(n)))),
    method("describe_transactions", Some("DescribeTransactions"), Right::TransactionalId, |a, n| {
        each(a.describe_transactions(&ids(n)))
    }),
    method("alter_partition_reassignments", Some("AlterPartitionReassignments"), Right::Cluster, |a, n| {
        each(a.alter_partition_reassignments(&all(n, |n| (partition(n), Some(vec![1])))))
    }),
    method("list_partition_reassignments", Some("ListPartitionReassignments"), Right::Cluster, |a, _| {
        whole(a.list_partition_reassignments(None))
    }),
    method("elect_leaders", Some("ElectLeaders"), Right::Cluster, |a, n| {
        each(a.elect_leaders(ElectionType::Preferred, Some(&partitions(n))))
    }),
    method("describe_log_dirs", Some("DescribeLogDirs"), Right::Cluster, |a, _| each(a.describe_log_dirs(&[1]))),
    method("describe_log_dirs_of", Some("DescribeLogDirs"), Right::Cluster, |a, n| {
        each(a.describe_log_dirs_of(&[1], Some(&partitions(n))))
    }),
    method("describe_all_log_dirs", Some("DescribeLogDirs"), Right::Cluster, |a, _| each(a.describe_all_log_dirs())),
    method("describe_replica_log_dirs", Some("DescribeLogDirs"), Right::Cluster, |a, n| {
        each(a.describe_replica_log_dirs(&replicas(n)))
    }),
    method("alter_replica_log_dirs", Some("AlterReplicaLogDirs"), Right::Cluster, |a, n| {
        let nowhere = replicas(n).into_iter().map(|replica| (replica, "/nowhere".to_owned())).collect::<Vec<_>>();
        each(a.alter_replica_log_dirs(&nowhere))
    }),
    method("create_acls", Some("CreateAcls"), Right::Cluster, |a, _| each(a.create_acls(&[acl()]))),
    method("describe_acls", Some("DescribeAcls"), Right::Cluster, |a, _| whole(a.describe_acls(&acl_filter()))),
    method("delete_acls", Some("DeleteAcls"), Right::Cluster, |a, _| each(a.delete_acls(&[acl_filter()]))),
    method("describe_client_quotas", Some("DescribeClientQuotas"), Right::Cluster, |a, _| {
        whole(a.describe_client_quotas(&ClientQuotaFilter::all()))
    }),
    method("alter_client_quotas", Some("AlterClientQuotas"), Right::Cluster, |a, _| {
        each(a.alter_client_quotas(&quotas()))
    }),
    method("validate_alter_client_quotas", Some("AlterClientQuotas"), Right::Cluster, |a, _| {
        each(a.validate_alter_client_quotas(&quotas()))
    }),
    method("describe_user_scram_credentials", Some("DescribeUserScramCredentials"), Right::Cluster, |a, _| {
        each(a.describe_user_scram_credentials(&["of-the-table"]))
    }),
    method("describe_all_user_scram_credentials", Some("DescribeUserScramCredentials"), Right::Cluster, |a, _| {
        whole(a.describe_all_user_scram_credentials())
    }),
    method("alter_user_scram_credentials", Some("AlterUserScramCredentials"), Right::Cluster, |a, _| {
        let gone = ScramAlteration::delete("of-the-table", ScramMechanism::Sha256);
        each(a.alter_user_scram_credentials(&[gone]))
    }),
    method(
        "create_delegation_token",
        Some("CreateDelegationToken"),
        Right::Code(ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED),
        |a, _| whole(a.create_delegation_token(&token("alice"))),
    ),
    // Of a token that is not there: whose one is needs a test of its own.
    method(
        "renew_delegation_token",
        Some("RenewDelegationToken"),
        Right::Code(ErrorCode::DELEGATION_TOKEN_NOT_FOUND),
        |a, _| whole(a.renew_delegation_token(b"none", None)),
    ),
    method(
        "expire_delegation_token",
        Some("ExpireDelegationToken"),
        Right::Code(ErrorCode::DELEGATION_TOKEN_NOT_FOUND),
        |a, _| whole(a.expire_delegation_token(b"none", None)),
    ),
    method("describe_delegation_tokens", Some("DescribeDelegationToken"), Right::Nothing, |a, _| {
        whole(a.describe_delegation_tokens(None))
    }),
    method("describe_cluster", OLD, Right::Nothing, |a, _| whole(a.describe_cluster())),
    method("describe_cluster_with_fenced_brokers", Some("DescribeCluster"), Right::Nothing, |a, _| {
        whole(a.describe_cluster_with_fenced_brokers())
    }),
    method("describe_api_versions", OLD, Right::Nothing, |a, _| each(a.describe_api_versions())),
    method("describe_features", Some("ApiVersions"), Right::Nothing, |a, _| whole(a.describe_features())),
    method("update_features", Some("UpdateFeatures"), Right::Cluster, |a, _| {
        each(a.update_features(&[FeatureUpdate::upgrade("metadata.version", 1000)]))
    }),
    method("validate_update_features", Some("UpdateFeatures"), Right::Cluster, |a, _| {
        each(a.validate_update_features(&[FeatureUpdate::upgrade("metadata.version", 1000)]))
    }),
    method("describe_metadata_quorum", Some("DescribeQuorum"), Right::Cluster, |a, _| {
        whole(a.describe_metadata_quorum())
    }),
    method("add_raft_voter", Some("AddRaftVoter"), Right::Cluster, |a, _| {
        whole(a.add_raft_voter(NOBODY, STRANGER, &endpoint()))
    }),
    method("remove_raft_voter", Some("RemoveRaftVoter"), Right::Cluster, |a, _| {
        whole(a.remove_raft_voter(NOBODY, STRANGER))
    }),
    method("unregister_broker", Some("UnregisterBroker"), Right::Cluster, |a, _| whole(a.unregister_broker(NOBODY))),
    method("request", OLD, Right::Nothing, |a, _| whole(a.request(&RequestTarget::Any, &ListGroupsRequest::default()))),
    method("delete_records", OLD, Right::Topic, |a, n| each(a.delete_records(&all(n, |n| (partition(n), 0))))),
    method("delete_topics_by_id", Some("DeleteTopics"), Right::TopicId, |a, n| {
        each(a.delete_topics_by_id(&all(n, |n| n.topic_id)))
    }),
    method("delete_topics", OLD, Right::Topic, |a, n| each(a.delete_topics(&topics(n)))),
];
