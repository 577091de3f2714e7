//! The client's side of HTTP's CONNECT (RFC 9110, section 9.3.6), with no authentication or Basic (RFC 7617).

use super::{Exchange, ProxyCredentials, Refusal, Step, authority};
use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// What of the proxy's own words is repeated.
const REASON_CHARS_MAX: usize = 120;

pub(super) struct HttpConnect<'a> {
    host: &'a str,
    port: u16,
    credentials: Option<&'a ProxyCredentials>,
    asked: bool,
    done: bool,
}

impl<'a> HttpConnect<'a> {
    pub(super) fn new(host: &'a str, port: u16, credentials: Option<&'a ProxyCredentials>) -> Self {
        Self { host, port, credentials, asked: false, done: false }
    }

    fn request(&self) -> Result<Step, Refusal> {
        // Nothing in a name that came from a broker may end the line or begin another.
        if !self.host.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '?' | '#')) {
            return Err(Refusal::connection("its name can't stand in a request"));
        }
        let authority = authority(self.host, self.port);
        let mut text = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        if let Some(credentials) = self.credentials {
            let encoded = Zeroizing::new(Base64::encode_string(credentials.pair().as_bytes()));
            // In one piece, so that no shorter copy of it stays behind where the buffer was.
            text.reserve_exact(encoded.len().saturating_add(64));
            text.extend_from_slice(b"Proxy-Authorization: Basic ");
            text.extend_from_slice(encoded.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        Ok(Step::Send(Zeroizing::new(text)))
    }

    fn answer(&mut self, received: &mut &[u8]) -> Result<Step, Refusal> {
        const BEGIN: &[u8] = b"HTTP/1.";
        const END: &[u8] = b"\r\n\r\n";
        if !received.iter().zip(BEGIN).all(|(received, expected)| received == expected) {
            let what = match received.first() {
                Some(5) => "speaks SOCKS5 and not HTTP",
                _ => "does not answer like an HTTP proxy",
            };
            return Err(Refusal::protocol(what));
        }
        let Some(end) = received.windows(END.len()).position(|window| window == END) else { return Ok(Step::Receive) };
        let (header, rest) = received.split_at(end.saturating_add(END.len()));
        let line = header.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        // HTTP/1.1 200 Connection established
        let mut words = line.splitn(3, ' ');
        let status = words.nth(1).filter(|word| word.len() == 3).and_then(|word| word.parse::<u16>().ok());
        let status = status.ok_or_else(|| Refusal::protocol("answers without a status"))?;
        let reason = words.next().unwrap_or_default();
        let reason: String = match self.credentials {
            Some(own) if own.are_in(reason) => "(its words hold the user or the password)".into(),
            _ => reason.chars().take(REASON_CHARS_MAX).collect(),
        };
        match (status, self.credentials) {
            (200..=299, _) => {
                *received = rest;
                self.done = true;
                Ok(Step::Done)
            }
            (407, None) => Err(Refusal::credentials("wants authentication")),
            (407, Some(_)) => Err(Refusal::credentials("refuses this user and password")),
            _ => Err(Refusal::connection(format!("HTTP status {status} {reason}").trim_end())),
        }
    }
}

impl Exchange for HttpConnect<'_> {
    fn advance(&mut self, received: &mut &[u8]) -> Result<Step, Refusal> {
        if self.done {
            return Ok(Step::Done);
        }
        if !self.asked {
            self.asked = true;
            return self.request();
        }
        if received.is_empty() { Ok(Step::Receive) } else { self.answer(received) }
    }
}
