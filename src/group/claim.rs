//! One claimed partition, as its handler sees it.

use super::session::ConsumerGroupSession;
use crate::consumer::{FetchedBatch, Next, PartitionStream, StartOffset};
use crate::{ConsumerRecord, Result};
use std::fmt;

/// One partition that this member owns in a session: `for record in claim` gives its records, and
/// [`next_batch`](Self::next_batch) whole batches of them.
///
/// The handler's [`consume_claim`](super::ConsumerGroupHandler::consume_claim) gets it. It blocks while there is nothing
/// to read, and ends when the session does.
pub struct ConsumerGroupClaim {
    session: ConsumerGroupSession,
    stream: PartitionStream,
    initial_offset: StartOffset,
    /// The error that ended it has been handed out.
    failed: bool,
}

impl ConsumerGroupClaim {
    pub(super) fn new(session: ConsumerGroupSession, stream: PartitionStream, initial_offset: StartOffset) -> Self {
        Self { session, stream, initial_offset, failed: false }
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

    /// The offset of the next record, or the first one after it that there is; `None` while it is looked up.
    pub fn position(&self) -> Option<i64> {
        self.stream.position()
    }

    /// The offset after the last record that consumers could read when the last fetch was answered; `None` before that.
    pub fn high_watermark(&self) -> Option<i64> {
        self.stream.high_watermark()
    }

    /// How many offsets lie between the position and the high watermark; `None` while either is unknown.
    pub fn lag(&self) -> Option<u64> {
        self.stream.lag()
    }

    /// How often the reset policy has moved the position.
    pub fn resets(&self) -> u64 {
        self.stream.resets()
    }

    /// The next batch of records, to be read in place without a reference count each. Blocks until there is one; `None`
    /// when the session ends, or after an error that ended the partition.
    ///
    /// No error skips a record: after one that may pass, such as a missing right, the next call goes on where it was.
    pub fn next_batch(&mut self) -> Option<Result<FetchedBatch>> {
        if self.failed || self.session.is_ending() {
            return None;
        }
        let next = self.stream.next_batch(Some(self.session.ended()), None);
        self.hand_out(next)
    }

    /// The next record; like [`next_batch`](Self::next_batch) otherwise. `for record in claim` does the same.
    pub fn next_record(&mut self) -> Option<Result<ConsumerRecord>> {
        if self.failed || self.session.is_ending() {
            return None;
        }
        let next = self.stream.next_record(Some(self.session.ended()), None);
        self.hand_out(next)
    }

    fn hand_out<T>(&mut self, next: Result<Next<T>>) -> Option<Result<T>> {
        match next {
            Ok(Next::Ready(next)) => Some(Ok(next)),
            Ok(Next::TimedOut | Next::Ended) => None,
            Err(error) => {
                self.failed = self.stream.is_stopped();
                Some(Err(error))
            }
        }
    }
}

/// The records of a claim, one by one, until the session ends.
#[derive(Debug)]
pub struct ClaimRecords<'a>(&'a mut ConsumerGroupClaim);

impl Iterator for ClaimRecords<'_> {
    type Item = Result<ConsumerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_record()
    }
}

impl<'a> IntoIterator for &'a mut ConsumerGroupClaim {
    type Item = Result<ConsumerRecord>;
    type IntoIter = ClaimRecords<'a>;

    fn into_iter(self) -> ClaimRecords<'a> {
        ClaimRecords(self)
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
