//! A state to be asked directly, with time under the test's control.

use super::brokers::Broker;
use super::{Brokers, ConnectionId, Context, Reply, Settings, State, Time};
use crate::protocol::messages::ApiKey;
use crate::protocol::{Api, Request};
use std::time::Duration;

/// A cluster of brokers `1..=N` without sockets.
pub(super) struct Harness {
    pub(super) state: State,
    pub(super) now: Time,
    connections: u64,
}

impl Harness {
    pub(super) fn new(brokers: i32) -> Self {
        Self::with(brokers, &[])
    }

    /// With broker settings, by Kafka's names.
    pub(super) fn with(brokers: i32, settings: &[(&str, &str)]) -> Self {
        let broker = |id: i32| {
            let (host, ports) = ("localhost".to_owned(), vec![9092]);
            Broker { id, host, ports, rack: None, running: true, registered: true }
        };
        let mut all = Settings::default();
        settings.iter().for_each(|(name, value)| all.set(*name, *value));
        let state = State::new(all, Brokers::new((1..=brokers).map(broker)), 1_700_000_000_000, 7);
        Self { state, now: Duration::ZERO, connections: 0 }
    }

    /// A connection that has not been used.
    pub(super) fn connect(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    /// What is known of a request over a connection of its own.
    pub(super) fn context<R: Request>(&mut self, broker: i32, version: i16) -> Context {
        let api = Api::find(ApiKey(R::KEY)).unwrap();
        let (client_id, client_host) = ("test".to_owned(), "127.0.0.1".to_owned());
        Context { connection: self.connect(), broker, listener: 0, api, version, client_id, client_host, now: self.now }
    }

    /// Asks a broker over a connection of its own; the answer must come at once.
    #[track_caller]
    pub(super) fn call<R: Request + Send + 'static>(&mut self, broker: i32, version: i16, request: R) -> R::Response
    where
        R::Response: Send + 'static,
    {
        let connection = self.connect();
        self.send(connection, broker, version, request).unwrap_or_else(|| panic!("{} is parked", R::NAME))
    }

    /// Asks a broker; `None` if the request is parked.
    #[track_caller]
    pub(super) fn send<R: Request + Send + 'static>(
        &mut self,
        connection: ConnectionId,
        broker: i32,
        version: i16,
        request: R,
    ) -> Option<R::Response>
    where
        R::Response: Send + 'static,
    {
        match self.reply(connection, broker, version, request) {
            Reply::Parked => None,
            reply => Some(Self::response::<R>(version, reply)),
        }
    }

    /// Asks a broker; `None` if it closes the connection instead of an answer.
    #[track_caller]
    pub(super) fn try_send<R: Request + Send + 'static>(
        &mut self,
        connection: ConnectionId,
        broker: i32,
        version: i16,
        request: R,
    ) -> Option<R::Response>
    where
        R::Response: Send + 'static,
    {
        match self.reply(connection, broker, version, request) {
            Reply::Close => None,
            reply => Some(Self::response::<R>(version, reply)),
        }
    }

    /// What becomes of a request, also where that is no answer.
    #[track_caller]
    pub(super) fn reply<R: Request + Send + 'static>(
        &mut self,
        connection: ConnectionId,
        broker: i32,
        version: i16,
        request: R,
    ) -> Reply {
        let context = Context { connection, ..self.context::<R>(broker, version) };
        let api = context.api;
        // By way of the bytes, so that a request that the version can't carry is refused here as well.
        let mut writer = crate::protocol::Writer::new();
        request.encode(&mut writer, version).unwrap();
        let body = api.decode_request(version, writer.into_bytes().into()).unwrap();
        let reply = self.state.handle(&context, body);
        self.state.groups_follow_coordinators();
        reply
    }

    /// The answer to a parked request, if it has come.
    #[track_caller]
    pub(super) fn answer<R: Request>(&mut self, connection: ConnectionId, version: i16) -> Option<R::Response>
    where
        R::Response: Send + 'static,
    {
        self.state.groups_follow_coordinators();
        let at = self.state.answers.iter().position(|(id, _)| *id == connection)?;
        let (_, reply) = self.state.answers.remove(at);
        Some(Self::response::<R>(version, reply))
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.state.advance(self.now);
    }

    #[track_caller]
    fn response<R: Request>(version: i16, reply: Reply) -> R::Response
    where
        R::Response: Send + 'static,
    {
        let (Reply::Answer(message) | Reply::Last(message)) = reply else {
            panic!("{}: {reply:?} instead of an answer", R::NAME)
        };
        let mut writer = crate::protocol::Writer::new();
        message.encode(&mut writer, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", R::NAME));
        *message.into_any().downcast().unwrap()
    }
}
