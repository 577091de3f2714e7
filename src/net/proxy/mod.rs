//! Connections through a proxy: SOCKS5 (RFC 1928, RFC 1929) or HTTP CONNECT (RFC 9110).
//!
//! The two exchanges are pure: bytes in, bytes out. Here is what moves their bytes.

mod http;
mod socks5;
#[cfg(test)]
mod tests;
mod url;

use super::Deadline;
use super::stream::Stream;
use crate::config::{Properties, Secret, hold};
use crate::{Error, ErrorKind, Result};
use http::HttpConnect;
use socks5::Socks5;
use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;
use zeroize::Zeroizing;

/// More than any answer of a proxy has: SOCKS5 answers have 262 bytes at most, and HTTP headers are refused beyond this.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// A proxy that all connections to brokers go through.
///
/// Brokers' names are sent to the proxy as they are, and it looks them up: they may mean something on its side only. TLS
/// is spoken with the broker, through the proxy, and the broker's certificate must be valid for the broker's own name.
/// An answer of the proxy may have 8 KiB, and the whole exchange counts into the
/// [connection setup timeout](crate::ClientBuilder::connection_setup_timeout).
///
/// User and password are seen by the proxy and by everybody on the way to it. They do not show in `Debug`, errors and logs.
///
/// ```no_run
/// use sarameya::{Client, Proxy};
///
/// # fn main() -> sarameya::Result<()> {
/// let proxy = Proxy::socks5("proxy.example.com", 1080).credentials("alice", "alice-secret");
/// let client = Client::builder().bootstrap_servers("broker:9092").proxy(proxy).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Proxy {
    protocol: Protocol,
    host: Arc<str>,
    port: u16,
    credentials: Option<ProxyCredentials>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Socks5,
    Http,
}

#[derive(Debug, Clone)]
struct ProxyCredentials {
    user: Secret,
    password: Secret,
}

impl ProxyCredentials {
    /// As HTTP has them.
    fn pair(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.user.expose(), self.password.expose()))
    }

    /// Whether a proxy's words hold them or a part.
    fn are_in(&self, words: &str) -> bool {
        self.user.is_in(words) || self.password.is_in(words) || hold(words, &self.pair())
    }
}

impl Proxy {
    /// A SOCKS5 proxy, with no authentication or with user and password.
    pub fn socks5(host: impl AsRef<str>, port: u16) -> Self {
        Self { protocol: Protocol::Socks5, host: Arc::from(host.as_ref()), port, credentials: None }
    }

    /// An HTTP proxy that allows `CONNECT` to the brokers' ports, with no authentication or with user and password (the
    /// `Basic` scheme).
    pub fn http(host: impl AsRef<str>, port: u16) -> Self {
        Self { protocol: Protocol::Http, host: Arc::from(host.as_ref()), port, credentials: None }
    }

    /// User and password for the proxy.
    ///
    /// SOCKS5 takes 1 to 255 bytes of each; the user of an HTTP proxy can't have a colon.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(ProxyCredentials { user: Secret::new(user), password: Secret::new(password) });
        self
    }

    /// A proxy by its URL: `socks5://` or `http://`, then `user:password@` if it wants them (`%` and two hexadecimal
    /// digits stand for a byte), then `host:port`; an IPv6 address stands in brackets. Port 1080 is that of SOCKS5 if none is
    /// given. `socks5h://` is the same as `socks5://`.
    ///
    /// An error does not repeat the URL.
    pub fn from_url(url: &str) -> Result<Self> {
        url::parse(url).map_err(|why| Error::config("proxy.url", why))
    }

    /// The proxy that the settings name, if they do.
    pub(crate) fn from_properties(properties: &Properties) -> Result<Option<Self>> {
        let get = |name| properties.get(name).map(str::trim).filter(|value| !value.is_empty());
        let (user, password) = (get("proxy.username"), get("proxy.password"));
        let Some(url) = get("proxy.url") else {
            return match user.or(password) {
                Some(_) => Err(Error::config("proxy.url", "is needed beside proxy.username and proxy.password")),
                None => Ok(None),
            };
        };
        let proxy = Self::from_url(url)?;
        match (user, password) {
            (None, None) => Ok(Some(proxy)),
            (Some(_), _) if proxy.credentials.is_some() => {
                Err(Error::config("proxy.username", "stands in proxy.url already"))
            }
            (Some(user), password) => Ok(Some(proxy.credentials(user, password.unwrap_or_default()))),
            (None, Some(_)) => Err(Error::config("proxy.username", "is needed beside proxy.password")),
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it can be asked at all.
    pub(crate) fn check(&self) -> Result<()> {
        if self.host.is_empty() || self.port == 0 {
            return Err(Error::config("proxy.url", "needs a host and a port"));
        }
        let Some(ProxyCredentials { user, password }) = &self.credentials else { return Ok(()) };
        for (name, secret) in [("proxy.username", user), ("proxy.password", password)] {
            if self.protocol == Protocol::Socks5 && !(1..=255).contains(&secret.expose().len()) {
                return Err(Error::config(name, "must have 1 to 255 bytes for a SOCKS5 proxy"));
            }
        }
        if self.protocol == Protocol::Http && user.expose().contains(':') {
            return Err(Error::config("proxy.username", "can't have a colon for an HTTP proxy"));
        }
        Ok(())
    }

    /// Has the proxy connect the stream to the host's port.
    pub(super) fn ask(&self, stream: &mut Stream, host: &str, port: u16, deadline: Deadline) -> Result<()> {
        let credentials = self.credentials.as_ref();
        let mut exchange: Box<dyn Exchange> = match self.protocol {
            Protocol::Socks5 => Box::new(Socks5::new(host, port, credentials)),
            Protocol::Http => Box::new(HttpConnect::new(host, port, credentials)),
        };
        let mut inbox = Vec::with_capacity(ANSWER_BYTES_MAX);
        loop {
            let mut rest = &inbox[..];
            let step = exchange.advance(&mut rest).map_err(|refusal| self.refused(&refusal, host, port))?;
            let taken = inbox.len().saturating_sub(rest.len());
            inbox.drain(..taken);
            match step {
                Step::Send(bytes) => {
                    let written = stream.write_all(&mut [IoSlice::new(&bytes)], deadline);
                    written.map_err(|error| self.broke(error))?;
                }
                // A broker does not speak first, so this is no part of the way that is open now.
                Step::Done if !inbox.is_empty() => {
                    return Err(self.refused(&Refusal::protocol("goes on after its answer"), host, port));
                }
                Step::Done => return Ok(()),
                Step::Receive if inbox.len() >= ANSWER_BYTES_MAX => {
                    return Err(self.refused(&Refusal::protocol("answers with more than 8 KiB"), host, port));
                }
                Step::Receive => {
                    stream.read(&mut inbox, deadline).map_err(|error| self.broke(error))?;
                }
            }
        }
    }

    fn broke(&self, error: Error) -> Error {
        let what = match error.kind() {
            ErrorKind::Network => "ended the connection during its exchange",
            ErrorKind::Timeout => "did not answer before the deadline",
            _ => return error,
        };
        Error::new(error.kind(), format!("the proxy {self} {what}")).with_source(error)
    }

    fn refused(&self, refusal: &Refusal, host: &str, port: u16) -> Error {
        let why = &refusal.why;
        let message = match refusal.kind {
            ErrorKind::Network => format!("the proxy {self} can't connect to {host} port {port}: {why}"),
            _ => format!("the proxy {self} {why}"),
        };
        let error = Error::new(refusal.kind, message);
        match refusal.setting {
            Some(setting) => error.with_setting(setting),
            None => error,
        }
    }
}

impl fmt::Display for Proxy {
    /// Its URL, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Socks5 => "socks5",
            Protocol::Http => "http",
        };
        write!(f, "{scheme}://{}", authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", if self.credentials.is_some() { " with credentials [hidden]" } else { "" })
    }
}

/// `host:port`, with an IPv6 address in brackets.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// One side of the exchange with a proxy. Pure: it sees all bytes that have come and are not taken yet.
trait Exchange {
    /// Takes from the front of `received` what it understands, and says what is next. To be called again until it is
    /// done; a refusal ends it.
    fn advance(&mut self, received: &mut &[u8]) -> Result<Step, Refusal>;
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// These bytes go to the proxy.
    Send(Zeroizing<Vec<u8>>),
    /// More must come.
    Receive,
    /// The way to the broker is open.
    Done,
}

/// Why there is no way through the proxy: words that go on after its name.
#[derive(Debug)]
struct Refusal {
    kind: ErrorKind,
    why: String,
    setting: Option<&'static str>,
}

impl Refusal {
    /// It does not speak the protocol.
    fn protocol(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Protocol, why: why.into(), setting: Some("proxy.url") }
    }

    /// It wants to know who this is, or does not believe it.
    fn credentials(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Authentication, why: why.into(), setting: Some("proxy.username") }
    }

    /// It can't connect, or may not.
    fn connection(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Network, why: why.into(), setting: None }
    }
}
