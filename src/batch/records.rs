//! The records of a batch.

use super::header::Header;
use super::varint::Cursor;
use super::{corrupt, legacy, too_large};
use crate::record::{BatchData, ConsumerRecord, TimestampType};
use crate::{Header as RecordHeader, Result};
use bytes::Bytes;
use std::sync::Arc;

/// A batch whose records are unpacked, but not yet taken apart.
#[derive(Debug, Clone)]
pub struct DecodedBatch {
    payload: Bytes,
    plan: Plan,
    timestamp_type: TimestampType,
    leader_epoch: i32,
}

/// How to read a payload.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    V2 {
        base_offset: i64,
        last_offset: i64,
        base_timestamp: i64,
        /// If the broker's time goes for all records.
        append_time: Option<i64>,
        count: u32,
    },
    Legacy(legacy::Plan),
}

impl DecodedBatch {
    pub(super) fn new(header: Header, payload: Bytes) -> Result<Self> {
        let timestamp_type = header.timestamp_type();
        let plan = Plan::V2 {
            base_offset: header.base_offset,
            last_offset: header.last_offset,
            base_timestamp: header.base_timestamp,
            append_time: (timestamp_type == TimestampType::LogAppendTime).then_some(header.max_timestamp),
            count: header.count.unwrap_or(0).unsigned_abs(),
        };
        Self::with_plan(header, payload, plan)
    }

    pub(super) fn with_plan(header: Header, payload: Bytes, plan: Plan) -> Result<Self> {
        // Records remember their places as 32-bit numbers; the largest of them stands for null.
        if payload.len() >= u32::MAX as usize {
            return Err(too_large(format!("the batch at offset {} takes 4 GiB or more", header.base_offset)));
        }
        Ok(Self { payload, plan, timestamp_type: header.timestamp_type(), leader_epoch: header.leader_epoch })
    }

    /// The unpacked records' bytes. They share the memory of the fetch if the batch was not compressed.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The records, borrowed from the payload. The first error ends the iteration.
    pub fn records(&self) -> Records<'_> {
        let walk = Walk::new(self.plan);
        Records { payload: &self.payload, timestamp_type: self.timestamp_type, walk }
    }

    /// The records, each of them owning a share of the payload: one reference count for each. The first error ends the
    /// iteration.
    pub fn into_consumer_records(self, topic: Arc<str>, partition: i32) -> ConsumerRecords {
        let walk = Walk::new(self.plan);
        let batch = BatchData {
            topic,
            partition,
            leader_epoch: self.leader_epoch,
            timestamp_type: self.timestamp_type,
            payload: self.payload,
        };
        ConsumerRecords { batch: Arc::new(batch), walk }
    }
}

/// Iterates over the records of a batch, borrowed.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    payload: &'a [u8],
    timestamp_type: TimestampType,
    walk: Walk,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.walk.next(self.payload)? {
            Ok(place) => {
                let slice = |span: Span| span.of(self.payload);
                Some(Ok(Record {
                    offset: place.offset,
                    timestamp: place.timestamp,
                    timestamp_type: self.timestamp_type,
                    key: slice(place.key),
                    value: slice(place.value),
                    headers: RecordHeaders::new(slice(place.headers).unwrap_or_default(), place.header_count),
                }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Iterates over the records of a batch, owned.
#[derive(Debug, Clone)]
pub struct ConsumerRecords {
    batch: Arc<BatchData>,
    walk: Walk,
}

impl Iterator for ConsumerRecords {
    type Item = Result<ConsumerRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.walk.next(&self.batch.payload)? {
            Ok(place) => Some(Ok(ConsumerRecord::new(Arc::clone(&self.batch), place))),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A record of a batch, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    offset: i64,
    timestamp: i64,
    timestamp_type: TimestampType,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: RecordHeaders<'a>,
}

impl<'a> Record<'a> {
    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its time, in milliseconds since 1970-01-01T00:00:00Z; -1 if it has none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Whose clock the time is from.
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// The key; `None` if it is null.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; `None` if it is null.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers, in their order.
    pub fn headers(&self) -> RecordHeaders<'a> {
        self.headers
    }
}

/// Iterates over a record's headers.
///
/// Names are text by agreement only. Of a name that is not UTF-8, the part before the first wrong byte is shown;
/// [`raw`](Self::raw) gives the bytes.
#[derive(Debug, Clone, Copy)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
    left: u32,
}

/// A record header as the bytes it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHeader<'a> {
    /// The name.
    pub key: &'a [u8],
    /// The value; `None` if it is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> RecordHeaders<'a> {
    pub(crate) fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { rest: bytes, left: count }
    }

    /// The headers without the assumption that names are text.
    pub fn raw(mut self) -> impl Iterator<Item = RawHeader<'a>> {
        std::iter::from_fn(move || self.next_raw())
    }

    fn next_raw(&mut self) -> Option<RawHeader<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut cursor = Cursor { bytes: self.rest, at: 0 };
        // The walk that found the record has seen its headers to be whole.
        let (key, value) = read_header(&mut cursor).ok()?;
        self.rest = self.rest.get(cursor.at..)?;
        Some(RawHeader { key, value })
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let RawHeader { key, value } = self.next_raw()?;
        let key = match std::str::from_utf8(key) {
            Ok(key) => key,
            Err(error) => {
                key.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default()
            }
        };
        Some(RecordHeader { key, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for RecordHeaders<'_> {}

/// A part of a payload, or null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const NULL: Self = Self { start: u32::MAX, end: u32::MAX };

    /// From and to places of a payload, which is shorter than `u32::MAX`.
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(crate) fn of(self, payload: &[u8]) -> Option<&[u8]> {
        // Null lies outside every payload.
        payload.get(self.start as usize..self.end as usize)
    }
}

/// A record, and where in the payload its parts are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Span,
    pub(crate) value: Span,
    pub(crate) headers: Span,
    pub(crate) header_count: u32,
}

impl Place {
    pub(super) fn without_headers(offset: i64, timestamp: i64, key: Option<Span>, value: Option<Span>) -> Self {
        let (key, value) = (key.unwrap_or(Span::NULL), value.unwrap_or(Span::NULL));
        Self { offset, timestamp, key, value, headers: Span::NULL, header_count: 0 }
    }
}

/// The way through a payload. Offsets strictly increase on it; it ends with the payload or with an error.
#[derive(Debug, Clone)]
struct Walk {
    plan: Plan,
    at: usize,
    /// Records of magic 2 seen.
    seen: u32,
    last_offset: i64,
    ended: bool,
}

impl Walk {
    fn new(plan: Plan) -> Self {
        Self { plan, at: 0, seen: 0, last_offset: -1, ended: false }
    }

    #[inline]
    fn next(&mut self, payload: &[u8]) -> Option<Result<Place>> {
        if self.ended {
            return None;
        }
        let result = match self.plan {
            Plan::V2 { count, .. } if self.seen == count => {
                self.ended = true;
                if self.at == payload.len() {
                    return None;
                }
                Err(corrupt(format!(
                    "a batch of {count} records has {} bytes more",
                    payload.len().saturating_sub(self.at)
                )))
            }
            Plan::V2 { base_offset, last_offset, base_timestamp, append_time, .. } => {
                self.seen = self.seen.wrapping_add(1);
                self.next_v2(payload, base_offset, last_offset, base_timestamp, append_time)
            }
            Plan::Legacy(_) if self.at == payload.len() => {
                self.ended = true;
                return None;
            }
            Plan::Legacy(plan) => legacy::next(&plan, payload, &mut self.at).and_then(|place| {
                if place.offset <= self.last_offset || place.offset > plan.last_offset {
                    return Err(disorder(place.offset, self.last_offset, plan.last_offset));
                }
                self.last_offset = place.offset;
                Ok(place)
            }),
        };
        if result.is_err() {
            self.ended = true;
        }
        Some(result)
    }

    #[inline]
    fn next_v2(
        &mut self,
        payload: &[u8],
        base_offset: i64,
        last_offset: i64,
        base_timestamp: i64,
        append_time: Option<i64>,
    ) -> Result<Place> {
        let mut cursor = Cursor { bytes: payload, at: self.at };
        let length = cursor.varint()?;
        let end = usize::try_from(length).ok().and_then(|length| cursor.at.checked_add(length));
        // From here on nothing is read beyond the record's own end.
        let Some(record) = end.and_then(|end| payload.get(..end)) else {
            return Err(corrupt(format!("a record says it has {length} bytes, {} are left", cursor.remaining())));
        };
        cursor.bytes = record;
        cursor.byte()?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = nullable(&mut cursor)?;
        let value = nullable(&mut cursor)?;
        let header_count = cursor.varint()?;
        let headers_at = cursor.at;
        if header_count != 0 {
            skip_headers(&mut cursor, header_count)?;
        }
        if cursor.at != record.len() {
            return Err(corrupt(format!("a record has {} bytes too many", cursor.remaining())));
        }
        // The base is at least 0 and the delta at most 31 bits, but the sum may not fit all the same.
        let offset = base_offset.checked_add(i64::from(offset_delta)).unwrap_or(i64::MAX);
        if offset <= self.last_offset || offset < base_offset || offset > last_offset {
            return Err(disorder(offset, self.last_offset.max(base_offset.saturating_sub(1)), last_offset));
        }
        let timestamp = match append_time {
            Some(timestamp) => timestamp,
            None => base_timestamp
                .checked_add(timestamp_delta)
                .ok_or_else(|| corrupt(format!("the record at offset {offset} has a timestamp beyond 64 bits")))?,
        };
        self.at = cursor.at;
        self.last_offset = offset;
        let headers = Span::new(headers_at, cursor.at);
        Ok(Place { offset, timestamp, key, value, headers, header_count: header_count.unsigned_abs() })
    }
}

#[cold]
fn disorder(offset: i64, after: i64, last: i64) -> crate::Error {
    corrupt(format!("a record has offset {offset}, which is not after {after} and up to {last}"))
}

/// Bytes with their length before them. Like Java, any negative length is taken for null.
#[inline]
fn nullable(cursor: &mut Cursor<'_>) -> Result<Span> {
    let length = cursor.varint()?;
    match usize::try_from(length) {
        Ok(length) => {
            let start = cursor.at;
            cursor.take(length)?;
            Ok(Span::new(start, cursor.at))
        }
        Err(_) => Ok(Span::NULL),
    }
}

/// A lie about the count ends at the record's last byte: no header takes less than two.
fn skip_headers(cursor: &mut Cursor<'_>, count: i32) -> Result<()> {
    if count < 0 {
        return Err(corrupt(format!("a record says it has {count} headers")));
    }
    for _ in 0..count {
        read_header(cursor)?;
    }
    Ok(())
}

fn read_header<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], Option<&'a [u8]>)> {
    let length = cursor.varint()?;
    let Ok(length) = usize::try_from(length) else {
        return Err(corrupt(format!("a header's name says it has {length} bytes")));
    };
    let key = cursor.take(length)?;
    let value = match usize::try_from(cursor.varint()?) {
        Ok(length) => Some(cursor.take(length)?),
        Err(_) => None,
    };
    Ok((key, value))
}
