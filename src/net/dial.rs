//! From a host name and a port to a connected socket, under one deadline.

use super::stream::wait_for;
use super::{Deadline, Interrupt, Readiness};
use crate::{Error, ErrorKind, Result};
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Look-ups that have not come back. The system's resolver can't be interrupted, so a hung one is left behind.
static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
const MAX_LOOKUPS: usize = 16;

/// Connects to the first of the host's addresses that accepts. The time is shared fairly between the addresses.
pub(super) fn connect(host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<TcpStream> {
    if port == 0 {
        return Err(Error::new(ErrorKind::Network, "port 0 can't be connected to"));
    }
    let addresses = resolve(host, port, interrupt, deadline)?;
    let mut last = None;
    let count = addresses.len();
    for (tried, address) in addresses.into_iter().enumerate() {
        let share = deadline.remaining() / u32::try_from(count - tried).unwrap_or(1);
        match connect_one(address, interrupt, deadline.within(share)) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Network, format!("{host} has no address"))))
}

/// All addresses of a name, asked anew at every dial so that a broker may move.
fn resolve(host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |why: String| Error::new(ErrorKind::Network, format!("looking up {host}: {why}"));
    if LOOKUPS.fetch_add(1, Ordering::SeqCst) >= MAX_LOOKUPS {
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        return Err(failed("too many look-ups are hanging".into()));
    }
    // Bound 1: the one answer, which must not block a thread that nobody waits for any more.
    let (answer, answered) = crossbeam_channel::bounded(1);
    let name = bare.to_owned();
    let spawned = std::thread::Builder::new().name("kafka-resolve".into()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        let _ = answer.send(found);
    });
    if let Err(error) = spawned {
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        return Err(Error::new(ErrorKind::Thread, format!("starting kafka-resolve: {error}")));
    }
    crossbeam_channel::select! {
        recv(answered) -> found => match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Ok(Ok(_)) => Err(failed("no address".into())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("the look-up died".into())),
        },
        recv(interrupt.channel()) -> _ => Err(Error::new(ErrorKind::Closed, "closed while looking up a host name")),
        default(deadline.remaining()) => Err(Error::new(ErrorKind::Timeout, format!("looking up {host} took too long"))),
    }
}

fn connect_one(address: SocketAddr, interrupt: &Interrupt, deadline: Deadline) -> Result<TcpStream> {
    let refused = |error: std::io::Error| Error::io(error, &format!("connecting to {address}"));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(refused)?;
    socket.set_nonblocking(true).map_err(refused)?;
    // A peer that vanished without a word is noticed even on a connection that only waits.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60))).map_err(refused)?;
    match socket.connect(&address.into()) {
        Ok(()) => return Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(refused(error)),
    }
    match wait_for(socket.as_fd(), PollFlags::OUT, Some(interrupt), None, deadline)? {
        Readiness::TimedOut => {
            Err(Error::new(ErrorKind::Timeout, format!("connecting to {address}: no answer before the deadline")))
        }
        Readiness::Ready | Readiness::Woken => match socket.take_error().map_err(refused)? {
            Some(error) => Err(refused(error)),
            None => Ok(socket.into()),
        },
    }
}
