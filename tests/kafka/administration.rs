//! Topics made and deleted by the library on every version of Kafka, held against Kafka's own tool.

use std::time::Duration;

use sarameya::{Admin, Client, ErrorCode, ErrorKind, NewTopic};

use crate::support::kafka::{Cluster, Version};
use crate::support::{unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn topics_kafka_1_0_2_are_created_and_deleted() {
    require_kafka!();
    topics_are_created_and_deleted(Version::V1_0_2);
}

#[test]
fn topics_kafka_2_5_1_are_created_and_deleted() {
    require_kafka!();
    topics_are_created_and_deleted(Version::V2_5_1);
}

#[test]
fn topics_kafka_3_9_1_are_created_and_deleted() {
    require_kafka!();
    topics_are_created_and_deleted(Version::V3_9_1);
}

#[test]
fn topics_kafka_4_3_0_are_created_and_deleted() {
    require_kafka!();
    topics_are_created_and_deleted(Version::V4_3_0);
}

fn topics_are_created_and_deleted(version: Version) {
    let cluster = Cluster::shared(version);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let admin = Admin::new(&client);
    let (plain, compacted) = (unique("plain"), unique("compacted"));
    let wanted = [
        NewTopic::new(&plain).partitions(3).replication_factor(1),
        NewTopic::new(&compacted).partitions(1).replication_factor(1).config("cleanup.policy", "compact"),
    ];
    let created = admin.create_topics(&wanted).expect("an answer");
    assert_eq!(created.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&plain, &compacted]);
    for (name, outcome) in created {
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!(client.partition_count(&plain).expect("a topic"), 3);
    // The tool of 1.0.2 asks ZooKeeper, which the tests have no need of otherwise.
    if version != Version::V1_0_2 {
        // It may ask another broker, which learns of the topic in its own time.
        cluster.wait_known(&compacted, 1);
        let described = cluster.tools().topics(&["--describe", "--topic", &compacted]);
        assert!(described.stdout.contains("cleanup.policy=compact"), "{}", described.stdout);
    }

    let again = admin.create_topics(&wanted[..1]).expect("an answer");
    let error = again[0].1.as_ref().expect_err("it is there already");
    assert_eq!((error.code(), error.topic()), (Some(ErrorCode::TOPIC_ALREADY_EXISTS), Some(plain.as_str())));

    let absent = unique("absent");
    let deleted = admin.delete_topics(&[&plain, &absent]).expect("an answer");
    assert!(deleted[0].1.is_ok(), "{deleted:?}");
    let error = deleted[1].1.as_ref().expect_err("there is no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    // The brokers learn of it a moment after the controller.
    wait_until("the topic is gone", LIMIT, || {
        let impatient = Client::builder()
            .bootstrap_servers(cluster.bootstrap())
            .request_timeout(Duration::from_millis(500))
            .build()
            .expect("a client");
        impatient.partition_count(&plain).is_err()
    });
}

#[test]
fn topics_kafka_1_0_2_that_need_a_newer_broker_are_refused() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V1_0_2);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let topic = unique("defaults");
    let error = Admin::new(&client).create_topics(&[NewTopic::new(&topic)]).expect_err("1.0 chooses no defaults");
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Unsupported, Some(topic.as_str())));
}
