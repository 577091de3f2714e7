//! The way to a broker: straight, by a dialler of the user's, through a proxy.

use super::aside::aside;
use super::stream::Stream;
use super::{Deadline, Interrupt, Proxy, dial};
use crate::{Error, ErrorKind, Result};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An error of a dialler.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A peer that vanished without a word is noticed even on a connection that only waits.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// Makes connections in the client's place: through a tunnel, in a network namespace, to a local port that stands for the
/// broker.
///
/// What it returns is a connected stream socket that nothing else reads or writes, of any family: a
/// [`TcpStream`](std::net::TcpStream) or [`UnixStream`](std::os::unix::net::UnixStream), turned into an [`OwnedFd`]. The client
/// makes it non-blocking and waits for it with `poll(2)`, so it must be a descriptor; a stream that is something else, such
/// as a session of another protocol, needs a socket pair and a thread between. TLS and SASL are the client's and come
/// on top of it, for the broker's own name.
///
/// A closure `Fn(&str, u16, Instant) -> Result<S, E>` is a dialler, where `S` can become an `OwnedFd`:
///
/// ```no_run
/// use std::net::TcpStream;
/// use std::time::Instant;
///
/// # fn main() -> sarameya::Result<()> {
/// let client = sarameya::Client::builder()
///     .bootstrap_servers("broker:9092")
///     .dialer(|_host: &str, port: u16, _deadline: Instant| TcpStream::connect(("127.0.0.1", port)))
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub trait Dial: Send + Sync {
    /// Connects to a host's port, as the bootstrap addresses and the brokers have them, before the deadline.
    ///
    /// It runs on a thread `kafka-dial` of its own, one for each attempt. At the deadline, and when the client is closed, that
    /// thread is left behind and its stream dropped, so a dialler that hangs holds up nobody else; but after 64 of them no more
    /// are started. An error or a panic fails the attempt with an error of kind [`Network`](ErrorKind::Network), or
    /// [`Timeout`](ErrorKind::Timeout) for an I/O error of that kind, which names host, port and the dialler's words.
    fn dial(&self, host: &str, port: u16, deadline: Instant) -> Result<OwnedFd, BoxError>;
}

impl<F, S, E> Dial for F
where
    F: Fn(&str, u16, Instant) -> Result<S, E> + Send + Sync,
    S: Into<OwnedFd>,
    E: Into<BoxError>,
{
    fn dial(&self, host: &str, port: u16, deadline: Instant) -> Result<OwnedFd, BoxError> {
        self(host, port, deadline).map(Into::into).map_err(Into::into)
    }
}

/// What all connections of a client have in common below TLS.
#[derive(Clone, Default)]
pub(crate) struct Dialer {
    pub(crate) sockets: SocketSettings,
    pub(crate) proxy: Option<Arc<Proxy>>,
    pub(crate) custom: Option<Arc<dyn Dial>>,
}

/// How sockets are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketSettings {
    pub(crate) keepalive: bool,
    pub(crate) nodelay: bool,
    /// In bytes; `None` is what the system thinks right, which is more where the way is long.
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self { keepalive: true, nodelay: true, send_buffer: None, receive_buffer: None }
    }
}

impl SocketSettings {
    /// The buffers, which count from the handshake on, so that this comes before connecting.
    pub(super) fn size_buffers(&self, socket: SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }

    fn set_up(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_TIME))?;
        }
        Ok(())
    }
}

impl Dialer {
    /// A stream to the host's port, through the proxy if there is one.
    pub(super) fn open(&self, host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<Stream> {
        if port == 0 {
            return Err(Error::new(ErrorKind::Network, "port 0 can't be connected to"));
        }
        let Some(proxy) = &self.proxy else { return self.connect(host, port, interrupt, deadline) };
        let reached = self.connect(proxy.host(), proxy.port(), interrupt, deadline);
        let mut stream = reached.map_err(|error| {
            Error::new(error.kind(), format!("the proxy {proxy} can't be reached: {error}")).with_source(error)
        })?;
        proxy.ask(&mut stream, host, port, deadline)?;
        Ok(stream)
    }

    fn connect(&self, host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<Stream> {
        let failed = |error: io::Error| Error::io(error, "setting up a socket");
        let socket = match &self.custom {
            None => {
                let socket = dial::connect(host, port, &self.sockets, interrupt, deadline)?;
                self.sockets.set_up(SockRef::from(&socket)).map_err(failed)?;
                OwnedFd::from(socket)
            }
            Some(custom) => {
                let socket = dial_custom(custom, host, port, interrupt, deadline)?;
                // It may be no TCP socket at all, which has no such options.
                if let Err(error) = self.sockets.set_up(SockRef::from(&socket)) {
                    log::debug!("{host}: the dialler's socket does not take TCP's options: {error}");
                }
                socket
            }
        };
        Stream::new(socket, interrupt.clone()).map_err(failed)
    }
}

fn dial_custom(
    custom: &Arc<dyn Dial>,
    host: &str,
    port: u16,
    interrupt: &Interrupt,
    deadline: Deadline,
) -> Result<OwnedFd> {
    let doing = format!("dialling {host} port {port}");
    let (custom, name) = (custom.clone(), host.to_owned());
    let dialled =
        aside("kafka-dial", &doing, interrupt, deadline, move || custom.dial(&name, port, deadline.instant()))?;
    dialled.map_err(|error| {
        let timed_out = |io: &io::Error| matches!(io.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        let late = error.downcast_ref::<io::Error>().is_some_and(timed_out);
        let kind = if late { ErrorKind::Timeout } else { ErrorKind::Network };
        Error::new(kind, format!("{doing}: {error}")).with_boxed_source(error)
    })
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("sockets", &self.sockets)
            .field("proxy", &self.proxy)
            .field("custom", &self.custom.is_some())
            .finish()
    }
}
