//! Topics that appear, go, come back and grow.

use crate::support::*;
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::ApiKey;
use sarameya::{
    Admin, ErrorCode, ErrorKind, NewTopic, OffsetReset, PartitionConsumer, ProducerRecord, SendError, StartOffset,
};
use std::time::Duration;

fn delete(cluster: &Cluster, topic: &str) {
    let admin = Admin::new(&client(cluster));
    admin.delete_topics(&[topic]).unwrap().into_iter().for_each(|(_, deleted)| deleted.unwrap());
}

#[test]
fn t1_a_topic_that_does_not_exist_is_the_brokers_word_at_the_end_of_max_block() {
    let cluster = Cluster::builder(1).set("auto.create.topics.enable", "false").start().unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder.max_block(SHORT));
    let error = producer.send(&ProducerRecord::new("absent").value("v")).unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    assert_eq!(error.error().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
    assert_eq!(error.error().topic(), Some("absent"));
}

#[test]
fn t1_a_topic_that_is_made_on_first_use_takes_the_record() {
    let cluster = Cluster::start(1).unwrap();
    let client = settings(cluster.bootstrap_servers()).allow_auto_create_topics(true).build().unwrap();
    let producer = sync_producer(&client, |builder| builder);
    let sent = producer.send(&ProducerRecord::new("made").value("v")).unwrap();
    assert_eq!((sent.partition(), sent.offset()), (0, Some(0)));
}

#[test]
fn t1_a_topic_that_appears_while_a_send_waits_takes_the_record() {
    let cluster = Cluster::builder(1).set("auto.create.topics.enable", "false").start().unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| producer.send(&ProducerRecord::new("late").value("v")));
        cluster.wait_for_requests(ApiKey::METADATA, 3, LIMIT).unwrap();
        cluster.create_topic("late", 1).unwrap();
        assert_eq!(sending.join().unwrap().unwrap().offset(), Some(0));
    });
}

#[test]
fn t2_a_topic_that_is_deleted_under_load_fails_in_time_and_the_others_go_on() {
    let cluster = Cluster::builder(1).set("auto.create.topics.enable", "false").start().unwrap();
    cluster.create_topic("gone", 1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = sync_producer(&client, |builder| builder.delivery_timeout(4 * SHORT).max_block(SHORT));
    send_all(&producer, "gone", 0, &["a"]);
    delete(&cluster, "gone");
    let error = producer.send(&ProducerRecord::new("gone").value("b")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("UNKNOWN_TOPIC"), "{text}");
    send_all(&producer, "t", 0, &["c"]);
}

#[test]
fn t3_a_topic_that_was_deleted_and_made_again_is_written_to_and_read_from_its_new_start() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let client = settings(cluster.bootstrap_servers()).metadata_max_age(Duration::from_millis(50)).build().unwrap();
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["a", "b", "c"]);
    let builder = PartitionConsumer::builder(&client, "t", 0).start(StartOffset::Earliest);
    let mut reader = builder.fetch_max_wait(SHORT).offset_reset(OffsetReset::Earliest).build().unwrap();
    assert_eq!(read(&mut reader, 3), ["a", "b", "c"]);
    delete(&cluster, "t");
    cluster.create_topic("t", 1).unwrap();
    let sent = producer.send(&ProducerRecord::new("t").partition(0).value("d")).unwrap();
    assert_eq!(sent.offset(), Some(0), "in the new topic");
    assert_eq!(read(&mut reader, 1), ["d"]);
}

#[test]
fn t4_partitions_that_are_added_are_written_to_and_a_group_misses_nothing_in_them() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = settings(cluster.bootstrap_servers()).metadata_max_age(Duration::from_millis(50)).build().unwrap();
    let producer = sync_producer(&client, |builder| builder);
    let member = Member::start(group(&client, "g1").start(StartOffset::Latest), &["t"]);
    wait_until("the claim runs", || member.seen.claims().len() == 1);
    cluster.create_partitions("t", 3).unwrap();
    for partition in 0..3 {
        send_all(&producer, "t", partition, &["a", "b"]);
    }
    for partition in [1, 2] {
        wait_until("the new partition is read from its start", || member.seen.offsets("t", partition) == [0, 1]);
    }
    member.stop().unwrap();
}

#[test]
fn t5_a_partition_without_a_leader_holds_up_its_own_records_only() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic_with(&NewTopic::new("t").assignment(0, [1]).assignment(1, [2])).unwrap();
    let client = client(&cluster);
    let producer = producer(&client, |builder| builder.linger(Duration::ZERO));
    let send =
        |partition, value: &str| producer.send(&ProducerRecord::new("t").partition(partition).value(value)).unwrap();
    send(1, "a").wait().unwrap();
    cluster.stop_broker(2);
    let waiting = send(1, "b");
    for _ in 0..20 {
        send(0, "c").wait().unwrap();
    }
    assert!(waiting.poll().is_none(), "it waits for its partition");
    cluster.start_broker(2).unwrap();
    assert_eq!(waiting.wait().unwrap().offset(), Some(1));
}

#[test]
fn t6_the_first_batches_of_a_new_topic_come_in_order_though_the_first_is_refused() {
    for _ in 0..20 {
        let cluster = Cluster::start(1).unwrap();
        cluster.create_topic("t", 1).unwrap();
        let producer = producer(&client(&cluster), |builder| builder.linger(Duration::ZERO).batch_size(100));
        cluster.fail_next(ApiKey::PRODUCE, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        let sent: Vec<_> =
            (0..30).map(|n| producer.send(&ProducerRecord::new("t").value(&n.to_string())).unwrap()).collect();
        for (n, sent) in (0..).zip(sent) {
            assert_eq!(sent.wait().unwrap().offset(), Some(n));
        }
        assert_eq!(cluster.log_end_offset("t", 0).unwrap(), 30);
    }
}

#[test]
fn t1_a_name_that_no_topic_can_have_is_refused_by_the_broker_and_told() {
    let target = Target::new(1);
    let producer = sync_producer(&target.client(), |builder| builder.max_block(SHORT));
    let error = producer.send(&ProducerRecord::new("a/b").value("v")).unwrap_err();
    assert_eq!(error.error().code(), Some(ErrorCode::INVALID_TOPIC_EXCEPTION), "{error}");
    let error = producer.send(&ProducerRecord::new("").value("v")).unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn t4_a_partition_beyond_the_last_is_refused_by_name() {
    let target = Target::new(1);
    let topic = target.topic(2);
    let producer = sync_producer(&target.client(), |builder| builder.max_block(SHORT));
    let error = producer.send(&ProducerRecord::new(&topic).partition(2).value("v")).unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    assert_eq!((error.error().topic(), error.error().partition()), (Some(topic.as_str()), Some(2)));
}
