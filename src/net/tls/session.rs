//! One TLS session as a machine over bytes: what the socket brought goes in, what it is to carry comes out.

use crate::config::{reserve_wiping, wipe_front};
use crate::{Error, ErrorKind, Result};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{AlertDescription, CertificateError, ClientConfig, PeerIncompatible};
use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;
use zeroize::optimization_barrier;

/// Four records of the largest size and their headers are read in one call.
const INCOMING_BYTES: usize = 4 * (16 * 1024 + 512);
/// A record is at most this much larger than what it carries.
const RECORD_OVERHEAD: usize = 128;
/// What a record carries at most.
const RECORD_BYTES: usize = 16 * 1024;
/// Eight records are written in one call.
const OUTGOING_BYTES: usize = 8 * (RECORD_BYTES + RECORD_OVERHEAD);

/// A session in its whole life. The first error is its last state.
pub(in crate::net) struct Session {
    tls: UnbufferedClientConnection,
    /// From the socket, not yet decrypted: `incoming[start..]`.
    incoming: Vec<u8>,
    start: usize,
    /// Decrypted, not yet taken: `plain[taken..]`.
    plain: Vec<u8>,
    taken: usize,
    /// For the socket: `outgoing[written..filled]`. Its length does not change, so that it is initialised once.
    outgoing: Vec<u8>,
    written: usize,
    filled: usize,
    /// Small slices gathered for a record.
    staged: Vec<u8>,
    /// The peer has said that nothing more will come.
    closed: bool,
    /// Data has come: the peer accepts this client.
    trusted: bool,
    /// rustls must not be asked again after an error.
    failed: Option<Error>,
}

impl Session {
    pub(super) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name)
            .map_err(|error| Error::tls(format!("a TLS session can't begin: {error}")))?;
        Ok(Self {
            tls,
            incoming: Vec::with_capacity(INCOMING_BYTES),
            start: 0,
            plain: Vec::new(),
            taken: 0,
            outgoing: vec![0; OUTGOING_BYTES],
            written: 0,
            filled: 0,
            staged: Vec::new(),
            closed: false,
            trusted: false,
            failed: None,
        })
    }

    /// Whether the two sides have not agreed yet.
    pub(in crate::net) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the peer has said that nothing more will come.
    pub(in crate::net) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The buffer to read from the socket into, with room in it.
    pub(in crate::net) fn incoming(&mut self) -> &mut Vec<u8> {
        if self.start == self.incoming.len() {
            self.incoming.clear();
            self.start = 0;
        } else if self.incoming.spare_capacity_mut().len() < RECORD_BYTES {
            // What is left is less than a record, since all whole ones have been taken.
            self.incoming.drain(..self.start);
            self.start = 0;
        }
        &mut self.incoming
    }

    /// What the socket is to carry. To be followed by [`written`](Self::written).
    pub(in crate::net) fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.written..self.filled).unwrap_or_default()
    }

    /// The socket has taken `n` bytes.
    pub(in crate::net) fn written(&mut self, n: usize) {
        self.written = self.written.saturating_add(n);
        if self.written == self.filled {
            self.written = 0;
            self.filled = 0;
        }
    }

    /// Decrypts what has come, and says whether there is data to be taken.
    pub(in crate::net) fn has_plain(&mut self) -> Result<bool> {
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
            self.decrypt(&mut Vec::new())?;
        }
        Ok(self.taken < self.plain.len())
    }

    /// Decrypts what has come, and appends data to `buffer`, at most its spare capacity.
    pub(in crate::net) fn take_plain(&mut self, buffer: &mut Vec<u8>) -> Result<usize> {
        let before = buffer.len();
        if let Some(plain) = self.plain.get(self.taken..).filter(|plain| !plain.is_empty()) {
            let taken = plain.get(..buffer.capacity().saturating_sub(before)).unwrap_or(plain);
            buffer.extend_from_slice(taken);
            self.taken = self.taken.saturating_add(taken.len());
        } else {
            self.plain.clear();
            self.taken = 0;
            self.decrypt(buffer)?;
        }
        Ok(buffer.len().saturating_sub(before))
    }

    /// Wipes what was decrypted and taken: a secret was in it.
    pub(in crate::net) fn wipe_taken(&mut self) {
        wipe_front(&mut self.incoming, &mut self.start);
        wipe_front(&mut self.plain, &mut self.taken);
    }

    /// All that data goes through: on its way in, decrypted, on its way out, encrypted.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn buffers(&self) -> [&Vec<u8>; 4] {
        [&self.incoming, &self.plain, &self.staged, &self.outgoing]
    }

    /// Encrypts from the front of `slices` what there is room for, and advances them.
    pub(in crate::net) fn encrypt(&mut self, slices: &mut &mut [IoSlice<'_>]) -> Result<()> {
        let outcome = self.encrypt_staged(slices);
        // One of them may have been a secret. This goes with every write, so it is done at once and not byte by byte.
        self.staged.resize(self.staged.capacity(), 0);
        self.staged.fill(0);
        optimization_barrier(self.staged.as_slice());
        outcome
    }

    fn encrypt_staged(&mut self, slices: &mut &mut [IoSlice<'_>]) -> Result<()> {
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
        // Whatever the peer asked for, such as new keys, goes first.
        self.decrypt_all()?;
        let status = self.tls.process_tls_records(rest(&mut self.incoming, self.start));
        let ConnectionState::WriteTraffic(mut traffic) = status.state.map_err(|error| failed(&error, self.trusted))?
        else {
            return Err(Error::new(ErrorKind::Network, "the TLS session takes no data"));
        };
        let staged = &mut self.staged;
        while let Some(first) = slices.first() {
            let room = rest(&mut self.outgoing, self.filled);
            if room.len() < RECORD_BYTES + RECORD_OVERHEAD {
                break;
            }
            // A slice that fills a record is encrypted from where it is; small ones are gathered, or each would be a record.
            let data = if first.len() >= RECORD_BYTES || slices.len() == 1 {
                at_most(first, RECORD_BYTES)
            } else {
                staged.clear();
                staged.reserve_exact(RECORD_BYTES);
                for slice in slices.iter() {
                    let room = RECORD_BYTES.saturating_sub(staged.len());
                    staged.extend_from_slice(at_most(slice, room));
                    if staged.len() == RECORD_BYTES {
                        break;
                    }
                }
                &*staged
            };
            let n = data.len();
            self.filled = self.filled.saturating_add(seal(&mut traffic, data, room)?);
            IoSlice::advance_slices(slices, n);
        }
        Ok(())
    }

    fn decrypt_all(&mut self) -> Result<()> {
        let mut plain = std::mem::take(&mut self.plain);
        // Data never waits for room in a buffer that grows; at most what `incoming` holds comes out.
        let outcome = self.process(&mut |data| keep(&mut plain, data));
        self.plain = plain;
        outcome
    }

    fn decrypt(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let mut plain = std::mem::take(&mut self.plain);
        let outcome = self.process(&mut |data| {
            let room = if plain.is_empty() { buffer.capacity().saturating_sub(buffer.len()) } else { 0 };
            let (now, later) = data.split_at(room.min(data.len()));
            buffer.extend_from_slice(now);
            keep(&mut plain, later);
        });
        self.plain = plain;
        outcome
    }

    /// Goes through all whole records that have come; handshake messages are answered into `outgoing`.
    fn process(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.go_through(take).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn go_through(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.tls.process_tls_records(rest(&mut self.incoming, self.start));
            let mut waits = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| failed(&error, self.trusted))?;
                        discard = discard.saturating_add(record.discard);
                        self.trusted = true;
                        take(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let written =
                        data.encode(rest(&mut self.outgoing, self.filled)).map_err(|error| encoding(&error))?;
                    self.filled = self.filled.saturating_add(written);
                }
                // It is on its way in `outgoing`, whose order is kept.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => waits = true,
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.closed = true;
                    waits = true;
                }
                Ok(_) => return Err(Error::tls("the TLS session is in a state this client does not know")),
                Err(error) => {
                    self.start = self.start.saturating_add(discard);
                    let error = failed(&error, self.trusted);
                    self.queue_alert();
                    return Err(error);
                }
            }
            self.start = self.start.saturating_add(discard);
            if waits {
                return Ok(());
            }
        }
    }

    /// After an error: what the peer is told of it.
    fn queue_alert(&mut self) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.tls.process_tls_records(&mut []).state {
            let written = data.encode(rest(&mut self.outgoing, self.filled)).unwrap_or_default();
            self.filled = self.filled.saturating_add(written);
        }
    }

    /// Says to the peer that nothing more will come.
    pub(in crate::net) fn queue_close(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let state = self.tls.process_tls_records(rest(&mut self.incoming, self.start)).state;
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let written = traffic.queue_close_notify(rest(&mut self.outgoing, self.filled)).unwrap_or_default();
            self.filled = self.filled.saturating_add(written);
        }
    }
}

/// Keeps decrypted data for later. Where it was before, none of it stays.
fn keep(plain: &mut Vec<u8>, data: &[u8]) {
    reserve_wiping(plain, data.len());
    plain.extend_from_slice(data);
}

/// What is behind the first `n` bytes.
fn rest(bytes: &mut [u8], n: usize) -> &mut [u8] {
    bytes.get_mut(n..).unwrap_or_default()
}

fn at_most(bytes: &[u8], n: usize) -> &[u8] {
    bytes.get(..n).unwrap_or(bytes)
}

fn seal(
    traffic: &mut rustls::unbuffered::WriteTraffic<'_, rustls::client::ClientConnectionData>,
    data: &[u8],
    room: &mut [u8],
) -> Result<usize> {
    let sealed = traffic.encrypt(data, room);
    sealed.map_err(|error| Error::new(ErrorKind::Network, format!("encrypting a request: {error}")))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("closed", &self.closed).finish_non_exhaustive()
    }
}

fn encoding(error: &EncodeError) -> Error {
    match error {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
            Error::tls(format!("a TLS handshake message of {required_size} bytes"))
        }
        error => Error::tls(format!("a TLS handshake message: {error}")),
    }
}

/// What the user can do about it, where rustls does not say. Once data has come, it is not the settings that are wrong.
fn failed(error: &rustls::Error, trusted: bool) -> Error {
    if trusted {
        return Error::new(ErrorKind::Network, format!("the TLS session broke: {error}")).with_source(error.clone());
    }
    let (hint, setting) = match error {
        // A wrong signature is that of another authority of the same name.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            ("the broker's certificate is from an authority that is not trusted", Some("ssl.truststore.location"))
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ("the broker's certificate is for another name", Some("ssl.endpoint.identification.algorithm")),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            ("the broker's certificate has expired", None)
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => ("the broker's certificate is not valid yet", None),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate,
        ) => ("the broker refuses this client's certificate, or wants one", Some("ssl.keystore.location")),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig) => {
            ("the broker has no version of TLS in common with this client", Some("ssl.enabled.protocols"))
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            ("the broker has no cipher suite in common with this client, or wants a client certificate", None)
        }
        rustls::Error::InvalidMessage(_) => ("this does not look like TLS; is it a TLS port?", None),
        _ => ("the TLS handshake failed", None),
    };
    let failed = Error::tls(format!("{hint}: {error}")).with_source(error.clone());
    match setting {
        Some(setting) => failed.with_setting(setting),
        None => failed,
    }
}
