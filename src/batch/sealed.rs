//! A finished batch, ready to be sent.

use super::builder::BatchBuilder;
use super::compression::{Compression, Compressor, Decompressor};
use super::crc::Shift;
use super::header::{
    ATTRIBUTES_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, COUNT_AT, CRC_AT, HEADER, LEADER_EPOCH_AT, MAX_TIMESTAMP_AT,
    PRODUCER_EPOCH_AT, PRODUCER_ID_AT, TRANSACTIONAL,
};
use super::reader::RecordBatch;
use super::{corrupt, too_large};
use crate::{Header, Result};
use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;
use std::ops::Range;

/// A whole batch of magic 2, header and checksum included.
///
/// Its bytes are shared: a request that holds them keeps them unchanged, whatever is stamped later.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    bytes: Bytes,
    /// What was asked for, which need not be what was used.
    compression: Compression,
    records_crc: u32,
    shift: Shift,
    capacity: usize,
}

/// Kafka's "none" for producer id, epoch and sequence.
const NO_ID: i64 = -1;

impl SealedBatch {
    /// Takes a batch of which only the parts that stamping writes are missing, and the checksum of its records.
    pub(super) fn new(buffer: Vec<u8>, compression: Compression, records_crc: u32) -> Self {
        let shift = Shift::over(buffer.len().saturating_sub(HEADER));
        let capacity = buffer.capacity();
        let mut sealed = Self { bytes: Bytes::from(buffer), compression, records_crc, shift, capacity };
        sealed.write_stamp(NO_ID, -1, -1, false);
        sealed
    }

    /// Makes it the batch of this producer at this place of its sequence. Cheap: the records are not read again.
    ///
    /// Without idempotence all three are -1, which is what a new batch has. While a request shares the bytes and the
    /// stamp changes, they are copied first.
    pub fn stamp(&mut self, producer_id: i64, epoch: i16, base_sequence: i32, transactional: bool) {
        let same = self.producer_id() == producer_id
            && self.producer_epoch() == epoch
            && self.base_sequence() == base_sequence
            && self.is_transactional() == transactional;
        if !same {
            self.write_stamp(producer_id, epoch, base_sequence, transactional);
        }
    }

    /// The batch as it goes over the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How much memory it takes, in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether it has no records: never.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How many records it has.
    pub fn count(&self) -> i32 {
        BigEndian::read_i32(&self.header()[COUNT_AT..])
    }

    /// The first record's timestamp.
    pub fn base_timestamp(&self) -> i64 {
        BigEndian::read_i64(&self.header()[BASE_TIMESTAMP_AT..])
    }

    /// The largest timestamp.
    pub fn max_timestamp(&self) -> i64 {
        BigEndian::read_i64(&self.header()[MAX_TIMESTAMP_AT..])
    }

    /// The producer id it is stamped with; -1 if none.
    pub fn producer_id(&self) -> i64 {
        BigEndian::read_i64(&self.header()[PRODUCER_ID_AT..])
    }

    /// The producer epoch it is stamped with; -1 if none.
    pub fn producer_epoch(&self) -> i16 {
        BigEndian::read_i16(&self.header()[PRODUCER_EPOCH_AT..])
    }

    /// The sequence number of its first record; -1 if none.
    pub fn base_sequence(&self) -> i32 {
        BigEndian::read_i32(&self.header()[BASE_SEQUENCE_AT..])
    }

    /// Whether it is stamped as part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// How its records are compressed; `None` also if compression was asked for and of no use.
    pub fn compression(&self) -> Compression {
        Compression::from_id((self.attributes() & super::header::CODEC_MASK) as i8).unwrap_or_default()
    }

    /// The CRC-32C of the records alone, as they go over the wire.
    pub fn records_crc(&self) -> u32 {
        self.records_crc
    }

    /// The memory, for the next batch; `None` if a request or someone else still shares it.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        self.bytes.try_into_mut().ok().map(Vec::from)
    }

    /// Two batches with the first and the second half of the records, for a broker that finds this one too large. Each
    /// comes with the indexes its records had here. They carry no stamp.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) if there is only one record.
    pub fn split(
        &self,
        compressor: &mut Compressor,
        decompressor: &mut Decompressor,
    ) -> Result<[(Range<u32>, Self); 2]> {
        let count = self.count().unsigned_abs();
        if count < 2 {
            return Err(too_large(format!("a batch of {} bytes with one record can't be split", self.len())));
        }
        let half = count / 2;
        let batch = RecordBatch::of(self.bytes.clone())?;
        // Its own records: what they took before they were packed was within 31 bits.
        let decoded = batch.decode(decompressor, i32::MAX as usize)?;
        let size = HEADER.saturating_add(decoded.payload().len() / 2).saturating_add(1024);
        let mut first = BatchBuilder::new(Vec::with_capacity(size));
        let mut second = BatchBuilder::new(Vec::with_capacity(size));
        let mut headers: Vec<Header<'_>> = Vec::new();
        for (index, record) in (0..).zip(decoded.records()) {
            let record = record?;
            headers.clear();
            headers.extend(record.headers());
            let builder = if index < half { &mut first } else { &mut second };
            builder.append(record.timestamp(), record.key(), record.value(), &headers)?;
        }
        if first.count() != half || second.count() != count.saturating_sub(half) {
            return Err(corrupt("a batch to be split has lost records"));
        }
        Ok([
            (0..half, first.seal(self.compression, compressor)?),
            (half..count, second.seal(self.compression, compressor)?),
        ])
    }

    fn header(&self) -> &[u8; HEADER] {
        // Every sealed batch has one.
        self.bytes.first_chunk().unwrap_or(&[0; HEADER])
    }

    fn attributes(&self) -> i16 {
        BigEndian::read_i16(&self.header()[ATTRIBUTES_AT..])
    }

    fn write_stamp(&mut self, producer_id: i64, epoch: i16, base_sequence: i32, transactional: bool) {
        let bytes = std::mem::take(&mut self.bytes);
        // A request in flight has them still: its bytes stay as they are.
        let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| shared.as_ref().into());
        if let Some(header) = bytes.first_chunk_mut::<HEADER>() {
            let attributes = BigEndian::read_i16(&header[ATTRIBUTES_AT..]) & !TRANSACTIONAL;
            let attributes = if transactional { attributes | TRANSACTIONAL } else { attributes };
            BigEndian::write_i32(&mut header[LEADER_EPOCH_AT..], -1);
            BigEndian::write_i16(&mut header[ATTRIBUTES_AT..], attributes);
            BigEndian::write_i64(&mut header[PRODUCER_ID_AT..], producer_id);
            BigEndian::write_i16(&mut header[PRODUCER_EPOCH_AT..], epoch);
            BigEndian::write_i32(&mut header[BASE_SEQUENCE_AT..], base_sequence);
            let crc = self.shift.combine(crc32c::crc32c(&header[ATTRIBUTES_AT..]), self.records_crc);
            BigEndian::write_u32(&mut header[CRC_AT..], crc);
        }
        self.bytes = bytes.freeze();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(compression: Compression) -> SealedBatch {
        let mut builder = BatchBuilder::new(Vec::new());
        for i in 0..101i64 {
            let value = format!("value {i} {}", "x".repeat(50));
            let name = format!("h{i}");
            let headers = [Header { key: &name, value: Some(b"1") }, Header { key: "null", value: None }];
            builder.append(1000 - i, Some(&i.to_be_bytes()), Some(value.as_bytes()), &headers).unwrap();
        }
        builder.seal(compression, &mut Compressor::default()).unwrap()
    }

    #[test]
    fn a_stamp_is_read_back_and_keeps_the_checksum_right() {
        let mut batch = sealed(Compression::None);
        RecordBatch::of(batch.bytes().clone()).unwrap().verify_crc().unwrap();
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (-1, -1, -1));
        for (id, epoch, sequence, transactional) in [(7, 1, 0, true), (1 << 40, 32767, i32::MAX, false)] {
            batch.stamp(id, epoch, sequence, transactional);
            let read = RecordBatch::of(batch.bytes().clone()).unwrap();
            read.verify_crc().unwrap();
            assert_eq!((read.producer_id(), read.producer_epoch(), read.base_sequence()), (id, epoch, sequence));
            assert_eq!((read.is_transactional(), read.leader_epoch()), (transactional, -1));
            assert_eq!((read.base_offset(), read.last_offset(), read.count()), (0, 100, Some(101)));
        }
    }

    #[test]
    fn bytes_given_to_a_request_never_change() {
        let mut batch = sealed(Compression::None);
        let request = batch.bytes().clone();
        let copy = request.to_vec();
        batch.stamp(1, 2, 3, true);
        assert_eq!(request, copy);
        assert_ne!(batch.bytes(), &request);
    }

    #[test]
    fn the_same_stamp_again_copies_nothing() {
        let mut batch = sealed(Compression::None);
        batch.stamp(1, 2, 3, true);
        let request = batch.bytes().clone();
        batch.stamp(1, 2, 3, true);
        assert_eq!(request.as_ptr(), batch.bytes().as_ptr());
    }

    #[test]
    fn memory_comes_back_once_nobody_shares_it() {
        let mut buffer = Vec::with_capacity(4096);
        let place = {
            buffer.push(0u8);
            buffer.as_ptr()
        };
        let mut builder = BatchBuilder::new(buffer);
        builder.append(0, None, Some(b"v"), &[]).unwrap();
        let mut batch = builder.seal(Compression::None, &mut Compressor::default()).unwrap();
        batch.stamp(1, 1, 1, false);
        let request = batch.bytes().clone();
        assert!(batch.clone().into_buffer().is_none());
        drop(request);
        let buffer = batch.into_buffer().unwrap();
        assert_eq!((buffer.as_ptr(), buffer.capacity()), (place, 4096));
    }

    #[test]
    fn split_keeps_every_record_in_order() {
        for compression in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
            let mut batch = sealed(compression);
            batch.stamp(9, 9, 9, true);
            assert_eq!(batch.compression(), compression);
            let halves = batch.split(&mut Compressor::default(), &mut Decompressor::new()).unwrap();
            assert_eq!((halves[0].0.clone(), halves[1].0.clone()), (0..50, 50..101));
            let mut decompressor = Decompressor::new();
            let mut index = 0i64;
            for (range, half) in &halves {
                assert_eq!(half.count() as usize, range.len());
                assert_eq!((half.compression(), half.producer_id()), (compression, -1));
                let read = RecordBatch::of(half.bytes().clone()).unwrap();
                read.verify_crc().unwrap();
                for record in read.decode(&mut decompressor, 1 << 20).unwrap().records() {
                    let record = record.unwrap();
                    assert_eq!(record.key(), Some(&index.to_be_bytes()[..]));
                    assert_eq!(record.timestamp(), 1000 - index);
                    assert_eq!(record.headers().next().unwrap().key, format!("h{index}"));
                    index += 1;
                }
            }
            assert_eq!(index, 101);
        }
    }

    #[test]
    fn one_record_is_not_split() {
        let mut builder = BatchBuilder::new(Vec::new());
        builder.append(0, None, None, &[]).unwrap();
        let batch = builder.seal(Compression::None, &mut Compressor::default()).unwrap();
        let error = batch.split(&mut Compressor::default(), &mut Decompressor::new()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::TooLarge);
    }
}
