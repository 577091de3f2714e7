//! Errors of the background, for a user who wants to hear of them.

use crate::Error;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Errors kept until somebody reads them; more than that are counted only.
const KEPT: usize = 256;

/// Where the group's threads report to. Never blocks.
#[derive(Debug, Clone)]
pub(super) struct ErrorSink {
    sender: Sender<Error>,
    dropped: Arc<AtomicU64>,
}

/// The errors that the group met in the background and dealt with by itself, such as a failed auto-commit.
///
/// Reading them is optional: 256 are kept, and those beyond are counted. All are logged as well.
#[derive(Debug, Clone)]
pub struct Errors {
    receiver: Receiver<Error>,
    dropped: Arc<AtomicU64>,
}

/// Both ends.
pub(super) fn errors() -> (ErrorSink, Errors) {
    let (sender, receiver) = crossbeam_channel::bounded(KEPT);
    let dropped = Arc::new(AtomicU64::new(0));
    (ErrorSink { sender, dropped: dropped.clone() }, Errors { receiver, dropped })
}

impl ErrorSink {
    pub(super) fn report(&self, error: Error) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(error) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Errors {
    /// The next error, if there is one. Does not block.
    pub fn try_next(&self) -> Option<Error> {
        self.receiver.try_recv().ok()
    }

    /// The next error; blocks for at most `timeout`.
    pub fn next_within(&self, timeout: Duration) -> Option<Error> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// How many errors were dropped since nobody read them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_full_stream_drops_and_counts_and_never_blocks() {
        let (sink, errors) = errors();
        for _ in 0..KEPT + 3 {
            sink.report(Error::new(ErrorKind::Timeout, "x"));
        }
        assert_eq!(errors.dropped(), 3);
        assert_eq!(std::iter::from_fn(|| errors.try_next()).count(), KEPT);
        assert!(errors.next_within(Duration::ZERO).is_none());
    }
}
