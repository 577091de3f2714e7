//! A non-blocking socket whose waits end at a deadline or an interrupt.

#[cfg(feature = "tls")]
use super::tls::Session;
use super::{Deadline, Interrupt, Waker};
use crate::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// A connected socket, with a TLS session on it or without. All its calls take an absolute deadline and end early when the
/// owner is interrupted.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    interrupt: Interrupt,
    #[cfg(feature = "tls")]
    tls: Option<Box<Session>>,
}

impl Stream {
    /// Takes over a connected socket.
    pub(crate) fn new(socket: OwnedFd, interrupt: Interrupt) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            interrupt,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    pub(crate) fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// Appends what has arrived to `buffer`, at most its spare capacity, and waits until something has.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<usize> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.read_tls(buffer, deadline);
        }
        self.read_socket(buffer, deadline)
    }

    fn read_socket(&self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<usize> {
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
    pub(crate) fn write_all(&mut self, slices: &mut [IoSlice<'_>], deadline: Deadline) -> Result<()> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.write_tls(slices, deadline);
        }
        self.write_socket(slices, deadline)
    }

    fn write_socket(&self, mut slices: &mut [IoSlice<'_>], deadline: Deadline) -> Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match rustix::io::writev(&self.socket, slices) {
                Ok(0) => return Err(Error::new(ErrorKind::Network, "the connection takes no more bytes")),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT, deadline, "writing a request")?,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io(error.into(), "writing a request")),
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
    pub(crate) fn wait_readable(&mut self, waker: Option<&Waker>, deadline: Deadline) -> Result<Readiness> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.wait_readable_tls(waker, deadline);
        }
        wait_for(self.socket.as_fd(), PollFlags::IN, Some(&self.interrupt), waker, deadline)
    }

    /// Whether bytes or an end have arrived: on an idle connection either means that it is of no more use.
    pub(crate) fn has_input(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.has_input_tls();
        }
        let now = Deadline::at(std::time::Instant::now());
        !matches!(wait_for(self.socket.as_fd(), PollFlags::IN, None, None, now), Ok(Readiness::TimedOut))
    }
}

/// The same over TLS. What the socket brings may be no data at all, such as new keys or a session ticket.
#[cfg(feature = "tls")]
impl Stream {
    /// Agrees with the peer on keys, and checks who it is.
    pub(super) fn with_tls(mut self, session: Session, deadline: Deadline) -> Result<Self> {
        self.tls = Some(Box::new(session));
        loop {
            let agreed = self.session()?.has_plain();
            // Before an error is returned, the peer is told of it.
            let flushed = self.flush_tls(deadline);
            let has_plain = agreed?;
            flushed?;
            if has_plain || !self.session()?.is_handshaking() {
                return Ok(self);
            }
            self.fill_tls(deadline).map_err(|error| match error.kind() {
                ErrorKind::Network => {
                    let message = "the connection ended during the TLS handshake: is this a TLS port?";
                    Error::new(ErrorKind::Network, message).with_source(error)
                }
                _ => error,
            })?;
        }
    }

    fn read_tls(&mut self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<usize> {
        loop {
            let taken = self.session()?.take_plain(buffer);
            self.flush_tls(deadline)?;
            match taken? {
                0 if self.session()?.is_closed() => {
                    return Err(Error::new(ErrorKind::Network, "the broker closed the connection"));
                }
                0 => self.fill_tls(deadline)?,
                n => return Ok(n),
            }
        }
    }

    fn write_tls(&mut self, mut slices: &mut [IoSlice<'_>], deadline: Deadline) -> Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            self.session()?.encrypt(&mut slices)?;
            if let Err(error) = self.flush_tls(deadline) {
                return Err(self.last_words().unwrap_or(error));
            }
        }
        Ok(())
    }

    /// A peer that refuses this client says so and closes; what it said may be here although writing has failed.
    fn last_words(&mut self) -> Option<Error> {
        while matches!(rustix::io::read(&self.socket, rustix::buffer::spare_capacity(self.tls.as_mut()?.incoming())), Ok(n) if n > 0)
        {
            if let Err(error) = self.tls.as_mut()?.has_plain() {
                return Some(error);
            }
        }
        None
    }

    fn wait_readable_tls(&mut self, waker: Option<&Waker>, deadline: Deadline) -> Result<Readiness> {
        loop {
            if self.has_input_tls() {
                return Ok(Readiness::Ready);
            }
            match wait_for(self.socket.as_fd(), PollFlags::IN, Some(&self.interrupt), waker, deadline)? {
                Readiness::Ready => {}
                other => return Ok(other),
            }
        }
    }

    fn has_input_tls(&mut self) -> bool {
        let Some(session) = self.tls.as_deref_mut() else { return true };
        loop {
            // An error or an end is for the next read to tell.
            if session.has_plain().unwrap_or(true) || session.is_closed() {
                return true;
            }
            match rustix::io::read(&self.socket, rustix::buffer::spare_capacity(session.incoming())) {
                Ok(n) if n > 0 => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return false,
                _ => return true,
            }
        }
    }

    /// Reads from the socket what there is, and waits until there is something.
    fn fill_tls(&mut self, deadline: Deadline) -> Result<()> {
        let Some(mut session) = self.tls.take() else { return Ok(()) };
        let outcome = self.read_socket(session.incoming(), deadline);
        self.tls = Some(session);
        outcome.map(|_| ())
    }

    fn flush_tls(&mut self, deadline: Deadline) -> Result<()> {
        let Some(session) = self.tls.as_deref() else { return Ok(()) };
        let pending = session.outgoing().len();
        if pending > 0 {
            self.write_socket(&mut [IoSlice::new(session.outgoing())], deadline)?;
            self.session()?.written(pending);
        }
        Ok(())
    }

    fn session(&mut self) -> Result<&mut Session> {
        self.tls.as_deref_mut().ok_or_else(|| Error::tls("there is no TLS session"))
    }
}

#[cfg(feature = "tls")]
impl Drop for Stream {
    /// Says goodbye, as far as the socket takes it at once.
    fn drop(&mut self) {
        if let Some(session) = self.tls.as_deref_mut() {
            session.queue_close();
            let _ = rustix::io::write(&self.socket, session.outgoing());
        }
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
