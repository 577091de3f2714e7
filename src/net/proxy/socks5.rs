//! The client's side of SOCKS5 (RFC 1928), with no authentication or with user and password (RFC 1929).

use super::{Exchange, ProxyCredentials, Refusal, Step};
use std::net::IpAddr;
use zeroize::Zeroizing;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

pub(super) struct Socks5<'a> {
    host: &'a str,
    port: u16,
    credentials: Option<&'a ProxyCredentials>,
    state: State,
}

enum State {
    Begins,
    /// Which way of authentication the proxy chooses.
    AwaitsMethod,
    AwaitsVerdict,
    AwaitsReply,
    Done,
}

impl<'a> Socks5<'a> {
    pub(super) fn new(host: &'a str, port: u16, credentials: Option<&'a ProxyCredentials>) -> Self {
        Self { host, port, credentials, state: State::Begins }
    }

    fn send(&mut self, state: State, bytes: Vec<u8>) -> Step {
        self.state = state;
        Step::Send(Zeroizing::new(bytes))
    }

    fn method(&mut self, method: u8) -> Result<Step, Refusal> {
        match (method, self.credentials) {
            (NO_AUTHENTICATION, _) => self.request(),
            (USER_AND_PASSWORD, Some(credentials)) => {
                // In one piece, so that no shorter copy of the password stays behind where the buffer was.
                let mut bytes = Vec::with_capacity(1 + 2 * (1 + 255));
                bytes.push(1);
                for secret in [&credentials.user, &credentials.password] {
                    let text = secret.expose().as_bytes();
                    let length = u8::try_from(text.len());
                    bytes.push(length.map_err(|_| Refusal::credentials("can't be told more than 255 bytes"))?);
                    bytes.extend_from_slice(text);
                }
                Ok(self.send(State::AwaitsVerdict, bytes))
            }
            (NONE_ACCEPTABLE, None) => Err(Refusal::credentials("wants authentication")),
            (NONE_ACCEPTABLE, Some(_)) => {
                Err(Refusal::credentials("takes neither user and password nor a client without"))
            }
            (other, _) => Err(Refusal::protocol(format!("chose authentication {other}, which was not offered"))),
        }
    }

    fn request(&mut self) -> Result<Step, Refusal> {
        let bare = self.host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(self.host);
        let mut bytes = vec![VERSION, CONNECT, 0];
        match bare.parse() {
            Ok(IpAddr::V4(ip)) => {
                bytes.push(IPV4);
                bytes.extend(ip.octets());
            }
            Ok(IpAddr::V6(ip)) => {
                bytes.push(IPV6);
                bytes.extend(ip.octets());
            }
            Err(_) => {
                let length = u8::try_from(bare.len());
                let length = length.map_err(|_| Refusal::connection("its name has more than 255 bytes"))?;
                bytes.extend([NAME, length]);
                bytes.extend(bare.as_bytes());
            }
        }
        bytes.extend(self.port.to_be_bytes());
        Ok(self.send(State::AwaitsReply, bytes))
    }

    /// The proxy's reply; the address it names is its own and of no use here.
    fn reply(&mut self, received: &mut &[u8]) -> Result<Step, Refusal> {
        let [version, reply, ..] = **received else { return Ok(Step::Receive) };
        check_version(version, received)?;
        if reply != 0 {
            return Err(Refusal::connection(reason(reply)));
        }
        let [_, _, _, kind, rest @ ..] = *received else { return Ok(Step::Receive) };
        let Some(first) = rest.first() else { return Ok(Step::Receive) };
        let address = match *kind {
            IPV4 => 4,
            IPV6 => 16,
            NAME => usize::from(*first).saturating_add(1),
            other => return Err(Refusal::protocol(format!("names an address of the unknown kind {other}"))),
        };
        match rest.get(address..).and_then(|port| port.get(2..)) {
            Some(rest) => {
                *received = rest;
                self.state = State::Done;
                Ok(Step::Done)
            }
            None => Ok(Step::Receive),
        }
    }
}

impl Exchange for Socks5<'_> {
    fn advance(&mut self, received: &mut &[u8]) -> Result<Step, Refusal> {
        match self.state {
            State::Begins => {
                let methods: &[u8] = match self.credentials {
                    Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
                    None => &[VERSION, 1, NO_AUTHENTICATION],
                };
                Ok(self.send(State::AwaitsMethod, methods.to_vec()))
            }
            State::AwaitsMethod => {
                let Some((&[version, method], rest)) = received.split_first_chunk() else { return Ok(Step::Receive) };
                check_version(version, received)?;
                *received = rest;
                self.method(method)
            }
            State::AwaitsVerdict => {
                let Some((&[version, verdict], rest)) = received.split_first_chunk() else { return Ok(Step::Receive) };
                // Some say the version of SOCKS here, not that of this exchange.
                if !matches!(version, 1 | VERSION) {
                    return Err(Refusal::protocol(format!("answers user and password in version {version}")));
                }
                *received = rest;
                match verdict {
                    0 => self.request(),
                    _ => Err(Refusal::credentials("refuses this user and password")),
                }
            }
            State::AwaitsReply => self.reply(received),
            State::Done => Ok(Step::Done),
        }
    }
}

fn check_version(version: u8, received: &[u8]) -> Result<(), Refusal> {
    match version {
        VERSION => Ok(()),
        4 | 0 => Err(Refusal::protocol("speaks SOCKS4 and not SOCKS5")),
        _ if received.starts_with(b"HT") => Err(Refusal::protocol("speaks HTTP and not SOCKS5")),
        other => Err(Refusal::protocol(format!("does not speak SOCKS5: its first byte is {other}"))),
    }
}

fn reason(reply: u8) -> String {
    let known = match reply {
        1 => "general failure of the proxy",
        2 => "its rules do not allow it",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "the time to live expired",
        7 => "it knows no CONNECT",
        8 => "it knows no addresses of this kind",
        _ => return format!("reply {reply}"),
    };
    known.to_owned()
}
