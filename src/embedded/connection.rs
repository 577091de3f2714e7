//! One client's connection to a broker of the cluster.

use super::core::Core;
use super::state::{ConnectionId, Context, Reply};
use crate::protocol::messages::ApiKey;
use crate::protocol::{Api, Message, Reader, Writer, response_message};
use crate::{Error, Result};
use bytes::Bytes;
use crossbeam_channel::Receiver;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A connection's thread needs little: messages live on the heap.
pub(super) const STACK_BYTES: usize = 512 * 1024;
/// Memory for a request is taken in steps of at most this, as its bytes really come.
const STEP_BYTES: usize = 1024 * 1024;

/// What a client may ask of a broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections to the whole cluster. Kafka: `max.connections`.
    pub(super) connections: usize,
    /// A request's size in bytes. Kafka: `socket.request.max.bytes`.
    pub(super) request_bytes: usize,
}

/// The thread `kafka-embedded-{broker}`, one for each connection: it owns the socket, reads a request, has it answered
/// by the core, writes the answer. It ends with the connection, which the client, a malformed request or the core ends.
pub(super) struct Connection {
    id: ConnectionId,
    broker: i32,
    socket: TcpStream,
    client_host: String,
    answers: Receiver<Reply>,
    core: Arc<Core>,
    limits: Limits,
}

/// A request's header.
struct Header {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        broker: i32,
        socket: TcpStream,
        peer: SocketAddr,
        answers: Receiver<Reply>,
        core: Arc<Core>,
        limits: Limits,
    ) -> Self {
        Self { id, broker, socket, client_host: peer.ip().to_string(), answers, core, limits }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.serve_one() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::debug!("embedded broker {} closes a connection: {error}", self.broker);
                    break;
                }
            }
        }
        self.core.disconnect(self.id);
    }

    /// Serves one request; false if there are no more.
    fn serve_one(&mut self) -> Result<bool> {
        let Some(frame) = self.read_frame()? else { return Ok(false) };
        let mut reader = Reader::new(frame);
        let header = Header { key: ApiKey(reader.i16()?), version: reader.i16()?, correlation_id: reader.i32()? };
        let client_id = reader.nullable_string(false)?.unwrap_or_default();
        let api = Api::find(header.key)?;
        let offered = self.core.with_state(|state, _| state.offers(header.key));
        let offered = offered.ok_or_else(|| Error::protocol(format!("{} is not served", api.name)))?;
        if !offered.contains(&header.version) {
            if header.key != ApiKey::API_VERSIONS {
                return Err(Error::protocol(format!("{} has no version {}", api.name, header.version)));
            }
            // KIP-511: in version 0, so that any client can read it.
            let response = self.core.with_state(|state, _| state.unsupported_api_versions());
            self.write(api, 0, header.correlation_id, &*response_message(response))?;
            return Ok(true);
        }
        if header.version >= api.flexible_version {
            reader.skip_tagged_fields()?;
        }
        let rest = reader.remaining();
        let body = api.decode_request(header.version, reader.bytes_of(rest)?)?;
        self.answer(api, &header, client_id, body)
    }

    fn answer(
        &mut self,
        api: &'static Api,
        header: &Header,
        client_id: String,
        body: Box<dyn Message>,
    ) -> Result<bool> {
        let context = Context {
            connection: self.id,
            broker: self.broker,
            listener: 0,
            api,
            version: header.version,
            client_id,
            client_host: self.client_host.clone(),
            now: self.core.clock.now(),
        };
        log::trace!("embedded broker {}: {} v{} from {}", self.broker, api.name, header.version, context.client_id);
        let mut reply = self.core.handle(&context, body);
        if matches!(reply, Reply::Parked) {
            match self.answers.recv() {
                Ok(answer) => reply = answer,
                // The core has dropped the connection.
                Err(_) => return Ok(false),
            }
        }
        match reply {
            Reply::Answer(message) => self.write(api, header.version, header.correlation_id, &*message).map(|()| true),
            Reply::Silence => Ok(true),
            Reply::Close | Reply::Parked => Ok(false),
        }
    }

    /// Reads a request with its length; `None` at the end of the stream.
    fn read_frame(&mut self) -> Result<Option<Bytes>> {
        let mut prefix = [0; 4];
        match self.socket.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(_) => return Ok(None),
        }
        let length = i32::from_be_bytes(prefix);
        let length = usize::try_from(length).ok().filter(|length| *length <= self.limits.request_bytes);
        let length = length.ok_or_else(|| Error::protocol(format!("a request of {prefix:?} bytes")))?;
        let mut frame = Vec::new();
        while frame.len() < length {
            let have = frame.len();
            frame.resize(length.min(have.max(STEP_BYTES / 2) * 2), 0);
            let read = self.socket.read_exact(frame.get_mut(have..).unwrap_or_default());
            read.map_err(|error| Error::io(error, "reading a request"))?;
        }
        Ok(Some(frame.into()))
    }

    fn write(&mut self, api: &Api, version: i16, correlation_id: i32, message: &dyn Message) -> Result<()> {
        let mut writer = Writer::new();
        writer.i32(0);
        writer.i32(correlation_id);
        // The answer to ApiVersions never has a flexible header (KIP-511).
        if version >= api.flexible_version && api.key != ApiKey::API_VERSIONS {
            writer.no_tagged_fields();
        }
        message.encode(&mut writer, version)?;
        let frame = writer.into_frame();
        let mut slices = frame.slices();
        let mut slices: &mut [IoSlice<'_>] = &mut slices;
        while !slices.is_empty() {
            match self.socket.write_vectored(slices) {
                Ok(0) => return Err(Error::protocol("the connection takes no more bytes")),
                Ok(n) => IoSlice::advance_slices(&mut slices, n),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(error, "writing an answer")),
            }
        }
        Ok(())
    }
}
