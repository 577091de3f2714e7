//! Sends that are refused, lost, doubled, too large or too late.

use crate::support::*;
use sarameya::batch::Compression;
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::{ApiKey, ProduceRequest};
use sarameya::{Acks, Delivery, ErrorCode, ErrorKind, NewTopic, Partitioner, ProducerRecord, SendError, SyncProducer};
use std::collections::BTreeMap;
use std::time::Duration;

#[track_caller]
fn stored(cluster: &Cluster, topic: &str, partition: i32) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let records = cluster.records(topic, partition).unwrap();
    records.iter().map(|record| text(record.value.as_deref().unwrap_or_default())).collect()
}

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

/// A cluster with the topic `t`, and a producer.
fn setup(partitions: i32) -> (Cluster, SyncProducer) {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", partitions).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    (cluster, producer)
}

#[test]
fn p1_without_idempotence_and_with_one_in_flight_a_retry_comes_before_anything_newer() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = producer(&client(&cluster), |builder| {
        builder.acks(Acks::Leader).idempotence(false).max_in_flight(1).linger(Duration::ZERO)
    });
    let mut sent: Vec<Delivery> = Vec::new();
    for n in 0..200 {
        if n % 20 == 0 {
            cluster.fail_next(ApiKey::PRODUCE, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        sent.push(producer.send(&ProducerRecord::new("t").value(&n.to_string())).unwrap());
    }
    for (n, sent) in (0..).zip(&sent) {
        assert_eq!(sent.wait().unwrap().offset(), Some(n));
    }
    assert_eq!(stored(&cluster, "t", 0), numbers(200));
}

#[test]
fn p2_fifty_lost_acknowledgements_make_no_duplicate_and_each_offset_is_the_true_one() {
    let (cluster, producer) = setup(1);
    for n in 0..50 {
        cluster.drop_next_response(ApiKey::PRODUCE);
        assert_eq!(send_all(&producer, "t", 0, &[&n.to_string()]), [n]);
    }
    assert_eq!(stored(&cluster, "t", 0), numbers(50));
}

#[test]
fn p2_lost_acknowledgements_of_a_pipeline_make_no_duplicate_either() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 3).unwrap();
    let producer = producer(&client(&cluster), |builder| builder.linger(Duration::ZERO).batch_size(200));
    let mut sent = Vec::new();
    for n in 0..3000 {
        if n % 300 == 0 {
            cluster.drop_next_response(ApiKey::PRODUCE);
        }
        let value = n.to_string();
        sent.push(producer.send(&ProducerRecord::new("t").partition(n % 3).value(&value)).unwrap());
    }
    for (n, sent) in (0..).zip(&sent) {
        assert_eq!(sent.wait().unwrap().offset(), Some(n / 3));
    }
    for partition in 0..3 {
        let expected: Vec<String> = (0..3000).filter(|n| n % 3 == partition).map(|n| n.to_string()).collect();
        assert_eq!(stored(&cluster, "t", partition), expected);
    }
}

#[test]
fn p3_a_sequence_that_the_broker_does_not_follow_is_begun_anew_without_loss() {
    let (cluster, producer) = setup(1);
    send_all(&producer, "t", 0, &["0", "1"]);
    cluster.fail_next(ApiKey::PRODUCE, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    send_all(&producer, "t", 0, &["2", "3"]);
    assert_eq!(stored(&cluster, "t", 0), numbers(4));
}

#[test]
fn p4_a_producer_that_the_broker_has_forgotten_goes_on_in_another_epoch() {
    let (cluster, producer) = setup(1);
    send_all(&producer, "t", 0, &["0", "1"]);
    cluster.fail_next(ApiKey::PRODUCE, ErrorCode::UNKNOWN_PRODUCER_ID);
    send_all(&producer, "t", 0, &["2", "3"]);
    assert_eq!(stored(&cluster, "t", 0), numbers(4));
    let identity = |n: usize| {
        let records = cluster.records("t", 0).unwrap();
        (records[n].producer_id, records[n].producer_epoch)
    };
    assert_eq!(identity(0), identity(1));
    assert_ne!(identity(1), identity(2));
}

#[test]
fn p4_records_before_the_log_start_take_the_producer_state_along_and_sending_goes_on() {
    let (cluster, producer) = setup(1);
    send_all(&producer, "t", 0, &["0", "1"]);
    cluster.reset_log_start("t", 0, 2).unwrap();
    assert_eq!(send_all(&producer, "t", 0, &["2"]), [2]);
}

#[test]
fn p5_a_duplicate_is_a_success() {
    let (cluster, producer) = setup(1);
    send_all(&producer, "t", 0, &["0"]);
    cluster.fail_next(ApiKey::PRODUCE, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    let sent = producer.send(&ProducerRecord::new("t").value("1")).unwrap();
    assert_eq!((sent.partition(), sent.offset()), (0, None));
    send_all(&producer, "t", 0, &["2"]);
}

#[test]
fn p7_an_epoch_that_was_bumped_for_one_partition_goes_for_the_others_as_well() {
    let (cluster, producer) = setup(2);
    send_all(&producer, "t", 0, &["0"]);
    send_all(&producer, "t", 1, &["0"]);
    cluster.fail_next(ApiKey::PRODUCE, ErrorCode::UNKNOWN_PRODUCER_ID);
    send_all(&producer, "t", 0, &["1", "2"]);
    send_all(&producer, "t", 1, &["1", "2"]);
    for partition in [0, 1] {
        assert_eq!(stored(&cluster, "t", partition), numbers(3));
    }
}

#[test]
fn p8_a_batch_over_the_topics_limit_is_sent_in_parts_and_a_record_over_it_is_refused() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic_with(&NewTopic::new("t").partitions(1).config("max.message.bytes", "1000")).unwrap();
    let producer = producer(&client(&cluster), |builder| builder.linger(Duration::from_millis(50)));
    let sent: Vec<Delivery> =
        (0..40).map(|n| producer.send(&ProducerRecord::new("t").value(&format!("{n:0>100}"))).unwrap()).collect();
    for (n, sent) in (0..).zip(&sent) {
        assert_eq!(sent.wait().unwrap().offset(), Some(n));
    }
    let too_large = producer.send(&ProducerRecord::new("t").value(&vec![0; 2000])).unwrap();
    let error = too_large.wait().unwrap_err();
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    assert_eq!(error.error().kind(), ErrorKind::TooLarge, "{error}");
    producer.send(&ProducerRecord::new("t").value("small")).unwrap().wait().unwrap();
    assert_eq!(cluster.log_end_offset("t", 0).unwrap(), 41);
}

#[test]
fn p9_with_the_buffer_full_a_send_blocks_for_max_block_and_names_the_setting() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = producer(&client(&cluster), |builder| {
        builder.buffer_memory(256 * 1024).batch_size(64 * 1024).max_request_size(64 * 1024).max_block(SHORT)
    });
    producer.send(&ProducerRecord::new("t").value("first")).unwrap().wait().unwrap();
    cluster.pause_broker(1);
    let value = vec![7; 10_000];
    let full = (0..1000).find_map(|_| producer.send(&ProducerRecord::new("t").value(&value)).err()).unwrap();
    assert!(matches!(full, SendError::NotPersisted(_)), "{full}");
    assert_eq!((full.error().kind(), full.error().setting()), (ErrorKind::QueueFull, Some("buffer.memory")), "{full}");
    let refused = producer.try_send(&ProducerRecord::new("t").value(&value)).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::QueueFull);
    cluster.resume_broker(1);
    producer.flush(LIMIT).unwrap();
    producer.send(&ProducerRecord::new("t").value(&value)).unwrap().wait().unwrap();
}

#[test]
fn p10_what_expires_in_the_queue_is_not_persisted_and_what_expires_in_flight_may_be() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = hasty_client(&cluster);
    let producer = producer(&client, |builder| {
        builder.linger(Duration::ZERO).max_in_flight(1).delivery_timeout(2 * SHORT).max_block(SHORT)
    });
    producer.send(&ProducerRecord::new("t").value("first")).unwrap().wait().unwrap();
    cluster.clear_requests();
    // It takes effect, and its answer is held back.
    cluster.delay(ApiKey::PRODUCE, LIMIT);
    let in_flight = producer.send(&ProducerRecord::new("t").value("in flight")).unwrap();
    cluster.wait_for_requests(ApiKey::PRODUCE, 1, LIMIT).unwrap();
    // With one in flight the next one waits behind it.
    let queued = producer.send(&ProducerRecord::new("t").value("queued")).unwrap();
    assert!(in_flight.wait().unwrap_err().is_possibly_persisted());
    assert!(!queued.wait().unwrap_err().is_possibly_persisted());
    cluster.clear_faults();
    producer.send(&ProducerRecord::new("t").value("last")).unwrap().wait().unwrap();
    assert!(!stored(&cluster, "t", 0).contains(&"queued".to_owned()));
}

#[test]
fn p12_of_a_request_only_the_partition_that_was_refused_fails() {
    let (cluster, producer) = setup(2);
    cluster.fail_partition("t", 1, ApiKey::PRODUCE, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let records = [0, 1].map(|partition| ProducerRecord::new("t").partition(partition).value("v"));
    let sent = producer.send_all(&records);
    assert_eq!(sent[0].as_ref().unwrap().offset(), Some(0));
    let error = sent[1].as_ref().unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::Authorization, "{error}");
    assert_eq!(error.error().partition(), Some(1));
}

#[test]
fn p12_of_a_batch_only_the_records_that_break_a_rule_are_at_fault() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic_with(&NewTopic::new("t").partitions(1).config("cleanup.policy", "compact")).unwrap();
    let producer = producer(&client(&cluster), |builder| builder.linger(Duration::from_millis(50)));
    let keyed = |key: Option<&'static str>| {
        let record = ProducerRecord::new("t").partition(0).value("v");
        producer.send(&if let Some(key) = key { record.key(key) } else { record }).unwrap()
    };
    let sent = [keyed(Some("a")), keyed(None), keyed(Some("b"))];
    let outcomes: Vec<_> = sent.iter().map(Delivery::wait).collect();
    let error = outcomes[1].as_ref().unwrap_err();
    assert_eq!(error.error().code(), Some(ErrorCode::INVALID_RECORD), "{error}");
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
    // Kafka takes a batch whole or not at all; the blameless records are sent again or told that they may be.
    for outcome in [&outcomes[0], &outcomes[2]] {
        assert!(!outcome.as_ref().is_err_and(SendError::is_possibly_persisted), "{outcome:?}");
    }
    let acked = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(stored(&cluster, "t", 0).len(), acked);
}

#[test]
fn p13_many_threads_on_one_synchronous_producer_keep_their_order() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    let producer = sync_producer(&client, |builder| builder);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (producer, topic) = (&producer, &topic);
            scope.spawn(move || {
                let mut last = -1;
                for n in 0..50 {
                    let value = format!("{thread} {n}");
                    let sent = producer.send(&ProducerRecord::new(topic).value(&value)).unwrap();
                    assert!(sent.offset().unwrap() > last);
                    last = sent.offset().unwrap();
                }
            });
        }
    });
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for value in read(&mut reader(&client, &topic, 0), 800) {
        let (thread, n) = value.split_once(' ').unwrap();
        let next = next.entry(thread.to_owned()).or_default();
        assert_eq!(n, next.to_string());
        *next += 1;
    }
    assert!(next.len() == 16 && next.values().all(|count| *count == 50));
}

#[test]
fn p15_flush_waits_for_all_and_close_resolves_what_is_left() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let linger = Duration::from_secs(60);
    let producer = producer(&client, |builder| builder.linger(linger));
    let sent: Vec<Delivery> =
        (0..100).map(|n| producer.send(&ProducerRecord::new("t").value(&n.to_string())).unwrap()).collect();
    producer.flush(LIMIT).unwrap();
    assert!(sent.iter().all(|sent| sent.poll().is_some_and(|sent| sent.is_ok())));
    assert_eq!(stored(&cluster, "t", 0), numbers(100));
    cluster.pause_broker(1);
    let left = producer.send(&ProducerRecord::new("t").value("left")).unwrap();
    producer.close(SHORT).unwrap_err();
    assert_eq!(left.poll().unwrap().unwrap_err().error().kind(), ErrorKind::Closed);
}

#[test]
fn p16_a_topic_that_is_unknown_for_a_while_keeps_its_sequence() {
    let (cluster, producer) = setup(1);
    send_all(&producer, "t", 0, &["0"]);
    cluster.fail_next_n(ApiKey::PRODUCE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 3);
    send_all(&producer, "t", 0, &["1", "2"]);
    let records = cluster.records("t", 0).unwrap();
    assert_eq!(stored(&cluster, "t", 0), numbers(3));
    assert!(records.iter().all(|record| record.producer_epoch == records[0].producer_epoch), "no new start was needed");
}

#[derive(Debug)]
struct Panics;

impl Partitioner for Panics {
    fn partition(&self, record: &ProducerRecord<'_>, _count: usize) -> Option<usize> {
        assert!(record.key_bytes().is_none(), "it does not like keys");
        Some(0)
    }
}

#[test]
fn p17_a_partitioner_that_panics_costs_that_send_only() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder.partitioner(Panics));
    let error = producer.send(&ProducerRecord::new("t").key("k").value("v")).unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::InvalidArgument, "{error}");
    send_all(&producer, "t", 0, &["0"]);
    assert!(producer.send(&ProducerRecord::new("t").value("1")).is_ok());
}

#[test]
fn p2_every_codec_survives_lost_acknowledgements() {
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let cluster = Cluster::start(1).unwrap();
        cluster.create_topic("t", 1).unwrap();
        let client = client(&cluster);
        let producer = producer(&client, |builder| builder.compression(codec).batch_size(2000));
        for n in 0..500 {
            if n % 100 == 0 {
                cluster.drop_next_response(ApiKey::PRODUCE);
            }
            producer.send(&ProducerRecord::new("t").value(&n.to_string())).unwrap();
        }
        producer.flush(LIMIT).unwrap();
        assert_eq!(read(&mut reader(&client, "t", 0), 500), numbers(500), "{codec}");
        assert_eq!(cluster.log_end_offset("t", 0).unwrap(), 500, "{codec}");
    }
}

#[test]
fn a1_a_topic_that_must_not_be_written_to_is_named_at_once_and_others_go_on() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    cluster.create_topic("forbidden", 1).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    cluster.fail_partition("forbidden", 0, ApiKey::PRODUCE, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    cluster.clear_requests();
    let sent = producer.send_all(&[ProducerRecord::new("forbidden").value("v"), ProducerRecord::new("t").value("v")]);
    let error = sent[0].as_ref().unwrap_err().error();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some("forbidden")), "{error}");
    assert!(sent[1].is_ok());
    let asked = cluster.requests_of::<ProduceRequest>();
    let tries = asked.iter().filter(|request| request.topic_data.iter().any(|topic| topic.name == "forbidden"));
    assert!(tries.count() <= 1, "it is not tried again");
}

#[test]
fn a4_a_producer_that_must_not_be_idempotent_is_told_so() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    cluster.fail_always(ApiKey::INIT_PRODUCER_ID, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    let producer = sync_producer(&client(&cluster), |builder| builder);
    let error = producer.send(&ProducerRecord::new("t").value("v")).unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::Authorization, "{error}");
    assert!(matches!(error, SendError::NotPersisted(_)), "{error}");
}
