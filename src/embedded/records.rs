//! What a partition holds, for a test to look at.

use super::cluster::Cluster;
use crate::batch::{ControlType, Decompressor, RecordBatch};
use crate::record::TimestampType;
use crate::{Error, ErrorCode, Result};
use bytes::Bytes;

/// What a batch may unpack to, in bytes; none that was taken in is larger.
const UNPACKED_BYTES: usize = super::state::UNPACKED_BYTES;

/// A record in a partition's log, as [`Cluster::records`] and [`Cluster::all_records`] return it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// Its offset.
    pub offset: i64,
    /// In milliseconds since 1970-01-01T00:00:00Z; -1 if it has none.
    pub timestamp: i64,
    /// Whose clock the timestamp is from.
    pub timestamp_type: TimestampType,
    /// The key; `None` if it is null.
    pub key: Option<Bytes>,
    /// The value; `None` if it is null.
    pub value: Option<Bytes>,
    /// Names and values, in their order. Names that are not UTF-8 are shown as far as they are.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The producer's id; -1 if it was not idempotent.
    pub producer_id: i64,
    /// The producer's epoch; -1 if it was not idempotent.
    pub producer_epoch: i16,
    /// Whether it was written in a transaction, which may have been aborted.
    pub is_transactional: bool,
    /// How a transaction ended, if this is the marker that says so.
    pub control: Option<ControlType>,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: i32,
}

impl Cluster {
    /// The records of a partition in the order of their offsets, without the markers of transactions. Those of open and
    /// aborted transactions are among them.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn records(&self, topic: &str, partition: i32) -> Result<Vec<StoredRecord>> {
        let mut records = self.all_records(topic, partition)?;
        records.retain(|record| record.control.is_none());
        Ok(records)
    }

    /// The same with the markers of transactions, which take offsets too.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn all_records(&self, topic: &str, partition: i32) -> Result<Vec<StoredRecord>> {
        let batches = self.core().with_state(|state, _| state.batches(topic, partition));
        let (start_offset, batches) = batches.map_err(|code| unknown(code, topic, partition))?;
        let mut records = Vec::new();
        let mut decompressor = Decompressor::new();
        for batch in &batches {
            decode(batch, &mut decompressor, &mut records)?;
        }
        records.retain(|record| record.offset >= start_offset);
        Ok(records)
    }

    /// The offset of the first record that can be read.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn log_start_offset(&self, topic: &str, partition: i32) -> Result<i64> {
        let offset = self.core().with_state(|state, _| state.log(topic, partition).map(|log| log.start_offset()));
        offset.map_err(|code| unknown(code, topic, partition))
    }

    /// The offset that the next record gets.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn log_end_offset(&self, topic: &str, partition: i32) -> Result<i64> {
        let offset = self.core().with_state(|state, _| state.log(topic, partition).map(|log| log.end_offset()));
        offset.map_err(|code| unknown(code, topic, partition))
    }

    /// The end of what consumers can read. All replicas are one log, so this is the log's end.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Result<i64> {
        let offset = self.core().with_state(|state, _| state.log(topic, partition).map(|log| log.high_watermark()));
        offset.map_err(|code| unknown(code, topic, partition))
    }

    /// Cuts the end off a partition's log, as an unclean change of leaders does: the records from `offset` on are lost,
    /// another in-sync replica leads if there is one, and the leader epoch rises. A log that is not that long keeps
    /// what it has.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let done = self.core().with_state(|state, _| state.truncate(topic, partition, offset));
        done.map_err(|code| unknown(code, topic, partition))
    }

    /// Lets a partition's log start at `offset`, as retention does: what is before it is deleted. With an offset that
    /// the log does not have, everything is deleted and the next record gets that offset.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn reset_log_start(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let done = self.core().with_state(|state, _| state.reset_log_start(topic, partition, offset));
        done.map_err(|code| unknown(code, topic, partition))
    }
}

fn unknown(code: ErrorCode, topic: &str, partition: i32) -> Error {
    Error::from_code(code, format!("there is no partition {partition} of topic {topic}"))
}

fn decode(batch: &RecordBatch, decompressor: &mut Decompressor, records: &mut Vec<StoredRecord>) -> Result<()> {
    let control = batch.control_type()?;
    let decoded = batch.decode(decompressor, UNPACKED_BYTES)?;
    let share = |bytes: &[u8]| decoded.payload().slice_ref(bytes);
    for record in decoded.records() {
        let record = record?;
        let header = |header: crate::Header<'_>| (header.key.to_owned(), header.value.map(Bytes::copy_from_slice));
        records.push(StoredRecord {
            offset: record.offset(),
            timestamp: record.timestamp(),
            timestamp_type: record.timestamp_type(),
            key: record.key().map(share),
            value: record.value().map(share),
            headers: record.headers().map(header).collect(),
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            is_transactional: batch.is_transactional(),
            control,
            leader_epoch: batch.leader_epoch(),
        });
    }
    Ok(())
}
