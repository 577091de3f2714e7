//! The bytes of one connection: requests in, answers out.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::link::Link;
use super::memory::{Memory, Share};
use super::state::Reply;
use super::transport::Transport;
use crate::net::{Deadline, Readiness, Waker, wait_for};
use crate::{Error, Result};
use bytes::Bytes;
use rustix::event::PollFlags;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// Of the length before a frame.
const PREFIX: usize = 4;
/// Small requests are read in one go with their length; this much is read ahead.
const INBOX_BYTES: usize = 8 * 1024;
/// The first step of a large request's memory; it doubles as bytes really arrive.
const FIRST_STEP_BYTES: usize = 1024 * 1024;
/// Where a wait that ends by the peer or the core looks up by itself.
const LONG: Duration = Duration::from_secs(3600);

/// A request without its length, and the memory that it takes.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    _share: Share,
}

/// The socket of a connection, and what has been read ahead of it. Reads and writes block; they end with the link,
/// and with a client that does nothing for too long.
#[derive(Debug)]
pub(super) struct Wire {
    link: Arc<Link>,
    transport: Transport,
    memory: Arc<Memory>,
    /// Bytes read but not yet taken: `inbox[taken..filled]`.
    inbox: Box<[u8]>,
    taken: usize,
    filled: usize,
}

impl Wire {
    pub(super) fn new(link: Arc<Link>, transport: Transport, memory: Arc<Memory>) -> Self {
        Self { link, transport, memory, inbox: vec![0; INBOX_BYTES].into(), taken: 0, filled: 0 }
    }

    /// Reads a request of at most `limit` bytes; `None` if the client has gone or has been idle for too long.
    pub(super) fn read_frame(&mut self, limit: usize) -> Result<Option<Frame>> {
        let prefix = loop {
            if let Some(prefix) = self.ahead().first_chunk::<PREFIX>() {
                break *prefix;
            }
            if self.fill().unwrap_or(0) == 0 {
                return Ok(None);
            }
        };
        self.take(PREFIX);
        let length = i32::from_be_bytes(prefix);
        let length = usize::try_from(length).ok().filter(|length| *length <= limit);
        let length = length.ok_or_else(|| Error::protocol(format!("a request whose length is {prefix:?}")))?;
        let mut share = self.memory.share();
        let bytes = if length <= INBOX_BYTES - PREFIX { self.small(length)? } else { self.large(length, &mut share)? };
        Ok(Some(Frame { bytes, _share: share }))
    }

    fn small(&mut self, length: usize) -> Result<Bytes> {
        loop {
            if let Some(frame) = self.ahead().get(..length) {
                let bytes = Bytes::copy_from_slice(frame);
                self.take(length);
                return Ok(bytes);
            }
            self.fill().and_then(some).map_err(broken)?;
        }
    }

    /// Memory follows the bytes that really arrive, not the length that the client claims.
    fn large(&mut self, length: usize, share: &mut Share) -> Result<Bytes> {
        let mut frame = Vec::new();
        while frame.len() < length {
            let step = frame.len().max(FIRST_STEP_BYTES).min(length.saturating_sub(frame.len()));
            if !share.grow(step, &self.link) {
                return Err(Error::protocol(format!("there is no memory for a request of {length} bytes")));
            }
            frame.reserve_exact(step);
            let ahead = self.ahead();
            let ahead = ahead.get(..step).unwrap_or(ahead);
            frame.extend_from_slice(ahead);
            let (ahead, rest) = (ahead.len(), step.saturating_sub(ahead.len()));
            self.take(ahead);
            let read = Read::take(&mut self.transport, rest as u64).read_to_end(&mut frame).map_err(broken)?;
            if read < rest {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(Bytes::from(frame))
    }

    fn ahead(&self) -> &[u8] {
        self.inbox.get(self.taken..self.filled).unwrap_or_default()
    }

    fn take(&mut self, n: usize) {
        self.taken = self.taken.saturating_add(n);
    }

    /// Reads what there is, and waits for something; 0 at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        self.make_room();
        loop {
            match self.transport.read(self.inbox.get_mut(self.filled..).unwrap_or_default()) {
                Ok(read) => {
                    self.filled = self.filled.saturating_add(read);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn make_room(&mut self) {
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
        } else if self.filled == self.inbox.len() {
            self.inbox.copy_within(self.taken.., 0);
            (self.taken, self.filled) = (0, self.filled.saturating_sub(self.taken));
        }
    }

    /// Reads what has come; false at the end of the stream.
    fn read_ready(&mut self) -> bool {
        self.make_room();
        match self.transport.read_ready(self.inbox.get_mut(self.filled..).unwrap_or_default()) {
            Ok(read) => {
                self.filled = self.filled.saturating_add(read);
                read > 0
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Waits for the answer to a request that was parked; `None` if the link has ended or the client has gone.
    pub(super) fn wait_for_answer(&mut self) -> Option<Reply> {
        loop {
            // Before the look at the answer, so that a wake after the look is kept for the wait.
            self.link.waker()?.drain();
            if self.link.is_ended() {
                return None;
            }
            if let Some(reply) = self.link.take_answer() {
                return Some(reply);
            }
            self.wait_for_peer(Deadline::after(LONG))?;
        }
    }

    /// Waits until something happens or the deadline has passed. What the client sends meanwhile is read as far as there
    /// is room, since only a read tells that it has gone: then `None`.
    fn wait_for_peer(&mut self, deadline: Deadline) -> Option<Readiness> {
        let room = self.ahead().len() < self.inbox.len();
        // Without room only breakage is of interest, which poll always tells.
        let events = if room { PollFlags::IN } else { PollFlags::empty() };
        let waited = wait_for(self.link.socket.as_fd(), events, None, self.link.waker(), deadline).ok()?;
        if waited == Readiness::Ready && !(room && self.read_ready()) {
            return None;
        }
        Some(waited)
    }

    /// Lets time pass between two pieces of an answer.
    pub(super) fn pause(&mut self, time: Duration) -> Result<()> {
        let deadline = Deadline::after(time);
        while !deadline.has_passed() {
            match self.wait_for_peer(deadline) {
                Some(Readiness::Woken) => self.link.waker().into_iter().for_each(Waker::drain),
                Some(_) => {}
                None => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        Ok(())
    }

    /// Writes all slices.
    pub(super) fn write(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.transport.write_vectored(slices) {
                Ok(0) => return Err(Error::protocol("the connection takes no more bytes")),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(error, "writing an answer")),
            }
        }
        self.transport.flush().map_err(|error| Error::io(error, "writing an answer"))
    }
}

fn some(read: usize) -> io::Result<usize> {
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}

#[cold]
fn broken(error: io::Error) -> Error {
    Error::io(error, "reading a request")
}
