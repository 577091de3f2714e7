//! Offsets are committed, looked up, hang on transactions, and expire.

use super::super::test_support::Harness;
use crate::protocol::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponseTopics,
};
use crate::protocol::messages::txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use crate::protocol::messages::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One broker, topics "t" and "u" of two partitions each.
fn harness(settings: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::with(1, settings);
    for name in ["t", "u"] {
        harness.state.create_topic(name, 2, 1, Default::default()).unwrap();
    }
    harness.call(1, 4, FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() });
    harness
}

fn committing(topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition = |(partition_index, committed_offset): &(i32, i64)| OffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_leader_epoch: 7,
        committed_metadata: Some("m".into()),
    };
    let partitions = offsets.iter().map(partition).collect();
    let topics = vec![OffsetCommitRequestTopic { name: topic.into(), partitions, ..Default::default() }];
    OffsetCommitRequest { group_id: "g".into(), generation_id_or_member_epoch: -1, topics, ..Default::default() }
}

fn commit(harness: &mut Harness, version: i16, request: OffsetCommitRequest) -> Vec<i16> {
    let response = harness.call(1, version, request);
    response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

fn fetching(topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequestGroup {
    let topic = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopics {
        name: (*name).into(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    OffsetFetchRequestGroup { group_id: "g".into(), topics, ..Default::default() }
}

fn fetch(harness: &mut Harness, stable: bool, group: OffsetFetchRequestGroup) -> Vec<OffsetFetchResponseTopics> {
    let request = OffsetFetchRequest { groups: vec![group], require_stable: stable, ..Default::default() };
    let mut response = harness.call(1, 9, request);
    let group = response.groups.remove(0);
    assert_eq!(group.error_code, 0);
    group.topics
}

/// (topic, partition, offset) of everything committed by "g".
fn all(harness: &mut Harness) -> Vec<(String, i32, i64)> {
    let topics = fetch(harness, false, fetching(None));
    let one = |topic: OffsetFetchResponseTopics| {
        let name = topic.name;
        topic.partitions.into_iter().map(move |one| (name.clone(), one.partition_index, one.committed_offset))
    };
    topics.into_iter().flat_map(one).collect()
}

#[test]
fn what_was_committed_is_found_by_partition_and_all_together() {
    let mut harness = harness(&[]);
    assert_eq!(commit(&mut harness, 9, committing("t", &[(0, 10), (1, 11)])), [0, 0]);
    assert_eq!(commit(&mut harness, 2, OffsetCommitRequest { ..committing_v2("u", &[(1, 21)]) }), [0]);
    let topics = fetch(&mut harness, true, fetching(Some(&[("t", &[1]), ("u", &[0]), ("absent", &[5])])));
    let found = &topics[0].partitions[0];
    assert_eq!((found.committed_offset, found.committed_leader_epoch, found.metadata.as_deref()), (11, 7, Some("m")));
    for unknown in [&topics[1].partitions[0], &topics[2].partitions[0]] {
        assert_eq!((unknown.committed_offset, unknown.committed_leader_epoch, unknown.error_code), (-1, -1, 0));
        assert_eq!(unknown.metadata.as_deref(), Some(""));
    }
    assert_eq!(all(&mut harness), [("t".into(), 0, 10), ("t".into(), 1, 11), ("u".into(), 1, 21)]);
    // The form with one group.
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0] };
    let request = OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    for version in [1, 5, 7] {
        let response = harness.call(1, version, request.clone());
        assert_eq!(response.topics[0].partitions[0].committed_offset, 10);
    }
    let everything = OffsetFetchRequest { group_id: "g".into(), topics: None, ..Default::default() };
    assert_eq!(harness.call(1, 2, everything).topics.len(), 2);
}

fn committing_v2(topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let mut request = committing(topic, offsets);
    request.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|one| one.committed_leader_epoch = -1);
    request
}

#[test]
fn topics_are_named_by_id_from_version_10() {
    let mut harness = harness(&[]);
    let id = harness.state.topics.get("t").unwrap().id;
    let mut request = committing("", &[(0, 3)]);
    request.topics[0].topic_id = id;
    assert_eq!(commit(&mut harness, 10, request.clone()), [0]);
    request.topics[0].topic_id = [9; 16];
    assert_eq!(commit(&mut harness, 10, request), [100]);
    let topic = |topic_id| OffsetFetchRequestTopics { topic_id, partition_indexes: vec![0], ..Default::default() };
    let group = OffsetFetchRequestGroup { topics: Some(vec![topic(id), topic([9; 16])]), ..fetching(None) };
    let groups = vec![group, fetching(None)];
    let response = harness.call(1, 10, OffsetFetchRequest { groups, ..Default::default() });
    let found = |group: usize| {
        let topics = response.groups[group].topics.iter();
        topics.map(|topic| (topic.topic_id, topic.partitions[0].committed_offset, topic.partitions[0].error_code))
    };
    assert_eq!(found(0).collect::<Vec<_>>(), [(id, 3, 0), ([9; 16], -1, 100)]);
    assert_eq!(found(1).collect::<Vec<_>>(), [(id, 3, 0)]);
}

#[test]
fn what_is_wrong_with_a_commit_is_said_for_each_partition() {
    let mut harness = harness(&[("offset.metadata.max.bytes", "3")]);
    assert_eq!(commit(&mut harness, 9, committing("t", &[(0, 1), (2, 1)])), [0, 3]);
    assert_eq!(commit(&mut harness, 9, committing("absent", &[(0, 1)])), [3]);
    let mut long = committing("t", &[(0, 2), (1, 2)]);
    long.topics[0].partitions[1].committed_metadata = Some("four".into());
    assert_eq!(commit(&mut harness, 9, long), [0, 12]);
    let generation = |group: &str| OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: 1,
        member_id: "x".into(),
        ..committing("t", &[(0, 9)])
    };
    assert_eq!(commit(&mut harness, 9, generation("absent")), [69]);
    assert_eq!(commit(&mut harness, 8, generation("absent")), [22]);
    assert_eq!(commit(&mut harness, 8, generation("g")), [25]);
    assert_eq!(all(&mut harness), [("t".into(), 0, 2)]);
}

#[test]
fn members_commit_with_their_generation_and_strangers_only_while_the_group_is_empty() {
    let mut harness = harness(&[]);
    let protocol = join_group::JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        group_instance_id: Some("i".into()),
        ..Default::default()
    };
    let joined = harness.call(1, 9, join);
    let member = OffsetCommitRequest {
        generation_id_or_member_epoch: 1,
        member_id: joined.member_id.clone(),
        group_instance_id: Some("i".into()),
        ..committing("t", &[(0, 5)])
    };
    assert_eq!(commit(&mut harness, 9, member.clone()), [27], "the assignment is not there yet");
    let member_id = joined.member_id;
    let sync = SyncGroupRequest { group_id: "g".into(), generation_id: 1, member_id, ..Default::default() };
    assert_eq!(harness.call(1, 5, sync).error_code, 0);
    assert_eq!(commit(&mut harness, 9, committing("t", &[(0, 1)])), [25]);
    let with = |generation: i32, member_id: &str| OffsetCommitRequest {
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        ..member.clone()
    };
    assert_eq!(commit(&mut harness, 9, with(2, &member.member_id)), [22]);
    assert_eq!(commit(&mut harness, 9, with(1, "other")), [82]);
    // A commit keeps the session as a heartbeat does.
    for _ in 0..3 {
        harness.pass(Duration::from_secs(9));
        assert_eq!(commit(&mut harness, 9, member.clone()), [0]);
    }
    harness.pass(Duration::from_secs(10));
    assert_eq!(commit(&mut harness, 9, member), [25], "the session has ended");
    assert_eq!(commit(&mut harness, 9, committing("t", &[(0, 6)])), [0]);
}

fn pend(harness: &mut Harness, producer_id: i64, offsets: &[(i32, i64)]) -> Vec<i16> {
    let partition = |(partition_index, committed_offset): &(i32, i64)| TxnOffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        ..Default::default()
    };
    let partitions = offsets.iter().map(partition).collect();
    let topics = vec![TxnOffsetCommitRequestTopic { name: "t".into(), partitions }];
    let request = TxnOffsetCommitRequest { group_id: "g".into(), producer_id, topics, ..Default::default() };
    let context = harness.context::<TxnOffsetCommitRequest>(1, 3);
    let topics = harness.state.pend_offsets(&context, &request);
    topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

#[test]
fn offsets_of_a_transaction_count_when_it_is_committed_and_are_unstable_before() {
    let mut harness = harness(&[]);
    commit(&mut harness, 9, committing("t", &[(0, 1)]));
    assert_eq!(pend(&mut harness, 1, &[(0, 10), (2, 10)]), [0, 3]);
    assert_eq!(pend(&mut harness, 2, &[(1, 20)]), [0]);
    let asked: &[(&str, &[i32])] = &[("t", &[0])];
    let unstable = &fetch(&mut harness, true, fetching(Some(asked)))[0].partitions[0];
    assert_eq!((unstable.committed_offset, unstable.error_code), (-1, 88));
    assert_eq!(all(&mut harness), [("t".into(), 0, 1)]);
    harness.state.end_pending_offsets(2, false);
    harness.state.end_pending_offsets(1, true);
    assert_eq!(fetch(&mut harness, true, fetching(Some(asked)))[0].partitions[0].committed_offset, 10);
    assert_eq!(all(&mut harness), [("t".into(), 0, 10)]);
    // Of two commits the later one counts, not the one whose transaction ended later.
    pend(&mut harness, 1, &[(0, 30)]);
    commit(&mut harness, 9, committing("t", &[(0, 31)]));
    harness.state.end_pending_offsets(1, true);
    assert_eq!(all(&mut harness), [("t".into(), 0, 31)]);
}

#[test]
fn offsets_and_their_group_are_forgotten_after_the_retention_time() {
    let mut harness = harness(&[("offsets.retention.minutes", "1440")]);
    commit(&mut harness, 9, committing("t", &[(0, 1)]));
    harness.pass(DAY / 2);
    commit(&mut harness, 9, committing("t", &[(1, 2)]));
    pend(&mut harness, 1, &[(0, 3)]);
    harness.pass(DAY / 2 + Duration::from_secs(600));
    assert_eq!(all(&mut harness).len(), 2, "one hangs on a transaction");
    harness.state.end_pending_offsets(1, false);
    harness.pass(Duration::from_secs(600));
    assert_eq!(all(&mut harness), [("t".into(), 1, 2)]);
    harness.pass(DAY);
    assert!(harness.state.groups.get("g").is_none());
    assert_eq!(harness.state.next_deadline(), None, "nothing is left to look after");
    // Before version 5 a commit could say itself how long it counts.
    let short = OffsetCommitRequest { retention_time_ms: 1000, ..committing_v2("t", &[(0, 1)]) };
    commit(&mut harness, 4, short);
    harness.pass(Duration::from_secs(600));
    assert_eq!(all(&mut harness), []);
}

#[test]
fn another_broker_is_not_asked_for_offsets() {
    let mut harness = Harness::new(2);
    harness.state.create_topic("t", 1, 1, Default::default()).unwrap();
    assert_eq!(commit(&mut harness, 9, committing("t", &[(0, 1)])), [16], "there is no coordinator yet");
    let asking = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    harness.call(1, 4, asking.clone());
    let other = 3 - harness.call(1, 4, asking).coordinators[0].node_id;
    assert_eq!(harness.call(other, 9, committing("t", &[(0, 1)])).topics[0].partitions[0].error_code, 16);
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0] };
    let single = OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    assert_eq!(harness.call(other, 1, single.clone()).topics[0].partitions[0].error_code, 16);
    assert_eq!(harness.call(other, 2, single).error_code, 16);
    let batched = OffsetFetchRequest { groups: vec![fetching(None)], ..Default::default() };
    assert_eq!(harness.call(other, 8, batched).groups[0].error_code, 16);
}
