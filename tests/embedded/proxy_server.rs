//! Proxies for the tests: SOCKS5 and HTTP CONNECT, small and strict.

use crate::support::lock;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    Socks5,
    Http,
}

/// A proxy that leads to the names it knows and nowhere else. One thread accepts, two more per connection copy bytes; they
/// end with the connections, the first when it is dropped.
pub(crate) struct ProxyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    speaks: Speaks,
    /// User and password that are asked for.
    credentials: Option<(String, String)>,
    /// Where `host:port` really is.
    names: BTreeMap<String, SocketAddr>,
    asked: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl ProxyServer {
    pub(crate) fn start(
        speaks: Speaks,
        credentials: Option<(&str, &str)>,
        names: impl IntoIterator<Item = (String, SocketAddr)>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            speaks,
            credentials: credentials.map(|(user, password)| (user.to_owned(), password.to_owned())),
            names: names.into_iter().collect(),
            asked: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (socket, shared) = (socket.unwrap(), Arc::clone(&accepting));
                std::thread::spawn(move || {
                    // A client that goes away is no concern of the proxy.
                    let _ = shared.serve(socket);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `host:port` that clients have asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for ProxyServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let target = match self.speaks {
            Speaks::Socks5 => self.socks5(&mut client)?,
            Speaks::Http => self.http(&mut client)?,
        };
        let Some(mut broker) = target else { return Ok(()) };
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (mut from, mut to) = (broker.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let copied = io::copy(&mut client, &mut broker);
        let _ = broker.shutdown(Shutdown::Both);
        copied.map(drop)
    }

    fn connect(&self, name: &str) -> Option<TcpStream> {
        lock(&self.asked).push(name.to_owned());
        TcpStream::connect(self.names.get(name)?).ok()
    }

    fn socks5(&self, client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
        let [5, count] = read(client)? else { return Ok(None) };
        let mut methods = vec![0; usize::from(count)];
        client.read_exact(&mut methods)?;
        let wanted = if self.credentials.is_some() { 2 } else { 0 };
        if !methods.contains(&wanted) {
            client.write_all(&[5, 0xff])?;
            return Ok(None);
        }
        client.write_all(&[5, wanted])?;
        if let Some((user, password)) = &self.credentials {
            let [1] = read(client)? else { return Ok(None) };
            let given = (read_text(client)?, read_text(client)?);
            if (&given.0, &given.1) != (user, password) {
                client.write_all(&[1, 1])?;
                return Ok(None);
            }
            client.write_all(&[1, 0])?;
        }
        // Names only: what a client has looked up by itself is not led anywhere.
        let [5, 1, 0, 3] = read(client)? else {
            client.write_all(&[5, 8, 0, 1, 0, 0, 0, 0, 0, 0])?;
            return Ok(None);
        };
        let host = read_text(client)?;
        let port = u16::from_be_bytes(read(client)?);
        let broker = self.connect(&format!("{host}:{port}"));
        let reply = if broker.is_some() { 0 } else { 4 };
        client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])?;
        Ok(broker)
    }

    fn http(&self, client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            header.extend(read::<1>(client)?);
        }
        let header = String::from_utf8_lossy(&header).into_owned();
        let authorization = header.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "));
        let expected =
            self.credentials.as_ref().map(|(user, password)| base64(format!("{user}:{password}").as_bytes()));
        if authorization != expected.as_deref() {
            client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")?;
            return Ok(None);
        }
        let name = header.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let broker = self.connect(name);
        let answer: &[u8] = match broker {
            Some(_) => b"HTTP/1.1 200 Connection established\r\n\r\n",
            None => b"HTTP/1.1 502 Unknown host\r\n\r\n",
        };
        client.write_all(answer)?;
        Ok(broker)
    }
}

fn read<const N: usize>(from: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A text with its length before it.
fn read_text(from: &mut TcpStream) -> io::Result<String> {
    let [length] = read(from)?;
    let mut text = vec![0; usize::from(length)];
    from.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
