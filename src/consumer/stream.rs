//! The reader's end of a partition: where checksums, decompression and decoding take place.

use super::chunk::{Chunk, Delivery};
use super::classify::may_be_read_again;
use super::core::Shared;
use super::cursor::{ReaderEnd, Start};
use super::fetcher::DAMAGED_LIMIT;
use super::settings::IsolationLevel;
use crate::batch::{AbortedTransactions, ConsumerRecords, DecodedBatch, Decompressor, Record, RecordBatches, Records};
use crate::{ConsumerRecord, Error, Result};
use crossbeam_channel::{Receiver, Select, TryRecvError};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// What a wait for the next thing ended with.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// It came.
    Ready(T),
    /// It did not come in time.
    TimedOut,
    /// It will not come: the partition was taken away, the session is ending, or the consumer is closed.
    Ended,
}

/// Reads one partition, on any one thread. Dropping it ends the partition.
///
/// An error is either one after which the stream goes on by itself, such as a missing right that may be granted, or the
/// end of it ([`is_stopped`](Self::is_stopped)); every later call then returns the same error. No error skips a record.
pub(crate) struct PartitionStream {
    shared: Arc<Shared>,
    reader: ReaderEnd,
    /// Of which seek deliveries must be.
    epoch: u64,
    /// The offset to be returned next; `None` until it is known.
    position: Option<i64>,
    open: Option<OpenChunk>,
    /// What [`next_record`](Self::next_record) is in the middle of, and the position after it.
    records: Option<(IntoRecords, i64)>,
    decompressor: Decompressor,
    /// Damaged batches in a row.
    damaged: u32,
    stopped: Option<Error>,
}

struct OpenChunk {
    batches: RecordBatches,
    aborted: AbortedTransactions,
    fetch_offset: i64,
    next_offset: i64,
}

/// The records of one batch as it is in the log, decompressed and checked.
///
/// [`records`](Self::records) lends them, which costs no reference count; iterating over the batch itself gives records
/// that own a share of it.
#[derive(Debug, Clone)]
pub struct FetchedBatch {
    topic: Arc<str>,
    partition: i32,
    /// Records before it were not asked for.
    from: i64,
    next_offset: i64,
    leader_epoch: i32,
    decoded: DecodedBatch,
}

impl PartitionStream {
    pub(super) fn new(shared: Arc<Shared>, reader: ReaderEnd) -> Self {
        Self {
            shared,
            reader,
            epoch: 0,
            position: None,
            open: None,
            records: None,
            decompressor: Decompressor::new(),
            damaged: 0,
            stopped: None,
        }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.reader.state.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.reader.state.partition
    }

    /// The offset that will be returned next, or the first one after it that there is; `None` while it is looked up.
    pub(crate) fn position(&self) -> Option<i64> {
        self.position.or_else(|| self.reader.state.start())
    }

    /// The offset after the last record that consumers may read, as of the last answer; `None` before the first.
    pub(crate) fn high_watermark(&self) -> Option<i64> {
        self.reader.state.high_watermark()
    }

    /// How many offsets lie between the position and the high watermark; `None` while either is unknown.
    pub(crate) fn lag(&self) -> Option<u64> {
        let lag = self.high_watermark()?.saturating_sub(self.position()?);
        Some(u64::try_from(lag).unwrap_or(0))
    }

    /// How often the reset policy has moved the position.
    pub(crate) fn resets(&self) -> u64 {
        self.reader.state.resets()
    }

    /// Whether the stream has ended with an error.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// The next batch that has records for the reader. Waits until the deadline, or without limit, or until `ending`
    /// is disconnected or gets a message.
    pub(crate) fn next_batch(
        &mut self,
        ending: Option<&Receiver<()>>,
        deadline: Option<Instant>,
    ) -> Result<Next<FetchedBatch>> {
        if let Some((rest, end)) = self.records.take() {
            // Some of its records were taken one by one; the others come as a batch.
            if self.position.is_some_and(|position| position < end) {
                self.position = Some(end);
                return Ok(Next::Ready(rest.into_batch()));
            }
        }
        let next = self.advance(ending, deadline)?;
        if let Next::Ready(batch) = &next {
            self.position = Some(batch.next_offset);
        }
        Ok(next)
    }

    /// The next record. Waits like [`next_batch`](Self::next_batch); `ending` is looked at between batches only.
    pub(crate) fn next_record(
        &mut self,
        ending: Option<&Receiver<()>>,
        deadline: Option<Instant>,
    ) -> Result<Next<ConsumerRecord>> {
        loop {
            if let Some((records, end)) = &mut self.records {
                match records.next() {
                    Some(Ok(record)) => {
                        self.position = Some(record.offset().saturating_add(1));
                        return Ok(Next::Ready(record));
                    }
                    Some(Err(error)) => self.read_again(error)?,
                    None => {
                        self.position = Some(*end);
                        self.records = None;
                    }
                }
            }
            match self.advance(ending, deadline)? {
                Next::Ready(batch) => {
                    let end = batch.next_offset;
                    self.records = Some((batch.into_iter(), end));
                }
                Next::TimedOut => return Ok(Next::TimedOut),
                Next::Ended => return Ok(Next::Ended),
            }
        }
    }

    /// Goes on from elsewhere. What was fetched already is thrown away.
    pub(crate) fn seek(&mut self, target: Start) -> Result<()> {
        if let Some(cause) = self.reader.state.cause().or_else(|| self.shared.cause().cloned()) {
            return Err(cause);
        }
        self.epoch = self.reader.state.seek(target);
        self.position = None;
        self.open = None;
        self.records = None;
        self.damaged = 0;
        self.stopped = None;
        Ok(())
    }

    /// The next batch, without taking it for read.
    fn advance(&mut self, ending: Option<&Receiver<()>>, deadline: Option<Instant>) -> Result<Next<FetchedBatch>> {
        loop {
            if let Some(error) = &self.stopped {
                return Err(error.clone());
            }
            if self.is_ending(ending) {
                return self.ended();
            }
            match self.decode() {
                Ok(Some(batch)) => return Ok(Next::Ready(batch)),
                Ok(None) => {}
                Err(error) => {
                    self.read_again(error)?;
                    continue;
                }
            }
            match self.receive(ending, deadline) {
                Next::Ready(delivery) => self.open(delivery)?,
                Next::TimedOut => return Ok(Next::TimedOut),
                Next::Ended => return self.ended(),
            }
        }
    }

    fn open(&mut self, delivery: Delivery) -> Result<()> {
        if delivery.epoch != self.epoch {
            // Fetched before the seek.
            return Ok(());
        }
        let Chunk { bytes, fetch_offset, next_offset, aborted } = delivery.content?;
        self.position = Some(fetch_offset);
        let aborted = AbortedTransactions::new(aborted);
        self.open = Some(OpenChunk { batches: RecordBatches::new(bytes), aborted, fetch_offset, next_offset });
        Ok(())
    }

    /// The next batch with records for the reader of the chunk at hand.
    fn decode(&mut self) -> Result<Option<FetchedBatch>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let config = &self.shared.config;
        for batch in open.batches.by_ref() {
            let batch = batch?;
            if config.check_crcs {
                batch.verify_crc()?;
            }
            let admitted = match config.isolation {
                IsolationLevel::ReadCommitted => open.aborted.admits(&batch)?,
                IsolationLevel::ReadUncommitted => !batch.is_control(),
            };
            let next_offset = batch.next_offset();
            if !admitted || batch.count() == Some(0) || next_offset <= open.fetch_offset {
                self.position = self.position.max(Some(next_offset));
                continue;
            }
            let decoded = batch.decode(&mut self.decompressor, config.max_batch_bytes)?;
            self.damaged = 0;
            return Ok(Some(FetchedBatch {
                topic: self.reader.state.topic.clone(),
                partition: self.reader.state.partition,
                from: open.fetch_offset,
                next_offset,
                leader_epoch: batch.leader_epoch(),
                decoded,
            }));
        }
        self.position = Some(open.next_offset);
        self.open = None;
        Ok(None)
    }

    /// Has the bytes from the position on fetched again, as they may have been damaged on the way; an error is the end.
    fn read_again(&mut self, error: Error) -> Result<()> {
        let error = self.reader.state.name(error);
        self.open = None;
        self.records = None;
        self.damaged += 1;
        let position = self.position.filter(|_| may_be_read_again(error.kind()) && self.damaged < DAMAGED_LIMIT);
        match position {
            Some(offset) => {
                log::warn!("{error}; reading again from offset {offset}");
                self.epoch = self.reader.state.seek(Start::Offset { offset, leader_epoch: -1 });
                Ok(())
            }
            None => {
                self.stopped = Some(error.clone());
                Err(error)
            }
        }
    }

    fn is_ending(&self, ending: Option<&Receiver<()>>) -> bool {
        let ended = |channel: &Receiver<()>| !matches!(channel.try_recv(), Err(TryRecvError::Empty));
        self.reader.state.is_ended() || self.shared.interrupt.is_triggered() || ending.is_some_and(ended)
    }

    /// The end, or what caused it.
    fn ended(&mut self) -> Result<Next<FetchedBatch>> {
        match self.reader.state.cause().or_else(|| self.shared.cause().cloned()) {
            Some(cause) => {
                self.stopped = Some(cause.clone());
                Err(cause)
            }
            None => Ok(Next::Ended),
        }
    }

    fn receive(&self, ending: Option<&Receiver<()>>, deadline: Option<Instant>) -> Next<Delivery> {
        let deliveries = &self.reader.deliveries;
        loop {
            match deliveries.try_recv() {
                Ok(delivery) => {
                    self.reader.state.took_one();
                    return Next::Ready(delivery);
                }
                Err(TryRecvError::Disconnected) => return Next::Ended,
                Err(TryRecvError::Empty) => {}
            }
            let mut select = Select::new();
            let arrived = select.recv(deliveries);
            select.recv(&self.reader.ended);
            select.recv(self.shared.ended());
            if let Some(ending) = ending {
                select.recv(ending);
            }
            let ready = match deadline {
                Some(deadline) => select.ready_deadline(deadline),
                None => Ok(select.ready()),
            };
            match ready {
                Ok(index) if index == arrived => {}
                Ok(_) => return Next::Ended,
                Err(_) => return Next::TimedOut,
            }
        }
    }
}

impl fmt::Debug for PartitionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStream")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Drop for PartitionStream {
    fn drop(&mut self) {
        self.reader.state.end();
    }
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
    fn into_batch(self) -> FetchedBatch {
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
