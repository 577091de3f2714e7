//! The operations that Kafka's tools in the other file do not cover, each on real Kafka; and what an old broker lacks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use sarameya::admin::*;
use sarameya::protocol::messages::list_groups::ListGroupsRequest;
use sarameya::{Client, ErrorCode, ErrorKind, IsolationLevel, NewTopic, Result};

use crate::support::kafka::{Cluster, Version};
use crate::support::{unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn admin(cluster: &Cluster) -> Admin {
    Admin::new(&Client::connect(&cluster.bootstrap()).expect("a client"))
}

/// The one result, which must be there.
#[track_caller]
fn one<T: Debug, K: Debug>(results: Result<Results<T, K>>) -> Result<T> {
    let mut results = results.expect("an answer");
    assert_eq!(results.len(), 1, "{results:?}");
    results.pop().expect("one").1
}

#[track_caller]
fn code<T: Debug>(result: Result<T>) -> ErrorCode {
    let error = result.expect_err("a refusal");
    error.code().unwrap_or_else(|| panic!("an error with a code: {error}"))
}

/// The broker does not know the API, and the error names both.
#[track_caller]
fn unsupported<T: Debug>(result: Result<T>, api: &str) {
    let error = result.expect_err("an old broker");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let text = error.to_string();
    assert!(text.contains(api) && text.contains("it is Kafka 2.4 or newer, and older than 2.6"), "{text}");
}

#[test]
fn admin_kafka_4_3_0_topics_by_id_and_checked_only() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster).include_authorized_operations(true);
    let name = unique("byid");
    let topic = NewTopic::new(&name).partitions(2).replication_factor(3).config("retention.ms", "1000");
    let checked = one(admin.validate_create_topics(std::slice::from_ref(&topic))).expect("valid");
    assert_eq!((checked.partitions, checked.replication_factor), (Some(2), Some(3)));
    let created = one(admin.create_topics(&[topic])).expect("created only now");
    assert!(created.configs.iter().any(|config| config.name == "retention.ms" && !config.is_default()));
    let id = created.id.expect("an id");
    cluster.wait_known(&name, 2);
    let by_name = one(admin.describe_topics(&[&name])).expect("described");
    assert_eq!((by_name.id, by_name.partitions.len()), (Some(id), 2));
    assert!(by_name.authorized_operations.as_ref().is_some_and(|all| all.contains(&AclOperation::Alter)));
    let by_id = one(admin.describe_topics_by_id(&[id])).expect("described");
    assert_eq!((&by_id.name, by_id.partitions[1].replicas.len()), (&name, 3));
    let listed = admin.list_topics().expect("a list");
    assert!(listed.iter().any(|topic| topic.name == name && topic.id == Some(id) && topic.partitions == 2));
    assert!(admin.describe_all_topics().expect("all").iter().any(|topic| topic.name == name));

    let more = NewPartitions::new(&name, 3);
    one(admin.validate_create_partitions(std::slice::from_ref(&more))).expect("valid");
    one(admin.create_partitions(&[more])).expect("added only now");
    one(admin.delete_topics_by_id(&[id])).expect("deleted");
    // Any broker may be asked, and each forgets the topic in its own time.
    let fails_by = |outcome: Result<TopicDescription>, code| outcome.is_err_and(|error| error.code() == Some(code));
    wait_until("the topic is gone by name", LIMIT, || {
        fails_by(one(admin.describe_topics(&[&name])), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    });
    wait_until("the topic is gone by id", LIMIT, || {
        fails_by(one(admin.describe_topics_by_id(&[id])), ErrorCode::UNKNOWN_TOPIC_ID)
    });
}

#[test]
fn admin_kafka_4_3_0_replicas_move_and_leaders_are_elected() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let name = unique("moving");
    one(admin.create_topics(&[NewTopic::new(&name).assignment(0, [1, 2])])).expect("created");
    cluster.wait_known(&name, 1);
    assert_eq!(cluster.leader(&name, 0), 1);
    let partition = TopicPartition::new(&name, 0);

    let cancelled = one(admin.alter_partition_reassignments(&[(partition.clone(), None)]));
    assert_eq!(code(cancelled), ErrorCode::NO_REASSIGNMENT_IN_PROGRESS);
    one(admin.alter_partition_reassignments(&[(partition.clone(), Some(vec![3, 1]))])).expect("begun");
    wait_until("the replicas have moved", LIMIT, || {
        admin.list_partition_reassignments(Some(std::slice::from_ref(&partition))).is_ok_and(|moving| moving.is_empty())
    });
    wait_until("all brokers know the new replicas", LIMIT, || {
        one(admin.describe_topics(&[&name])).is_ok_and(|topic| topic.partitions[0].replicas == [3, 1])
    });
    let elected = one(admin.elect_leaders(ElectionType::Preferred, Some(std::slice::from_ref(&partition))));
    match elected {
        Ok(()) => {}
        Err(error) => assert_eq!(error.code(), Some(ErrorCode::ELECTION_NOT_NEEDED)),
    }
    // The controller elects, and each broker learns of it in its own time.
    wait_until("the broker asked knows the new leader", LIMIT, || cluster.leader(&name, 0) == 3);
    let again = one(admin.elect_leaders(ElectionType::Preferred, Some(std::slice::from_ref(&partition))));
    assert_eq!(code(again), ErrorCode::ELECTION_NOT_NEEDED);
    admin.elect_leaders(ElectionType::Preferred, None).expect("an answer");

    let replica = TopicPartitionReplica::new((name.as_str(), 0), 3);
    let dirs = one(admin.describe_replica_log_dirs(std::slice::from_ref(&replica))).expect("described");
    assert_eq!(dirs.future, None);
    let absent = TopicPartitionReplica::new((name.as_str(), 0), 2);
    wait_until("the old replica is gone", LIMIT, || {
        one(admin.describe_replica_log_dirs(std::slice::from_ref(&absent))).is_err()
    });
    let whole = admin.describe_all_log_dirs().expect("an answer");
    assert_eq!(whole.iter().map(|(broker, _)| *broker).collect::<Vec<_>>(), [1, 2, 3]);
    let on_three = whole[2].1.as_ref().expect("described");
    assert!(on_three[0].total_bytes.is_some_and(|bytes| bytes > 0) && on_three[0].error.is_none());
    assert!(on_three[0].replicas.iter().any(|replica| replica.partition == partition));
    one(admin.alter_replica_log_dirs(&[(replica.clone(), dirs.current.0)])).expect("it is there already");
    let nowhere = one(admin.alter_replica_log_dirs(&[(replica, "/nowhere".to_owned())]));
    assert_eq!(code(nowhere), ErrorCode::LOG_DIR_NOT_FOUND);
    one(admin.delete_topics(&[&name])).expect("deleted");
}

#[test]
fn admin_kafka_4_3_0_cluster_features_and_quorum() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster).include_authorized_operations(true);
    let description = admin.describe_cluster().expect("described");
    assert_eq!(description.brokers.iter().map(|broker| broker.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(description.authorized_operations.is_some() && description.controller.is_some());
    let fenced = admin.describe_cluster_with_fenced_brokers().expect("described");
    assert!(fenced.brokers.iter().all(|broker| !broker.fenced));

    let versions = admin.describe_api_versions().expect("an answer");
    assert_eq!(versions.len(), 3);
    for (_, apis) in versions {
        let apis = apis.expect("versions");
        assert!(apis.iter().any(|api| api.name == Some("ListGroups") && api.max_version >= 5));
    }
    let features = admin.describe_features().expect("features");
    let (low, high) = features.finalized["metadata.version"];
    assert!(low <= high && high <= features.supported["metadata.version"].1 && features.finalized_epoch.is_some());
    let same = FeatureUpdate::upgrade("metadata.version", high);
    let downgrade = FeatureUpdate::upgrade("metadata.version", 1);
    let _ = admin.validate_update_features(&[same]);
    assert!(admin.validate_update_features(&[downgrade]).is_err(), "a downgrade is no upgrade");

    let quorum = admin.describe_metadata_quorum().expect("described");
    assert!(quorum.leader.is_some() && quorum.high_watermark > 0 && quorum.voters.len() == 3);
    let stranger = Uuid([7; 16]);
    let endpoint = RaftVoterEndpoint::new("CONTROLLER", "127.0.0.1", 1);
    assert!(admin.clone().timeout(Duration::from_secs(5)).add_raft_voter(99, stranger, &[endpoint]).is_err());
    assert!(admin.remove_raft_voter(99, stranger).is_err());
    assert_eq!(code(admin.unregister_broker(99)), ErrorCode::BROKER_ID_NOT_REGISTERED);

    let group = unique("g");
    // The first to ask has the topic of all groups made, whose leaders any broker may learn of later.
    let known = cluster.coordinator(&group);
    let coordinator = one(admin.find_group_coordinators(&[&group])).expect("found");
    assert_eq!(usize::try_from(coordinator).expect("an id"), known);
    one(admin.find_transaction_coordinators(&["t"])).expect("found");
    for target in [
        RequestTarget::Any,
        RequestTarget::Controller,
        RequestTarget::Broker(2),
        RequestTarget::GroupCoordinator(group),
        RequestTarget::TransactionCoordinator("t".to_owned()),
    ] {
        // Such a request is not sent again: a coordinator that still loads its partitions says so.
        wait_until(&format!("{target:?} lists its groups"), LIMIT, || {
            admin.request(&target, &ListGroupsRequest::default()).expect("an answer").error_code == 0
        });
    }
}

#[test]
fn admin_kafka_4_3_0_users_quotas_tokens_and_other_resources() {
    require_kafka!();
    let admin = admin(Cluster::shared(Version::V4_3_0));
    let user = unique("user");
    assert_eq!(code(one(admin.describe_user_scram_credentials(&[&user]))), ErrorCode::RESOURCE_NOT_FOUND);
    let new = ScramAlteration::upsert(&user, ScramMechanism::Sha512, "secret").iterations(8192);
    one(admin.alter_user_scram_credentials(&[new])).expect("made");
    wait_until("the user is there", LIMIT, || {
        let infos = one(admin.describe_user_scram_credentials(&[&user]));
        infos.is_ok_and(|infos| infos[0].mechanism == ScramMechanism::Sha512 && infos[0].iterations == 8192)
    });
    wait_until("the user is among all", LIMIT, || {
        admin.describe_all_user_scram_credentials().expect("users").iter().any(|(name, _)| *name == user)
    });
    one(admin.alter_user_scram_credentials(&[ScramAlteration::delete(&user, ScramMechanism::Sha512)])).expect("gone");
    let again = admin.alter_user_scram_credentials(&[ScramAlteration::delete(&user, ScramMechanism::Sha512)]);
    assert_eq!(code(one(again)), ErrorCode::RESOURCE_NOT_FOUND);

    let entity = ClientQuotaEntity::user(&user).and("client-id", None);
    let limit = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), Some(1024.0))]);
    one(admin.validate_alter_client_quotas(&[(entity.clone(), limit.clone())])).expect("valid");
    let filter = ClientQuotaFilter::all().with("user", ClientQuotaMatch::Exact(user));
    assert!(admin.describe_client_quotas(&filter).expect("quotas").is_empty(), "it was only checked");
    one(admin.alter_client_quotas(&[(entity.clone(), limit)])).expect("made");
    let expected = BTreeMap::from([(entity.clone(), BTreeMap::from([("producer_byte_rate".to_owned(), 1024.0)]))]);
    wait_until("the quota is there", LIMIT, || admin.describe_client_quotas(&filter).expect("quotas") == expected);
    assert!(admin.describe_client_quotas(&filter.strict()).expect("quotas").is_empty(), "it has a client too");
    let none = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), None)]);
    one(admin.alter_client_quotas(&[(entity, none)])).expect("removed");

    // The connection is not authenticated, so that no token can be had over it.
    let refused = code(admin.create_delegation_token(&NewDelegationToken::new().renewer(KafkaPrincipal::user("r"))));
    assert!(
        [ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED].contains(&refused)
    );
    code(admin.describe_delegation_tokens(None));
    code(admin.renew_delegation_token(b"hmac", None));
    code(admin.expire_delegation_token(b"hmac", None));

    let metrics = ConfigResource { resource_type: ConfigResourceType::ClientMetrics, name: unique("metrics") };
    let change = AlterConfig::Set("interval.ms".to_owned(), "60000".to_owned());
    one(admin.incremental_alter_configs(&[(metrics.clone(), vec![change])])).expect("made");
    wait_until("the resource is listed", LIMIT, || {
        let listed = admin.list_config_resources(&[ConfigResourceType::ClientMetrics]).expect("a list");
        listed.contains(&metrics) && admin.list_config_resources(&[]).expect("all").contains(&metrics)
    });
    one(admin.incremental_alter_configs(&[(metrics, vec![AlterConfig::Delete("interval.ms".to_owned())])]))
        .expect("gone");
}

#[test]
fn admin_kafka_4_3_0_configs_of_brokers_and_topics() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let topic = unique("configured");
    cluster.create_topic(&topic, 1);
    let what = DescribeConfigs::new().names(["cleanup.policy"]).documentation(true);
    let resource = ConfigResource::topic(&topic);
    let described = one(admin.describe_configs_as(std::slice::from_ref(&resource), &what)).expect("described");
    assert_eq!(described.len(), 1);
    assert!(described[0].documentation.as_ref().is_some_and(|text| text.len() > 20));
    assert_eq!(described[0].config_type, Some(ConfigType::List));

    let append = vec![AlterConfig::Append("cleanup.policy".to_owned(), "compact".to_owned())];
    one(admin.validate_incremental_alter_configs(&[(resource.clone(), append.clone())])).expect("valid");
    one(admin.incremental_alter_configs(&[(resource.clone(), append)])).expect("changed");
    let value = |name: &str| {
        let configs = one(admin.describe_configs(std::slice::from_ref(&resource))).expect("described");
        configs.into_iter().find(|config| config.name == name).and_then(|config| config.value)
    };
    wait_until("the list is longer", LIMIT, || value("cleanup.policy").as_deref() == Some("delete,compact"));
    let subtract = vec![AlterConfig::Subtract("cleanup.policy".to_owned(), "delete".to_owned())];
    one(admin.incremental_alter_configs(&[(resource.clone(), subtract)])).expect("changed");
    wait_until("the list is shorter", LIMIT, || value("cleanup.policy").as_deref() == Some("compact"));

    let wrong = vec![AlterConfig::Set("cleanup.policy".to_owned(), "nonsense".to_owned())];
    let absent = ConfigResource::topic(unique("absent"));
    let results = admin.incremental_alter_configs(&[(resource.clone(), wrong.clone()), (absent.clone(), wrong)]);
    let results = results.expect("an answer");
    let error = results[0].1.as_ref().expect_err("refused");
    assert_eq!((error.code(), error.topic()), (Some(ErrorCode::INVALID_CONFIG), Some(topic.as_str())));
    assert_eq!(results[1].1.as_ref().expect_err("refused").topic(), Some(absent.name.as_str()));

    let brokers = [ConfigResource::broker(1), ConfigResource::broker(3), ConfigResource::broker_logger(2)];
    for (resource, configs) in admin.describe_configs(&brokers).expect("an answer") {
        let configs = configs.unwrap_or_else(|error| panic!("{resource}: {error}"));
        let id = configs.iter().find(|config| config.name == "node.id").and_then(|config| config.value.clone());
        assert!(id.is_none_or(|id| id == resource.name), "{resource} was answered by {configs:?}");
    }
}

#[test]
fn admin_kafka_4_3_0_offsets_at_times_and_epochs() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let topic = unique("times");
    cluster.create_topic(&topic, 1);
    let steps: Vec<&str> = vec!["--topic", &topic];
    cluster.tools().console_producer(&steps, "a\nb\nc\n");
    let partition = TopicPartition::new(&topic, 0);
    let sought = [
        OffsetSpec::Earliest,
        OffsetSpec::Latest,
        OffsetSpec::Timestamp(0),
        OffsetSpec::Timestamp(i64::MAX),
        OffsetSpec::MaxTimestamp,
        OffsetSpec::EarliestLocal,
        OffsetSpec::LatestTiered,
    ];
    let sought = sought.map(|spec| (partition.clone(), spec));
    let found = admin.list_offsets_isolated(&sought, IsolationLevel::ReadCommitted).expect("answers");
    let offsets: Vec<_> = found.iter().map(|(_, found)| found.as_ref().expect("found").offset).collect();
    assert_eq!(offsets[..4], [Some(0), Some(3), Some(0), None]);
    assert!(offsets[4].is_some_and(|offset| offset < 3) && offsets[5] == Some(0) && offsets[6].is_none());
    let end = one(admin.offsets_for_leader_epochs(&[(partition, 0)])).expect("an end");
    assert_eq!((end.leader_epoch, end.end_offset), (Some(0), Some(3)));
}

#[test]
fn admin_kafka_4_3_0_share_groups_and_absent_ones() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let (group, topic) = (unique("share"), unique("shared"));
    cluster.create_topic(&topic, 1);
    assert_eq!(code(one(admin.describe_share_groups(&[&group]))), ErrorCode::GROUP_ID_NOT_FOUND);
    let offsets = one(admin.alter_share_group_offsets(&group, &[((topic.as_str(), 0).into(), 0)]));
    // A share group that is not there is made by setting its offsets.
    match offsets {
        Ok(()) => {
            let listed = one(admin.list_share_group_offsets(&[&group])).expect("listed");
            assert_eq!(listed[0].1.as_ref().expect("an offset").start_offset, Some(0));
            let described = one(admin.describe_share_groups(&[&group])).expect("described");
            assert_eq!((described.group_type, described.state), (GroupType::Share, GroupState::Empty));
            let filter = GroupFilter::new().types([GroupType::Share]);
            let all = admin.list_groups(&filter).expect("groups").all().expect("all");
            assert!(all.iter().any(|listed| listed.group_id == group && listed.group_type == Some(GroupType::Share)));
            one(admin.delete_share_group_offsets(&group, &[&topic])).expect("deleted");
            one(admin.delete_groups(&[&group])).expect("deleted");
        }
        Err(error) => panic!("{error}"),
    }
    let absent = unique("absent");
    assert_eq!(code(one(admin.describe_streams_groups(&[&absent]))), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(code(one(admin.describe_groups(&[&absent]))), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(code(one(admin.delete_groups(&[&absent]))), ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(one(admin.list_group_offsets(&[&absent])).expect("an answer").is_empty());
    assert_eq!(code(one(admin.describe_transactions(&[&absent]))), ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
    let removed = one(admin.remove_members(&absent, &[MemberToRemove::MemberId("m".to_owned())], "a test"));
    assert_eq!(code(removed), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn admin_kafka_2_5_1_what_an_old_broker_lacks_is_named() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V2_5_1);
    let admin = admin(cluster);
    let topic = unique("old");
    let created = one(admin.create_topics(&[NewTopic::new(&topic)])).expect("created by the broker's defaults");
    assert_eq!(created.id, None);
    cluster.wait_known(&topic, 3);
    let described = one(admin.describe_topics(&[&topic])).expect("described");
    assert_eq!((described.id, described.partitions[0].eligible_leader_replicas.clone()), (None, None));
    assert_eq!(admin.describe_cluster().expect("described").brokers.len(), 1);
    assert!(admin.list_groups(&GroupFilter::new()).expect("groups").all().is_ok());

    let partition = TopicPartition::new(&topic, 0);
    unsupported(admin.describe_producers(std::slice::from_ref(&partition)), "DescribeProducers");
    unsupported(admin.describe_client_quotas(&ClientQuotaFilter::all()), "DescribeClientQuotas");
    unsupported(admin.describe_all_user_scram_credentials(), "DescribeUserScramCredentials");
    unsupported(admin.describe_metadata_quorum(), "DescribeQuorum");
    unsupported(admin.update_features(&[FeatureUpdate::upgrade("metadata.version", 1)]), "UpdateFeatures");
    unsupported(admin.list_config_resources(&[]), "ListConfigResources");
    unsupported(admin.unregister_broker(9), "UnregisterBroker");
    unsupported(admin.describe_transactions(&["t"]), "DescribeTransactions");
    unsupported(admin.describe_share_groups(&["g"]), "ShareGroupDescribe");
    let listed = admin.list_transactions(&TransactionFilter::new()).map(|listed| listed.found);
    unsupported(listed, "ListTransactions");
    let filtered = admin.list_groups(&GroupFilter::new().states([GroupState::Stable])).map(|listed| listed.found);
    let error = filtered.expect_err("too old");
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("ListGroups"), "{error}");
    let latest = one(admin.list_offsets(&[(partition, OffsetSpec::MaxTimestamp)])).expect_err("too old");
    assert!(latest.to_string().contains("MaxTimestamp can't be found: ListOffsets 7 is needed"), "{latest}");
    let deleted = admin.delete_topics_by_id(&[Uuid([1; 16])]).expect_err("too old");
    assert!(deleted.kind() == ErrorKind::Unsupported && deleted.to_string().contains("DeleteTopics"), "{deleted}");

    // What it has works.
    let resource = ConfigResource::topic(&topic);
    let whole = [(resource.clone(), vec![("retention.ms".to_owned(), "1000".to_owned())])];
    one(admin.validate_alter_configs(&whole)).expect("valid");
    one(admin.alter_configs(&whole)).expect("replaced");
    let configs = one(admin.describe_configs(&[resource])).expect("described");
    assert!(configs.iter().any(|config| config.name == "retention.ms" && config.value.as_deref() == Some("1000")));
    let elected = one(admin.elect_leaders(ElectionType::Preferred, Some(&[(topic.as_str(), 0).into()])));
    assert_eq!(code(elected), ErrorCode::ELECTION_NOT_NEEDED);
    assert!(admin.list_partition_reassignments(None).expect("none").is_empty());
    let dirs = one(admin.describe_log_dirs(&[1])).expect("described");
    assert!(dirs[0].replicas.iter().any(|replica| replica.partition.topic == topic) && dirs[0].total_bytes.is_none());
    one(admin.delete_topics(&[&topic])).expect("deleted");
}
