//! Brokers that stop, hang and come back; leaders that move.

use crate::support::*;
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::{ApiKey, MetadataRequest};
use sarameya::{Acks, ErrorCode, ErrorKind, NewTopic, PartitionConsumer, ProducerRecord, SendError, StartOffset};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sends numbered records to a partition from another thread while `trouble` goes on, and returns how many.
fn under_load(cluster: &Cluster, topic: &str, trouble: impl FnOnce()) -> usize {
    let client = client(cluster);
    let producer = producer(&client, |builder| builder.linger(Duration::ZERO).delivery_timeout(LIMIT));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let value = sent.len().to_string();
                sent.push(producer.send(&ProducerRecord::new(topic).partition(0).value(&value)).unwrap());
                std::thread::sleep(Duration::from_millis(1));
            }
            let offsets: Vec<i64> = sent.iter().map(|sent| sent.wait().unwrap().offset().unwrap()).collect();
            assert!(offsets.is_sorted(), "{offsets:?}");
            offsets.len()
        });
        trouble();
        stop.store(true, Ordering::SeqCst);
        sending.join().unwrap()
    })
}

#[track_caller]
fn holds_each_once(cluster: &Cluster, topic: &str, count: usize) {
    let stored: Vec<String> = (cluster.records(topic, 0).unwrap().iter())
        .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
        .collect();
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(stored, expected);
}

/// Waits for some more records of a partition.
fn progress(cluster: &Cluster, topic: &str) {
    let before = cluster.log_end_offset(topic, 0).unwrap();
    wait_until("records are written", || cluster.log_end_offset(topic, 0).unwrap() > before + 20);
}

fn leader(cluster: &Cluster, topic: &str) -> i32 {
    (1..=3).find(|id| cluster.leader(topic, 0).unwrap() == Some(*id)).unwrap()
}

#[test]
fn b1_leaders_that_stop_under_load_lose_and_duplicate_nothing() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let sent = under_load(&cluster, "t", || {
        for _ in 0..5 {
            progress(&cluster, "t");
            let leader = leader(&cluster, "t");
            cluster.stop_broker(leader);
            progress(&cluster, "t");
            cluster.start_broker(leader).unwrap();
        }
    });
    holds_each_once(&cluster, "t", sent);
}

#[test]
fn b2_a_rolling_restart_costs_a_group_no_rebalance() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
    wait_until("the claim runs", || member.seen.claims().len() == 1);
    let sent = under_load(&cluster, "t", || {
        for id in 1..=3 {
            progress(&cluster, "t");
            cluster.stop_broker(id);
            progress(&cluster, "t");
            cluster.start_broker(id).unwrap();
        }
    });
    holds_each_once(&cluster, "t", sent);
    wait_until("all is read", || member.seen.count() >= sent);
    assert_eq!(member.seen.offsets("t", 0), (0..sent as i64).collect::<Vec<_>>());
    assert_eq!(member.seen.generations().len(), 1, "one session all the time");
    member.stop().unwrap();
}

#[test]
fn b3_a_moved_leader_is_followed_in_order_and_without_a_gap_on_both_sides() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let mut reader = reader(&client(&cluster), "t", 0);
    let sent = under_load(&cluster, "t", || {
        for round in 0..9 {
            progress(&cluster, "t");
            cluster.move_leader("t", 0, 1 + round % 3).unwrap();
        }
        progress(&cluster, "t");
    });
    holds_each_once(&cluster, "t", sent);
    assert_eq!(read(&mut reader, sent), (0..sent).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(reader.offset_resets(), 0);
}

#[test]
fn b4_with_all_brokers_down_records_expire_and_later_ones_go_on() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(2 * SHORT).max_block(SHORT));
    let mut reader = reader(&client, "t", 0);
    send_all(&producer, "t", 0, &["a"]);
    assert_eq!(read(&mut reader, 1), ["a"]);
    cluster.stop_broker(1);
    cluster.stop_broker(2);
    let error = producer.send(&ProducerRecord::new("t").value("lost")).unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    assert_eq!(error.error().kind(), ErrorKind::Timeout, "{error}");
    cluster.start_broker(1).unwrap();
    cluster.start_broker(2).unwrap();
    // The same producer and the same reader go on.
    wait_until("a send succeeds", || producer.send(&ProducerRecord::new("t").value("b")).is_ok());
    assert_eq!(read(&mut reader, 1), ["b"]);
    assert_eq!(reader.offset_resets(), 0);
}

#[test]
fn b5_too_few_replicas_in_sync_are_waited_for() {
    let cluster = Cluster::start(2).unwrap();
    let topic = NewTopic::new("t").assignment(0, [1, 2]).config("min.insync.replicas", "2");
    cluster.create_topic_with(&topic).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(2 * SHORT).max_block(SHORT));
    send_all(&producer, "t", 0, &["a"]);
    cluster.stop_broker(2);
    // An attempt may be under way at the deadline, so that this producer need not know, but it says why.
    let error = producer.send(&ProducerRecord::new("t").value("lost")).unwrap_err();
    assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "it says why: {error}");
    // Of one that repeats nothing before its time is over, all attempts are answered.
    let client = settings(cluster.bootstrap_servers()).request_timeout(SHORT).retry_backoff(LIMIT, LIMIT);
    let patient = sync_producer(&client.build().unwrap(), |builder| builder.delivery_timeout(LIMIT / 10));
    let error = patient.send(&ProducerRecord::new("t").value("lost")).unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    assert!(error.to_string().contains("NOT_ENOUGH_REPLICAS"), "it says why: {error}");
    assert_eq!(cluster.records("t", 0).unwrap().len(), 1, "nothing was written");
    cluster.start_broker(2).unwrap();
    send_all(&producer, "t", 0, &["b"]);
    // Written, but not to enough replicas.
    cluster.fail_always(ApiKey::PRODUCE, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    let error = producer.send(&ProducerRecord::new("t").value("doubtful")).unwrap_err();
    assert!(error.is_possibly_persisted(), "{error}");
}

#[test]
fn b7_a_leader_that_hung_and_comes_back_late_duplicates_nothing() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let sent = std::thread::scope(|_| {
        let client = hasty_client(&cluster);
        let producer = producer(&client, |builder| builder.linger(Duration::ZERO).delivery_timeout(LIMIT));
        let mut sent = Vec::new();
        for round in 0..6 {
            let old = leader(&cluster, "t");
            for n in 0..50 {
                if n == 25 {
                    cluster.pause_broker(old);
                }
                let value = sent.len().to_string();
                sent.push(producer.send(&ProducerRecord::new("t").value(&value)).unwrap());
            }
            cluster.move_leader("t", 0, 1 + round % 3).unwrap();
            if leader(&cluster, "t") != old {
                sent.last().unwrap().wait().unwrap();
            }
            cluster.resume_broker(old);
        }
        sent.iter().for_each(|sent| assert!(sent.wait().is_ok()));
        sent.len()
    });
    holds_each_once(&cluster, "t", sent);
}

#[test]
fn b10_a_broker_that_forgets_a_topic_for_a_while_costs_neither_sequences_nor_positions() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = settings(cluster.bootstrap_servers()).metadata_max_age(Duration::from_millis(20)).build().unwrap();
    let producer = sync_producer(&client, |builder| builder);
    let mut reader = reader(&client, "t", 0);
    send_all(&producer, "t", 0, &["a"]);
    assert_eq!(read(&mut reader, 1), ["a"]);
    cluster.rewrite::<MetadataRequest>(|response| {
        for topic in &mut response.topics {
            (topic.error_code, topic.partitions) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, Vec::new());
        }
    });
    let seen = cluster.requests(ApiKey::METADATA).len();
    cluster.wait_for_requests(ApiKey::METADATA, seen + 2, LIMIT).unwrap();
    send_all(&producer, "t", 0, &["b"]);
    assert_eq!(read(&mut reader, 1), ["b"]);
    cluster.clear_faults();
    send_all(&producer, "t", 0, &["c"]);
    assert_eq!(read(&mut reader, 1), ["c"]);
}

#[test]
fn b11_a_topic_without_partitions_is_no_success() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    cluster.rewrite::<MetadataRequest>(|response| response.topics.iter_mut().for_each(|t| t.partitions.clear()));
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(2 * SHORT).max_block(SHORT));
    let error = producer.send(&ProducerRecord::new("t").value("a")).unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    cluster.clear_faults();
    send_all(&producer, "t", 0, &["b"]);
    assert_eq!(cluster.log_end_offset("t", 0).unwrap(), 1);
}

#[test]
fn b14_a_follower_in_the_same_rack_is_read_from_and_left_when_it_is_gone() {
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let builder = Cluster::builder(2).racks(&["a", "b"]).set("replica.selector.class", selector);
    let cluster = builder.start().unwrap();
    cluster.create_topic("t", 1).unwrap();
    cluster.move_leader("t", 0, 1).unwrap();
    let client = settings(cluster.bootstrap_servers()).client_rack("b").build().unwrap();
    let producer = sync_producer(&client, |builder| builder);
    let mut reader = reader(&client, "t", 0);
    send_all(&producer, "t", 0, &["a"]);
    assert_eq!(read(&mut reader, 1), ["a"]);
    wait_until("the follower is asked", || cluster.requests(ApiKey::FETCH).iter().any(|r| r.broker() == 2));
    cluster.stop_broker(2);
    send_all(&producer, "t", 0, &["b"]);
    assert_eq!(read(&mut reader, 1), ["b"]);
    assert_eq!(reader.offset_resets(), 0);
}

#[test]
fn b15_a_broker_with_a_broken_disk_is_tried_again() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    cluster.fail_next_n(ApiKey::PRODUCE, ErrorCode::KAFKA_STORAGE_ERROR, 3);
    assert_eq!(send_all(&producer, "t", 0, &["a"]), [0]);
    cluster.fail_next_n(ApiKey::FETCH, ErrorCode::KAFKA_STORAGE_ERROR, 3);
    assert_eq!(read(&mut reader(&client, "t", 0), 1), ["a"]);
}

#[test]
fn b6_without_a_controller_records_flow_and_topics_can_not_be_made() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    cluster.rewrite::<MetadataRequest>(|response| response.controller_id = -1);
    cluster.fail_always(ApiKey::CREATE_TOPICS, ErrorCode::NOT_CONTROLLER);
    send_all(&producer, "t", 0, &["a"]);
    let made = sarameya::Admin::new(&client).timeout(SHORT).create_topics(&[NewTopic::new("u")]);
    let failed = made.and_then(|made| made.into_iter().try_for_each(|(_, made)| made.map(drop)));
    assert!(failed.unwrap_err().is_retriable());
    send_all(&producer, "t", 0, &["b"]);
}

#[test]
fn b8_a_broker_that_comes_back_on_another_port_is_found() {
    // Another cluster stands for the broker's new place. Its topics have other ids, so both play a release without ids.
    let [cluster, other] = [(); 2].map(|()| Cluster::builder(1).as_version("2.5").start().unwrap());
    cluster.create_topic("t", 1).unwrap();
    other.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder.acks(Acks::Leader).idempotence(false));
    send_all(&producer, "t", 0, &["a"]);
    let port: i32 = other.bootstrap_servers().rsplit(':').next().unwrap().parse().unwrap();
    cluster
        .rewrite::<MetadataRequest>(move |response| response.brokers.iter_mut().for_each(|broker| broker.port = port));
    // The metadata is read anew, and then the old place is gone.
    cluster.fail_next(ApiKey::PRODUCE, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    send_all(&producer, "t", 0, &["b"]);
    wait_until("a record arrives at the new address", || {
        cluster.drop_connections(1);
        send_all(&producer, "t", 0, &["c"]);
        other.log_end_offset("t", 0).unwrap() > 0
    });
}

#[test]
fn b13_a_cluster_that_was_replaced_is_found_by_its_bootstrap_address() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 1).unwrap();
    // Only broker 1 is told of, though the client starts at both.
    let hidden = |response: &mut sarameya::protocol::messages::MetadataResponse| {
        response.brokers.retain(|broker| broker.node_id != 1);
    };
    cluster.rewrite::<MetadataRequest>(hidden);
    let client = settings(cluster.bootstrap_servers()).metadata_max_age(Duration::from_millis(50)).build().unwrap();
    cluster.stop_broker(2);
    cluster.clear_faults();
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(LIMIT));
    send_all(&producer, "t", 0, &["a"]);
}

#[test]
fn p14_with_acks_1_a_tail_that_was_not_replicated_may_be_lost_and_the_reader_goes_on() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder.acks(Acks::Leader));
    send_all(&producer, "t", 0, &["a", "b", "c"]);
    let mut reader = PartitionConsumer::builder(&client, "t", 0).start(StartOffset::Earliest).build().unwrap();
    assert_eq!(read(&mut reader, 3), ["a", "b", "c"]);
    cluster.truncate("t", 0, 2).unwrap();
    send_all(&producer, "t", 0, &["d"]);
    assert_eq!(read(&mut reader, 1), ["d"], "from where the log was cut");
}

#[test]
fn b9_threads_go_with_brokers_that_are_gone() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 3).unwrap();
    let client = client(&cluster);
    let mut reader = reader(&client, "t", 0);
    let producer = sync_producer(&client, |builder| builder);
    for partition in 0..3 {
        send_all(&producer, "t", partition, &["a"]);
    }
    assert_eq!(read(&mut reader, 1), ["a"]);
    let open = |id| cluster.connections(id);
    for _ in 0..5 {
        cluster.stop_broker(3);
        send_all(&producer, "t", 0, &["b"]);
        cluster.start_broker(3).unwrap();
    }
    assert!((1..=3).map(open).sum::<usize>() <= 12, "connections do not pile up");
}
