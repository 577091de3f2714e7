//! Messages of magic 0 and 1, read only: old segments survive upgrades of brokers.
//!
//! A message holds a key and a value, or, if it is compressed, a whole set of messages in its value. Inside, magic 0
//! has absolute offsets; magic 1 has offsets that count from anywhere, of which the last stands for the outer one's.

use super::compression::{Compression, Decompressor};
use super::corrupt;
use super::header::{CODEC_MASK, CRC_AT, Header, LENGTH_AT, LOG_APPEND_TIME, LOG_OVERHEAD, MAGIC_AT};
use super::records::{DecodedBatch, Place, Plan as RecordPlan, Span};
use crate::Result;
use crate::record::TimestampType;
use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;

const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The checksum sits where magic 2 has the leader epoch.
const LEGACY_CRC_AT: usize = 12;
/// After the magic.
const LEGACY_ATTRIBUTES_AT: usize = CRC_AT;
/// Where the key's length is in magic 0, and the timestamp in magic 1.
const BODY_AT: usize = 18;

/// How to read a message set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    magic: u8,
    /// To be added to each offset.
    shift: i64,
    pub(super) last_offset: i64,
    /// If the broker's time goes for all messages.
    append_time: Option<i64>,
    /// Whether these messages come out of another one, and so must not be compressed themselves.
    inner: bool,
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

/// The header of the message that `batch` is exactly, of magic 0 or 1.
pub(super) fn header(batch: &[u8]) -> Result<Header> {
    let message = Message::read(batch, &mut 0)?;
    let timestamp = message.timestamp.unwrap_or(-1);
    let compressed = message.attributes & CODEC_MASK != 0;
    if message.offset == i64::MAX {
        return Err(corrupt("a message has the largest offset there is"));
    }
    Ok(Header {
        size: batch.len(),
        magic: message.magic,
        base_offset: message.offset,
        last_offset: message.offset,
        leader_epoch: -1,
        crc: batch.get(LEGACY_CRC_AT..MAGIC_AT).map_or(0, BigEndian::read_u32),
        // In magic 2, bits that mean nothing here say whose transaction it is.
        attributes: message.attributes & (CODEC_MASK | LOG_APPEND_TIME),
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count: (!compressed).then_some(1),
    })
}

pub(super) fn decode(
    bytes: &Bytes,
    header: Header,
    compression: Compression,
    decompressor: &mut Decompressor,
    cap: usize,
) -> Result<DecodedBatch> {
    let append_time = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
    let magic = header.magic;
    let mut plan = Plan { magic, shift: 0, last_offset: header.last_offset, append_time, inner: false };
    if compression == Compression::None {
        return DecodedBatch::with_plan(header, bytes.clone(), RecordPlan::Legacy(plan));
    }
    let outer = Message::read(bytes, &mut 0)?;
    let Some(packed) = outer.value.and_then(|span| span.of(bytes)) else {
        return Err(corrupt(format!("the compressed message at offset {} has no value", header.last_offset)));
    };
    let payload = Bytes::from(decompressor.decompress_for(compression, packed, cap, magic)?);
    plan.inner = true;
    if magic == 1 {
        plan.shift = match last_inner_offset(&payload)? {
            // Inner and outer offsets are not negative, so this can't overflow.
            Some(last) => header.last_offset.saturating_sub(last),
            None => 0,
        };
    }
    DecodedBatch::with_plan(header, payload, RecordPlan::Legacy(plan))
}

/// Reads the message at `at` and moves on to the next one.
pub(super) fn next(plan: &Plan, payload: &[u8], at: &mut usize) -> Result<Place> {
    let message = Message::read(payload, at)?;
    if message.magic != plan.magic {
        return Err(corrupt(format!("a message of magic {} is inside one of magic {}", message.magic, plan.magic)));
    }
    if plan.inner && message.attributes & CODEC_MASK != 0 {
        return Err(corrupt("a compressed message is inside a compressed message"));
    }
    let offset = message.offset.checked_add(plan.shift).filter(|&offset| offset >= 0);
    let offset = offset.ok_or_else(|| corrupt(format!("a message has the offset {}", message.offset)))?;
    let timestamp = plan.append_time.or(message.timestamp).unwrap_or(-1);
    Ok(Place::without_headers(offset, timestamp, message.key, message.value))
}

/// The last message's offset, from lengths alone.
fn last_inner_offset(payload: &[u8]) -> Result<Option<i64>> {
    let (mut at, mut last) = (0, None);
    while at < payload.len() {
        last = Some(Message::read(payload, &mut at)?.offset);
    }
    Ok(last)
}

struct Message {
    offset: i64,
    magic: u8,
    attributes: i16,
    /// Magic 1 only.
    timestamp: Option<i64>,
    key: Option<Span>,
    value: Option<Span>,
}

impl Message {
    /// Reads the message at `at` of a message set, and moves `at` behind it.
    fn read(set: &[u8], at: &mut usize) -> Result<Self> {
        let start = *at;
        let rest = set.get(start..).unwrap_or_default();
        let (Some(overhead), Some(&magic)) = (rest.first_chunk::<LOG_OVERHEAD>(), rest.get(MAGIC_AT)) else {
            return Err(short());
        };
        let offset = BigEndian::read_i64(overhead);
        let length = BigEndian::read_i32(&overhead[LENGTH_AT..]);
        let size = usize::try_from(length).ok().and_then(|length| length.checked_add(LOG_OVERHEAD));
        let message = size.and_then(|size| rest.get(..size)).ok_or_else(short)?;
        if magic > 1 || offset < 0 {
            return Err(corrupt(format!("a message set has a message of magic {magic} with offset {offset}")));
        }
        let &attributes = message.get(LEGACY_ATTRIBUTES_AT).ok_or_else(short)?;
        let mut field = BODY_AT;
        let timestamp = match magic {
            0 => None,
            _ => {
                let bytes = message.get(BODY_AT..).and_then(<[u8]>::first_chunk::<8>).ok_or_else(short)?;
                field = BODY_AT.saturating_add(bytes.len());
                Some(i64::from_be_bytes(*bytes))
            }
        };
        let key = nullable(message, &mut field, start)?;
        let value = nullable(message, &mut field, start)?;
        if field != message.len() {
            return Err(corrupt(format!("the message at offset {offset} has bytes too many")));
        }
        *at = start.saturating_add(field);
        Ok(Self { offset, magic, attributes: i16::from(attributes), timestamp, key, value })
    }
}

/// Bytes with their length before them, at `at` of a message that starts at `start` of its set.
fn nullable(message: &[u8], at: &mut usize, start: usize) -> Result<Option<Span>> {
    let bytes = message.get(*at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(short)?;
    *at = at.saturating_add(bytes.len());
    let Ok(length) = usize::try_from(i32::from_be_bytes(*bytes)) else {
        return Ok(None);
    };
    let end = at.checked_add(length).filter(|&end| end <= message.len()).ok_or_else(short)?;
    let span = Span::new(start.saturating_add(*at), start.saturating_add(end));
    *at = end;
    Ok(Some(span))
}

#[cold]
fn short() -> crate::Error {
    corrupt("a message ends too early")
}
