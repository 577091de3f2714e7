//! The header of a magic 2 batch, and what all magics have in common.

use super::{corrupt, unsupported};
use crate::Result;
use crate::record::TimestampType;
use byteorder::{BigEndian, ByteOrder};

/// Offset and length: what every batch of every magic starts with.
pub(super) const LOG_OVERHEAD: usize = 12;
/// A magic 2 batch's header; its records start here.
pub(super) const HEADER: usize = 61;
/// Enough bytes to know a batch's magic.
const UP_TO_MAGIC: usize = 17;
/// The shortest a magic 0 message can be: checksum, magic, attributes, key and value lengths.
const MIN_LEGACY: i32 = 14;

pub(super) const LENGTH_AT: usize = 8;
pub(super) const LEADER_EPOCH_AT: usize = 12;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
/// From here to the batch's end goes the checksum.
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const PRODUCER_ID_AT: usize = 43;
pub(super) const PRODUCER_EPOCH_AT: usize = 51;
pub(super) const BASE_SEQUENCE_AT: usize = 53;
pub(super) const COUNT_AT: usize = 57;

pub(super) const CODEC_MASK: i16 = 0x07;
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;

/// A batch's header, decoded and checked. For magic 0 and 1, where each message is a batch, fields they lack have
/// Kafka's "none" values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Header and records, in bytes.
    pub(super) size: usize,
    pub(super) magic: u8,
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    /// `None` for a compressed message of magic 0 and 1: only decoding tells.
    pub(super) count: Option<i32>,
}

impl Header {
    pub(super) fn timestamp_type(&self) -> TimestampType {
        match (self.magic, self.attributes & LOG_APPEND_TIME) {
            (0, _) => TimestampType::NoTimestampType,
            (_, 0) => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }
}

/// What stands at the beginning of some bytes.
pub(super) enum Step {
    /// A whole batch.
    Batch(Header),
    /// A batch that is cut; whole, it would be this long.
    Cut(usize),
}

/// Looks at the batch at the start of `bytes`, which must not be empty.
pub(super) fn step(bytes: &[u8]) -> Result<Step> {
    let Some(overhead) = bytes.first_chunk::<LOG_OVERHEAD>() else {
        return Ok(Step::Cut(HEADER));
    };
    let offset = BigEndian::read_i64(overhead);
    let length = BigEndian::read_i32(&overhead[LENGTH_AT..]);
    // Checked first: a length like this never becomes right by reading more, and must not be taken for a cut batch.
    if length < MIN_LEGACY {
        return Err(corrupt(format!("the batch at offset {offset} has an impossible length of {length} bytes")));
    }
    let size = LOG_OVERHEAD.saturating_add(length.unsigned_abs() as usize);
    if let Some(&magic) = bytes.get(MAGIC_AT) {
        if magic > 2 {
            return Err(unsupported(format!("the batch at offset {offset} has the unknown magic {}", magic as i8)));
        }
        if magic == 2 && size < HEADER {
            return Err(corrupt(format!("the batch at offset {offset} has an impossible length of {length} bytes")));
        }
    }
    if offset < 0 {
        return Err(corrupt(format!("a batch has the negative offset {offset}")));
    }
    let Some(batch) = bytes.get(..size) else {
        return Ok(Step::Cut(size));
    };
    // `size` is at least 26, so the magic is there.
    let header = match (batch.first_chunk::<HEADER>(), batch.first_chunk::<UP_TO_MAGIC>()) {
        (Some(fixed), _) if fixed[MAGIC_AT] == 2 => magic2(fixed, size)?,
        _ => super::legacy::header(batch)?,
    };
    Ok(Step::Batch(header))
}

fn magic2(bytes: &[u8; HEADER], size: usize) -> Result<Header> {
    let base_offset = BigEndian::read_i64(bytes);
    let last_offset_delta = BigEndian::read_i32(&bytes[LAST_OFFSET_DELTA_AT..]);
    let count = BigEndian::read_i32(&bytes[COUNT_AT..]);
    // One more must fit as well: the position after the batch.
    let last_offset = base_offset.checked_add(i64::from(last_offset_delta)).filter(|&last| last < i64::MAX);
    let Some(last_offset) = last_offset.filter(|_| last_offset_delta >= 0) else {
        return Err(corrupt(format!(
            "the batch at offset {base_offset} has a last offset delta of {last_offset_delta}"
        )));
    };
    // Compaction may leave fewer records than offsets, never more.
    if count < 0 || i64::from(count) > i64::from(last_offset_delta).saturating_add(1) {
        return Err(corrupt(format!(
            "the batch at offset {base_offset} says it has {count} records for a last offset delta of {last_offset_delta}"
        )));
    }
    Ok(Header {
        size,
        magic: 2,
        base_offset,
        last_offset,
        leader_epoch: BigEndian::read_i32(&bytes[LEADER_EPOCH_AT..]),
        crc: BigEndian::read_u32(&bytes[CRC_AT..]),
        attributes: BigEndian::read_i16(&bytes[ATTRIBUTES_AT..]),
        base_timestamp: BigEndian::read_i64(&bytes[BASE_TIMESTAMP_AT..]),
        max_timestamp: BigEndian::read_i64(&bytes[MAX_TIMESTAMP_AT..]),
        producer_id: BigEndian::read_i64(&bytes[PRODUCER_ID_AT..]),
        producer_epoch: BigEndian::read_i16(&bytes[PRODUCER_EPOCH_AT..]),
        base_sequence: BigEndian::read_i32(&bytes[BASE_SEQUENCE_AT..]),
        count: Some(count),
    })
}
