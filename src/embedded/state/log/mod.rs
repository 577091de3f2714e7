//! The log of a partition, in memory.
//!
//! A batch is kept as it goes over the wire, so a fetch hands out the bytes that were produced. `checked` looks at
//! produced records before a log is there, `producers` keeps the sequences, `epochs` the leaders.
//!
//! All replicas of a partition are this one log: what has been written is replicated, so the high watermark is the end.

mod append;
mod checked;
mod compaction;
mod config;
mod epochs;
mod producers;
mod read;
#[cfg(test)]
mod tests;

pub(in crate::embedded) use append::{Appended, Marker};
pub(in crate::embedded) use checked::{Checked, CheckedBatch, Refusal, UNPACKED_BYTES, check};
pub(in crate::embedded) use config::LogConfig;
pub(in crate::embedded) use producers::{Claim, Producer, Producers};
pub(in crate::embedded) use read::Slice;

use crate::batch::{ControlType, RecordBatch, RecordBatches, edit};
use bytes::Bytes;
use epochs::Epochs;
use std::collections::VecDeque;

/// What a batch takes in memory beside its bytes, about.
const BATCH_OVERHEAD: u64 = 256;
/// The same of a producer.
const PRODUCER_OVERHEAD: u64 = 512;

/// A partition's record batches, in the order of their offsets.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Log {
    batches: VecDeque<Stored>,
    start_offset: i64,
    end_offset: i64,
    epochs: Epochs,
    producers: Producers,
    /// The transactions that were aborted, in the order of their markers.
    aborted: Vec<Aborted>,
    /// Up to here it has been compacted.
    compacted_to: i64,
}

/// A batch in its place.
#[derive(Debug)]
struct Stored {
    batch: RecordBatch,
    /// How many bytes of this log have come before it. Rises from batch to batch.
    position: u64,
    /// When it came, in milliseconds since 1970-01-01T00:00:00Z.
    written_ms: i64,
}

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Aborted {
    pub(in crate::embedded) producer_id: i64,
    pub(in crate::embedded) first_offset: i64,
    /// Of its marker.
    pub(in crate::embedded) last_offset: i64,
}

impl Log {
    /// The offset of the first record that can still be read.
    pub(in crate::embedded) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset of the next record.
    pub(in crate::embedded) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// The end of what is replicated, which is everything.
    pub(in crate::embedded) fn high_watermark(&self) -> i64 {
        self.end_offset
    }

    /// The end of what no transaction can take back: where the first one begins that is under way.
    pub(in crate::embedded) fn last_stable_offset(&self) -> i64 {
        self.producers.first_unstable_offset().map_or(self.end_offset, |offset| offset.max(self.start_offset))
    }

    /// The bytes of its batches.
    pub(in crate::embedded) fn size(&self) -> u64 {
        self.end_position() - self.batches.front().map_or(self.end_position(), |first| first.position)
    }

    /// The memory it takes, about.
    pub(in crate::embedded) fn memory(&self) -> u64 {
        self.size() + BATCH_OVERHEAD * self.batches.len() as u64 + PRODUCER_OVERHEAD * self.producers.len() as u64
    }

    pub(in crate::embedded) fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Its batches that can still be read, in order.
    pub(in crate::embedded) fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.batches.iter().map(|stored| &stored.batch)
    }

    /// Takes note of who leads: it begins to write at the end of the log, if it is new.
    pub(in crate::embedded) fn is_led_in(&mut self, leader_epoch: i32) {
        self.epochs.assign(leader_epoch, self.end_offset);
    }

    /// Where the epoch ends: the largest known up to it, and where the next one begins. `None` if the log knows of
    /// none.
    pub(in crate::embedded) fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_offset_for(epoch, self.end_offset)
    }

    /// Deletes what is before an offset, which must not be after the end; false if nothing is. A batch goes when all
    /// of it is before.
    pub(in crate::embedded) fn advance_start(&mut self, offset: i64) -> bool {
        if offset <= self.start_offset || offset > self.end_offset {
            return false;
        }
        self.start_offset = offset;
        while self.batches.front().is_some_and(|first| first.batch.last_offset() < offset) {
            self.batches.pop_front();
        }
        self.epochs.truncate_start(offset);
        self.aborted.retain(|aborted| aborted.last_offset >= offset);
        true
    }

    /// Deletes the first batches until this predicate says stop.
    fn drop_batches_while(&mut self, mut drop: impl FnMut(&RecordBatch, i64, u64) -> bool) {
        let mut start = self.start_offset;
        let mut left = self.size();
        for stored in &self.batches {
            if !drop(&stored.batch, stored.written_ms, left) {
                break;
            }
            left -= stored.batch.bytes().len() as u64;
            start = stored.batch.next_offset();
        }
        self.advance_start(start);
    }

    /// Deletes the first batches that are too old, and those without which the log still has as much as it may.
    pub(in crate::embedded) fn apply_retention(&mut self, config: &LogConfig, now_ms: i64) {
        let oldest = now_ms.saturating_sub(config.retention_ms);
        let keep = u64::try_from(config.retention_bytes).ok();
        self.drop_batches_while(|batch, written_ms, left| {
            let time = if batch.max_timestamp() >= 0 { batch.max_timestamp() } else { written_ms };
            let old = config.retention_ms >= 0 && time < oldest;
            old || keep.is_some_and(|keep| left - batch.bytes().len() as u64 >= keep)
        });
    }

    /// Gives memory back: forgets the oldest batches until it takes at most this, and who wrote them.
    pub(in crate::embedded) fn shrink(&mut self, memory: u64) {
        let mut excess = self.memory().saturating_sub(memory);
        self.drop_batches_while(|batch, _, _| {
            let more = excess > 0;
            excess = excess.saturating_sub(batch.bytes().len() as u64 + BATCH_OVERHEAD);
            more
        });
        self.producers.forget_before(self.start_offset);
    }

    /// Forgets producers that have not written since. Kafka: `producer.id.expiration.ms`.
    pub(in crate::embedded) fn expire_producers(&mut self, oldest_timestamp: i64) {
        self.producers.expire(oldest_timestamp);
    }

    /// Cuts the end off, as an unclean change of leaders does: the next record gets this offset. The producers' state
    /// is what the remaining batches say. Nothing happens if the log is not that long.
    pub(in crate::embedded) fn truncate(&mut self, offset: i64) {
        if offset >= self.end_offset {
            return;
        }
        if offset <= self.start_offset {
            self.restart(offset.max(0));
            return;
        }
        while self.batches.back().is_some_and(|last| last.batch.last_offset() >= offset) {
            let Some(cut) = self.batches.pop_back().filter(|cut| cut.batch.base_offset() < offset) else { continue };
            // The records before the offset stay. They can be decoded: they were when they came.
            let bytes = edit::cut(&cut.batch, offset, UNPACKED_BYTES).ok();
            if let Some(batch) = bytes.and_then(only_batch) {
                self.batches.push_back(Stored { batch, ..cut });
            }
        }
        (self.end_offset, self.compacted_to) = (offset, self.compacted_to.min(offset));
        self.epochs.truncate_end(offset);
        self.rebuild_producers();
    }

    /// Empties the log and lets it start here.
    pub(in crate::embedded) fn restart(&mut self, offset: i64) {
        self.batches.clear();
        self.epochs.clear();
        self.producers.clear();
        self.aborted.clear();
        (self.start_offset, self.end_offset, self.compacted_to) = (offset, offset, offset);
    }

    fn rebuild_producers(&mut self) {
        self.producers.clear();
        self.aborted.clear();
        let batches: Vec<RecordBatch> = self.batches().filter(|batch| batch.producer_id() >= 0).cloned().collect();
        for batch in &batches {
            self.note_producer(batch);
        }
    }

    /// Takes note of a written batch that has a producer.
    fn note_producer(&mut self, batch: &RecordBatch) {
        if !batch.is_control() {
            self.producers.wrote(batch);
            return;
        }
        let Some(first_offset) = self.producers.wrote_marker(batch, coordinator_epoch(batch)) else { return };
        if matches!(batch.control_type(), Ok(Some(ControlType::Abort))) {
            let last_offset = batch.last_offset();
            self.aborted.push(Aborted { producer_id: batch.producer_id(), first_offset, last_offset });
        }
    }

    fn end_position(&self) -> u64 {
        self.batches.back().map_or(0, |last| last.position + last.batch.bytes().len() as u64)
    }
}

/// The one batch that these bytes are.
fn only_batch(bytes: Vec<u8>) -> Option<RecordBatch> {
    RecordBatches::new(Bytes::from(bytes)).next()?.ok()
}

/// What a marker says of the coordinator that wrote it: behind the version in its value.
fn coordinator_epoch(marker: &RecordBatch) -> i32 {
    let read = || {
        let decoded = marker.decode(&mut crate::batch::Decompressor::new(), UNPACKED_BYTES).ok()?;
        let value = decoded.records().next()?.ok()?.value()?;
        value.get(2..6)?.try_into().ok().map(i32::from_be_bytes)
    };
    read().unwrap_or(-1)
}
