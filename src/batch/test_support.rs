//! Batches made by hand, byte by byte: what a test wants wrong can be made wrong.

use super::compression::{Compression, Compressor};
use super::varint;
use bytes::Bytes;

/// A magic 2 batch; what goes over the wire is exactly what is in here.
#[derive(Clone)]
pub(super) struct RawBatch {
    pub(super) base_offset: i64,
    pub(super) length: Option<i32>,
    pub(super) magic: u8,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) count: i32,
    pub(super) records: Vec<u8>,
}

impl RawBatch {
    /// `count` records without gaps, with the values "v0", "v1" and so on.
    pub(super) fn counting(base_offset: i64, count: i32) -> Self {
        let records: Vec<_> = (0..count).map(|i| record(i, 0, None, Some(format!("v{i}").as_bytes()), &[])).collect();
        Self::of(base_offset, count - 1, count, records.concat())
    }

    pub(super) fn of(base_offset: i64, last_offset_delta: i32, count: i32, records: Vec<u8>) -> Self {
        Self {
            base_offset,
            length: None,
            magic: 2,
            attributes: 0,
            last_offset_delta,
            base_timestamp: 1000,
            max_timestamp: 2000,
            producer_id: -1,
            count,
            records,
        }
    }

    /// A transaction's end.
    pub(super) fn marker(base_offset: i64, producer_id: i64, kind: i16) -> Self {
        let key = [0, 0, (kind >> 8) as u8, kind as u8];
        let mut batch = Self::of(base_offset, 0, 1, record(0, 0, Some(&key), Some(&[0; 6]), &[]));
        batch.attributes = 0x30;
        batch.producer_id = producer_id;
        batch
    }

    pub(super) fn packed(mut self, codec: Compression) -> Self {
        let mut packed = Vec::new();
        Compressor::default().compress(codec, &self.records, &mut packed).unwrap();
        self.records = packed;
        self.attributes |= i16::from(codec.id());
        self
    }

    pub(super) fn bytes(&self) -> Bytes {
        let mut after_crc = Vec::new();
        after_crc.extend(self.attributes.to_be_bytes());
        after_crc.extend(self.last_offset_delta.to_be_bytes());
        after_crc.extend(self.base_timestamp.to_be_bytes());
        after_crc.extend(self.max_timestamp.to_be_bytes());
        after_crc.extend(self.producer_id.to_be_bytes());
        after_crc.extend([0xff; 6]);
        after_crc.extend(self.count.to_be_bytes());
        after_crc.extend(&self.records);
        let length = self.length.unwrap_or(after_crc.len() as i32 + 9);
        let mut bytes = Vec::new();
        bytes.extend(self.base_offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(7i32.to_be_bytes());
        bytes.push(self.magic);
        bytes.extend(crc32c::crc32c(&after_crc).to_be_bytes());
        bytes.extend(after_crc);
        Bytes::from(bytes)
    }
}

pub(super) fn varint(value: i64) -> Vec<u8> {
    let mut out = [0; 10];
    let n = varint::put(&mut out, 0, value);
    out[..n].to_vec()
}

fn sized(bytes: Option<&[u8]>) -> Vec<u8> {
    [varint(bytes.map_or(-1, |bytes| bytes.len() as i64)), bytes.unwrap_or_default().to_vec()].concat()
}

/// A magic 2 record.
pub(super) fn record(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> Vec<u8> {
    let mut tail = [sized(key), sized(value), varint(headers.len() as i64)].concat();
    for (name, value) in headers {
        tail.extend(sized(Some(name)));
        tail.extend(sized(*value));
    }
    record_with(offset_delta, timestamp_delta, &tail)
}

/// A magic 2 record of which everything after the offset is given.
pub(super) fn record_with(offset_delta: i32, timestamp_delta: i64, tail: &[u8]) -> Vec<u8> {
    let body = [&[0], &varint(timestamp_delta)[..], &varint(i64::from(offset_delta)), tail].concat();
    [varint(body.len() as i64), body].concat()
}

/// A message of magic 0 or 1.
pub(super) fn message(magic: u8, offset: i64, attributes: u8, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend(5000i64.to_be_bytes());
    }
    for field in [key, value] {
        body.extend(field.map_or(-1, |field| field.len() as i32).to_be_bytes());
        body.extend(field.unwrap_or_default());
    }
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&body);
    let length = body.len() as i32 + 4;
    [&offset.to_be_bytes()[..], &length.to_be_bytes(), &crc.to_be_bytes(), &body].concat()
}

/// The batches that Java's client wrote: name and bytes.
pub(super) fn java_batches() -> Vec<(&'static str, Bytes)> {
    include_str!("testdata/java.txt")
        .lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
            (name, digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().into())
        })
        .collect()
}

/// Codecs that are compiled in.
pub(super) fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_supported())
}
