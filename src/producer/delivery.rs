//! What becomes of a record: the outcome its batch shares, and the handle a caller waits on.

use crate::{Error, ErrorKind};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A failed send. Its variant says whether the record can be in the log.
#[derive(Debug, Clone)]
pub enum SendError {
    /// The record is not in the log and never will be by this send: it may be sent again without making a duplicate.
    NotPersisted(Error),
    /// The record may be in the log or may not: the request went out and its outcome is unknown.
    PossiblyPersisted(Error),
}

impl SendError {
    /// What went wrong.
    pub fn error(&self) -> &Error {
        match self {
            Self::NotPersisted(error) | Self::PossiblyPersisted(error) => error,
        }
    }

    /// Whether the record may be in the log all the same.
    pub fn is_possibly_persisted(&self) -> bool {
        matches!(self, Self::PossiblyPersisted(_))
    }

    pub(super) fn new(possibly_persisted: bool, error: Error) -> Self {
        if possibly_persisted { Self::PossiblyPersisted(error) } else { Self::NotPersisted(error) }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPersisted(error) => write!(f, "not persisted: {error}"),
            Self::PossiblyPersisted(error) => write!(f, "possibly persisted: {error}"),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error())
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.error().clone()
    }
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
}

impl RecordMetadata {
    /// The partition it is in.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset there; `None` with acks 0, and when a broker took it for a duplicate that it no longer has the offset of.
    pub fn offset(&self) -> Option<i64> {
        Some(self.offset).filter(|offset| *offset >= 0)
    }

    /// Its timestamp in milliseconds since 1970-01-01T00:00:00Z, as the broker set it for a topic with log-append
    /// time; `None` for a topic with create time, where it is the one that was sent.
    pub fn timestamp(&self) -> Option<i64> {
        Some(self.timestamp).filter(|timestamp| *timestamp >= 0)
    }
}

/// The outcome of a batch, set once.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Written {
        base_offset: i64,
        log_append_time: i64,
    },
    Failed(SendError),
    /// The broker named the records that are at fault; the batch is not in the log.
    Rejected {
        records: Vec<i32>,
        error: Error,
    },
    /// The batch was too large and was sent in parts: each begins with the record of this index.
    Split(Vec<(u32, Arc<BatchOutcome>)>),
}

/// Shared by a batch and the deliveries of its records.
#[derive(Debug)]
pub(super) struct BatchOutcome {
    partition: i32,
    pub(super) created: Instant,
    /// Some of its bytes may have reached a broker that has not said what became of them.
    in_doubt: AtomicBool,
    outcome: OnceLock<Outcome>,
    waiters: Mutex<usize>,
    resolved: Condvar,
}

impl BatchOutcome {
    pub(super) fn new(partition: i32, created: Instant) -> Self {
        Self {
            partition,
            created,
            in_doubt: AtomicBool::new(false),
            outcome: OnceLock::new(),
            waiters: Mutex::new(0),
            resolved: Condvar::new(),
        }
    }

    /// Sets the outcome unless there is one; true if this call set it.
    pub(super) fn resolve(&self, outcome: Outcome) -> bool {
        let first = self.outcome.set(outcome).is_ok();
        if first && *self.waiters.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.resolved.notify_all();
        }
        first
    }

    pub(super) fn fail(&self, error: Error) -> bool {
        self.resolve(Outcome::Failed(SendError::new(self.in_doubt(), error)))
    }

    pub(super) fn is_resolved(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(super) fn set_in_doubt(&self) {
        self.in_doubt.store(true, Ordering::SeqCst);
    }

    /// Takes the doubt back: the only attempt so far got a clear answer that nothing was written.
    pub(super) fn clear_doubt(&self) {
        self.in_doubt.store(false, Ordering::SeqCst);
    }

    pub(super) fn in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::SeqCst)
    }

    /// Waits until all its records have an outcome, also those sent in parts; false if the deadline passes first.
    pub(super) fn wait_for_all(&self, deadline: Option<Instant>) -> bool {
        match self.wait(deadline) {
            Some(Outcome::Split(parts)) => parts.iter().all(|(_, part)| part.wait_for_all(deadline)),
            outcome => outcome.is_some(),
        }
    }

    /// What became of the record with this index, if that is known.
    #[inline]
    pub(super) fn poll(&self, index: u32) -> Option<Result<RecordMetadata, SendError>> {
        match self.outcome.get()? {
            Outcome::Split(parts) => part_of(parts, index).poll(),
            outcome => Some(self.of(index, outcome)),
        }
    }

    #[inline]
    fn of(&self, index: u32, outcome: &Outcome) -> Result<RecordMetadata, SendError> {
        match outcome {
            Outcome::Written { base_offset, log_append_time } => Ok(RecordMetadata {
                partition: self.partition,
                offset: if *base_offset < 0 { -1 } else { base_offset.saturating_add(i64::from(index)) },
                timestamp: *log_append_time,
            }),
            Outcome::Failed(error) => Err(error.clone()),
            Outcome::Rejected { records, error } => Err(rejected(index, records, error)),
            Outcome::Split(parts) => part_of(parts, index).wait(),
        }
    }

    /// Waits for the outcome, at most until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Option<&Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Some(outcome);
        }
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        *waiters += 1;
        while self.outcome.get().is_none() {
            match deadline {
                None => waiters = self.resolved.wait(waiters).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    waiters = self.resolved.wait_timeout(waiters, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        *waiters -= 1;
        self.outcome.get()
    }
}

/// The outcome to come of one record that was handed to a producer. A program that keeps many of them keeps
/// [`Deliveries`](super::Deliveries) for less. Dropping it changes nothing for the record.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub(super) batch: Arc<BatchOutcome>,
    pub(super) index: u32,
}

impl Delivery {
    /// Blocks until the record's fate is known. That is at the latest when its delivery timeout has passed, or when
    /// the producer is closed.
    pub fn wait(&self) -> Result<RecordMetadata, SendError> {
        match self.batch.wait(None) {
            Some(outcome) => self.of(outcome),
            None => Err(SendError::PossiblyPersisted(Error::new(ErrorKind::Closed, "the producer is gone"))),
        }
    }

    /// Like [`wait`](Self::wait), for at most `timeout`; `None` if the fate is not known by then.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<RecordMetadata, SendError>> {
        let deadline = Instant::now().checked_add(timeout);
        let outcome = self.batch.wait(deadline)?;
        match outcome {
            Outcome::Split(parts) => part_of(parts, self.index)
                .wait_timeout(deadline.map_or(timeout, |d| d.saturating_duration_since(Instant::now()))),
            outcome => Some(self.of(outcome)),
        }
    }

    /// The record's fate if it is known; does not block.
    pub fn poll(&self) -> Option<Result<RecordMetadata, SendError>> {
        self.batch.poll(self.index)
    }

    fn of(&self, outcome: &Outcome) -> Result<RecordMetadata, SendError> {
        self.batch.of(self.index, outcome)
    }
}

/// The error of a record whose batch was refused for the sake of some of its records.
#[cold]
fn rejected(index: u32, records: &[i32], error: &Error) -> SendError {
    if i32::try_from(index).is_ok_and(|index| records.contains(&index)) {
        return SendError::NotPersisted(error.clone());
    }
    let other = Error::new(ErrorKind::Broker, format!("another record of the batch was refused: {error}"));
    SendError::NotPersisted(other.with_source(error.clone()))
}

/// The delivery of a record in the part of a split batch that it is in.
fn part_of(parts: &[(u32, Arc<BatchOutcome>)], index: u32) -> Delivery {
    // Parts are in order and the first begins with record 0.
    let at = parts.partition_point(|(first, _)| *first <= index).saturating_sub(1);
    let (first, batch) = &parts[at];
    Delivery { batch: batch.clone(), index: index - first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(base_offset: i64) -> Outcome {
        Outcome::Written { base_offset, log_append_time: -1 }
    }

    #[test]
    fn the_first_outcome_stays() {
        let batch = Arc::new(BatchOutcome::new(2, Instant::now()));
        let delivery = Delivery { batch: batch.clone(), index: 3 };
        assert!(delivery.poll().is_none());
        batch.set_in_doubt();
        assert!(batch.fail(Error::new(ErrorKind::Timeout, "late")));
        assert!(!batch.resolve(written(7)));
        assert!(delivery.wait().unwrap_err().is_possibly_persisted());
    }

    #[test]
    fn records_of_a_split_batch_find_their_part() {
        let parts: Vec<_> = (0..3).map(|_| Arc::new(BatchOutcome::new(0, Instant::now()))).collect();
        let whole = Arc::new(BatchOutcome::new(0, Instant::now()));
        whole.resolve(Outcome::Split(vec![(0, parts[0].clone()), (2, parts[1].clone()), (5, parts[2].clone())]));
        parts[0].resolve(written(100));
        parts[1].resolve(written(200));
        let offset = |index| Delivery { batch: whole.clone(), index }.poll().map(|r| r.unwrap().offset().unwrap());
        assert_eq!(
            [offset(0), offset(1), offset(2), offset(4), offset(5)],
            [Some(100), Some(101), Some(200), Some(202), None]
        );
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let batch = Arc::new(BatchOutcome::new(0, Instant::now()));
        let delivery = Delivery { batch: batch.clone(), index: 1 };
        let waiter = std::thread::spawn(move || delivery.wait());
        while *batch.waiters.lock().unwrap() == 0 {
            std::thread::yield_now();
        }
        batch.resolve(written(10));
        assert_eq!(waiter.join().unwrap().unwrap().offset(), Some(11));
    }
}
