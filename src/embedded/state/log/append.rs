//! Writing to a log.

use super::checked::{CheckedBatch, Refusal, UNPACKED_BYTES};
use super::config::LogConfig;
use super::{Log, Stored, only_batch};
use crate::ErrorCode;
use crate::batch::{Decompressor, edit};
use crate::record::TimestampType;

/// Where a batch has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Appended {
    pub(in crate::embedded) base_offset: i64,
    /// The log's own time, where that goes for the records; -1 else.
    pub(in crate::embedded) append_time_ms: i64,
    /// Whether it had been there before, by its producer's sequence.
    pub(in crate::embedded) duplicate: bool,
}

/// What ends a transaction.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct Marker {
    pub(in crate::embedded) producer_id: i64,
    pub(in crate::embedded) producer_epoch: i16,
    pub(in crate::embedded) commit: bool,
    /// Of the transaction's coordinator: a marker of an older one is refused.
    pub(in crate::embedded) coordinator_epoch: i32,
}

impl Log {
    /// Writes a produced batch.
    pub(in crate::embedded) fn append(
        &mut self,
        checked: CheckedBatch,
        config: &LogConfig,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, Refusal> {
        check_size(checked.bytes.len(), config)?;
        check_records(&checked, config, now_ms)?;
        let duplicate = checked.claim().map_or(Ok(None), |claim| self.producers.check(&claim))?;
        if let Some(batch) = duplicate {
            return Ok(Appended { base_offset: batch.first_offset, append_time_ms: batch.timestamp, duplicate: true });
        }
        let wanted = config.compression.filter(|codec| *codec != checked.compression);
        let mut bytes = match wanted {
            None => checked.bytes,
            Some(codec) => {
                let bytes = edit::recompress(&checked.batch, codec, UNPACKED_BYTES);
                let bytes = bytes.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
                check_size(bytes.len(), config)?;
                bytes
            }
        };
        if config.append_time {
            edit::set_max_timestamp(&mut bytes, now_ms, true);
        } else if checked.batch.max_timestamp() != checked.max_timestamp {
            // Some producers leave it to the broker.
            edit::set_max_timestamp(&mut bytes, checked.max_timestamp, false);
        }
        let base_offset = self.write(bytes, leader_epoch, now_ms)?;
        let append_time_ms = if config.append_time { now_ms } else { -1 };
        Ok(Appended { base_offset, append_time_ms, duplicate: false })
    }

    /// Ends a producer's transaction in this partition with a marker, and says at which offset that is.
    pub(in crate::embedded) fn end_transaction(
        &mut self,
        marker: &Marker,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<i64, ErrorCode> {
        let Marker { producer_id, producer_epoch, commit, coordinator_epoch } = *marker;
        self.producers.check_marker(producer_id, producer_epoch, coordinator_epoch)?;
        let marker = edit::end_transaction_marker(producer_id, producer_epoch, commit, coordinator_epoch, now_ms);
        self.write(marker.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?, leader_epoch, now_ms)
    }

    /// Puts a batch at the end.
    fn write(&mut self, mut bytes: Vec<u8>, leader_epoch: i32, now_ms: i64) -> Result<i64, ErrorCode> {
        let base_offset = self.end_offset;
        edit::assign_offset(&mut bytes, base_offset, leader_epoch);
        // Offsets that go beyond 63 bits are refused here.
        let batch = only_batch(bytes).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        self.epochs.assign(leader_epoch, base_offset);
        self.end_offset = batch.next_offset();
        if batch.producer_id() >= 0 {
            self.note_producer(&batch);
        }
        let position = self.end_position();
        self.batches.push_back(Stored { batch, position, written_ms: now_ms });
        Ok(base_offset)
    }
}

/// Kafka: `max.message.bytes`.
fn check_size(size: usize, config: &LogConfig) -> Result<(), Refusal> {
    if size > config.max_message_bytes {
        return Err(ErrorCode::MESSAGE_TOO_LARGE.into());
    }
    Ok(())
}

/// What a topic's settings ask of every record.
fn check_records(checked: &CheckedBatch, config: &LogConfig, now_ms: i64) -> Result<(), Refusal> {
    let append_time = checked.batch.timestamp_type() == TimestampType::LogAppendTime;
    let late = |timestamp: i64| {
        let age = now_ms.saturating_sub(timestamp);
        age > config.timestamp_before_max_ms || age.saturating_neg() > config.timestamp_after_max_ms
    };
    let no_key = config.compact && checked.keyless;
    let range = [checked.min_timestamp, checked.max_timestamp];
    let no_time = !config.append_time && checked.max_timestamp != -1 && range.into_iter().any(late);
    if !(no_key || no_time || append_time) {
        return Ok(());
    }
    let decoded = checked.batch.decode(&mut Decompressor::new(), UNPACKED_BYTES);
    let decoded = decoded.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    let (mut records, mut bad_time) = (Vec::new(), false);
    for (index, record) in (0..).zip(decoded.records()) {
        let record = record.map_err(|error| Refusal::new(ErrorCode::INVALID_RECORD, error.to_string()))?;
        let timestamp = record.timestamp();
        if config.compact && record.key().is_none() {
            records.push((index, "a compacted topic takes no records without a key".to_owned()));
        } else if append_time {
            bad_time = true;
            records.push((index, "only the broker may set LogAppendTime".to_owned()));
        } else if !config.append_time && timestamp != -1 && late(timestamp) {
            bad_time = true;
            let from = now_ms.saturating_sub(config.timestamp_before_max_ms);
            let to = now_ms.saturating_add(config.timestamp_after_max_ms);
            records.push((index, format!("the timestamp {timestamp} is not within {from} and {to}")));
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    let code = if bad_time { ErrorCode::INVALID_TIMESTAMP } else { ErrorCode::INVALID_RECORD };
    let message = format!("{} of the batch's records are refused", records.len());
    Err(Refusal { code, message: Some(message), records })
}
