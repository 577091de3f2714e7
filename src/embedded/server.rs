//! A broker's port: who comes in.

use super::connection::{self, Connection};
use super::core::Core;
use crate::net::{Deadline, Interrupt, wait_for};
use crate::{Error, Result};
use rustix::event::PollFlags;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Accepting fails when there are no descriptors left; trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Where a listener that cannot be woken looks up by itself; its interrupt ends every wait.
const NEVER: Duration = Duration::from_secs(3600);

/// A broker that can be connected to. Dropping it closes its ports; its connections are the core's.
#[derive(Debug)]
pub(super) struct Server {
    interrupt: Interrupt,
    acceptors: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts to accept on the ports of a broker's listeners.
    pub(super) fn start(broker: i32, ports: Vec<TcpListener>, core: &Arc<Core>) -> Result<Self> {
        let interrupt = Interrupt::new().map_err(|error| Error::io(error, "making a broker's interrupt"))?;
        let mut server = Self { interrupt, acceptors: Vec::new() };
        for (listener, port) in ports.into_iter().enumerate() {
            let interrupt = server.interrupt.clone();
            let acceptor = Acceptor { broker, listener, port, core: Arc::clone(core), interrupt };
            let thread = std::thread::Builder::new()
                .name(format!("kafka-embedded-accept-{broker}"))
                .spawn(move || acceptor.run())
                .map_err(|error| Error::io(error, "starting a broker's thread"))?;
            server.acceptors.push(thread);
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.interrupt.trigger();
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
    }
}

/// The thread `kafka-embedded-accept-{broker}`, one for each listener of a running broker: it owns the listening socket
/// and starts a thread for each connection. It ends when the broker is stopped; the core ends the connections.
struct Acceptor {
    broker: i32,
    listener: usize,
    port: TcpListener,
    core: Arc<Core>,
    interrupt: Interrupt,
}

impl Acceptor {
    fn run(self) {
        while !self.interrupt.is_triggered() {
            match self.port.accept() {
                Ok((socket, peer)) => self.serve(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let deadline = Deadline::after(NEVER);
                    let _ = wait_for(self.port.as_fd(), PollFlags::IN, Some(&self.interrupt), None, deadline);
                }
                Err(error) => {
                    log::warn!("embedded broker {} can't accept: {error}", self.broker);
                    self.interrupt.wait(ACCEPT_PAUSE);
                }
            }
        }
        drop(self.port);
        self.core.drop_connections(Some(self.broker));
    }

    fn serve(&self, socket: TcpStream, peer: SocketAddr) {
        if let Err(error) = self.prepare(&socket) {
            log::debug!("embedded broker {} can't serve {peer}: {error}", self.broker);
            return;
        }
        let Some(link) = self.core.connect(self.broker, self.listener, socket) else {
            log::debug!("embedded broker {} refuses a connection from {peer}", self.broker);
            return;
        };
        let Some(transport) = self.core.entrances.get(self.listener).and_then(|entrance| entrance.open(&link)) else {
            self.core.disconnect(link.id);
            return;
        };
        let connection = Connection::new(link, transport, peer, Arc::clone(&self.core));
        let thread = std::thread::Builder::new()
            .name(format!("kafka-embedded-{}", self.broker))
            .stack_size(connection::STACK_BYTES)
            .spawn(move || connection.run());
        match thread {
            Ok(thread) => self.core.keep_thread(thread),
            // The connection has gone with the thread's closure.
            Err(error) => log::warn!("embedded broker {} can't start a thread: {error}", self.broker),
        }
    }

    /// Blocking, but not for longer than a client may be silent.
    fn prepare(&self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(self.core.limits.idle)?;
        socket.set_write_timeout(self.core.limits.idle)
    }
}
