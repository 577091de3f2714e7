//! A socket whose waits end at a deadline or an interrupt.

#[cfg(feature = "tls")]
use super::tls::Session;
use super::{Deadline, Interrupt, Waker};
use crate::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg, sockopt};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The longest that [`Stream::read_blocking`] waits; the system may round it up to its next tick.
const BLOCKING_READ: Duration = Duration::from_millis(5);
/// More slices in one call are refused by the system (`IOV_MAX`).
const SLICES_MAX: usize = 1024;
/// All calls but one.
const READ_NOW: RecvFlags = RecvFlags::DONTWAIT;
const WRITE_NOW: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

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
        // Each call says for itself whether it may block.
        rustix::io::ioctl_fionbio(&socket, false)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(BLOCKING_READ))?;
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
            match received(recv(&self.socket, rustix::buffer::spare_capacity(buffer), READ_NOW))? {
                Some(n) => return Ok(n),
                None => self.wait(PollFlags::IN, deadline, "waiting for an answer")?,
            }
            // A peer that drips bytes must not outlive the deadline.
            if deadline.has_passed() {
                return Err(timed_out("waiting for an answer"));
            }
        }
    }

    /// Appends what arrives within a few milliseconds, at most the spare capacity; `None` if that is nothing. Neither an
    /// interrupt nor a waker ends it, which spares the poll. Always `None` over TLS.
    pub(crate) fn read_blocking(&mut self, buffer: &mut Vec<u8>) -> Result<Option<usize>> {
        if !self.can_read_blocking() {
            return Ok(None);
        }
        received(recv(&self.socket, rustix::buffer::spare_capacity(buffer), RecvFlags::empty()))
    }

    pub(crate) fn can_read_blocking(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_none();
        #[cfg(not(feature = "tls"))]
        true
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
            let some = slices.get(..SLICES_MAX).unwrap_or(slices);
            match sendmsg(&self.socket, some, &mut SendAncillaryBuffer::default(), WRITE_NOW) {
                Ok(0) => return Err(Error::new(ErrorKind::Network, "the connection takes no more bytes")),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline, "writing a request")?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::io(error.into(), "writing a request")),
            }
        }
        Ok(())
    }

    /// What was read held a secret, and no copy of it is to stay on its way.
    pub(crate) fn wipe_read(&mut self) {
        #[cfg(feature = "tls")]
        if let Some(session) = self.tls.as_deref_mut() {
            session.wipe_taken();
        }
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
        !matches!(recv(&self.socket, &mut [0; 1], READ_NOW | RecvFlags::PEEK), Err(Errno::AGAIN))
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
        while matches!(recv(&self.socket, rustix::buffer::spare_capacity(self.tls.as_mut()?.incoming()), READ_NOW), Ok((_, n)) if n > 0)
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
            match recv(&self.socket, rustix::buffer::spare_capacity(session.incoming()), READ_NOW) {
                Ok((_, n)) if n > 0 => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
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
            let _ = rustix::net::send(&self.socket, session.outgoing(), WRITE_NOW);
        }
    }
}

/// What a read brought; `None` is nothing so far.
fn received<T>(read: rustix::io::Result<(T, usize)>) -> Result<Option<usize>> {
    match read {
        Ok((_, 0)) => Err(Error::new(ErrorKind::Network, "the broker closed the connection")),
        Ok((_, n)) => Ok(Some(n)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(Error::io(error.into(), "reading")),
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
    let also = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    loop {
        let first = PollFd::from_borrowed_fd(socket, events);
        // What is not wanted costs the system nothing if it is not in the list.
        let (mut fds, wanted) = match (interrupt, waker) {
            (Some(interrupt), Some(waker)) => ([first, also(waker.fd()), also(interrupt.fd())], 3),
            (Some(interrupt), None) => ([first, also(interrupt.fd()), also(socket)], 2),
            (None, Some(waker)) => ([first, also(waker.fd()), also(socket)], 2),
            (None, None) => ([first, also(socket), also(socket)], 1),
        };
        let fds = fds.get_mut(..wanted).unwrap_or_default();
        let remaining = deadline.remaining();
        let timeout = Timespec {
            tv_sec: remaining.as_secs().try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: remaining.subsec_nanos().into(),
        };
        match poll(fds, Some(&timeout)) {
            Ok(0) => return Ok(Readiness::TimedOut),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(Error::io(error.into(), "waiting for a socket")),
        }
        if interrupt.is_some_and(Interrupt::is_triggered) {
            return Err(Error::new(ErrorKind::Closed, "closed while waiting for a broker"));
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next().unwrap_or_default() {
            return Ok(Readiness::Ready);
        }
        if waker.is_some() && ready.next().unwrap_or_default() {
            return Ok(Readiness::Woken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Stream, UnixStream) {
        let (own, peer) = UnixStream::pair().unwrap();
        (Stream::new(own.into(), Interrupt::new().unwrap()).unwrap(), peer)
    }

    #[test]
    fn a_blocking_read_ends_soon_without_bytes_and_at_once_with_some_or_an_end() {
        let (mut stream, mut peer) = pair();
        let mut buffer = Vec::with_capacity(8);
        assert_eq!(stream.read_blocking(&mut buffer).unwrap(), None);
        peer.write_all(b"some").unwrap();
        assert_eq!(stream.read_blocking(&mut buffer).unwrap(), Some(4));
        assert_eq!(buffer, b"some");
        drop(peer);
        assert_eq!(stream.read_blocking(&mut buffer).unwrap_err().kind(), ErrorKind::Network);
    }

    #[test]
    fn bytes_that_came_and_an_end_are_input_and_stay_there() {
        let (mut stream, mut peer) = pair();
        assert!(!stream.has_input());
        peer.write_all(b"x").unwrap();
        assert!(stream.has_input() && stream.has_input());
        let mut buffer = Vec::with_capacity(8);
        assert_eq!(stream.read(&mut buffer, Deadline::after(Duration::from_secs(5))).unwrap(), 1);
        assert!(!stream.has_input());
        drop(peer);
        assert!(stream.has_input());
    }

    #[test]
    fn more_slices_than_the_system_takes_at_once_are_written_in_their_order() {
        let (mut stream, mut peer) = pair();
        let bytes: Vec<u8> = (0..SLICES_MAX * 3).map(|i| (i % 251) as u8).collect();
        let mut slices: Vec<_> = bytes.iter().map(|byte| IoSlice::new(std::slice::from_ref(byte))).collect();
        let expected = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; expected.len()];
            peer.read_exact(&mut read).unwrap();
            assert!(read == expected);
        });
        stream.write_all(&mut slices, Deadline::after(Duration::from_secs(5))).unwrap();
        reader.join().unwrap();
    }
}
