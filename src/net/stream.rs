//! A non-blocking socket whose waits end at a deadline or an interrupt.

use super::{Deadline, Interrupt, Waker};
use crate::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The socket can be read or written, or it broke.
    Ready,
    /// The waker was used.
    Woken,
    /// The deadline passed.
    TimedOut,
}

/// A connected socket. All its calls take an absolute deadline and end early when the owner is interrupted.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    interrupt: Interrupt,
}

impl Stream {
    /// Takes over a connected socket.
    pub(crate) fn new(socket: TcpStream, interrupt: Interrupt) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, interrupt })
    }

    pub(crate) fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// Appends what has arrived to `buffer`, at most its spare capacity, and waits until something has.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<usize> {
        loop {
            match rustix::io::read(&self.socket, rustix::buffer::spare_capacity(buffer)) {
                Ok(0) => return Err(Error::new(ErrorKind::Network, "the broker closed the connection")),
                Ok(n) => return Ok(n),
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::IN, deadline, "waiting for an answer")?,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io(error.into(), "reading")),
            }
            // A peer that drips bytes must not outlive the deadline.
            if deadline.has_passed() {
                return Err(timed_out("waiting for an answer"));
            }
        }
    }

    /// Writes all slices.
    pub(crate) fn write_all(&mut self, mut slices: &mut [IoSlice<'_>], deadline: Deadline) -> Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.socket.write_vectored(slices) {
                Ok(0) => return Err(Error::new(ErrorKind::Network, "the connection takes no more bytes")),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, deadline, "writing a request")?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(error, "writing a request")),
            }
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags, deadline: Deadline, doing: &str) -> Result<()> {
        match wait_for(self.socket.as_fd(), events, Some(&self.interrupt), None, deadline)? {
            Readiness::TimedOut => Err(timed_out(doing)),
            Readiness::Ready | Readiness::Woken => Ok(()),
        }
    }

    /// Waits until there is something to read, the waker is used, or the deadline has passed.
    pub(crate) fn wait_readable(&self, waker: Option<&Waker>, deadline: Deadline) -> Result<Readiness> {
        wait_for(self.socket.as_fd(), PollFlags::IN, Some(&self.interrupt), waker, deadline)
    }

    /// Whether bytes or an end have arrived: on an idle connection either means that it is of no more use.
    pub(crate) fn has_input(&self) -> bool {
        let now = Deadline::at(std::time::Instant::now());
        !matches!(wait_for(self.socket.as_fd(), PollFlags::IN, None, None, now), Ok(Readiness::TimedOut))
    }
}

#[cold]
fn timed_out(doing: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("the deadline passed while {doing}"))
}

/// Waits for the socket, the waker or the interrupt (an error of kind `Closed`) until the deadline.
pub(crate) fn wait_for(
    socket: BorrowedFd<'_>,
    events: PollFlags,
    interrupt: Option<&Interrupt>,
    waker: Option<&Waker>,
    deadline: Deadline,
) -> Result<Readiness> {
    // A socket that is not wanted stands in for an absent one with no event asked, which only ever reports breakage.
    let absent = || PollFd::from_borrowed_fd(socket, PollFlags::empty());
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(socket, events),
            interrupt.map_or_else(absent, |i| PollFd::from_borrowed_fd(i.fd(), PollFlags::IN)),
            waker.map_or_else(absent, |w| PollFd::from_borrowed_fd(w.fd(), PollFlags::IN)),
        ];
        let remaining = deadline.remaining();
        let timeout = Timespec {
            tv_sec: remaining.as_secs().try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: remaining.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(Readiness::TimedOut),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(Error::io(error.into(), "waiting for a socket")),
        }
        if interrupt.is_some_and(Interrupt::is_triggered) {
            return Err(Error::new(ErrorKind::Closed, "closed while waiting for a broker"));
        }
        if !fds[0].revents().is_empty() {
            return Ok(Readiness::Ready);
        }
        if waker.is_some() && !fds[2].revents().is_empty() {
            return Ok(Readiness::Woken);
        }
    }
}
