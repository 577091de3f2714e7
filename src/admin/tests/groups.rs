//! Groups: coordinators that move, brokers that do not answer, and lag put together.

use super::world::{World, world};
use crate::ErrorCode;
use crate::admin::{GroupFilter, GroupState, GroupType, MemberToRemove, SharePartitionKey, Uuid};
use crate::net::scripted::{Asked, Reply};
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::{Request, Writer};
use std::time::Duration;

/// Every broker describes groups that it coordinates: "gone" does not exist, "broken" has a member nobody can read.
fn describe(asked: &Asked, code: ErrorCode) -> Reply {
    let request: DescribeGroupsRequest = asked.decode();
    let group = |group_id: &String| {
        let mut writer = Writer::new();
        let assignment = crate::protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment {
            assigned_partitions: vec![crate::protocol::messages::consumer_protocol_assignment::TopicPartition {
                topic: "t".into(),
                partitions: vec![0, 2],
            }],
            user_data: None,
        };
        writer.i16(0);
        assignment.encode(&mut writer, 0).unwrap();
        let readable = group_id != "broken";
        let member = DescribedGroupMember {
            member_id: format!("member of {group_id}"),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            member_assignment: if readable { writer.into_bytes().into() } else { vec![0, 0, 255, 255].into() },
            ..Default::default()
        };
        let gone = group_id == "gone";
        DescribedGroup {
            error_code: if gone && asked.version >= 6 { ErrorCode::GROUP_ID_NOT_FOUND.0 } else { code.0 },
            group_id: group_id.clone(),
            group_state: if gone { "Dead" } else { "Stable" }.into(),
            protocol_type: "consumer".into(),
            members: if gone || code != ErrorCode::NONE { Vec::new() } else { vec![member] },
            ..Default::default()
        }
    };
    let groups = request.groups.iter().map(group).collect();
    asked.reply::<DescribeGroupsRequest>(&DescribeGroupsResponse { groups, ..Default::default() })
}

fn with_groups(world: &World, groups: &[(&str, i32)]) {
    let groups = groups.iter().map(|(group, node)| ((*group).to_owned(), *node));
    world.facts.lock().unwrap().coordinators.extend(groups);
}

#[test]
fn groups_are_described_by_their_coordinators_whatever_the_versions() {
    for (find, describe_groups) in [(1, 0), (3, 4), (4, 6)] {
        let apis = [(FindCoordinatorRequest::KEY, 0, find), (DescribeGroupsRequest::KEY, 0, describe_groups)];
        let world = world(3, &apis, |_, asked| describe(asked, ErrorCode::NONE));
        with_groups(&world, &[("a", 1), ("b", 2), ("gone", 1), ("broken", 2)]);
        let described = world.admin.describe_groups(&["gone", "b", "a", "broken"]).unwrap();
        let error = described[0].1.as_ref().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::GROUP_ID_NOT_FOUND));
        assert!(error.to_string().contains("\"gone\""), "{error}");
        let b = described[1].1.as_ref().unwrap();
        assert_eq!((b.group_type, b.state, b.coordinator), (GroupType::Classic, GroupState::Stable, 2));
        let assigned: Vec<_> = b.members[0].assignment.iter().map(ToString::to_string).collect();
        assert_eq!(assigned, ["t-0", "t-2"]);
        assert_eq!(described[2].1.as_ref().unwrap().coordinator, 1);
        let broken = described[3].1.as_ref().unwrap();
        assert_eq!((broken.members.len(), broken.members[0].assignment.len()), (1, 0), "the member is shown even so");
        let asked: Vec<_> = world.brokers.iter().map(|broker| broker.count(DescribeGroupsRequest::KEY)).collect();
        assert_eq!(asked, [0, 1, 1]);
    }
}

#[test]
fn a_coordinator_that_moved_or_is_loading_is_asked_again() {
    let world = world(2, &[(DescribeGroupsRequest::KEY, 0, 5)], |node, asked| match node {
        0 => describe(asked, ErrorCode::NOT_COORDINATOR),
        // It loads the group until it has been asked a few times.
        _ if asked.correlation_id < 4 => describe(asked, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        _ => describe(asked, ErrorCode::NONE),
    });
    with_groups(&world, &[("a", 0)]);
    let admin = world.admin.clone();
    let described = std::thread::scope(|scope| {
        let described = scope.spawn(|| admin.describe_groups(&["a"]));
        while world.brokers[0].count(DescribeGroupsRequest::KEY) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        with_groups(&world, &[("a", 1)]);
        described.join().unwrap().unwrap()
    });
    assert_eq!(described[0].1.as_ref().unwrap().coordinator, 1);
    assert!(world.brokers[1].count(DescribeGroupsRequest::KEY) > 1);
}

#[test]
fn groups_are_listed_by_all_brokers_and_one_that_fails_is_named() {
    let world = world(3, &[(ListGroupsRequest::KEY, 0, 5)], |node, asked| {
        let request: ListGroupsRequest = asked.decode();
        assert_eq!(request.types_filter, ["Classic"]);
        let group = |name: &str| ListedGroup {
            group_id: format!("{name}{node}"),
            protocol_type: "consumer".into(),
            group_state: "Stable".into(),
            group_type: "classic".into(),
        };
        let refused = (node == 1).then_some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        let response = ListGroupsResponse {
            error_code: refused.unwrap_or(ErrorCode::NONE).0,
            groups: if refused.is_some() { Vec::new() } else { vec![group("z"), group("a")] },
            ..Default::default()
        };
        asked.reply::<ListGroupsRequest>(&response)
    });
    let listed = world.admin.list_groups(&GroupFilter::new().types([GroupType::Classic])).unwrap();
    let ids: Vec<_> = listed.found.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!(ids, ["a0", "a2", "z0", "z2"]);
    assert!(listed.found.iter().all(|group| group.group_type == Some(GroupType::Classic)));
    assert_eq!(listed.errors.iter().map(|(broker, _)| *broker).collect::<Vec<_>>(), [1]);
    assert_eq!(listed.all().unwrap_err().code(), Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED));
}

/// Committed offsets: t-0 at 7, t-1 at 90; t-2 has none.
fn fetch(asked: &Asked) -> Reply {
    let request: OffsetFetchRequest = asked.decode();
    let mut response = OffsetFetchResponse::default();
    let committed = [(0, 7), (1, 90), (2, -1)];
    if asked.version < 8 {
        assert_eq!(request.topics, None, "all");
        let partition = |(partition_index, committed_offset)| OffsetFetchResponsePartition {
            partition_index,
            committed_offset,
            ..Default::default()
        };
        let partitions = committed.into_iter().map(partition).collect();
        response.topics.push(OffsetFetchResponseTopic { name: "t".into(), partitions });
    } else {
        for group in request.groups {
            assert_eq!(group.topics, None, "all");
            let partition = |(partition_index, committed_offset)| OffsetFetchResponsePartitions {
                partition_index,
                committed_offset,
                ..Default::default()
            };
            let partitions = committed.into_iter().map(partition).collect();
            let topic = OffsetFetchResponseTopics { name: "t".into(), partitions, ..Default::default() };
            let group_id = group.group_id;
            response.groups.push(OffsetFetchResponseGroup { group_id, topics: vec![topic], error_code: 0 });
        }
    }
    asked.reply::<OffsetFetchRequest>(&response)
}

/// Every partition ends at 50, but nobody may ask for t-0's.
fn ends(asked: &Asked) -> Reply {
    let request: ListOffsetsRequest = asked.decode();
    let topic = |topic: &crate::protocol::messages::list_offsets::ListOffsetsTopic| {
        let partitions = topic.partitions.iter().map(|p| ListOffsetsPartitionResponse {
            partition_index: p.partition_index,
            offset: 50,
            error_code: if p.partition_index == 0 { ErrorCode::TOPIC_AUTHORIZATION_FAILED.0 } else { 0 },
            ..Default::default()
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    };
    let topics = request.topics.iter().map(topic).collect();
    asked.reply::<ListOffsetsRequest>(&ListOffsetsResponse { topics, ..Default::default() })
}

#[test]
fn lag_is_put_together_from_members_commits_and_ends() {
    for offset_fetch in [5, 8] {
        let apis = [
            (DescribeGroupsRequest::KEY, 0, 5),
            (OffsetFetchRequest::KEY, 1, offset_fetch),
            (ListOffsetsRequest::KEY, 1, 7),
        ];
        let world = world(2, &apis, |_, asked| match asked.key {
            DescribeGroupsRequest::KEY => describe(asked, ErrorCode::NONE),
            OffsetFetchRequest::KEY => fetch(asked),
            _ => ends(asked),
        });
        with_groups(&world, &[("a", 1), ("gone", 0)]);
        world.facts.lock().unwrap().topics.insert("t".into(), vec![0, 1, 1]);
        let lags = world.admin.group_lag(&["a", "gone"]).unwrap();
        assert_eq!(lags[1].1.as_ref().unwrap_err().code(), Some(ErrorCode::GROUP_ID_NOT_FOUND));
        let lag = lags[0].1.as_ref().unwrap();
        let row = |p: &crate::admin::PartitionLag| {
            (
                p.partition.to_string(),
                p.committed.as_ref().map(|c| c.offset),
                p.end_offset,
                p.lag(),
                p.member_id.is_some(),
            )
        };
        let rows: Vec<_> = lag.partitions.iter().map(row).collect();
        assert_eq!(
            rows,
            [
                ("t-0".to_owned(), Some(7), None, None, true),
                ("t-1".to_owned(), Some(90), Some(50), Some(0), false),
                ("t-2".to_owned(), None, Some(50), None, true),
            ]
        );
        let error = lag.partitions[0].error.as_ref().unwrap();
        assert_eq!((error.code(), error.partition()), (Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), Some(0)));
        assert_eq!(lag.total(), 0);
    }
}

#[test]
fn members_are_removed_one_by_one_where_the_broker_knows_no_other_way() {
    let world = world(1, &[(LeaveGroupRequest::KEY, 0, 2)], |_, asked| {
        let request: LeaveGroupRequest = asked.decode();
        let code = if request.member_id == "there" { ErrorCode::NONE } else { ErrorCode::UNKNOWN_MEMBER_ID };
        let response = LeaveGroupResponse { error_code: code.0, ..Default::default() };
        asked.reply::<LeaveGroupRequest>(&response)
    });
    let members = [
        MemberToRemove::MemberId("there".into()),
        MemberToRemove::GroupInstanceId("static".into()),
        MemberToRemove::MemberId("absent".into()),
    ];
    let removed = world.admin.remove_members("g", &members, "").unwrap();
    assert!(removed[0].1.is_ok());
    assert_eq!(removed[1].1.as_ref().unwrap_err().kind(), crate::ErrorKind::Unsupported);
    assert_eq!(removed[2].1.as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn share_coordinators_are_found_by_keys_that_name_group_topic_id_and_partition() {
    let keys = [SharePartitionKey::new("s:1", Uuid([1; 16]), 3), SharePartitionKey::new("s2", Uuid([2; 16]), 0)];
    let world = world(3, &[(FindCoordinatorRequest::KEY, 0, 6)], |_, _| Reply::Close);
    with_groups(&world, &[("s:1:AQEBAQEBAQEBAQEBAQEBAQ:3", 2), ("s2:AgICAgICAgICAgICAgICAg:0", 1)]);
    let found = world.admin.find_share_coordinators(&keys).unwrap();
    let found: Vec<_> = found.into_iter().map(|(key, node)| (key, node.unwrap())).collect();
    assert_eq!(found, keys.into_iter().zip([2, 1]).collect::<Vec<_>>());
}

#[test]
fn share_coordinators_are_not_asked_for_where_the_broker_has_none() {
    let world = world(1, &[(FindCoordinatorRequest::KEY, 0, 5)], |_, _| Reply::Close);
    let key = SharePartitionKey::new("s1", Uuid([1; 16]), 0);
    let error = world.admin.find_share_coordinators(&[key]).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
    let words = "FindCoordinator 6 is needed, and the broker has it up to version 5";
    assert!(error.to_string().contains(words), "{error}");
}
