//! The committer of a group's offsets.

use super::driver::{Command, Commands};
use super::errors::ErrorSink;
use super::link::CoordinatorFinder;
use super::offsets::{AfterCommit, MAX_OFFSET_VERSION, OffsetTracker};
use super::session::ConsumerGroupSession;
use crate::backoff::Backoff;
use crate::net::{Connection, Deadline};
use crate::protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use crate::{Error, ErrorCode, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Somebody waits for a commit.
pub(super) struct CommitRequest {
    pub(super) session: ConsumerGroupSession,
    pub(super) reply: Sender<Result<()>>,
    pub(super) timeout: Duration,
}

/// OffsetCommit carries a retention time up to this version only.
const MAX_RETENTION_VERSION: i16 = 4;

/// One per `consume`, thread `kafka-commit` (scoped). Owns the second connection to the coordinator and the commit
/// schedule. Sessions send it requests; it ends when `consume` is
/// over.
pub(super) struct Committer {
    pub(super) finder: Arc<CoordinatorFinder>,
    pub(super) requests: Receiver<CommitRequest>,
    /// Disconnected when `consume` is over. No message is ever sent.
    pub(super) finish: Receiver<()>,
    pub(super) commands: Arc<Commands>,
    /// The session whose marks are committed by the clock.
    pub(super) current: Arc<Mutex<Option<ConsumerGroupSession>>>,
    /// `None` without auto-commit.
    pub(super) interval: Option<Duration>,
    pub(super) retention: bool,
    pub(super) request_timeout: Duration,
    pub(super) backoff: Backoff,
    pub(super) errors: ErrorSink,
    pub(super) connection: Option<Connection>,
}

impl Committer {
    /// The thread's loop.
    pub(super) fn run(mut self) {
        let mut tick = self.interval.map(|interval| Instant::now() + interval);
        loop {
            let ticks = tick.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
            crossbeam_channel::select! {
                recv(self.requests) -> request => match request {
                    // Nobody has to be there for the answer any more.
                    Ok(CommitRequest { session, reply, timeout }) => {
                        let _ = reply.send(self.commit(&session, Deadline::after(timeout)));
                    }
                    Err(_) => return,
                },
                recv(self.finish) -> _ => return,
                recv(ticks) -> _ => {}
            }
            if let (Some(at), Some(interval)) = (tick, self.interval)
                && Instant::now() >= at
            {
                self.auto_commit();
                tick = Some(Instant::now() + interval);
            }
        }
    }

    fn auto_commit(&mut self) {
        let session = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // An ending session makes its final commit itself.
        let Some(session) = session.filter(|session| !session.is_ending()) else { return };
        if let Err(error) = self.commit(&session, Deadline::after(self.request_timeout)) {
            log::warn!("auto-commit: {error}");
            self.errors.report(error);
        }
    }

    /// Commits all that is marked. Tries again until `deadline` what may still succeed.
    fn commit(&mut self, session: &ConsumerGroupSession, deadline: Deadline) -> Result<()> {
        self.backoff.reset();
        let mut before = None;
        loop {
            let begun = session.tracker().begin_commit();
            let Some(commit) = begun else { return nothing_to_commit(&session.tracker()) };
            let answer = self.exchange(&commit.request, deadline);
            let (outcome, identity) = {
                let mut tracker = session.tracker();
                (tracker.complete(&commit, answer), tracker.identity().clone())
            };
            let Some(error) = outcome.errors.into_iter().next() else { return Ok(()) };
            let error = explained(error, before.take());
            log::debug!("committing offsets: {error}");
            match outcome.next {
                AfterCommit::Nothing => return Err(error),
                AfterCommit::Lost(code) => {
                    self.commands.push(Command::CommitRefused(identity, code));
                    let message = "the session's partitions belong to others, so its offsets can't be committed";
                    return Err(Error::new(ErrorKind::Fenced, message).with_code(code).with_source(error));
                }
                AfterCommit::FindCoordinator => {
                    self.connection = None;
                    self.finder.forget();
                }
                AfterCommit::Rebalance => {
                    self.commands.push(Command::CommitRefused(identity, ErrorCode::REBALANCE_IN_PROGRESS));
                }
                AfterCommit::Retry => {}
            }
            let pause = self.backoff.next(fastrand::f64);
            if deadline.remaining() <= pause || self.finder.interrupt().wait(pause) {
                return Err(error);
            }
            before = Some(error);
        }
    }

    fn exchange(&mut self, request: &OffsetCommitRequest, deadline: Deadline) -> Result<OffsetCommitResponse> {
        // One request's time at most, so that a broker that hangs leaves time for another try.
        let deadline = deadline.within(self.request_timeout);
        let mut connection = match self.connection.take().and_then(Connection::reusable) {
            Some(connection) => connection,
            None => self.finder.connect(deadline)?,
        };
        let highest = if self.retention { MAX_RETENTION_VERSION } else { MAX_OFFSET_VERSION };
        let version = connection.version::<OffsetCommitRequest>()?.min(highest);
        let response = connection.call_version(request, version, deadline)?;
        self.connection = Some(connection);
        Ok(response)
    }
}

/// An attempt that got no answer in time says nothing of why the one before it was refused, nor for which partition.
fn explained(error: Error, before: Option<Error>) -> Error {
    let unnamed = error.kind() == ErrorKind::Timeout && error.partition().is_none();
    let Some(before) = before.filter(|before| unnamed && before.partition().is_some()) else { return error };
    let mut explained = Error::new(ErrorKind::Timeout, format!("{error}; the attempt before it: {before}"));
    if let Some(topic) = before.topic() {
        explained = explained.with_topic(topic);
    }
    if let Some(partition) = before.partition() {
        explained = explained.with_partition(partition);
    }
    explained.with_source(error)
}

fn nothing_to_commit(tracker: &OffsetTracker) -> Result<()> {
    if tracker.is_lost() {
        return Err(Error::new(ErrorKind::Fenced, "the session is lost, so its offsets can't be committed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m10_a_commit_that_runs_out_of_time_names_what_was_refused_before() {
        let refused = || Error::protocol("left out").with_topic("t").with_partition(3);
        let late = || Error::new(ErrorKind::Timeout, "no answer");
        let error = explained(late(), Some(refused()));
        assert_eq!((error.kind(), error.topic(), error.partition()), (ErrorKind::Timeout, Some("t"), Some(3)));
        assert!(error.to_string().contains("left out"), "{error}");
        assert_eq!(explained(late(), None).partition(), None);
        // What names its own partition, or is no matter of time, stands for itself.
        let own = explained(late().with_topic("u").with_partition(5), Some(refused()));
        assert_eq!(own.partition(), Some(5));
        let other = explained(Error::new(ErrorKind::Network, "gone"), Some(refused()));
        assert_eq!((other.kind(), other.partition()), (ErrorKind::Network, None));
    }
}
