//! Reading what brokers may send, good and bad, by hand-made bytes.

use super::test_support::*;
use super::*;
use crate::record::TimestampType;
use crate::{ErrorKind, Header};
use bytes::Bytes;

const CAP: usize = 8 << 20;

/// What a reader sees: offset and value of every record, and the error that ended it.
fn read(bytes: impl Into<Bytes>) -> (Vec<(i64, String)>, Option<Error>) {
    let mut seen = Vec::new();
    let mut decompressor = Decompressor::new();
    for batch in RecordBatches::new(bytes) {
        let decoded = batch.and_then(|batch| {
            batch.verify_crc()?;
            batch.decode(&mut decompressor, CAP)
        });
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return (seen, Some(error)),
        };
        for record in decoded.records() {
            match record {
                Ok(record) => seen.push((record.offset(), text(record.value()))),
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

/// The same where no error may be.
#[track_caller]
fn reads(bytes: impl Into<Bytes>) -> Vec<(i64, String)> {
    let (seen, error) = read(bytes);
    assert!(error.is_none(), "{error:?}");
    seen
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[track_caller]
fn fails(bytes: impl Into<Bytes>, kind: ErrorKind, part: &str) {
    let (_, error) = read(bytes);
    let error = error.expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

fn one(records: Vec<u8>) -> Bytes {
    RawBatch::of(100, 0, 1, records).bytes()
}

fn first(bytes: impl Into<Bytes>) -> RecordBatch {
    RecordBatches::new(bytes).next().unwrap().unwrap()
}

#[test]
fn r1_a_cut_anywhere_costs_the_last_batch_only() {
    let (head, tail) = (RawBatch::counting(10, 3).bytes(), RawBatch::counting(13, 2).bytes());
    let whole = [&head[..], &tail[..]].concat();
    for cut in 0..=whole.len() {
        let bytes = Bytes::copy_from_slice(&whole[..cut]);
        let mut batches = RecordBatches::new(bytes.clone());
        let offsets: Vec<i64> = batches.by_ref().map(|batch| batch.unwrap().next_offset()).collect();
        let complete = [0, head.len(), whole.len()].into_iter().rfind(|&end| end <= cut).unwrap();
        let expected: &[i64] = match cut {
            _ if cut == whole.len() => &[13, 15],
            _ if cut >= head.len() => &[13],
            _ => &[],
        };
        assert_eq!(offsets, expected, "{cut}");
        assert_eq!(batches.remaining(), cut - complete, "{cut}");
        let size = if complete == 0 { head.len() } else { tail.len() };
        let wanted = match cut - complete {
            0 => None,
            1..12 => Some(61),
            _ => Some(size),
        };
        assert_eq!(batches.incomplete(), wanted, "{cut}");

        let scan = scan(&bytes);
        assert_eq!((scan.next_offset, scan.batches), (expected.last().copied(), expected.len()), "{cut}");
        assert_eq!((scan.complete, scan.incomplete, scan.error.is_none()), (complete, wanted, true), "{cut}");
    }
}

#[test]
fn r2_the_first_batch_says_how_large_it_is() {
    let batch = RawBatch::counting(0, 500).bytes();
    let scan = scan(&batch[..100]);
    assert_eq!((scan.incomplete, scan.next_offset), (Some(batch.len()), None));
}

#[test]
fn r3_no_bit_of_a_batch_may_flip_unseen() {
    let good = RawBatch::counting(42, 2).bytes();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1 << bit;
            let (seen, error) = read(bytes.clone());
            // The broker writes offset and leader epoch behind the checksum's back; a length may become a cut's.
            let unchecked = at < 16;
            let length = (8..12).contains(&at);
            assert!(unchecked || error.is_some(), "byte {at} bit {bit}");
            assert!(!length || seen.is_empty(), "byte {at} bit {bit}");
            if let Some(error) = error.filter(|_| at >= 17) {
                let header_says_no = scan(&bytes).error.is_some();
                let message = error.to_string();
                assert!(header_says_no || message.contains("batch at offset 42 has the checksum"), "{message}");
                assert!(seen.is_empty());
            }
        }
    }
}

#[test]
fn r4_lengths_that_can_not_be() {
    for length in [i32::MIN, -1, 0, 13, 14, 48] {
        let mut batch = RawBatch::counting(7, 1);
        batch.length = Some(length);
        let bytes = batch.bytes();
        fails(bytes.clone(), ErrorKind::Corrupt, "batch at offset 7 has an impossible length");
        let scan = scan(&bytes);
        assert_eq!((scan.batches, scan.complete, scan.incomplete), (0, 0, None), "{length}");
        assert_eq!(scan.error.unwrap().kind(), ErrorKind::Corrupt);
        assert_eq!(RecordBatches::new(bytes).count(), 1, "one error, then the end");
    }
    // A length beyond what is there is a cut, and allocates nothing.
    let mut batch = RawBatch::counting(7, 1);
    batch.length = Some(i32::MAX);
    assert_eq!(scan(&batch.bytes()).incomplete, Some(i32::MAX as usize + 12));
}

#[test]
fn r4_counts_that_can_not_be() {
    let base = RawBatch::counting(100, 3);
    let with = |count: i32| {
        let mut batch = base.clone();
        batch.count = count;
        batch.bytes()
    };
    fails(with(-1), ErrorKind::Corrupt, "says it has -1 records");
    fails(with(i32::MAX), ErrorKind::Corrupt, "says it has 2147483647 records");
    fails(with(4), ErrorKind::Corrupt, "says it has 4 records");
    fails(with(2), ErrorKind::Corrupt, "a batch of 2 records has");
    let mut compacted = base.clone();
    compacted.last_offset_delta = i32::MAX;
    compacted.count = i32::MAX;
    let (seen, error) = read(compacted.bytes());
    assert_eq!((seen.len(), error.unwrap().kind()), (3, ErrorKind::Corrupt));
    for delta in [-1, i32::MIN] {
        let mut batch = base.clone();
        batch.last_offset_delta = delta;
        fails(batch.bytes(), ErrorKind::Corrupt, "last offset delta");
    }
    // One that ends before it begins would be read again and again.
    let mut backwards = RawBatch::of(100, -1, 0, Vec::new());
    fails(backwards.bytes(), ErrorKind::Corrupt, "last offset delta of -1");
    backwards.last_offset_delta = 0;
    assert!(read(backwards.bytes()).1.is_none());
}

#[test]
fn r5_compaction_leaves_gaps_and_the_position_goes_over_them() {
    let records = [record(1, 0, None, Some(b"a"), &[]), record(5, 0, None, Some(b"b"), &[])].concat();
    let bytes = RawBatch::of(100, 9, 2, records).bytes();
    assert_eq!(reads(bytes.clone()), [(101, "a".into()), (105, "b".into())]);
    let batch = first(bytes.clone());
    assert_eq!((batch.base_offset(), batch.last_offset(), batch.next_offset()), (100, 109, 110));
    assert_eq!(scan(&bytes).next_offset, Some(110));
}

#[test]
fn r6_batches_without_records_move_the_position() {
    let empty = RawBatch::of(100, 9, 0, Vec::new());
    let mut emptied = empty.clone();
    emptied.base_offset = 110;
    // Compaction keeps the attributes of what it empties.
    emptied.attributes = i16::from(Compression::Zstd.id());
    let marker = RawBatch::marker(120, 5, 1);
    let bytes = [empty.bytes(), emptied.bytes(), marker.bytes()].concat();
    let scanned = scan(&bytes);
    assert_eq!((scanned.next_offset, scanned.batches), (Some(121), 3));
    let mut decompressor = Decompressor::new();
    let batches: Vec<_> = RecordBatches::new(bytes).map(|batch| batch.unwrap()).collect();
    for batch in &batches[..2] {
        assert_eq!(batch.decode(&mut decompressor, 0).unwrap().records().count(), 0);
        assert!(!batch.is_control());
    }
    assert!(batches[2].is_control());
    assert_eq!(batches[2].control_type().unwrap(), Some(ControlType::Commit));
}

#[test]
fn r7_records_before_a_position_can_be_told() {
    let decoded = first(RawBatch::counting(100, 10).bytes()).decode(&mut Decompressor::new(), 0).unwrap();
    let from: Vec<i64> = decoded.records().map(|record| record.unwrap().offset()).filter(|&at| at >= 107).collect();
    assert_eq!(from, [107, 108, 109]);
}

#[test]
fn r8_a_small_batch_that_unpacks_to_much_is_refused() {
    let value = vec![0; 64 << 20];
    let raw = RawBatch::of(100, 0, 1, record(0, 0, None, Some(&value), &[]));
    for codec in codecs().filter(|&codec| codec != Compression::None) {
        let packed = raw.clone().packed(codec).bytes();
        assert!(packed.len() < 4 << 20, "{codec} {}", packed.len());
        let error = first(packed.clone()).decode(&mut Decompressor::new(), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{codec}");
        // The cap is exact.
        let size = raw.records.len();
        let decoded = first(packed.clone()).decode(&mut Decompressor::new(), size).unwrap();
        assert_eq!(decoded.payload().len(), size, "{codec}");
        let error = first(packed).decode(&mut Decompressor::new(), size - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{codec}");
    }
}

#[test]
fn r8_codecs_that_nobody_knows() {
    for id in 5..=7 {
        let mut batch = RawBatch::counting(9, 1);
        batch.attributes = id;
        fails(batch.bytes(), ErrorKind::Unsupported, &format!("batch at offset 9 has the unknown codec {id}"));
        let message = message(1, 9, id as u8, None, Some(b"v"));
        fails(message, ErrorKind::Unsupported, &format!("unknown codec {id}"));
    }
}

#[test]
fn r8_a_damaged_stream_is_corrupt() {
    for codec in codecs().filter(|&codec| codec != Compression::None) {
        let good = RawBatch::counting(0, 100).packed(codec);
        for end in 0..good.records.len() {
            let mut batch = good.clone();
            batch.records.truncate(end);
            let (seen, error) = read(batch.bytes());
            assert!(error.is_some_and(|error| error.kind() == ErrorKind::Corrupt), "{codec} {end}");
            assert!(seen.len() < 100, "{codec} {end}");
        }
    }
}

#[test]
fn r9_what_java_wrote_is_read() {
    for (name, bytes) in java_batches() {
        let codec = name.split('-').nth(1).unwrap().parse::<Compression>().unwrap();
        if !codec.is_supported() {
            continue;
        }
        let (magic, large, append) = (name.as_bytes()[5] - b'0', name.ends_with("large"), name.ends_with("append"));
        let mut count = 0;
        let mut decompressor = Decompressor::new();
        for batch in RecordBatches::new(bytes.clone()) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            assert_eq!((batch.magic(), batch.compression().unwrap()), (magic, codec), "{name}");
            let decoded = batch.decode(&mut decompressor, CAP).unwrap();
            for record in decoded.records() {
                let record = record.unwrap();
                assert_eq!(record.offset(), 100 + count, "{name}");
                let key = format!("key-{count}");
                assert_eq!(record.key(), (count != 1).then_some(key.as_bytes()), "{name}");
                let value = format!("value-{count} ").repeat(if large { 12_000 } else { 8 });
                assert!(record.value() == (count != 2).then_some(value.as_bytes()), "{name}");
                let (timestamp, kind) = match (magic, append) {
                    (0, _) => (-1, TimestampType::NoTimestampType),
                    (_, false) => (1000 + count, TimestampType::CreateTime),
                    (_, true) => (9000, TimestampType::LogAppendTime),
                };
                assert_eq!((record.timestamp(), record.timestamp_type()), (timestamp, kind), "{name}");
                let headers: Vec<_> = record.headers().collect();
                let trace = [Header { key: "trace", value: Some(b"42") }, Header { key: "none", value: None }];
                assert_eq!(headers, if magic == 2 { &trace[..] } else { &[] }, "{name}");
                count += 1;
            }
        }
        assert_eq!(count, 3, "{name}");
        assert_eq!(scan(&bytes).next_offset, Some(103), "{name}");
    }
}

#[test]
fn r9_every_codec_makes_the_round_trip() {
    for codec in codecs() {
        let mut compressor = Compressor::default();
        let mut decompressor = Decompressor::new();
        // Twice: nothing of the first batch may be in the second.
        for (round, count) in [(0, 3000), (1, 20)] {
            let mut builder = BatchBuilder::new(Vec::new());
            for i in 0..count {
                let value = format!("round {round} value {i}");
                builder.append(1000 + i, None, Some(value.as_bytes()), &[]).unwrap();
            }
            let sealed = builder.seal(codec, &mut compressor).unwrap();
            assert_eq!(sealed.compression(), codec);
            let batch = first(sealed.bytes().clone());
            batch.verify_crc().unwrap();
            let decoded = batch.decode(&mut decompressor, CAP).unwrap();
            let values: Vec<_> = decoded.records().map(|record| text(record.unwrap().value())).collect();
            assert_eq!(values.len() as i64, count);
            assert!(values.iter().enumerate().all(|(i, value)| *value == format!("round {round} value {i}")));
        }
    }
}

#[test]
fn random_records_stay_uncompressed() {
    let mut random = fastrand::Rng::with_seed(1);
    for codec in codecs() {
        let value: Vec<u8> = (0..1000).map(|_| random.u8(..)).collect();
        let mut builder = BatchBuilder::new(Vec::new());
        builder.append(0, None, Some(&value), &[]).unwrap();
        let length = builder.len();
        let sealed = builder.seal(codec, &mut Compressor::default()).unwrap();
        assert_eq!((sealed.len(), sealed.compression()), (length, Compression::None), "{codec}");
        assert_eq!(read(sealed.bytes().clone()).0.len(), 1);
    }
}

#[test]
fn r10_a_later_magic_is_named_and_not_skipped() {
    for magic in [3, 4, 127, 255] {
        let mut batch = RawBatch::counting(55, 1);
        batch.magic = magic;
        let bytes = [RawBatch::counting(50, 5).bytes(), batch.bytes(), RawBatch::counting(56, 1).bytes()].concat();
        let (seen, error) = read(bytes.clone());
        assert_eq!(seen.len(), 5);
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = format!("batch at offset 55 has the unknown magic {}", magic as i8);
        assert!(error.to_string().contains(&text), "{error}");
        let scan = scan(&bytes);
        assert_eq!((scan.next_offset, scan.error.unwrap().kind()), (Some(55), ErrorKind::Unsupported));
    }
}

fn codec_message(magic: u8, offset: i64, codec: Compression, inner: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    Compressor::default().compress(codec, inner, &mut packed).unwrap();
    message(magic, offset, codec.id() as u8, None, Some(&packed))
}

#[cfg(feature = "gzip")]
#[test]
fn r10_offsets_inside_compressed_messages() {
    let value = Some(&b"v"[..]);
    let set = |magic, offsets: &[i64]| -> Vec<u8> {
        offsets.iter().flat_map(|&offset| message(magic, offset, 0, None, value)).collect()
    };
    let offsets = |bytes: Vec<u8>| read(bytes).0.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>();
    let gzip = Compression::Gzip;
    assert_eq!(offsets(codec_message(1, 107, gzip, &set(1, &[0, 1, 2]))), [105, 106, 107]);
    assert_eq!(offsets(codec_message(1, 107, gzip, &set(1, &[0, 4]))), [103, 107], "compacted");
    assert_eq!(offsets(codec_message(1, 107, gzip, &set(1, &[105, 107]))), [105, 107], "absolute");
    assert_eq!(offsets(codec_message(0, 107, gzip, &set(0, &[105, 107]))), [105, 107]);
    assert_eq!(offsets(codec_message(1, 107, gzip, &[])), [0_i64; 0]);

    fails(codec_message(0, 107, gzip, &set(0, &[107, 108])), ErrorKind::Corrupt, "offset 108");
    fails(codec_message(1, 107, gzip, &set(1, &[2, 1])), ErrorKind::Corrupt, "offset");
    fails(codec_message(1, 1, gzip, &set(1, &[0, 5])), ErrorKind::Corrupt, "offset");
    fails(codec_message(1, 107, gzip, &set(1, &[-5, -1])), ErrorKind::Corrupt, "offset -5");
    fails(codec_message(1, 107, gzip, &set(1, &[i64::MIN])), ErrorKind::Corrupt, "offset -9223372036854775808");
    fails(codec_message(1, 107, gzip, &set(0, &[0])), ErrorKind::Corrupt, "magic 0 is inside one of magic 1");
    let nested = codec_message(1, 107, gzip, &codec_message(1, 0, gzip, &set(1, &[0])));
    fails(nested, ErrorKind::Corrupt, "inside a compressed message");
    fails(message(1, 5, 1, None, None), ErrorKind::Corrupt, "no value");
    let cut = set(1, &[0, 1]);
    fails(codec_message(1, 107, gzip, &cut[..cut.len() - 1]), ErrorKind::Corrupt, "too early");
}

#[test]
fn r10_a_message_with_a_wrong_checksum_or_length() {
    let good = message(1, 42, 0, Some(b"k"), Some(b"v"));
    assert_eq!(reads(good.clone()), [(42, "v".into())]);
    for at in 16..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(read(bytes).1.is_some(), "{at}");
    }
    let mut longer = good;
    longer[11] += 1;
    longer.push(0);
    fails(longer, ErrorKind::Corrupt, "bytes too many");
    fails(message(0, -5, 0, None, None), ErrorKind::Corrupt, "negative offset");
    fails(message(0, i64::MAX, 0, None, None), ErrorKind::Corrupt, "largest offset");
    // Bits that say "control" and "transactional" in magic 2 say nothing in magic 1.
    let batch = first(message(1, 42, 0x30, None, None));
    assert!(!batch.is_control() && !batch.is_transactional());
}

fn admitted(aborted: &[(i64, i64)], batches: &[RawBatch]) -> Vec<i64> {
    let mut filter = AbortedTransactions::new(aborted.iter().copied());
    let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes()).collect();
    let batches = RecordBatches::new(bytes).map(|batch| batch.unwrap());
    batches.filter(|batch| filter.admits(batch).unwrap()).map(|batch| batch.base_offset()).collect()
}

fn transactional(base_offset: i64, producer_id: i64) -> RawBatch {
    let mut batch = RawBatch::counting(base_offset, 2);
    batch.attributes = 0x10;
    batch.producer_id = producer_id;
    batch
}

const ABORT: i16 = 0;
const COMMIT: i16 = 1;

#[test]
fn r11_an_unordered_list_of_aborted_transactions() {
    let batches = [
        transactional(0, 1),
        transactional(2, 2),
        RawBatch::marker(4, 1, ABORT),
        transactional(5, 1),
        RawBatch::marker(7, 2, ABORT),
        RawBatch::marker(8, 1, COMMIT),
        transactional(9, 2),
        transactional(11, 1),
        RawBatch::marker(13, 1, ABORT),
        RawBatch::counting(14, 2),
        RawBatch::marker(16, 2, COMMIT),
    ];
    let [a, b, c] = [(1, 11), (2, 2), (1, 0)];
    for list in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        assert_eq!(admitted(&list, &batches), [5, 9, 14], "{list:?}");
    }
    assert_eq!(admitted(&[], &batches), [0, 2, 5, 9, 11, 14]);
}

#[test]
fn r11_a_second_abort_marker_and_one_without_a_transaction() {
    let batches = [
        RawBatch::marker(0, 1, ABORT),
        transactional(1, 1),
        RawBatch::marker(3, 1, ABORT),
        RawBatch::marker(4, 1, ABORT),
        transactional(5, 1),
        RawBatch::marker(7, 1, COMMIT),
        transactional(8, 1),
        RawBatch::marker(10, 1, ABORT),
    ];
    assert_eq!(admitted(&[(1, 8), (1, 1)], &batches), [5]);
}

#[test]
fn r11_the_same_producer_without_a_transaction_is_read() {
    let mut plain = RawBatch::counting(5, 1);
    plain.producer_id = 1;
    assert_eq!(admitted(&[(1, 0)], &[transactional(0, 1), plain]), [5]);
}

#[test]
fn control_records() {
    let kind = |batch: &RawBatch| first(batch.bytes()).control_type();
    assert_eq!(kind(&RawBatch::marker(0, 1, ABORT)).unwrap(), Some(ControlType::Abort));
    assert_eq!(kind(&RawBatch::marker(0, 1, 300)).unwrap(), Some(ControlType::Unknown(300)));
    assert_eq!(kind(&RawBatch::counting(0, 1)).unwrap(), None);
    let mut empty = RawBatch::of(0, 5, 0, Vec::new());
    empty.attributes = 0x30;
    assert_eq!(kind(&empty).unwrap(), None);
    for key in [None, Some(&[0, 0, 0][..]), Some(&[0xff, 0xff, 0, 0][..])] {
        let mut batch = RawBatch::of(0, 0, 1, record(0, 0, key, None, &[]));
        batch.attributes = 0x20;
        assert_eq!(kind(&batch).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(AbortedTransactions::new([]).admits(&first(batch.bytes())).is_err());
    }
    let mut packed = RawBatch::marker(0, 1, ABORT);
    packed.attributes |= 1;
    assert_eq!(kind(&packed).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn r12_record_fields_that_lie() {
    let corrupt = |tail: &[&[u8]], part: &str| fails(one(record_with(0, 0, &tail.concat())), ErrorKind::Corrupt, part);
    let null = varint(-1);
    corrupt(&[&varint(i64::from(i32::MAX))], "too early");
    corrupt(&[&null, &varint(3), b"ab"], "too early");
    corrupt(&[&null, &null, &varint(-1)], "-1 headers");
    corrupt(&[&null, &null, &varint(i64::from(i32::MAX))], "too early");
    corrupt(&[&null, &null, &varint(1), &varint(-1), &null], "a header's name says it has -1 bytes");
    corrupt(&[&null, &null, &varint(1), &varint(1), b"n", &varint(9), b"x"], "too early");
    corrupt(&[&null, &null, &varint(0), b"!"], "1 bytes too many");
    corrupt(&[&[0x80; 11]], "too large");
    corrupt(&[], "too early");
    // Bytes of the next record are not this one's.
    let records = [record_with(0, 0, &[null, varint(4)].concat()), record(1, 0, None, None, &[])].concat();
    fails(RawBatch::of(0, 1, 2, records).bytes(), ErrorKind::Corrupt, "too early");
    for length in [-1, i64::from(i32::MAX), 7] {
        let records = [varint(length), vec![0, 0, 0, 1, 1, 0]].concat();
        fails(one(records), ErrorKind::Corrupt, &format!("a record says it has {length} bytes"));
    }
    // As Java does, a length below -1 is null as well.
    let (seen, error) = read(one(record_with(0, 0, &[varint(-5), varint(-2), varint(0)].concat())));
    assert_eq!((seen, error.is_none()), (vec![(100, "null".into())], true));
}

#[test]
fn r12_offsets_and_timestamps_do_not_wrap() {
    let mut batch = RawBatch::counting(i64::MAX - 1, 2);
    fails(batch.bytes(), ErrorKind::Corrupt, "last offset delta");
    fails(RawBatch::counting(i64::MAX - 1, 5).bytes(), ErrorKind::Corrupt, "last offset delta");
    batch.base_offset = i64::MAX - 2;
    assert_eq!(read(batch.bytes()).0.last().unwrap().0, i64::MAX - 1);
    assert_eq!(first(batch.bytes()).next_offset(), i64::MAX);
    batch.base_offset = -1;
    fails(batch.bytes(), ErrorKind::Corrupt, "negative offset");

    for deltas in [[0, 0], [1, 0], [0, 2], [-1, 0], [0, i32::MAX]] {
        let records = deltas.map(|delta| record(delta, 0, None, None, &[])).concat();
        fails(RawBatch::of(100, 1, 2, records).bytes(), ErrorKind::Corrupt, "offset");
    }
    fails(RawBatch::of(i64::MAX - 2, 0, 1, record(i32::MAX, 0, None, None, &[])).bytes(), ErrorKind::Corrupt, "offset");
    let mut batch = RawBatch::of(100, 0, 1, record(0, i64::MAX, None, None, &[]));
    fails(batch.bytes(), ErrorKind::Corrupt, "timestamp beyond 64 bits");
    // Then nobody looks at it.
    batch.attributes = 0x08;
    let decoded = first(batch.bytes()).decode(&mut Decompressor::new(), 0).unwrap();
    assert_eq!(decoded.records().next().unwrap().unwrap().timestamp(), 2000);
}

#[test]
fn batches_go_forward() {
    let bytes = |a, b| [RawBatch::counting(a, 5).bytes(), RawBatch::counting(b, 5).bytes()].concat();
    assert!(read(bytes(0, 5)).1.is_none());
    fails(bytes(10, 14), ErrorKind::Corrupt, "the batch at offset 14 follows one that ends at 14");
    fails(bytes(10, 10), ErrorKind::Corrupt, "follows");
    assert!(scan(&bytes(10, 3)).error.is_some());
}

#[test]
fn uncompressed_records_are_not_copied() {
    let bytes = RawBatch::counting(0, 10).bytes();
    let decoded = first(bytes.clone()).decode(&mut Decompressor::new(), 0).unwrap();
    assert_eq!(decoded.payload().as_ptr(), bytes[61..].as_ptr());
}

#[test]
fn a_header_name_that_is_no_text_stops_nothing() {
    let headers: [(&[u8], _); 2] = [(b"ab\xffcd", Some(&b"1"[..])), (b"next", None)];
    let decoded = first(one(record(0, 0, None, None, &headers))).decode(&mut Decompressor::new(), 0).unwrap();
    let record = decoded.records().next().unwrap().unwrap();
    let names: Vec<_> = record.headers().map(|header| header.key).collect();
    assert_eq!(names, ["ab", "next"]);
    assert!(record.headers().raw().map(|header| (header.key, header.value)).eq(headers));
}
