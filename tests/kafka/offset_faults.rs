//! Offsets that the broker does not have, logs that were cut or damaged, and leaders that hang: a partition consumer
//! goes on where it should, or says why it can't, and skips nothing by itself.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use sarameya::{Client, Error, ErrorKind, OffsetReset, PartitionConsumer, Producer, ProducerRecord, StartOffset};

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::{heavy, unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn o1_kafka_1_0_2_offsets_out_of_range_follow_the_policy() {
    require_kafka!();
    out_of_range_follows_the_policy(Version::V1_0_2);
}

#[test]
fn o1_kafka_4_3_0_offsets_out_of_range_follow_the_policy() {
    require_kafka!();
    out_of_range_follows_the_policy(Version::V4_3_0);
}

fn out_of_range_follows_the_policy(version: Version) {
    let cluster = Cluster::shared(version);
    let topic = unique("out-of-range");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    produce(&client, &topic, 0..100);
    let request = cluster.data_dir(1).join(format!("{topic}.json"));
    let json = format!(r#"{{"partitions":[{{"topic":"{topic}","partition":0,"offset":40}}],"version":1}}"#);
    std::fs::write(&request, json).expect("a file");
    let arguments = ["--bootstrap-server", &cluster.direct_bootstrap(), "--offset-json-file"];
    cluster.tools().run("delete-records", &[&arguments[..], &[&request.display().to_string()]].concat()).success();

    // Before the log's start, and (O8) behind its end.
    for outside in [10, 500] {
        for (policy, expected) in [(OffsetReset::Earliest, 40..100), (OffsetReset::Latest, 100..100)] {
            let mut consumer = consumer(&client, &topic, StartOffset::Offset(outside), policy);
            assert_eq!(read_to(&mut consumer, 100), expected.collect::<Vec<_>>(), "from {outside} by {policy:?}");
            assert_eq!(consumer.offset_resets(), 1);
        }
        let mut consumer = consumer(&client, &topic, StartOffset::Offset(outside), OffsetReset::Fail);
        for _ in 0..2 {
            let error = consumer.next(LIMIT).expect_err("out of range");
            assert_eq!((error.kind(), error.topic()), (ErrorKind::OffsetOutOfRange, Some(&*topic)));
            assert!(error.to_string().contains(&outside.to_string()), "{error}");
        }
        assert!(consumer.is_stopped());
        assert_eq!(consumer.offset_resets(), 0);
    }
}

#[test]
fn t3_kafka_4_3_0_a_recreated_topic_is_read_from_where_the_policy_says() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("recreated");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    produce(&client, &topic, 0..50);
    let mut reset = consumer(&client, &topic, StartOffset::Earliest, OffsetReset::Earliest);
    let mut ended = consumer(&client, &topic, StartOffset::Earliest, OffsetReset::Fail);
    assert_eq!(read_to(&mut reset, 50), (0..50).collect::<Vec<_>>());
    assert_eq!(read_to(&mut ended, 50), (0..50).collect::<Vec<_>>());

    cluster.tools().topics(&["--delete", "--topic", &topic]);
    // Deletion takes a moment after the tool is told that it is done.
    wait_until("the topic deleted", LIMIT, || !cluster.tools().topics(&["--list"]).lines().any(|line| line == topic));
    cluster.create_topic(&topic, 2);
    // More than before, so that the old position is one of the new log as well: a ghost.
    let fresh = Client::connect(&cluster.bootstrap()).expect("a client");
    produce(&fresh, &topic, 1000..1080);
    assert_eq!(read_to(&mut reset, 80), (1000..1080).collect::<Vec<_>>());
    assert_eq!(reset.offset_resets(), 1);
    let error = end_of(&mut ended);
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert!(error.to_string().contains("created again"), "{error}");
}

#[test]
fn r3_kafka_4_3_0_a_batch_damaged_on_disk_ends_the_partition_before_it() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("damaged");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    for part in [0..10, 10..20, 20..30] {
        produce(&client, &topic, part);
    }
    cluster.wait_in_sync(&topic);
    for node in 1..=cluster.node_count() {
        for segment in cluster.segments(node, &topic, 0) {
            wait_until("the replica has all batches", LIMIT, || batches(&segment).iter().any(|batch| batch.1 >= 20));
            damage(&segment, 10);
        }
    }
    let mut consumer = consumer(&client, &topic, StartOffset::Earliest, OffsetReset::Earliest);
    let mut read = Vec::new();
    let error = loop {
        match consumer.next(LIMIT) {
            Ok(record) => read.push(record.expect("a record before the limit").offset()),
            Err(error) => break error,
        }
    };
    assert_eq!(read, (0..10).collect::<Vec<_>>());
    assert_eq!((error.kind(), error.topic(), error.partition()), (ErrorKind::Corrupt, Some(&*topic), Some(0)));
    assert!(error.to_string().contains("offset 10"), "{error}");
    assert_eq!((consumer.position(), consumer.is_stopped(), consumer.offset_resets()), (Some(10), true, 0));
    consumer.seek(StartOffset::Offset(20)).expect("the user may skip it");
    assert_eq!(read_to(&mut consumer, 30), (20..30).collect::<Vec<_>>());
}

#[test]
fn o3_kafka_4_3_0_a_truncated_log_is_read_on_from_where_it_was_cut() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let topic = unique("truncated");
    cluster.tools().topics(
        &[
            &["--create", "--topic", &topic, "--replica-assignment", "1:2"][..],
            &["--config", "min.insync.replicas=1", "--config", "unclean.leader.election.enable=true"],
        ]
        .concat(),
    );
    assert_eq!(cluster.leader(&topic, 0), 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    cluster.wait_in_sync(&topic);
    produce(&client, &topic, 0..100);
    let mut reset = consumer(&client, &topic, StartOffset::Earliest, OffsetReset::Latest);
    let mut ended = consumer(&client, &topic, StartOffset::Earliest, OffsetReset::Fail);
    read_to(&mut ended, 100);

    // Node 2 misses records, then leads without them.
    cluster.kill(2);
    produce(&client, &topic, 100..150);
    assert_eq!(read_to(&mut reset, 150), (0..150).collect::<Vec<_>>());
    read_to(&mut ended, 150);
    cluster.kill(1);
    cluster.restart(2);
    assert_eq!(cluster.leader(&topic, 0), 2);
    let fresh = Client::connect(&cluster.bootstrap()).expect("a client");
    produce(&fresh, &topic, 1000..1080);

    let mut expected: Vec<i64> = (1000..1080).collect();
    assert_eq!(read_to(&mut reset, 180), expected, "from the cut at 100, which neither skips nor repeats a record");
    assert_eq!(reset.offset_resets(), 1);
    let error = end_of(&mut ended);
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert!(error.to_string().contains("truncated from offset 150 to 100"), "{error}");
    expected.splice(0..0, 0..100);
    let mut all = consumer(&fresh, &topic, StartOffset::Earliest, OffsetReset::Fail);
    assert_eq!(read_to(&mut all, 180), expected);
}

#[test]
fn b4_kafka_4_3_0_a_leader_that_hangs_is_left_once_there_is_another() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let topic = unique("hangs");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    produce(&client, &topic, 0..10);
    let mut consumer = consumer(&client, &topic, StartOffset::Earliest, OffsetReset::Fail);
    assert_eq!(read_to(&mut consumer, 10), (0..10).collect::<Vec<_>>());
    let hung = cluster.leader(&topic, 0);
    cluster.pause(hung);
    assert_ne!(cluster.leader(&topic, 0), hung);
    let running: Vec<String> = cluster.running().iter().map(|node| cluster.addresses()[node - 1].to_string()).collect();
    let fresh = Client::connect(&running.join(",")).expect("a client");
    produce(&fresh, &topic, 10..20);
    // The request timeout alone would take 30 s.
    let begin = Instant::now();
    assert_eq!(read_to(&mut consumer, 20), (10..20).collect::<Vec<_>>());
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    assert_eq!(consumer.offset_resets(), 0);
    cluster.resume(hung);
}

fn consumer(client: &Client, topic: &str, start: StartOffset, reset: OffsetReset) -> PartitionConsumer {
    PartitionConsumer::builder(client, topic, 0).start(start).offset_reset(reset).build().expect("a consumer")
}

/// Writes numbers to partition 0, in one batch if they are few.
fn produce(client: &Client, topic: &str, numbers: Range<i64>) {
    let producer = Producer::builder(client).linger(Duration::from_millis(50)).build().expect("a producer");
    for number in numbers {
        producer.send(&ProducerRecord::new(topic).partition(0).value(&number.to_string())).expect("room");
    }
    producer.flush(LIMIT).expect("all written");
    producer.close(LIMIT).expect("closed");
}

/// The numbers of all records until the position is at `end`. Their offsets must rise but where there was a reset.
#[track_caller]
fn read_to(consumer: &mut PartitionConsumer, end: i64) -> Vec<i64> {
    let deadline = Instant::now() + LIMIT;
    let mut read = Vec::new();
    while consumer.position() != Some(end) {
        assert!(Instant::now() < deadline, "at {:?} of {end} with {read:?}", consumer.position());
        let record = consumer.next(Duration::from_millis(50)).expect("no error");
        read.extend(record.map(|record| {
            let value = std::str::from_utf8(record.value().expect("a value")).expect("text");
            value.parse::<i64>().expect("a number")
        }));
    }
    read
}

/// The error that ends the partition; no record may come before.
#[track_caller]
fn end_of(consumer: &mut PartitionConsumer) -> Error {
    let error = consumer.next(LIMIT).map(|record| record.map(|record| record.offset())).expect_err("the end");
    assert!(consumer.is_stopped());
    error
}

/// Positions, base offsets and sizes of a segment's batches.
fn batches(segment: &Path) -> Vec<(u64, i64, u64)> {
    let bytes = std::fs::read(segment).expect("a segment");
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 12) {
        let base_offset = i64::from_be_bytes(header[..8].try_into().expect("8 bytes"));
        let size = 12 + u32::from_be_bytes(header[8..].try_into().expect("4 bytes")) as usize;
        found.push((at as u64, base_offset, size as u64));
        at += size;
    }
    found
}

/// Flips a bit near the end of the batch with this base offset.
fn damage(segment: &Path, base_offset: i64) {
    let (at, _, size) = batches(segment).into_iter().find(|batch| batch.1 == base_offset).expect("the batch");
    let mut file = OpenOptions::new().read(true).write(true).open(segment).expect("a segment");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at + size - 3)).expect("seek");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(at + size - 3)).expect("seek");
    file.write_all(&[byte[0] ^ 1]).expect("write");
}
