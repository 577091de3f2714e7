//! The cluster as its clients see it.

mod bare;
mod faults;
mod hostile;
mod listeners;
#[cfg(feature = "tls")]
mod tls;

use super::Cluster;
use crate::protocol::messages::ApiKey;
use crate::{Client, ErrorCode, ErrorKind, NewTopic};
use bare::Bare;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something is so.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "{what} has not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_client_connects_and_a_broker_that_stops_closes_its_connections() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let client = Client::connect(cluster.bootstrap_servers()).unwrap();
    drop(client);
    let address = cluster.bootstrap_servers().split(',').nth(1).unwrap().to_owned();
    let mut bare = Bare::connect(&cluster, 2);
    assert!(bare.ask(18, 0, &[]).is_some());
    cluster.stop_broker(2);
    assert!(bare.is_closed());
    assert!(TcpStream::connect(&address).is_err());
    cluster.start_broker(2).unwrap();
    assert!(Bare::connect(&cluster, 2).ask(18, 0, &[]).is_some());
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0_and_any_other_api_closes() {
    let cluster = Cluster::start(1).unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    let answer = bare.ask(18, 99, &[]).unwrap();
    // Correlation id, UNSUPPORTED_VERSION, one API: ApiVersions.
    assert_eq!(&answer[..12], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18]);
    assert!(bare.ask(18, 0, &[]).is_some(), "the connection goes on");
    assert_eq!(bare.ask(3, 99, &[]), None);
    let mut bare = Bare::connect(&cluster, 1);
    assert_eq!(bare.ask(4, 0, &[]), None, "LeaderAndIsr is not served");
    let mut bare = Bare::connect(&cluster, 1);
    assert_eq!(bare.ask(ApiKey::SHARE_FETCH.0, 1, &[]), None, "nor is ShareFetch, whose messages are known");
}

#[test]
fn requests_that_are_sent_together_are_answered_in_their_order() {
    let cluster = Cluster::start(1).unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    // More than is read ahead.
    for _ in 0..1000 {
        bare.write(&Bare::frame(18, 0, &[]));
    }
    for _ in 0..1000 {
        assert!(bare.read().is_some());
    }
}

#[test]
fn a_broker_that_is_upgraded_closes_its_connections_and_offers_more() {
    let cluster = Cluster::builder(1).as_version("2.5").start().unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    let old = bare.ask(18, 0, &[]).unwrap();
    // Metadata version 10 brings topic ids, which 2.5 does not have.
    assert_eq!(bare.ask(3, 10, &[0, 0, 0, 0, 0, 0, 0]), None);
    let mut bare = Bare::connect(&cluster, 1);
    assert_eq!(bare.ask(18, 0, &[]).unwrap(), old);
    cluster.set_version(1, "4.3").unwrap();
    assert!(bare.is_closed());
    let new = Bare::connect(&cluster, 1).ask(18, 0, &[]).unwrap();
    assert!(new.len() > old.len());
    assert_eq!(cluster.set_version(1, "0.7").unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(cluster.set_version(9, "4.3").unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(Cluster::builder(1).as_version("9.9").start().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_topic_is_made_as_it_is_described() {
    let cluster = Cluster::start(3).unwrap();
    let topic = NewTopic::new("t").partitions(2).replication_factor(2).config("retention.ms", "1000");
    cluster.create_topic_with(&topic).unwrap();
    let again = cluster.create_topic_with(&topic).unwrap_err();
    assert_eq!((again.code(), again.topic()), (Some(ErrorCode::TOPIC_ALREADY_EXISTS), Some("t")));
    assert!(again.to_string().contains("Topic 't' already exists."), "{again}");
    cluster.move_leader("t", 0, 3).unwrap();
    cluster.set_in_sync_replicas("t", 0, &[3]).unwrap();
    let refused = cluster.move_leader("t", 7, 3).unwrap_err();
    assert_eq!((refused.code(), refused.partition()), (Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Some(7)));
}
