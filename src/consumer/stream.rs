//! The reader's end of a partition: where checksums, decompression and decoding take place.

use super::chunk::{Chunk, Delivery};
use super::classify::DAMAGED_LIMIT;
use super::classify::may_be_read_again;
use super::core::Common;
use super::cursor::{ReaderEnd, Start};
use super::fetched::{FetchedBatch, IntoRecords};
use super::settings::IsolationLevel;
use crate::batch::{AbortedTransactions, Decompressor, RecordBatches};
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
    common: Arc<Common>,
    reader: ReaderEnd,
    /// Of which seek deliveries must be.
    epoch: u64,
    /// The offset to be returned next; `None` until it is known.
    position: Option<i64>,
    open: Option<OpenChunk>,
    /// What [`next_record`](Self::next_record) is in the middle of, and the position after it.
    records: Option<(IntoRecords, i64)>,
    decompressor: Decompressor,
    /// Where damage was found last, and how often there.
    damaged: Option<(i64, u32)>,
    stopped: Option<Error>,
}

struct OpenChunk {
    batches: RecordBatches,
    aborted: AbortedTransactions,
    fetch_offset: i64,
}

impl PartitionStream {
    pub(super) fn new(common: Arc<Common>, reader: ReaderEnd) -> Self {
        Self {
            common,
            reader,
            epoch: 0,
            position: None,
            open: None,
            records: None,
            decompressor: Decompressor::new(),
            damaged: None,
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
        if let Some(cause) = self.reader.state.cause().or_else(|| self.common.cause().cloned()) {
            return Err(cause);
        }
        self.epoch = self.reader.state.seek(target);
        self.position = None;
        self.open = None;
        self.records = None;
        self.damaged = None;
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
        let Chunk { bytes, fetch_offset, aborted, .. } = delivery.content?;
        self.position = Some(fetch_offset);
        let aborted = AbortedTransactions::new(aborted);
        self.open = Some(OpenChunk { batches: RecordBatches::new(bytes), aborted, fetch_offset });
        Ok(())
    }

    /// The next batch with records for the reader of the chunk at hand.
    fn decode(&mut self) -> Result<Option<FetchedBatch>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let config = &self.common.config;
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
            return Ok(Some(FetchedBatch {
                topic: self.reader.state.topic.clone(),
                partition: self.reader.state.partition,
                from: open.fetch_offset,
                next_offset,
                leader_epoch: batch.leader_epoch(),
                decoded,
            }));
        }
        self.open = None;
        Ok(None)
    }

    /// Has the bytes from the position on fetched again, as they may have been damaged on the way; an error is the end.
    fn read_again(&mut self, error: Error) -> Result<()> {
        let error = self.reader.state.name(error);
        self.open = None;
        self.records = None;
        let tries = |position: i64| match self.damaged {
            Some((at, tries)) if at == position => tries + 1,
            _ => 1,
        };
        self.damaged = self.position.map(|position| (position, tries(position)));
        let position = match self.damaged {
            Some((at, tries)) if tries < DAMAGED_LIMIT && may_be_read_again(error.kind()) => Some(at),
            _ => None,
        };
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
        self.reader.state.is_ended() || self.common.interrupt.is_triggered() || ending.is_some_and(ended)
    }

    /// The end, or what caused it.
    fn ended(&mut self) -> Result<Next<FetchedBatch>> {
        match self.reader.state.cause().or_else(|| self.common.cause().cloned()) {
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
            select.recv(self.common.ended());
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::cursor::Cursor;
    use super::super::cursor::tests::cursor;
    use super::super::settings::FetchConfig;
    use super::*;
    use crate::ErrorKind;
    use crate::batch::{BatchBuilder, Compression, Compressor};

    const ATTRIBUTES: usize = 21;
    const LAST_OFFSET_DELTA: usize = 23;
    const PRODUCER_ID: usize = 43;

    pub(in crate::consumer) fn stream(end: ReaderEnd) -> PartitionStream {
        stream_with(end, FetchConfig::default())
    }

    fn stream_with(end: ReaderEnd, config: FetchConfig) -> PartitionStream {
        PartitionStream::new(Arc::new(Common::new(config).unwrap()), end)
    }

    /// A batch whose records have the values 0, 1, … `count` - 1 beyond its base offset, as text.
    fn batch(base_offset: i64, count: i64, codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Vec::new());
        for offset in base_offset..base_offset + count {
            builder.append(0, None, Some(offset.to_string().as_bytes()), &[]).unwrap();
        }
        let mut bytes = builder.seal(codec, &mut Compressor::default()).unwrap().bytes().to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    /// A batch of one record of a transaction, or its end: 0 for an abort, 1 for a commit.
    fn transactional(base_offset: i64, producer_id: i64, marker: Option<u8>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Vec::new());
        let key = marker.map(|kind| [0, 0, 0, kind]);
        builder.append(0, key.as_ref().map(|key| &key[..]), Some(b"x"), &[]).unwrap();
        let mut bytes = builder.seal(Compression::None, &mut Compressor::default()).unwrap().bytes().to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[ATTRIBUTES + 1] |= if marker.is_some() { 0x30 } else { 0x10 };
        bytes[PRODUCER_ID..PRODUCER_ID + 8].copy_from_slice(&producer_id.to_be_bytes());
        signed(bytes)
    }

    /// Makes the checksum right again.
    fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[17..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn deliver(cursor: &mut Cursor, fetch_offset: i64, batches: &[Vec<u8>], aborted: &[(i64, i64)]) {
        let bytes = bytes::Bytes::from(batches.concat());
        let next_offset = crate::batch::scan(&bytes).next_offset.unwrap();
        cursor.deliver(Chunk { bytes, fetch_offset, next_offset, aborted: aborted.to_vec() }, -1);
    }

    /// The offsets there are, without waiting.
    fn offsets(stream: &mut PartitionStream) -> Vec<i64> {
        let mut offsets = Vec::new();
        while let Next::Ready(record) = stream.next_record(None, Some(Instant::now())).unwrap() {
            offsets.push(record.offset());
        }
        offsets
    }

    #[test]
    fn r7_records_below_the_fetch_offset_are_left_out() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        deliver(&mut cursor, 3, &[batch(0, 5, Compression::None), batch(5, 2, Compression::None)], &[]);
        assert_eq!(offsets(&mut stream), [3, 4, 5, 6]);
        assert_eq!(stream.position(), Some(7));
    }

    #[test]
    fn r5_r6_the_position_follows_headers_where_there_are_no_records() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        let mut compacted = batch(10, 2, Compression::None);
        compacted[LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4].copy_from_slice(&9_i32.to_be_bytes());
        deliver(&mut cursor, 10, &[signed(compacted)], &[]);
        assert_eq!(offsets(&mut stream), [10, 11]);
        assert_eq!(stream.position(), Some(20), "the compacted tail is behind us");
        deliver(&mut cursor, 20, &[transactional(20, 1, Some(1))], &[]);
        assert_eq!(offsets(&mut stream), [] as [i64; 0]);
        assert_eq!(stream.position(), Some(21), "and so is a control batch");
        assert_eq!(cursor.offset(), Some(21));
    }

    #[test]
    fn read_committed_leaves_out_what_was_aborted_and_read_uncommitted_does_not() {
        let log = [
            transactional(0, 7, None),
            transactional(1, 8, None),
            transactional(2, 7, Some(0)),
            transactional(3, 8, Some(1)),
            transactional(4, 7, None),
            transactional(5, 7, Some(1)),
        ];
        for (isolation, expected) in
            [(IsolationLevel::ReadCommitted, vec![1, 4]), (IsolationLevel::ReadUncommitted, vec![0, 1, 4])]
        {
            let (mut cursor, end) = cursor(0);
            let mut stream = stream_with(end, FetchConfig { isolation, ..FetchConfig::default() });
            deliver(&mut cursor, 0, &log, &[(7, 0)]);
            assert_eq!(offsets(&mut stream), expected);
            assert_eq!(stream.position(), Some(6));
        }
    }

    #[test]
    fn r3_a_damaged_batch_is_read_again_and_then_ends_the_partition_without_a_skip() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        let mut damaged = batch(5, 5, Compression::None);
        *damaged.last_mut().unwrap() ^= 1;
        for attempt in 1..=2 {
            let from = cursor.offset().unwrap();
            let log = [batch(0, 5, Compression::None), damaged.clone(), batch(10, 5, Compression::None)];
            deliver(&mut cursor, from, &log[usize::from(from > 0)..], &[]);
            let expected: &[i64] = if attempt == 1 { &[0, 1, 2, 3, 4] } else { &[] };
            assert_eq!(offsets(&mut stream), expected);
            cursor.follow_seek();
            assert_eq!(cursor.offset(), Some(5), "fetched again from the damaged batch");
        }
        deliver(&mut cursor, 5, &[damaged], &[]);
        for _ in 0..2 {
            let error = stream.next_record(None, None).unwrap_err();
            assert_eq!((error.kind(), error.topic(), error.partition()), (ErrorKind::Corrupt, Some("t"), Some(0)));
            assert!(stream.is_stopped());
        }
        assert_eq!(stream.position(), Some(5));
        stream.seek(Start::Offset { offset: 10, leader_epoch: -1 }).unwrap();
        cursor.follow_seek();
        deliver(&mut cursor, 10, &[batch(10, 2, Compression::None)], &[]);
        assert_eq!(offsets(&mut stream), [10, 11]);
    }

    #[test]
    fn r3_damage_that_a_second_read_does_not_have_costs_nothing() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        let mut damaged = batch(0, 3, Compression::None);
        *damaged.last_mut().unwrap() ^= 1;
        for _ in 0..5 {
            let from = cursor.offset().unwrap();
            let mut again = damaged.clone();
            again[..8].copy_from_slice(&from.to_be_bytes());
            deliver(&mut cursor, from, &[again], &[]);
            assert_eq!(offsets(&mut stream), [] as [i64; 0]);
            cursor.follow_seek();
            deliver(&mut cursor, from, &[batch(from, 3, Compression::None)], &[]);
            assert_eq!(offsets(&mut stream), [from, from + 1, from + 2]);
        }
    }

    #[test]
    fn a_damaged_record_behind_a_right_checksum_is_reached_but_not_skipped() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        let mut bytes = batch(0, 3, Compression::None);
        // The last record's length.
        let at = bytes.len() - 8;
        bytes[at] = 0x7f;
        let bytes = signed(bytes);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let from = cursor.offset().unwrap();
            deliver(&mut cursor, from, std::slice::from_ref(&bytes), &[]);
            loop {
                match stream.next_record(None, Some(Instant::now())) {
                    Ok(Next::Ready(record)) => seen.push(record.offset()),
                    Ok(_) => break,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt);
                        break;
                    }
                }
            }
            cursor.follow_seek();
        }
        assert!(stream.is_stopped());
        assert_eq!((seen, stream.position()), (vec![0, 1], Some(2)));
    }

    #[test]
    #[cfg(feature = "gzip")]
    fn r8_a_bomb_ends_the_partition_at_once() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream_with(end, FetchConfig { max_batch_bytes: 50, ..FetchConfig::default() });
        deliver(&mut cursor, 0, &[batch(0, 1000, Compression::Gzip)], &[]);
        let error = stream.next_batch(None, None).map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), error.topic()), (ErrorKind::TooLarge, Some("t")));
        assert!(stream.is_stopped());
        assert_eq!(stream.position(), Some(0));
    }

    #[test]
    fn o6_what_was_fetched_before_a_seek_is_thrown_away() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        deliver(&mut cursor, 0, &[batch(0, 5, Compression::None)], &[]);
        assert!(matches!(stream.next_record(None, None), Ok(Next::Ready(_))));
        deliver(&mut cursor, 5, &[batch(5, 5, Compression::None)], &[]);
        stream.seek(Start::Offset { offset: 2, leader_epoch: -1 }).unwrap();
        assert_eq!(offsets(&mut stream), [] as [i64; 0]);
        assert_eq!(stream.position(), Some(2));
        cursor.follow_seek();
        deliver(&mut cursor, 2, &[batch(0, 5, Compression::None)], &[]);
        assert_eq!(offsets(&mut stream), [2, 3, 4]);
    }

    #[test]
    fn records_and_batches_can_be_mixed() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        deliver(&mut cursor, 0, &[batch(0, 5, Compression::None), batch(5, 2, Compression::None)], &[]);
        assert!(matches!(stream.next_record(None, None), Ok(Next::Ready(record)) if record.offset() == 0));
        let Ok(Next::Ready(rest)) = stream.next_batch(None, None) else { panic!("a batch is due") };
        let borrowed: Vec<i64> = rest.records().map(|record| record.unwrap().offset()).collect();
        assert_eq!((borrowed, rest.next_offset(), stream.position()), (vec![1, 2, 3, 4], 5, Some(5)));
        assert_eq!(offsets(&mut stream), [5, 6]);
        assert!(matches!(stream.next_batch(None, Some(Instant::now())), Ok(Next::TimedOut)));
    }

    #[test]
    fn an_error_that_passes_leaves_the_stream_open_and_a_cause_ends_it_after_what_is_queued() {
        let (mut cursor, end) = cursor(0);
        let mut stream = stream(end);
        cursor.complain(crate::Error::from_code(crate::ErrorCode::TOPIC_AUTHORIZATION_FAILED, "no right"));
        let error = stream.next_record(None, None).unwrap_err();
        assert_eq!((error.kind(), error.partition(), stream.is_stopped()), (ErrorKind::Authorization, Some(0), false));
        deliver(&mut cursor, 0, &[batch(0, 1, Compression::None)], &[]);
        cursor.stop(Error::new(ErrorKind::OffsetOutOfRange, "gone"));
        assert!(matches!(stream.next_record(None, None), Ok(Next::Ready(_))));
        for _ in 0..2 {
            assert_eq!(stream.next_record(None, None).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
        }
        assert!(stream.seek(Start::Earliest).is_err());
    }

    #[test]
    fn every_way_to_end_ends_the_wait() {
        let common = Arc::new(Common::new(FetchConfig::default()).unwrap());
        let (first, end) = cursor(0);
        let state = end.state.clone();
        let mut removed = PartitionStream::new(common.clone(), end);
        let (second, end) = cursor(1);
        let mut session_ends = PartitionStream::new(common.clone(), end);
        let (third, end) = cursor(2);
        let mut dropped = PartitionStream::new(common.clone(), end);
        let (fourth, end) = cursor(3);
        let mut closed = PartitionStream::new(common.clone(), end);
        let (session, ending) = crossbeam_channel::bounded::<()>(0);
        std::thread::scope(|scope| {
            let wait = scope.spawn(|| removed.next_record(None, None));
            state.end();
            assert!(matches!(wait.join().unwrap(), Ok(Next::Ended)));
            let wait = scope.spawn(|| session_ends.next_record(Some(&ending), None));
            drop(session);
            assert!(matches!(wait.join().unwrap(), Ok(Next::Ended)));
            let wait = scope.spawn(|| dropped.next_record(None, None));
            drop(third);
            assert!(matches!(wait.join().unwrap(), Ok(Next::Ended)));
            let wait = scope.spawn(|| closed.next_record(None, None));
            common.interrupt.trigger();
            assert!(matches!(wait.join().unwrap(), Ok(Next::Ended)));
        });
        drop((first, second, fourth));
    }
}
