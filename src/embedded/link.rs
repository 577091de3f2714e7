//! What the core and the thread of a connection have in common.

use super::state::{ConnectionId, Reply};
use crate::net::Waker;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A connection of a client to a broker. Its thread reads and writes the socket; the core hands it the answer of a
/// parked request, and ends it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) broker: i32,
    /// Which of the broker's listeners it came in by.
    pub(super) listener: usize,
    pub(super) socket: TcpStream,
    /// The answer of the request that is parked. One is enough: a connection has one request under way.
    answer: Mutex<Option<Reply>>,
    /// Made for the first request that is parked: many connections never need its descriptors.
    waker: OnceLock<Waker>,
    ended: AtomicBool,
}

impl Link {
    pub(super) fn new(id: ConnectionId, broker: i32, listener: usize, socket: TcpStream) -> Self {
        let (answer, waker, ended) = (Mutex::new(None), OnceLock::new(), AtomicBool::new(false));
        Self { id, broker, listener, socket, answer, waker, ended }
    }

    /// Makes the link ready for an answer that comes later.
    pub(super) fn park(&self) -> io::Result<()> {
        if self.waker.get().is_none() {
            // Nobody else sets it: the core calls this with its lock held.
            let _ = self.waker.set(Waker::new()?);
        }
        Ok(())
    }

    /// What wakes the thread of a parked request.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.waker.get()
    }

    /// The answer to the parked request has come.
    pub(super) fn answer(&self, reply: Reply) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
        self.wake();
    }

    pub(super) fn take_answer(&self) -> Option<Reply> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends whatever the connection's thread waits for, now and from now on.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.socket.shutdown(Shutdown::Both);
        self.wake();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}
