//! One connection to one broker: a plain blocking value with pipelining.

use super::authentication::UNPROVED_RESPONSE_BYTES;
use super::inbox::Inbox;
use super::stream::{Readiness, Stream};
use super::versions::ApiVersions;
use super::{Deadline, Dialer, Epoch, Interrupt, Waker};
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{Reader, Request, Response, Writer, request_header_version, response_header_version};
use crate::sasl::Sasl;
use crate::{Error, ErrorCode, ErrorKind, Result};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A buffer larger than this is not kept for the next request.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// What all connections of a client have in common.
#[derive(Debug, Clone)]
pub(crate) struct NetConfig {
    pub(crate) client_id: Arc<str>,
    /// TCP, handshake and all. Kafka: `socket.connection.setup.timeout.ms`.
    pub(crate) connection_setup_timeout: Duration,
    /// Larger answers are refused before any memory is taken for them.
    pub(crate) max_response_bytes: usize,
    pub(crate) dialer: Dialer,
    pub(crate) security: Security,
    pub(crate) epoch: Epoch,
}

/// How connections are protected; by default not at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<super::TlsConnector>>,
    pub(crate) sasl: Option<Sasl>,
}

/// Whom a connection goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// The broker's node id, or -1 for a bootstrap address.
    pub(crate) node_id: i32,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

impl Peer {
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// A request whose answer is outstanding.
#[derive(Debug)]
struct InFlight {
    correlation_id: i32,
    api_key: i16,
    api_name: &'static str,
    version: i16,
    header_version: i16,
    sent: Instant,
    /// Whether there will be secrets in it.
    secret: bool,
}

/// A connection to one broker, with versions negotiated. It has exactly one owner, and its first error is its last: a
/// half-written request or half-read answer is never resumed, so the owner drops it and dials again.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    peer: Peer,
    /// The client's, and what it was when this connection was made.
    epoch: (Epoch, u64),
    versions: ApiVersions,
    client_id: Arc<str>,
    max_response_bytes: usize,
    next_correlation_id: i32,
    in_flight: VecDeque<InFlight>,
    /// Answers that were read before their owner asked for them, to make way for a renewal of the SASL session. As many as
    /// were in flight then, and none of them is larger than an answer may be.
    arrived: VecDeque<(InFlight, Reader)>,
    sasl: Option<Sasl>,
    /// When the SASL session is to be renewed, if the broker limits it.
    renewal: Option<Instant>,
    inbox: Inbox,
    outbox: Vec<u8>,
    throttled_until: Option<Instant>,
    last_used: Instant,
    /// The shortest time an answer took.
    quickest_answer: Option<Duration>,
    /// It has answered more than which versions it speaks.
    served: bool,
    broken: bool,
}

impl Connection {
    /// Connects and negotiates versions, all before `deadline` and within the setup timeout.
    pub(crate) fn dial(peer: &Peer, config: &NetConfig, interrupt: &Interrupt, deadline: Deadline) -> Result<Self> {
        let deadline = deadline.within(config.connection_setup_timeout);
        let connection = Self::dial_unnamed(peer, config, interrupt, deadline)
            .map_err(|error| error.with_broker(peer.node_id, peer.address()))?;
        log::debug!("connected to {} (node {})", peer.address(), peer.node_id);
        Ok(connection)
    }

    fn dial_unnamed(peer: &Peer, config: &NetConfig, interrupt: &Interrupt, deadline: Deadline) -> Result<Self> {
        let mut connection = Self::open(peer, config, interrupt, deadline)?;
        match connection.negotiate(ApiVersionsRequest::MAX_VERSION, deadline) {
            // Some servers know no other version and close on what they do not know: once more with version 0.
            Err(error) if error.kind() == ErrorKind::Network => {
                log::debug!("{}: {error}; trying ApiVersions version 0", peer.address());
                connection = Self::open(peer, config, interrupt, deadline)?;
                connection.negotiate(0, deadline).map_err(handshake_hint)?;
            }
            outcome => outcome?,
        }
        if let Some(sasl) = &config.security.sasl {
            connection.authenticate(sasl, deadline)?;
        }
        connection.set_max_response_bytes(config.max_response_bytes);
        Ok(connection)
    }

    fn open(peer: &Peer, config: &NetConfig, interrupt: &Interrupt, deadline: Deadline) -> Result<Self> {
        let epoch = config.epoch.now();
        let stream = config.dialer.open(&peer.host, peer.port, interrupt, deadline)?;
        #[cfg(feature = "tls")]
        let stream = match &config.security.tls {
            Some(tls) => stream.with_tls(tls.session(&peer.host)?, deadline)?,
            None => stream,
        };
        Ok(Self {
            stream,
            peer: peer.clone(),
            epoch: (config.epoch.clone(), epoch),
            versions: ApiVersions::default(),
            client_id: config.client_id.clone(),
            max_response_bytes: config.max_response_bytes.min(UNPROVED_RESPONSE_BYTES),
            next_correlation_id: 0,
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            sasl: config.security.sasl.clone(),
            renewal: None,
            inbox: Inbox::default(),
            outbox: Vec::new(),
            throttled_until: None,
            last_used: Instant::now(),
            quickest_answer: None,
            served: false,
            broken: false,
        })
    }

    /// Asks for the broker's versions, at most twice: a broker that does not know ours answers in version 0's layout,
    /// newer ones with the range they know.
    fn negotiate(&mut self, version: i16, deadline: Deadline) -> Result<()> {
        let mut response = self.api_versions(version, deadline)?;
        if ErrorCode(response.error_code) == ErrorCode::UNSUPPORTED_VERSION && version > 0 {
            let known = response.api_keys.iter().find(|api| api.api_key == ApiVersionsRequest::KEY);
            let fallback = known.map_or(0, |api| api.max_version).clamp(0, version.saturating_sub(1));
            response = self.api_versions(fallback, deadline)?;
        }
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {
                self.versions = ApiVersions::from_response(&response);
                Ok(())
            }
            code => Err(Error::from_code(code, "the broker refused to say which versions it speaks")),
        }
    }

    fn api_versions(&mut self, version: i16, deadline: Deadline) -> Result<ApiVersionsResponse> {
        let request = ApiVersionsRequest {
            client_software_name: env!("CARGO_PKG_NAME").into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        self.send_version(&request, version, true, deadline)?;
        let mut body = self.receive_body(ApiVersionsRequest::KEY, deadline)?;
        // The error code stands first in every version; with this one the rest is in version 0's layout.
        let mut peek = body.reader.clone();
        if ErrorCode(peek.i16()?) == ErrorCode::UNSUPPORTED_VERSION {
            return ApiVersionsResponse::decode(&mut body.reader, 0);
        }
        let response = ApiVersionsResponse::decode(&mut body.reader, version)?;
        body.reader.finish()?;
        Ok(response)
    }

    /// From now on this interrupt ends its waits: the connection has a new owner.
    pub(crate) fn set_interrupt(&mut self, interrupt: &Interrupt) {
        self.stream.set_interrupt(interrupt.clone());
    }

    /// The version of `R` that will be spoken here.
    pub(crate) fn version<R: Request>(&self) -> Result<i16> {
        self.versions.pick::<R>().map_err(|error| self.named(error))
    }

    /// Between which releases of Kafka the broker is, as the end of a sentence.
    pub(crate) fn release(&self) -> String {
        self.versions.release()
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// How many answers are outstanding.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len() + self.arrived.len()
    }

    /// When it was last used.
    pub(crate) fn last_used(&self) -> Instant {
        self.last_used
    }

    /// How long a packet needs there and back at most: the shortest time in which an answer has come. None before the first.
    pub(crate) fn round_trip_at_most(&self) -> Option<Duration> {
        self.quickest_answer
    }

    /// Until when the broker asked for silence (KIP-219), if that time has not passed.
    pub(crate) fn throttled_until(&self) -> Option<Instant> {
        self.throttled_until.filter(|until| *until > Instant::now())
    }

    /// Whether an error has ended it.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it leads to brokers that the client has left.
    fn is_outdated(&self) -> bool {
        let (epoch, own) = &self.epoch;
        epoch.now() != *own
    }

    /// Whether an idle connection can be used again: no error so far, nothing outstanding, nothing unasked has come.
    pub(crate) fn is_reusable(&mut self) -> bool {
        !self.broken
            && !self.is_outdated()
            && self.in_flight.is_empty()
            && self.arrived.is_empty()
            && self.inbox.is_empty()
            && !self.stream.has_input()
    }

    /// The connection, if it [can be used again](Self::is_reusable).
    pub(crate) fn reusable(mut self) -> Option<Self> {
        self.is_reusable().then_some(self)
    }

    /// Sends a request and waits for its answer. Nothing else may be outstanding.
    pub(crate) fn call<R: Request>(&mut self, request: &R, deadline: Deadline) -> Result<R::Response> {
        let version = self.version::<R>()?;
        self.call_version(request, version, deadline)
    }

    /// Like [`call`](Self::call) in a version the caller picked, which must not be above what [`version`](Self::version) says.
    pub(crate) fn call_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Deadline,
    ) -> Result<R::Response> {
        self.prepare_call(R::NAME, deadline)?;
        self.send_version(request, version, true, deadline)?;
        self.receive::<R>(deadline)
    }

    fn prepare_call(&mut self, api_name: &str, deadline: Deadline) -> Result<()> {
        if let Some(oldest) = self.arrived.front().map(|(oldest, _)| oldest).or(self.in_flight.front()) {
            // The next answer would be that one's.
            let message = format!("{api_name} was called while an answer to {} is outstanding", oldest.api_name);
            return Err(self.broke(Error::protocol(message)));
        }
        self.wait_while_throttled(deadline)
    }

    /// Sends a request; its answer is to be received later, in order.
    pub(crate) fn send<R: Request>(&mut self, request: &R, deadline: Deadline) -> Result<()> {
        let version = self.version::<R>()?;
        self.send_version(request, version, true, deadline)
    }

    /// Like [`send`](Self::send) in a version the caller picked. Without `answered` no answer will come (acks 0).
    pub(crate) fn send_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        answered: bool,
        deadline: Deadline,
    ) -> Result<()> {
        self.prepare_send(deadline)?;
        self.write_request(request, version, answered, deadline)
    }

    fn prepare_send(&mut self, deadline: Deadline) -> Result<()> {
        self.check()?;
        if self.is_outdated() {
            let message = "the client has begun again at its bootstrap addresses since this connection was made";
            return Err(self.broke(Error::new(ErrorKind::Network, message)));
        }
        self.renew_session(deadline)
    }

    /// Authenticates again if it is time. A broker serves a connection's requests one after the other and wants nothing
    /// between those of an exchange, so the answers that are outstanding come first.
    fn renew_session(&mut self, deadline: Deadline) -> Result<()> {
        if self.renewal.is_none_or(|renewal| Instant::now() < renewal) {
            return Ok(());
        }
        let Some(sasl) = self.sasl.clone() else { return Ok(()) };
        while let Some(expected) = self.in_flight.pop_front() {
            let read = self.read_answer(&expected, deadline);
            let reader = read.map_err(|error| self.broke(error))?;
            self.arrived.push_back((expected, reader));
        }
        // The answers of the exchange are the next ones then.
        let arrived = std::mem::take(&mut self.arrived);
        let renewed = self.authenticate(&sasl, deadline);
        self.arrived = arrived;
        renewed
    }

    /// Writes a request, whatever the SASL session says.
    pub(super) fn write_request<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        answered: bool,
        deadline: Deadline,
    ) -> Result<()> {
        let header_version = request_header_version::<R>(version);
        let in_flight = InFlight {
            correlation_id: self.next_correlation_id,
            api_key: R::KEY,
            api_name: R::NAME,
            version,
            header_version: response_header_version::<R>(version),
            sent: self.last_used,
            secret: R::Response::CARRIES_SECRETS,
        };
        let mut encode = |writer: &mut Writer| request.encode(writer, version);
        let mut writer = Writer::reuse(std::mem::take(&mut self.outbox));
        if R::CARRIES_SECRETS {
            writer = writer.without_copies();
        }
        self.write_frame(writer, in_flight, header_version, &mut encode, answered, deadline)
    }

    /// What all kinds of requests have in common, compiled once.
    fn write_frame(
        &mut self,
        mut writer: Writer,
        mut in_flight: InFlight,
        header_version: i16,
        encode: &mut dyn FnMut(&mut Writer) -> Result<()>,
        answered: bool,
        deadline: Deadline,
    ) -> Result<()> {
        self.check()?;
        let InFlight { correlation_id, api_key, api_name, version, .. } = in_flight;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        writer.i32(0);
        writer.i16(api_key);
        writer.i16(version);
        writer.i32(correlation_id);
        // The header's client id is never compact, so that any broker can read it.
        writer.nullable_string(Some(&self.client_id), false);
        if header_version >= 2 {
            writer.no_tagged_fields();
        }
        // A request that can't be encoded leaves the connection as it was.
        encode(&mut writer).map_err(|error| self.named(error))?;
        if writer.len() > i32::MAX as usize {
            return Err(self.named(Error::new(ErrorKind::TooLarge, format!("a {api_name} request over 2 GiB"))));
        }
        let frame = writer.into_frame();
        log::trace!("{}: {api_name} v{version} #{correlation_id}, {} bytes", self.peer.host, frame.len());
        self.last_used = Instant::now();
        in_flight.sent = self.last_used;
        let written = self.stream.write_all(&mut frame.slices(), deadline);
        self.outbox = frame.into_buffer();
        if self.outbox.capacity() > KEPT_BUFFER_BYTES {
            self.outbox = Vec::new();
        }
        written.map_err(|error| self.broke(error))?;
        if answered {
            self.in_flight.push_back(in_flight);
        }
        Ok(())
    }

    /// Receives the answer to the oldest outstanding request, which must have been an `R`.
    pub(crate) fn receive<R: Request>(&mut self, deadline: Deadline) -> Result<R::Response> {
        let mut body = self.receive_body(R::KEY, deadline)?;
        let decoded = R::Response::decode(&mut body.reader, body.version);
        self.finish_body(body, decoded.as_ref().map(Response::throttle_time_ms))?;
        decoded
    }

    /// Takes what is the same in all answers: the time the broker wants silence for, or why it can't be read.
    fn finish_body(&mut self, body: Body, decoded: std::result::Result<i32, &Error>) -> Result<()> {
        let Body { reader, version, api_name } = body;
        let finished = decoded.map_err(Error::clone).and_then(|throttle_ms| reader.finish().map(|()| throttle_ms));
        let throttle_ms = finished.map_err(|error| {
            self.broke(Error::protocol(format!("the answer to {api_name} v{version} is malformed: {error}")))
        })?;
        if throttle_ms > 0 {
            log::debug!("{} asks for {throttle_ms} ms of silence", self.peer.address());
            self.throttled_until = Instant::now().checked_add(Duration::from_millis(throttle_ms.unsigned_abs().into()));
        }
        Ok(())
    }

    fn receive_body(&mut self, api_key: i16, deadline: Deadline) -> Result<Body> {
        self.check()?;
        let (expected, reader) = match self.arrived.pop_front() {
            Some(early) => early,
            None => {
                let Some(expected) = self.in_flight.pop_front() else {
                    return Err(self.broke(Error::protocol("no answer is outstanding")));
                };
                let read = self.read_answer(&expected, deadline);
                (expected, read.map_err(|error| self.broke(self.first_request_hint(error)))?)
            }
        };
        if expected.api_key != api_key {
            return Err(self.broke(Error::protocol(format!("the next answer is one to {}", expected.api_name))));
        }
        self.last_used = Instant::now();
        let took = self.last_used.saturating_duration_since(expected.sent);
        self.quickest_answer = Some(self.quickest_answer.map_or(took, |quickest| quickest.min(took)));
        self.served |= expected.api_key != ApiVersionsRequest::KEY;
        Ok(Body { reader, version: expected.version, api_name: expected.api_name })
    }

    fn read_answer(&mut self, expected: &InFlight, deadline: Deadline) -> Result<Reader> {
        let (stream, limit) = (&mut self.stream, self.max_response_bytes);
        let frame = if expected.secret {
            let frame = self.inbox.read_secret_frame(limit, |buffer| stream.read(buffer, deadline));
            stream.wipe_read();
            frame?
        } else {
            self.inbox.read_frame(limit, |buffer| stream.read(buffer, deadline))?
        };
        answer_body(frame, expected.correlation_id, expected.header_version)
    }

    /// Waits until there is something to read, the waker is used, or the deadline has passed.
    pub(crate) fn wait_readable(&mut self, waker: Option<&Waker>, deadline: Deadline) -> Result<Readiness> {
        if !self.inbox.is_empty() || !self.arrived.is_empty() {
            return Ok(Readiness::Ready);
        }
        let waited = self.stream.wait_readable(waker, deadline);
        waited.map_err(|error| self.broke(error))
    }

    /// Like [`wait_readable`](Self::wait_readable), for who minds neither that the waker does not end it nor that it times
    /// out after a few milliseconds, whatever the deadline: a plaintext connection is read without a poll before.
    pub(crate) fn wait_readable_blocking(&mut self, waker: Option<&Waker>, deadline: Deadline) -> Result<Readiness> {
        if !self.inbox.is_empty() || !self.arrived.is_empty() || !self.stream.can_read_blocking() {
            return self.wait_readable(waker, deadline);
        }
        let stream = &mut self.stream;
        match self.inbox.read_some(|buffer| stream.read_blocking(buffer)) {
            Ok(Some(_)) => Ok(Readiness::Ready),
            Ok(None) => Ok(Readiness::TimedOut),
            Err(error) => Err(self.broke(error)),
        }
    }

    /// Keeps the silence the broker asked for. Ends early if the connection breaks.
    pub(crate) fn wait_while_throttled(&mut self, deadline: Deadline) -> Result<()> {
        while let Some(until) = self.throttled_until() {
            let wait = Deadline::at(until).min(deadline);
            match self.wait_readable(None, wait)? {
                Readiness::TimedOut if deadline.has_passed() => {
                    let message = "the deadline passed while the broker throttles this client";
                    return Err(self.named(Error::new(ErrorKind::Timeout, message)));
                }
                Readiness::TimedOut => {}
                // Nothing is outstanding here but what the owner pipelined; it will read it.
                Readiness::Ready | Readiness::Woken => break,
            }
        }
        Ok(())
    }

    /// Returns the limit so far.
    pub(super) fn set_max_response_bytes(&mut self, bytes: usize) -> usize {
        std::mem::replace(&mut self.max_response_bytes, bytes)
    }

    pub(super) fn set_renewal(&mut self, renewal: Option<Instant>) {
        self.renewal = renewal;
    }

    /// A listener that wants SASL answers ApiVersions and closes at anything else.
    fn first_request_hint(&self, error: Error) -> Error {
        let negotiated = !self.versions.is_empty();
        if self.served || self.sasl.is_some() || !negotiated || error.kind() != ErrorKind::Network {
            return error;
        }
        let message = "the broker closed the connection at the first request: does this listener want SASL?";
        Error::new(ErrorKind::Network, message).with_setting("security.protocol").with_source(error)
    }

    fn check(&self) -> Result<()> {
        if self.broken {
            return Err(self.named(Error::new(ErrorKind::Network, "the connection is broken")));
        }
        Ok(())
    }

    fn named(&self, error: Error) -> Error {
        error.with_broker(self.peer.node_id, self.peer.address())
    }

    /// Marks the connection as dead: after an error nobody knows where in the stream of bytes the two sides are.
    pub(super) fn broke(&mut self, error: Error) -> Error {
        self.broken = true;
        self.named(error)
    }
}

/// The body of an answer.
struct Body {
    reader: Reader,
    version: i16,
    api_name: &'static str,
}

/// Takes the header off an answer.
pub(crate) fn answer_body(frame: Bytes, due: i32, header_version: i16) -> Result<Reader> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32()?;
    if correlation_id != due {
        // Answers come in order, so an answer to anything else means that the two sides no longer agree.
        return Err(Error::protocol(format!("an answer with correlation id {correlation_id} where {due} was due")));
    }
    if header_version >= 1 {
        reader.skip_tagged_fields()?;
    }
    Ok(reader)
}

/// Says what most often is behind a connection that ends during the first exchange.
fn handshake_hint(error: Error) -> Error {
    if error.kind() != ErrorKind::Network {
        return error;
    }
    let message = "the connection ended during the first exchange: is this a Kafka port, and a plaintext one?";
    Error::new(ErrorKind::Network, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_colons_stand_in_brackets() {
        for (host, address) in [("h", "h:1"), ("::1", "[::1]:1"), ("[::1]", "[::1]:1")] {
            assert_eq!(Peer { node_id: 1, host: Arc::from(host), port: 1 }.address(), address);
        }
    }
}
