//! From a host name and a port to a connected socket, under one deadline.

use super::stream::wait_for;
use super::{Deadline, Interrupt, Readiness};
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::Receiver;
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Look-ups that have not come back. The system's resolver can't be interrupted, so a hung one is left behind.
static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
/// More than all threads of several clients dial at the same moment, few enough to be no burden if all of them hang.
const MAX_LOOKUPS: usize = 64;

/// Connects to the first of the host's addresses that accepts. The time is shared fairly between the addresses.
pub(super) fn connect(host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<TcpStream> {
    if port == 0 {
        return Err(Error::new(ErrorKind::Network, "port 0 can't be connected to"));
    }
    let addresses = resolve(host, port, interrupt, deadline)?;
    connect_any(addresses, interrupt, deadline)
}

fn connect_any(addresses: Vec<SocketAddr>, interrupt: &Interrupt, deadline: Deadline) -> Result<TcpStream> {
    let mut failures: Vec<Error> = Vec::new();
    let count = addresses.len();
    for (tried, address) in addresses.into_iter().enumerate() {
        let share = deadline.remaining() / u32::try_from(count - tried).unwrap_or(1);
        match connect_one(address, interrupt, deadline.within(share)) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    let Some(last) = failures.pop() else {
        return Err(Error::new(ErrorKind::Network, "no address to connect to"));
    };
    if failures.is_empty() {
        return Err(last);
    }
    let all: Vec<String> = failures.iter().chain([&last]).map(Error::to_string).collect();
    Err(Error::new(last.kind(), all.join("; ")).with_source(last))
}

/// All addresses of a name, asked anew at every dial so that a broker may move.
///
/// Each look-up runs in a thread `kafka-resolve` of its own, at most [`MAX_LOOKUPS`] of them. It owns nothing but the
/// name, and ends when the system's resolver comes back, whether or not anybody still waits for the answer.
fn resolve(host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if LOOKUPS.fetch_add(1, Ordering::SeqCst) >= MAX_LOOKUPS {
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        return Err(failed(host, "too many look-ups are hanging"));
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
    await_addresses(host, &answered, interrupt, deadline)
}

fn await_addresses(
    host: &str,
    answered: &Receiver<io::Result<Vec<SocketAddr>>>,
    interrupt: &Interrupt,
    deadline: Deadline,
) -> Result<Vec<SocketAddr>> {
    let why = crossbeam_channel::select! {
        recv(answered) -> found => match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
            Ok(Ok(_)) => "no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the look-up died".to_owned(),
        },
        recv(interrupt.channel()) -> _ => {
            return Err(Error::new(ErrorKind::Closed, format!("closed while looking up {host}")));
        }
        default(deadline.remaining()) => {
            return Err(Error::new(ErrorKind::Timeout, format!("looking up {host} took too long")));
        }
    };
    Err(failed(host, &why))
}

fn failed(host: &str, why: &str) -> Error {
    Error::new(ErrorKind::Network, format!("looking up {host}: {why}"))
}

fn connect_one(address: SocketAddr, interrupt: &Interrupt, deadline: Deadline) -> Result<TcpStream> {
    let refused = |error: io::Error| Error::io(error, &format!("connecting to {address}"));
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
            None => {
                let socket = TcpStream::from(socket);
                // A dial to a port of this machine that nobody listens on can be given that very port and reach itself.
                if socket.local_addr().is_ok_and(|local| local == address) {
                    return Err(refused(io::ErrorKind::ConnectionRefused.into()));
                }
                Ok(socket)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_a_look_up_that_hangs_ends_with_the_interrupt_and_at_the_deadline() {
        // Never answers while the sender lives.
        let (_sender, answered) = crossbeam_channel::bounded(1);
        let interrupt = Interrupt::new().unwrap();
        let soon = Deadline::after(Duration::from_millis(30));
        let late = await_addresses("h", &answered, &interrupt, soon).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                interrupt.trigger();
            });
            let far = Deadline::after(Duration::from_secs(60));
            let closed = await_addresses("h", &answered, &interrupt, far).unwrap_err();
            assert_eq!(closed.kind(), ErrorKind::Closed);
        });
    }

    #[test]
    fn c14_a_name_without_address_is_an_error_that_names_it() {
        let (sender, answered) = crossbeam_channel::bounded(1);
        sender.send(Ok(Vec::new())).unwrap();
        let soon = Deadline::after(Duration::from_secs(10));
        let error = await_addresses("no.such.host", &answered, &Interrupt::new().unwrap(), soon).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(error.to_string().contains("no.such.host"), "{error}");
    }

    #[test]
    fn c15_the_next_address_is_tried_and_all_failures_are_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let refusing: Vec<SocketAddr> = vec!["127.0.0.9:9".parse().unwrap(), "127.0.0.8:9".parse().unwrap()];
        let interrupt = Interrupt::new().unwrap();
        let far = Deadline::after(Duration::from_secs(10));
        let some = [refusing[0], refusing[1], listening].to_vec();
        assert_eq!(connect_any(some, &interrupt, far).unwrap().peer_addr().unwrap(), listening);
        let error = connect_any(refusing, &interrupt, far).unwrap_err().to_string();
        assert!(error.contains("127.0.0.9:9") && error.contains("127.0.0.8:9"), "{error}");
    }

    #[test]
    fn addresses_need_no_look_up() {
        let far = Deadline::after(Duration::from_secs(10));
        let interrupt = Interrupt::new().unwrap();
        // With the interrupt triggered a look-up would fail.
        interrupt.trigger();
        for (host, expected) in [("::1", "[::1]:9"), ("[::1]", "[::1]:9"), ("127.0.0.1", "127.0.0.1:9")] {
            assert_eq!(resolve(host, 9, &interrupt, far).unwrap(), [expected.parse::<SocketAddr>().unwrap()]);
        }
    }
}
