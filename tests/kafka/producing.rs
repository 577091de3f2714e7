//! What our producer writes is what Kafka's own consumers read, byte for byte.

use std::collections::BTreeMap;
use std::time::Duration;

use sarameya::batch::Compression;
use sarameya::{Acks, Client, ErrorKind, Producer, ProducerRecord, SendError, SyncProducer};

use crate::support::kafka::{Cluster, Version};
use crate::support::tools::Tools;
use crate::support::unique;

const LIMIT: Duration = Duration::from_secs(60);
/// How the console consumer writes null; old ones can't be told another way. No record here holds it as text.
const NULL: &str = "null";

#[test]
fn producer_interop_kafka_1_0_2_reads_every_codec_and_acks() {
    require_kafka!();
    kafka_reads_every_codec_and_acks(Version::V1_0_2);
}

#[test]
fn producer_interop_kafka_2_5_1_reads_every_codec_and_acks() {
    require_kafka!();
    kafka_reads_every_codec_and_acks(Version::V2_5_1);
}

#[test]
fn producer_interop_kafka_3_9_1_reads_every_codec_and_acks() {
    require_kafka!();
    kafka_reads_every_codec_and_acks(Version::V3_9_1);
}

#[test]
fn producer_interop_kafka_4_3_0_reads_every_codec_and_acks() {
    require_kafka!();
    kafka_reads_every_codec_and_acks(Version::V4_3_0);
}

#[test]
fn producer_interop_kafka_1_0_2_refuses_zstd_by_name() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V1_0_2);
    let topic = unique("zstd");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = SyncProducer::builder(&client).compression(Compression::Zstd).build_sync().expect("a producer");
    let error = producer.send(&ProducerRecord::new(&topic).value("x")).expect_err("the broker knows no zstd");
    assert!(matches!(error, SendError::NotPersisted(_)), "{error:?}");
    assert_eq!(error.error().kind(), ErrorKind::Unsupported, "{error:?}");
}

#[test]
fn producer_interop_kafka_4_3_0_partitions_keys_as_java_does() {
    require_kafka!();
    const PARTITIONS: i32 = 7;
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("murmur2");
    cluster.create_topic(&topic, PARTITIONS);
    // Lengths of all remainders by 4, and bytes above 127: where ports of murmur2 go wrong.
    let keys: Vec<String> = (0..60)
        .map(|n| format!("{}{n}", ["", "k", "ke", "key", "keyk", "ключ", "鍵", "é"][n % 8].repeat(1 + n / 8)))
        .collect();
    let input: String = keys.iter().map(|key| format!("{key}\tjava\n")).collect();
    cluster.tools().console_producer(&["--topic", &topic, "--property", "parse.key=true"], &input);

    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = Producer::builder(&client).build().expect("a producer");
    for key in &keys {
        drop(producer.send(&ProducerRecord::new(&topic).key(key).value("ours")).expect("a send"));
    }
    producer.flush(LIMIT).expect("a flush");

    let count = (2 * keys.len()).to_string();
    let read = cluster.tools().console_consumer(
        &[
            ["--topic", &topic, "--from-beginning", "--max-messages", &count].as_slice(),
            &["--property", "print.key=true", "--property", "print.partition=true"],
        ]
        .concat(),
    );
    let mut placed: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for line in read.lines() {
        // Some versions add a line that an option will go.
        let [partition, key, who] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        placed.entry(who).or_default().insert(key, partition);
    }
    assert_eq!(placed["java"].len(), keys.len());
    assert_eq!(placed["ours"], placed["java"]);
    let used: std::collections::BTreeSet<_> = placed["java"].values().collect();
    assert_eq!(used.len(), usize::try_from(PARTITIONS).expect("small"), "all partitions are used");
}

/// One record as it is sent.
struct Sample {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<String>)>,
    timestamp: i64,
}

impl Sample {
    fn record<'a>(&'a self, topic: &'a str) -> ProducerRecord<'a> {
        let mut record = ProducerRecord::new(topic).partition(0).timestamp(self.timestamp);
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        if let Some(value) = &self.value {
            record = record.value(value);
        }
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name, value),
                None => record.null_header(name),
            };
        }
        record
    }

    /// The line that the console consumer prints of it, with or without headers.
    fn line(&self, with_headers: bool) -> Vec<u8> {
        let mut line = format!("CreateTime:{}\t", self.timestamp).into_bytes();
        if with_headers {
            let each =
                |(name, value): &(String, Option<String>)| format!("{name}:{}", value.as_deref().unwrap_or(NULL));
            let all: Vec<String> = self.headers.iter().map(each).collect();
            line.extend(if all.is_empty() { "NO_HEADERS".to_owned() } else { all.join(",") }.as_bytes());
            line.push(b'\t');
        }
        line.extend(self.key.as_deref().unwrap_or(NULL.as_bytes()));
        line.push(b'\t');
        line.extend(self.value.as_deref().unwrap_or(NULL.as_bytes()));
        line
    }
}

/// Records of all shapes; `name` tells them from those of other producers.
fn samples(name: &str, first_timestamp: i64) -> Vec<Sample> {
    let header = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    // All bytes but the end of a line, by which the test tells records apart.
    let binary: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let shapes = [
        (Some(name.as_bytes().to_vec()), Some(b"value".to_vec()), Vec::new()),
        (None, Some(binary), vec![header("trace", Some("42")), header("again", Some("1")), header("again", Some("2"))]),
        (Some(name.as_bytes().to_vec()), None, vec![header("absent", None), header("empty", Some(""))]),
        (Some(Vec::new()), Some(Vec::new()), Vec::new()),
        (None, None, Vec::new()),
        (Some("ключ 鍵".into()), Some(b"compressible ".repeat(400)), vec![header("é", Some("ü"))]),
    ];
    let mut timestamp = first_timestamp;
    shapes
        .into_iter()
        .map(|(key, value, headers)| {
            // Not in order: a batch holds the difference to its first.
            timestamp += if headers.is_empty() { 1000 } else { -1 };
            Sample { key, value, headers, timestamp }
        })
        .collect()
}

fn kafka_reads_every_codec_and_acks(version: Version) {
    let cluster = Cluster::shared(version);
    let topic = unique("interop");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");

    let mut sent = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        if codec == "zstd" && version == Version::V1_0_2 {
            continue;
        }
        for acks in [Acks::None, Acks::Leader, Acks::All] {
            let name = format!("{codec}-{acks:?}");
            let batch = samples(&name, 1_600_000_000_000 + 1_000_000 * i64::try_from(sent.len()).expect("few"));
            let builder = Producer::builder(&client)
                .compression(codec.parse::<Compression>().expect("a codec"))
                .acks(acks)
                .linger(Duration::from_millis(100));
            let producer = builder.build().expect("a producer");
            let deliveries: Vec<_> =
                batch.iter().map(|each| producer.send(&each.record(&topic)).expect("a send")).collect();
            producer.flush(LIMIT).expect("a flush");
            for (at, delivery) in deliveries.iter().enumerate() {
                let written = delivery.wait().unwrap_or_else(|error| panic!("{name}: {error}"));
                let expected = (acks != Acks::None).then(|| i64::try_from(sent.len() + at).expect("few"));
                assert_eq!((written.partition(), written.offset()), (0, expected), "{name}");
            }
            producer.close(LIMIT).expect("closed");
            if acks == Acks::None {
                // Nothing tells the producer that the broker has them, and the next producer has a connection of its own.
                wait_for_end_offset(cluster, &topic, sent.len() + batch.len());
            }
            sent.extend(batch);
        }
    }

    // Console consumers before 2.7 print no headers, 3.9.1's also reads from old brokers.
    let with_headers = if version == Version::V4_3_0 { cluster.tools() } else { tools_of_3_9_1(cluster) };
    compare(&with_headers, &topic, &sent, true);
    if matches!(version, Version::V1_0_2 | Version::V2_5_1) {
        compare(&cluster.tools(), &topic, &sent, false);
    }
}

fn tools_of_3_9_1(cluster: &Cluster) -> Tools {
    Tools::new(Version::V3_9_1, cluster.direct_bootstrap(), None, &std::env::temp_dir())
}

/// Waits until the leader of the topic's only partition has this many records in its log.
fn wait_for_end_offset(cluster: &Cluster, topic: &str, end: usize) {
    let leader = cluster.leader(topic, 0);
    crate::support::wait_until(&format!("{end} records of {topic} written"), LIMIT, || {
        cluster.segments(leader, topic, 0).iter().map(|path| last_offset(path)).max().flatten() == Some(end - 1)
    });
}

/// The last offset in a segment file, from the headers of its batches.
fn last_offset(segment: &std::path::Path) -> Option<usize> {
    let bytes = std::fs::read(segment).expect("a segment");
    sarameya::batch::RecordBatches::new(bytes)
        .map_while(Result::ok)
        .last()
        .and_then(|batch| usize::try_from(batch.last_offset()).ok())
}

fn compare(tools: &Tools, topic: &str, sent: &[Sample], with_headers: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("output");
    let count = sent.len().to_string();
    let mut arguments = vec!["--topic", topic, "--from-beginning", "--max-messages", &count];
    for property in ["print.timestamp=true", "print.key=true", "print.headers=true"] {
        if with_headers || property != "print.headers=true" {
            arguments.extend(["--property", property]);
        }
    }
    // As lines of text the binary values would not survive.
    let mut consumer = tools.spec("console-consumer", &arguments).log(output.clone()).spawn();
    assert!(consumer.wait(Duration::from_secs(120)).success());
    let bytes = std::fs::read(&output).expect("its output");
    let read: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"CreateTime:")).collect();
    for (at, (read, sent)) in read.iter().zip(sent).enumerate() {
        let expected = sent.line(with_headers);
        assert_eq!(String::from_utf8_lossy(read), String::from_utf8_lossy(&expected), "record {at}");
        assert_eq!(*read, expected, "record {at}");
    }
    assert_eq!(read.len(), sent.len());
}

#[test]
fn p13_kafka_4_3_0_many_threads_send_synchronously() {
    require_kafka!();
    const THREADS: usize = 16;
    const EACH: usize = 50;
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("p13");
    cluster.create_topic(&topic, 2);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = SyncProducer::builder(&client).build_sync().expect("a producer");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (producer, topic) = (&producer, &topic);
            scope.spawn(move || {
                let partition = i32::from(thread % 2 == 0);
                let mut last = -1;
                for _ in 0..EACH {
                    let start = std::time::Instant::now();
                    let record = ProducerRecord::new(topic).partition(partition).value("x");
                    let written = producer.send(&record).expect("a send");
                    assert!(written.offset() > Some(last), "{written:?} after {last}");
                    last = written.offset().expect("an offset");
                    // A wake-up that was lost would be found only when the idle sender ends, after 30 s.
                    assert!(start.elapsed() < Duration::from_secs(25), "a send took {:?}", start.elapsed());
                }
            });
        }
    });
    producer.close(LIMIT).expect("closed");
}

#[test]
fn t4_kafka_3_9_1_a_partition_that_is_new_is_found_by_the_send_that_names_it() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V3_9_1);
    let topic = unique("grows");
    cluster.create_topic(&topic, 1);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = SyncProducer::builder(&client).build_sync().expect("a producer");
    producer.send(&ProducerRecord::new(&topic).partition(0).value("old")).expect("a partition");
    cluster.tools().topics(&["--alter", "--topic", &topic, "--partitions", "3"]);
    // The broker knows of it a moment after the controller; the client still does not.
    cluster.wait_known(&topic, 3);
    let sent = producer.send(&ProducerRecord::new(&topic).partition(2).value("new")).expect("a new partition");
    assert_eq!((sent.partition(), sent.offset()), (2, Some(0)));
    let error = producer.send(&ProducerRecord::new(&topic).partition(3).value("x")).expect_err("no such partition");
    assert_eq!((error.error().kind(), error.error().partition()), (ErrorKind::InvalidArgument, Some(3)));
}
