//! What Java's producers write is what our consumers read, and they get behind all there is in a log.

use std::time::{Duration, Instant};

use sarameya::{Client, ConsumerRecord, IsolationLevel, PartitionConsumer, Producer, ProducerRecord, StartOffset};

use crate::history;
use crate::support::kafka::{Cluster, Version};
use crate::support::{unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const EACH: usize = 30;

#[test]
fn r9_kafka_1_0_2_codecs_of_java_are_read() {
    require_kafka!();
    codecs_of_java_are_read(Version::V1_0_2);
}

#[test]
fn r9_kafka_2_5_1_codecs_of_java_are_read() {
    require_kafka!();
    codecs_of_java_are_read(Version::V2_5_1);
}

#[test]
fn r9_kafka_3_9_1_codecs_of_java_are_read() {
    require_kafka!();
    codecs_of_java_are_read(Version::V3_9_1);
}

#[test]
fn r9_kafka_4_3_0_codecs_of_java_are_read() {
    require_kafka!();
    codecs_of_java_are_read(Version::V4_3_0);
}

fn codecs_of_java_are_read(version: Version) {
    let cluster = Cluster::shared(version);
    let topic = unique("codecs");
    cluster.create_topic(&topic, 1);
    let mut codecs = vec!["none", "gzip", "snappy", "lz4"];
    if version != Version::V1_0_2 {
        codecs.push("zstd");
    }
    let steps: Vec<String> = codecs.iter().map(|codec| format!("plain:0:{codec}:{EACH}")).collect();
    cluster.tools().write(&topic, &steps.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.tools().console_producer(&["--topic", &topic], "by the console\n");

    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let end = codecs.len() * EACH + 1;
    let read = read_to(consumer(&client, &topic, StartOffset::Earliest), end);
    assert_eq!(offsets(&read), (0..i64::try_from(end).expect("few")).collect::<Vec<_>>());
    for (at, record) in read[..end - 1].iter().enumerate() {
        let number = at % EACH;
        let expected = format!("{}-{number}", codecs[at / EACH]);
        assert_eq!((text(record.key()), text(record.value())), (expected.as_str(), expected.as_str()));
        assert_eq!(record.timestamp(), 1_600_000_000_000 + i64::try_from(number).expect("few"));
        let headers: Vec<_> = record.headers().map(|header| (header.key, text(header.value))).collect();
        assert_eq!(headers, [("number", number.to_string().as_str())]);
    }
    assert_eq!((read[end - 1].key(), text(read[end - 1].value())), (None, "by the console"));

    // R7: each start lies inside of a batch, which the broker sends whole.
    for start in [1, EACH / 2, EACH + 3, 2 * EACH - 1] {
        let from = StartOffset::Offset(i64::try_from(start).expect("few"));
        let rest = read_to(consumer(&client, &topic, from), end);
        assert_eq!(offsets(&rest), offsets(&read[start..]), "from {start}");
    }
}

#[test]
fn r9_kafka_1_0_2_formats_before_0_11_are_read() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V1_0_2);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    for (format, has_time) in [("0.9.0", false), ("0.10.2", true)] {
        let topic = unique("format");
        cluster.create_topic_with(&topic, 1, 1, &[("message.format.version", format)]);
        let codecs = ["none", "gzip", "snappy", "lz4"];
        let steps: Vec<String> = codecs.iter().map(|codec| format!("bare:0:{codec}:{EACH}")).collect();
        cluster.tools().write(&topic, &steps.iter().map(String::as_str).collect::<Vec<_>>());
        let end = codecs.len() * EACH;
        let read = read_to(consumer(&client, &topic, StartOffset::Earliest), end);
        assert_eq!(offsets(&read), (0..i64::try_from(end).expect("few")).collect::<Vec<_>>(), "format {format}");
        for (at, record) in read.iter().enumerate() {
            let number = at % EACH;
            assert_eq!(text(record.value()), format!("{}-{number}", codecs[at / EACH]), "format {format}");
            let time = if has_time { 1_600_000_000_000 + i64::try_from(number).expect("few") } else { -1 };
            assert_eq!(record.timestamp(), time, "format {format}");
        }
        let rest = read_to(consumer(&client, &topic, StartOffset::Offset(45)), end);
        assert_eq!(offsets(&rest), offsets(&read[45..]), "format {format}");
    }
}

#[test]
fn i21_kafka_1_0_2_transactions_are_read_as_asked() {
    require_kafka!();
    transactions_are_read_as_asked(Version::V1_0_2);
}

#[test]
fn i21_kafka_2_5_1_transactions_are_read_as_asked() {
    require_kafka!();
    transactions_are_read_as_asked(Version::V2_5_1);
}

#[test]
fn i21_kafka_4_3_0_transactions_are_read_as_asked() {
    require_kafka!();
    transactions_are_read_as_asked(Version::V4_3_0);
}

fn transactions_are_read_as_asked(version: Version) {
    let cluster = Cluster::shared(version);
    let topic = unique("transactions");
    cluster.create_topic(&topic, 2);
    // Partition 0 ends with an aborted transaction: behind the last record that is read there is still something.
    let steps =
        ["commit:0:a:5", "abort:0:b:5", "commit:0:c:3", "abort:0:d:3", "commit:1:e:2", "abort:1:f:2", "open:1:g:4"];
    cluster.tools().write(&topic, &steps);

    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let read = |partition, isolation, end| {
        let builder = PartitionConsumer::builder(&client, &*topic, partition);
        let consumer = builder.start(StartOffset::Earliest).isolation_level(isolation).build().expect("a consumer");
        names(&read_to(consumer, end))
    };
    // Each transaction that ended has one more offset, its marker.
    assert_eq!(read(0, IsolationLevel::ReadCommitted, 20), "aaaaaccc");
    assert_eq!(read(0, IsolationLevel::ReadUncommitted, 20), "aaaaabbbbbcccddd");
    assert_eq!(read(1, IsolationLevel::ReadCommitted, 6), "ee");
    assert_eq!(read(1, IsolationLevel::ReadUncommitted, 10), "eeffgggg");
}

#[test]
fn r5_kafka_2_5_1_gaps_of_compaction_are_read_over() {
    require_kafka!();
    gaps_of_compaction_are_read_over(Version::V2_5_1);
}

#[test]
fn r5_kafka_4_3_0_gaps_of_compaction_are_read_over() {
    require_kafka!();
    gaps_of_compaction_are_read_over(Version::V4_3_0);
}

fn gaps_of_compaction_are_read_over(version: Version) {
    const BATCHES: usize = 20;
    let cluster = Cluster::shared(version);
    let topic = unique("compacted");
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.0")];
    cluster.create_topic_with(&topic, 1, cluster.node_count().min(3), &settings);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = Producer::builder(&client).linger(Duration::from_secs(1)).build().expect("a producer");
    let send = |key: &str, value: &str| {
        drop(producer.send(&ProducerRecord::new(&topic).key(key).value(value)).expect("a send"));
    };
    for batch in 0..BATCHES {
        // Only the middle record stays: first and last of the batch go, and its offsets stay as they were.
        send("first", &format!("load:first:{batch}"));
        send(&format!("stays-{batch}"), &format!("load:stays-{batch}:0"));
        send("last", &format!("load:last:{batch}"));
        producer.flush(LIMIT).expect("a flush");
    }
    // The open segment is never cleaned: two more, each in one of its own.
    for last in ["last", "end"] {
        std::thread::sleep(Duration::from_millis(400));
        send(last, &format!("load:{last}:{BATCHES}"));
        producer.flush(LIMIT).expect("a flush");
    }

    let leader = cluster.leader(&topic, 0);
    let counted = || {
        let files = cluster.segments(leader, &topic, 0);
        let bytes = files.iter().filter_map(|path| std::fs::read(path).ok()).map(sarameya::batch::RecordBatches::new);
        bytes.flat_map(|batches| batches.map_while(Result::ok)).filter_map(|batch| batch.count()).sum::<i32>()
    };
    let stay = i32::try_from(BATCHES).expect("few") + 3;
    wait_until("the cleaner has made gaps", LIMIT, || counted() == stay);

    let end = 3 * BATCHES + 2;
    let read = read_to(consumer(&client, &topic, StartOffset::Earliest), end);
    let kept = &history::log(cluster, &topic, 1)[&0];
    assert_eq!(offsets(&read), kept.iter().map(|entry| entry.offset).collect::<Vec<_>>());
    assert!(read.iter().map(|record| text(record.value())).eq(kept.iter().map(|entry| entry.value.as_str())));
    // At a gap of each kind: before, behind and in the place of what is left.
    for start in [3, 4, 5, 6] {
        let rest = read_to(consumer(&client, &topic, StartOffset::Offset(start)), end);
        let expected = read.iter().map(ConsumerRecord::offset).filter(|offset| *offset >= start);
        assert_eq!(offsets(&rest), expected.collect::<Vec<_>>(), "from {start}");
    }
}

#[test]
fn r2_kafka_4_3_0_batches_above_the_fetch_limits_are_read() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("large");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = Producer::builder(&client).build_sync().expect("a producer");
    let large = vec![b'x'; 900_000];
    for value in [&b"small"[..], &large, b"small", &large] {
        producer.send(&ProducerRecord::new(&topic).value(value)).expect("a send");
    }
    let builder = PartitionConsumer::builder(&client, &*topic, 0).start(StartOffset::Earliest);
    let consumer = builder.max_partition_fetch_bytes(1000).fetch_max_bytes(2000).build().expect("a consumer");
    let lengths: Vec<_> = read_to(consumer, 4).iter().map(|record| record.value().map_or(0, <[u8]>::len)).collect();
    assert_eq!(lengths, [5, 900_000, 5, 900_000]);
}

fn consumer(client: &Client, topic: &str, start: StartOffset) -> PartitionConsumer {
    PartitionConsumer::builder(client, topic, 0).start(start).build().expect("a consumer")
}

/// All records until the position is at `end`, and none may follow.
#[track_caller]
fn read_to(mut consumer: PartitionConsumer, end: usize) -> Vec<ConsumerRecord> {
    let deadline = Instant::now() + LIMIT;
    let end = Some(i64::try_from(end).expect("few"));
    let mut read = Vec::new();
    while consumer.position() != end {
        assert!(Instant::now() < deadline, "at {:?} of {end:?} with {} records", consumer.position(), read.len());
        read.extend(consumer.next(Duration::from_millis(50)).expect("a record"));
    }
    assert!(consumer.next(Duration::from_millis(300)).expect("nothing more").is_none());
    assert_eq!((consumer.position(), consumer.offset_resets()), (end, 0));
    consumer.close(LIMIT).expect("closed");
    read
}

fn offsets(records: &[ConsumerRecord]) -> Vec<i64> {
    records.iter().map(ConsumerRecord::offset).collect()
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.expect("not null")).expect("text")
}

/// The first letter of each value.
fn names(records: &[ConsumerRecord]) -> String {
    records.iter().filter_map(|record| text(record.value()).chars().next()).collect()
}
