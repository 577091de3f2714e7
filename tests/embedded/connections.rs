//! Connections that are refused, break, hang or drip.

use crate::support::*;
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::{ApiKey, MetadataRequest};
use sarameya::{Client, ErrorCode, ErrorKind, ProducerRecord, SendError};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// A loopback port that nobody listens on.
fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn values(cluster: &Cluster, topic: &str, partition: i32) -> Vec<String> {
    let text = |record: &sarameya::embedded::StoredRecord| {
        String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
    };
    cluster.records(topic, partition).unwrap().iter().map(text).collect()
}

#[test]
fn c1_one_bootstrap_address_that_answers_is_enough() {
    let cluster = Cluster::start(1).unwrap();
    let bootstrap = format!("127.0.0.1:{},{}", closed_port(), cluster.bootstrap_servers());
    cluster.create_topic("t", 1).unwrap();
    assert_eq!(settings(&bootstrap).build().unwrap().partition_count("t").unwrap(), 1);
}

#[test]
fn c2_if_every_bootstrap_address_refuses_all_are_named() {
    let (first, second) = (closed_port(), closed_port());
    let bootstrap = format!("127.0.0.1:{first},127.0.0.1:{second}");
    let error = settings(&bootstrap).connection_setup_timeout(SHORT).build().unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&first.to_string()) && text.contains(&second.to_string()), "{text}");
    assert!(error.is_retriable());
}

#[test]
fn c4_a_broker_that_hangs_costs_its_own_partitions_their_deadline_and_the_others_nothing() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 2).unwrap();
    cluster.move_leader("t", 0, 1).unwrap();
    cluster.move_leader("t", 1, 2).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(4 * SHORT).max_block(SHORT));
    send_all(&producer, "t", 0, &["a"]);
    send_all(&producer, "t", 1, &["b"]);
    cluster.pause_broker(2);
    let error = producer.send(&ProducerRecord::new("t").partition(1).value("c")).unwrap_err();
    assert!(matches!(error, SendError::PossiblyPersisted(_)), "{error}");
    assert_eq!(error.error().kind(), ErrorKind::Timeout, "{error}");
    send_all(&producer, "t", 0, &["d"]);
    cluster.resume_broker(2);
    send_all(&producer, "t", 1, &["e"]);
    assert_eq!(values(&cluster, "t", 0), ["a", "d"]);
    let second = values(&cluster, "t", 1);
    assert!(second == ["b", "c", "e"] || second == ["b", "e"], "{second:?}");
}

#[test]
fn c5_a_connection_that_ends_before_the_request_took_effect_is_not_noticed() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    for n in 0..20 {
        cluster.drop_next_request(ApiKey::PRODUCE);
        assert_eq!(send_all(&producer, "t", 0, &[&n.to_string()]), [n]);
    }
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(values(&cluster, "t", 0), expected);
}

#[test]
fn c6_connections_that_were_closed_while_idle_cost_no_call() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder.retries(0));
    for n in 0..5 {
        assert_eq!(send_all(&producer, "t", 0, &["v"]), [n]);
        cluster.drop_connections(1);
        wait_until("the connections are gone", || cluster.connections(1) == 0 || n == 0);
    }
}

#[test]
fn c8_an_answer_that_drips_does_not_move_the_deadline() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(2 * SHORT).max_block(SHORT));
    send_all(&producer, "t", 0, &["a"]);
    cluster.slow_drip(ApiKey::PRODUCE, 1, Duration::from_millis(100));
    let error = producer.send(&ProducerRecord::new("t").value("b")).unwrap_err();
    assert!(error.is_possibly_persisted(), "{error}");
    assert_eq!(error.error().kind(), ErrorKind::Timeout, "{error}");
    cluster.clear_faults();
    send_all(&producer, "t", 0, &["c"]);
    // The broker took it each time; idempotence makes one of all attempts.
    assert_eq!(values(&cluster, "t", 0), ["a", "b", "c"]);
}

#[test]
fn c9_a_peer_that_stops_reading_costs_the_deadline_and_half_a_request_is_never_resumed() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let large = 900_000;
    let producer = producer(&client, |builder| {
        builder.delivery_timeout(3 * SHORT).max_block(SHORT).linger(Duration::ZERO).max_request_size(1 << 20)
    });
    producer.send(&ProducerRecord::new("t").value("first")).unwrap().wait().unwrap();
    cluster.pause_broker(1);
    // More than the sockets' buffers hold.
    let values: Vec<String> = (0..16).map(|n| n.to_string().repeat(large)[..large].to_owned()).collect();
    let sent: Vec<_> = values.iter().map(|value| producer.send(&ProducerRecord::new("t").value(value))).collect();
    let timed_out = |error: &SendError| error.error().kind() == ErrorKind::Timeout;
    for delivery in sent {
        let error = delivery.and_then(|delivery| delivery.wait()).unwrap_err();
        assert!(timed_out(&error) || error.error().kind() == ErrorKind::QueueFull, "{error}");
    }
    cluster.resume_broker(1);
    producer.send(&ProducerRecord::new("t").value("last")).unwrap().wait().unwrap();
    let stored = cluster.records("t", 0).unwrap();
    assert_eq!(stored.last().unwrap().value.as_deref(), Some(&b"last"[..]));
    for record in &stored[1..stored.len() - 1] {
        assert_eq!(record.value.as_ref().unwrap().len(), large, "no request was mended from two halves");
    }
}

#[test]
fn c12_attempts_at_a_broker_that_refuses_keep_their_distance() {
    let cluster = Cluster::start(1).unwrap();
    let backoff = Duration::from_millis(40);
    cluster.fail_always(ApiKey::API_VERSIONS, ErrorCode::UNKNOWN_SERVER_ERROR);
    let builder = Client::builder().bootstrap_servers(cluster.bootstrap_servers());
    let builder = builder.reconnect_backoff(backoff, 4 * backoff).connection_setup_timeout(Duration::from_secs(1));
    builder.build().unwrap_err();
    let times: Vec<Duration> = cluster.requests(ApiKey::API_VERSIONS).iter().map(|r| r.received_at()).collect();
    assert!(times.len() >= 3, "it went on trying: {times:?}");
    // The jitter takes a fifth at most.
    let shortest = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(shortest >= backoff * 7 / 10, "{times:?}");
}

#[test]
fn c16_an_advertised_address_that_nobody_listens_on_is_named_with_its_node() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let port = closed_port();
    cluster.rewrite::<MetadataRequest>(move |response| response.brokers[0].port = port.into());
    let producer =
        sync_producer(&hasty_client(&cluster), |builder| builder.delivery_timeout(2 * SHORT).max_block(SHORT));
    let error = producer.send(&ProducerRecord::new("t").value("v")).unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(text.contains("node 1") || text.contains("broker 1"), "{text}");
}

#[test]
fn c17_a_throttled_producer_is_silent_for_as_long_as_it_was_told() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    send_all(&producer, "t", 0, &["a"]);
    cluster.clear_requests();
    let silence = Duration::from_millis(300);
    cluster.throttle(ApiKey::PRODUCE, silence);
    send_all(&producer, "t", 0, &["b", "c"]);
    let times: Vec<Duration> = cluster.requests(ApiKey::PRODUCE).iter().map(|r| r.received_at()).collect();
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= silence, "{times:?}");
}

#[test]
fn x5_connections_to_a_broker_do_not_grow_with_partitions_records_and_threads() {
    const PARTITIONS: i32 = 40;
    const THREADS: i32 = 10;
    // Metadata, produce, fetch, group and commit, and calls from the pool while they last.
    const MOST: usize = 6;
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", PARTITIONS).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    let member = Member::start(group(&client, &unique("connections")), &["t"]);
    let mut most = 0;
    std::thread::scope(|scope| {
        let send = || (0..PARTITIONS).for_each(|partition| drop(send_all(&producer, "t", partition, &["a", "b"])));
        (0..THREADS).for_each(|_| drop(scope.spawn(send)));
        wait_until("everything is read", || {
            most = most.max(cluster.connections(1));
            member.seen.count() == (PARTITIONS * THREADS * 2) as usize
        });
    });
    member.stop().unwrap();
    assert!((3..=MOST).contains(&most), "{most} connections");
}
