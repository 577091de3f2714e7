//! Producing and consuming.

use sarameya::batch::Compression;
use sarameya::embedded::Cluster;
use sarameya::{
    Client, ConsumerRecord, OffsetReset, PartitionConsumer, Producer, ProducerRecord, StartOffset, SyncProducer,
};
use std::time::{Duration, Instant};

/// Nothing here takes that long.
const LIMIT: Duration = Duration::from_secs(60);

fn started(brokers: usize, partitions: i32) -> (Cluster, Client) {
    let cluster = Cluster::start(brokers).unwrap();
    cluster.create_topic("t", partitions).unwrap();
    let client = Client::connect(cluster.bootstrap_servers()).unwrap();
    (cluster, client)
}

fn consumer(client: &Client, partition: i32) -> PartitionConsumer {
    PartitionConsumer::builder(client, "t", partition).start(StartOffset::Earliest).build().unwrap()
}

/// The next records of a partition.
#[track_caller]
fn read(consumer: &mut PartitionConsumer, count: usize) -> Vec<ConsumerRecord> {
    let end = Instant::now() + LIMIT;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(Instant::now() < end, "{} of {count} records came", records.len());
        records.extend(consumer.next(Duration::from_secs(1)).unwrap());
    }
    records
}

#[test]
fn what_is_sent_with_any_codec_is_in_the_log_and_comes_back() {
    let (cluster, client) = started(1, 1);
    let value = "v".repeat(500);
    let mut sent = 0;
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let producer = SyncProducer::builder(&client).compression(codec).build_sync().unwrap();
        let name = codec.to_string();
        let record = ProducerRecord::new("t").key(&name).value(&value).header("h", "1").null_header("null");
        let metadata = producer.send(&record).unwrap();
        assert_eq!((metadata.partition(), metadata.offset()), (0, Some(sent)));
        sent += 1;
        producer.close(LIMIT).unwrap();
    }
    let stored = cluster.records("t", 0).unwrap();
    let mut consumer = consumer(&client, 0);
    let read = read(&mut consumer, stored.len());
    assert_eq!(stored.len() as i64, sent);
    for ((stored, read), offset) in stored.iter().zip(&read).zip(0..) {
        assert_eq!((stored.offset, read.offset()), (offset, offset));
        assert_eq!((stored.key.as_deref(), stored.value.as_deref()), (read.key(), Some(value.as_bytes())));
        assert_eq!(stored.headers, [("h".to_owned(), Some("1".into())), ("null".to_owned(), None)]);
        assert!(stored.producer_id >= 0 && stored.control.is_none());
    }
    assert_eq!(cluster.high_watermark("t", 0).unwrap(), sent);
    assert_eq!(consumer.high_watermark(), Some(sent));
}

#[test]
fn a_reader_that_waits_gets_each_record_once_and_in_order() {
    let (_cluster, client) = started(3, 3);
    let reader = client.clone();
    let count = 5_000;
    let readers: Vec<_> = (0..3)
        .map(|partition| {
            let mut consumer = consumer(&reader, partition);
            std::thread::spawn(move || read(&mut consumer, count))
        })
        .collect();
    let producer = Producer::builder(&client).build().unwrap();
    for index in 0..count {
        for partition in 0..3 {
            let value = format!("{partition}/{index}");
            producer.send(&ProducerRecord::new("t").partition(partition).value(&value)).unwrap();
        }
    }
    producer.close(LIMIT).unwrap();
    for (partition, reader) in readers.into_iter().enumerate() {
        for (index, record) in reader.join().unwrap().iter().enumerate() {
            assert_eq!(record.value(), Some(format!("{partition}/{index}").as_bytes()));
        }
    }
}

#[test]
fn records_survive_their_leader_once_each() {
    let (cluster, client) = started(3, 1);
    let producer = Producer::builder(&client).delivery_timeout(LIMIT).build().unwrap();
    let mut deliveries = Vec::new();
    for index in 0..3_000 {
        let value = index.to_string();
        deliveries.push(producer.send(&ProducerRecord::new("t").value(&value)).unwrap());
        if index % 1_000 == 500 {
            let broker = index / 1_000 + 1;
            cluster.stop_broker(broker);
            cluster.start_broker(broker).unwrap();
        }
    }
    producer.flush(LIMIT).unwrap();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
    let stored = cluster.records("t", 0).unwrap();
    let values: Vec<String> =
        stored.iter().map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap()).into_owned()).collect();
    assert_eq!(values, (0..3_000).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_reader_whose_records_were_deleted_goes_where_its_policy_says() {
    let (cluster, client) = started(1, 1);
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    for index in 0..10 {
        producer.send(&ProducerRecord::new("t").value(&index.to_string())).unwrap();
    }
    cluster.reset_log_start("t", 0, 7).unwrap();
    let mut consumer = PartitionConsumer::builder(&client, "t", 0)
        .start(StartOffset::Offset(2))
        .offset_reset(OffsetReset::Earliest)
        .build()
        .unwrap();
    let offsets: Vec<i64> = read(&mut consumer, 3).iter().map(ConsumerRecord::offset).collect();
    assert_eq!((offsets, consumer.offset_resets()), (vec![7, 8, 9], 1));
    cluster.reset_log_start("t", 0, 100).unwrap();
    producer.send(&ProducerRecord::new("t").value("x")).unwrap();
    assert_eq!(read(&mut consumer, 1)[0].offset(), 100);
    assert_eq!(cluster.log_start_offset("t", 0).unwrap(), 100);
}

#[test]
fn a_log_that_was_cut_grows_again_in_a_new_epoch() {
    let (cluster, client) = started(2, 1);
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    for index in 0..10 {
        producer.send(&ProducerRecord::new("t").value(&index.to_string())).unwrap();
    }
    cluster.truncate("t", 0, 4).unwrap();
    assert_eq!((cluster.records("t", 0).unwrap().len(), cluster.log_end_offset("t", 0).unwrap()), (4, 4));
    let other = SyncProducer::builder(&client).idempotence(false).build_sync().unwrap();
    assert_eq!(other.send(&ProducerRecord::new("t").value("new")).unwrap().offset(), Some(4));
    let records = read(&mut consumer(&client, 0), 5);
    assert_eq!((records[3].leader_epoch(), records[4].leader_epoch()), (0, 1));
    let error = cluster.records("absent", 0).unwrap_err();
    assert_eq!(error.code(), Some(sarameya::ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}
