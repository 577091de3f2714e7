use super::super::test_records::*;
use super::super::test_support::Harness;
use super::*;
use crate::protocol::messages::fetch::{FetchPartition, FetchTopic};
use bytes::Bytes;
use std::collections::BTreeMap;

fn harness() -> Harness {
    let mut harness = Harness::new(1);
    harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
    harness
}

fn waiting(offset: i64, min_bytes: i32) -> FetchRequest {
    FetchRequest { max_wait_ms: 500, min_bytes, ..fetch_request(offset) }
}

fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn batches_come_back_as_they_were_written() {
    let mut harness = harness();
    for _ in 0..3 {
        produce(&mut harness, &batch(2));
    }
    let data = fetch(&mut harness, fetch_request(0));
    assert_eq!(offsets(&data), [0, 1, 2, 3, 4, 5]);
    assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (6, 6, 0));
    assert_eq!(data.aborted_transactions, None);
    assert_eq!(offsets(&fetch(&mut harness, fetch_request(3))), [2, 3, 4, 5], "the whole batch that holds it");
    for outside in [-1, 7] {
        let data = fetch(&mut harness, fetch_request(outside));
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::OFFSET_OUT_OF_RANGE.0, -1));
    }
    assert_eq!(fetch(&mut harness, fetch_request(6)).records, Some(Bytes::new()));
}

#[test]
fn every_version_is_answered() {
    let mut harness = harness();
    produce(&mut harness, &batch(2));
    let id = harness.state.topics.get("t").unwrap().id;
    for version in 4..=18 {
        let mut request = fetch_request(0);
        request.topics[0].topic_id = id;
        let response = harness.call(1, version, request);
        assert_eq!(offsets(&response.responses[0].partitions[0]), [0, 1], "{version}");
        assert_eq!(response.responses[0].topic_id, if version < 13 { [0; 16] } else { id });
    }
}

#[test]
fn the_first_batch_is_whole_and_the_limits_go_for_the_rest() {
    let mut harness = Harness::new(1);
    harness.state.create_topic_on("t", vec![vec![1]; 3], BTreeMap::new()).unwrap();
    let size = batch(1).bytes().len();
    for index in 0..3 {
        for _ in 0..2 {
            let mut request = produce_request(1, Some(batch(1).bytes()));
            request.topic_data[0].partition_data[0].index = index;
            harness.call(1, 12, request);
        }
    }
    let sizes = |harness: &mut Harness, max_bytes: usize, partition_max_bytes: usize| -> Vec<usize> {
        let mut request = fetch_request(0);
        request.max_bytes = max_bytes as i32;
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes as i32;
        for index in 1..3 {
            let mut partition = request.topics[0].partitions[0].clone();
            partition.partition = index;
            request.topics[0].partitions.push(partition);
        }
        let response = harness.call(1, 12, request);
        response.responses[0].partitions.iter().map(|data| data.records.as_ref().unwrap().len()).collect()
    };
    assert_eq!(sizes(&mut harness, 1 << 20, 1 << 20), [2 * size; 3]);
    assert_eq!(sizes(&mut harness, 1, 1), [size, 0, 0], "progress is always made");
    assert_eq!(sizes(&mut harness, 1 << 20, size), [size; 3]);
    assert_eq!(sizes(&mut harness, 3 * size + 5, 1 << 20), [2 * size, size + 5, 0], "cut to the byte");
}

#[test]
fn a_fetch_waits_for_enough_bytes_or_its_time() {
    let mut harness = harness();
    let size = batch(1).bytes().len() as i32;
    let connection = harness.connect();
    assert!(harness.send(connection, 1, 12, waiting(0, 2 * size)).is_none());
    produce(&mut harness, &batch(1));
    assert!(harness.answer::<FetchRequest>(connection, 12).is_none());
    produce(&mut harness, &batch(1));
    let response = harness.answer::<FetchRequest>(connection, 12).unwrap();
    assert_eq!(offsets(&response.responses[0].partitions[0]), [0, 1]);
    assert!(harness.state.timers.next().is_none_or(|at| at > milliseconds(500)), "no timer is left");

    assert!(harness.send(connection, 1, 12, waiting(1, 2 * size)).is_none());
    harness.pass(milliseconds(499));
    assert!(harness.answer::<FetchRequest>(connection, 12).is_none());
    harness.pass(milliseconds(1));
    let response = harness.answer::<FetchRequest>(connection, 12).unwrap();
    assert_eq!(offsets(&response.responses[0].partitions[0]), [1]);
}

#[test]
fn the_brokers_limit_goes_for_what_is_read_and_what_is_waited_for() {
    let mut harness = Harness::with(1, &[("fetch.max.bytes", "1024")]);
    harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
    for _ in 0..20 {
        produce(&mut harness, &batch(1));
    }
    assert_eq!(fetch(&mut harness, waiting(0, 1 << 20)).records.unwrap().len(), 1024);
}

#[test]
fn no_more_of_a_partition_counts_than_may_be_read_of_it() {
    let mut harness = harness();
    let size = batch(1).bytes().len() as i32;
    for _ in 0..3 {
        produce(&mut harness, &batch(1));
    }
    let mut request = waiting(0, 2 * size);
    request.topics[0].partitions[0].partition_max_bytes = size;
    let connection = harness.connect();
    assert!(harness.send(connection, 1, 12, request).is_none());
    harness.pass(milliseconds(500));
    let response = harness.answer::<FetchRequest>(connection, 12).unwrap();
    assert_eq!(offsets(&response.responses[0].partitions[0]), [0]);
}

#[test]
fn replicas_read_from_the_leader_alone() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on("t", vec![vec![1, 2]], BTreeMap::new()).unwrap();
    let request = FetchRequest { replica_id: 1, ..fetch_request(0) };
    let code = harness.call(2, 12, request).responses[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::NOT_LEADER_OR_FOLLOWER.0);
}

#[test]
fn a_topic_of_zstd_is_not_for_readers_that_do_not_know_it() {
    let mut harness = Harness::new(1);
    let configs = BTreeMap::from([("compression.type".to_owned(), "zstd".to_owned())]);
    harness.state.create_topic("t", 1, 1, configs).unwrap();
    for (version, code) in [(9, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE), (10, ErrorCode::NONE)] {
        assert_eq!(harness.call(1, version, fetch_request(0)).responses[0].partitions[0].error_code, code.0);
    }
}

#[test]
fn a_fetch_of_a_client_that_has_gone_is_forgotten() {
    let mut harness = harness();
    let connection = harness.connect();
    assert!(harness.send(connection, 1, 12, waiting(0, 1)).is_none());
    harness.state.connection_closed(connection);
    produce(&mut harness, &batch(1));
    assert!(harness.answer::<FetchRequest>(connection, 12).is_none());
    assert!(harness.state.fetches.parked.is_empty() && harness.state.fetches.waiting.is_empty());
}

#[test]
fn a_change_of_leaders_ends_the_wait_with_the_new_leader() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on("t", vec![vec![1, 2]], BTreeMap::new()).unwrap();
    let id = harness.state.topics.get("t").unwrap().id;
    let connection = harness.connect();
    let mut request = waiting(0, 1);
    request.topics[0].topic_id = id;
    request.topics[0].partitions[0].current_leader_epoch = 0;
    assert!(harness.send(connection, 1, 17, request).is_none());
    harness.state.truncate("t", 0, 0).unwrap();
    let response = harness.answer::<FetchRequest>(connection, 17).unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, ErrorCode::FENCED_LEADER_EPOCH.0);
    assert_eq!((data.current_leader.leader_id, data.current_leader.leader_epoch), (2, 1));
    assert_eq!(response.node_endpoints[0].node_id, 2);
}

#[test]
fn epochs_are_checked_before_the_leader() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on("t", vec![vec![1, 2]], BTreeMap::new()).unwrap();
    harness.state.truncate("t", 0, 0).unwrap();
    let mut codes = Vec::new();
    for (broker, epoch) in [(2, 0), (2, 1), (2, 2), (1, 1), (1, 0)] {
        let mut request = fetch_request(0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        codes.push(harness.call(broker, 10, request).responses[0].partitions[0].error_code);
    }
    let fenced = ErrorCode::FENCED_LEADER_EPOCH.0;
    let expected = [fenced, 0, ErrorCode::UNKNOWN_LEADER_EPOCH.0, ErrorCode::NOT_LEADER_OR_FOLLOWER.0, fenced];
    assert_eq!(codes, expected);
    // From version 11 on a consumer may read from a follower.
    assert_eq!(harness.call(1, 11, fetch_request(0)).responses[0].partitions[0].error_code, 0);
}

#[test]
fn a_reader_whose_history_was_cut_is_told_where() {
    let mut harness = harness();
    produce(&mut harness, &batch(5));
    harness.state.truncate("t", 0, 3).unwrap();
    produce(&mut harness, &batch(4));
    let after = |offset: i64, last_epoch: i32| {
        let mut request = waiting(offset, 1);
        request.topics[0].partitions[0].last_fetched_epoch = last_epoch;
        request
    };
    let data = fetch(&mut harness, after(5, 0));
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (0, 3));
    assert_eq!(data.records, Some(Bytes::new()));
    assert_eq!(offsets(&fetch(&mut harness, after(3, 0))), [3, 4, 5, 6]);
    assert_eq!(fetch(&mut harness, after(3, 9)).error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    // An epoch that this log has not seen, between two that it has.
    for _ in 0..2 {
        harness.state.truncate("t", 0, 5).unwrap();
    }
    produce(&mut harness, &batch(1));
    let data = fetch(&mut harness, after(4, 2));
    assert_eq!((data.diverging_epoch.epoch, data.diverging_epoch.end_offset), (1, 5));
    harness.state.topics.partition_mut("t", 0).unwrap().log.advance_start(2);
    assert_eq!(fetch(&mut harness, after(1, 2)).error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0, "it is deleted");
}

#[test]
fn committed_readers_stop_at_open_transactions_and_get_the_aborted_ones() {
    let mut harness = harness();
    produce(&mut harness, &batch(1));
    let write = |harness: &mut Harness, sequence| {
        let batch = Batch { transactional: true, ..idempotent(1, 9, 0, sequence) };
        let super::super::log::Checked::Sound(batch) = super::super::log::check(Some(&batch.bytes()), true) else {
            panic!("a sound batch")
        };
        let config = super::super::log::LogConfig::of(harness.state.topics.get("t").unwrap(), &harness.state.settings);
        let log = &mut harness.state.topics.partition_mut("t", 0).unwrap().log;
        log.append(batch, &config, 0, START_MS).unwrap();
    };
    write(&mut harness, 0);
    let committed = |request: FetchRequest| FetchRequest { isolation_level: 1, ..request };
    let data = fetch(&mut harness, committed(fetch_request(0)));
    assert_eq!((offsets(&data), data.last_stable_offset), (vec![0], 1));
    assert_eq!(data.aborted_transactions, Some(Vec::new()));
    assert_eq!(offsets(&fetch(&mut harness, fetch_request(0))), [0, 1]);

    let connection = harness.connect();
    assert!(harness.send(connection, 1, 12, committed(waiting(1, 1))).is_none());
    let marker = super::super::log::Marker { producer_id: 9, producer_epoch: 0, commit: false, coordinator_epoch: 0 };
    assert_eq!(harness.state.end_transaction("t", 0, &marker, harness.now), Ok(2));
    let response = harness.answer::<FetchRequest>(connection, 12).unwrap();
    let data = &response.responses[0].partitions[0];
    let aborted = data.aborted_transactions.as_ref().unwrap();
    assert_eq!((aborted[0].producer_id, aborted[0].first_offset, aborted.len()), (9, 1, 1));
    assert_eq!(offsets(data), [1, 2]);
}

#[test]
fn the_leader_names_the_replica_in_the_readers_rack() {
    let mut harness = Harness::with(3, &[("replica.selector.class", "org.apache.kafka.RackAwareReplicaSelector")]);
    for (id, rack) in [(1, "a"), (2, "b"), (3, "b")] {
        harness.state.brokers.get_mut(id).unwrap().rack = Some(rack.into());
    }
    harness.state.create_topic_on("t", vec![vec![1, 2, 3]], BTreeMap::new()).unwrap();
    produce(&mut harness, &batch(1));
    let from = |rack: &str| FetchRequest { rack_id: rack.into(), ..waiting(0, 1) };
    let data = fetch(&mut harness, from("b"));
    assert_eq!((data.preferred_read_replica, data.records, data.high_watermark), (2, Some(Bytes::new()), 1));
    let session = |id, epoch, topics| FetchRequest { rack_id: "b".into(), ..in_session(id, epoch, topics) };
    let id = harness.call(1, 12, session(0, 0, fetch_request(0).topics)).session_id;
    let again = harness.call(1, 12, session(id, 1, Vec::new()));
    assert_eq!(again.responses[0].partitions[0].preferred_read_replica, 2, "as often as it is asked");
    for rack in ["a", "c", ""] {
        let data = fetch(&mut harness, from(rack));
        assert_eq!((data.preferred_read_replica, offsets(&data)), (-1, vec![0]), "{rack}");
    }
    assert_eq!(offsets(&harness.call(2, 12, from("b")).responses[0].partitions[0]), [0], "the follower reads");
    harness.state.broker_stopped(2);
    assert_eq!(fetch(&mut harness, from("b")).preferred_read_replica, 3);
}

fn in_session(id: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest { session_id: id, session_epoch: epoch, topics, ..fetch_request(0) }
}

#[test]
fn a_session_remembers_and_tells_only_what_changed() {
    let mut harness = Harness::new(1);
    harness.state.create_topic_on("t", vec![vec![1]; 2], BTreeMap::new()).unwrap();
    let mut topics = fetch_request(0).topics;
    let mut second = topics[0].partitions[0].clone();
    second.partition = 1;
    topics[0].partitions.push(second);
    let opened = harness.call(1, 12, in_session(0, 0, topics));
    assert_eq!((opened.responses[0].partitions.len(), opened.error_code), (2, 0));
    let id = opened.session_id;
    assert!(id > 0);

    let quiet = harness.call(1, 12, in_session(id, 1, Vec::new()));
    assert_eq!((quiet.responses.len(), quiet.session_id), (0, id));
    produce(&mut harness, &batch(1));
    let changed = harness.call(1, 12, in_session(id, 2, Vec::new()));
    assert_eq!(changed.responses[0].partitions.len(), 1);
    assert_eq!(offsets(&changed.responses[0].partitions[0]), [0]);

    let moved = fetch_request(1).topics;
    assert!(harness.call(1, 12, in_session(id, 3, moved)).responses.is_empty());
    let stale = harness.call(1, 12, in_session(id, 3, Vec::new()));
    assert_eq!(stale.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH.0);
    let unknown = harness.call(1, 12, in_session(id + 1, 4, Vec::new()));
    assert_eq!(unknown.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0);
    let by_id = harness.call(1, 13, in_session(id, 4, Vec::new()));
    assert_eq!(by_id.error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR.0);

    let forget = FetchRequest {
        forgotten_topics_data: vec![ForgottenTopic { topic: "t".into(), partitions: vec![0, 1], ..Default::default() }],
        ..in_session(id, 4, Vec::new())
    };
    let ended = harness.call(1, 12, forget);
    assert_eq!((ended.session_id, ended.responses.len()), (0, 0));
    let gone = harness.call(1, 12, in_session(id, 5, Vec::new()));
    assert_eq!(gone.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0);
}

#[test]
fn a_session_tells_of_a_new_start_and_of_a_history_that_was_cut() {
    let mut harness = harness();
    produce(&mut harness, &batch(5));
    harness.state.truncate("t", 0, 3).unwrap();
    produce(&mut harness, &batch(1));
    let opened = harness.call(1, 12, in_session(0, 0, fetch_request(4).topics));
    let id = opened.session_id;
    harness.state.topics.partition_mut("t", 0).unwrap().log.advance_start(1);
    let deleted = harness.call(1, 12, in_session(id, 1, Vec::new()));
    assert_eq!(deleted.responses[0].partitions[0].log_start_offset, 1);
    let mut topics = fetch_request(4).topics;
    topics[0].partitions[0].last_fetched_epoch = 0;
    let cut = harness.call(1, 12, in_session(id, 2, topics));
    assert_eq!(cut.responses[0].partitions[0].diverging_epoch.end_offset, 3);
}

#[test]
fn a_request_whose_session_went_on_while_it_waited_is_refused() {
    let mut harness = harness();
    let id = harness.call(1, 12, in_session(0, 0, fetch_request(0).topics)).session_id;
    let connection = harness.connect();
    let patient = FetchRequest { max_wait_ms: 500, ..in_session(id, 1, Vec::new()) };
    assert!(harness.send(connection, 1, 12, patient).is_none());
    assert_eq!(harness.call(1, 12, in_session(id, 2, Vec::new())).error_code, 0, "over another connection");
    produce(&mut harness, &batch(1));
    let response = harness.answer::<FetchRequest>(connection, 12).unwrap();
    assert_eq!(response.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH.0);
}

#[test]
fn an_error_is_repeated_in_a_session_and_its_end_is_told() {
    let mut harness = harness();
    let opened = harness.call(1, 12, in_session(0, 0, fetch_request(5).topics));
    assert_eq!(opened.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    let again = harness.call(1, 12, in_session(opened.session_id, 1, Vec::new()));
    assert_eq!(again.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    let well = harness.call(1, 12, in_session(opened.session_id, 2, fetch_request(0).topics));
    assert_eq!(well.responses[0].partitions[0].error_code, 0);
}

#[test]
fn partitions_that_were_read_go_to_the_end() {
    let mut harness = Harness::new(1);
    harness.state.create_topic_on("t", vec![vec![1]; 2], BTreeMap::new()).unwrap();
    let mut topics = fetch_request(0).topics;
    for index in 0..2 {
        let mut request = produce_request(1, Some(batch(1).bytes()));
        request.topic_data[0].partition_data[0].index = index;
        harness.call(1, 12, request);
    }
    let mut second = topics[0].partitions[0].clone();
    second.partition = 1;
    topics[0].partitions.push(second);
    let small = |request: FetchRequest| FetchRequest { max_bytes: 1, ..request };
    let opened = harness.call(1, 12, small(in_session(0, 0, topics)));
    let mut read = Vec::new();
    for epoch in 1..5 {
        let response = harness.call(1, 12, small(in_session(opened.session_id, epoch, Vec::new())));
        let has_records = |data: &&PartitionData| !data.records.as_ref().unwrap().is_empty();
        let partitions = &response.responses[0].partitions;
        read.extend(partitions.iter().filter(has_records).map(|data| data.partition_index));
    }
    assert_eq!(read, [0, 1, 0, 1]);
}

#[test]
fn sessions_are_bounded_and_old_ones_make_room() {
    let mut harness = Harness::with(1, &[("max.incremental.fetch.session.cache.slots", "2")]);
    harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
    let open = |harness: &mut Harness| harness.call(1, 12, in_session(0, 0, fetch_request(0).topics)).session_id;
    let (first, second) = (open(&mut harness), open(&mut harness));
    assert!(first > 0 && second > 0);
    assert_eq!(open(&mut harness), 0, "no room");
    harness.pass(Duration::from_secs(100));
    harness.call(1, 12, in_session(second, 1, Vec::new()));
    harness.pass(Duration::from_secs(21));
    assert!(open(&mut harness) > 0);
    let evicted = harness.call(1, 12, in_session(first, 1, Vec::new()));
    assert_eq!(evicted.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0);
    assert_eq!(harness.call(1, 12, in_session(second, 2, Vec::new())).error_code, 0);
    harness.state.broker_stopped(1);
    assert_eq!(
        harness.call(1, 12, in_session(second, 3, Vec::new())).error_code,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0
    );
}

#[test]
fn a_session_makes_room_for_a_larger_one_once_it_has_had_its_time() {
    let mut harness = Harness::with(1, &[("max.incremental.fetch.session.cache.slots", "1")]);
    harness.state.create_topic_on("t", vec![vec![1]; 2], BTreeMap::new()).unwrap();
    let open = |harness: &mut Harness, partitions: i32| {
        let mut topics = fetch_request(0).topics;
        let partition = topics[0].partitions.remove(0);
        topics[0].partitions =
            (0..partitions).map(|index| FetchPartition { partition: index, ..partition.clone() }).collect();
        harness.call(1, 12, in_session(0, 0, topics)).session_id
    };
    let first = open(&mut harness, 1);
    harness.pass(Duration::from_secs(100));
    harness.call(1, 12, in_session(first, 1, Vec::new()));
    harness.pass(Duration::from_secs(30));
    assert_eq!(open(&mut harness, 2), 0, "it was not old when it was used last");
    harness.call(1, 12, in_session(first, 2, Vec::new()));
    assert_eq!(open(&mut harness, 1), 0, "as large is not larger");
    assert!(open(&mut harness, 2) > 0);
    let evicted = harness.call(1, 12, in_session(first, 3, Vec::new()));
    assert_eq!(evicted.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0);
}

#[test]
fn unknown_topics_and_partitions_are_told() {
    let mut harness = harness();
    let mut request = waiting(0, 1);
    request.topics[0].partitions[0].partition = 5;
    let data = fetch(&mut harness, request);
    assert_eq!(data.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    let mut request = fetch_request(0);
    request.topics[0].topic_id = [9; 16];
    let response = harness.call(1, 13, request);
    assert_eq!(response.responses[0].topic_id, [9; 16]);
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID.0);
}

#[test]
fn a_topic_made_anew_is_not_the_one_of_the_session() {
    let mut harness = harness();
    let mut topics = fetch_request(0).topics;
    topics[0].topic_id = harness.state.topics.get("t").unwrap().id;
    let opened = harness.call(1, 13, in_session(0, 0, topics.clone()));
    assert_eq!(opened.responses[0].partitions[0].error_code, 0);
    harness.state.topics.remove("t");
    let gone = harness.call(1, 13, in_session(opened.session_id, 1, Vec::new()));
    assert_eq!(gone.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    let named = harness.call(1, 13, in_session(opened.session_id, 2, topics));
    assert_eq!(named.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, "it had a name");
    harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
    let other = harness.call(1, 13, in_session(opened.session_id, 3, Vec::new()));
    assert_eq!(other.responses[0].partitions[0].error_code, ErrorCode::INCONSISTENT_TOPIC_ID.0);
}
