//! From a host name and a port to a connected TCP socket, under one deadline.

use super::aside::aside;
use super::dialer::SocketSettings;
use super::stream::wait_for;
use super::{Deadline, Interrupt, Readiness};
use crate::{Error, ErrorKind, Result};
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;

/// Connects to the first of the host's addresses that accepts. The time is shared fairly between the addresses.
pub(super) fn connect(
    host: &str,
    port: u16,
    settings: &SocketSettings,
    interrupt: &Interrupt,
    deadline: Deadline,
) -> Result<TcpStream> {
    let addresses = resolve(host, port, interrupt, deadline)?;
    connect_any(addresses, settings, interrupt, deadline)
}

fn connect_any(
    addresses: Vec<SocketAddr>,
    settings: &SocketSettings,
    interrupt: &Interrupt,
    deadline: Deadline,
) -> Result<TcpStream> {
    let mut failures: Vec<Error> = Vec::new();
    let left = (1..=addresses.len()).rev();
    for (left, address) in left.zip(addresses) {
        let share = deadline.remaining().div_f64(left as f64);
        match connect_one(address, settings, interrupt, deadline.within(share)) {
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

/// All addresses of a name, asked anew at every dial so that a broker may move. The system's resolver can't be
/// interrupted, so each look-up runs in a thread `kafka-resolve` of its own.
fn resolve(host: &str, port: u16, interrupt: &Interrupt, deadline: Deadline) -> Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = bare.to_owned();
    let doing = format!("looking up {host}");
    let found = aside("kafka-resolve", &doing, interrupt, deadline, move || {
        (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
    })?;
    some_addresses(host, found)
}

fn some_addresses(host: &str, found: io::Result<Vec<SocketAddr>>) -> Result<Vec<SocketAddr>> {
    match found {
        Ok(addresses) if addresses.is_empty() => Err(failed(host, "no address")),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(failed(host, &error.to_string())),
    }
}

fn failed(host: &str, why: &str) -> Error {
    Error::new(ErrorKind::Network, format!("looking up {host}: {why}"))
}

fn connect_one(
    address: SocketAddr,
    settings: &SocketSettings,
    interrupt: &Interrupt,
    deadline: Deadline,
) -> Result<TcpStream> {
    let refused = |error: io::Error| Error::io(error, &format!("connecting to {address}"));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(refused)?;
    socket.set_nonblocking(true).map_err(refused)?;
    settings.size_buffers(SockRef::from(&socket)).map_err(refused)?;
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
    use std::time::Duration;

    #[test]
    fn c14_a_name_without_address_is_an_error_that_names_it() {
        for found in [Ok(Vec::new()), Err(io::ErrorKind::NotFound.into())] {
            let error = some_addresses("no.such.host", found).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network);
            assert!(error.to_string().contains("no.such.host"), "{error}");
        }
    }

    #[test]
    fn c15_the_next_address_is_tried_and_all_failures_are_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let refusing: Vec<SocketAddr> = vec!["127.0.0.9:9".parse().unwrap(), "127.0.0.8:9".parse().unwrap()];
        let interrupt = Interrupt::new().unwrap();
        let (settings, far) = (SocketSettings::default(), Deadline::after(Duration::from_secs(10)));
        let some = [refusing[0], refusing[1], listening].to_vec();
        assert_eq!(connect_any(some, &settings, &interrupt, far).unwrap().peer_addr().unwrap(), listening);
        let error = connect_any(refusing, &settings, &interrupt, far).unwrap_err().to_string();
        assert!(error.contains("127.0.0.9:9") && error.contains("127.0.0.8:9"), "{error}");
    }

    #[test]
    fn c15_a_name_of_both_families_is_reached_where_only_one_of_them_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let six = SocketAddr::new("::1".parse().unwrap(), listening.port());
        let (settings, far) = (SocketSettings::default(), Deadline::after(Duration::from_secs(10)));
        let interrupt = Interrupt::new().unwrap();
        for order in [vec![six, listening], vec![listening, six]] {
            let reached = connect_any(order, &settings, &interrupt, far).unwrap();
            assert_eq!(reached.peer_addr().unwrap(), listening);
        }
    }

    #[test]
    fn buffers_have_the_sizes_that_were_asked_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let far = Deadline::after(Duration::from_secs(10));
        let sizes = |settings: SocketSettings| {
            let to = vec![listener.local_addr().unwrap()];
            let socket = connect_any(to, &settings, &Interrupt::new().unwrap(), far).unwrap();
            let socket = SockRef::from(&socket);
            (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap())
        };
        let set = SocketSettings { send_buffer: Some(20_000), receive_buffer: Some(30_000), ..Default::default() };
        let (send, receive) = sizes(set);
        // Linux doubles them for its own needs.
        assert!((20_000..=40_000).contains(&send) && (30_000..=60_000).contains(&receive), "{send} {receive}");
        let (send, receive) = sizes(SocketSettings::default());
        assert!(send > 40_000 && receive > 60_000, "the system's: {send} {receive}");
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
