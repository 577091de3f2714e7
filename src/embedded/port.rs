//! The ports of the brokers, which are the cluster's as long as it lives: nobody else gets one while its broker is stopped.

use crate::{Error, Result};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Until there are so many connections that were not accepted yet, the kernel takes new ones in.
const BACKLOG: i32 = 1024;

/// Keeps a port: a socket that is bound there and never listens, so that clients are refused as by a broker that is dead.
///
/// Only where several sockets may be bound to one port while at most one listens, as on Linux.
#[derive(Debug)]
pub(super) struct Reservation {
    _socket: Socket,
}

/// Binds a free port on loopback, or this one if it is not 0, and keeps it.
pub(super) fn reserve(port: u16) -> Result<(TcpListener, Option<Reservation>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let reserved = bound(address).and_then(|socket| {
        let reservation = if cfg!(target_os = "linux") {
            // Before the first listens: afterwards nothing else can be bound there.
            let address = socket.local_addr()?.as_socket().unwrap_or(address);
            Some(Reservation { _socket: bound(address)? })
        } else {
            None
        };
        Ok((listen(socket)?, reservation))
    });
    reserved.map_err(|error| failed(error, address))
}

/// Listens again on a port that was reserved.
pub(super) fn reopen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    bound(address).and_then(listen).map_err(|error| failed(error, address))
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Connections that have ended do not keep a port, nor does the reservation.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn failed(error: io::Error, address: SocketAddr) -> Error {
    Error::io(error, &format!("binding {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_whose_broker_is_stopped_refuses_clients_and_is_nobody_elses() {
        let (listener, reservation) = reserve(0).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(reserve(address.port()).is_err(), "a running broker has it");
        assert!(TcpStream::connect(address).is_ok());
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // A socket that may not share a port stands for one that looks for a free port: that never shares one.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert_eq!(other.bind(&address.into()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let again = reopen(address.port()).unwrap();
        assert!(TcpStream::connect(address).is_ok());
        drop((again, reservation));
        assert!(other.bind(&address.into()).is_ok(), "free with the end of the cluster");
    }
}
