//! To whom a request goes, what is tried again, and what one broker's failure means for the others' answers.

use super::world::{CLUSTER_ID, LONG, World, world};
use crate::admin::{AlterConfig, ConfigResource, OffsetSpec, RaftVoterEndpoint, TopicPartition, Uuid};
use crate::net::scripted::{Asked, Reply};
use crate::protocol::Request;
use crate::protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use crate::protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeConfigsResult,
};
use crate::protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use crate::protocol::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use crate::{ErrorCode, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIST_OFFSETS: (i16, i16, i16) = (ListOffsetsRequest::KEY, 1, 7);

/// An answer to ListOffsets in which every partition has this code, or the broker's id as its offset.
fn offsets(node: i32, asked: &Asked, code: impl Fn(&str, i32) -> ErrorCode) -> Reply {
    let request: ListOffsetsRequest = asked.decode();
    let topic = |topic: &crate::protocol::messages::list_offsets::ListOffsetsTopic| {
        let partition = |p: &crate::protocol::messages::list_offsets::ListOffsetsPartition| {
            let error_code = code(&topic.name, p.partition_index).0;
            let offset = if error_code == 0 { node.into() } else { -1 };
            let partition_index = p.partition_index;
            ListOffsetsPartitionResponse { partition_index, error_code, offset, ..Default::default() }
        };
        ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(partition).collect(),
        }
    };
    let topics = request.topics.iter().map(topic).collect();
    asked.reply::<ListOffsetsRequest>(&ListOffsetsResponse { topics, ..Default::default() })
}

fn latest(partitions: &[(&str, i32)]) -> Vec<(TopicPartition, OffsetSpec)> {
    partitions.iter().map(|partition| ((*partition).into(), OffsetSpec::Latest)).collect()
}

fn with_topic(world: &World, topic: &str, leaders: &[i32]) {
    world.facts.lock().unwrap().topics.insert(topic.to_owned(), leaders.to_vec());
}

#[test]
fn each_leader_is_asked_once_for_all_its_partitions() {
    let world = world(3, &[LIST_OFFSETS], |node, asked| offsets(node, asked, |_, _| ErrorCode::NONE));
    with_topic(&world, "t", &[0, 1, 2, 1]);
    with_topic(&world, "u", &[2]);
    let sought = latest(&[("u", 0), ("t", 3), ("t", 2), ("t", 1), ("t", 0)]);
    let found = world.admin.list_offsets(&sought).unwrap();
    let found: Vec<_> =
        found.iter().map(|(p, found)| (p.to_string(), found.as_ref().unwrap().offset.unwrap())).collect();
    let expected = [("u-0", 2), ("t-3", 1), ("t-2", 2), ("t-1", 1), ("t-0", 0)];
    assert_eq!(found, expected.map(|(p, offset)| (p.to_owned(), offset)), "in the order of the call");
    for broker in &world.brokers {
        assert_eq!(broker.count(ListOffsetsRequest::KEY), 1);
    }
}

#[test]
fn a_leader_that_moved_is_found_and_the_others_are_not_asked_again() {
    let facts: Arc<Mutex<Option<super::world::Shared>>> = Arc::default();
    let moving = facts.clone();
    let world = world(3, &[LIST_OFFSETS], move |node, asked| {
        offsets(node, asked, |_, partition| {
            let moved = partition == 1 && node == 1;
            if moved {
                // From now on the metadata knows it too.
                let facts = moving.lock().unwrap();
                facts.as_ref().unwrap().lock().unwrap().topics.insert("t".into(), vec![0, 2]);
            }
            if moved { ErrorCode::NOT_LEADER_OR_FOLLOWER } else { ErrorCode::NONE }
        })
    });
    with_topic(&world, "t", &[0, 1]);
    *facts.lock().unwrap() = Some(world.facts.clone());
    let found = world.admin.list_offsets(&latest(&[("t", 0), ("t", 1)])).unwrap();
    let offsets: Vec<_> = found.iter().map(|(_, found)| found.as_ref().unwrap().offset).collect();
    assert_eq!(offsets, [Some(0), Some(2)]);
    let asked: Vec<_> = world.brokers.iter().map(|broker| broker.count(ListOffsetsRequest::KEY)).collect();
    assert_eq!(asked, [1, 1, 1]);
}

#[test]
fn failures_are_each_partitions_own() {
    let world = world(2, &[LIST_OFFSETS], |node, asked| {
        offsets(node, asked, |topic, partition| match (topic, partition) {
            ("secret", _) => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            _ => ErrorCode::NONE,
        })
    });
    with_topic(&world, "t", &[1]);
    with_topic(&world, "secret", &[1]);
    let start = Instant::now();
    let sought = latest(&[("t", 0), ("t", 1), ("secret", 0), ("absent", 0)]);
    let found = world.admin.list_offsets(&sought).unwrap();
    assert_eq!(found[0].1.as_ref().unwrap().offset, Some(1));
    let expected = [
        (1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (2, ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        (3, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    for (at, code) in expected {
        let (partition, found) = &found[at];
        let error = found.as_ref().unwrap_err();
        assert_eq!(error.code(), Some(code), "{partition}: {error}");
        assert_eq!((error.topic(), error.partition()), (Some(partition.topic.as_str()), Some(partition.partition)));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "that a topic is unknown is believed after a moment");
}

#[test]
fn a_frozen_broker_costs_its_own_partitions_only_and_no_more_than_the_timeout() {
    let world = world(2, &[LIST_OFFSETS], |node, asked| match node {
        1 => Reply::Silence,
        _ => offsets(node, asked, |_, _| ErrorCode::NONE),
    });
    with_topic(&world, "t", &[0, 1]);
    let admin = world.admin.timeout(Duration::from_millis(500));
    let start = Instant::now();
    let found = admin.list_offsets(&latest(&[("t", 0), ("t", 1)])).unwrap();
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    assert_eq!(found[0].1.as_ref().unwrap().offset, Some(0));
    let error = found[1].1.as_ref().unwrap_err();
    assert_eq!((error.kind(), error.broker(), error.partition()), (ErrorKind::Timeout, Some(1), Some(1)));

    let error = admin.list_offsets(&latest(&[("t", 1)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "nothing was learned");
}

#[test]
fn a_broker_that_hangs_is_asked_last_the_next_time() {
    let world = world(2, &[(DescribeClusterRequest::KEY, 0, 1)], |node, asked| match node {
        1 => Reply::Silence,
        _ => asked.reply::<DescribeClusterRequest>(&DescribeClusterResponse::default()),
    });
    let admin = world.admin.timeout(Duration::from_millis(600));
    // Until it has been asked once, which of the two comes first is a matter of chance.
    for _ in 0..30 {
        admin.describe_cluster().unwrap();
    }
    assert_eq!(world.brokers[1].count(DescribeClusterRequest::KEY), 1);
}

#[test]
fn several_offsets_of_one_partition_come_in_the_order_of_the_call() {
    let world = world(1, &[LIST_OFFSETS], |_, asked| {
        let request: ListOffsetsRequest = asked.decode();
        let timestamp = request.topics[0].partitions[0].timestamp;
        assert_eq!(request.topics[0].partitions.len(), 1, "a partition can be in a request once");
        offsets(-timestamp as i32, asked, |_, _| ErrorCode::NONE)
    });
    with_topic(&world, "t", &[0]);
    let sought = [OffsetSpec::Latest, OffsetSpec::Earliest, OffsetSpec::MaxTimestamp];
    let found = world.admin.list_offsets(&sought.map(|spec| (("t", 0).into(), spec))).unwrap();
    let offsets: Vec<_> = found.iter().map(|(_, found)| found.as_ref().unwrap().offset).collect();
    assert_eq!(offsets, [Some(1), Some(2), Some(3)]);
}

#[test]
fn what_the_brokers_version_lacks_is_told_by_name() {
    let world = world(1, &[(ListOffsetsRequest::KEY, 1, 5), (ApiMarker::KEY, 0, 0)], |node, asked| {
        offsets(node, asked, |_, _| ErrorCode::NONE)
    });
    with_topic(&world, "t", &[0]);
    let sought = [OffsetSpec::MaxTimestamp, OffsetSpec::Latest].map(|spec| (("t", 0).into(), spec));
    let found = world.admin.list_offsets(&sought).unwrap();
    let error = found[0].1.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error
            .to_string()
            .contains("MaxTimestamp can't be found: ListOffsets 7 is needed, and the broker has it up to version 5: it is Kafka 2.2"),
        "{error}"
    );
    assert!(found[1].1.is_ok(), "the other one is answered");

    let change = vec![AlterConfig::Set("cleanup.policy".into(), "compact".into())];
    let error = world.admin.incremental_alter_configs(&[(ConfigResource::topic("t"), change)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.contains("IncrementalAlterConfigs") && text.contains("it is Kafka 2.2 or newer"), "{text}");
}

#[test]
fn a_refusal_is_final_also_where_a_broker_trips_over_a_request_without_a_list() {
    let world = world(1, &[(DescribeUserScramCredentialsRequest::KEY, 0, 0)], |_, asked| {
        let request: DescribeUserScramCredentialsRequest = asked.decode();
        if request.users.is_none() {
            return Reply::Silence;
        }
        asked.reply::<DescribeUserScramCredentialsRequest>(&DescribeUserScramCredentialsResponse {
            error_code: ErrorCode::CLUSTER_AUTHORIZATION_FAILED.0,
            ..Default::default()
        })
    });
    let error = world.admin.timeout(LONG / 2).describe_all_user_scram_credentials().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Authorization, Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED)));
    assert_eq!(world.brokers[0].count(DescribeUserScramCredentialsRequest::KEY), 1, "it is asked once");
}

#[test]
fn a_quorum_is_changed_of_this_cluster_only() {
    let apis = [(AddRaftVoterRequest::KEY, 0, 1), (RemoveRaftVoterRequest::KEY, 0, 0)];
    let world = world(1, &apis, |_, asked| {
        // As Kafka does: no id is any cluster's.
        let refused = |id: Option<String>| match id.as_deref() == Some(CLUSTER_ID) {
            true => ErrorCode::VOTER_NOT_FOUND.0,
            false => ErrorCode::INCONSISTENT_CLUSTER_ID.0,
        };
        if asked.key == AddRaftVoterRequest::KEY {
            let error_code = refused(asked.decode::<AddRaftVoterRequest>().cluster_id);
            let answer = AddRaftVoterResponse { error_code, ..Default::default() };
            return asked.reply::<AddRaftVoterRequest>(&answer);
        }
        let error_code = refused(asked.decode::<RemoveRaftVoterRequest>().cluster_id);
        asked.reply::<RemoveRaftVoterRequest>(&RemoveRaftVoterResponse { error_code, ..Default::default() })
    });
    let endpoint = RaftVoterEndpoint { listener: "CONTROLLER".into(), host: "h".into(), port: 1 };
    let outcomes =
        [world.admin.add_raft_voter(7, Uuid([7; 16]), &[endpoint]), world.admin.remove_raft_voter(7, Uuid([7; 16]))];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().code(), Some(ErrorCode::VOTER_NOT_FOUND));
    }
}

/// The API that Kafka 2.2 brought.
type ApiMarker = crate::protocol::messages::elect_leaders::ElectLeadersRequest;

#[test]
fn a_brokers_configs_are_asked_of_that_broker() {
    let world = world(3, &[(DescribeConfigsRequest::KEY, 1, 4)], |_, asked| {
        let request: DescribeConfigsRequest = asked.decode();
        let result = |resource: &crate::protocol::messages::describe_configs::DescribeConfigsResource| {
            let (resource_type, resource_name) = (resource.resource_type, resource.resource_name.clone());
            DescribeConfigsResult { resource_type, resource_name, ..Default::default() }
        };
        let results = request.resources.iter().map(result).collect();
        asked.reply::<DescribeConfigsRequest>(&DescribeConfigsResponse { results, ..Default::default() })
    });
    let resources = [ConfigResource::broker(2), ConfigResource::broker_logger(1)];
    let described = world.admin.describe_configs(&resources).unwrap();
    assert!(described.iter().all(|(_, configs)| configs.is_ok()), "{described:?}");
    let asked: Vec<_> = world.brokers.iter().map(|broker| broker.count(DescribeConfigsRequest::KEY)).collect();
    assert_eq!(asked, [0, 1, 1]);
}

/// A page of DescribeTopicPartitions.
fn page(asked: &Asked, topic: &str, partitions: &[i32], next: Option<(&str, i32)>) -> Reply {
    let partition = |index: &i32| DescribeTopicPartitionsResponsePartition {
        partition_index: *index,
        leader_id: 0,
        ..Default::default()
    };
    let topic = DescribeTopicPartitionsResponseTopic {
        name: Some(topic.to_owned()),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    let next_cursor =
        next.map(|(topic_name, partition_index)| ResponseCursor { topic_name: topic_name.to_owned(), partition_index });
    let response = DescribeTopicPartitionsResponse { topics: vec![topic], next_cursor, ..Default::default() };
    asked.reply::<DescribeTopicPartitionsRequest>(&response)
}

#[test]
fn a_topic_of_many_pages_is_put_together() {
    let world = world(1, &[(DescribeTopicPartitionsRequest::KEY, 0, 0)], |_, asked| {
        let request: DescribeTopicPartitionsRequest = asked.decode();
        match request.cursor {
            None => page(asked, "a", &[0, 1], Some(("a", 2))),
            Some(cursor) if cursor.topic_name == "a" => page(asked, "a", &[2], Some(("b", 0))),
            Some(_) => {
                assert_eq!(request.topics.len(), 1, "what is done is not asked for again");
                page(asked, "b", &[0], None)
            }
        }
    });
    let described = world.admin.describe_topics(&["b", "a"]).unwrap();
    let counts: Vec<_> =
        described.iter().map(|(topic, d)| (topic.as_str(), d.as_ref().unwrap().partitions.len())).collect();
    assert_eq!(counts, [("b", 1), ("a", 3)]);
}

#[test]
fn pages_that_do_not_go_forward_are_an_error_and_no_loop() {
    let world =
        world(1, &[(DescribeTopicPartitionsRequest::KEY, 0, 0)], |_, asked| page(asked, "a", &[0], Some(("a", 0))));
    assert_eq!(world.admin.describe_topics(&["a"]).unwrap_err().kind(), ErrorKind::Protocol);
    assert!(world.brokers[0].count(DescribeTopicPartitionsRequest::KEY) <= 2);
}
