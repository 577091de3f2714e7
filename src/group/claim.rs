//! One claimed partition, as its handler sees it.

use super::session::ConsumerGroupSession;
use crate::consumer::{FetchedBatch, PartitionStream, StartOffset};
use crate::{ConsumerRecord, Result};
use std::fmt;

/// One partition that this member owns in a session: an iterator of its records, or of whole batches.
///
/// It is made for its thread: the handler's [`consume_claim`](super::ConsumerGroupHandler::consume_claim) gets it. It
/// ends (`next` returns `None`) when the session ends, and blocks while there is nothing to read.
pub struct ConsumerGroupClaim {
    session: ConsumerGroupSession,
    stream: PartitionStream,
    initial_offset: StartOffset,
    /// The batch that `next` is in.
    records: Option<crate::consumer::OwnedRecords>,
}

impl ConsumerGroupClaim {
    pub(super) fn new(session: ConsumerGroupSession, stream: PartitionStream, initial_offset: StartOffset) -> Self {
        Self { session, stream, initial_offset, records: None }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.stream.topic()
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.stream.partition()
    }

    /// Where the claim began: the committed offset, or the group's start policy if there was none.
    pub fn initial_offset(&self) -> StartOffset {
        self.initial_offset
    }

    /// The offset after the last record that all in-sync replicas had when the last fetch was answered; `None` before
    /// the first answer.
    pub fn high_watermark(&self) -> Option<i64> {
        self.stream.high_watermark()
    }

    /// The next batch of records, which are read in place and cost no reference count. Blocks until there is one; `None`
    /// when the session ends. Records that [`next`](Iterator::next) has begun are not in it: use one or the other.
    ///
    /// An error is one of the partition, such as a damaged batch; the next call tries again where it stopped.
    pub fn next_batch(&mut self) -> Option<Result<FetchedBatch>> {
        if self.session.is_ending() {
            return None;
        }
        match self.stream.next_batch(Some(self.session.ended()), None) {
            Ok(Some(batch)) if !self.session.is_ending() => Some(Ok(batch)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for ConsumerGroupClaim {
    type Item = Result<ConsumerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.session.is_ending() {
                return None;
            }
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return Some(record);
            }
            match self.next_batch()? {
                Ok(batch) => self.records = Some(batch.into_records()),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl fmt::Debug for ConsumerGroupClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerGroupClaim")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("initial_offset", &self.initial_offset)
            .finish_non_exhaustive()
    }
}
