//! How one thread ends or wakes another that is blocked on a socket.

use super::stream::wait_for;
use super::{Deadline, Readiness};
use crate::Result;
use crossbeam_channel::{Receiver, Sender};
use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The end of an owner (a client, a producer, a consumer): once triggered it stays so, and every wait of every thread
/// that holds a clone ends. Cloneable.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    triggered: AtomicBool,
    /// Never drained, so that it wakes every thread that polls it, now or later.
    readable: UnixStream,
    writer: UnixStream,
    /// Dropping it is the broadcast to threads that wait on a channel. No message is ever sent.
    alive: Mutex<Option<Sender<()>>>,
    ended: Receiver<()>,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        let (readable, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        // Bound 0: the channel carries nothing, only its disconnection.
        let (alive, ended) = crossbeam_channel::bounded(0);
        Ok(Self(Arc::new(Inner {
            triggered: AtomicBool::new(false),
            readable,
            writer,
            alive: Mutex::new(Some(alive)),
            ended,
        })))
    }

    /// Ends all waits, now and for good.
    pub(crate) fn trigger(&self) {
        if !self.0.triggered.swap(true, Ordering::SeqCst) {
            drop(self.0.alive.lock().unwrap_or_else(PoisonError::into_inner).take());
            // One byte fits into an empty socket buffer.
            let _ = (&self.0.writer).write(&[1]);
        }
    }

    pub(crate) fn is_triggered(&self) -> bool {
        self.0.triggered.load(Ordering::SeqCst)
    }

    /// Waits for `timeout`; true if the interrupt came.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        // Nobody sends, so a result other than a timeout is the disconnection.
        !matches!(self.0.ended.recv_timeout(timeout), Err(crossbeam_channel::RecvTimeoutError::Timeout))
    }

    /// A channel that is disconnected when the interrupt comes, for `select!`.
    pub(crate) fn channel(&self) -> &Receiver<()> {
        &self.0.ended
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.readable.as_fd()
    }
}

/// Wakes the one thread that waits for its socket and for work at the same time. Wakes that come before the wait are
/// kept; many of them are one.
#[derive(Debug)]
pub(crate) struct Waker {
    pending: AtomicBool,
    readable: UnixStream,
    writer: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (readable, writer) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { pending: AtomicBool::new(false), readable, writer })
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Takes back the wakes so far. What was done before a wake is seen after this call.
    pub(crate) fn drain(&self) {
        let mut sink = [0; 16];
        // Always, not only if the flag is set: a waker that was held up between setting the flag and writing leaves its
        // byte behind after an earlier call has cleared the flag, and such a byte would end every later wait at once.
        let _ = (&self.readable).read(&mut sink);
        // After the read: a wake in between writes nothing, but it is part of those taken back. The swap sees what that
        // wake's thread did before, and the caller looks for work after this call.
        self.pending.swap(false, Ordering::SeqCst);
    }

    /// [`drain`](Self::drain) after a wait that ended for this reason; costs no system call if nobody used the waker. A
    /// byte that was left behind ends one wait, and is taken by this call then.
    pub(crate) fn drain_after(&self, waited: Option<Readiness>) {
        if matches!(waited, None | Some(Readiness::Woken)) || self.pending.load(Ordering::SeqCst) {
            self.drain();
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    /// Waits for a wake, at most until `deadline`; an error of kind `Closed` is the interrupt.
    pub(crate) fn wait(&self, interrupt: &Interrupt, deadline: Deadline) -> Result<Readiness> {
        wait_for(self.fd(), PollFlags::IN, Some(interrupt), None, deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_written_late_ends_one_wait_at_most() {
        let waker = Waker::new().unwrap();
        let interrupt = Interrupt::new().unwrap();
        // A wake sets the flag; before it writes its byte, the owner drains on another occasion.
        assert!(!waker.pending.swap(true, Ordering::SeqCst));
        waker.drain();
        (&waker.writer).write_all(&[1]).unwrap();
        let soon = || Deadline::after(Duration::from_millis(10));
        assert_eq!(waker.wait(&interrupt, soon()).unwrap(), Readiness::Ready);
        waker.drain();
        assert_eq!(waker.wait(&interrupt, soon()).unwrap(), Readiness::TimedOut);
        waker.wake();
        assert_eq!(waker.wait(&interrupt, soon()).unwrap(), Readiness::Ready);
    }

    #[test]
    fn a_byte_left_behind_ends_one_wait_also_if_wakers_are_drained_only_after_wakes() {
        let waker = Waker::new().unwrap();
        let interrupt = Interrupt::new().unwrap();
        let wait = |waker: &Waker| {
            wait_for(interrupt.fd(), PollFlags::IN, None, Some(waker), Deadline::after(Duration::from_millis(10)))
                .unwrap()
        };
        assert!(!waker.pending.swap(true, Ordering::SeqCst));
        waker.drain_after(Some(Readiness::Ready));
        assert!(!waker.pending.load(Ordering::SeqCst), "the flag was set, so it was drained");
        (&waker.writer).write_all(&[1]).unwrap();
        waker.drain_after(Some(Readiness::Ready));
        let woken = wait(&waker);
        assert_eq!(woken, Readiness::Woken);
        waker.drain_after(Some(woken));
        assert_eq!(wait(&waker), Readiness::TimedOut);
    }

    #[test]
    fn a_triggered_interrupt_stays_so_for_all_clones() {
        let interrupt = Interrupt::new().unwrap();
        let clone = interrupt.clone();
        assert!(!clone.wait(Duration::from_millis(1)));
        interrupt.trigger();
        interrupt.trigger();
        for _ in 0..2 {
            assert!(clone.is_triggered() && clone.wait(Duration::from_secs(60)));
            let far = Deadline::after(Duration::from_secs(60));
            let error = Waker::new().unwrap().wait(&clone, far).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Closed);
        }
    }
}
