//! One batch as its reader gets it, and two ways to walk its records.

use crate::batch::{ConsumerRecords, DecodedBatch, Record, Records};
use crate::{ConsumerRecord, Error, Result};
use std::sync::Arc;

/// The records of one batch as it is in the log, decompressed and checked.
///
/// [`records`](Self::records) lends them, which costs no reference count; iterating over the batch itself gives records
/// that own a share of it.
#[derive(Debug, Clone)]
pub struct FetchedBatch {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// Records before it were not asked for.
    pub(super) from: i64,
    pub(super) next_offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) decoded: DecodedBatch,
}

impl FetchedBatch {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset to go on with after this batch: what to commit when all of it is done.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The epoch of the leader that wrote it; -1 if unknown.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The records, borrowed from the batch. An error means that the rest can't be read.
    pub fn records(&self) -> BatchRecords<'_> {
        BatchRecords { records: self.decoded.records(), batch: self }
    }

    fn named(&self, error: Error) -> Error {
        error.with_topic(self.topic.clone()).with_partition(self.partition)
    }
}

/// Records borrowed from a [`FetchedBatch`].
#[derive(Debug, Clone)]
pub struct BatchRecords<'a> {
    records: Records<'a>,
    batch: &'a FetchedBatch,
}

impl<'a> Iterator for BatchRecords<'a> {
    type Item = Result<Record<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if record.offset() < self.batch.from => {}
                Ok(record) => return Some(Ok(record)),
                Err(error) => return Some(Err(self.batch.named(error))),
            }
        }
    }
}

impl<'a> IntoIterator for &'a FetchedBatch {
    type Item = Result<Record<'a>>;
    type IntoIter = BatchRecords<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.records()
    }
}

/// Records that own a share of their batch.
#[derive(Debug, Clone)]
pub struct IntoRecords {
    batch: FetchedBatch,
    records: ConsumerRecords,
    /// The offset after the last record returned.
    next: i64,
}

impl IntoRecords {
    /// What has not been returned.
    pub(super) fn into_batch(self) -> FetchedBatch {
        FetchedBatch { from: self.batch.from.max(self.next), ..self.batch }
    }
}

impl Iterator for IntoRecords {
    type Item = Result<ConsumerRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if record.offset() < self.batch.from => {}
                Ok(record) => {
                    self.next = record.offset().saturating_add(1);
                    return Some(Ok(record));
                }
                Err(error) => return Some(Err(self.batch.named(error))),
            }
        }
    }
}

impl IntoIterator for FetchedBatch {
    type Item = Result<ConsumerRecord>;
    type IntoIter = IntoRecords;

    fn into_iter(self) -> IntoRecords {
        let records = self.decoded.clone().into_consumer_records(self.topic.clone(), self.partition);
        IntoRecords { batch: self, records, next: 0 }
    }
}
