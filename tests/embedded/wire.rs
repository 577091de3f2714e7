//! Answers that are damaged, lie, or are not for the request.

use crate::support::*;
use sarameya::embedded::{Cluster, Garble, Intercept};
use sarameya::protocol::messages::{
    ApiKey, FetchRequest, FindCoordinatorRequest, HeartbeatRequest, ProduceRequest, ProduceResponse,
};
use sarameya::{Acks, ErrorCode, ErrorKind, ProducerRecord};
use std::time::Duration;

const GARBLES: [Garble; 7] = [
    Garble::CorrelationId,
    Garble::ShortBody,
    Garble::Truncated,
    Garble::RandomBody,
    Garble::RandomBytes,
    Garble::HugeLength,
    Garble::NegativeLength,
];

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

#[test]
fn w1_to_w9_damaged_answers_to_produce_lose_and_duplicate_nothing() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&hasty_client(&cluster), |builder| builder.delivery_timeout(LIMIT));
    for (n, garble) in (0..).zip(GARBLES.into_iter().cycle().take(21)) {
        cluster.garble_next(ApiKey::PRODUCE, garble);
        assert_eq!(send_all(&producer, "t", 0, &[&n.to_string()]), [n], "{garble:?}");
    }
    let mut reader = reader(&client(&cluster), "t", 0);
    assert_eq!(read(&mut reader, 21), numbers(21));
    assert_eq!(cluster.log_end_offset("t", 0).unwrap(), 21);
}

#[test]
fn w1_to_w9_damaged_answers_to_fetch_skip_and_repeat_nothing() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    let mut reader = reader(&hasty_client(&cluster), "t", 0);
    for (n, garble) in GARBLES.into_iter().cycle().take(21).enumerate() {
        cluster.garble_next(ApiKey::FETCH, garble);
        // What is planned goes for the next request, not for the one that waits for data already.
        cluster.wait_for_requests(ApiKey::FETCH, cluster.requests(ApiKey::FETCH).len() + 1, LIMIT).unwrap();
        send_all(&producer, "t", 0, &[&n.to_string()]);
        // An answer over the limit is told, as it may stay so; no error ends the partition.
        let record = loop {
            match reader.next(LIMIT) {
                Ok(record) => break record.expect("a record in time"),
                Err(error) => assert!(!reader.is_stopped(), "{garble:?}: {error}"),
            }
        };
        assert_eq!(record.value(), Some(n.to_string().as_bytes()), "{garble:?}");
    }
}

#[test]
fn w1_to_w9_damaged_answers_to_metadata_and_version_requests_delay_a_start_and_no_more() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    for api in [ApiKey::METADATA, ApiKey::API_VERSIONS] {
        for garble in GARBLES {
            cluster.garble_next(api, garble);
            let builder = settings(cluster.bootstrap_servers()).request_timeout(SHORT);
            // One attempt may hang until its own deadline; the start has more time than that.
            match builder.connection_setup_timeout(4 * SHORT).build() {
                Ok(client) => assert_eq!(client.partition_count("t").unwrap(), 1),
                // What can't be Kafka is told at once.
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Protocol | ErrorKind::TooLarge | ErrorKind::Timeout),
                    "{api:?} {garble:?}: {error}"
                ),
            }
            cluster.clear_faults();
        }
    }
    assert_eq!(client(&cluster).partition_count("t").unwrap(), 1);
}

#[test]
fn w1_to_w9_damaged_answers_about_the_group_cost_a_member_nothing_but_time() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    let apis = [
        ApiKey::FIND_COORDINATOR,
        ApiKey::JOIN_GROUP,
        ApiKey::SYNC_GROUP,
        ApiKey::HEARTBEAT,
        ApiKey::OFFSET_COMMIT,
        ApiKey::OFFSET_FETCH,
        ApiKey::LEAVE_GROUP,
    ];
    for (at, api) in (0..).zip(apis) {
        for (n, garble) in (0..).zip([Garble::CorrelationId, Garble::Truncated, Garble::RandomBody]) {
            cluster.garble_next(api, garble);
            let value = format!("{at}-{n}");
            let offset = send_all(&producer, "t", 0, &[&value])[0];
            let member = Member::start(group(&hasty_client(&cluster), "g1"), &["t"]);
            wait_until("the record is read", || member.seen.offsets("t", 0).contains(&offset));
            member.stop().unwrap_or_else(|error| panic!("{api:?} {garble:?}: {error}"));
            let committed = cluster.committed("g1").get(&("t".to_owned(), 0)).map(|c| c.offset);
            assert_eq!(committed, Some(offset + 1), "{api:?} {garble:?}");
            cluster.clear_faults();
        }
    }
}

#[test]
fn w8_an_error_code_that_nobody_knows_is_told_as_it_is_and_not_tried_for_ever() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    send_all(&producer, "t", 0, &["a"]);
    cluster.fail_next(ApiKey::PRODUCE, ErrorCode(9999));
    let error = producer.send(&ProducerRecord::new("t").value("b")).unwrap_err();
    assert_eq!(error.error().code(), Some(ErrorCode(9999)), "{error}");
    assert_eq!((error.error().topic(), error.error().partition()), (Some("t"), Some(0)));
    send_all(&producer, "t", 0, &["c"]);
}

#[test]
fn w11_brokers_of_any_release_are_spoken_to_in_what_they_know() {
    for version in ["1.0", "2.5", "3.9", "4.3"] {
        let cluster = Cluster::builder(1).as_version(version).start().unwrap();
        cluster.create_topic("t", 1).unwrap();
        let client = client(&cluster);
        let producer = sync_producer(&client, |builder| builder);
        assert_eq!(send_all(&producer, "t", 0, &["a", "b"]), [0, 1], "{version}");
        let member = Member::start(group(&client, "g1"), &["t"]);
        wait_until(version, || cluster.committed("g1").values().any(|c| c.offset == 2));
        member.stop().unwrap();
    }
}

#[test]
fn b16_a_broker_that_came_back_in_another_release_is_spoken_to_anew() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    let mut offset = 0;
    for version in ["2.5", "4.3", "1.0", "3.9"] {
        assert_eq!(send_all(&producer, "t", 0, &["v"]), [offset]);
        cluster.set_version(1, version).unwrap();
        assert_eq!(send_all(&producer, "t", 0, &["v"]), [offset + 1], "{version}");
        offset += 2;
    }
}

#[test]
fn w12_an_answer_to_produce_without_the_partition_leaves_the_record_in_doubt() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(2 * SHORT).max_block(SHORT));
    send_all(&producer, "t", 0, &["a"]);
    cluster.rewrite::<ProduceRequest>(|response| response.responses.clear());
    let error = producer.send(&ProducerRecord::new("t").value("b")).unwrap_err();
    assert!(error.is_possibly_persisted(), "{error}");
    cluster.clear_faults();
    send_all(&producer, "t", 0, &["c"]);
    let mut reader = reader(&client, "t", 0);
    assert_eq!(read(&mut reader, 3), ["a", "b", "c"]);
}

#[test]
fn w12_a_partition_that_is_answered_twice_counts_once() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    cluster.rewrite::<ProduceRequest>(|response: &mut ProduceResponse| {
        for topic in &mut response.responses {
            let mut again = topic.partition_responses.clone();
            again.iter_mut().for_each(|partition| partition.base_offset += 1000);
            topic.partition_responses.append(&mut again);
        }
    });
    assert_eq!(send_all(&producer, "t", 0, &["a", "b", "c"]), [0, 1, 2]);
}

#[test]
fn w13_partitions_that_nobody_asked_for_or_that_come_twice_are_handed_out_once() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["a", "b", "c"]);
    cluster.rewrite::<FetchRequest>(|response| {
        for topic in &mut response.responses {
            let mut more = topic.partitions.clone();
            let mut foreign = more.clone();
            foreign.iter_mut().for_each(|partition| partition.partition_index = 1);
            topic.partitions.append(&mut more);
            topic.partitions.append(&mut foreign);
        }
    });
    let mut reader = reader(&client, "t", 0);
    assert_eq!(read(&mut reader, 3), ["a", "b", "c"]);
    send_all(&producer, "t", 0, &["d"]);
    assert_eq!(read(&mut reader, 1), ["d"]);
}

#[test]
fn w14_without_acks_a_send_returns_when_it_is_written_and_has_no_offset() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder.acks(Acks::None));
    for n in 0..100 {
        let sent = producer.send(&ProducerRecord::new("t").value(&n.to_string())).unwrap();
        assert_eq!(sent.offset(), None);
    }
    wait_until("all have come", || cluster.log_end_offset("t", 0).unwrap() == 100);
}

#[test]
fn w6_an_answer_that_comes_after_its_request_was_given_up_is_nobodys() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(LIMIT));
    send_all(&producer, "t", 0, &["a"]);
    // Later than the client waits, every other time.
    cluster.delay(ApiKey::PRODUCE, SHORT + Duration::from_millis(300));
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(&producer, "t", 0, &["b"]));
        cluster.wait_for_requests(ApiKey::PRODUCE, 3, LIMIT).unwrap();
        cluster.clear_faults();
        sending.join().unwrap()
    });
    assert_eq!(sent, [1]);
    assert_eq!(send_all(&producer, "t", 0, &["c", "d"]), [2, 3]);
}

#[test]
fn x10_what_a_peer_says_comes_escaped_and_shortened() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    send_all(&producer, "t", 0, &["a"]);
    cluster.fail_always(ApiKey::PRODUCE, ErrorCode::INVALID_RECORD);
    cluster.rewrite::<ProduceRequest>(|response| {
        for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
            partition.error_message = Some(format!("\x1b[31m{}", "x".repeat(30_000)));
        }
    });
    let text = producer.send(&ProducerRecord::new("t").value("b")).unwrap_err().to_string();
    assert!(!text.contains('\x1b') && text.len() < 4096, "{} bytes", text.len());
}

#[test]
fn c7_heartbeats_do_not_wait_for_a_long_poll() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    // Fetches are never answered.
    cluster.intercept(|_: &FetchRequest, _| Intercept::Silence);
    let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
    cluster.wait_for_requests(ApiKey::FETCH, 1, LIMIT).unwrap();
    let before = cluster.requests(ApiKey::HEARTBEAT).len();
    cluster.wait_for_requests(ApiKey::HEARTBEAT, before + 5, LIMIT).unwrap();
    let connections =
        |api| cluster.requests(api).iter().map(|r| r.connection()).collect::<std::collections::BTreeSet<_>>();
    assert!(connections(ApiKey(1)).is_disjoint(&connections(ApiKey::HEARTBEAT)));
    member.stop().unwrap();
}

#[test]
fn w5_an_answer_is_never_given_to_another_group_request() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    cluster.garble_next(ApiKey::FIND_COORDINATOR, Garble::CorrelationId);
    let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
    wait_until("a heartbeat", || !cluster.requests_of::<HeartbeatRequest>().is_empty());
    assert!(cluster.requests_of::<FindCoordinatorRequest>().len() >= 2, "it was asked again");
    member.stop().unwrap();
}
