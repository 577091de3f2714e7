//! Writes records of magic 2 in place.

use super::compression::{Compression, Compressor};
use super::header::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, COUNT_AT, HEADER, LAST_OFFSET_DELTA_AT, LENGTH_AT, LOG_OVERHEAD, MAGIC_AT,
    MAX_TIMESTAMP_AT,
};
use super::sealed::SealedBatch;
use super::too_large;
use super::varint::{self, MAX_VARINT, MAX_VARLONG, Packed};
use crate::{Error, ErrorKind, Header, Result};
use byteorder::{BigEndian, ByteOrder};

/// A batch that is being filled: one buffer, with room for the header at its start and the records behind it as they
/// go over the wire.
///
/// ```
/// use sarameya::Header;
/// use sarameya::batch::{BatchBuilder, Compression, Compressor};
///
/// let mut builder = BatchBuilder::new(Vec::with_capacity(16 * 1024));
/// let index = builder.append(1_700_000_000_000, Some(b"k1"), Some(b"v1"), &[])?;
/// assert_eq!(index, 0);
/// builder.append(1_700_000_000_005, None, None, &[Header { key: "trace", value: Some(b"42") }])?;
/// let sealed = builder.seal(Compression::None, &mut Compressor::default())?;
/// assert_eq!(sealed.count(), 2);
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// The checksum of the buffer up to `summed`, header excluded.
    records_crc: u32,
    summed: usize,
    /// How long the buffer must be for the next part of it to be summed.
    sum_at: usize,
}

/// What stands before a record's key, or before its value if it has none, at most: length, attributes, timestamp, offset,
/// and the lengths of key and value.
const HEAD: usize = 1 + MAX_VARLONG + 4 * MAX_VARINT;
/// How far a short record's head is written beyond its end, before what follows takes that place.
const HEAD_ROOM: usize = 16;
/// How many bytes are summed at a time: few enough to be still in the cache that is nearest.
const SUM_BYTES: usize = 16 * 1024;
/// The number of headers of a record that has none.
const NO_HEADERS: [u8; 1] = [0];

impl BatchBuilder {
    /// An empty batch in this memory; what the buffer held is dropped.
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER, 0);
        Self {
            buffer,
            count: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            records_crc: 0,
            summed: HEADER,
            sum_at: usize::MAX,
        }
    }

    /// For a batch that is to stay uncompressed: sums the records up as they come, since reading a long batch again at
    /// its end means to fetch it from a far cache.
    pub(crate) fn summing(mut self) -> Self {
        self.sum_at = HEADER + SUM_BYTES;
        self
    }

    /// Adds a record and returns its index in the batch.
    ///
    /// `timestamp` is in milliseconds since 1970-01-01T00:00:00Z. The buffer grows when it has to.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) if the batch would no longer fit the 32-bit lengths of the format; it is left
    /// as it was. [`InvalidArgument`](ErrorKind::InvalidArgument) for a time before 1970 that lies more than 2⁶³ ms
    /// away from the first record's.
    #[inline]
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<u32> {
        if let Some(index) = self.append_in_place(usize::MAX, timestamp, key, value, headers) {
            return Ok(index);
        }
        let Some(delta) = self.timestamp_delta(timestamp) else {
            let message = format!("timestamps {} and {timestamp} can't be in one batch", self.base_timestamp);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        let body = body_size(delta, i64::from(self.count), key, value, headers);
        let size = body.saturating_add(varint::size_of(body as i64));
        // With the whole within 31 bits, no length in it needs more, and offset deltas fit as well.
        if size > (i32::MAX as usize).saturating_sub(self.buffer.len()) {
            return Err(too_large(format!("a record of {size} bytes does not fit a batch of {} bytes", self.len())));
        }
        self.buffer.reserve(size);
        Ok(self.write(timestamp, delta, body, key, value, headers))
    }

    /// Adds a record if that takes no memory beyond the buffer's and the batch stays within `limit` bytes; returns its
    /// index then. `None` changes nothing: [`append`](Self::append) says what stands against it.
    #[inline]
    pub fn append_in_place(
        &mut self,
        limit: usize,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Option<u32> {
        let delta = self.timestamp_delta(timestamp)?;
        let room = limit.min(self.buffer.capacity()).min(i32::MAX as usize).saturating_sub(self.buffer.len());
        if headers.is_empty()
            && let Some(index) = self.append_short(room, timestamp, delta, key, value)
        {
            return Some(index);
        }
        let body = body_size(delta, i64::from(self.count), key, value, headers);
        let size = body.saturating_add(varint::size_of(body as i64));
        (size <= room).then(|| self.write(timestamp, delta, body, key, value, headers))
    }

    /// Adds a record of the common kind: no headers, no length over a megabyte, and the batch's end not yet near.
    #[inline(always)]
    #[expect(clippy::arithmetic_side_effects, reason = "sums of a few numbers that are known to be small")]
    fn append_short(
        &mut self,
        room: usize,
        timestamp: i64,
        delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Option<u32> {
        // Attributes, which have no use yet.
        let fixed = Packed::ZERO_BYTE.then(Packed::of(delta)?).then(Packed::of(i64::from(self.count))?);
        let key_length = Packed::of(length(key))?;
        let value_length = Packed::of(length(value))?;
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let body = fixed.len() + key_length.len() + value_length.len() + bytes + NO_HEADERS.len();
        let body_length = Packed::of(body as i64)?;
        if body_length.len() + body + HEAD_ROOM > room {
            return None;
        }
        // At most 3 + 7 + 3 + 3 bytes: just what is packed at most.
        let mut head = body_length.then(fixed).then(key_length);
        if let Some(key) = key {
            self.put_packed(head);
            self.buffer.extend_from_slice(key);
            head = Packed::EMPTY;
        }
        self.put_packed(head.then(value_length));
        self.buffer.extend_from_slice(value.unwrap_or_default());
        self.buffer.extend_from_slice(&NO_HEADERS);
        Some(self.count_in(timestamp))
    }

    /// Writes a record of any kind that is known to fit; `body` is what its length field says.
    #[inline(never)]
    fn write(
        &mut self,
        timestamp: i64,
        delta: i64,
        body: usize,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> u32 {
        let mut head = [0; HEAD];
        let at = varint::put(&mut head, 0, body as i64);
        // The byte skipped is the record's attributes, which have no use yet.
        let at = varint::put(&mut head, at.saturating_add(1), delta);
        let at = varint::put(&mut head, at, i64::from(self.count));
        let mut at = varint::put(&mut head, at, length(key));
        if let Some(key) = key {
            self.buffer.extend_from_slice(head.get(..at).unwrap_or_default());
            self.buffer.extend_from_slice(key);
            at = 0;
        }
        let at = varint::put(&mut head, at, length(value));
        self.buffer.extend_from_slice(head.get(..at).unwrap_or_default());
        self.buffer.extend_from_slice(value.unwrap_or_default());
        self.put_varint(headers.len() as i64);
        for header in headers {
            self.put_varint(header.key.len() as i64);
            self.buffer.extend_from_slice(header.key.as_bytes());
            self.put_varint(length(header.value));
            self.buffer.extend_from_slice(header.value.unwrap_or_default());
        }

        self.count_in(timestamp)
    }

    /// Counts a record that has been written; returns its index.
    #[inline(always)]
    fn count_in(&mut self, timestamp: i64) -> u32 {
        let index = self.count;
        if index == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        } else if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
        }
        self.count = self.count.wrapping_add(1); // It can't: all records together are less than 31 bits of bytes.
        if self.buffer.len() >= self.sum_at {
            self.sum_up();
            self.sum_at = self.summed.saturating_add(SUM_BYTES);
        }
        index
    }

    #[inline(never)]
    fn sum_up(&mut self) {
        let more = self.buffer.get(self.summed..).unwrap_or_default();
        self.records_crc = crc32c::crc32c_append(self.records_crc, more);
        self.summed = self.buffer.len();
    }

    /// How many bytes exactly this record would add now.
    pub fn record_size(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> usize {
        let body =
            body_size(self.timestamp_delta(timestamp).unwrap_or(i64::MAX), i64::from(self.count), key, value, headers);
        body.saturating_add(varint::size_of(body as i64))
    }

    /// How many bytes a record can add at most, to whatever batch.
    pub fn max_record_size(key_len: usize, value_len: usize, headers: &[Header<'_>]) -> usize {
        // Length, attributes, timestamp, offset, and the lengths of key and value and the number of headers.
        const FIXED: usize = MAX_VARINT + 1 + MAX_VARLONG + 4 * MAX_VARINT;
        let mut size = FIXED.saturating_add(key_len).saturating_add(value_len);
        for header in headers {
            size = size
                .saturating_add(2 * MAX_VARINT)
                .saturating_add(header.key.len())
                .saturating_add(header.value.map_or(0, <[u8]>::len));
        }
        size
    }

    /// How long the batch is so far in bytes, the header included and nothing compressed. Sealing never makes it
    /// longer.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long the batch can get without allocating, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Makes room for `more` bytes beyond the capacity, and for hardly more than that.
    pub fn grow(&mut self, more: usize) {
        let wanted = self.buffer.capacity().saturating_add(more);
        self.buffer.reserve_exact(wanted.saturating_sub(self.buffer.len()));
    }

    /// Goes on in another buffer, whose content does not matter; returns the one it had.
    pub fn move_to(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        buffer.extend_from_slice(&self.buffer);
        std::mem::replace(&mut self.buffer, buffer)
    }

    /// How many records it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The first record's timestamp; `None` if there is none.
    pub fn first_timestamp(&self) -> Option<i64> {
        (self.count > 0).then_some(self.base_timestamp)
    }

    /// The largest timestamp; `None` if there is no record.
    pub fn max_timestamp(&self) -> Option<i64> {
        (self.count > 0).then_some(self.max_timestamp)
    }

    /// Gives up the records and returns the memory.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Compresses the records and sums them up; the slow part of finishing a batch, to be done outside of locks.
    ///
    /// The batch then is as a producer without idempotence sends it; [`SealedBatch::stamp`] makes it another's. Records
    /// that compression makes no smaller stay uncompressed.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a batch without records,
    /// [`Unsupported`](ErrorKind::Unsupported) if the crate was compiled without the codec.
    pub fn seal(mut self, compression: Compression, compressor: &mut Compressor) -> Result<SealedBatch> {
        let Some(last_offset_delta) = self.count.checked_sub(1) else {
            return Err(Error::new(ErrorKind::InvalidArgument, "a batch without records can't be sealed"));
        };
        let mut used = Compression::None;
        if compression != Compression::None {
            let mut packed = std::mem::take(&mut compressor.packed);
            packed.clear();
            packed.resize(HEADER, 0);
            let records = self.buffer.get(HEADER..).unwrap_or_default();
            let compressed = compressor.compress(compression, records, &mut packed);
            // Larger than before happens to tiny and to random records. Readers are spared the work, and a batch
            // never outgrows the limit it was filled to.
            if compressed.is_ok() && packed.len() < self.buffer.len() {
                // The batch waits in memory of its own size; the roomy buffers are for batches that are being made.
                compressor.spare = std::mem::replace(&mut self.buffer, packed.as_slice().to_vec());
                (self.records_crc, self.summed) = (0, HEADER);
                used = compression;
            }
            compressor.packed = packed;
            compressed?;
        }
        self.sum_up();
        // Both fit: `append` keeps the whole within 31 bits, and a record takes more than a byte.
        let length = self.buffer.len().saturating_sub(LOG_OVERHEAD) as i32;
        if let Some(header) = self.buffer.first_chunk_mut::<HEADER>() {
            header.fill(0);
            BigEndian::write_i32(&mut header[LENGTH_AT..], length);
            header[MAGIC_AT] = 2;
            BigEndian::write_i16(&mut header[ATTRIBUTES_AT..], i16::from(used.id()));
            BigEndian::write_i32(&mut header[LAST_OFFSET_DELTA_AT..], last_offset_delta as i32);
            BigEndian::write_i64(&mut header[BASE_TIMESTAMP_AT..], self.base_timestamp);
            BigEndian::write_i64(&mut header[MAX_TIMESTAMP_AT..], self.max_timestamp);
            BigEndian::write_i32(&mut header[COUNT_AT..], self.count as i32);
        }
        Ok(SealedBatch::new(self.buffer, compression, self.records_crc))
    }

    #[inline]
    fn timestamp_delta(&self, timestamp: i64) -> Option<i64> {
        if self.count == 0 { Some(0) } else { timestamp.checked_sub(self.base_timestamp) }
    }

    /// Where there is room for [`HEAD_ROOM`] more bytes: a copy of a fixed size is one move, one of `n` bytes is a call.
    #[inline(always)]
    fn put_packed(&mut self, head: Packed) {
        let end = self.buffer.len().saturating_add(head.len());
        self.buffer.extend_from_slice(&head.bytes());
        self.buffer.truncate(end);
    }

    #[inline]
    fn put_varint(&mut self, value: i64) {
        let mut bits = varint::zigzag(value);
        while bits >= 0x80 {
            self.buffer.push(bits as u8 | 0x80);
            bits >>= 7;
        }
        self.buffer.push(bits as u8);
    }
}

/// A length as records have it: -1 stands for null.
#[inline]
fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

/// What the record's length field will say. Saturates: the same slice may be given often, and sum up to anything.
#[inline(always)]
fn body_size(
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) -> usize {
    let lengths = [timestamp_delta, offset_delta, length(key), length(value), headers.len() as i64];
    let mut size = lengths.map(varint::size_of).into_iter().fold(1usize, usize::saturating_add);
    size = size.saturating_add(key.map_or(0, <[u8]>::len)).saturating_add(value.map_or(0, <[u8]>::len));
    for header in headers {
        size = size
            .saturating_add(varint::size_of(header.key.len() as i64))
            .saturating_add(varint::size_of(length(header.value)))
            .saturating_add(header.key.len())
            .saturating_add(header.value.map_or(0, <[u8]>::len));
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_the_bound_holds() {
        let long = vec![7u8; 300];
        let name = "n".repeat(130);
        let headers = [Header { key: "a", value: None }, Header { key: &name, value: Some(&long) }];
        let mut builder = BatchBuilder::new(Vec::new());
        assert_eq!((builder.len(), builder.is_empty()), (61, true));
        for (timestamp, key, value, headers) in [
            (1000, None, None, &headers[..0]),
            (0, Some(&b""[..]), Some(&long[..]), &headers[..1]),
            (1 << 40, Some(&long[..]), None, &headers[..]),
        ] {
            let (before, size) = (builder.len(), builder.record_size(timestamp, key, value, headers));
            builder.append(timestamp, key, value, headers).unwrap();
            assert_eq!(builder.len() - before, size);
            let lengths = (key.map_or(0, <[u8]>::len), value.map_or(0, <[u8]>::len));
            assert!(size <= BatchBuilder::max_record_size(lengths.0, lengths.1, headers));
        }
        assert_eq!((builder.first_timestamp(), builder.max_timestamp()), (Some(1000), Some(1 << 40)));
        assert_eq!(builder.count(), 3);
    }

    #[test]
    fn the_wire_form_of_a_record() {
        let mut builder = BatchBuilder::new(b"what was there before".to_vec());
        builder.append(5, Some(b"k"), None, &[]).unwrap();
        builder.append(4, None, Some(b"va"), &[Header { key: "h", value: Some(b"x") }]).unwrap();
        let expected: [&[u8]; 2] =
            [&[14, 0, 0, 0, 2, b'k', 1, 0], &[24, 0, 1, 2, 1, 4, b'v', b'a', 2, 2, b'h', 2, b'x']];
        assert_eq!(builder.into_buffer()[HEADER..], expected.concat());
    }

    #[test]
    fn summing_early_changes_nothing() {
        for compression in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
            for records in [1, 163, 164, 165, 1000] {
                let filled = |mut builder: BatchBuilder| {
                    for i in 0..records {
                        builder.append(i, Some(b"key"), Some(&[i as u8; 90]), &[]).unwrap();
                    }
                    builder.seal(compression, &mut Compressor::default()).unwrap()
                };
                let late = filled(BatchBuilder::new(Vec::new()));
                let early = filled(BatchBuilder::new(Vec::new()).summing());
                assert_eq!(early.bytes(), late.bytes(), "{compression} {records}");
            }
        }
    }

    #[test]
    fn short_records_are_the_same_wherever_there_is_room() {
        // The common way writes a little beyond a record's end, the general one does not: they differ in nothing else.
        for (key, length) in [(None, 0), (Some(&b"k"[..]), 40), (Some(b""), 8100), (None, 70_000)] {
            let value = vec![7; length];
            let fill = |capacity| {
                let mut builder = BatchBuilder::new(Vec::with_capacity(capacity));
                for timestamp in [5, 6, 70, 4] {
                    builder.append(timestamp, key, Some(&value), &[]).unwrap();
                }
                builder.into_buffer()
            };
            let roomy = fill(1 << 20);
            assert_eq!(fill(0), roomy, "{length}");
            assert_eq!(fill(roomy.len()), roomy, "{length}");
        }
    }

    #[test]
    fn a_buffer_filled_to_its_end_does_not_grow() {
        let mut probe = BatchBuilder::new(Vec::new());
        probe.append(0, Some(b"key"), Some(b"value"), &[]).unwrap();
        let mut builder = BatchBuilder::new(Vec::with_capacity(probe.len()));
        let capacity = builder.capacity();
        builder.append(0, Some(b"key"), Some(b"value"), &[]).unwrap();
        assert_eq!((builder.len(), builder.capacity()), (probe.len(), capacity));
    }

    #[test]
    fn a_record_beyond_31_bits_is_refused_and_changes_nothing() {
        // One slice many times over: the sum is beyond the limit, the memory is not.
        let megabyte = vec![0; 1 << 20];
        let headers = vec![Header { key: "h", value: Some(&megabyte) }; 2048];
        let mut builder = BatchBuilder::new(Vec::new());
        let error = builder.append(0, None, None, &headers).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!((builder.len(), builder.count()), (HEADER, 0));
    }

    #[test]
    fn an_empty_batch_is_not_sealed() {
        let error = BatchBuilder::new(Vec::new()).seal(Compression::None, &mut Compressor::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
