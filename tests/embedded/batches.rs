//! Batches that are large, damaged, compacted, aborted, or begin before the position.

use crate::support::*;
use bytes::{Bytes, BytesMut};
use sarameya::batch::{BatchBuilder, Compression, Compressor};
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::{FetchRequest, FetchResponse};
use sarameya::{ErrorKind, NewTopic, OffsetReset, PartitionConsumer, ProducerRecord, StartOffset};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Changes the records of every fetch that has some.
fn change(cluster: &Cluster, edit: impl Fn(Bytes) -> Bytes + Send + Sync + 'static) {
    cluster.rewrite::<FetchRequest>(move |response: &mut FetchResponse| {
        for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if let Some(records) = partition.records.take_if(|records| !records.is_empty()) {
                partition.records = Some(edit(records));
            }
        }
    });
}

#[test]
fn r1_a_last_batch_that_is_cut_anywhere_is_fetched_again() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    let values: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for value in &values {
        send_all(&producer, "t", 0, &[value]);
    }
    // Every fetch is cut one byte earlier, so that some cuts go through headers and some through records.
    let cut = AtomicUsize::new(0);
    change(&cluster, move |records| {
        let cut = cut.fetch_add(1, Ordering::SeqCst) % 90;
        // The first batch must be whole, as brokers see to it.
        let first = 12 + u32::from_be_bytes(records[8..12].try_into().unwrap()) as usize;
        records.slice(..(records.len() - cut.min(records.len())).max(first))
    });
    let builder = PartitionConsumer::builder(&client, "t", 0).start(StartOffset::Earliest);
    let mut reader = builder.max_partition_fetch_bytes(300).build().unwrap();
    assert_eq!(read(&mut reader, 40), values);
}

#[test]
fn r2_a_batch_above_the_fetch_limits_is_read_all_the_same() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    let producer = sync_producer(&client, |builder| builder);
    let large = "x".repeat(100_000);
    send_all(&producer, &topic, 0, &["a", &large, "b"]);
    let builder = PartitionConsumer::builder(&client, &topic, 0).start(StartOffset::Earliest);
    let mut reader = builder.max_partition_fetch_bytes(1_000).fetch_max_bytes(1_000).build().unwrap();
    assert_eq!(read(&mut reader, 3), ["a", &large, "b"]);
}

#[test]
fn r3_a_batch_that_was_damaged_on_its_way_is_read_again() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["a", "b"]);
    let first = AtomicUsize::new(0);
    change(&cluster, move |records| {
        let mut records = BytesMut::from(&records[..]);
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            let last = records.len() - 3;
            records[last] ^= 0x10;
        }
        records.freeze()
    });
    assert_eq!(read(&mut reader(&client, "t", 0), 2), ["a", "b"]);
}

#[test]
fn r3_a_batch_that_stays_damaged_ends_its_partition_and_nothing_is_skipped() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["a", "b"]);
    send_all(&producer, "t", 1, &["fine"]);
    cluster.rewrite::<FetchRequest>(|response: &mut FetchResponse| {
        let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions.filter(|partition| partition.partition_index == 0) {
            if let Some(records) = partition.records.take_if(|records| !records.is_empty()) {
                let mut records = BytesMut::from(&records[..]);
                records[67] ^= 1;
                partition.records = Some(records.freeze());
            }
        }
    });
    let mut damaged = reader(&client, "t", 0);
    let error = loop {
        match damaged.next(LIMIT) {
            Ok(record) => panic!("{record:?} was handed out"),
            Err(error) if damaged.is_stopped() => break error,
            Err(_) => {}
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!((error.topic(), error.partition()), (Some("t"), Some(0)));
    assert_eq!(read(&mut reader(&client, "t", 1), 1), ["fine"]);
}

#[test]
fn r5_gaps_that_compaction_has_made_are_read_over() {
    let cluster = Cluster::start(1).unwrap();
    let topic = NewTopic::new("t").partitions(1).config("cleanup.policy", "compact");
    cluster.create_topic_with(&topic).unwrap();
    let client = client(&cluster);
    let producer = producer(&client, |builder| builder.linger(Duration::from_millis(20)));
    // Batches of ten; compaction spares the last one.
    for batch in 0..10 {
        for n in 10 * batch..10 * batch + 10 {
            producer.send(&ProducerRecord::new("t").key(&(n % 3).to_string()).value(&n.to_string())).unwrap();
        }
        producer.flush(LIMIT).unwrap();
    }
    // Kafka: `log.cleaner.backoff.ms`.
    cluster.advance_clock(Duration::from_secs(15));
    let left = cluster.records("t", 0).unwrap();
    assert!(left.len() < 100, "some are gone");
    let mut reader = reader(&client, "t", 0);
    let values: Vec<String> =
        left.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap()).into_owned()).collect();
    assert_eq!(read(&mut reader, left.len()), values);
    producer.send(&ProducerRecord::new("t").key("z").value("last")).unwrap().wait().unwrap();
    assert_eq!(read(&mut reader, 1), ["last"]);
}

#[test]
fn r7_a_position_inside_a_batch_hands_out_nothing_before_it() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    for codec in [Compression::None, Compression::Lz4] {
        let producer = producer(&client, |builder| builder.linger(Duration::from_millis(50)).compression(codec));
        let sent: Vec<_> =
            (0..50).map(|n| producer.send(&ProducerRecord::new(&topic).value(&n.to_string())).unwrap()).collect();
        let first = sent[0].wait().unwrap().offset().unwrap();
        sent.last().unwrap().wait().unwrap();
        for skip in [0, 1, 25, 49] {
            let start = StartOffset::Offset(first + skip);
            let mut reader = PartitionConsumer::builder(&client, &topic, 0).start(start).build().unwrap();
            assert_eq!(reader.next(LIMIT).unwrap().unwrap().offset(), first + skip, "{codec}");
        }
    }
}

#[test]
fn r8_a_small_batch_that_unpacks_to_much_ends_its_partition_at_the_cap() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    for (offset, codec) in (0..).zip([Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]) {
        let producer = sync_producer(&client, |builder| builder.compression(codec));
        let sent = producer.send(&ProducerRecord::new("t").value(&vec![0; 900_000])).unwrap();
        assert_eq!(sent.offset(), Some(offset));
        let builder = PartitionConsumer::builder(&client, "t", 0).start(StartOffset::Offset(offset));
        let mut reader = builder.max_decompressed_batch_bytes(100_000).build().unwrap();
        let error = reader.next(LIMIT).unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::TooLarge, Some(0)), "{codec}: {error}");
        assert!(reader.is_stopped());
    }
}

#[test]
fn r10_a_batch_of_a_later_format_is_named_and_not_skipped() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    send_all(&sync_producer(&client, |builder| builder), "t", 0, &["a"]);
    change(&cluster, |records| {
        let mut records = BytesMut::from(&records[..]);
        records[16] = 3;
        records.freeze()
    });
    let mut reader = reader(&client, "t", 0);
    let error = reader.next(LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("magic 3"), "{error}");
}

#[test]
fn r4_counts_and_lengths_that_lie_are_corrupt_and_cost_no_memory() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    send_all(&sync_producer(&client, |builder| builder), "t", 0, &["a"]);
    // The number of records, twice, and the length.
    let lies: [(usize, [u8; 4]); 3] = [(57, [0x7f, 255, 255, 255]), (57, [255; 4]), (8, [0x80, 0, 0, 0])];
    for (at, lie) in lies {
        change(&cluster, move |records| {
            let mut records = BytesMut::from(&records[..]);
            records[at..at + 4].copy_from_slice(&lie);
            // A right checksum, so that the lie is what is found.
            let crc = crc32c::crc32c(&records[21..]).to_be_bytes();
            records[17..21].copy_from_slice(&crc);
            records.freeze()
        });
        let mut reader = reader(&client, "t", 0);
        let error = loop {
            match reader.next(LIMIT) {
                Err(error) if reader.is_stopped() => break error,
                Err(_) => {}
                Ok(record) => panic!("{record:?} was handed out"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{at} {lie:?}: {error}");
        cluster.clear_faults();
    }
    assert_eq!(read(&mut reader(&client, "t", 0), 1), ["a"]);
}

#[test]
fn r6_batches_that_hand_out_nothing_move_the_position() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["a", "b", "c"]);
    // The first two batches come without their records, as compaction leaves the last one of a producer.
    change(&cluster, |records| {
        let mut out = BytesMut::new();
        let mut rest = records;
        while rest.len() > 61 {
            let size = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
            let batch = rest.split_to(size);
            let offset = i64::from_be_bytes(batch[..8].try_into().unwrap());
            if offset < 2 {
                let mut empty = BytesMut::from(&batch[..61]);
                empty[8..12].copy_from_slice(&49u32.to_be_bytes());
                empty[57..61].fill(0);
                let crc = crc32c::crc32c(&empty[21..]).to_be_bytes();
                empty[17..21].copy_from_slice(&crc);
                out.extend_from_slice(&empty);
            } else {
                out.extend_from_slice(&batch);
            }
        }
        out.freeze()
    });
    assert_eq!(read(&mut reader(&client, "t", 0), 1), ["c"]);
}

#[test]
fn r9_every_codec_is_read_by_every_reader() {
    let target = Target::new(1);
    let client = target.client();
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let topic = target.topic(1);
        let producer = producer(&client, |builder| builder.compression(codec).linger(Duration::from_millis(20)));
        let values: Vec<String> = (0..300).map(|n| format!("{n} {}", "pad ".repeat(n % 50))).collect();
        for value in &values {
            producer.send(&ProducerRecord::new(&topic).key("k").value(value).header("h", value)).unwrap();
        }
        producer.flush(LIMIT).unwrap();
        let mut reader = reader(&client, &topic, 0);
        for value in &values {
            let record = reader.next(LIMIT).unwrap().unwrap();
            assert_eq!(record.value(), Some(value.as_bytes()), "{codec}");
            assert_eq!(record.key(), Some(&b"k"[..]));
            assert_eq!(record.headers().next().unwrap().value, Some(value.as_bytes()));
        }
    }
}

#[test]
fn r12_a_broker_that_goes_back_in_offsets_is_not_followed() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let client = client(&cluster);
    let producer = sync_producer(&client, |builder| builder);
    send_all(&producer, "t", 0, &["a", "b"]);
    let mut builder = BatchBuilder::new(Vec::new());
    builder.append(1, None, Some(b"ghost"), &[]).unwrap();
    let ghost = builder.seal(Compression::None, &mut Compressor::default()).unwrap().bytes().clone();
    let ghosts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&ghosts);
    // After the true batches, one of offset 0 again.
    change(&cluster, move |records| {
        seen.fetch_add(1, Ordering::SeqCst);
        [records, ghost.clone()].concat().into()
    });
    let builder = PartitionConsumer::builder(&client, "t", 0).start(StartOffset::Earliest);
    let mut reader = builder.offset_reset(OffsetReset::Fail).build().unwrap();
    let mut values = Vec::new();
    for _ in 0..20 {
        match reader.next(Duration::from_millis(50)) {
            Ok(Some(record)) => values.push(record.value().unwrap().to_vec()),
            Ok(None) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                break;
            }
        }
    }
    assert!(ghosts.load(Ordering::SeqCst) > 0);
    assert!(!values.contains(&b"ghost".to_vec()), "nothing is handed out twice");
}
