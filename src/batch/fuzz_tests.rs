//! Seeded random and mutated bytes into everything that reads bytes from the network. The properties, not the inputs,
//! are what these tests state.

use super::test_support::*;
use super::*;
use crate::{ErrorKind, Header};
use bytes::Bytes;
use proptest::prelude::*;

const CAP: usize = crate::fuzzing::CAP;

fn read_anything(bytes: &Bytes) {
    crate::fuzzing::check("batches", bytes);
}

fn samples() -> Vec<Bytes> {
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(b"42")), (b"none", None)];
    let records = [record(0, -5, Some(b"key"), Some(b"value"), &headers), record(2, 1, None, None, &[])].concat();
    let raw = RawBatch::of(100, 4, 2, records);
    let mut samples = vec![
        [raw.bytes(), RawBatch::marker(105, 1, 0).bytes()].concat().into(),
        [message(0, 5, 0, None, Some(b"v")), message(1, 6, 8, Some(b"k"), None)].concat().into(),
    ];
    samples.extend(codecs().map(|codec| raw.clone().packed(codec).bytes()));
    samples.extend(java_batches().into_iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() < 400));
    samples
}

/// Makes the checksum of a first batch of magic 2 right again, or it would hide everything behind it.
fn refit(bytes: &mut [u8]) {
    if bytes.len() > 61 && bytes[16] == 2 {
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        let end = (length.saturating_add(12)).clamp(61, bytes.len());
        let crc = crc32c::crc32c(&bytes[21..end]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

#[test]
fn every_truncation_of_every_sample() {
    for sample in samples() {
        for end in 0..=sample.len() {
            read_anything(&sample.slice(..end));
            // A shorter batch that says it is whole.
            if end > 61 {
                let mut bytes = sample[..end].to_vec();
                bytes[8..12].copy_from_slice(&(end as i32 - 12).to_be_bytes());
                refit(&mut bytes);
                read_anything(&bytes.into());
            }
        }
    }
}

#[test]
fn every_length_field_with_every_bad_value() {
    for sample in samples() {
        for at in 0..sample.len().saturating_sub(4) {
            for value in [-1, 0, 1, i32::MAX, i32::MIN, sample.len() as i32] {
                let mut bytes = sample.to_vec();
                bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                refit(&mut bytes);
                read_anything(&bytes.into());
            }
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = sample.to_vec();
                bytes[at] = byte;
                refit(&mut bytes);
                read_anything(&bytes.into());
            }
        }
    }
}

#[test]
fn seeded_mutations() {
    let samples = samples();
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for _ in 0..20_000 {
        let mut bytes = samples[random.usize(..samples.len())].to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] ^= 1 << random.u8(..8),
                1 => bytes[at] = random.u8(..),
                _ => bytes.truncate(at.max(1)),
            }
        }
        refit(&mut bytes);
        read_anything(&bytes.into());
    }
}

/// F5: damaged streams of every codec, with and without a small cap.
#[test]
fn codecs_never_exceed_the_cap() {
    let mut random = fastrand::Rng::with_seed(0xc0dec);
    let mut decompressor = Decompressor::new();
    for codec in codecs() {
        let mut streams = Vec::new();
        for text in [&b"a"[..], &b"abcdefgh".repeat(5000), &[0; 100_000]] {
            let mut packed = Vec::new();
            Compressor::default().compress(codec, text, &mut packed).unwrap();
            assert_eq!(decompressor.decompress(codec, &packed, text.len()).unwrap(), text);
            streams.push(packed);
        }
        for _ in 0..3000 {
            let mut bytes = streams[random.usize(..streams.len())].clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let cap = random.usize(..200_000);
            match decompressor.decompress(codec, &bytes, cap) {
                Ok(output) => assert!(output.len() <= cap),
                Err(error) => assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TooLarge), "{error}"),
            }
        }
    }
}

type Fields = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn fields() -> impl Strategy<Value = Fields> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let headers = proptest::collection::vec((".{0,20}", bytes()), 0..4);
    (0..i64::MAX, bytes(), bytes(), headers)
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(codecs().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0u8..4) {
        let mut bytes = bytes;
        read_anything(&bytes.clone().into());
        if bytes.len() > 62 {
            // The same with a plausible beginning.
            let length = bytes.len() as i32 - 12;
            bytes[..8].copy_from_slice(&5i64.to_be_bytes());
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = magic;
            bytes[21..27].copy_from_slice(&[0, 0, 0, 0, 0, 5]);
            bytes[57..61].copy_from_slice(&2i32.to_be_bytes());
            refit(&mut bytes);
            read_anything(&bytes.into());
        }
    }

    #[test]
    fn what_is_written_is_read(records in proptest::collection::vec(fields(), 1..20), codec in codec()) {
        let mut builder = BatchBuilder::new(Vec::new());
        for (timestamp, key, value, headers) in &records {
            let headers: Vec<_> = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let size = builder.record_size(*timestamp, key.as_deref(), value.as_deref(), &headers);
            let before = builder.len();
            builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers).unwrap();
            prop_assert_eq!(builder.len(), before + size);
        }
        let sealed = builder.seal(codec, &mut Compressor::default()).unwrap();
        read_anything(sealed.bytes());
        let batch = RecordBatches::new(sealed.bytes().clone()).next().unwrap().unwrap();
        batch.verify_crc().unwrap();
        let decoded = batch.decode(&mut Decompressor::new(), CAP).unwrap();
        prop_assert_eq!(decoded.records().count(), records.len());
        for (record, (timestamp, key, value, headers)) in decoded.records().zip(&records) {
            let record = record.unwrap();
            prop_assert_eq!(record.timestamp(), *timestamp);
            prop_assert_eq!((record.key(), record.value()), (key.as_deref(), value.as_deref()));
            let expected = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() });
            prop_assert!(record.headers().eq(expected));
        }
    }
}
