//! Calls of `Admin` about a good thing and a bad one, on real Kafka: the good one is done, and the bad one has an error of
//! its own that names it. Topics, groups and transactional ids are told apart in `admin_methods`; here is the rest.
//!
//! Three methods have no partial failure to provoke: brokers take or refuse all features of `update_features` together,
//! find no filter of `delete_acls` bad that they can read, and are asked by `remove_all_members` for those only that they
//! have just named.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use sarameya::admin::*;
use sarameya::{Client, Error, ErrorCode, ErrorKind, NewTopic, Result};

use crate::authorization::root;
use crate::members::Member;
use crate::support::kafka::{Cluster, Version};
use crate::support::secured::Secured;
use crate::support::{unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn admin(cluster: &Cluster) -> Admin {
    Admin::new(&Client::connect(&cluster.bootstrap()).expect("a client"))
}

/// The outcomes of a good thing and a bad one, in this order. The bad one's error names it.
#[track_caller]
fn good_and_bad<T: Debug, K: Debug>(results: Result<Results<T, K>>, name: &str) -> (Result<T>, Error) {
    let mut results = results.expect("an answer");
    assert_eq!(results.len(), 2, "{results:?}");
    let (bad, good) = (results.pop().expect("two").1, results.pop().expect("two").1);
    let error = bad.expect_err("a refusal");
    assert!(error.to_string().contains(name), "{name} in {error}");
    (good, error)
}

/// The same with this code, and the good one done.
#[track_caller]
fn one_done<T: Debug, K: Debug>(results: Result<Results<T, K>>, code: ErrorCode, name: &str) -> T {
    let (good, error) = good_and_bad(results, name);
    assert_eq!(error.code(), Some(code), "{error}");
    good.expect("done")
}

#[test]
fn admin_kafka_4_3_0_a_bad_user_or_quota_does_not_fail_a_good_one() {
    require_kafka!();
    let admin = admin(Cluster::shared(Version::V4_3_0));
    let (user, absent) = (unique("a-good-user"), unique("b-absent-user"));
    let new = ScramAlteration::upsert(&user, ScramMechanism::Sha256, "secret");
    let gone = ScramAlteration::delete(&absent, ScramMechanism::Sha256);
    one_done(admin.alter_user_scram_credentials(&[new, gone]), ErrorCode::RESOURCE_NOT_FOUND, &absent);
    wait_until("the user is there", LIMIT, || {
        admin.describe_user_scram_credentials(&[&user]).is_ok_and(|users| users[0].1.is_ok())
    });
    // Any broker may be asked, and each learns of the user in its own time.
    Cluster::shared(Version::V4_3_0).settle();
    let infos =
        one_done(admin.describe_user_scram_credentials(&[&user, &absent]), ErrorCode::RESOURCE_NOT_FOUND, &absent);
    assert_eq!(infos[0].mechanism, ScramMechanism::Sha256);
    let gone = ScramAlteration::delete(&user, ScramMechanism::Sha256);
    assert!(admin.alter_user_scram_credentials(&[gone]).expect("an answer")[0].1.is_ok());

    let changes = |key: &str| ClientQuotaChanges::from([(key.to_owned(), Some(1024.0))]);
    let (good, bad) = (ClientQuotaEntity::user(&user), ClientQuotaEntity::user(&absent));
    let both = [(good.clone(), changes("producer_byte_rate")), (bad, changes("nonsense"))];
    one_done(admin.validate_alter_client_quotas(&both), ErrorCode::INVALID_REQUEST, &absent);
    one_done(admin.alter_client_quotas(&both), ErrorCode::INVALID_REQUEST, &absent);
    let of = |name: &str| ClientQuotaFilter::all().with("user", ClientQuotaMatch::Exact(name.to_owned()));
    let expected = BTreeMap::from([(good.clone(), BTreeMap::from([("producer_byte_rate".to_owned(), 1024.0)]))]);
    wait_until("the good quota is there", LIMIT, || {
        admin.describe_client_quotas(&of(&user)).expect("quotas") == expected
    });
    assert!(admin.describe_client_quotas(&of(&absent)).expect("quotas").is_empty());
    let none = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), None)]);
    assert!(admin.alter_client_quotas(&[(good, none)]).expect("an answer")[0].1.is_ok());
}

#[test]
fn admin_kafka_4_3_0_a_bad_acl_does_not_fail_a_good_one() {
    require_kafka!();
    let admin = root(Secured::shared());
    let (topic, absent) = (unique("granted"), unique("no-cluster"));
    let good = AclBinding::allow("User:dave", AclOperation::Read, AclResourceType::Topic, &topic);
    // The cluster has one name only.
    let bad = AclBinding::allow("User:dave", AclOperation::Alter, AclResourceType::Cluster, &absent);
    one_done(admin.create_acls(&[good.clone(), bad]), ErrorCode::INVALID_REQUEST, &absent);
    let of = |name: &str| AclFilter { resource_name: Some(name.to_owned()), ..AclFilter::any() };
    wait_until("the good rule is there", LIMIT, || admin.describe_acls(&of(&topic)).expect("rules") == [good.clone()]);
    assert!(admin.describe_acls(&of(&absent)).expect("rules").is_empty());
    // One filter that lets a rule through and one that lets none are told apart, too.
    let deleted = admin.delete_acls(&[of(&topic), of(&absent)]).expect("an answer");
    let deleted: Vec<_> = deleted.iter().map(|(_, rules)| rules.as_ref().expect("deleted")).collect();
    assert!(deleted[0].len() == 1 && deleted[0][0].0 == good && deleted[0][0].1.is_ok(), "{deleted:?}");
    assert!(deleted[1].is_empty(), "{deleted:?}");
}

#[test]
fn admin_kafka_4_3_0_a_bad_partition_does_not_fail_the_reassignment_or_election_of_a_good_one() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let (name, absent) = (unique("moved"), unique("absent"));
    let topic = NewTopic::new(&name).assignment(0, [1, 2]).assignment(1, [1, 2]);
    assert!(admin.create_topics(&[topic]).expect("an answer")[0].1.is_ok());
    cluster.wait_known(&name, 2);
    let at = |topic: &str, number| TopicPartition::new(topic, number);

    let moves = [(at(&name, 0), Some(vec![3, 1])), (at(&absent, 0), Some(vec![1]))];
    one_done(admin.alter_partition_reassignments(&moves), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, &absent);
    let moves = [(at(&name, 1), Some(vec![3, 1])), (at(&name, 0), Some(vec![99]))];
    let (good, error) = good_and_bad(admin.alter_partition_reassignments(&moves), &name);
    assert_eq!((error.code(), error.partition()), (Some(ErrorCode::INVALID_REPLICA_ASSIGNMENT), Some(0)), "{error}");
    good.expect("begun");
    let both = [at(&name, 0), at(&name, 1)];
    wait_until("the replicas have moved", LIMIT, || {
        admin.list_partition_reassignments(Some(&both)).is_ok_and(|moving| moving.is_empty())
    });

    let elected = admin.elect_leaders(ElectionType::Preferred, Some(&[at(&name, 0), at(&absent, 0)]));
    let (good, error) = good_and_bad(elected, &absent);
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
    // The cluster may have been faster.
    assert!(good.is_ok() || good.is_err_and(|error| error.code() == Some(ErrorCode::ELECTION_NOT_NEEDED)));
    wait_until("all brokers know the new leader", LIMIT, || cluster.leader(&name, 0) == 3);
    assert!(admin.delete_topics(&[&name]).expect("an answer")[0].1.is_ok());
}

#[test]
fn admin_kafka_4_3_0_a_bad_broker_replica_or_directory_does_not_fail_a_good_one() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let name = unique("stored");
    let topic = NewTopic::new(&name).assignment(0, [1]).assignment(1, [1]);
    assert!(admin.create_topics(&[topic]).expect("an answer")[0].1.is_ok());
    cluster.wait_known(&name, 2);
    let at = |number, broker| TopicPartitionReplica::new((name.as_str(), number), broker);

    let impatient = admin.clone().timeout(Duration::from_secs(10));
    let (good, error) = good_and_bad(impatient.describe_log_dirs(&[1, 99]), "99");
    assert!(!good.expect("described").is_empty() && error.kind() != ErrorKind::Protocol, "{error}");
    let partition = TopicPartition::new(&name, 0);
    let (good, _) =
        good_and_bad(impatient.describe_log_dirs_of(&[1, 99], Some(std::slice::from_ref(&partition))), "99");
    assert_eq!(good.expect("described")[0].replicas[0].partition, partition);

    let (good, error) = good_and_bad(admin.describe_replica_log_dirs(&[at(0, 1), at(1, 2)]), &name);
    assert_eq!(error.partition(), Some(1), "{error}");
    let (path, _) = good.expect("described").current;
    let moves = [(at(0, 1), path), (at(1, 1), "/nowhere".to_owned())];
    one_done(admin.alter_replica_log_dirs(&moves), ErrorCode::LOG_DIR_NOT_FOUND, &name);
    assert!(admin.delete_topics(&[&name]).expect("an answer")[0].1.is_ok());
}

#[test]
fn admin_kafka_4_3_0_a_member_that_is_not_there_does_not_keep_the_other_in() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let (topic, group) = (unique("left"), unique("left"));
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let admin = Admin::new(&client);
    let member = Member::start(&client, &group, &topic);
    member.wait_claims(1);
    let id = || {
        let mut described = admin.describe_groups(&[&group]).ok()?;
        let described = described.pop()?.1.ok()?;
        (described.state == GroupState::Stable).then(|| described.members[0].member_id.clone())
    };
    let mut first = None;
    wait_until("the group is stable", LIMIT, || {
        first = id();
        first.is_some()
    });
    let first = first.expect("waited for");
    let gone = [MemberToRemove::MemberId(first.clone()), MemberToRemove::MemberId("nobody".to_owned())];
    one_done(admin.remove_members(&group, &gone, "a test"), ErrorCode::UNKNOWN_MEMBER_ID, "nobody");
    wait_until("the member has joined anew", LIMIT, || id().is_some_and(|id| id != first));
    member.stop().expect("a clean end");
}

#[test]
fn admin_kafka_4_3_0_offsets_go_by_topic_ids_and_an_unknown_id_does_not_fail_a_good_one() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let admin = admin(cluster);
    let (topic, group, nobody) = (unique("byid"), unique("byid"), unique("nobody"));
    cluster.create_topic(&topic, 2);
    let id = admin.describe_topics(&[&topic]).expect("an answer")[0].1.as_ref().expect("a topic").id.expect("an id");
    let stranger = Uuid([7; 16]);
    let (good, bad) = (TopicIdPartition::new(id, 1), TopicIdPartition::new(stranger, 0));
    let mut offset = CommittedOffset::new(3);
    offset.metadata = "by id".to_owned();
    let both = [(good, offset.clone()), (bad, CommittedOffset::new(4))];
    let words = stranger.to_string();
    one_done(admin.alter_group_offsets_by_id(&group, &both), ErrorCode::UNKNOWN_TOPIC_ID, &words);

    let by_name = admin.list_group_offsets(&[&group]).expect("an answer").pop().expect("one").1.expect("offsets");
    let by_name: Vec<_> = by_name.into_iter().map(|(p, committed)| (p.to_string(), committed.expect("one"))).collect();
    assert_eq!(by_name, [(format!("{topic}-1"), offset.clone())]);
    let asked = [good, TopicIdPartition::new(id, 0), bad];
    let found = admin.list_group_offsets_by_id(&[(&group, Some(&asked)), (&nobody, None)], true).expect("an answer");
    let [(_, Ok(found)), (_, Ok(nothing))] = &found[..] else { panic!("{found:?}") };
    assert!(nothing.is_empty(), "{nothing:?}");
    let [one, other] = &found[..] else { panic!("partitions without an offset are left out: {found:?}") };
    let error =
        |outcome: &Result<CommittedOffset>| outcome.as_ref().err().map(|error| (error.code(), error.to_string()));
    for (partition, outcome) in [one, other] {
        match error(outcome) {
            None => assert_eq!((*partition, outcome.as_ref().ok()), (good, Some(&offset))),
            Some((code, text)) => {
                assert_eq!((*partition, code), (bad, Some(ErrorCode::UNKNOWN_TOPIC_ID)));
                assert!(text.contains(&words), "{text}");
            }
        }
    }
    assert_ne!(one.0, other.0);
    let all = admin.list_group_offsets_by_id(&[(&group, None)], false).expect("an answer").pop().expect("one").1;
    let all: Vec<_> = all.expect("offsets").into_iter().map(|(p, committed)| (p, committed.expect("one"))).collect();
    assert_eq!(all, [(good, offset)]);
}

#[test]
fn admin_kafka_4_3_0_share_coordinators_are_found_and_a_bad_key_does_not_fail_a_good_one() {
    require_kafka!();
    let admin = admin(Cluster::shared(Version::V4_3_0));
    let (group, id) = (unique("share:group"), Uuid([5; 16]));
    let (good, bad) = (SharePartitionKey::new(&group, id, 0), SharePartitionKey::new("", id, 0));
    let node =
        one_done(admin.find_share_coordinators(&[good.clone(), bad]), ErrorCode::INVALID_REQUEST, &id.to_string());
    assert!((1..=3).contains(&node), "{node}");
    let again = admin.find_share_coordinators(&[good]).expect("an answer").pop().expect("one").1;
    assert_eq!(again.expect("found"), node, "it is a matter of the key");
}
