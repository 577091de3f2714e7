//! Positions that are gone, cut off, unknown or not to be had at the moment.

use crate::support::*;
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::{ApiKey, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use sarameya::{ErrorCode, ErrorKind, OffsetReset, PartitionConsumer, StartOffset};
use std::time::Duration;

/// A topic of ten records, "0" to "9".
fn ten() -> Cluster {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    send_all(&producer, "t", 0, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    cluster
}

fn consumer(cluster: &Cluster, start: StartOffset, reset: OffsetReset) -> PartitionConsumer {
    let builder = PartitionConsumer::builder(&client(cluster), "t", 0).start(start).offset_reset(reset);
    builder.fetch_max_wait(Duration::from_millis(100)).build().unwrap()
}

#[test]
fn o1_a_position_before_the_log_goes_where_the_policy_says_and_is_counted() {
    let cluster = ten();
    cluster.reset_log_start("t", 0, 6).unwrap();
    let mut earliest = consumer(&cluster, StartOffset::Offset(2), OffsetReset::Earliest);
    assert_eq!(read(&mut earliest, 4), ["6", "7", "8", "9"]);
    assert_eq!(earliest.offset_resets(), 1);
    let mut latest = consumer(&cluster, StartOffset::Offset(2), OffsetReset::Latest);
    wait_until("it is at the end", || {
        let _ = latest.next(Duration::from_millis(20)).unwrap();
        latest.position() == Some(10)
    });
    assert_eq!(latest.offset_resets(), 1);
    let mut fails = consumer(&cluster, StartOffset::Offset(2), OffsetReset::Fail);
    let error = fails.next(LIMIT).unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::OffsetOutOfRange, Some(0)), "{error}");
}

#[test]
fn o2_a_position_after_the_log_goes_where_the_policy_says() {
    let cluster = ten();
    let mut earliest = consumer(&cluster, StartOffset::Offset(99), OffsetReset::Earliest);
    assert_eq!(read(&mut earliest, 1), ["0"]);
    assert_eq!(earliest.offset_resets(), 1);
    let mut fails = consumer(&cluster, StartOffset::Offset(99), OffsetReset::Fail);
    assert_eq!(fails.next(LIMIT).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
}

#[test]
fn o2_an_offset_that_is_not_available_yet_is_waited_for() {
    let cluster = ten();
    let mut reader = consumer(&cluster, StartOffset::Offset(3), OffsetReset::Earliest);
    cluster.fail_next_n(ApiKey::FETCH, ErrorCode::OFFSET_NOT_AVAILABLE, 3);
    assert_eq!(read(&mut reader, 2), ["3", "4"]);
    assert_eq!(reader.offset_resets(), 0);
}

#[test]
fn o3_a_log_that_was_cut_is_read_on_from_where_it_was_cut() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder.idempotence(false));
    send_all(&producer, "t", 0, &["0", "1", "2", "3", "4"]);
    let mut reader = consumer(&cluster, StartOffset::Earliest, OffsetReset::Earliest);
    let mut strict = consumer(&cluster, StartOffset::Earliest, OffsetReset::Fail);
    for reader in [&mut reader, &mut strict] {
        assert_eq!(read(reader, 5), ["0", "1", "2", "3", "4"]);
    }
    cluster.truncate("t", 0, 3).unwrap();
    send_all(&producer, "t", 0, &["new 3", "new 4", "new 5"]);
    assert_eq!(read(&mut reader, 3), ["new 3", "new 4", "new 5"], "from the place of the cut, none twice");
    let error = strict.next(LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
    assert!(error.to_string().contains("from offset 5 to 3"), "{error}");
}

#[test]
fn o4_an_epoch_that_the_leader_does_not_know_is_no_data_loss() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["0", "1"]);
    let mut reader = consumer(&cluster, StartOffset::Earliest, OffsetReset::Fail);
    assert_eq!(read(&mut reader, 2), ["0", "1"]);
    cluster.rewrite::<OffsetForLeaderEpochRequest>(|response| {
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            (partition.leader_epoch, partition.end_offset) = (-1, -1);
        }
    });
    cluster.move_leader("t", 0, 1).unwrap();
    cluster.move_leader("t", 0, 2).unwrap();
    send_all(&producer, "t", 0, &["2"]);
    assert_eq!(read(&mut reader, 1), ["2"]);
    assert_eq!(reader.offset_resets(), 0);
}

#[test]
fn o5_a_fenced_or_unknown_epoch_is_looked_up_and_the_offset_kept() {
    let cluster = ten();
    let mut reader = consumer(&cluster, StartOffset::Offset(4), OffsetReset::Fail);
    for code in [ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::UNKNOWN_LEADER_EPOCH, ErrorCode::NOT_LEADER_OR_FOLLOWER] {
        cluster.fail_next(ApiKey::FETCH, code);
    }
    assert_eq!(read(&mut reader, 3), ["4", "5", "6"]);
    assert_eq!(reader.offset_resets(), 0);
}

#[test]
fn o6_what_was_fetched_before_a_seek_is_not_handed_out_after_it() {
    let cluster = ten();
    let mut reader = consumer(&cluster, StartOffset::Earliest, OffsetReset::Fail);
    assert_eq!(read(&mut reader, 2), ["0", "1"]);
    cluster.delay(ApiKey::FETCH, Duration::from_millis(100));
    for start in [7, 3, 5, 0, 8] {
        reader.seek(StartOffset::Offset(start)).unwrap();
        assert_eq!(read(&mut reader, 2), [start.to_string(), (start + 1).to_string()]);
    }
}

#[test]
fn o7_errors_of_an_offset_look_up_are_tried_again_and_move_nothing() {
    let cluster = ten();
    for code in [
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::KAFKA_STORAGE_ERROR,
    ] {
        cluster.fail_next_n(ApiKey::LIST_OFFSETS, code, 2);
        let mut reader = consumer(&cluster, StartOffset::Earliest, OffsetReset::Fail);
        assert_eq!(read(&mut reader, 1), ["0"], "{code}");
        assert_eq!(reader.offset_resets(), 0);
    }
}

#[test]
fn o8_a_committed_offset_beyond_the_end_follows_the_policy_once() {
    let cluster = ten();
    let client = client(&cluster);
    let member = Member::start(group(&client, "g1"), &["t"]);
    wait_until("all is committed", || cluster.committed("g1").values().any(|committed| committed.offset == 10));
    member.stop().unwrap();
    sarameya::Admin::new(&client).delete_topics(&["t"]).unwrap().into_iter().for_each(|(_, gone)| gone.unwrap());
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["new 0", "new 1"]);
    let member = Member::start(group(&client, "g1").offset_reset(OffsetReset::Earliest), &["t"]);
    wait_until("the new records are read", || member.seen.offsets("t", 0) == [0, 1]);
    member.stop().unwrap();
}

#[test]
fn o9_a_claim_waits_for_its_committed_offset_and_never_starts_by_policy_instead() {
    let cluster = ten();
    let client = client(&cluster);
    let member = Member::start(group(&client, "g1"), &["t"]);
    wait_until("all is committed", || cluster.committed("g1").values().any(|committed| committed.offset == 10));
    member.stop().unwrap();
    for code in [
        ErrorCode::UNSTABLE_OFFSET_COMMIT,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ] {
        cluster.fail_next_n(ApiKey::OFFSET_FETCH, code, 3);
        let before = cluster.log_end_offset("t", 0).unwrap();
        let member = Member::start(group(&client, "g1"), &["t"]);
        wait_until("the claim runs", || member.seen.claims().len() == 1);
        let producer = sync_producer(&client, |builder| builder);
        send_all(&producer, "t", 0, &["more"]);
        wait_until("it is read", || !member.seen.offsets("t", 0).is_empty());
        assert_eq!(member.seen.offsets("t", 0), [before], "{code}: nothing is read again");
        member.stop().unwrap();
    }
}

#[test]
fn o10_a_negative_offset_is_not_an_offset() {
    let cluster = ten();
    cluster.rewrite::<ListOffsetsRequest>(|response| {
        response.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| partition.offset = -5);
    });
    let mut reader = consumer(&cluster, StartOffset::Earliest, OffsetReset::Fail);
    cluster.wait_for_requests(ApiKey::LIST_OFFSETS, 2, LIMIT).unwrap();
    let asked_at = |request: FetchRequest| {
        let partitions = request.topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|partition| partition.fetch_offset).collect::<Vec<_>>()
    };
    assert!(cluster.requests_of::<FetchRequest>().into_iter().flat_map(asked_at).all(|offset| offset >= 0));
    cluster.clear_faults();
    assert_eq!(read(&mut reader, 1), ["0"]);
}

#[test]
fn o1_starts_are_found_on_any_cluster() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    let producer = sync_producer(&client, |builder| builder);
    for (n, time) in [1_000, 2_000, 3_000].into_iter().enumerate() {
        let value = n.to_string();
        let record = sarameya::ProducerRecord::new(&topic).value(&value).timestamp(1_700_000_000_000 + time);
        producer.send(&record).unwrap();
    }
    let start = |start| PartitionConsumer::builder(&client, &topic, 0).start(start).build().unwrap();
    assert_eq!(read(&mut start(StartOffset::Earliest), 1), ["0"]);
    assert_eq!(read(&mut start(StartOffset::Offset(1)), 1), ["1"]);
    assert_eq!(read(&mut start(StartOffset::Timestamp(1_700_000_001_001)), 1), ["1"]);
    assert_eq!(read(&mut start(StartOffset::Timestamp(1_700_000_002_001)), 1), ["2"]);
    let mut latest = start(StartOffset::Latest);
    wait_until("it stands at the end", || {
        let _ = latest.next(Duration::from_millis(20)).unwrap();
        latest.position() == Some(3)
    });
}
