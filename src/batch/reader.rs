//! Walks the batches that a fetch returned.

use super::compression::{Compression, Decompressor};
use super::header::{ATTRIBUTES_AT, CODEC_MASK, CONTROL, HEADER, Header, MAGIC_AT, Step, TRANSACTIONAL, step};
use super::records::DecodedBatch;
use super::transactions::ControlType;
use super::{corrupt, legacy, unsupported};
use crate::record::TimestampType;
use crate::{Error, Result};
use bytes::Bytes;

/// Iterates over the batches of a fetch, of magic 0, 1 and 2, without looking at their records.
///
/// A broker cuts the last batch wherever the fetch limit is: iteration then ends as if it were not there, and
/// [`incomplete`](Self::incomplete) says how long it is. The first error ends the iteration as well: nothing is skipped.
///
/// Magic 0 and 1 have no batches but messages, perhaps with others compressed inside: each is yielded as one batch.
///
/// ```
/// use sarameya::batch::{BatchBuilder, Compression, Compressor, Decompressor, RecordBatches};
///
/// let mut builder = BatchBuilder::new(Vec::new());
/// builder.append(1_700_000_000_000, Some(b"k1"), Some(b"v1"), &[])?;
/// let sealed = builder.seal(Compression::None, &mut Compressor::default())?;
///
/// let mut decompressor = Decompressor::new();
/// for batch in RecordBatches::new(sealed.bytes().clone()) {
///     let batch = batch?;
///     batch.verify_crc()?;
///     let decoded = batch.decode(&mut decompressor, 128 * 1024 * 1024)?;
///     for record in decoded.records() {
///         assert_eq!(record?.value(), Some(&b"v1"[..]));
///     }
/// }
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecordBatches {
    bytes: Bytes,
    walk: Walk,
}

impl RecordBatches {
    /// Starts at the first byte.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), walk: Walk::default() }
    }

    /// Once iteration has ended: the whole length of the batch that is cut at the end, if one is.
    ///
    /// If not even its length field is there, the length of the smallest batch.
    pub fn incomplete(&self) -> Option<usize> {
        self.walk.incomplete
    }

    /// How many bytes have not been yielded: once iteration has ended, the size of the piece of the cut batch.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.walk.at)
    }
}

impl Iterator for RecordBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.walk.at;
        let header = match self.walk.next(&self.bytes)? {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let bytes = self.bytes.slice(start..self.walk.at);
        Some(Ok(RecordBatch { bytes, header }))
    }
}

/// What [`scan`] found.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The position after the last whole batch; `None` if there is none.
    pub next_offset: Option<i64>,
    /// The epoch of the leader that wrote the last whole batch; `None` if there is none, or it is unknown.
    pub leader_epoch: Option<i32>,
    /// How many bytes the whole batches take.
    pub complete: usize,
    /// How many whole batches there are.
    pub batches: usize,
    /// The whole length of the batch that is cut at the end, if one is, in bytes.
    pub incomplete: Option<usize>,
    /// Why the scan ended early, if it did. What comes before is as if the bytes ended there.
    pub error: Option<Error>,
}

/// Looks at the headers of the batches that a fetch returned, and at nothing else: no checksum is computed, and no
/// memory shared.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut walk = Walk::default();
    let mut scan = Scan::default();
    while let Some(step) = walk.next(bytes) {
        match step {
            Ok(header) => {
                scan.next_offset = Some(header.last_offset.saturating_add(1));
                scan.leader_epoch = Some(header.leader_epoch).filter(|epoch| *epoch >= 0);
                scan.complete = walk.at;
                scan.batches = scan.batches.saturating_add(1);
            }
            Err(error) => scan.error = Some(error),
        }
    }
    scan.incomplete = walk.incomplete;
    scan
}

/// The way through the batches. Every step is an error, the end, or at least 26 bytes further.
#[derive(Debug, Clone, Default)]
struct Walk {
    at: usize,
    last_offset: Option<i64>,
    incomplete: Option<usize>,
    ended: bool,
}

impl Walk {
    fn next(&mut self, bytes: &[u8]) -> Option<Result<Header>> {
        let rest = bytes.get(self.at..).filter(|rest| !rest.is_empty() && !self.ended)?;
        let error = match step(rest) {
            Ok(Step::Batch(header)) => match self.last_offset {
                Some(last) if header.base_offset <= last => {
                    corrupt(format!("the batch at offset {} follows one that ends at {last}", header.base_offset))
                }
                _ => {
                    self.at = self.at.saturating_add(header.size);
                    self.last_offset = Some(header.last_offset);
                    return Some(Ok(header));
                }
            },
            Ok(Step::Cut(size)) => {
                self.ended = true;
                self.incomplete = Some(size);
                return None;
            }
            Err(error) => error,
        };
        self.ended = true;
        Some(Err(error))
    }
}

/// A batch as a fetch returned it: its header is decoded, its records are not.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    bytes: Bytes,
    header: Header,
}

impl RecordBatch {
    /// The one batch that these bytes are.
    pub(super) fn of(bytes: Bytes) -> Result<Self> {
        let mut batches = RecordBatches::new(bytes);
        batches.next().unwrap_or_else(|| Err(corrupt("not a whole batch")))
    }

    /// The batch as it came over the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The offset of the first record; compaction may have removed it. For a compressed message of magic 0 and 1, whose
    /// first offset only decoding tells: the last one.
    pub fn base_offset(&self) -> i64 {
        self.header.base_offset
    }

    /// The offset of the last record; compaction may have removed it.
    pub fn last_offset(&self) -> i64 {
        self.header.last_offset
    }

    /// The position after the batch.
    pub fn next_offset(&self) -> i64 {
        // Headers with no number after the last offset are refused.
        self.header.last_offset.saturating_add(1)
    }

    /// The epoch of the leader that wrote it; -1 if unknown.
    pub fn leader_epoch(&self) -> i32 {
        self.header.leader_epoch
    }

    /// The format's version, 0 to 2.
    pub fn magic(&self) -> u8 {
        self.header.magic
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a codec number that Kafka has not given away.
    pub fn compression(&self) -> Result<Compression> {
        let id = (self.header.attributes & CODEC_MASK) as i8;
        Compression::from_id(id).ok_or_else(|| {
            unsupported(format!("the batch at offset {} has the unknown codec {id}", self.base_offset()))
        })
    }

    /// Whose clock the timestamps are from.
    pub fn timestamp_type(&self) -> TimestampType {
        self.header.timestamp_type()
    }

    /// The largest timestamp, in milliseconds since 1970-01-01T00:00:00Z; -1 if there is none.
    pub fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    /// The producer's id; -1 if it was not idempotent.
    pub fn producer_id(&self) -> i64 {
        self.header.producer_id
    }

    /// The producer's epoch; -1 if it was not idempotent.
    pub fn producer_epoch(&self) -> i16 {
        self.header.producer_epoch
    }

    /// The sequence number of the first record; -1 if the producer was not idempotent.
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.header.attributes & TRANSACTIONAL != 0 && self.header.magic == 2
    }

    /// Whether it holds a control record, which is not for users.
    pub fn is_control(&self) -> bool {
        self.header.attributes & CONTROL != 0 && self.header.magic == 2
    }

    /// How many records it says it has; `None` for a compressed message of magic 0 and 1, where only decoding tells.
    pub fn count(&self) -> Option<i32> {
        self.header.count
    }

    /// Compares the checksum with the bytes.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt), naming the offset.
    pub fn verify_crc(&self) -> Result<()> {
        let crc = match self.header.magic {
            2 => crc32c::crc32c(self.bytes.get(ATTRIBUTES_AT..).unwrap_or_default()),
            _ => legacy::crc32(self.bytes.get(MAGIC_AT..).unwrap_or_default()),
        };
        if crc == self.header.crc {
            return Ok(());
        }
        Err(corrupt(format!(
            "the batch at offset {} has the checksum {:08x}, but its bytes sum up to {crc:08x}",
            self.base_offset(),
            self.header.crc
        )))
    }

    /// What the control record says; `None` if this is no control batch, or compaction has emptied it.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the record can't be decoded.
    pub fn control_type(&self) -> Result<Option<ControlType>> {
        if !self.is_control() {
            return Ok(None);
        }
        if self.compression()? != Compression::None {
            return Err(corrupt(format!("the control batch at offset {} is compressed", self.base_offset())));
        }
        let decoded = DecodedBatch::new(self.header, self.records())?;
        let Some(record) = decoded.records().next() else {
            return Ok(None);
        };
        ControlType::parse(record?.key().unwrap_or_default()).map(Some)
    }

    /// Unpacks the records to at most `cap` bytes; uncompressed ones stay where they are. The checksum is not looked
    /// at: that is [`verify_crc`](Self::verify_crc).
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) beyond the cap, [`Corrupt`](crate::ErrorKind::Corrupt) for a damaged
    /// stream, [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that is unknown or not compiled in.
    pub fn decode(&self, decompressor: &mut Decompressor, cap: usize) -> Result<DecodedBatch> {
        let compression = self.compression()?;
        if self.header.magic < 2 {
            return legacy::decode(&self.bytes, self.header, compression, decompressor, cap);
        }
        let records = match compression {
            Compression::None => self.records(),
            // Brokers keep the codec in the attributes of batches that compaction has emptied.
            _ if self.bytes.len() == HEADER && self.header.count == Some(0) => Bytes::new(),
            codec => {
                let packed = self.bytes.get(HEADER..).unwrap_or_default();
                Bytes::from(decompressor.decompress_for(codec, packed, cap, 2)?)
            }
        };
        DecodedBatch::new(self.header, records)
    }

    /// What comes after the header.
    fn records(&self) -> Bytes {
        self.bytes.slice(HEADER.min(self.bytes.len())..)
    }
}
