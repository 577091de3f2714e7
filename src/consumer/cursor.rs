//! A partition's place in its log, and what its reader and whoever owns the cursor know together.

use super::chunk::{Chunk, Delivery, QUEUED_CHUNKS};
use super::settings::StartOffset;
use crate::backoff::Backoff;
use crate::cluster::{Leader, TopicUse};
use crate::net::Waker;
use crate::{Error, ErrorKind};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this offset. The leader epoch of the record before it, -1 if unknown, tells whether the log was cut since.
    Offset {
        offset: i64,
        leader_epoch: i32,
    },
    Earliest,
    Latest,
    /// At the first record with this timestamp, in milliseconds, or a later one.
    Timestamp(i64),
}

impl From<StartOffset> for Start {
    fn from(start: StartOffset) -> Self {
        match start {
            StartOffset::Latest => Self::Latest,
            StartOffset::Earliest => Self::Earliest,
            StartOffset::Offset(offset) => Self::Offset { offset, leader_epoch: -1 },
            StartOffset::Timestamp(timestamp) => Self::Timestamp(timestamp),
        }
    }
}

/// Shared by a partition's stream and its cursor.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    high_watermark: AtomicI64,
    log_start: AtomicI64,
    /// Where reading began or was reset to; -1 until that is known.
    start: AtomicI64,
    resets: AtomicU64,
    /// How many seeks there were; a cursor and a delivery of an earlier one are out of date.
    epoch: AtomicU64,
    ended: AtomicBool,
    /// The fetcher waits for room in this partition's channel.
    starved: AtomicBool,
    control: Mutex<Control>,
}

#[derive(Debug)]
struct Control {
    target: Start,
    /// Wakes the fetcher that has the cursor, or had it last.
    waker: Option<Arc<Waker>>,
    /// Dropping it ends the reader's wait.
    alive: Option<Sender<()>>,
    /// What ended the partition.
    cause: Option<Error>,
}

impl PartitionState {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn high_watermark(&self) -> Option<i64> {
        Some(self.high_watermark.load(Ordering::Relaxed)).filter(|offset| *offset >= 0)
    }

    pub(super) fn log_start(&self) -> Option<i64> {
        Some(self.log_start.load(Ordering::Relaxed)).filter(|offset| *offset >= 0)
    }

    pub(super) fn set_marks(&self, high_watermark: i64, log_start: i64) {
        for (mark, value) in [(&self.high_watermark, high_watermark), (&self.log_start, log_start)] {
            if value >= 0 {
                mark.store(value, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn start(&self) -> Option<i64> {
        Some(self.start.load(Ordering::Relaxed)).filter(|offset| *offset >= 0)
    }

    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Reads on from elsewhere; the answer is the epoch of what is delivered from there.
    pub(super) fn seek(&self, target: Start) -> u64 {
        let mut control = self.control();
        control.target = target;
        let start = if let Start::Offset { offset, .. } = target { offset } else { -1 };
        self.start.store(start, Ordering::Relaxed);
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        let waker = control.waker.clone();
        drop(control);
        if let Some(waker) = waker {
            waker.wake();
        }
        epoch
    }

    /// Nobody reads it any more.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let mut control = self.control();
        drop(control.alive.take());
        let waker = control.waker.clone();
        drop(control);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn cause(&self) -> Option<Error> {
        self.control().cause.clone()
    }

    fn set_cause(&self, cause: Error) {
        self.control().cause.get_or_insert(cause);
    }

    /// To be called by the reader after it has taken something from the channel.
    pub(super) fn took_one(&self) {
        if self.starved.swap(false, Ordering::SeqCst) {
            let waker = self.control().waker.clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// An error about this partition.
    pub(super) fn name(&self, error: Error) -> Error {
        error.with_topic(self.topic.clone()).with_partition(self.partition)
    }
}

/// What the reader of a partition holds.
#[derive(Debug)]
pub(super) struct ReaderEnd {
    pub(super) state: Arc<PartitionState>,
    pub(super) deliveries: Receiver<Delivery>,
    /// Disconnected when the partition was taken from the reader.
    pub(super) ended: Receiver<()>,
}

/// Serves one partition. It exists once and moves between the router and the fetchers; dropping it ends the stream, with
/// the cause in the shared state if there is one.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) state: Arc<PartitionState>,
    deliveries: Sender<Delivery>,
    /// Of which seek [`at`](Self::at) is.
    epoch: u64,
    pub(super) at: Start,
    /// Whether the log may have been cut before `at` since the record before it was read.
    pub(super) unvalidated: bool,
    /// Where it was, and why it can't stay there, while a reset is under way.
    pub(super) reset_from: Option<(i64, &'static str)>,
    /// As of when a fetcher got it.
    pub(super) leader: Leader,
    pub(super) topic_id: [u8; 16],
    /// Above the setting's only while a batch is larger than that.
    pub(super) fetch_bytes: i32,
    /// What the request under way asked for; `None` if it did not ask.
    pub(super) asked: Option<i64>,
    /// Since when the channel has no room.
    pub(super) full_since: Option<Instant>,
    pub(super) retry: Retry,
    /// A replica nearby to fetch from, and until when (KIP-392).
    pub(super) preferred: Option<(i32, Instant)>,
    /// Until when the leader is not told the rack, for the replica it named could not be used.
    pub(super) rackless: Option<Instant>,
    /// Damaged answers in a row, at one offset.
    pub(super) damaged: u32,
    /// The answer to the last request with it in was too large for the connection.
    pub(super) suspect: bool,
    /// OFFSET_OUT_OF_RANGE was answered by a broker that may not be the leader, so that is asked once more.
    pub(super) doubted: bool,
    /// Keeps the topic's metadata fresh; only tests go without.
    _in_use: Option<TopicUse>,
}

/// When and where to try again.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    /// Failures in a row.
    failures: u32,
    pub(super) not_before: Option<Instant>,
    /// This generation of the metadata named the wrong leader; it is believed again at the given time.
    pub(super) stale: Option<(u64, Instant)>,
    /// A leader that a broker named in its error.
    pub(super) hint: Option<Leader>,
}

impl Cursor {
    pub(super) fn new(
        topic: &str,
        partition: i32,
        start: Start,
        backoff: Backoff,
        in_use: Option<TopicUse>,
    ) -> (Self, ReaderEnd) {
        let (deliveries, receiver) = crossbeam_channel::bounded(QUEUED_CHUNKS);
        // Bound 0: nothing is sent, its disconnection is the message.
        let (alive, ended) = crossbeam_channel::bounded(0);
        let at_offset = if let Start::Offset { offset, .. } = start { offset } else { -1 };
        let state = Arc::new(PartitionState {
            // Its own copy: reference counts are taken per batch, by as many threads as there are partitions.
            topic: Arc::from(topic),
            partition,
            high_watermark: AtomicI64::new(-1),
            log_start: AtomicI64::new(-1),
            start: AtomicI64::new(at_offset),
            resets: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            control: Mutex::new(Control { target: start, waker: None, alive: Some(alive), cause: None }),
        });
        let cursor = Self {
            state: state.clone(),
            deliveries,
            epoch: 0,
            at: start,
            unvalidated: matches!(start, Start::Offset { leader_epoch: 0.., .. }),
            reset_from: None,
            leader: Leader { node_id: -1, epoch: -1 },
            topic_id: [0; 16],
            fetch_bytes: 0,
            asked: None,
            full_since: None,
            retry: Retry { backoff, failures: 0, not_before: None, stale: None, hint: None },
            preferred: None,
            rackless: None,
            damaged: 0,
            suspect: false,
            doubted: false,
            _in_use: in_use,
        };
        (cursor, ReaderEnd { state, deliveries: receiver, ended })
    }

    pub(super) fn key(&self) -> (&str, i32) {
        (&self.state.topic, self.state.partition)
    }

    /// The offset to be fetched next, if it is known.
    pub(super) fn offset(&self) -> Option<i64> {
        match self.at {
            Start::Offset { offset, .. } => Some(offset),
            _ => None,
        }
    }

    /// Follows a seek, if there was one.
    pub(super) fn follow_seek(&mut self) {
        if self.state.epoch() == self.epoch {
            return;
        }
        // The target and the epoch change together under the lock.
        let control = self.state.control();
        self.epoch = self.state.epoch();
        self.at = control.target;
        drop(control);
        self.unvalidated = matches!(self.at, Start::Offset { leader_epoch: 0.., .. });
        self.reset_from = None;
        self.asked = None;
        self.doubted = false;
    }

    /// Whether an answer to a request made before is still of use.
    pub(super) fn is_current(&self) -> bool {
        self.state.epoch() == self.epoch && !self.state.is_ended()
    }

    pub(super) fn serve_with(&self, waker: &Arc<Waker>) {
        self.state.control().waker = Some(waker.clone());
    }

    /// Whether there is room for another delivery. Only this end adds, so room that is there stays.
    pub(super) fn has_room(&self) -> bool {
        !self.deliveries.is_full()
    }

    /// Whether the reader has nothing queued, so that it will take the next delivery at once.
    pub(super) fn reader_waits(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Asks the reader for a wake when it makes room; to be followed by a last look at [`has_room`](Self::has_room).
    pub(super) fn want_room(&self) {
        self.state.starved.store(true, Ordering::SeqCst);
    }

    /// Hands over batches and moves on; `last_epoch` is the leader epoch of the last batch. Without room nothing happens.
    pub(super) fn deliver(&mut self, chunk: Chunk, last_epoch: i32) {
        let next_offset = chunk.next_offset;
        match self.deliveries.try_send(Delivery { epoch: self.epoch, content: Ok(chunk) }) {
            Ok(()) => self.at = Start::Offset { offset: next_offset, leader_epoch: last_epoch },
            // It was asked for with room in the channel, so this is not expected; what is not delivered is fetched again.
            Err(TrySendError::Full(_)) => log::warn!("{}-{}: no room", self.state.topic, self.state.partition),
            Err(TrySendError::Disconnected(_)) => self.state.end(),
        }
    }

    /// Tells the reader of an error that does not end the partition, if there is room.
    pub(super) fn complain(&self, error: Error) {
        let content = Err(self.state.name(error));
        match self.deliveries.try_send(Delivery { epoch: self.epoch, content }) {
            // A reader that is behind hears of the next one, or needs to hear of none.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Ends the partition: the reader gets this error after what is queued.
    pub(super) fn stop(self, cause: Error) {
        let cause = self.state.name(cause);
        log::warn!("the partition is no longer read: {cause}");
        self.state.set_cause(cause);
    }

    /// Begins at this offset, which was looked up.
    pub(super) fn begin_at(&mut self, offset: i64) {
        if let Some((from, why)) = self.reset_from.take() {
            self.state.resets.fetch_add(1, Ordering::Relaxed);
            let PartitionState { topic, partition, .. } = &*self.state;
            log::warn!("{topic}-{partition}: {why}; offset reset from {from} to {offset}");
        }
        self.at = Start::Offset { offset, leader_epoch: -1 };
        self.unvalidated = false;
        self.state.start.store(offset, Ordering::Relaxed);
    }

    /// Something worked.
    pub(super) fn succeeded(&mut self) {
        if self.retry.failures > 0 {
            self.retry.backoff.reset();
            self.retry.failures = 0;
        }
        self.doubted = false;
        self.suspect = false;
    }

    /// Tries again after a pause.
    pub(super) fn failed(&mut self, now: Instant) {
        self.retry.failures = self.retry.failures.saturating_add(1);
        self.retry.not_before = Some(now + self.retry.backoff.next(fastrand::f64));
        self.leave_replica(now);
    }

    /// Tries again elsewhere: the metadata of this generation is out of date. The first time it waits for newer metadata
    /// only; if that does not help, for a while as well.
    pub(super) fn moved(&mut self, now: Instant, generation: u64, hint: Option<Leader>) {
        const BELIEVED_AGAIN: Duration = Duration::from_secs(1);
        if self.retry.failures > 0 {
            self.retry.not_before = Some(now + self.retry.backoff.next(fastrand::f64));
        }
        self.retry.failures = self.retry.failures.saturating_add(1);
        self.retry.stale = Some((generation, now + BELIEVED_AGAIN));
        self.retry.hint = hint.filter(|hint| hint.epoch > self.leader.epoch);
        self.leave_replica(now);
    }

    /// Tries again then, or as soon as another broker leads.
    pub(super) fn wait_for_broker(&mut self, at: Instant, generation: u64) {
        self.retry.not_before = Some(at);
        self.retry.stale = Some((generation, at));
        self.leave_replica(at);
    }

    /// Goes back to the leader, and stays there for a while: it would name the same replica again.
    pub(super) fn leave_replica(&mut self, now: Instant) {
        const WITH_THE_LEADER: Duration = Duration::from_secs(5);
        if self.preferred.take().is_some() {
            self.rackless = Some(now + WITH_THE_LEADER);
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.retry.failures
    }
}

impl Drop for Cursor {
    /// A thread that dies leaves its reason where the reader looks.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let message = format!("{} panicked", thread.name().unwrap_or("a thread"));
            self.state.set_cause(self.state.name(Error::new(ErrorKind::Thread, message)));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bytes::Bytes;

    const MS: Duration = Duration::from_millis(1);

    /// A cursor of topic `t` at offset 0, and its other end.
    pub(in crate::consumer) fn cursor(partition: i32) -> (Cursor, ReaderEnd) {
        let backoff = Backoff::new(100 * MS, 1000 * MS);
        Cursor::new("t", partition, Start::Offset { offset: 0, leader_epoch: -1 }, backoff, None)
    }

    fn chunk(fetch_offset: i64, next_offset: i64) -> Chunk {
        Chunk { bytes: Bytes::from_static(b"x"), fetch_offset, next_offset, aborted: Vec::new() }
    }

    #[test]
    fn x4_there_is_room_for_two_chunks_and_a_third_moves_nothing() {
        let (mut cursor, end) = cursor(0);
        cursor.deliver(chunk(0, 10), 3);
        assert!(cursor.has_room());
        cursor.deliver(chunk(10, 20), 3);
        assert!(!cursor.has_room());
        cursor.deliver(chunk(20, 30), 3);
        assert_eq!(cursor.at, Start::Offset { offset: 20, leader_epoch: 3 });
        end.deliveries.recv().unwrap();
        assert!(cursor.has_room());
        assert!(!cursor.reader_waits());
    }

    #[test]
    fn room_wakes_the_fetcher_only_if_it_asked_for_that() {
        let (cursor, end) = cursor(0);
        let waker = Arc::new(Waker::new().unwrap());
        let interrupt = crate::net::Interrupt::new().unwrap();
        let woken = || {
            let waited = waker.wait(&interrupt, crate::net::Deadline::after(Duration::ZERO)).unwrap();
            waker.drain();
            waited != crate::net::Readiness::TimedOut
        };
        cursor.serve_with(&waker);
        end.state.took_one();
        assert!(!woken());
        cursor.want_room();
        end.state.took_one();
        assert!(woken());
        end.state.took_one();
        assert!(!woken());
        end.state.end();
        assert!(woken());
    }

    #[test]
    fn o6_after_a_seek_the_answer_to_an_earlier_request_is_of_no_use() {
        let (mut cursor, end) = cursor(0);
        cursor.asked = Some(0);
        assert!(cursor.is_current());
        end.state.seek(Start::Offset { offset: 70, leader_epoch: -1 });
        assert!(!cursor.is_current());
        cursor.follow_seek();
        assert!(cursor.is_current());
        assert_eq!((cursor.asked, cursor.offset()), (None, Some(70)));
        end.state.seek(Start::Earliest);
        cursor.follow_seek();
        assert_eq!((cursor.offset(), end.state.start()), (None, None));
    }

    #[test]
    fn o1_a_reset_is_counted_and_a_first_look_up_is_not() {
        let (mut cursor, end) = cursor(0);
        cursor.begin_at(5);
        assert_eq!((end.state.resets(), end.state.start()), (0, Some(5)));
        cursor.reset_from = Some((5, "test"));
        cursor.begin_at(9);
        assert_eq!((end.state.resets(), end.state.start(), cursor.offset()), (1, Some(9), Some(9)));
        cursor.begin_at(10);
        assert_eq!(end.state.resets(), 1);
    }

    #[test]
    fn b3_a_first_move_waits_for_metadata_only_and_a_second_for_a_while() {
        let (mut cursor, _end) = cursor(0);
        let now = Instant::now();
        cursor.leader = Leader { node_id: 1, epoch: 5 };
        cursor.moved(now, 7, Some(Leader { node_id: 2, epoch: 6 }));
        assert_eq!((cursor.retry.not_before, cursor.retry.stale), (None, Some((7, now + 1000 * MS))));
        assert_eq!(cursor.retry.hint, Some(Leader { node_id: 2, epoch: 6 }));
        cursor.moved(now, 8, Some(Leader { node_id: 3, epoch: 5 }));
        assert!(cursor.retry.not_before.is_some_and(|at| at > now));
        assert_eq!(cursor.retry.hint, None, "no newer than what is known");
        cursor.succeeded();
        assert_eq!(cursor.failures(), 0);
    }

    #[test]
    fn b14_after_a_failed_replica_the_leader_is_not_told_the_rack() {
        let (mut cursor, _end) = cursor(0);
        let now = Instant::now();
        cursor.failed(now);
        assert_eq!(cursor.rackless, None);
        cursor.preferred = Some((3, now + 1000 * MS));
        cursor.failed(now);
        assert_eq!(cursor.preferred, None);
        assert!(cursor.rackless.is_some_and(|until| until > now));
    }
}
