use super::*;
use crate::ErrorCode;
use crate::batch::{BatchBuilder, Compression, Compressor, Decompressor};

const NOW: i64 = 1_700_000_000_000;

fn config(settings: &[(&str, &str)]) -> LogConfig {
    let configs = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let topic = super::super::topics::Topic { name: "t".into(), id: [1; 16], partitions: Vec::new(), configs };
    LogConfig::of(&topic, &super::super::Settings::default())
}

/// Keys and values of a batch, its producer (id, epoch, sequence), and whether it is in a transaction.
fn checked(records: &[(&str, Option<&str>)], producer: (i64, i16, i32), transactional: bool) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Vec::new());
    for (index, (key, value)) in (0..).zip(records) {
        builder.append(NOW + index, Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
    }
    let mut sealed = builder.seal(Compression::None, &mut Compressor::default()).unwrap();
    sealed.stamp(producer.0, producer.1, producer.2, transactional);
    match check(Some(sealed.bytes()), true) {
        Checked::Sound(batch) => batch,
        other => panic!("{other:?}"),
    }
}

/// A batch of records with these timestamps and the same key.
fn at(timestamps: &[i64]) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Vec::new());
    timestamps.iter().for_each(|at| _ = builder.append(*at, Some(b"a"), Some(b"value"), &[]).unwrap());
    let sealed = builder.seal(Compression::None, &mut Compressor::default()).unwrap();
    match check(Some(sealed.bytes()), true) {
        Checked::Sound(batch) => batch,
        other => panic!("{other:?}"),
    }
}

fn append(log: &mut Log, keys: &[&str], producer: (i64, i16, i32), transactional: bool, epoch: i32) -> i64 {
    let records: Vec<_> = keys.iter().map(|key| (*key, Some("value"))).collect();
    let batch = checked(&records, producer, transactional);
    log.append(batch, &config(&[]), epoch, NOW).unwrap().base_offset
}

fn offsets(log: &Log) -> Vec<i64> {
    let mut offsets = Vec::new();
    for batch in log.batches() {
        batch.verify_crc().unwrap();
        let decoded = batch.decode(&mut Decompressor::new(), UNPACKED_BYTES).unwrap();
        offsets.extend(decoded.records().map(|record| record.unwrap().offset()));
    }
    offsets
}

fn marker(producer_id: i64, producer_epoch: i16, commit: bool, coordinator_epoch: i32) -> Marker {
    Marker { producer_id, producer_epoch, commit, coordinator_epoch }
}

const NOBODY: (i64, i16, i32) = (-1, -1, -1);

#[test]
fn the_stable_end_is_where_the_first_open_transaction_begins() {
    let mut log = Log::default();
    append(&mut log, &["a"], NOBODY, false, 0);
    assert_eq!(append(&mut log, &["b", "c"], (1, 0, 0), true, 0), 1);
    assert_eq!(append(&mut log, &["d"], (2, 0, 0), true, 0), 3);
    assert_eq!((log.last_stable_offset(), log.high_watermark()), (1, 4));
    assert_eq!(log.end_transaction(&marker(1, 0, false, 0), 0, NOW), Ok(4));
    assert_eq!(log.last_stable_offset(), 3);
    assert_eq!(log.end_transaction(&marker(2, 0, true, 0), 0, NOW), Ok(5));
    assert_eq!(log.last_stable_offset(), 6);
    let aborted: Vec<_> = log.aborted_between(0, 6).copied().collect();
    assert_eq!(aborted, [Aborted { producer_id: 1, first_offset: 1, last_offset: 4 }]);
    assert_eq!(log.aborted_between(0, 1).count(), 0, "ends before it begins");
    assert_eq!(log.aborted_between(5, 6).count(), 0, "begins after its marker");
    let control: Vec<_> = log.batches().filter_map(|batch| batch.control_type().unwrap()).collect();
    assert_eq!(control, [ControlType::Abort, ControlType::Commit]);
}

#[test]
fn what_has_been_deleted_is_neither_unstable_nor_aborted() {
    let mut log = Log::default();
    append(&mut log, &["a", "b"], (1, 0, 0), true, 0);
    assert!(log.advance_start(1));
    assert_eq!(log.last_stable_offset(), 1, "not before the start");
    assert_eq!(log.end_transaction(&marker(1, 0, false, 0), 0, NOW), Ok(2));
    assert_eq!(log.aborted_between(2, 3).count(), 1, "its marker is still there");
    assert!(log.advance_start(3));
    assert_eq!(log.aborted_between(0, 3).count(), 0);
}

#[test]
fn markers_are_fenced_and_transactions_exclude_other_writes() {
    let mut log = Log::default();
    append(&mut log, &["a"], (1, 5, 0), true, 0);
    let plain = checked(&[("b", None)], (1, 5, 1), false);
    let refused = log.append(plain, &config(&[]), 0, NOW).unwrap_err();
    assert_eq!(refused.code, ErrorCode::INVALID_TXN_STATE);
    assert_eq!(log.end_transaction(&marker(1, 4, true, 0), 0, NOW), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(log.end_transaction(&marker(1, 5, true, 3), 0, NOW), Ok(1));
    assert_eq!(log.end_transaction(&marker(1, 5, true, 2), 0, NOW), Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED));
    // A marker with a later epoch starts the sequence anew.
    assert_eq!(log.end_transaction(&marker(1, 6, false, 3), 0, NOW), Ok(2));
    assert_eq!(log.aborted_between(0, 9).count(), 0, "it had nothing in this partition");
    append(&mut log, &["c"], (1, 6, 0), true, 0);
}

#[test]
fn truncation_cuts_within_a_batch_and_takes_the_state_back() {
    let mut log = Log::default();
    append(&mut log, &["a", "b", "c"], (1, 0, 0), false, 0);
    append(&mut log, &["d"], (1, 0, 3), false, 1);
    append(&mut log, &["e"], (2, 0, 0), true, 2);
    log.end_transaction(&marker(2, 0, false, 0), 2, NOW).unwrap();
    log.truncate(99);
    assert_eq!(log.end_offset(), 6, "not that long");
    log.truncate(2);
    assert_eq!([1, 2].map(|epoch| log.end_offset_for_epoch(epoch)), [None, None], "nothing is left of them");
    assert_eq!((offsets(&log), log.end_offset(), log.last_stable_offset()), (vec![0, 1], 2, 2));
    assert_eq!((log.aborted_between(0, 9).count(), log.producers().len()), (0, 1));
    assert_eq!(log.producers().get(1).unwrap().last_sequence(), 1);
    assert_eq!(append(&mut log, &["f"], (1, 0, 2), false, 3), 2);
    assert_eq!(log.end_offset_for_epoch(1), Some((0, 2)));
    assert_eq!(log.end_offset_for_epoch(3), Some((3, 3)));
    log.truncate(0);
    assert_eq!((log.end_offset(), log.size(), log.producers().len()), (0, 0, 0));
    log.truncate(-5);
    assert_eq!((log.start_offset(), log.end_offset()), (0, 0));
}

#[test]
fn the_start_moves_up_to_the_end_and_drops_whole_batches() {
    let mut log = Log::default();
    append(&mut log, &["a", "b"], NOBODY, false, 0);
    append(&mut log, &["c"], NOBODY, false, 1);
    assert!(!log.advance_start(4));
    assert!(log.advance_start(1));
    assert_eq!((offsets(&log), log.start_offset()), (vec![0, 1, 2], 1));
    assert!(log.advance_start(3));
    assert_eq!((offsets(&log), log.size(), log.end_offset()), (vec![], 0, 3));
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 3)), "the past has been deleted");
    log.restart(100);
    assert_eq!(append(&mut log, &["d"], NOBODY, false, 1), 100);
}

#[test]
fn retention_deletes_by_age_and_by_size_to_the_batch() {
    let mut log = Log::default();
    for _ in 0..4 {
        append(&mut log, &["a"], NOBODY, false, 0);
    }
    let size = log.size();
    log.apply_retention(&config(&[("retention.bytes", &(size / 2).to_string())]), NOW);
    assert_eq!((offsets(&log), log.start_offset()), (vec![2, 3], 2));
    log.apply_retention(&config(&[("retention.ms", "1000")]), NOW + 1000);
    assert_eq!(offsets(&log), [2, 3]);
    log.apply_retention(&config(&[("retention.ms", "1000")]), NOW + 1001);
    assert_eq!((offsets(&log), log.start_offset()), (vec![], 4));
}

#[test]
fn records_without_a_time_are_as_old_as_their_write_and_without_a_limit_nothing_is_too_old() {
    let mut log = Log::default();
    log.append(at(&[-1, -1]), &config(&[]), 0, NOW).unwrap();
    log.apply_retention(&config(&[("retention.ms", "-1")]), NOW + 1_000_000_000_000);
    log.apply_retention(&config(&[("retention.ms", "1000")]), NOW + 1000);
    assert_eq!((offsets(&log), log.max_timestamp()), (vec![0, 1], None));
    log.apply_retention(&config(&[("retention.ms", "1000")]), NOW + 1001);
    assert_eq!((offsets(&log), log.start_offset()), (vec![], 2));
}

#[test]
fn a_record_is_found_by_its_time_among_those_that_are_left() {
    let mut log = Log::default();
    log.append(at(&[NOW, NOW + 5, NOW + 9]), &config(&[]), 0, NOW).unwrap();
    let found = |log: &Log| log.find_timestamp(NOW).map(|found| (found.offset, found.timestamp));
    assert_eq!(found(&log), Some((0, NOW)));
    log.advance_start(1);
    assert_eq!(found(&log), Some((1, NOW + 5)), "the batch is there, its first record is deleted");
}

#[test]
fn memory_is_given_back_oldest_first_with_producers_that_are_gone() {
    let mut log = Log::default();
    append(&mut log, &["a"], (1, 0, 0), false, 0);
    assert_eq!(log.memory(), log.size() + BATCH_OVERHEAD + PRODUCER_OVERHEAD);
    for sequence in 0..20 {
        append(&mut log, &["a"], (2, 0, sequence), false, 0);
    }
    let memory = log.memory();
    log.shrink(memory / 2);
    assert!(log.memory() <= memory / 2 + BATCH_OVERHEAD);
    assert_eq!(*offsets(&log).last().unwrap(), 20);
    assert!(log.producers().get(1).is_none() && log.producers().get(2).is_some());
}

#[test]
fn compaction_keeps_the_last_of_each_key_and_the_offsets() {
    let settings = [("cleanup.policy", "compact"), ("delete.retention.ms", "1000"), ("min.cleanable.dirty.ratio", "0")];
    let config = config(&settings);
    let mut log = Log::default();
    append(&mut log, &["a", "b", "a"], NOBODY, false, 0);
    append(&mut log, &["a"], (1, 0, 0), true, 0);
    log.end_transaction(&marker(1, 0, false, 0), 0, NOW).unwrap();
    let tombstone = checked(&[("b", None)], NOBODY, false);
    log.append(tombstone, &config, 0, NOW).unwrap();
    append(&mut log, &["b"], (2, 0, 0), true, 0);
    append(&mut log, &["c"], NOBODY, false, 0);
    log.compact(&config, NOW);
    // The aborted record is gone; the open transaction and what comes after it are left alone.
    assert_eq!(offsets(&log), [2, 4, 5, 6, 7]);
    assert_eq!(log.batches().next().unwrap().base_offset(), 0);
    assert_eq!((log.start_offset(), log.end_offset()), (0, 8));
    let slice = Slice { offset: 0, end_offset: 8, max_bytes: 1 << 20, whole_first_batch: true };
    assert_eq!(log.read(slice).unwrap().records.len() as u64, log.size());
    log.end_transaction(&marker(2, 0, true, 0), 0, NOW).unwrap();
    log.compact(&config, NOW + 2000);
    assert_eq!(offsets(&log), [2, 4, 6, 7, 8], "the tombstone has had its time");
}

#[test]
fn compaction_leaves_young_batches_alone_and_nothing_of_those_without_a_record_that_is_wanted() {
    let settings =
        [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "1000"), ("min.cleanable.dirty.ratio", "0")];
    let config = config(&settings);
    let mut log = Log::default();
    for written in [NOW, NOW + 500, NOW + 500] {
        log.append(at(&[NOW]), &config, 0, written).unwrap();
    }
    log.compact(&config, NOW + 1000);
    assert_eq!(offsets(&log), [0, 1, 2], "the second is not old enough to replace the first");
    log.compact(&config, NOW + 1500);
    assert_eq!((offsets(&log), log.batches().count()), (vec![1, 2], 2));
}

#[test]
fn what_comes_in_place_of_compacted_records_is_compacted_as_well() {
    let config = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
    let mut log = Log::default();
    for _ in 0..4 {
        append(&mut log, &["a"], NOBODY, false, 0);
    }
    log.compact(&config, NOW);
    log.truncate(1);
    for _ in 0..3 {
        append(&mut log, &["a"], NOBODY, false, 1);
    }
    log.compact(&config, NOW);
    assert_eq!(offsets(&log), [2, 3]);
}

#[test]
fn compaction_needs_more_than_its_ratio() {
    let config = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "1")]);
    let mut log = Log::default();
    for _ in 0..4 {
        append(&mut log, &["a"], NOBODY, false, 0);
    }
    log.compact(&config, NOW);
    assert_eq!(offsets(&log), [0, 1, 2, 3], "more than all of it can't be dirty");
}

#[test]
fn compaction_waits_until_enough_has_come() {
    let config = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.6")]);
    let mut log = Log::default();
    for key in ["a", "b", "c", "d", "x"] {
        append(&mut log, &[key], NOBODY, false, 0);
    }
    log.compact(&config, NOW);
    for key in ["a", "y"] {
        append(&mut log, &[key], NOBODY, false, 0);
    }
    log.compact(&config, NOW);
    assert_eq!(offsets(&log), [0, 1, 2, 3, 4, 5, 6]);
    for _ in 0..8 {
        append(&mut log, &["a"], NOBODY, false, 0);
    }
    log.compact(&config, NOW);
    assert_eq!(offsets(&log), [1, 2, 3, 4, 6, 13, 14]);
}

#[test]
fn reads_are_cut_to_the_byte_but_the_first_batch_may_be_whole() {
    let mut log = Log::default();
    for _ in 0..3 {
        append(&mut log, &["a", "b"], NOBODY, false, 0);
    }
    let size = (log.size() / 3) as usize;
    let read = |offset, max_bytes, whole_first_batch, end_offset| {
        let read = log.read(Slice { offset, end_offset, max_bytes, whole_first_batch }).unwrap();
        (read.records.len(), read.next_offset)
    };
    assert_eq!(read(0, 1 << 20, false, 6), (3 * size, 6));
    assert_eq!(read(3, 1 << 20, false, 6), (2 * size, 6), "from the batch that holds the offset");
    assert_eq!(read(0, 2 * size - 1, false, 6), (2 * size - 1, 4));
    assert_eq!(read(0, size - 1, false, 6), (0, 0));
    assert_eq!(read(0, 0, true, 6), (size, 2));
    assert_eq!(read(0, 1 << 20, true, 4), (2 * size, 4));
    assert_eq!(read(6, 1 << 20, true, 6), (0, 6));
    let past = Slice { offset: 7, end_offset: 6, max_bytes: 1, whole_first_batch: true };
    assert_eq!(log.read(past).unwrap_err(), ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn expired_producers_are_forgotten_but_not_their_transactions() {
    let mut log = Log::default();
    append(&mut log, &["a"], (1, 0, 0), false, 0);
    append(&mut log, &["a"], (2, 0, 0), true, 0);
    log.expire_producers(NOW - 1);
    assert_eq!(log.producers().len(), 2);
    log.expire_producers(NOW);
    assert!(log.producers().get(1).is_none() && log.producers().get(2).is_some());
    // Whoever is unknown may go on in his sequence.
    append(&mut log, &["a"], (1, 0, 1), false, 0);
}

#[test]
fn a_marker_is_a_sign_of_life_of_its_producer() {
    let mut log = Log::default();
    append(&mut log, &["a"], (1, 0, 0), true, 0);
    log.end_transaction(&marker(1, 0, true, 0), 0, NOW + 5000).unwrap();
    log.expire_producers(NOW + 4999);
    assert!(log.producers().get(1).is_some());
    for (start, known) in [(1, true), (2, false)] {
        log.advance_start(start);
        log.shrink(u64::MAX);
        assert_eq!(log.producers().get(1).is_some(), known, "from {start} on");
    }
}

#[test]
fn whatever_happens_to_a_log_it_stays_whole() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let config = config(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
        let mut log = Log::default();
        let mut sequences = [0; 3];
        for step in 0..60 {
            match random.u32(..10) {
                0 => log.truncate(random.i64(log.start_offset..=log.end_offset)),
                1 => _ = log.advance_start(random.i64(log.start_offset..=log.end_offset)),
                2 => log.compact(&config, NOW),
                3 => log.shrink(random.u64(1000..5000)),
                4 => _ = log.end_transaction(&marker(random.i64(0..3), 0, random.bool(), 0), step, NOW),
                _ => {
                    let id = random.usize(..3);
                    // What the log still knows of the producer decides whether it goes on or starts anew.
                    let next = log.producers().get(id as i64).map_or(sequences[id], |known| known.last_sequence() + 1);
                    let keys = ["a", "b", "c", "d"];
                    let records: Vec<_> =
                        (0..random.usize(1..6)).map(|_| (keys[random.usize(..4)], Some("v"))).collect();
                    let batch = checked(&records, (id as i64, 0, next), id == 2);
                    let expected = log.end_offset;
                    assert_eq!(log.append(batch, &config, step, NOW).unwrap().base_offset, expected, "{seed}");
                    sequences[id] = next + records.len() as i32;
                }
            }
            is_whole(&log, seed);
        }
    }
}

fn is_whole(log: &Log, seed: u64) {
    assert!(log.start_offset <= log.last_stable_offset() && log.last_stable_offset() <= log.end_offset, "{seed}");
    let size: usize = log.batches().map(|batch| batch.bytes().len()).sum();
    assert_eq!(log.size(), size as u64, "{seed}");
    let offsets = offsets(log);
    assert!(offsets.is_sorted_by(|a, b| a < b), "{seed}");
    for offset in log.start_offset..=log.end_offset {
        let slice = Slice { offset, end_offset: log.end_offset, max_bytes: 1 << 20, whole_first_batch: true };
        let read = log.read(slice).unwrap();
        assert_eq!(read.records.len() as u64, log.available(offset, log.end_offset), "{seed}");
        let scan = crate::batch::scan(&read.records);
        assert!(scan.error.is_none() && scan.incomplete.is_none(), "{seed}");
        assert_eq!(scan.next_offset.unwrap_or(offset), read.next_offset, "{seed}");
    }
}

#[test]
fn a_batch_that_unpacks_to_more_than_there_may_be_is_too_large() {
    let codec = super::super::test_records::any_codec();
    let mut builder = BatchBuilder::new(Vec::new());
    builder.append(NOW, None, Some(&[0; 10_000]), &[]).unwrap();
    let sealed = builder.seal(codec, &mut Compressor::default()).unwrap();
    let batch = || only_batch(sealed.bytes().to_vec()).unwrap();
    assert!(checked::sound(batch(), 11_000).is_ok());
    let refused = checked::sound(batch(), 9_000).map(|_| ()).map_err(|refusal| refusal.code);
    let expected = if codec == Compression::None { Ok(()) } else { Err(ErrorCode::MESSAGE_TOO_LARGE) };
    assert_eq!(refused, expected, "of what is packed");
}

#[test]
fn no_garbage_is_taken_for_a_batch_nor_ends_in_a_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    let good = checked(&[("a", Some("v")), ("b", None)], (1, 0, 0), false).bytes;
    let mut log = Log::default();
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if random.bool() {
            bytes.truncate(random.usize(..bytes.len()));
        } else {
            // With a right checksum the contents are looked at as well.
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        if let Checked::Sound(batch) = check(Some(&Bytes::from(bytes)), true) {
            // Its sequence or time may be refused; what is written can be read.
            _ = log.append(batch, &config(&[]), 0, NOW);
        }
    }
    assert!(log.end_offset() > 0);
    is_whole(&log, 0);
}
