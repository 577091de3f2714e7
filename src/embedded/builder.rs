//! How a cluster is set up.

use super::clock::Clock;
use super::cluster::{Cluster, known_release};
use super::core::{Core, Limits};
use super::listener::Listener;
use super::port::{self, Reservation};
use super::server::Server;
use super::state::{Broker, Brokers, LOG_MEMORY, Settings, State};
use crate::config::Secret;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONNECTIONS: usize = 2000;
/// In Kafka there is no limit by default, and the heap's size is one.
const QUEUED_BYTES: usize = 512 * 1024 * 1024;

/// Sets up a [`Cluster`]; from [`Cluster::builder`].
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    brokers: usize,
    port: u16,
    manual_clock: bool,
    settings: Settings,
    racks: Vec<String>,
    /// The releases that brokers play: all, or one by one.
    release: Option<String>,
    releases: BTreeMap<i32, String>,
    connections: usize,
    listeners: Vec<Listener>,
    users: Vec<(String, Secret)>,
}

/// The brokers with their ports.
#[derive(Default)]
struct Bound {
    brokers: Vec<Broker>,
    /// What each broker listens on.
    ports: Vec<(i32, Vec<TcpListener>)>,
    reservations: Vec<Reservation>,
}

impl ClusterBuilder {
    pub(super) fn new(brokers: usize) -> Self {
        Self {
            brokers,
            port: 0,
            manual_clock: false,
            settings: Settings::default(),
            racks: Vec::new(),
            release: None,
            releases: BTreeMap::new(),
            connections: CONNECTIONS,
            listeners: Vec::new(),
            users: Vec::new(),
        }
    }

    /// The first broker's port; the next brokers have the next ports, and after them come those of the next listener.
    /// Defaults to any free ports.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// A broker setting by Kafka's name, for all brokers. What the cluster does not know is kept and has no effect.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.set(name, value);
        self
    }

    /// The racks of the brokers, in turn. Defaults to none. Kafka: `broker.rack`.
    #[must_use]
    pub fn racks(mut self, racks: &[&str]) -> Self {
        self.racks = racks.iter().map(|rack| (*rack).to_owned()).collect();
        self
    }

    /// Has all brokers play this release of Kafka, such as "2.5": the APIs and versions it has, the features, and what
    /// depends on them. Defaults to 4.3, the latest. [`start`](Self::start) fails for a release that is not known.
    ///
    /// What older brokers spoke that this crate has no messages for is not offered.
    #[must_use]
    pub fn as_version(mut self, version: &str) -> Self {
        self.release = Some(version.to_owned());
        self
    }

    /// Has one broker play this release of Kafka, as in the middle of an upgrade.
    #[must_use]
    pub fn broker_as_version(mut self, broker: i32, version: &str) -> Self {
        self.releases.insert(broker, version.to_owned());
        self
    }

    /// A listener of every broker. May be called several times; without it there is one, `PLAINTEXT`, for anyone.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Someone who may come in by the listeners with SASL, by any of their mechanisms.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), Secret::new(password)));
        self
    }

    /// Time stands still in the cluster and passes only by [`Cluster::advance_clock`]: long polls, session timeouts,
    /// retention. Sockets are not concerned.
    #[must_use]
    pub fn manual_clock(mut self) -> Self {
        self.manual_clock = true;
        self
    }

    /// What the logs of all partitions may take together, in bytes. Where they would take more, those that take the most
    /// lose their oldest records, as if retention had deleted them. Defaults to 1 GiB.
    #[must_use]
    pub fn log_memory(mut self, bytes: u64) -> Self {
        self.settings.set(LOG_MEMORY, bytes.to_string());
        self
    }

    /// The most connections that clients may have to all brokers together; further ones are closed. Defaults to 2,000.
    /// Kafka: `max.connections`.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Binds the ports and starts the brokers; they are ready when this returns.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for no brokers at all, an unknown release or SASL mechanism, certificates that
    /// can't be used, or ports over 65535; [`Network`](crate::ErrorKind::Network) if a port is
    /// taken or a thread can't be started.
    pub fn start(self) -> Result<Cluster> {
        let ids = 1..=i32::try_from(self.brokers).unwrap_or(i32::MAX);
        if ids.is_empty() {
            return Err(Error::config("brokers", "an embedded cluster needs at least one broker"));
        }
        let listeners = match self.listeners.is_empty() {
            true => vec![Listener::new("PLAINTEXT")],
            false => self.listeners.clone(),
        };
        let entrances = listeners.iter().map(Listener::entrance).collect::<Result<_>>()?;
        let Bound { brokers, ports, reservations } = self.bind(ids, listeners.len())?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let limits = self.limits();
        let mut state = State::new(self.settings, Brokers::new(brokers), wall_ms, fastrand::u64(..));
        for (id, _) in &ports {
            if let Some(version) = self.releases.get(id).or(self.release.as_ref()) {
                state.set_release(*id, known_release(version)?);
            }
        }
        let mechanisms = listeners.iter().map(|listener| listener.mechanisms.clone().unwrap_or_default());
        state.security.mechanisms = mechanisms.collect();
        for (user, password) in &self.users {
            state.security.add_user(user, password)?;
        }
        let core = Arc::new(Core::new(state, Clock::new(self.manual_clock), limits, entrances));
        let servers = ports.into_iter().map(|(id, ports)| Ok((id, Server::start(id, ports, &core)?)));
        let servers = Mutex::new(servers.collect::<Result<_>>()?);
        Cluster::new(core, servers, reservations, &listeners)
    }

    /// Binds a port for each listener of each broker.
    fn bind(&self, ids: RangeInclusive<i32>, listeners: usize) -> Result<Bound> {
        let mut bound = Bound::default();
        for (at, id) in ids.enumerate() {
            let wanted = (0..listeners).map(|listener| match self.port {
                0 => Ok(0),
                first => u16::try_from(usize::from(first) + listener * self.brokers + at)
                    .map_err(|_| Error::config("port", format!("there are not so many ports from {first} on"))),
            });
            let reserved = wanted.map(|port| port::reserve(port?)).collect::<Result<Vec<_>>>()?;
            let (sockets, reservations): (Vec<_>, Vec<_>) = reserved.into_iter().unzip();
            let ports = sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<io::Result<_>>();
            let ports = ports.map_err(|error| Error::io(error, "asking for a port"))?;
            let rack = self.racks.get(at % self.racks.len().max(1)).cloned();
            bound.brokers.push(Broker { id, host: "127.0.0.1".into(), ports, rack, running: true, registered: true });
            bound.ports.push((id, sockets));
            bound.reservations.extend(reservations.into_iter().flatten());
        }
        Ok(bound)
    }

    fn limits(&self) -> Limits {
        let positive = |name: &str| u64::try_from(self.settings.number(name)).ok().filter(|value| *value > 0);
        let bytes = |name: &str| positive(name).and_then(|value| usize::try_from(value).ok());
        Limits {
            connections: self.connections,
            request_bytes: bytes("socket.request.max.bytes").unwrap_or(usize::MAX),
            queued_bytes: bytes("queued.max.request.bytes").unwrap_or(QUEUED_BYTES),
            idle: positive("connections.max.idle.ms").map(Duration::from_millis),
        }
    }
}
