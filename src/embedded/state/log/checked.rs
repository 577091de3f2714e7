//! What can be known of produced records without a log: whether they are a batch, whole, and what is in it.

use super::producers::{Claim, later};
use crate::ErrorCode;
use crate::batch::{Compression, Decompressor, HEADER_BYTES, RecordBatch, RecordBatches};
use bytes::Bytes;

/// What a batch may unpack to, in bytes: more than any client sends in one request.
pub(in crate::embedded) const UNPACKED_BYTES: usize = 128 * 1024 * 1024;

/// Why records are not taken, as the answer says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct Refusal {
    pub(in crate::embedded) code: ErrorCode,
    pub(in crate::embedded) message: Option<String>,
    /// The records that are to blame, by their place in the batch (KIP-467).
    pub(in crate::embedded) records: Vec<(i32, String)>,
}

impl Refusal {
    pub(in crate::embedded) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), records: Vec::new() }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

/// The produced records of a partition, looked at.
#[derive(Debug)]
pub(in crate::embedded) enum Checked {
    /// No batch that Produce takes. Kafka finds that before it looks for the partition.
    NoBatch(Refusal),
    /// A batch that no log takes; its size in bytes.
    Bad(usize, Refusal),
    /// A batch that is sound.
    Sound(CheckedBatch),
}

/// A sound batch that has no place in a log yet.
#[derive(Debug)]
pub(in crate::embedded) struct CheckedBatch {
    pub(super) batch: RecordBatch,
    /// The same in memory of its own, to be stamped and kept: the request's memory ends with the request.
    pub(super) bytes: Vec<u8>,
    pub(super) compression: Compression,
    /// Whether there is a record without a key.
    pub(super) keyless: bool,
    /// The smallest timestamp, without those that are "none".
    pub(super) min_timestamp: i64,
    /// The largest timestamp; -1 if there is none.
    pub(super) max_timestamp: i64,
}

impl CheckedBatch {
    pub(in crate::embedded) fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// How it stands in its producer's sequence; `None` without idempotence.
    pub(in crate::embedded) fn claim(&self) -> Option<Claim> {
        let batch = &self.batch;
        let delta = i32::try_from(batch.last_offset() - batch.base_offset()).unwrap_or(i32::MAX);
        (batch.producer_id() >= 0).then(|| Claim {
            producer_id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            first_sequence: batch.base_sequence(),
            last_sequence: later(batch.base_sequence(), delta),
            transactional: batch.is_transactional(),
        })
    }
}

const OLD_MAGIC: &str = "record batches must have magic 2";

/// Looks at the records of one partition. `zstd` says whether the version of Produce knows that codec.
pub(in crate::embedded) fn check(records: Option<&Bytes>, zstd: bool) -> Checked {
    let no_batch = |message: &str| Checked::NoBatch(Refusal::new(ErrorCode::INVALID_RECORD, message));
    let bytes = records.cloned().unwrap_or_default();
    let mut batches = RecordBatches::new(bytes.clone());
    let batch = match batches.next() {
        None => return no_batch("there must be a record batch for each partition"),
        Some(Err(_)) => return contradictory(&bytes),
        Some(Ok(batch)) => batch,
    };
    if batch.magic() != 2 {
        return no_batch(OLD_MAGIC);
    }
    let zstd_refused = !zstd && matches!(batch.compression(), Ok(Compression::Zstd));
    if zstd_refused {
        return Checked::NoBatch(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE.into());
    }
    // A piece of a batch behind the first is dropped, as Kafka does it.
    if batches.next().is_some() {
        return no_batch("there must be exactly one record batch for each partition");
    }
    let size = batch.bytes().len();
    match sound(batch, UNPACKED_BYTES) {
        Ok(batch) => Checked::Sound(batch),
        Err(refusal) => Checked::Bad(size, refusal),
    }
}

/// A header that can't be. If it says what its producer wrote, it is invalid, else corrupt.
fn contradictory(bytes: &Bytes) -> Checked {
    const MAGIC_AT: usize = 16;
    if matches!(bytes.get(MAGIC_AT), Some(0 | 1)) {
        return Checked::NoBatch(Refusal::new(ErrorCode::INVALID_RECORD, OLD_MAGIC));
    }
    const CRC: std::ops::Range<usize> = 17..21;
    let length = bytes.get(8..12).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes);
    let size = length.and_then(|length| usize::try_from(length).ok()).map_or(0, |length| length.saturating_add(12));
    let batch = bytes.get(..size).filter(|batch| batch.len() >= HEADER_BYTES && batch.get(MAGIC_AT) == Some(&2));
    let summed = batch.and_then(|batch| {
        let crc = batch.get(CRC)?.try_into().ok().map(u32::from_be_bytes)?;
        Some(crc32c::crc32c(batch.get(CRC.end..)?) == crc)
    });
    let code = if summed == Some(true) { ErrorCode::INVALID_RECORD } else { ErrorCode::CORRUPT_MESSAGE };
    Checked::Bad(size.min(bytes.len()), code.into())
}

/// What is in a batch that unpacks to no more than so many bytes.
pub(super) fn sound(batch: RecordBatch, unpacked: usize) -> Result<CheckedBatch, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::INVALID_RECORD, message);
    if batch.base_offset() != 0 {
        return Err(invalid(format!("a batch to be written has the base offset {}, not 0", batch.base_offset())));
    }
    if batch.verify_crc().is_err() {
        return Err(ErrorCode::CORRUPT_MESSAGE.into());
    }
    let count = batch.count().unwrap_or(0);
    let span = batch.next_offset() - batch.base_offset();
    if count <= 0 || i64::from(count) != span {
        return Err(invalid(format!("a batch of {span} offsets says it has {count} records")));
    }
    if batch.is_control() {
        return Err(invalid("clients can't write control batches".into()));
    }
    if batch.producer_id() >= 0 && batch.base_sequence() < 0 {
        return Err(invalid(format!("a batch of producer {} has no sequence number", batch.producer_id())));
    }
    // Kafka has no code for a stream that can't be unpacked.
    let compression = batch.compression().map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    let decoded = batch.decode(&mut Decompressor::new(), unpacked);
    let decoded = decoded.map_err(|error| match error.kind() {
        crate::ErrorKind::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        _ => ErrorCode::UNKNOWN_SERVER_ERROR,
    })?;
    let (mut keyless, mut min_timestamp, mut max_timestamp) = (false, i64::MAX, -1);
    for record in decoded.records() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        keyless |= record.key().is_none();
        if record.timestamp() != -1 {
            min_timestamp = min_timestamp.min(record.timestamp());
        }
        max_timestamp = max_timestamp.max(record.timestamp());
    }
    let bytes = batch.bytes().to_vec();
    Ok(CheckedBatch { batch, bytes, compression, keyless, min_timestamp, max_timestamp })
}
