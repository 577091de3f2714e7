//! Reading a log: by offset, by timestamp.

use super::{Aborted, Log, Stored, UNPACKED_BYTES};
use crate::ErrorCode;
use crate::batch::Decompressor;
use bytes::{Bytes, BytesMut};

/// What to read.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct Slice {
    pub(in crate::embedded) offset: i64,
    /// Nothing from here on is read: the high watermark, or the last stable offset.
    pub(in crate::embedded) end_offset: i64,
    pub(in crate::embedded) max_bytes: usize,
    /// Whether the first batch is read even if it is larger than that.
    pub(in crate::embedded) whole_first_batch: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Read {
    /// Batches, the last of them perhaps cut.
    pub(in crate::embedded) records: Bytes,
    /// The position after the last batch of which there is a part.
    pub(in crate::embedded) next_offset: i64,
}

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct FoundOffset {
    pub(in crate::embedded) offset: i64,
    pub(in crate::embedded) timestamp: i64,
    pub(in crate::embedded) leader_epoch: i32,
}

impl Log {
    /// Reads batches from the one on that holds the offset. They are cut to the byte at the limit, as Kafka does.
    pub(in crate::embedded) fn read(&self, slice: Slice) -> Result<Read, ErrorCode> {
        if slice.offset < self.start_offset || slice.offset > self.end_offset {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let mut batches = self.readable(slice.offset, slice.end_offset);
        let Some(first) = batches.next() else {
            return Ok(Read { next_offset: slice.offset, ..Read::default() });
        };
        let size = first.batch.bytes().len();
        if size > slice.max_bytes {
            let read = Read { records: first.batch.bytes().clone(), next_offset: first.batch.next_offset() };
            let nothing = Read { next_offset: slice.offset, ..Read::default() };
            return Ok(if slice.whole_first_batch { read } else { nothing });
        }
        let available = self.available(slice.offset, slice.end_offset);
        let total = slice.max_bytes.min(usize::try_from(available).unwrap_or(usize::MAX));
        if total <= size {
            // One batch is handed out without a copy.
            return Ok(Read { records: first.batch.bytes().clone(), next_offset: first.batch.next_offset() });
        }
        let mut records = BytesMut::with_capacity(total);
        let mut next_offset = slice.offset;
        for stored in std::iter::once(first).chain(batches) {
            let bytes = stored.batch.bytes();
            let room = total - records.len();
            if room == 0 {
                break;
            }
            records.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            next_offset = stored.batch.next_offset();
        }
        Ok(Read { records: records.freeze(), next_offset })
    }

    /// How many bytes there are from the batch on that holds an offset.
    pub(in crate::embedded) fn available(&self, offset: i64, end_offset: i64) -> u64 {
        let start = self.index_of(offset);
        let end = self.batches.partition_point(|stored| stored.batch.base_offset() < end_offset);
        let position = |index: usize| self.batches.get(index).map_or(self.end_position(), |stored| stored.position);
        position(end).saturating_sub(position(start))
    }

    /// The aborted transactions that have something between two offsets.
    pub(in crate::embedded) fn aborted_between(&self, offset: i64, end_offset: i64) -> impl Iterator<Item = &Aborted> {
        let first = self.aborted.partition_point(|aborted| aborted.last_offset < offset);
        self.aborted.iter().skip(first).filter(move |aborted| aborted.first_offset < end_offset)
    }

    /// The first record with this timestamp or a later one.
    pub(in crate::embedded) fn find_timestamp(&self, timestamp: i64) -> Option<FoundOffset> {
        let candidates = self.batches.iter().filter(|stored| stored.batch.max_timestamp() >= timestamp);
        candidates.filter_map(|stored| self.first_in(stored, timestamp)).next()
    }

    /// The first record among those with the largest timestamp.
    pub(in crate::embedded) fn max_timestamp(&self) -> Option<FoundOffset> {
        let largest = self.batches.iter().map(|stored| stored.batch.max_timestamp()).max()?;
        self.find_timestamp(largest).filter(|_| largest >= 0)
    }

    /// The epoch of the leader that wrote the first record, or will.
    pub(in crate::embedded) fn start_epoch(&self) -> Option<i32> {
        self.epochs.epoch_at(self.start_offset)
    }

    fn first_in(&self, stored: &Stored, timestamp: i64) -> Option<FoundOffset> {
        let batch = &stored.batch;
        let decoded = batch.decode(&mut Decompressor::new(), UNPACKED_BYTES).ok()?;
        let record = decoded
            .records()
            .map_while(Result::ok)
            .find(|record| record.timestamp() >= timestamp && record.offset() >= self.start_offset)?;
        let (offset, timestamp) = (record.offset(), record.timestamp());
        Some(FoundOffset { offset, timestamp, leader_epoch: batch.leader_epoch() })
    }

    fn readable(&self, offset: i64, end_offset: i64) -> impl Iterator<Item = &Stored> {
        let batches = self.batches.range(self.index_of(offset)..);
        batches.take_while(move |stored| stored.batch.base_offset() < end_offset)
    }

    /// The place of the batch that holds an offset, or of the next one after it.
    pub(super) fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|stored| stored.batch.last_offset() < offset)
    }
}
