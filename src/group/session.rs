//! One session: the time between two rebalances, with its claims and what is marked in it.

use super::assignor::Assignment;
use super::commit::CommitRequest;
use super::membership::{EndCause, SessionStart};
use super::offsets::OffsetTracker;
use crate::{ConsumerRecord, Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One session of a consumer group: what this member owns between two rebalances. Cheap to clone; all clones are the
/// same session.
///
/// What is marked or committed through it counts for this session only: once its partitions belong to others, marks are
/// refused and nothing is stored.
#[derive(Clone)]
pub struct ConsumerGroupSession {
    inner: Arc<Inner>,
}

struct Inner {
    claims: Assignment,
    member_id: String,
    generation_id: i32,
    tracker: Mutex<OffsetTracker>,
    ending: AtomicBool,
    lost: AtomicBool,
    cause: Mutex<Option<EndCause>>,
    /// Dropping it is the broadcast to the claims that the session ends. No message is ever sent.
    alive: Mutex<Option<Sender<()>>>,
    ended: Receiver<()>,
    commits: Sender<CommitRequest>,
    commit_timeout: Duration,
}

impl ConsumerGroupSession {
    pub(super) fn new(
        start: SessionStart,
        retention: Option<Duration>,
        commits: Sender<CommitRequest>,
        commit_timeout: Duration,
    ) -> Self {
        // Bound 0: the channel carries nothing, only its disconnection.
        let (alive, ended) = crossbeam_channel::bounded(0);
        let inner = Inner {
            claims: start.assignment,
            member_id: start.identity.member_id.clone(),
            generation_id: start.identity.generation_id,
            tracker: Mutex::new(OffsetTracker::new(start.identity, retention)),
            ending: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            cause: Mutex::new(None),
            alive: Mutex::new(Some(alive)),
            ended,
            commits,
            commit_timeout,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The partitions claimed in this session, by topic.
    pub fn claims(&self) -> &Assignment {
        &self.inner.claims
    }

    /// The id the group's coordinator gave this member.
    pub fn member_id(&self) -> &str {
        &self.inner.member_id
    }

    /// The group's generation.
    pub fn generation_id(&self) -> i32 {
        self.inner.generation_id
    }

    /// Whether the session is ending: its claims hand out no more records, and handlers must return.
    pub fn is_ending(&self) -> bool {
        self.inner.ending.load(Ordering::Acquire)
    }

    /// Whether the session was lost: its partitions may belong to others already.
    pub fn is_lost(&self) -> bool {
        self.inner.lost.load(Ordering::Acquire)
    }

    /// Marks a record as processed, and with it all before it in its partition: the next commit stores the offset after
    /// it. A mark moves forward only. Returns false if the mark came too late: the claim has ended or the session is lost.
    pub fn mark(&self, record: &ConsumerRecord) -> bool {
        let next = record.offset().saturating_add(1);
        self.tracker().mark(record.topic(), record.partition(), next, record.leader_epoch(), "")
    }

    /// Marks everything before `next_offset` as processed, with a text of at most the broker's
    /// `offset.metadata.max.bytes` to be stored beside it. Otherwise like [`mark`](Self::mark).
    pub fn mark_offset(&self, topic: &str, partition: i32, next_offset: i64, metadata: &str) -> bool {
        self.tracker().mark(topic, partition, next_offset, -1, metadata)
    }

    /// Moves the mark back, so that the partition's next owner reads again from `next_offset` on. It moves backward only,
    /// and the running claim goes on where it is. Returns false if it came too late.
    pub fn reset_offset(&self, topic: &str, partition: i32, next_offset: i64, metadata: &str) -> bool {
        self.tracker().reset_offset(topic, partition, next_offset, metadata)
    }

    /// The offset that the broker has stored for a claimed partition, as far as this session knows; `None` if it has none.
    pub fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        self.tracker().committed(topic, partition).map(|position| position.offset)
    }

    /// How many marks came too late: after the end of their claim or the loss of the session.
    pub fn refused_marks(&self) -> u64 {
        self.tracker().refused_marks()
    }

    /// Commits what is marked and blocks until the broker has stored it, at most the client's request timeout.
    ///
    /// With nothing new marked it returns at once. An error names the first partition that failed; it stays marked and is
    /// in the next commit. After the loss of the session the error is of kind [`Fenced`](ErrorKind::Fenced).
    pub fn commit(&self) -> Result<()> {
        self.commit_within(self.inner.commit_timeout)
    }

    pub(super) fn commit_within(&self, timeout: Duration) -> Result<()> {
        // Bound 1: the one answer, which must not block the commit thread if nobody waits for it any more.
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request = CommitRequest { session: self.clone(), reply, timeout };
        let gone = || Error::new(ErrorKind::Closed, "the consumer group has ended");
        self.inner.commits.send_timeout(request, timeout).map_err(|error| match error {
            crossbeam_channel::SendTimeoutError::Timeout(_) => late(),
            crossbeam_channel::SendTimeoutError::Disconnected(_) => gone(),
        })?;
        // The commit thread keeps the timeout; the margin is for its answer.
        match answer.recv_timeout(timeout + Duration::from_millis(250)) {
            Ok(outcome) => outcome,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Err(late()),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    pub(super) fn tracker(&self) -> MutexGuard<'_, OffsetTracker> {
        self.inner.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel that is disconnected when the session ends.
    pub(super) fn ended(&self) -> &Receiver<()> {
        &self.inner.ended
    }

    /// Ends the session for its claims. A session that is ending may still be lost.
    pub(super) fn end(&self, cause: EndCause, lost: bool) {
        self.inner.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        if lost {
            self.inner.lost.store(true, Ordering::Release);
            self.tracker().lose();
        }
        self.inner.ending.store(true, Ordering::Release);
        drop(self.inner.alive.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cold]
fn late() -> Error {
    Error::new(ErrorKind::Timeout, "the commit was not stored before the deadline")
}

impl fmt::Debug for ConsumerGroupSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerGroupSession")
            .field("member_id", &self.inner.member_id)
            .field("generation_id", &self.inner.generation_id)
            .field("claims", &self.inner.claims)
            .field("ending", &self.is_ending())
            .finish_non_exhaustive()
    }
}
