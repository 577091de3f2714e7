//! How the router reaches a fetcher.

use super::cursor::Cursor;
use crate::net::Waker;
use crate::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How the router reaches a fetcher.
#[derive(Debug)]
pub(super) struct FetcherHandle {
    node: i32,
    /// Bounded by the number of partitions, since a cursor exists once.
    inbox: Mutex<Inbox>,
    waker: Arc<Waker>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Inbox {
    cursors: Vec<Cursor>,
    retired: bool,
}

impl FetcherHandle {
    /// Starts the thread, which runs `run`; on failure the cursors come back.
    pub(super) fn start(
        node: i32,
        cursors: Vec<Cursor>,
        run: impl FnOnce(Arc<Self>) + Send + 'static,
    ) -> Result<Arc<Self>, (Error, Vec<Cursor>)> {
        let waker = match Waker::new() {
            Ok(waker) => Arc::new(waker),
            Err(error) => return Err((Error::io(error, "making a socket pair"), cursors)),
        };
        let inbox = Mutex::new(Inbox { cursors, retired: false });
        let handle = Arc::new(Self { node, inbox, waker, thread: Mutex::new(None) });
        let its_own = handle.clone();
        let spawned = std::thread::Builder::new().name(format!("kafka-fetch-{node}")).spawn(move || {
            let _retire = Retire(its_own.clone());
            run(its_own);
        });
        match spawned {
            Ok(thread) => {
                *handle.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
                Ok(handle)
            }
            Err(error) => {
                let error = Error::new(ErrorKind::Thread, format!("starting kafka-fetch-{node}: {error}"));
                Err((error, handle.take()))
            }
        }
    }

    pub(super) fn node(&self) -> i32 {
        self.node
    }

    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// What has come since the last look.
    pub(super) fn take(&self) -> Vec<Cursor> {
        std::mem::take(&mut self.lock_inbox().cursors)
    }

    /// Takes nothing more, unless something has come: true if it has retired.
    pub(super) fn retire(&self) -> bool {
        let mut inbox = self.lock_inbox();
        inbox.retired = inbox.cursors.is_empty();
        inbox.retired
    }

    fn lock_inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it cursors; they come back if it has ended.
    pub(super) fn give(&self, cursors: Vec<Cursor>) -> Result<(), Vec<Cursor>> {
        let mut inbox = self.lock_inbox();
        if inbox.retired {
            return Err(cursors);
        }
        inbox.cursors.extend(cursors);
        drop(inbox);
        self.waker.wake();
        Ok(())
    }

    /// Waits for the thread's end, which must be under way.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("kafka-fetch-{} panicked", self.node);
        }
    }
}

/// Nobody gives cursors to a fetcher that is gone, however it went.
struct Retire(Arc<FetcherHandle>);

impl Drop for Retire {
    fn drop(&mut self) {
        let mut inbox = self.0.lock_inbox();
        inbox.retired = true;
        let left = std::mem::take(&mut inbox.cursors);
        drop(inbox);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::tests::cursor;
    use super::super::stream::tests::stream;
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn x11_a_fetcher_that_dies_leaves_its_reason_with_its_readers_and_takes_no_more() {
        let (taken, taken_end) = cursor(0);
        let (left, left_end) = cursor(1);
        let handle = FetcherHandle::start(7, vec![taken, left], |handle| {
            let mut cursors = handle.take();
            let second = cursors.pop();
            assert!(handle.give(second.into_iter().collect()).is_ok());
            let _held = cursors;
            panic!("injected");
        });
        let handle = handle.map_err(|(error, _)| error).unwrap();
        for end in [taken_end, left_end] {
            let mut stream = stream(end);
            let error = stream.next_batch(None, Some(Instant::now() + Duration::from_secs(5))).unwrap_err();
            assert_eq!((error.kind(), error.topic()), (ErrorKind::Thread, Some("t")));
            assert!(error.to_string().contains("kafka-fetch-7"), "{error}");
            assert!(stream.is_stopped());
        }
        handle.join();
        let (late, _end) = cursor(2);
        assert_eq!(handle.give(vec![late]).unwrap_err().len(), 1);
    }

    #[test]
    fn a_fetcher_retires_only_with_an_empty_inbox() {
        let (first, _first_end) = cursor(0);
        let (done, wait) = crossbeam_channel::bounded::<()>(0);
        let handle = FetcherHandle::start(7, vec![first], move |_| {
            let _ = wait.recv();
        });
        let handle = handle.map_err(|(error, _)| error).unwrap();
        assert!(!handle.retire());
        assert_eq!(handle.take().len(), 1);
        assert!(handle.retire());
        let (late, _late_end) = cursor(1);
        assert_eq!(handle.give(vec![late]).unwrap_err().len(), 1);
        drop(done);
        handle.join();
    }
}
