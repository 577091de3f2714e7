//! One client's connection to a broker of the cluster.

use super::core::Core;
use super::faults::{Plan, ReceivedRequest, Verdict, error_answer};
use super::link::Link;
use super::state::{Context, Reply};
use super::transport::Transport;
use super::wire::Wire;
use crate::protocol::messages::ApiKey;
use crate::protocol::{Api, Message, Reader, Writer, response_message};
use crate::{Error, Result};
use bytes::Bytes;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Messages live on the heap; the rest is for the scripts of users.
pub(super) const STACK_BYTES: usize = 1024 * 1024;
/// An answer's buffer larger than this is not kept for the next.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// The thread `kafka-embedded-{broker}`, one for each connection: it owns the connection's bytes, reads a request, has
/// it answered by the core, writes the answer. It ends with the link, which the client, a malformed request or the core
/// ends.
pub(super) struct Connection {
    link: Arc<Link>,
    wire: Wire,
    client_host: String,
    core: Arc<Core>,
    outbox: Vec<u8>,
    /// Whether the next message is a token of SASL without a Kafka header.
    bare_token: bool,
}

/// What of a request's header its answer needs.
#[derive(Clone, Copy)]
struct Header {
    api: &'static Api,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    pub(super) fn new(link: Arc<Link>, transport: Transport, peer: SocketAddr, core: Arc<Core>) -> Self {
        let wire = Wire::new(Arc::clone(&link), transport, Arc::clone(&core.memory));
        Self { link, wire, client_host: peer.ip().to_string(), core, outbox: Vec::new(), bare_token: false }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.serve_one() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::debug!("embedded broker {} closes a connection: {error}", self.link.broker);
                    break;
                }
            }
        }
    }

    /// Serves one request; false if there are no more.
    fn serve_one(&mut self) -> Result<bool> {
        let Some(frame) = self.wire.read_frame(self.core.limits.request_bytes)? else { return Ok(false) };
        self.core.pass_pause(&self.link);
        if self.bare_token {
            return self.serve_token(&frame.bytes);
        }
        let mut reader = Reader::new(frame.bytes);
        let (key, version, correlation_id) = (ApiKey(reader.i16()?), reader.i16()?, reader.i32()?);
        let client_id = reader.nullable_string(false)?.unwrap_or_default();
        let header = Header { api: Api::find(key)?, version, correlation_id };
        if !(header.api.min_version..=header.api.max_version).contains(&version) {
            return self.unsupported(header);
        }
        if version >= header.api.flexible_version {
            reader.skip_tagged_fields()?;
        }
        let rest = reader.remaining();
        let bytes = reader.bytes_of(rest)?;
        let body = header.api.decode_request(version, bytes.clone())?;
        log::trace!("embedded broker {}: {} v{version} from {client_id:?}", self.link.broker, header.api.name);
        let received = ReceivedRequest {
            api: key,
            version,
            broker: self.link.broker,
            connection: self.link.id.0,
            client_id,
            received_at: self.core.clock.now(),
            bytes,
        };
        let goes_on = self.serve(header, received, body)?;
        if (key, version) == (ApiKey::SASL_HANDSHAKE, 0) {
            self.bare_token = self.core.with_state(|state, _| state.expects_bare_token(self.link.id));
        }
        Ok(goes_on)
    }

    fn serve_token(&mut self, token: &[u8]) -> Result<bool> {
        let id = self.link.id;
        let served =
            self.core.with_state(|state, now| (state.bare_token(id, token, now), state.expects_bare_token(id)));
        self.bare_token = served.1;
        let Reply::Raw(answer) = served.0 else { return Ok(false) };
        self.write_bytes(&answer, &Plan::default()).map(|()| true)
    }

    /// Versions that are not offered close the connection, except for those of ApiVersions: that is answered in version
    /// 0, so that any client can read it (KIP-511).
    fn unsupported(&mut self, header: Header) -> Result<bool> {
        if header.api.key != ApiKey::API_VERSIONS {
            return Err(Error::protocol(format!("{} has no version {}", header.api.name, header.version)));
        }
        let response = self.core.with_state(|state, _| state.unsupported_api_versions(self.link.broker));
        let header = Header { version: 0, ..header };
        self.write(header, &*response_message(response), &Plan::default())
    }

    fn serve(&mut self, header: Header, received: ReceivedRequest, mut body: Box<dyn Message>) -> Result<bool> {
        let context = Context {
            connection: self.link.id,
            broker: self.link.broker,
            listener: self.link.listener,
            api: header.api,
            version: header.version,
            client_id: received.client_id.clone(),
            client_host: self.client_host.clone(),
            now: received.received_at,
        };
        let plan = self.core.faults.plan(received.api);
        let shown = (!plan.scripts.is_empty()).then(|| received.clone());
        self.core.faults.observed.add(received);
        if plan.drop_request {
            return Ok(false);
        }
        let verdict = shown.map_or(Verdict::Pass, |received| plan.ask_scripts(&mut *body, &received));
        let (reply, delay) = match (verdict, plan.fail) {
            (Verdict::Instead(reply, delay), _) => (reply, delay),
            (Verdict::Pass, Some(code)) => (error_answer(header.api.key, header.version, body, code), Duration::ZERO),
            (Verdict::Pass, None) => (self.core.handle(&self.link, &context, body), Duration::ZERO),
        };
        let Some(reply) = self.finished(reply, delay.saturating_add(plan.delay)) else { return Ok(false) };
        self.core.pass_pause(&self.link);
        if plan.drop_response {
            return Ok(false);
        }
        match reply {
            Reply::Answer(mut message) => {
                plan.change(&mut *message);
                self.write(header, &*message, &plan)
            }
            Reply::Last(mut message) => {
                plan.change(&mut *message);
                self.write(header, &*message, &plan).map(|_| false)
            }
            Reply::Raw(bytes) => self.write_bytes(&bytes, &plan).map(|()| true),
            Reply::Silence => Ok(true),
            Reply::Unsupported => self.unsupported(header),
            Reply::Close | Reply::Parked => Ok(false),
        }
    }

    /// The reply once it is there and has been held back; `None` if the link has ended or the client has gone.
    fn finished(&mut self, mut reply: Reply, delay: Duration) -> Option<Reply> {
        if matches!(reply, Reply::Parked) {
            reply = self.wire.wait_for_answer()?;
        }
        if delay.is_zero() {
            return Some(reply);
        }
        match self.core.delay(&self.link, reply, delay) {
            Reply::Parked => self.wire.wait_for_answer(),
            reply => Some(reply),
        }
    }

    /// Writes an answer, damaged or in pieces if that is planned. False if the connection ends with it.
    fn write(&mut self, header: Header, message: &dyn Message, plan: &Plan) -> Result<bool> {
        let mut writer = Writer::reuse(std::mem::take(&mut self.outbox));
        writer.i32(0);
        writer.i32(header.correlation_id);
        // The answer to ApiVersions never has a flexible header (KIP-511).
        if header.version >= header.api.flexible_version && header.api.key != ApiKey::API_VERSIONS {
            writer.no_tagged_fields();
        }
        message.encode(&mut writer, header.version)?;
        let frame = writer.into_frame();
        if plan.garble.is_none() && plan.drip.is_none() {
            self.wire.write(&mut frame.slices())?;
            self.outbox = frame.into_buffer();
            if self.outbox.capacity() > KEPT_BUFFER_BYTES {
                self.outbox = Vec::new();
            }
            return Ok(true);
        }
        let bytes = frame.slices().iter().flat_map(|slice| slice.iter().copied()).collect();
        let Some(garble) = plan.garble else { return self.write_bytes(&Bytes::from(bytes), plan).map(|()| true) };
        let (bytes, ends) = garble.damage(bytes, &mut fastrand::Rng::new());
        self.write_bytes(&bytes, plan)?;
        Ok(!ends)
    }

    fn write_bytes(&mut self, bytes: &Bytes, plan: &Plan) -> Result<()> {
        let Some(drip) = plan.drip else { return self.wire.write(&mut [IoSlice::new(bytes)]) };
        for piece in bytes.chunks(drip.bytes) {
            self.wire.write(&mut [IoSlice::new(piece)])?;
            self.wire.pause(drip.interval)?;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.core.disconnect(self.link.id);
    }
}
